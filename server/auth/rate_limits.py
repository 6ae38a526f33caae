"""Rates: how many creations an owner and an address may make, and how many invalid credentials an address may show.

Rules:

- Only creations, forms and failed authentications count. Requests that continue an upload never get here.
- The window slides (`limits`, sliding window counter): its cost and its memory do not depend on the rate. Each kind
  has a table of its own for so many keys; the key that was used least recently goes first. So a flood of addresses
  does not clear what is known of owners.
- With `redis_url`, Redis counts for all processes together, on threads. While it is away, each process counts for
  itself, and no request is refused or held up for that.
- An IPv6 address counts as its /64 network, and an IPv4 address in an IPv6 one as itself.
"""

import contextlib
import importlib.util
import ipaddress
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Protocol, TypeVar, cast

import structlog
from limits import RateLimitItem, parse
from limits.storage import RedisStorage

from server import threads
from server.auth.window_counter import WindowCounter
from server.errors import RateLimitedError, StartError
from server.settings import Settings

T = TypeVar("T")

POLICY_HEADER, LIMIT_HEADER = "RateLimit-Policy", "RateLimit"
"""Response headers of draft-ietf-httpapi-ratelimit-headers, sections 3 and 4; as version 11 has them."""

_REDIS_SECONDS = 0.5  # for a connection, and for an answer
_AWAY_SECONDS = 5.0
_REDIS_THREADS = 4
_PREFIX = "videodock"
_log = structlog.stdlib.get_logger("videodock.auth")


class Counter(Protocol):
    """What is used of a storage of `limits`."""

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count one more; False when that would be too many."""

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Counts of the previous and of the current window, each with the seconds that it still has effect."""


@dataclass(frozen=True)
class Level:
    """What one key has left; `seconds` pass until it has more."""

    left: int
    seconds: int


@dataclass(frozen=True)
class Rate:
    """One limit; `name` is its name in the headers."""

    name: str
    item: RateLimitItem
    memory: Counter

    def count(self, counter: Counter, key: str) -> tuple[bool, Level]:
        """Count one more request; whether it is allowed, and what is left."""
        allowed = counter.acquire_sliding_window_entry(self._key(key), self.item.amount, self.item.get_expiry())
        return allowed, self.level(counter, key)

    def level(self, counter: Counter, key: str) -> Level:
        """What is left; counts nothing."""
        window = self.item.get_expiry()
        return level(counter.get_sliding_window(self._key(key), window), self.item.amount, window)

    def _key(self, key: str) -> str:
        return self.item.key_for(self.name, key)


def level(counts: tuple[int, float, int, float], most: int, window: int) -> Level:
    """What is left by the counts of the previous and the current window, with the seconds of their effect."""
    previous, previous_left, current, current_left = counts
    left = max(0, most - math.floor(previous * previous_left / window) - current)
    if not previous and not current:
        return Level(left, 0)
    # The previous window loses weight evenly, until the current one takes its place.
    seconds = current_left - window if current else previous_left
    weight = math.floor(previous * previous_left / window)  # in whole requests
    if weight and current < most:
        seconds = previous_left - weight * window / previous
    return Level(left, math.floor(seconds) + 1)  # at the exact second, the request still counts in full


@dataclass(frozen=True, kw_only=True, repr=False)
class RateLimits:
    """Counts creations and failures. For the event loop; addresses are those after trusted proxies."""

    owner: Rate | None
    address: Rate | None
    failures: Rate | None
    redis: "_Redis | None"

    @classmethod
    def open(cls, settings: Settings) -> "RateLimits":
        """By the settings; connects to nothing yet. Raises `StartError` when `redis_url` needs a package."""
        return cls(
            owner=_rate("owner", settings.rate_owner),
            address=_rate("address", settings.rate_address),
            failures=_rate("failures", settings.rate_failures),
            redis=_Redis.open(settings.redis_url) if settings.redis_url else None,
        )

    async def creation(self, owner: str, address: str | None) -> Mapping[str, str]:
        """Count the creation of an upload or form; returns the headers of its response. Raises `RateLimitedError`."""
        levels: list[tuple[Rate, Level]] = []
        # The address first: a client that is refused for it takes nothing from its owner.
        for rate, key in self._rates(owner, address):
            allowed, left = await self._ask(rate, rate.count, key)
            if not allowed:
                raise RateLimitedError(seconds=left.seconds)
            levels.append((rate, left))
        return _headers(levels)

    async def headers(self, owner: str, address: str | None) -> Mapping[str, str]:
        """`RateLimit-Policy` and `RateLimit` as they are now, for a refused creation; none without a rate."""
        rates = self._rates(owner, address)
        return _headers([(rate, await self._ask(rate, rate.level, key)) for rate, key in rates])

    async def check_failures(self, address: str | None) -> None:
        """Before a credential is verified: raise `RateLimitedError` when the address has shown too many bad ones."""
        if self.failures is not None and address:
            now = await self._ask(self.failures, self.failures.level, network(address))
            if not now.left:
                raise RateLimitedError(seconds=now.seconds)

    async def failure(self, address: str | None) -> None:
        """Count a credential that was invalid. Raises `RateLimitedError` when there were too many already."""
        if self.failures is not None and address:
            allowed, now = await self._ask(self.failures, self.failures.count, network(address))
            if not allowed:
                raise RateLimitedError(seconds=now.seconds)

    def close(self) -> None:
        """Close the connections to Redis. Blocking."""
        if self.redis is not None:
            self.redis.close()

    def _rates(self, owner: str, address: str | None) -> Sequence[tuple[Rate, str]]:
        rates: list[tuple[Rate, str]] = []
        if self.address is not None and address:
            rates.append((self.address, network(address)))
        if self.owner is not None:
            # A digest: names of owners are of any length, and Redis need not show them.
            rates.append((self.owner, blake2b(owner.encode(), digest_size=16).hexdigest()))
        return rates

    async def _ask(self, rate: Rate, work: Callable[[Counter, str], T], key: str) -> T:
        if self.redis is not None:
            with contextlib.suppress(_RedisAwayError):
                return await self.redis.run(work, key)
        return work(rate.memory, key)


class _RedisAwayError(Exception):
    """Redis does not answer."""


@dataclass(kw_only=True, repr=False)
class _Redis:
    """Redis on threads. After a failure it is left alone for a few seconds."""

    counter: RedisStorage
    errors: tuple[type[Exception], ...]
    monotonic: Callable[[], float] = time.monotonic
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_REDIS_THREADS, "redis"))
    _away_until: float = 0.0
    _is_away: bool = False

    @classmethod
    def open(cls, url: str) -> "_Redis":
        if importlib.util.find_spec("redis") is None:
            raise StartError(
                "The setting redis_url needs a package that is not installed: .venv/bin/pip install '.[redis]' in a "
                f"checkout, else {sys.executable} -m pip install redis."
            )
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        # One repetition, since Redis may have closed an idle connection. By default redis-py waits between several.
        options: dict[str, Any] = {"retry": Retry(NoBackoff(), 1)}
        options |= {"socket_timeout": _REDIS_SECONDS, "socket_connect_timeout": _REDIS_SECONDS}
        try:
            counter = RedisStorage(url.replace("unix://", "redis+unix://", 1), key_prefix=_PREFIX, **options)
        except ValueError:  # its text may have a part of the password
            raise StartError("redis_url must be a URL such as redis://127.0.0.1:6379/0.") from None
        errors = counter.base_exceptions
        return cls(counter=counter, errors=(OSError, *(errors if isinstance(errors, tuple) else (errors,))))

    async def run(self, work: Callable[[Counter, str], T], key: str) -> T:
        """`work` with Redis. Raises `_RedisAwayError`."""
        if self.monotonic() < self._away_until:
            raise _RedisAwayError
        return await threads.run(self._work, work, key, pool=self._threads)

    def _work(self, work: Callable[[Counter, str], T], key: str) -> T:
        if self.monotonic() < self._away_until:  # by now
            raise _RedisAwayError
        try:
            result = work(self.counter, key)
        except self.errors as error:
            self._away_until = self.monotonic() + _AWAY_SECONDS
            if not self._is_away:
                # Its class alone: a message of the driver may have the URL, and so the password.
                _log.warning("redis_away", reason=type(error).__name__)
            self._is_away = True
            raise _RedisAwayError from None
        if self._is_away:
            self._is_away = False
            _log.info("redis_back")
        return result

    def close(self) -> None:
        self._threads.shutdown(wait=True)
        cast("Any", self.counter.get_connection()).close()


def network(address: str) -> str:
    """What counts as one address: the IPv4 address, the /64 network of an IPv6 one, or the text as it is."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
        parsed = parsed.ipv4_mapped
    return str(parsed)


def _rate(name: str, setting: str) -> Rate | None:
    return Rate(name, parse(setting), WindowCounter()) if setting else None


def _headers(levels: Iterable[tuple[Rate, Level]]) -> Mapping[str, str]:
    known = list(levels)
    if not known:
        return {}
    policies = (f'"{rate.name}";q={rate.item.amount};w={rate.item.get_expiry()}' for rate, _ in known)
    now = (f'"{rate.name}";r={left.left};t={left.seconds}' for rate, left in known)
    return {POLICY_HEADER: ", ".join(policies), LIMIT_HEADER: ", ".join(now)}
