"""The refusals of an operation: what it lists, and what every request may get; and how each face words them.

Rule: codes, statuses and sentences come from `server/errors` and `server/messages`; nothing here writes one.
"""

from collections.abc import Iterable, Mapping

from server.errors import (
    AuthenticationRequiredError,
    BusyError,
    ContentEncodingUnsupportedError,
    CredentialInvalidError,
    CrossSiteError,
    HeaderInvalidError,
    HeadTimeoutError,
    HeadTooLargeError,
    HostInvalidError,
    HostNotAllowedError,
    InternalError,
    MethodNotAllowedError,
    OffsetError,
    RangeUnsatisfiableError,
    RateLimitedError,
    ScopeMissingError,
    StoppingError,
    StorageFullError,
    TooBusyError,
    UnavailableError,
    VersionUnsupportedError,
    VideodockError,
)
from server.messages import templates
from server.web.openapi.files import CONTENT_RANGE
from server.web.openapi.operation import (
    JSON,
    TEXT,
    AnySchema,
    Face,
    Header,
    Named,
    Operation,
    Refusal,
    Who,
    array,
    nullable,
    record,
    text,
)
from server.web.openapi.schemas import REFUSED_FILES, RETRY_AFTER, UPLOAD_OFFSET

EARLY: tuple[type[VideodockError], ...] = (HostInvalidError, HeadTooLargeError, HeadTimeoutError, TooBusyError)
"""Refusals of the connection, before there is an application: always text, and without `X-Request-ID`."""

EVERY: tuple[type[VideodockError], ...] = (
    HeaderInvalidError,
    HostNotAllowedError,
    InternalError,
    UnavailableError,
    TooBusyError,
    StoppingError,
)
"""What every request may get from the application."""

ELSEWHERE = HostNotAllowedError.status
"""The status of what middleware refuses, before there is a route: always with the API's face."""

_WRITING = ("POST", "PUT", "PATCH", "DELETE")
_BY_WHO: Mapping[Who, tuple[type[VideodockError], ...]] = {
    Who.EVERYBODY: (),
    Who.PAGE: (CrossSiteError, CredentialInvalidError, RateLimitedError),
    Who.CREDENTIAL: (AuthenticationRequiredError, CredentialInvalidError, RateLimitedError, ScopeMissingError),
    Who.URL: (AuthenticationRequiredError, CredentialInvalidError, RateLimitedError, ScopeMissingError),
    Who.CREATOR: (AuthenticationRequiredError, CredentialInvalidError, RateLimitedError, ScopeMissingError),
}

_BASE: Mapping[str, AnySchema] = {
    "success": {"const": False},
    "message": text("What is wrong, and what to do; in the reader's language."),
    "code": text("Stable; for programs."),
}
_NO_FILES: AnySchema = {"type": "null", "description": "Of the answers to forms."}
_MESSAGES = record({"zh": text(), "en": text()}, description="The sentence in each language.")
ERRORS: Mapping[Face, Named] = {
    Face.API: Named(name="Error", schema=record({**_BASE, "invalid_files": _NO_FILES})),
    Face.FORM: Named(
        name="FormError",
        schema=record(
            {
                **_BASE,
                "invalid_files": nullable(array(text()), "The names of the refused files."),
                "invalid_details": nullable(REFUSED_FILES),
            },
            optional=("invalid_details",),
        ),
    ),
    Face.SESSION: Named(
        name="SessionError", schema=record({**_BASE, "invalid_files": _NO_FILES, "messages": _MESSAGES})
    ),
    Face.TUS: Named(name="TusError", schema=record({"code": text("Stable; for programs."), "messages": _MESSAGES})),
}

_CHALLENGE = Header(
    name="WWW-Authenticate", description="RFC 9110 section 11.6.1.", schema={"const": "Bearer"}, required=True
)
_VERSIONS = Header(name="Tus-Version", description="The versions that the server speaks.", schema=text(), required=True)
_CODINGS = Header(name="Accept-Encoding", description="The only coding of a body.", schema={"const": "identity"})
_ALLOWED = Header(name="Allow", description="The methods of this address.", schema=text(), required=True)


def refusals(method: str, operation: Operation) -> dict[int, list[type[VideodockError]]]:
    """Every refusal of an operation, by status."""
    found: dict[int, list[type[VideodockError]]] = {}
    listed: Iterable[Refusal] = (*operation.errors, *_BY_WHO[operation.who], *EVERY)
    if method in _WRITING and operation.who in (Who.CREDENTIAL, Who.URL, Who.CREATOR):
        listed = (*listed, CrossSiteError)  # where the credential is the session's cookie
    if method in _WRITING:
        listed = (*listed, StorageFullError)
    for refusal in listed if operation.face is not Face.BARE else EVERY:
        kind, status = refusal if isinstance(refusal, tuple) else (refusal, refusal.status)
        kinds = found.setdefault(status, [])
        if kind not in kinds:
            kinds.append(kind)
    for early in EARLY:
        found.setdefault(early.status, [])
    return found


def description(status: int, kinds: Iterable[type[VideodockError]]) -> str:
    """The codes of an answer with their sentences, as Markdown."""
    early = [kind for kind in EARLY if kind.status == status]
    codes = sorted({kind.code for kind in (*kinds, *early)})
    return "\n".join(f"- `{code}`: {templates(code)[1]}" for code in codes)


def content(face: Face, status: int, kinds: Iterable[type[VideodockError]]) -> dict[str, AnySchema]:
    """The bodies of a refusal, by media type."""
    codes = sorted({kind.code for kind in kinds})
    words = sorted({*(codes if face is Face.TUS else []), *(kind.code for kind in EARLY if kind.status == status)})
    found: dict[str, AnySchema] = {}
    if codes:
        error = ERRORS[Face.API if face is Face.BARE else face]
        found[JSON] = {"allOf": [error, {"properties": {"code": {"enum": codes}}}]}
    if face is Face.FORM:
        found["text/html"] = text("Where a page is asked for.")
    if words:
        found[TEXT] = text("`code: sentence`", pattern=f"^({'|'.join(words)}): ")
    return found


def headers(kinds: Iterable[type[VideodockError]]) -> list[Header]:
    """The headers that these refusals bear."""
    given = list(kinds)
    found = []
    if any(issubclass(kind, BusyError) for kind in given):
        found.append(RETRY_AFTER)
    if any(issubclass(kind, OffsetError) for kind in given):
        found.append(UPLOAD_OFFSET)
    if any(issubclass(kind, AuthenticationRequiredError | CredentialInvalidError) for kind in given):
        found.append(_CHALLENGE)
    if any(issubclass(kind, VersionUnsupportedError) for kind in given):
        found.append(_VERSIONS)
    if any(issubclass(kind, ContentEncodingUnsupportedError) for kind in given):
        found.append(_CODINGS)
    if any(issubclass(kind, MethodNotAllowedError) for kind in given):
        found.append(_ALLOWED)
    if any(issubclass(kind, RangeUnsatisfiableError) for kind in given):
        found.append(CONTENT_RANGE)
    return found
