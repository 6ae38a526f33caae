"""What the protocol class offers to an application in the scope of a request, and to uvicorn's cycle.

Rule: these are handles without a state machine of their own; what a connection may do now is the protocol's to know.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from server.transport.socket_body import Taken

if TYPE_CHECKING:
    from server.serving.uvicorn_http import VideodockHttp


class BodyHandover:
    """The body of one request, for a reader of the socket itself: see `socket_body.Handover`."""

    def __init__(self, protocol: "VideodockHttp", cycle: RequestResponseCycle, length: int) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self._length = length

    def take(self) -> Taken:
        front, self._cycle.body = bytes(self._cycle.body), bytearray()
        rest = self._length - len(front)
        return Taken(front, self._protocol.hand_over(self._cycle) if rest else -1, rest)

    def give_back(self) -> None:
        self._protocol.take_back(self._cycle)

    def gone(self) -> None:
        self._protocol.give_up(self._cycle)


class FileOutlet:
    """The socket of one answer, for a writer into the socket itself: see `sendfile.Outlet`."""

    def __init__(self, protocol: "VideodockHttp", cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle

    async def take(self, count: int, lost: Callable[[], None]) -> int:
        if self._cycle.disconnected:
            return -1
        if count > self._cycle.expected_content_length:  # 0 as long as there was no head, and for chunks
            raise RuntimeError("a file needs a head in front of it, with a Content-Length that has room for it")
        return await self._protocol.lend_socket(self._cycle, lost)

    def sent(self, count: int) -> None:
        self._cycle.expected_content_length -= count

    def give_back(self) -> None:
        self._protocol.reclaim_socket()

    def gone(self) -> None:
        self._protocol.reset(self._cycle)


class LingeringClose:
    """The transport as a cycle sees it: closing before a body was read must not reset the connection."""

    def __init__(self, protocol: "VideodockHttp", cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing

    def close(self) -> None:
        if self._cycle.more_body and self._cycle.response_complete:
            self._protocol.end()
        else:
            self._protocol.close()
