"""The reference: an ASGI application with no framework that writes what `receive()` brings by `os.pwrite`.

Rule: the least that any ASGI server on uvicorn does; as in the splice loop nothing is checked. The folder comes by
`BENCH_FOLDER`.
"""

import itertools
import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]

_FOLDER = Path(os.environ.get("BENCH_FOLDER", "."))
_names = itertools.count()


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """POST makes a file, PATCH writes into it, HEAD tells its size, DELETE removes it."""
    if scope["type"] != "http":
        return
    path = _FOLDER / scope["path"].rpartition("/")[2]
    status, headers = 204, []
    if scope["method"] == "POST":
        path = _FOLDER / str(next(_names))
        path.touch()
        status, headers = 201, [(b"location", f"/files/{path.name}".encode()), (b"content-length", b"0")]
    elif scope["method"] == "PATCH":
        offset = int(dict(scope["headers"])[b"upload-offset"])
        headers = [(b"upload-offset", str(await _store(path, offset, receive)).encode())]
    elif scope["method"] == "HEAD":
        status, headers = 200, [(b"upload-offset", str(path.stat().st_size).encode())]
    else:
        path.unlink()
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _store(path: Path, offset: int, receive: Callable[[], Awaitable[Message]]) -> int:
    target = os.open(path, os.O_WRONLY)
    try:
        while True:
            message = await receive()
            body = message.get("body", b"")
            offset += os.pwrite(target, body, offset)
            if not message.get("more_body", False):
                return offset
    finally:
        os.close(target)
