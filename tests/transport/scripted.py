"""Request bodies that come as a test wrote them down."""

import asyncio
from collections.abc import Iterable, MutableMapping
from typing import Any

from server.transport.body import AsgiBody

Message = MutableMapping[str, Any]
GONE: Message = {"type": "http.disconnect"}


def chunk(data: bytes, *, more: bool = True) -> Message:
    """One message with bytes; the last one says that there is no more."""
    return {"type": "http.request", "body": data, "more_body": more}


def whole(pieces: Iterable[bytes]) -> list[Message]:
    """The messages of a body that comes to its end."""
    return [*(chunk(piece) for piece in pieces), chunk(b"", more=False)]


class Script:
    """An ASGI `receive` that says these messages, and then nothing more: whoever asks again waits."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self._messages = list(messages)
        self.asked = 0
        """How often it was asked."""

    async def receive(self) -> Message:
        self.asked += 1
        if self._messages:
            return self._messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError("nobody sets that event")


def scripted(messages: Iterable[Message], idle_seconds: float = 30) -> AsgiBody:
    """A body of these messages."""
    return AsgiBody(Script(messages).receive, idle_seconds)
