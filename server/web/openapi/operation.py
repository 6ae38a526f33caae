"""What a route says of itself: its operations, with parameters, bodies, answers and refusals.

Rule: pure data. A schema is plain JSON Schema (2020-12). A refusal is an error class of `server/errors`, so that its
code, status and sentence are written once; `document.py` makes the OpenAPI document of all this.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from server.errors import VideodockError

Schema = Mapping[str, Any]
"""JSON Schema. A `Named` may stand wherever a schema may."""

Refusal = type[VideodockError] | tuple[type[VideodockError], int]
"""An error class; with a status where an instance may have another one than its class."""

JSON = "application/json"
TEXT = "text/plain"


class Tag(Enum):
    """The chapters of the document."""

    FORM = "Upload by form"
    TUS = "Upload by tus"
    TASKS = "Uploads and tasks"
    GRANTS = "Upload grants"
    LIVE = "Live events"
    SHARES = "Shared videos"
    WEBHOOKS = "Webhooks"
    REPORTS = "Reports"
    ADMIN = "Administration"
    RESULTS = "Results"
    SESSION = "Sign-in of the page"
    SERVER = "The server"
    ORIGINS = "Pages of other origins"


class Face(Enum):
    """How an operation words its refusals."""

    API = "api"  # {"success": false, "message", "code", "invalid_files"}
    FORM = "form"  # the same, and `invalid_files` may list files, with reasons in `invalid_details`
    SESSION = "session"  # as API, with `messages`, the sentence in each language
    TUS = "tus"  # `code: sentence` as text; JSON for `Accept: application/json`
    BARE = "bare"  # it does not refuse


class Who(Enum):
    """Who may call an operation when `auth` is on."""

    EVERYBODY = "everybody"
    PAGE = "page"  # the session cookie alone, from a page of the server
    CREDENTIAL = "credential"  # a key, a token or a session
    URL = "url"  # that, or the signed URL of the upload
    CREATOR = "creator"  # a credential or an upload grant


@dataclass(frozen=True, kw_only=True)
class Named:
    """A schema that the document has once, under this name."""

    name: str
    schema: Schema


AnySchema = Schema | Named


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter of a request: `where` is `path`, `query` or `header`."""

    name: str
    where: str
    description: str
    schema: AnySchema
    required: bool = False
    example: Any = None


@dataclass(frozen=True, kw_only=True)
class Header:
    """A header of an answer. Not `required`: it may be missing."""

    name: str
    description: str
    schema: AnySchema
    required: bool = False


@dataclass(frozen=True, kw_only=True)
class Body:
    """The body of a request."""

    media_type: str
    schema: AnySchema
    description: str = ""
    required: bool = True
    example: Any = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer that is not a refusal. `content` is by media type; without it the answer has no body."""

    status: int
    description: str
    content: Mapping[str, AnySchema] | None = None
    headers: tuple[Header, ...] = ()
    example: Any = None


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one path.

    `id` is unique in the document: generated clients make a function of it. `scope` is what a credential needs.
    `errors` are the refusals of this operation alone: those of every request, of authentication, of JSON bodies
    (`JSON_BODY`) and of writing are added by `document.py`.
    """

    id: str
    tag: Tag
    summary: str
    answers: tuple[Answer, ...]
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    errors: tuple[Refusal, ...] = ()
    face: Face = Face.API
    who: Who = Who.CREDENTIAL
    scope: str = ""
    headers: tuple[Header, ...] = ()
    """Headers of all answers, of refusals too."""

    def as_head(self, name: str) -> "Operation":
        """The same for HEAD, as an operation of this name: every answer without its body, and no redirect."""
        own = (answer for answer in self.answers if answer.status != 302)
        bare = tuple(replace(answer, content=None, example=None) for answer in own)
        return replace(self, id=name, summary=f"{self.summary} (the head only)", answers=bare, description="")


Operations = Mapping[str, Operation]
"""Operations by method."""


def path(name: str, description: str, schema: AnySchema, example: Any = None) -> Parameter:
    """A parameter in the path."""
    return Parameter(name=name, where="path", description=description, schema=schema, required=True, example=example)


def query(name: str, description: str, schema: AnySchema, example: Any = None) -> Parameter:
    """A parameter in the query, which may be left out."""
    return Parameter(name=name, where="query", description=description, schema=schema, example=example)


def header(name: str, description: str, schema: AnySchema, *, required: bool = False, example: Any = None) -> Parameter:
    """A header of a request."""
    return Parameter(
        name=name, where="header", description=description, schema=schema, required=required, example=example
    )


def record(
    properties: Mapping[str, AnySchema], *, optional: tuple[str, ...] = (), description: str = ""
) -> dict[str, Any]:
    """A JSON object that has all of `properties`, but may lack those that `optional` names.

    Clients must ignore other keys, which a later version may add; the checker of the tests refuses them.
    """
    needed = [name for name in properties if name not in optional]
    made: dict[str, Any] = {"type": "object", "properties": dict(properties)}
    made |= {"required": needed} if needed else {}
    return made | ({"description": description} if description else {})


def array(items: AnySchema, description: str = "", **limits: int) -> dict[str, Any]:
    """A JSON array; `limits` are minItems and maxItems."""
    return {"type": "array", "items": items, **limits} | ({"description": description} if description else {})


def text(description: str = "", **rules: Any) -> dict[str, Any]:
    """A string; `rules` are keywords of JSON Schema."""
    return {"type": "string", **rules} | ({"description": description} if description else {})


def integer(description: str = "", least: int | None = None, most: int | None = None) -> dict[str, Any]:
    """A whole number from `least` to `most`."""
    made: dict[str, Any] = {"type": "integer"}
    made |= {} if least is None else {"minimum": least}
    made |= {} if most is None else {"maximum": most}
    return made | ({"description": description} if description else {})


def number(description: str = "", **rules: Any) -> dict[str, Any]:
    """A number."""
    return {"type": "number", **rules} | ({"description": description} if description else {})


def boolean(description: str = "") -> dict[str, Any]:
    """True or false."""
    return {"type": "boolean"} | ({"description": description} if description else {})


def one_of(values: type[Enum] | tuple[str, ...], description: str = "") -> dict[str, Any]:
    """One of these strings, or of the values of an enumeration."""
    given = [str(value.value) for value in values] if isinstance(values, type) else list(values)
    return {"type": "string", "enum": given} | ({"description": description} if description else {})


def nullable(schema: AnySchema, description: str = "") -> dict[str, Any]:
    """What may be null, too."""
    if isinstance(schema, Mapping) and isinstance(schema.get("type"), str) and "enum" not in schema:
        made = {**schema, "type": [schema["type"], "null"]}
    else:
        made = {"anyOf": [schema, {"type": "null"}]}
    return made | ({"description": description} if description else {})


def moment(description: str = "") -> dict[str, Any]:
    """A time in UTC, to the second: `2026-11-22T11:23:18Z`."""
    return text(description, format="date-time", pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$")


def url(description: str = "") -> dict[str, Any]:
    """An absolute URL."""
    return text(description, format="uri", pattern="^https?://")


_UUID = "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
UUID: Schema = {"type": "string", "format": "uuid", "pattern": _UUID}
