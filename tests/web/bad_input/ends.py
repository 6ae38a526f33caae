"""Requests that come to no end, as tables: where a connection is cut, and where one goes on byte by byte.

Rule: every one of these brings real bytes to an upload of its own, which is `{id}`, or a form; what came may be
kept, and nothing else.
"""

from dataclasses import dataclass

from tests.harness.http import chunked, request
from tests.tus.client import OCTETS, patch_headers, target, video

LENGTH = 100_000
DATA = video(LENGTH)
BODY = DATA[:400]
FORM = "/api/upload/videos"
FORM_TYPE = {"Content-Type": "multipart/form-data; boundary=b"}
PART = b'--b\r\nContent-Disposition: form-data; name="videos"; filename="a.mp4"\r\n\r\n'
CHUNKED = {"Transfer-Encoding": "chunked"}
ID = "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"  # for an upload's own, which is as long

# A chunked PATCH that is whole, in its phases. A connection is cut behind each.
_HEAD = request("PATCH", target(ID), patch_headers(0) | CHUNKED)
_PHASES: tuple[tuple[str, bytes], ...] = (
    ("nothing", b""),
    ("in the request line", _HEAD[:20]),
    ("in a header", _HEAD[20:-30]),
    ("in the end of the head", _HEAD[-30:-2]),
    ("between head and body", _HEAD[-2:]),
    ("in a chunk size", b"1"),
    ("in the end of a chunk size", b"90\r"),
    ("between chunk size and chunk", b"\n"),
    ("in a chunk", BODY[:200]),
    ("between a chunk and its end", BODY[200:]),
    ("between chunks", b"\r\n"),
    ("in the last chunk", b"0\r\n"),
    ("in the name of a trailer", b"X-Tra"),
    ("in a trailer", b"iler: a"),
    ("before the end of the trailers", b"\r\n"),
)
# Behind this nothing is missing, and the server may have answered or not.
WHOLE = "before the answer"


def cuts() -> dict[str, bytes]:
    """What was sent when the connection is cut, by phase."""
    found = {}
    sent = b""
    for phase, more in _PHASES:
        sent += more
        found[phase] = sent
    return found | {WHOLE: sent + b"\r\n"}


@dataclass(frozen=True)
class Slow:
    """What comes at once, what comes byte by byte behind it, over and over, and the refusal."""

    start: bytes
    tick: bytes
    status: int
    code: str
    kept: int = 0  # bytes of what comes at once that have to be kept


def _patch(length: int, start: bytes = b"") -> bytes:
    return request("PATCH", target(ID), patch_headers(0) | {"Content-Length": str(length)}) + start


_FORM_HEAD = request("POST", FORM, FORM_TYPE | {"Content-Length": "100000"})
_CREATION = request(
    "POST", "/files", {"Tus-Resumable": "1.0.0", "Upload-Length": "1000", "Content-Type": OCTETS,
                       "Content-Length": "1000"},
)  # fmt: skip

# Bytes that are not judged yet, or that one chunk ends with, may be followed by more of the same.
SLOW = {
    "a head": Slow(b"GET / HTTP/1.1\r\nX-Slow: ", b"a", 408, "head_timeout"),
    "a body from its start": Slow(_patch(LENGTH), b"\0", 408, "body_timeout"),
    "the rest of a body": Slow(_patch(LENGTH, BODY), b"\0", 408, "body_timeout", 400),
    "a body in chunks of a byte": Slow(_HEAD + chunked([BODY], end=False), b"1\r\na\r\n", 408, "body_timeout", 400),
    "a chunk size": Slow(_HEAD + chunked([BODY], end=False), b"0", 408, "body_timeout", 400),
    "a trailer": Slow(_HEAD + chunked([BODY], end=False) + b"0\r\nX: ", b"a", 408, "body_timeout", 400),
    "a creation": Slow(_CREATION, b"\0", 408, "body_timeout"),
    "a form from its start": Slow(_FORM_HEAD, b"\r\n", 408, "form_timeout"),
    "a part's head": Slow(_FORM_HEAD + PART[:-4], b"a", 408, "form_timeout"),
    "a part": Slow(_FORM_HEAD + PART + BODY, b"a", 408, "form_timeout"),
    "parts that nobody wants": Slow(_FORM_HEAD, b"--b\r\nA: b\r\n\r\n\r\n", 408, "form_timeout"),
    "behind a file": Slow(_FORM_HEAD + PART + BODY + b"\r\n--b\r\nA: b\r\n\r\n", b"a", 408, "form_timeout"),
}
# Only our own class knows a head before it is whole.
NOT_PORTABLE = ("a head",)


def bytes_for(data: bytes, upload: str) -> bytes:
    """What to send when that is the upload."""
    return data.replace(ID.encode(), upload.encode())
