"""The one place where an exception becomes a response, in the reader's language.

Rule: for every error the client gets its code and its sentence; no traceback, path or secret. An unexpected error is
logged whole, and the client gets the id under which the log has it.
"""

import errno
from collections.abc import Mapping

import structlog
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Scope

from server.database.session import AWAY, is_full, reason
from server.errors import (
    AuthenticationRequiredError,
    BusyError,
    ContentEncodingUnsupportedError,
    CredentialInvalidError,
    InternalError,
    StorageFullError,
    UnavailableError,
    VersionUnsupportedError,
    VideodockError,
)
from server.messages import LANGUAGES, Language, negotiate, sentence

_log = structlog.stdlib.get_logger("videodock.web")


def language(scope: Scope, default: Language) -> Language:
    """The reader's language, by Accept-Language."""
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"accept-language"]
    return negotiate(",".join(values), default)


def known(error: Exception, scope: Scope) -> VideodockError:
    """The error as the table has it; an exception that the table lacks is an internal error, and logged."""
    if isinstance(error, VideodockError) and error.status_hint != InternalError.status:
        return error
    if is_full(error):
        _log.warning("database_full", reason=reason(error))
        return StorageFullError()
    if isinstance(error, AWAY):
        # One line: while a database is away, every request gets here.
        _log.warning("database_unavailable", reason=reason(error))
        return UnavailableError(part="database")
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        _log.error("out_of_descriptors")
        return UnavailableError(part="server")
    _log.error("internal_error", exc_info=error)
    return InternalError(request_id=str(scope.get("state", {}).get("request_id", "?")))


def tus_response(error: VideodockError, scope: Scope) -> Response:
    """`code: sentence` as text, with the headers that tus clients act on; JSON for `Accept: application/json`."""
    if _accepts_json_only(scope):
        return JSONResponse(in_every_language(error), error.status_hint, headers=_headers(error))
    text = f"{error.code}: {sentence(error.code, error.params, language(scope, 'en'))}\n"
    return PlainTextResponse(text, error.status_hint, headers=_headers(error))


def _accepts_json_only(scope: Scope) -> bool:
    values = [value.strip().lower() for name, value in scope["headers"] if name == b"accept"]
    return values == [b"application/json"]


def in_every_language(error: VideodockError) -> dict[str, object]:
    """Code and sentences, for a page that lets its reader switch the language after the refusal."""
    messages = {spoken: sentence(error.code, error.params, spoken) for spoken in LANGUAGES}
    return {"code": error.code, "messages": messages}


def api_response(error: VideodockError, scope: Scope, **more: object) -> Response:
    """The documented form: success, message, invalid_files; and the code."""
    body = {
        "success": False,
        "message": sentence(error.code, error.params, language(scope, "zh")),
        "code": error.code,
        "invalid_files": None,
        **more,
    }
    return JSONResponse(body, error.status_hint, headers=_headers(error))


def _headers(error: VideodockError) -> Mapping[str, str]:
    headers = {"Cache-Control": "no-store"}
    if error.upload_offset is not None:
        headers["Upload-Offset"] = str(error.upload_offset)
    if isinstance(error, BusyError):
        headers["Retry-After"] = str(error.retry_seconds)
    if isinstance(error, AuthenticationRequiredError | CredentialInvalidError):
        headers["WWW-Authenticate"] = "Bearer"  # RFC 9110 section 11.6.1
    if isinstance(error, VersionUnsupportedError):
        headers["Tus-Version"] = str(error.params["supported"])
    if isinstance(error, ContentEncodingUnsupportedError):
        headers["Accept-Encoding"] = "identity"  # RFC 9110 section 12.5.3: the response names the accepted coding
    if "allowed" in error.params:
        headers["Allow"] = str(error.params["allowed"])
    return headers
