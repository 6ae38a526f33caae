"""POST /api/grants: a backend asks for an upload on behalf of somebody, and hands its URLs to a phone.

Rule: every field is checked completely; a field that is not known is refused, since a misspelt limit would be none.
"""

from datetime import UTC
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import JSONResponse, Response

from server import media_types
from server.auth.audit import Entry
from server.auth.authenticator import client_address
from server.auth.grants import GrantTerms
from server.bootstrap import Services
from server.errors import FieldInvalidError, MethodNotAllowedError, ScopeMissingError, UploadTooLargeError
from server.tus.group_metadata import FILE, FILES, TASK
from server.tus.headers import is_id
from server.tus.passthrough import KEY as PASSTHROUGH
from server.tus.passthrough import MOST_BYTES, of_field
from server.web import multipart, tus
from server.web.access import Access
from server.web.described import DescribedRoute
from server.web.endpoint import Call, endpoint
from server.web.errors import api_response
from server.web.json_body import read_object
from server.web.middleware.cors import for_api
from server.web.middleware.proxy import base_url
from server.web.openapi.access import GRANTS

PATH = "/api/grants"
_MOST_TEXT = 1024
_LEAST_SECONDS, _MOST_SECONDS, _MOST_UPLOADS = 60, 7 * 86400, 50
_MOST_METADATA = 20  # keys
# Keys of metadata that have fields of their own, which are checked.
_OF_FIELDS = frozenset({TASK, FILES, FILE, "filename", "name", PASSTHROUGH})
# What a field must be, as an example that needs no translation.
_EXPECTED = {
    "filename": '"holiday.mp4"',
    "size": "1, 2, 3, …",
    "max_size": "1, 2, 3, …",
    "max_duration": "0.5, 60, …",
    "types": media_types.KNOWN,
    "task": '"6f1c2b0e-…" (UUID, version 4)',
    "metadata": '{"key": "text"}',
    "passthrough": f'"text" (UTF-8, <= {MOST_BYTES} bytes)',
    "allowed_origin": '"https://shop.example"',
}


def _type(name: str) -> str:
    plain = name.lower().removeprefix(".")
    media_types.accepted((plain,), by_form=False)  # raises KeyError
    return plain


def _task(text: str) -> str:
    if not is_id(text.lower()):
        raise ValueError("a UUID of version 4")
    return text.lower()


def _passthrough(text: str) -> str:
    try:
        of_field(text)
    except FieldInvalidError:
        raise ValueError("text of at most 1 KiB") from None
    return text


def _free_key(name: str) -> str:
    if name in _OF_FIELDS:
        raise ValueError("another key; this one has a field of its own")
    return name


_Text = Annotated[str, Field(min_length=1, max_length=_MOST_TEXT)]
# Names and tasks have fields of their own, which are checked.
_Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$"), AfterValidator(_free_key)]


class _Asked(BaseModel):
    """The body of a request."""

    model_config = ConfigDict(extra="forbid", strict=True)

    filename: _Text | None = None
    size: int | None = Field(None, ge=1, le=(1 << 63) - 1)
    max_size: int | None = Field(None, ge=1, le=(1 << 63) - 1)
    max_duration: float | None = Field(None, gt=0, le=1e9)
    types: Annotated[list[Annotated[str, AfterValidator(_type)]], Field(min_length=1, max_length=50)] | None = None
    task: Annotated[str, AfterValidator(_task)] | None = None
    metadata: Annotated[dict[_Key, Annotated[str, Field(max_length=_MOST_TEXT)]], Field(max_length=_MOST_METADATA)] = {}
    passthrough: Annotated[str, AfterValidator(_passthrough), Field(min_length=1)] | None = None
    expires_in: int = Field(3600, ge=_LEAST_SECONDS, le=_MOST_SECONDS)
    uploads: int = Field(1, ge=1, le=_MOST_UPLOADS)
    allowed_origin: Annotated[str, Field(pattern=r"^https?://[^/\s]{1,255}$")] | None = None

    def terms(self) -> GrantTerms:
        """The terms of the grant."""
        metadata = self.metadata | ({} if self.passthrough is None else {PASSTHROUGH: self.passthrough})
        return GrantTerms(
            expires_in=self.expires_in,
            uploads=self.uploads,
            filename=self.filename,
            size=self.size,
            max_size=self.max_size,
            max_duration=self.max_duration,
            types=None if self.types is None else tuple(self.types),
            task=self.task,
            metadata=metadata or None,
            allowed_origin=self.allowed_origin,
        )


def routes(services: Services) -> list[DescribedRoute]:
    """The one route."""
    cors = for_api(services.settings, "POST")
    handle = _GrantRoute(services).create
    served = endpoint(handle, api_response, route=PATH, intake=services.intake, cors=cors)
    return [DescribedRoute(PATH, served, GRANTS, preflight=True)]


class _GrantRoute:
    def __init__(self, services: Services) -> None:
        self._access = Access(services)
        self._database = services.database
        self._grants = services.auth.grants
        self._audit = services.auth.audit
        self._policy = services.policy
        self._most_bytes = int(services.settings.tus_max_size)

    async def create(self, call: Call) -> Response:
        if call.head.method != "POST":
            raise MethodNotAllowedError(method=call.head.method, allowed="POST, OPTIONS")
        principal = await self._access.creator(call.scope)
        if principal.grant is not None:
            raise ScopeMissingError(scope="upload")  # a grant makes no grants
        asked = _parse(await read_object(call))
        limit = min(self._most_bytes, asked.max_size or self._most_bytes)
        if asked.size is not None and asked.size > limit:
            raise UploadTooLargeError(limit=limit)
        self._policy.check_filename(asked.filename, only=asked.terms().types)
        # It has the URL of an upload that is made at its first request, and that one is never refused. Not by address:
        # a backend has one for all of its users.
        rate = await self._access.count_creation(call.scope, principal, by_address=False)
        make = partial(self._grants.create, principal.owner, principal.credential, asked.terms())
        row, token, first = await self._database.run(make)
        about = {"object_kind": "grant", "object_id": row.id, "address": client_address(call.scope)}
        await self._audit.record(Entry.by(principal, "grant_created", details={"uploads": row.uploads}, **about))
        base = base_url(call.scope)
        segment = await self._access.signed(first)
        content = {
            "success": True,
            "grant_id": row.id,
            "token": token,
            "upload_url": f"{base}{tus.PATH}/{segment}",
            "tus_endpoint": f"{base}{tus.PATH}/g/{token}",
            "form_url": f"{base}{multipart.PATH}/g/{token}",
            "status_url": f"{base}/api/task/status/{segment}",
            "expires_at": row.expires_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        return JSONResponse(content, 201, headers={"Cache-Control": "no-store", **rate})


def _parse(body: dict[str, Any]) -> _Asked:
    try:
        return _Asked.model_validate(body)
    except (ValidationError, KeyError) as error:
        raise _explained(error, body) from None


def _explained(error: ValidationError | KeyError, body: dict[str, Any]) -> FieldInvalidError:
    """The first of what is wrong, in the reader's language."""
    if isinstance(error, KeyError):
        return FieldInvalidError(field="types", reason="field_type", expected=media_types.KNOWN)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])[:64]
    if first["type"] == "extra_forbidden":
        return FieldInvalidError(field=field, reason="field_unknown")
    if field == "expires_in" and isinstance(body.get(field), int):
        return FieldInvalidError(field=field, reason="field_range", least=_LEAST_SECONDS, most=_MOST_SECONDS)
    if field == "uploads" and isinstance(body.get(field), int):
        return FieldInvalidError(field=field, reason="field_range", least=1, most=_MOST_UPLOADS)
    expected = _EXPECTED.get(field.partition(".")[0]) or first["msg"].removeprefix("Input should be ")
    return FieldInvalidError(field=field, reason="field_type", expected=expected[:200])
