"""The response to a request for bytes that are complete: from this machine, from elsewhere, or a redirect to elsewhere.

Rules:

- A redirect is for GET of a video or a segment of one, where the store signs addresses and the setting asks for it.
  Playlists and lists of thumbnails name other results relative to their own address, so they always come from here.
- The address is signed for as long as the setting says, and no longer than the right of the request lasts.
"""

from collections.abc import Callable, Sequence

from starlette.responses import Response
from starlette.types import Scope

from server import threads
from server.settings import Settings
from server.storage.stored_file import Sign, StoredFile, Terms
from server.web.file_response import Range, StoredFileResponse
from server.web.streamed_file import StreamedFileResponse

_REDIRECTED = ("video/", "application/octet-stream")


async def respond(
    file: StoredFile,
    media_type: str,
    headers: dict[str, str],
    ranges: Sequence[Range] | None,
    refuse: Callable[[Exception, Scope], Response],
    settings: Settings,
    *,
    method: str,
    seconds: int | None = None,
) -> Response:
    """The bytes in `ranges`, or all of them with None. `seconds` are left of the right to them; None is for ever.

    `refuse` responds when they cannot be read.
    """
    if file.sign is not None and method == "GET" and media_type.startswith(_REDIRECTED):
        return await _redirect(file.sign, media_type, headers, min(settings.s3_presign, seconds or settings.s3_presign))
    if file.read is not None:
        return StreamedFileResponse(file.read, file.stat, media_type, headers, ranges, refuse, settings)
    return StoredFileResponse(file.path, file.stat, media_type, headers, ranges, refuse, settings)


async def _redirect(sign: Sign, media_type: str, headers: dict[str, str], seconds: int) -> Response:
    terms = Terms(
        seconds=max(1, seconds),
        media_type=media_type,
        cache_control=headers["Cache-Control"],
        disposition=headers.get("Content-Disposition"),
    )
    place = await threads.run(sign, terms)
    # Not stored: the address is the right to the bytes, and it ends.
    return Response(status_code=302, headers={"Location": place, "Cache-Control": "private, no-store"})
