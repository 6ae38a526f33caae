"""A response without a body, given to the server in one piece.

Rule: it says what the two ASGI messages of the same response would say. Where the server cannot send it at once, it
sends nothing and returns False: then the messages are sent.
"""

import re
from collections.abc import Sequence
from typing import Protocol

Pairs = Sequence[tuple[bytes, bytes]]

SHORT_ANSWER = "videodock.short_answer"
"""The key in an ASGI scope's extensions under which a server that can do this puts a `ShortAnswer`."""

# Whether a head is one that uvicorn would build: with any of these in a name or a value, another reader could see
# another head.
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def lines_of(pairs: Pairs) -> bytes | None:
    """The lines of these headers; None when one has a control character."""
    lines = [b"%b: %b" % pair for pair in pairs]
    if _CONTROLS.search(b"\t".join(lines)):
        return None
    lines.append(b"")
    return b"\r\n".join(lines)


class FixedHeaders:
    """Headers that many responses have alike: their lines are made once. Raises `ValueError` for control characters."""

    def __init__(self, pairs: Pairs = ()) -> None:
        self.pairs = tuple(pairs)
        lines = lines_of(self.pairs) if self.pairs else b""
        if lines is None:
            raise ValueError("a header has a control character")
        self.lines = lines


NO_HEADERS = FixedHeaders()


class ShortAnswer(Protocol):
    """Send a status and headers; returns whether that was done."""

    def __call__(self, status: int, headers: Pairs, fixed: FixedHeaders = NO_HEADERS) -> bool: ...
