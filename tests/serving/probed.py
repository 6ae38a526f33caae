"""What the tests of the protocol class share: limits, a sentence, and what the application saw."""

import json
from typing import Any

from server.serving.http_limits import MAX_HEADERS
from tests.harness.http import Connection, request
from tests.transport.probe import LIMIT, trailing

INVALID = b"Invalid HTTP request received."

CHUNKED = {"Transfer-Encoding": "chunked"}

TIMEOUT = 1.0  # seconds for a head, where time is the subject

KEEP_ALIVE = 4.0  # seconds between two requests

PATCH = b"PATCH / HTTP/1.1\r\nHost: a\r\n"

LARGE = {
    "a value": request("GET", "/", {"X-Long": "a" * LIMIT}),
    "a name": request("GET", "/", {"a" * LIMIT: "b"}),
    "a target": request("GET", "/" + "a" * LIMIT),
    "many headers": request("GET", "/", [(f"X-{number}", "a" * 100) for number in range(200)]),
    "more headers than may be": request("GET", "/", [("A", "")] * MAX_HEADERS),
    "a value without end": b"GET / HTTP/1.1\r\nX-Long: " + b"a" * LIMIT,
    "blanks without end": b"GET / HTTP/1.1\r\nX-Long:" + b" " * LIMIT,
    "a method without end": b"GET " + b" " * LIMIT,
    "blank lines without end": b"\r\n" * LIMIT,
    "trailers": request("PATCH", "/", CHUNKED) + trailing([b"a"], [("X", "b" * LIMIT)]),
    "more trailers than may be": request("PATCH", "/", CHUNKED) + trailing([b"a"], [("X", "")] * (MAX_HEADERS + 1)),
    "a trailer without end": request("PATCH", "/", CHUNKED) + b"1\r\na\r\n0\r\nX: " + b"b" * 2 * LIMIT,
    "a chunk extension without end": request("PATCH", "/", CHUNKED) + b"1;" + b"b" * 2 * LIMIT,
}


def seen(connection: Connection) -> dict[str, Any]:
    """What the application saw of the request, as its answer says."""
    answer = connection.answer()
    assert answer.status == 200, answer
    found: dict[str, Any] = json.loads(answer.body)
    return found
