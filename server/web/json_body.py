"""Small JSON bodies of the API.

Rule: a body is read up to a limit and parsed completely, or refused; what is refused changes nothing.
"""

import json
from typing import Any

from server.errors import BodyTooLargeError, ContentTypeUnsupportedError, FieldInvalidError
from server.transport.body import End
from server.uploads.service import ClientGoneError
from server.web.endpoint import Call

_MOST_BYTES = 16 << 10
_TYPE = "application/json"


async def read_object(call: Call) -> dict[str, Any]:
    """The JSON object in the body of a request; an empty body is an empty object.

    Raises `ContentTypeUnsupportedError`, `BodyTooLargeError`, `FieldInvalidError`, `ClientGoneError`.
    """
    buffer = bytearray(_MOST_BYTES + 1)
    moved = await call.body.read_into(memoryview(buffer))
    if moved.end is End.LIMIT:
        raise BodyTooLargeError(room=_MOST_BYTES)
    if moved.end is not End.COMPLETE:
        raise ClientGoneError
    if not moved.count:
        return {}
    if call.head.content_type != _TYPE:
        raise ContentTypeUnsupportedError(expected=_TYPE)
    try:
        found = json.loads(buffer[: moved.count])
    except (ValueError, RecursionError):
        raise FieldInvalidError(field="body", reason="field_type", expected="{…} (JSON)") from None
    if not isinstance(found, dict):
        raise FieldInvalidError(field="body", reason="field_type", expected="{…} (JSON)")
    return found
