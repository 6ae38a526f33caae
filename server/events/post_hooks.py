"""The hooks `post_finish` and `post_task`: called for events, from the outbox.

Rules:

- Each hook has its own place in the events (`outbox_cursors`), its own thread and its own process: one that fails
  delays no other. It moves on after the hook returned, so a hook may get an event twice, and gets them in order.
- A hook that fails is called again with the same event, after pauses that grow to five minutes, for a day. Then the
  event is left out, and the log says so.
- A new hook gets the events from its first start on. One process at a time calls it, by a lease.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import structlog
from sqlalchemy import Table, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from server.database.event_models import OutboxCursor
from server.database.session import Database, reason
from server.database.types import database_time
from server.errors import UnavailableError
from server.events.bodies import Bodies, Origin, moment
from server.events.counts import CountCall, uncounted
from server.events.feed import Event, EventFeed
from server.events.follower_thread import FollowerThread
from server.events.hook_process import Hook, HookError, HookProcess, HookTimeoutError, registered

_RENEW_SECONDS = 10.0
_LEASE_SECONDS = 45.0  # and the time of a call
_FLUSH_SECONDS = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0
GIVE_UP_SECONDS = 86400.0
_LONGEST_NAME = 128
_WANTED: Mapping[str, frozenset[str]] = {
    "post_finish": frozenset({"upload_finished"}),
    "post_task": frozenset({"completed", "error", "cancelled"}),
}

_cursors = cast("Table", OutboxCursor.__table__)
_log = structlog.stdlib.get_logger("videodock.hooks")


def find(
    *,
    database: Database,
    bodies: Bodies,
    worker: str,
    seconds: float,
    clock: Callable[[], datetime],
    count: CountCall = uncounted,
) -> Sequence["PostHook"]:
    """A follower for each registered hook; `seconds` is what one call may take."""
    hooks = registered(*_WANTED)
    return [
        PostHook(hook, database=database, bodies=bodies, worker=worker, seconds=seconds, clock=clock, count=count)
        for hook in hooks
    ]


class PostHook:
    """One hook. Tests call `look` in place of its thread; `monotonic` gives seconds."""

    def __init__(
        self,
        hook: Hook,
        *,
        database: Database,
        bodies: Bodies,
        worker: str,
        seconds: float,
        clock: Callable[[], datetime],
        count: CountCall = uncounted,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hook = hook
        self._name = f"hook:{hook.name}:{hook.value}"[-_LONGEST_NAME:]
        self._database = database
        self._bodies = bodies
        self._worker = worker
        self._seconds = seconds
        self._clock = clock
        self._count = count
        self._monotonic = monotonic
        self._process = HookProcess(hook)
        self._feed: EventFeed | None = None
        self._page: list[Event] = []
        self._extended = self._flushed = float("-inf")
        self._failures = 0
        self._failing_since = self._again_at = 0.0
        log = _log.bind(hook=hook.value)
        self._thread = FollowerThread(
            "hook",
            look=self.look,
            end=self._release,
            log=log,
            log_failure=lambda error: log.error("hooks_failed", exc_info=error),
        )

    # As a follower

    def start(self, dead: str = "") -> None:
        """Call the hook from now on, on a thread. Processes whose names begin with `dead` have ended."""
        _log.info("hooks_found", hooks=[self._hook.value])
        self._thread.start((lambda: self._expire(dead)) if dead else None)

    def notify(self) -> None:
        """Something may have happened: look now."""
        self._thread.notify()

    def stop(self) -> None:
        """Call the hook no more. A call that runs is ended, and the next process makes it again. Blocking."""
        self._thread.tell_to_stop()
        self._process.close()
        self._thread.join()

    def _expire(self, dead: str) -> None:
        self._write(_cursors.c.worker.startswith(dead, autoescape=True), worker=None, lease_expires_at=None)

    def _release(self) -> None:
        try:
            self._flush()
            self._write(_cursors.c.worker == self._worker, worker=None, lease_expires_at=None)
        except Exception as error:  # the lease ends by itself
            _log.warning("database_away", reason=reason(error))

    # One look

    def look(self) -> None:
        """Tell the hook all that happened, or up to its next failure. Raises the errors of the database."""
        if not self._has_lease() or self._monotonic() < self._again_at:
            return
        if self._feed is None:
            self._feed = EventFeed(self._database, self._place())
        while not self._thread.is_stopping:
            if not self._page:
                self._page = list(self._feed.read())
                if not self._page:
                    break
            event = self._page[0]
            if event.type in _WANTED[self._hook.name] and not (self._has_lease() and self._tell(event)):
                return
            self._page.pop(0)
        if self._monotonic() >= self._flushed + _FLUSH_SECONDS:
            self._flush()

    def _tell(self, event: Event) -> bool:
        """Whether the hook is done with this event, and that is written."""
        deadline = time.monotonic() + self._seconds
        try:
            self._process.call(self._argument(event), deadline)
        except HookError as error:
            if self._thread.is_stopping:
                return False
            self._count(self._hook.name, "timeout" if isinstance(error, HookTimeoutError) else "failed")
            if not self._gives_up(event, error):
                return False
        else:
            self._count(self._hook.name, "ok")
        self._failures = 0
        if not self._write(_cursors.c.worker == self._worker, event_id=event.id, updated_at=self._clock()):
            self._lose()
            return False
        return True

    def _gives_up(self, event: Event, error: HookError) -> bool:
        now = self._monotonic()
        if not self._failures:
            self._failing_since = now
        self._failures += 1
        about = {"hook": self._hook.value, "event_id": event.id, "task_id": event.task_id, "reason": str(error)}
        if now - self._failing_since >= GIVE_UP_SECONDS:
            _log.error("hook_left_out", **about)
            return True
        doubled = min(_FIRST_PAUSE * 2 ** min(self._failures - 1, 20), _LONGEST_PAUSE)
        pause = doubled * random.uniform(0.8, 1.2)  # noqa: S311  # spreads load, hides nothing
        self._again_at = now + pause
        _log.warning("hook_failed", **about, attempt=self._failures, again_in=round(pause, 1))
        return False

    def _argument(self, event: Event) -> dict[str, Any]:
        content = self._bodies.data(Origin.of(event))
        upload = content.pop("upload", {})
        common = {"event_id": event.id, "at": moment(event.at), "owner": event.owner, "task_id": event.task_id}
        common["task"] = content
        if self._hook.name == "post_task":
            return common | {"status": event.type, "passthrough": content.get("passthrough")}
        facts = {name: upload.get(name) for name in ("name", "size", "passthrough")}
        return common | facts | {"upload_id": event.upload_id}

    # Its row

    def _has_lease(self) -> bool:
        if self._monotonic() < self._extended + _RENEW_SECONDS:
            return True
        before = self._monotonic()
        is_free = or_(_cursors.c.lease_expires_at.is_(None), _cursors.c.lease_expires_at < database_time())
        lease = database_time(_LEASE_SECONDS + self._seconds)
        of = or_(_cursors.c.worker == self._worker, is_free)
        if not self._write(of, worker=self._worker, lease_expires_at=lease):
            self._lose()
            self._create()
            return False
        self._extended = before
        return True

    def _lose(self) -> None:
        """Another process calls the hook; begin anew from the row when this one has it again."""
        self._feed, self._page, self._extended = None, [], float("-inf")

    def _create(self) -> None:
        with self._database.look() as connection:
            if connection.scalar(select(_cursors.c.name).where(_cursors.c.name == self._name)) is not None:
                return
        try:
            place = EventFeed.place_now(self._database)
        except UnavailableError:  # a transaction that adds events does not end; the next look tries again
            return
        values = {"name": self._name, "event_id": place, "updated_at": self._clock()}
        try:
            with self._database.change() as connection:
                connection.execute(insert(_cursors).values(**values))
        except IntegrityError:  # another process was quicker
            return
        self._thread.notify()

    def _place(self) -> int:
        with self._database.look() as connection:
            return connection.scalar(select(_cursors.c.event_id).where(_cursors.c.name == self._name)) or 0

    def _flush(self) -> None:
        """Write how far it is, past events that are not for it."""
        self._flushed = self._monotonic()
        if self._feed is not None:
            place = self._page[0].id - 1 if self._page else self._feed.after
            self._write(_cursors.c.worker == self._worker, event_id=place, updated_at=self._clock())

    def _write(self, of: Any, **values: Any) -> bool:
        with self._database.change(lazy=True) as connection:
            change = update(_cursors).where(_cursors.c.name == self._name, of).values(**values)
            return bool(connection.execute(change).rowcount)
