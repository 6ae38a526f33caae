"""The cache of task states in Redis: polls of a task that has not ended ask no database.

Rules:

- A state is never older than `SECONDS`: it is kept for as long as is left of that since it was read from the database,
  any process that read it. So a state that another process has just changed is seen within that time.
- The owner is a part of the state: who may see a task is decided from it as from the row.
- Without Redis, and while it is away, the database answers. SQLite tells whether anything was committed since: then,
  and only then, it is asked again. PostgreSQL is asked for the tasks of all waiting polls at once.

The worker of a task writes its state twice a second; a poll that finds none writes what it has read.
"""

import contextlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import structlog

from server.database.session import AWAY, Database
from server.database.shared_look_ups import SharedLookUps
from server.events.redis_link import RedisAwayError, RedisLink
from server.lifecycle import TASK_MOVES, ends
from server.tasks import status_rows
from server.tasks.status_rows import TaskRows

SECONDS = 1.0
_EVERY = 0.45
_MOST = 2_000
_PREFIX = "videodock:task:2:"
_SHORTEST = 0.05

_log = structlog.stdlib.get_logger("videodock.events")


@dataclass(frozen=True, slots=True)
class State:
    """The rows of a task. `texts` keeps what was made of them, by reader; `until` is of the monotonic clock."""

    rows: TaskRows
    until: float
    texts: dict[object, bytes] = field(default_factory=dict)
    version: int | None = None
    """The version of the database of which these rows are, where it has one."""


class TaskCache:
    """The cache of one process, and of all by Redis."""

    def __init__(
        self, database: Database, redis: RedisLink | None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._redis = redis
        self._monotonic = monotonic
        self._asked = SharedLookUps(self._find_all)
        self._near: OrderedDict[str, State] = OrderedDict()
        self._followed: dict[str, int] = {}
        self._follower: threading.Thread | None = None
        self._lock = threading.Lock()
        self._ended = False

    # For requests, on the event loop

    async def find(self, task_id: str) -> State | None:
        """The state of a task of any owner, from the cache or from the database; None when there is no such task.

        Raises the errors of the database.
        """
        if self._redis is None or self._redis.is_away:
            return await self._of_database(task_id, self._database.version_at_once())
        known = self._near.get(task_id)
        if known is not None and self._monotonic() < known.until:
            return known
        known = await self._far(task_id)
        if known is not None:
            return self._keep(task_id, known)
        state = await self._of_database(task_id, None)
        if state is not None and state.rows.task.status not in ends(TASK_MOVES) and not self._redis.is_away:
            found = self._keep(task_id, state)
            self._redis.later(lambda client: self._write(client, task_id, found))
        return state

    async def _of_database(self, task_id: str, version: int | None) -> State | None:
        if version is not None:
            known = self._near.get(task_id)
            if known is not None and known.version == version:
                return known
        if not self._database.looks_at_once:
            return await self._asked.find(task_id)
        begun = self._monotonic()
        rows = await self._database.look_up(lambda connection: status_rows.look(connection, task_id))
        if rows is None:
            return None
        state = State(rows, begun + SECONDS, version=version)
        return state if version is None else self._keep(task_id, state)

    async def _find_all(self, task_ids: Sequence[str]) -> dict[str, State]:
        begun = self._monotonic()
        found = await self._database.look_up(lambda connection: status_rows.look_all(connection, task_ids))
        return {task_id: State(rows, begun + SECONDS) for task_id, rows in found.items()}

    def forget_here(self, task_id: str) -> None:
        """Something happened to the task: this process asks again."""
        self._near.pop(task_id, None)

    async def forget(self, task_id: str) -> None:
        """This request has changed the task: no process answers with what was before."""
        self._near.pop(task_id, None)
        if self._redis is not None:
            with contextlib.suppress(RedisAwayError):
                await self._redis.ask(lambda client: client.delete(_PREFIX + task_id))

    async def _far(self, task_id: str) -> State | None:
        begun = self._monotonic()

        def work(client: Any) -> tuple[bytes | None, int]:
            pipeline = client.pipeline(transaction=False)
            pipeline.get(_PREFIX + task_id)
            pipeline.pttl(_PREFIX + task_id)
            return cast("tuple[bytes | None, int]", tuple(pipeline.execute()))

        try:
            text, left = await self._ask(work)
        except RedisAwayError:
            return None
        if text is None or left <= 0:
            return None
        try:
            return State(status_rows.unpack(json.loads(text)), begun + min(SECONDS, left / 1000))
        except (TypeError, ValueError, LookupError):  # of another version, or not of ours
            return None

    async def _ask(self, work: Callable[[Any], tuple[bytes | None, int]]) -> tuple[bytes | None, int]:
        if self._redis is None:
            raise RedisAwayError
        return await self._redis.ask(work)

    def _keep(self, task_id: str, state: State) -> State:
        self._near[task_id] = state
        self._near.move_to_end(task_id)
        while len(self._near) > _MOST:
            self._near.popitem(last=False)
        return state

    def _write(self, client: Any, task_id: str, state: State) -> None:
        left = state.until - self._monotonic()
        if left > _SHORTEST:
            client.set(_PREFIX + task_id, json.dumps(status_rows.pack(state.rows)), px=round(left * 1000))

    # For workers, on threads

    @contextmanager
    def following(self, task_id: str) -> Iterator[None]:
        """While a worker works at a task, write its state twice a second."""
        if self._redis is None:
            yield
            return
        with self._lock:
            self._followed[task_id] = self._followed.get(task_id, 0) + 1
            if self._follower is None:
                self._follower = threading.Thread(target=self._follow, name="task-states", daemon=True)
                self._follower.start()
        try:
            yield
        finally:
            with self._lock:
                self._followed[task_id] -= 1
                if not self._followed[task_id]:
                    del self._followed[task_id]
            with contextlib.suppress(RedisAwayError):
                self._redis.run(lambda client: client.delete(_PREFIX + task_id))

    def _follow(self) -> None:
        while not self._ended:
            started = self._monotonic()
            with self._lock:
                followed = list(self._followed)
                if not followed:
                    self._follower = None
                    return
            try:
                self._write_all(followed)
            except (RedisAwayError, *AWAY):
                pass
            except Exception:
                _log.exception("task_states_not_written")
            time.sleep(max(0.0, started + _EVERY - self._monotonic()))

    def _write_all(self, followed: list[str]) -> None:
        if self._redis is None or self._redis.is_away:
            return
        begun = self._monotonic()
        with self._database.look() as connection:
            found = [(one, status_rows.look(connection, one)) for one in followed]
        states = [(one, State(rows, begun + SECONDS)) for one, rows in found if rows is not None]

        def work(client: Any) -> None:
            pipeline = client.pipeline(transaction=False)
            for task_id, state in states:
                if state.rows.task.status not in ends(TASK_MOVES):
                    self._write(pipeline, task_id, state)
            pipeline.execute()

        self._redis.run(work)

    def close(self) -> None:
        """End the thread, soon."""
        self._ended = True
