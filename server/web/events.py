"""GET /api/task/events/<id> and GET /api/events: what happens to tasks and uploads, as server-sent events.

Rules:

- Who may ask for the status of a task may follow it, by the same credentials and URLs. A stream asks again every
  minute, and ends once that right has ended.
- The stream of a task ends after its last event. A client that comes back after that gets 204, at which a browser
  stops coming back.
"""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Connection, select
from starlette.responses import Response

from server.auth.authenticator import client_address
from server.auth.principal import Scope, is_owner
from server.bootstrap import Services
from server.database.models import Upload
from server.database.session import AWAY, reason
from server.errors import (
    FieldInvalidError,
    HeaderInvalidError,
    MethodNotAllowedError,
    TaskNotFoundError,
    TooManyStreamsError,
    VideodockError,
)
from server.events import feed
from server.events.feed import Event
from server.events.hub import Message, Stream
from server.events.progress import Interest
from server.events.types import ENDS, TASK_STATUS, UPLOAD_ENDS
from server.lifecycle import TASK_MOVES, UploadStatus, ends
from server.messages import LANGUAGES
from server.tasks import status_rows
from server.tasks.status_rows import TaskRows
from server.web.access import Access, Right
from server.web.described import DescribedRoute
from server.web.endpoint import Call, endpoint
from server.web.errors import api_response, language
from server.web.event_stream import BEAT, HEARTBEAT, EventStreamResponse, begin, frame
from server.web.event_texts import EventTexts, Reader
from server.web.middleware.cors import for_api
from server.web.middleware.proxy import base_url
from server.web.openapi import events as described
from server.web.query import Query

_CHECK_SECONDS = 60.0
_PAGE = 50
_HIGHEST = (1 << 63) - 1
_DIGITS = 19
_OVER = frozenset(status.value for status in ends(TASK_MOVES))
_UNDER_WAY = (UploadStatus.OPEN, UploadStatus.COMPLETE)

_log = structlog.stdlib.get_logger("videodock.web")


def routes(services: Services) -> list[DescribedRoute]:
    """The two routes."""
    live = _Live(services)
    made = []
    for path, handle, operations in (
        ("/api/task/events/{task_id}", live.of_task, described.TASK),
        ("/api/events", live.of_owner, described.ALL),
    ):
        cors = for_api(services.settings, *operations)
        served = endpoint(handle, api_response, route=path, intake=services.intake, cors=cors)
        made.append(DescribedRoute(path.replace("}", ":path}"), served, operations, preflight=True))
    return made


@dataclass(frozen=True)
class _Seen:
    """A task as a stream begins: its rows once it exists, whether all is over, and its newest and its last event."""

    rows: TaskRows | None
    is_over: bool
    newest: int
    final: Event | None


@dataclass
class _Slots:
    """How many streams are open, and of whom."""

    most: int
    most_of_one: int
    total: int = 0
    of_one: dict[str, int] = field(default_factory=dict)

    def take(self, who: str, *, is_owner: bool) -> Callable[[], None]:
        """One more stream of an owner or an address; returns what gives it back. Raises `TooManyStreamsError`."""
        if self.total >= self.most:
            raise TooManyStreamsError(limit=self.most, reason="streams_process")
        if self.of_one.get(who, 0) >= self.most_of_one:
            if is_owner:
                raise TooManyStreamsError(limit=self.most_of_one, reason="streams_owner")
            raise TooManyStreamsError(limit=self.most_of_one, reason="streams_address")
        self.total += 1
        self.of_one[who] = self.of_one.get(who, 0) + 1

        def give_back() -> None:
            self.total -= 1
            self.of_one[who] -= 1
            if not self.of_one[who]:
                del self.of_one[who]

        return give_back


@dataclass
class _Check:
    """Asks again whether the client has the right that its stream began with."""

    ask: Callable[[], Awaitable[Right]]
    asked_at: float = field(default_factory=time.monotonic)

    async def stop_without(self, stream: Stream) -> None:
        """Stop the stream if it has not, once a minute; while that cannot be checked, it counts as stopped."""
        if time.monotonic() - self.asked_at >= _CHECK_SECONDS:
            self.asked_at = time.monotonic()
            try:
                await self.ask()
            except AWAY:
                return
            except VideodockError:
                stream.stop()


class _Live:
    def __init__(self, services: Services) -> None:
        self._access = Access(services)
        self._texts = EventTexts(services, self._access)
        self._database = services.database
        self._hub = services.events.hub
        self._clock = services.clock
        settings = services.settings
        self._slots = _Slots(settings.max_event_streams, settings.max_owner_event_streams)

    # The two streams

    async def of_task(self, call: Call) -> Response:
        """The events of one task and its uploads."""
        segment = str(call.request.path_params["task_id"])
        _check_request(call)
        reader, after = _reader(call), _after(call)
        right = await self._access.task(call.scope, segment, Scope.READ)

        check = _Check(lambda: self._access.task(call.scope, segment, Scope.READ))
        seen = await self._database.run(self._look, right)
        await self._audit(call, right, seen)
        if seen.is_over and after is not None and seen.newest <= after:
            return Response(status_code=204, headers={"Cache-Control": "no-store"})
        return await self._open(call, right, Interest(right.id, None), seen, after, reader, check)

    async def of_owner(self, call: Call) -> Response:
        """The events of all tasks of an owner, or of all owners."""
        _check_request(call)
        reader, after = _reader(call), _after(call)
        wanted = Query(call.request).one("owner")
        if wanted is not None and not is_owner(wanted):  # PostgreSQL takes no NUL
            raise FieldInvalidError(field="owner", reason="field_type", expected='"ann"')
        right = await self._access.events(call.scope, wanted)

        check = _Check(lambda: self._access.events(call.scope, wanted))
        return await self._open(call, right, Interest(None, right.owner), None, after, reader, check)

    async def _open(
        self,
        call: Call,
        right: Right,
        interest: Interest,
        seen: _Seen | None,
        after: int | None,
        reader: Reader,
        check: _Check,
    ) -> Response:
        address = client_address(call.scope) or ""
        who = right.principal.owner if right.principal is not None and self._access.is_on else None
        give_back = self._slots.take(f"address {address}" if who is None else f"owner {who}", is_owner=who is not None)
        try:
            stream = await self._hub.open(interest, after)
            if after is not None and after > self._hub.position:
                await self._database.run(self._check_number, stream)
        except BaseException:
            give_back()
            raise

        def close() -> None:
            self._hub.close(stream)
            give_back()

        pieces = self._until_away(self._pieces(stream, seen, after, reader, check))
        return EventStreamResponse(pieces, leave=stream.stop, close=close)

    def _check_number(self, stream: Stream) -> None:
        """An event that does not exist is of another database: the stream begins now."""
        if stream.sent > feed.EventFeed.newest(self._database):
            stream.sent = self._hub.position

    # What is sent

    async def _until_away(self, pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        """The same; when the database goes away while it is needed, the stream ends, and its client comes back."""
        async with aclosing(pieces):
            try:
                async for piece in pieces:
                    yield piece
            except AWAY as error:
                _log.warning("event_stream_ended", reason=reason(error))

    async def _pieces(
        self, stream: Stream, seen: _Seen | None, after: int | None, reader: Reader, check: _Check
    ) -> AsyncGenerator[bytes]:
        yield begin(None) if after is not None else await self._begin(stream, seen, reader)
        if after is None and seen is not None and seen.is_over:
            return
        while not self._has_stopped(stream):
            await check.stop_without(stream)
            if stream.is_behind:
                async for piece, is_last in self._past(stream, reader):
                    yield piece
                    # What is past may be millions of events: it ends with its client and its right, too.
                    await check.stop_without(stream)
                    if is_last or self._has_stopped(stream):
                        return
            elif taken := stream.take():
                yield b"".join([await self._texts.message(message, reader) for message in taken])
                stream.sent = max(stream.sent, *(_number(message) for message in taken))
                if await self._is_over(stream, taken):
                    return
            elif not await stream.wait(HEARTBEAT):
                yield BEAT

    def _has_stopped(self, stream: Stream) -> bool:
        return stream.is_stopped or self._hub.is_stopping

    async def _begin(self, stream: Stream, seen: _Seen | None, reader: Reader) -> bytes:
        """A stream that begins now. The stream of a task begins with its status, or with how it ended."""
        if seen is None:
            return begin(stream.sent)
        if seen.is_over and seen.final is not None:
            return begin(None) + await self._texts.message(Message(seen.final, seen.rows), reader)
        name = TASK_STATUS if not seen.is_over or seen.rows is None else ENDS[seen.rows.task.status.value]
        at = self._clock() if seen.rows is None else seen.rows.task.updated_at
        task_id = stream.interest.task_id or ""
        data = await self._texts.data(name, task_id, at, seen.rows, {}, reader)
        return begin(None) + frame(name, data, stream.sent)

    async def _past(self, stream: Stream, reader: Reader) -> AsyncGenerator[tuple[bytes, bool]]:
        """What is in the table since the last event that was sent; the second value tells whether all is over."""
        stream.is_behind = False
        until = self._hub.position
        while stream.sent < until:
            page, rows = await self._database.run(self._page, stream.interest, stream.sent, until)
            if not page:
                break
            messages = [Message(event, rows.get(event.task_id)) for event in page]
            piece = b"".join([await self._texts.message(message, reader) for message in messages])
            stream.sent = page[-1].id
            yield piece, False
        stream.sent = max(stream.sent, until)
        if stream.interest.task_id is not None:
            over = await self._database.run(self._ended_at, stream.interest.task_id)
            if over is not None and over <= stream.sent:
                yield BEAT, True

    async def _is_over(self, stream: Stream, taken: Sequence[Message]) -> bool:
        """Whether these messages end the stream of a task."""
        if stream.interest.task_id is None:
            return False
        kinds = {message.what.type for message in taken if isinstance(message.what, Event)}
        if not kinds & (ENDS.keys() | UPLOAD_ENDS):
            return False
        over = await self._database.run(self._ended_at, stream.interest.task_id)
        return over is not None and over <= stream.sent

    # Rows

    def _look(self, right: Right) -> _Seen:
        with self._database.look() as connection:
            rows = status_rows.look(connection, right.id)
            if rows is not None:
                status_rows.check(rows, right.owner)
            else:
                self._check_uploads(connection, right)
            newest = feed.last_of(connection, right.id)
            is_over, final = _state(connection, right.id, rows)
            return _Seen(rows, is_over, 0 if newest is None else newest.id, final)

    def _check_uploads(self, connection: Connection, right: Right) -> None:
        """Raise `TaskNotFoundError` unless there are uploads of a task to come, of this owner."""
        query = select(Upload.owner).where(Upload.task_id == right.id).limit(1)
        owner = connection.scalar(query)
        if owner is None or right.owner not in (None, owner):
            raise TaskNotFoundError

    def _ended_at(self, task_id: str) -> int | None:
        """The event that ended a task, 0 when its row is gone; None while it goes on."""
        with self._database.look() as connection:
            is_over, final = _state(connection, task_id, status_rows.look(connection, task_id))
            return (0 if final is None else final.id) if is_over else None

    def _page(self, interest: Interest, after: int, until: int) -> tuple[Sequence[Event], Mapping[str, TaskRows]]:
        with self._database.look() as connection:
            page = feed.past(
                connection, task_id=interest.task_id, owner=interest.owner, after=after, until=until, limit=_PAGE
            )
            rows = {one: status_rows.look(connection, one) for one in {event.task_id for event in page}}
        return page, {one: found for one, found in rows.items() if found is not None}

    async def _audit(self, call: Call, right: Right, seen: _Seen) -> None:
        owner = None if seen.rows is None else seen.rows.task.owner
        if right.principal is not None and owner not in (None, right.principal.owner):
            await self._access.audit(call.scope, "foreign_task_read", right, "task", owner)


def _state(connection: Connection, task_id: str, rows: TaskRows | None) -> tuple[bool, Event | None]:
    """Whether a task is over, or all uploads of one that never came to be; and the event that ended it."""
    if rows is not None:
        if rows.task.status.value not in _OVER:
            return False, None
        return True, feed.last_of(connection, task_id, ENDS.keys())
    under_way = select(Upload.id).where(Upload.task_id == task_id, Upload.status.in_(_UNDER_WAY)).limit(1)
    if connection.scalar(under_way) is not None:
        return False, None
    return True, feed.last_of(connection, task_id, UPLOAD_ENDS)


def _number(message: Message) -> int:
    return message.what.id if isinstance(message.what, Event) else 0


def _check_request(call: Call) -> None:
    if call.head.method != "GET":
        raise MethodNotAllowedError(method=call.head.method, allowed="GET, OPTIONS")
    if call.head.get("Content-Length") not in (None, "0") or call.head.get("Transfer-Encoding") is not None:
        raise HeaderInvalidError(name="Content-Length", reason="stream_body")


def _reader(call: Call) -> Reader:
    wanted = call.request.query_params.get("lang")
    if wanted is None:
        return Reader(base_url(call.scope), language(call.scope, "zh"))
    for known in LANGUAGES:
        if wanted == known:
            return Reader(base_url(call.scope), known)
    raise FieldInvalidError(field="lang", reason="language_name")


def _after(call: Call) -> int | None:
    """The last event that the client has; None for a client that begins."""
    text = call.head.get("Last-Event-ID") or call.request.query_params.get("last_event_id")
    if text is None or not text.strip():
        return None
    # The length first: Python refuses to convert thousands of digits.
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) <= _HIGHEST):
        raise FieldInvalidError(field="Last-Event-ID", reason="event_number")
    return int(text)
