"""The hub of a process: one reader of the events for all its live streams.

Rules:

- One thread reads (`EventFeed`) while there are streams, and hands each page to the event loop; there the page is
  given to the streams by task and owner. A stream costs the database nothing while nothing happens.
- Every event up to `position` was given out. So a stream that begins reads what is older from the table, up to the
  position of that moment, and gets the rest from the hub: no gap, and nothing twice.
- A stream holds at most `MOST` messages. When its client is slower, they are dropped, and it reads them from the table
  once the client has caught up.

The streams, and all methods but the reader's own, belong to the event loop.
"""

import asyncio
import contextlib
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from server.database.session import AWAY, Database, reason
from server.errors import StoppingError, UnavailableError
from server.events.feed import PAGE, Event, EventFeed
from server.events.progress import Interest, Progress, ProgressWatch
from server.events.redis_link import RedisLink
from server.events.task_cache import TaskCache
from server.events.timeouts import RenewedTimeout
from server.events.wake import EventWake, open_wake
from server.tasks import status_rows
from server.tasks.status_rows import TaskRows

MOST = 64
"""Messages that wait in a stream; all streams of a task share them."""
_PROGRESS_SECONDS = 0.5
_GAP_SECONDS = 0.05
_AWAY_SECONDS = 0.5
_IDLE_SECONDS = 10.0
_START_SECONDS = 10.0

Found = Event | Progress

_log = structlog.stdlib.get_logger("videodock.events")


@dataclass(frozen=True, eq=False, slots=True)
class Message:
    """An event, or progress, with the status of its task; None before the task exists. `texts` keeps what was made of
    it, by reader."""

    what: Found
    rows: TaskRows | None
    texts: dict[object, bytes] = field(default_factory=dict)


class Stream:
    """What one client follows. `sent` is the last event that its sender has taken."""

    def __init__(self, interest: Interest, sent: int) -> None:
        self.interest = interest
        self.sent = sent
        self.is_behind = True
        """It has to read from the table before it takes messages."""
        self.is_stopped = False
        self._events: deque[Message] = deque()
        self._progress: dict[str, Message] = {}
        self._is_ready = False
        self._waiter: asyncio.Future[bool] | None = None
        self._timeout = RenewedTimeout(self._wait_is_over)

    def put(self, message: Message) -> None:
        """Give the stream a message; never waits."""
        if isinstance(message.what, Progress):
            if len(self._progress) < MOST:
                self._progress[message.what.upload_id or message.what.task_id] = message
        elif len(self._events) < MOST:
            self._events.append(message)
        else:
            self._events.clear()
            self.is_behind = True
        self._wake()

    def take(self) -> list[Message]:
        """All messages that wait: events first. Those that were read from the table are left out."""
        taken = [message for message in self._events if _number(message) > self.sent]
        taken += self._progress.values()
        self._events.clear()
        self._progress.clear()
        if not self.is_stopped:  # its end is not waited for again
            self._is_ready = False
        return taken

    async def wait(self, seconds: float) -> bool:
        """Wait for a message, or for the end, at most so long; False when there was none."""
        if self._is_ready:
            return True
        self._waiter = asyncio.get_running_loop().create_future()
        self._timeout.begin(seconds)
        try:
            return await self._waiter
        finally:
            self._waiter = None
            self._timeout.end()

    def stop(self) -> None:
        """The stream ends now."""
        self.is_stopped = True
        self._wake()

    def close(self) -> None:
        """Nothing waits for it any more."""
        self._timeout.close()

    def _wake(self) -> None:
        self._is_ready = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(True)

    def _wait_is_over(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(False)


def _number(message: Message) -> int:
    return message.what.id if isinstance(message.what, Event) else 0


class EventHub:
    """The streams of a process and their reader."""

    def __init__(self, *, database: Database, cache: TaskCache, redis: RedisLink | None) -> None:
        self._database = database
        self._cache = cache
        self._redis = redis
        self.position = 0
        """The last event that was given to the streams."""
        self.is_stopping = False
        self._tasks: defaultdict[str, set[Stream]] = defaultdict(set)
        self._owners: defaultdict[str, set[Stream]] = defaultdict(set)
        self._all: set[Stream] = set()
        self._count = 0
        self._begun: deque[Interest] = deque()
        self._reader: _Reader | None = None
        self._ending: _Reader | None = None
        self._ready: asyncio.Future[None] | None = None
        self._idle: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return self._count

    async def open(self, interest: Interest, after: int | None) -> Stream:
        """A new stream that goes on after this event, or begins now. Close it at the end.

        Raises `StoppingError`, and `UnavailableError` while the events cannot be read.
        """
        if self.is_stopping:
            raise StoppingError
        stream = Stream(interest, 0)
        self._set_of(interest).add(stream)
        self._count += 1
        self._begun.append(interest)
        try:
            await self._read()
        except BaseException:
            self.close(stream)
            raise
        stream.sent = self.position if after is None else after
        stream.is_behind = after is not None
        return stream

    def close(self, stream: Stream) -> None:
        """The stream gets nothing any more."""
        streams = self._set_of(stream.interest)
        if stream not in streams:
            return
        streams.discard(stream)
        stream.close()
        self._count -= 1
        if not streams and streams is not self._all:
            self._tasks.pop(stream.interest.task_id or "", None)
            if stream.interest.task_id is None:
                self._owners.pop(stream.interest.owner or "", None)
        if not self._count and self._reader is not None and self._idle is None:
            self._idle = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._rest)

    def stop(self) -> None:
        """The server stops: all streams end at once."""
        self.is_stopping = True
        for streams in [*self._tasks.values(), *self._owners.values(), self._all]:
            for stream in streams:
                stream.stop()
        self._end_reader()

    def is_wanted(self, task_id: str, owner: str) -> bool:
        """Whether a stream follows this task. For any thread."""
        return bool(self._all) or task_id in self._tasks or owner in self._owners

    def take_begun(self) -> Sequence[Interest]:
        """What the streams follow that began since the last call. For the reader."""
        found = []
        with contextlib.suppress(IndexError):
            while True:
                found.append(self._begun.popleft())
        return list(dict.fromkeys(found))

    def dispatch(
        self,
        found: Sequence[Found],
        rows: Mapping[str, TaskRows],
        position: int,
        *,
        is_caught_up: bool = True,
    ) -> None:
        """Give out a page of the reader, which has come to `position`."""
        for one in found:
            message: Message | None = None
            for stream in self._following(one):
                message = message or Message(one, rows.get(one.task_id))
                stream.put(message)
            if isinstance(one, Event):
                self._cache.forget_here(one.task_id)
        self.position = max(self.position, position)
        if is_caught_up and self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

    def _following(self, one: Found) -> Iterable[Stream]:
        yield from self._tasks.get(one.task_id, ())
        yield from self._owners.get(one.owner, ())
        yield from self._all

    def _set_of(self, interest: Interest) -> set[Stream]:
        if interest.task_id is not None:
            return self._tasks[interest.task_id]
        return self._all if interest.owner is None else self._owners[interest.owner]

    async def _read(self) -> None:
        """Have a reader that has read everything that was there."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._reader is None:
            loop = asyncio.get_running_loop()
            self._ready = loop.create_future()
            self._reader = _Reader(self, self._database, self._redis, loop)
            self._reader.start()
        if self._ready is not None and not self._ready.done():
            # Several streams wait for it: a client that leaves must not cancel it for the others.
            try:
                async with asyncio.timeout(_START_SECONDS):
                    await asyncio.shield(self._ready)
            except TimeoutError:
                raise UnavailableError(part="database") from None

    def _rest(self) -> None:
        self._idle = None
        if not self._count:
            self._end_reader()

    def join(self, seconds: float) -> None:
        """After `stop`: wait until the reader has closed its connection. Blocking."""
        if self._ending is not None:
            self._ending.join(seconds)

    def _end_reader(self) -> None:
        if self._reader is not None:
            self._reader.end()
            self._ending, self._reader = self._reader, None
            self._ready = None


class _Reader(threading.Thread):
    """Reads pages, and looks for progress between them."""

    def __init__(
        self, hub: EventHub, database: Database, redis: RedisLink | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(name="events", daemon=True)
        self._hub = hub
        self._database = database
        self._redis = redis
        self._loop = loop
        self._watch = ProgressWatch(hub.is_wanted)
        self._feed: EventFeed | None = None
        self._page: Sequence[Event] = ()
        self._has_begun = False
        self._look_at = 0.0
        self._ended = False

    def end(self) -> None:
        """End soon; it does not wait."""
        self._ended = True

    def run(self) -> None:
        wake = open_wake(self._database.engine, self._redis)
        is_away = False
        while not self._ended:
            try:
                self._turn(wake)
                is_away = False
            except AWAY as error:
                if not is_away and not self._ended:
                    _log.warning("events_not_read", reason=reason(error))
                is_away = True
                time.sleep(_AWAY_SECONDS)
            except Exception:
                if self._loop.is_closed():
                    break
                _log.exception("events_not_read")
                time.sleep(_AWAY_SECONDS)
        wake.close()

    def _turn(self, wake: EventWake) -> None:
        """Read a page, or wait for one."""
        if self._feed is None:
            self._feed = EventFeed.from_now(self._database)
        # A page that could not be given out, because the database went away, is given out the next time.
        page = self._page = self._page or self._feed.read()
        is_last = len(page) < PAGE
        if page or not self._has_begun:
            self._give(page, self._feed.after, is_caught_up=is_last)
            self._watch.learn(page)
            self._page, self._has_begun = (), is_last
        if not is_last:
            return
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _PROGRESS_SECONDS
            self._look_for_progress(self._feed.after)
        seconds = max(0.0, self._look_at - time.monotonic())
        # A number that is missing comes when its transaction ends, perhaps without a wake for it.
        wake.wait(min(seconds, _GAP_SECONDS) if self._feed.is_waiting else seconds)

    def _look_for_progress(self, position: int) -> None:
        with self._database.look() as connection:
            self._watch.begin(connection, self._hub.take_begun())
            found = self._watch.look(connection)
        if found:
            self._give(found, position, is_caught_up=True)

    def _give(self, found: Sequence[Found], position: int, *, is_caught_up: bool) -> None:
        wanted = {one.task_id for one in found if self._hub.is_wanted(one.task_id, one.owner)}
        rows: dict[str, TaskRows] = {}
        if wanted:
            with self._database.look() as connection:
                for task_id in wanted:
                    seen = status_rows.look(connection, task_id)
                    if seen is not None:
                        rows[task_id] = seen
        self._loop.call_soon_threadsafe(self._dispatch, found, rows, position, is_caught_up)

    def _dispatch(
        self, found: Sequence[Found], rows: Mapping[str, TaskRows], position: int, is_caught_up: bool
    ) -> None:
        if not self._ended:
            self._hub.dispatch(found, rows, position, is_caught_up=is_caught_up)
