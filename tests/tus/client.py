"""tus as bytes: requests of a client that does just what a test says, and what the server must then have."""

import base64
import random
from collections.abc import Mapping

from tests.harness.http import Answer, LiveServer, request

MOUNT = "/files"
VERSION = {"Tus-Resumable": "1.0.0"}
OCTETS = "application/offset+octet-stream"
# A real `ftyp` box: what follows it is noise, no two stretches alike.
FTYP = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"
PAST = "2000-01-01 00:00:00.000000"


def video(size: int, seed: int = 1) -> bytes:
    """So many bytes that begin like an MP4 file."""
    return (FTYP + random.Random(seed).randbytes(max(0, size - len(FTYP))))[:size]


def metadata(**pairs: str) -> str:
    """Upload-Metadata."""
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())


def creation(length: int, name: str | None = "clip.mp4") -> dict[str, str]:
    """Headers of a POST that creates."""
    headers = VERSION | {"Upload-Length": str(length)}
    return headers if name is None else headers | {"Upload-Metadata": metadata(filename=name)}


def patch_headers(offset: int) -> dict[str, str]:
    """Headers of a PATCH."""
    return VERSION | {"Upload-Offset": str(offset), "Content-Type": OCTETS}


def create(live: LiveServer, length: int, name: str | None = "clip.mp4", more: Mapping[str, str] | None = None) -> str:
    """A new upload; its id."""
    answer = live.ask("POST", MOUNT, creation(length, name) | dict(more or {}))
    assert answer.status == 201, answer
    return id_of(answer)


def id_of(answer: Answer) -> str:
    """The id at the end of Location."""
    return answer.headers["location"].rpartition("/")[2]


def target(upload: str) -> str:
    """The path of an upload."""
    return f"{MOUNT}/{upload}"


def patch(live: LiveServer, upload: str, offset: int, body: bytes) -> Answer:
    """One PATCH on a connection of its own."""
    return live.ask("PATCH", target(upload), patch_headers(offset), body)


def patch_request(upload: str, offset: int, body: bytes, *, length: int | None = None) -> bytes:
    """The bytes of a PATCH; `length` is what Content-Length says, if it is not the truth."""
    said = len(body) if length is None else length
    return request("PATCH", target(upload), patch_headers(offset) | {"Content-Length": str(said)}) + body


def head(live: LiveServer, upload: str) -> Answer:
    """One HEAD on a connection of its own."""
    return live.ask("HEAD", target(upload), VERSION)


def filled(live: LiveServer, length: int, have: int) -> tuple[str, bytes]:
    """An upload that has the first `have` of its `length` bytes; its id, and all of the bytes."""
    data = video(length)
    upload = create(live, length)
    if have:
        answer = patch(live, upload, 0, data[:have])
        assert (answer.status, answer.headers["upload-offset"]) == (204, str(have)), answer
    return upload, data
