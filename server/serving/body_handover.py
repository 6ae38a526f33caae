"""Handles of a connection: for the application, in the scope of a request, and for uvicorn's cycle.

Rule: a handle has no state machine of its own; the connection decides what is allowed now. The handles use a
connection only through `socket_owner.py`.
"""

from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from server.serving.socket_owner import ConnectionEnd, SocketOwner
from server.transport.short_answer import NO_HEADERS, FixedHeaders, Pairs, lines_of
from server.transport.socket_body import Taken


class BodyHandover:
    """The body of one request, for a reader of the socket itself: see `socket_body.Handover`."""

    def __init__(self, owner: SocketOwner, cycle: RequestResponseCycle, length: int) -> None:
        self._owner = owner
        self._cycle = cycle
        self._length = length

    def take(self) -> Taken:
        front, self._cycle.body = bytes(self._cycle.body), bytearray()
        rest = self._length - len(front)
        return Taken(front, self._owner.hand_over(self._cycle) if rest else -1, rest)

    def give_back(self) -> None:
        self._owner.take_back(self._cycle)

    def gone(self) -> None:
        self._owner.give_up(self._cycle)


class FileOutlet:
    """The socket of one answer, for a writer into the socket itself: see `sendfile.Outlet`."""

    def __init__(self, owner: SocketOwner, cycle: RequestResponseCycle) -> None:
        self._owner = owner
        self._cycle = cycle

    async def take(self, count: int, lost: Callable[[], None]) -> int:
        if self._cycle.disconnected:
            return -1
        if count > self._cycle.expected_content_length:  # 0 before the head, and for chunks
            raise RuntimeError("a file needs a head in front of it, with a Content-Length that has room for it")
        return await self._owner.lend_socket(self._cycle, lost)

    def sent(self, count: int) -> None:
        self._cycle.expected_content_length -= count

    def give_back(self) -> None:
        self._owner.reclaim_socket()

    def gone(self) -> None:
        self._owner.reset(self._cycle)


_NO_BODY = (b"content-length", b"0")


class WholeAnswer:
    """The answer to one request, if it has no body: see `short_answer.py`.

    uvicorn builds a head in a loop over its headers that costs more than all other work of a small response, and in two
    messages.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    def __call__(self, status: int, headers: Pairs, fixed: FixedHeaders = NO_HEADERS) -> bool:
        cycle = self._cycle
        if cycle.response_started or cycle.disconnected or cycle.flow.write_paused or not cycle.keep_alive:
            return False
        has_no_body = status in (204, 304) or cycle.scope["method"] == "HEAD" or _NO_BODY in headers
        lines = lines_of([*cycle.default_headers, *headers]) if has_no_body else None
        if lines is None:
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.transport.write(b"%b%b%b\r\n" % (STATUS_LINE[status], lines, fixed.lines))
        cycle.message_event.set()
        cycle.on_response()
        return True


class LingeringClose:
    """The transport as a cycle sees it: closing before a body was read must not reset the connection."""

    def __init__(self, end: ConnectionEnd, cycle: RequestResponseCycle) -> None:
        self._end = end
        self._cycle = cycle
        self.write = end.transport.write
        self.is_closing = end.transport.is_closing

    def close(self) -> None:
        if self._cycle.more_body and self._cycle.response_complete:
            self._end.end()
        else:
            self._end.close()
