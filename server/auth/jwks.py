"""The key set that verifies tokens, from a file or an https URL.

Rules:

- Without a set there is no answer: `UnavailableError`, never an accepted token.
- Requests never decide where a set comes from, and at most when: an unknown `kid` has it fetched again, once in a
  while. Requests that need it at once share one fetch.
- When a fetch fails, the last good set is used further, for a day at most.

The state changes on the event loop only; a thread reads the file or URL.
"""

import asyncio
import hashlib
import os
import ssl
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import structlog

from server import threads
from server.auth import outbound
from server.errors import UnavailableError

if TYPE_CHECKING:
    from server.auth.jose import KeySet

_log = structlog.stdlib.get_logger("videodock.auth")

MOST_BYTES = 256 << 10
FETCH_SECONDS = 5.0
FRESH_SECONDS = 300.0
"""For so long a fetched set is used without another look."""
LOOK_SECONDS = 2.0
"""The same for a file."""
UNKNOWN_SECONDS = 30.0
"""Between two fetches because of an unknown `kid`, or because the last one failed."""
FIRST_SECONDS = 3.0
"""Between two fetches while there is no set at all."""
LONGEST_SECONDS = 86_400.0
"""For so long the last good set is used while fetches fail."""
_SILENT_SECONDS = 60.0


class _Source(Protocol):
    fresh_seconds: float
    unknown_seconds: float

    def read(self, known: object) -> tuple[object, bytes | None]:
        """The version and the text; None for the text of the version that is known. Blocking.

        Raises `OSError`, `ValueError` and `outbound.OutboundError`.
        """


class _File:
    fresh_seconds = unknown_seconds = LOOK_SECONDS

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, known: object) -> tuple[object, bytes | None]:
        # Without waiting: the path may be that of a FIFO.
        descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise ValueError("it is not a file")
            version = (facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
            if version == known:
                return version, None
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise ValueError("it is too large")
        return version, text


class _Url:
    fresh_seconds, unknown_seconds = FRESH_SECONDS, UNKNOWN_SECONDS

    def __init__(self, url: str, context: ssl.SSLContext | None) -> None:
        self._target = outbound.Target.of(url)
        if self._target.scheme != "https":
            raise ValueError("keys are fetched by https only")
        self._context = context

    def read(self, known: object) -> tuple[object, bytes | None]:
        deadline = time.monotonic() + FETCH_SECONDS
        answer = outbound.request(
            self._target,
            deadline=deadline,
            most=MOST_BYTES,
            headers=[(b"Accept", b"application/jwk-set+json, application/json")],
            context=self._context,
        )
        if answer.status != 200:
            raise ValueError(f"the status is {answer.status}")
        version = hashlib.sha256(answer.body).digest()
        return version, None if version == known else answer.body


class Jwks:
    """The key set of a path or https URL. Raises `ValueError` for a URL that cannot be one.

    `context` verifies the certificate of the URL's server, else the system's authorities and those of `SSL_CERT_FILE`
    do. `clock` is in seconds.
    """

    def __init__(
        self, source: str, *, context: ssl.SSLContext | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._source: _Source = _Url(source, context) if "://" in source else _File(Path(source))
        self._clock = clock
        self._set: KeySet | None = None
        self._version: object = None
        self._good_at = self._tried_at = self._told_at = -LONGEST_SECONDS
        self._has_failed = False
        self._reason = ""
        self._running: asyncio.Task[None] | None = None

    async def current(self) -> "KeySet":
        """The set as it is now; the same object as long as it has not changed. Raises `UnavailableError`."""
        if self._clock() - self._good_at >= self._source.fresh_seconds:
            usable = self._usable()
            pause = min(self._source.unknown_seconds, UNKNOWN_SECONDS if usable else FIRST_SECONDS)
            running = self._start(pause if self._has_failed else 0)
            # While fetches fail, requests use the last good set without waiting for the next one.
            if running is not None and (usable is None or not self._has_failed):
                await asyncio.shield(running)
        return self._found()

    async def with_key(self, kid: str | None) -> "KeySet":
        """The set as it is now; fetched again if it lacks that `kid`. Raises `UnavailableError`."""
        found = await self.current()
        if found.knows(kid):
            return found
        running = self._start(self._source.unknown_seconds)
        if running is not None:
            await asyncio.shield(running)
        return self._found()

    def _usable(self) -> "KeySet | None":
        return self._set if self._clock() - self._good_at < LONGEST_SECONDS else None

    def _found(self) -> "KeySet":
        found = self._usable()
        if found is None:
            raise UnavailableError(part="keys")
        return found

    def _start(self, pause: float) -> "asyncio.Task[None] | None":
        """The fetch that is running, or a new one unless the last was less than `pause` seconds ago."""
        if self._running is not None and not self._running.done():
            return self._running
        if self._clock() - self._tried_at < pause:
            return None
        self._running = asyncio.create_task(self._refresh())
        return self._running

    async def _refresh(self) -> None:
        """Fetch the set; raises nothing of what a source raises."""
        self._tried_at = self._clock()
        try:
            version, found = await threads.run(self._load, self._version)
        except (OSError, ValueError, outbound.OutboundError) as error:
            self._fail(error)
            return
        if found is not None:
            self._set, self._version = found, version
            _log.info("jwks_loaded", keys=len(found.keys))
        self._good_at = self._clock()
        self._has_failed = False

    def _load(self, known: object) -> "tuple[object, KeySet | None]":
        from server.auth import jose  # not before it is needed: see its rules

        version, text = self._source.read(known)
        return version, None if text is None else jose.key_set(text)

    def _fail(self, error: Exception) -> None:
        reason = (error.strerror or "it cannot be read") if isinstance(error, OSError) else str(error)
        now = self._clock()
        if not self._has_failed or reason != self._reason or now - self._told_at >= _SILENT_SECONDS:
            _log.warning("jwks_unavailable", reason=reason, has_keys=self._usable() is not None)
            self._told_at = now
        self._has_failed, self._reason = True, reason
