"""Responses that the protocol class makes itself, when no application can: the request was never whole.

Rule: such a response is the last on its connection, and has `Connection: close`.
"""

from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from server.errors import BusyError, VideodockError
from server.messages import sentence

Pairs = Iterable[tuple[bytes, bytes]]


def refusal(error: VideodockError, default_headers: Pairs) -> bytes:
    """The bytes of a response with this error's sentence."""
    retry = [(b"retry-after", b"%d" % error.retry_seconds)] if isinstance(error, BusyError) else []
    return words(
        error.status, f"{error.code}: {sentence(error.code, error.params, 'en')}\n", [*default_headers, *retry]
    )


def words(status: int, text: str, more: Pairs) -> bytes:
    """The bytes of a response with this text."""
    body = text.encode()
    headers = [
        *more,
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    return STATUS_LINE[status] + b"".join(b"%s: %s\r\n" % pair for pair in headers) + b"\r\n" + body
