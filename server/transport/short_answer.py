"""A response without a body, given to the server in one piece.

Rule: it says what the two ASGI messages of the same response would say. Where the server cannot send it at once, it
sends nothing and returns False: then the messages are sent.
"""

from collections.abc import Callable, Sequence

SHORT_ANSWER = "videodock.short_answer"
"""The key in an ASGI scope's extensions under which a server that can do this puts a `ShortAnswer`."""

ShortAnswer = Callable[[int, Sequence[tuple[bytes, bytes]]], bool]
"""Send a status and headers; returns whether that was done."""
