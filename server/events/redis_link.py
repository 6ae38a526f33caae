"""Redis, for messages between processes and for the status of running tasks.

Rules:

- Redis is a help, never a need: an error or a silence becomes `RedisAwayError`, for which the caller has another way.
- After a failure Redis is left alone for some seconds, so that a request waits for it once, and not each time.
"""

import contextlib
import importlib.util
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import structlog

from server import threads
from server.errors import StartError
from server.tasks.events import CHANNEL

T = TypeVar("T")

SECONDS = 0.3
"""The longest that one answer of Redis takes."""
_AWAY_SECONDS = 3.0
_THREADS = 4
_PUBLISH_PAUSE = 0.02  # between two messages of this process

_log = structlog.stdlib.get_logger("videodock.redis")


class RedisAwayError(Exception):
    """Redis does not answer."""


class RedisLink:
    """The connections of this process."""

    def __init__(self, client: Any, errors: tuple[type[Exception], ...]) -> None:
        self._client = client
        self._errors = errors
        self._away_until = 0.0
        self._is_away = False
        self._threads = ThreadPoolExecutor(_THREADS, "redis-events")
        self._due = threading.Event()
        self._publisher: threading.Thread | None = None
        self._starting = threading.Lock()
        self._ended = False

    @classmethod
    def open(cls, url: str) -> "RedisLink":
        """Connects to nothing yet. Raises `StartError` for a URL that is not one, and without the package."""
        if importlib.util.find_spec("redis") is None:
            raise StartError("The setting redis_url needs the package redis: pip install 'videodock[redis]'.")
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError
        from redis.retry import Retry

        try:
            # One repetition, since Redis may have closed an idle connection.
            client = Redis.from_url(
                url, socket_timeout=SECONDS, socket_connect_timeout=SECONDS, retry=Retry(NoBackoff(), 1)
            )
        except ValueError:  # its text may have a part of the password
            raise StartError("redis_url must be a URL such as redis://127.0.0.1:6379/0.") from None
        return cls(client, (OSError, RedisError))

    @property
    def is_away(self) -> bool:
        """Whether Redis did not answer a moment ago, so that asking it now is of no use."""
        return time.monotonic() < self._away_until

    def run(self, work: Callable[[Any], T]) -> T:
        """`work` with the client. Raises `RedisAwayError`. Blocking."""
        if self.is_away:
            raise RedisAwayError
        try:
            result = work(self._client)
        except self._errors as error:
            self._away_until = time.monotonic() + _AWAY_SECONDS
            if not self._is_away:
                # Its class alone: a message of the driver may have the URL, and so the password.
                _log.warning("redis_away", reason=type(error).__name__)
            self._is_away = True
            raise RedisAwayError from None
        if self._is_away:
            self._is_away = False
            _log.info("redis_back")
        return result

    async def ask(self, work: Callable[[Any], T]) -> T:
        """The same on a thread."""
        if self.is_away:
            raise RedisAwayError
        return await threads.run(self.run, work, pool=self._threads)

    def later(self, work: Callable[[Any], object]) -> None:
        """`work` on a thread, sometime soon or not at all."""
        if not (self._ended or self.is_away):
            self._threads.submit(self._try, work)

    def _try(self, work: Callable[[Any], object]) -> None:
        with contextlib.suppress(RedisAwayError):
            self.run(work)

    def announce(self) -> None:
        """Events were committed: wake the readers of all processes. Does not block."""
        if self._publisher is None:
            with self._starting:
                if self._publisher is None:
                    self._publisher = threading.Thread(target=self._publish, name="redis-publish", daemon=True)
                    self._publisher.start()
        self._due.set()

    def _publish(self) -> None:
        while not self._ended:
            self._due.wait()
            self._due.clear()
            if not self._ended:
                self._try(lambda client: client.publish(CHANNEL, ""))
                time.sleep(_PUBLISH_PAUSE)

    def close(self) -> None:
        """End the threads and close the connections. Blocking."""
        self._ended = True
        self._due.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        if self._publisher is not None:
            self._publisher.join(SECONDS * 4)
        self._client.close()
