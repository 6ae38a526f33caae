"""Delivers webhooks: makes deliveries of events, sends what is due, and records what came of it.

Rules:

- One thread does all SQL of the deliveries and decides what is sent; others only make and send messages. So there is
  one order, and results that come at the same time are written together.
- An event may be sent twice, with the same id, after a crash between a message and its record; it is never left out.
- Endpoints that fail are sent to by threads of their own, one message at a time, so that they delay no other endpoint.
  Those that take long get one message at a time, too, and half of the threads at most.
- A database that is away costs time and nothing else: results are kept until they can be written.
"""

import queue
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import structlog

from server.database.session import AWAY, Database, reason
from server.events import deliveries, endpoints
from server.events.bodies import Bodies, Facts
from server.events.counts import Count, uncounted
from server.events.deliveries import Delivery, Outcome
from server.events.endpoints import Endpoint, OwnedEndpoints
from server.events.feed import PAGE as FEED_PAGE
from server.events.feed import Event, EventFeed
from server.events.follower_thread import LOOK_SECONDS, FollowerThread
from server.events.messages import Messages
from server.events.sender import Sender
from server.events.types import WEBHOOK_NAMES
from server.tracing import NO_TRACING, Tracing

_REFRESH_SECONDS = 1.0
_FLUSH_SECONDS = 60.0
_BUSY_SECONDS = 0.05
_GATHER_SECONDS = 0.01  # after a result, for others to come: one look has the same round trips for all
_STOP_SECONDS = 1.0
_SENDERS, _PROBERS, _OF_ENDPOINT = 16, 4, 8  # messages at a time
_LONG_SECONDS = 2.0  # of a message, by which its endpoint is slow

_log = structlog.stdlib.get_logger("videodock.webhooks")


class Deliverer:
    """Delivers from `start` to `stop`; tests call `look` and `settle` in place of its thread."""

    def __init__(
        self,
        *,
        database: Database,
        bodies: Bodies,
        sender: Sender,
        worker: str,
        clock: Callable[[], datetime],
        tracing: Tracing = NO_TRACING,
        count: Count = uncounted,
    ) -> None:
        self._database = database
        self._sender = sender
        self._messages = Messages(bodies=bodies, sender=sender, clock=clock, tracing=tracing)
        self._clock = clock
        self._count = count
        self._worker = worker
        self._owned = OwnedEndpoints(worker, clock)
        self._feed: EventFeed | None = None
        self._refreshed = self._flushed = self._looked = self._fanned_out = float("-inf")
        self._waiting: dict[str, list[Delivery]] = {}
        self._full: set[str] = set()
        self._flying: set[tuple[str, str]] = set()
        self._flying_to: Counter[str] = Counter()
        self._probing: set[str] = set()
        self._slow: set[str] = set()
        self._ended: queue.SimpleQueue[tuple[Delivery, Outcome | None]] = queue.SimpleQueue()
        self._unwritten: list[Outcome] = []
        self._thread = FollowerThread(
            "webhooks",
            look=self.look,
            end=self._end,
            log=_log,
            log_failure=lambda error: _log.error("webhooks_failed", exc_info=error),
            gather=self._gather,
        )
        self._senders = ThreadPoolExecutor(_SENDERS, "webhook")
        self._probers = ThreadPoolExecutor(_PROBERS, "webhook-probe")

    def start(self, dead: str = "") -> None:
        """Deliver from now on, on a thread. Processes whose names begin with `dead` have ended."""
        self._thread.start((lambda: self._expire(dead)) if dead else None)

    def notify(self) -> None:
        """Something may have happened: look now."""
        self._thread.notify()

    def stop(self) -> None:
        """Send nothing more, and give the endpoints back. Blocking, for about a second."""
        self._thread.tell_to_stop()
        self._thread.join()
        self.close()

    def close(self) -> None:
        """Let the threads end, without waiting for them."""
        for pool in (self._senders, self._probers):
            pool.shutdown(wait=False, cancel_futures=True)
        self._sender.close()

    # The thread

    def _gather(self) -> float:
        return _GATHER_SECONDS if self._flying else 0.0

    def _expire(self, dead: str) -> None:
        with self._database.change() as connection:
            endpoints.expire_leases(connection, dead)

    def _end(self) -> None:
        try:
            self.settle(_STOP_SECONDS)
            with self._database.change() as connection:
                self._owned.flush(connection)
                # Messages that are still on their way keep the endpoints until the leases end.
                if not self._flying:
                    self._owned.release(connection)
        except AWAY as error:
            _log.warning("database_away", reason=reason(error))
        except Exception:
            _log.exception("webhooks_failed")

    @property
    def is_sending(self) -> bool:
        """Whether messages are on their way."""
        return bool(self._flying)

    def settle(self, seconds: float) -> bool:
        """Wait for messages that are on their way, and record them; False when some still are. Blocking."""
        deadline = time.monotonic() + seconds
        while self._flying and time.monotonic() < deadline:
            self._thread.changed.wait(max(0.0, min(0.1, deadline - time.monotonic())))
            self._thread.changed.clear()
            self._record()
        return not self._flying

    # One look

    def look(self) -> None:
        """Do what can be done now, without waiting for messages. Raises the errors of the database."""
        self._record()
        self._refresh()
        if not self._owned.by_id:
            return
        # While messages end, events are read now and then only: one look costs as much as one message.
        is_busy = bool(self._flying) and time.monotonic() - self._fanned_out < _BUSY_SECONDS
        made = not is_busy and self._fan_out()
        if made or time.monotonic() - self._looked >= LOOK_SECONDS * 0.8:
            self._fill()
        self._send()

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._refreshed < _REFRESH_SECONDS:
            return
        is_due = self._owned.is_extension_due and bool(self._owned.by_id)
        if not is_due:
            with self._database.look() as connection:
                is_due = self._owned.is_one_free(connection)
        if is_due:
            with self._database.change(lazy=True) as connection:
                self._owned.claim(connection)
        if self._owned.by_id and now - self._flushed >= _FLUSH_SECONDS:
            with self._database.change(lazy=True) as connection:
                self._owned.flush(connection)
            self._flushed = now
        with self._database.look() as connection:
            is_new = self._owned.refresh(connection)
        if is_new:
            self._feed = None
        self._refreshed = now
        self._waiting = {name: rows for name, rows in self._waiting.items() if name in self._owned.by_id}
        self._slow &= self._owned.by_id.keys()

    def refresh_soon(self) -> None:
        """Read the endpoints again at the next look."""
        self._refreshed = self._looked = float("-inf")

    # Events become deliveries

    def _fan_out(self) -> bool:
        """Make deliveries of the next events; whether there were some."""
        owned, self._fanned_out = self._owned.by_id, time.monotonic()
        if self._feed is None:
            self._feed = EventFeed(self._database, min(one.position for one in owned.values()))
        made = False
        try:
            while events := self._feed.read():
                made = self._add(events) or made
                if len(events) < FEED_PAGE and not self._feed.is_waiting:
                    break  # there are no more
        except BaseException:
            self._feed = None  # read again from where the endpoints are
            raise
        return made

    def _add(self, events: Sequence[Event]) -> bool:
        last, owned = events[-1].id, self._owned.by_id
        wanted = {one.id: found for one in owned.values() if (found := _wanted(one, events))}
        lost = []
        if wanted:
            now = self._clock()
            with self._database.change(lazy=True) as connection:
                for endpoint_id, found in wanted.items():
                    if deliveries.move_cursor(connection, endpoint_id, self._worker, last, owned[endpoint_id].types):
                        deliveries.add(connection, endpoint_id, found, now=now)
                    else:
                        lost.append(endpoint_id)
        for one in self._owned.by_id.values():
            one.position = max(one.position, last)
            if one.id in wanted:
                one.event_id = one.position
        for endpoint_id in lost:
            del self._owned.by_id[endpoint_id]
        return bool(wanted)

    # Deliveries are sent

    def _fill(self) -> None:
        """Read what is due, for endpoints of which nothing waits here."""
        self._looked = time.monotonic()
        now = self._clock()
        with self._database.look() as connection:
            names = deliveries.ready(connection, self._worker, now)
        for endpoint_id in names:
            one = self._owned.by_id.get(endpoint_id)
            if one is not None and not self._waiting.get(endpoint_id):
                self._read(one, now)

    def _read(self, one: Endpoint, now: datetime) -> None:
        with self._database.look() as connection:
            due = deliveries.due(connection, one.id, None if one.is_open else now)
        if due.late:
            with self._database.change(lazy=True) as connection:
                deliveries.put_off(connection, due.late)
        self._waiting[one.id] = [row for row in due.found if (one.id, row.line) not in self._flying]
        self._full = self._full | {one.id} if due.is_full else self._full - {one.id}

    def _send(self) -> None:
        """Hand over what threads are free for, with what their rows say now: one look for all of them."""
        if not self._owned.may_send or self._thread.is_stopping:
            return
        chosen = self._choose()
        if not chosen:
            return
        try:
            facts = self._messages.look([row for _, row in chosen])
        except BaseException:
            for one, row in chosen:
                self._waiting.pop(one.id, None)  # to be read again
                self._free(row)
            raise
        for one, row in chosen:
            pool = self._probers if one.is_open else self._senders
            pool.submit(self._deliver, one.url, tuple(one.keys), row, facts.get(row.id))

    def _choose(self) -> Sequence[tuple[Endpoint, Delivery]]:
        """What there are free threads for."""
        chosen: list[tuple[Endpoint, Delivery]] = []
        for endpoint_id in list(self._waiting):
            one = self._owned.by_id.get(endpoint_id)
            if one is None:
                continue
            chosen += self._choose_of(one)
            if not self._waiting[endpoint_id]:
                del self._waiting[endpoint_id]
                if endpoint_id in self._full and not one.is_open:
                    self._read(one, self._clock())
                    chosen += self._choose_of(one)
        # The first one was served best: next time it is the last.
        for endpoint_id in list(self._waiting)[:1]:
            self._waiting[endpoint_id] = self._waiting.pop(endpoint_id)
        return chosen

    def _choose_of(self, one: Endpoint) -> Iterator[tuple[Endpoint, Delivery]]:
        rows, kept, busy = self._waiting[one.id], [], set[str]()
        for row in rows:
            is_free = row.line not in busy and (one.id, row.line) not in self._flying
            busy.add(row.line)  # those after it wait for it
            if is_free and self._has_room(one):
                self._take(one, row)
                yield one, row
            else:
                kept.append(row)
        # Of an open circuit one message is tried, and the next one is chosen after its result.
        self._waiting[one.id] = [] if one.is_open else kept

    def _has_room(self, one: Endpoint) -> bool:
        if one.is_open:
            return not self._flying_to[one.id] and len(self._probing) < _PROBERS
        flying_slow = sum(self._flying_to[name] for name in self._slow)
        if one.id in self._slow and (self._flying_to[one.id] or flying_slow >= _SENDERS // 2):
            return False
        return self._flying_to[one.id] < _OF_ENDPOINT and len(self._flying) - len(self._probing) < _SENDERS

    def _take(self, one: Endpoint, row: Delivery) -> None:
        self._flying.add((one.id, row.line))
        self._flying_to[one.id] += 1
        if one.is_open:
            self._probing.add(one.id)

    def _deliver(self, url: str, keys: Sequence[str], row: Delivery, facts: Facts | None) -> None:
        """On a thread of its own: make and send one message."""
        self._ended.put((row, self._messages.send(url, keys, row, facts)))
        self._thread.notify()

    # Results are written

    def _record(self) -> None:
        while True:
            try:
                row, outcome = self._ended.get_nowait()
            except queue.Empty:
                break
            self._land(row, outcome)
        if not self._unwritten:
            return
        now = self._clock()
        with self._database.change(lazy=True) as connection:
            ended = deliveries.record(connection, self._unwritten, now)
            failures, given_up = self._owned.record(connection, self._unwritten, now)
        self._owned.note(failures)
        for kind, number in (ended + given_up).items():
            self._count(kind, number)
        if any(outcome.sent.is_gone for outcome in self._unwritten):
            self.refresh_soon()
        self._release(self._unwritten)
        self._unwritten = []

    def _land(self, row: Delivery, outcome: Outcome | None) -> None:
        if outcome is None:
            self._waiting.pop(row.endpoint_id, None)
            self._free(row)
            return
        self._unwritten.append(outcome)

    def _release(self, outcomes: Sequence[Outcome]) -> None:
        """Their tasks may go on, now that the results are written."""
        for outcome in outcomes:
            row = outcome.delivery
            self._free(row)
            note = self._slow.add if outcome.sent.seconds >= _LONG_SECONDS else self._slow.discard
            note(row.endpoint_id)
            if not outcome.sent.is_delivered and row.endpoint_id in self._waiting:
                kept = [other for other in self._waiting[row.endpoint_id] if other.line != row.line]
                self._waiting[row.endpoint_id] = kept
            one = self._owned.by_id.get(row.endpoint_id)
            if outcome.sent.retry_after or (one is not None and one.is_open):
                self._waiting.pop(row.endpoint_id, None)

    def _free(self, row: Delivery) -> None:
        self._flying.discard((row.endpoint_id, row.line))
        self._flying_to[row.endpoint_id] -= 1
        if self._flying_to[row.endpoint_id] <= 0:
            del self._flying_to[row.endpoint_id]
            self._probing.discard(row.endpoint_id)


def _wanted(one: Endpoint, events: Sequence[Event]) -> list[Event]:
    """What of these events the endpoint gets."""
    return [
        event
        for event in events
        if event.id > one.position
        and one.owner in (None, event.owner)
        and event.type in WEBHOOK_NAMES
        and WEBHOOK_NAMES[event.type] in one.types
    ]
