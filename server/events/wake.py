"""Waits until there may be new events, for the reader of a process.

Rules:

- A wake is a hint: the reader looks after every wait, so a lost wake costs at most the time of one wait.
- Nothing here raises because a database or Redis is away: it waits, and tries again.

PostgreSQL notifies a connection that listens. SQLite has a number that changes with each commit of another connection,
of any process; reading it takes two microseconds, so it is polled twenty times a second. With Redis, its messages come
first, and the database's own way is the fallback while Redis is away.
"""

import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

from sqlalchemy import Engine

from server.events.redis_link import RedisAwayError, RedisLink
from server.tasks.events import CHANNEL

_POLL_SECONDS = 0.05
_RETRY_SECONDS = 2.0


class EventWake(Protocol):
    """One waiting reader; used by one thread."""

    def wait(self, seconds: float) -> bool:
        """Wait for a wake, at most `seconds`; False when none came. Blocking."""

    def close(self) -> None:
        """Release the connection."""


def open_wake(engine: Engine, redis: RedisLink | None) -> EventWake:
    """The wake for this database; connects at the first wait."""
    own = SqliteWake(engine.url.database or "") if engine.dialect.name == "sqlite" else PostgresWake(engine)
    return own if redis is None else RedisWake(redis, own)


class SqliteWake:
    """Polls the number of changes."""

    def __init__(self, file: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._file = file
        self._sleep = sleep
        self._connection: sqlite3.Connection | None = None
        self._version: int | None = None

    def wait(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while True:
            before, self._version = self._version, self._look()
            if self._version != before:
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._sleep(min(_POLL_SECONDS, left))

    def _look(self) -> int | None:
        try:
            if self._connection is None:
                uri = f"{Path(self._file).absolute().as_uri()}?mode=rw"
                self._connection = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error:
            self.close()
            return self._version

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class PostgresWake:
    """Listens on a connection of its own. After a new connection it wakes once: it may have missed something."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Any = None
        self._retry_at = 0.0

    def wait(self, seconds: float) -> bool:
        import psycopg

        try:
            if self._connection is None:
                if time.monotonic() < self._retry_at:
                    time.sleep(min(seconds, _RETRY_SECONDS))
                    return False
                self._connection = self._connect()
                return True
            return any(True for _ in self._connection.notifies(timeout=seconds, stop_after=1))
        except psycopg.Error:
            self.close()
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            time.sleep(min(seconds, _POLL_SECONDS))
            return False

    def _connect(self) -> Any:
        import psycopg

        arguments, options = self._engine.dialect.create_connect_args(self._engine.url)
        silence = {"keepalives_idle": 10, "keepalives_interval": 2, "keepalives_count": 3, "connect_timeout": 5}
        connection = cast("Any", psycopg.connect)(*arguments, **silence, **options, autocommit=True)
        connection.execute(f"LISTEN {CHANNEL}")
        return connection

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.close()
            self._connection = None


class RedisWake:
    """Subscribes to the messages of all processes; while Redis is away, `own` waits."""

    def __init__(self, redis: RedisLink, own: EventWake) -> None:
        self._redis = redis
        self._own = own
        self._subscription: Any = None

    def wait(self, seconds: float) -> bool:
        try:
            if self._subscription is None:
                self._subscription = self._redis.run(self._subscribe)
                return True
            # A second message says nothing more.
            found = self._redis.run(lambda _: self._message(seconds))
            while found is not None and self._redis.run(lambda _: self._message(0.0)) is not None:
                pass
        except RedisAwayError:
            self._drop()
            return self._own.wait(seconds)
        return found is not None

    def _subscribe(self, client: Any) -> Any:
        subscription = client.pubsub(ignore_subscribe_messages=True)
        subscription.subscribe(CHANNEL)
        return subscription

    def _message(self, seconds: float) -> Any:
        return self._subscription.get_message(timeout=seconds)

    def _drop(self) -> None:
        if self._subscription is not None:
            with contextlib.suppress(Exception):
                self._subscription.close()
            self._subscription = None

    def close(self) -> None:
        self._drop()
        self._own.close()
