"""The connection, as its handles see it.

Rule: only signatures; the handles and the protocol class both import this module, and neither imports the other's.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class ConnectionEnd(Protocol):
    """The two ways to end a connection after a response."""

    transport: asyncio.Transport

    def end(self) -> None:
        """Close so that the client receives the response, although bytes of its request were not read."""

    def close(self) -> None:
        """Close after all that was written."""


class SocketOwner(Protocol):
    """A connection that lends its socket: for a body, and for bytes of a response."""

    transport: asyncio.Transport

    def hand_over(self, cycle: RequestResponseCycle) -> int:
        """Stop reading; a descriptor for the socket, or -1 when the connection is gone."""

    def take_back(self, cycle: RequestResponseCycle) -> None:
        """The body was read to its end: read on from the next byte."""

    def give_up(self, cycle: RequestResponseCycle) -> None:
        """The client left in the middle of its body."""

    async def lend_socket(self, cycle: RequestResponseCycle, on_lost: Callable[[], None]) -> int:
        """Wait until everything is written; a descriptor for the socket, or -1 when the connection is gone."""

    def reclaim_socket(self) -> None:
        """The application writes no more by itself."""

    def reset(self, cycle: RequestResponseCycle) -> None:
        """End a connection whose client does not read its response."""
