"""Rates: what counts together, when it is over, what clients are told, and Redis that counts for all or is away."""

import asyncio
import importlib.util
import itertools
import os
import re
import signal
import socket
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from limits import parse
from structlog.testing import capture_logs

from server.auth.rate_limits import LIMIT_HEADER, POLICY_HEADER, Level, Rate, RateLimits, level, network
from server.auth.window_counter import WindowCounter
from server.errors import RateLimitedError, StartError
from server.settings import Settings
from tests.harness.brokers import PASSWORD, Broker
from tests.harness.ports import free_port, let_go

MINUTE = 60
# Tests by the machine's clock count by the day: on a busy machine a minute begins in the middle of a test, and then the
# window has slid.
DAY = 86_400
Open = Callable[..., RateLimits]


class Clock:
    """Seconds, as a test wants them."""

    def __init__(self) -> None:
        self.now = 1_000_000 * MINUTE + 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def open_rates(tmp_path: Path) -> Iterator[Open]:
    """Rates by these settings; each call is another process."""
    made: list[RateLimits] = []

    def open_(**settings: Any) -> RateLimits:
        made.append(RateLimits.open(Settings(data_dir=tmp_path, **settings)))
        return made[-1]

    yield open_
    for each in made:
        each.close()


def counted(rates: RateLimits, clock: Clock) -> RateLimits:
    """The same with this clock."""
    for rate in (rates.owner, rates.address, rates.failures):
        if rate is not None:
            assert isinstance(rate.memory, WindowCounter)
            rate.memory._clock = clock
    return rates


async def allowed(ask: Callable[[], Awaitable[object]], times: int) -> int:
    """How many of so many were allowed."""
    waits: list[int] = []
    for _ in range(times):
        try:
            await ask()
        except RateLimitedError as refused:
            waits.append(refused.retry_seconds)
    assert all(seconds >= 1 for seconds in waits)
    return times - len(waits)


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_an_address_is_what_a_client_cannot_choose(address: str, counts_as: str) -> None:
    """An IPv6 client has a whole /64 to send from."""
    assert network(address) == counts_as


async def _no_rates(rates: RateLimits) -> None:
    assert await allowed(lambda: rates.creation("a", "192.0.2.1"), 500) == 500
    assert await rates.creation("a", None) == {}
    assert await rates.headers("a", "192.0.2.1") == {}
    await rates.failure("192.0.2.1")
    await rates.check_failures("192.0.2.1")


def test_without_a_rate_nothing_is_counted(open_rates: Open) -> None:
    """And no header is sent."""
    asyncio.run(_no_rates(open_rates(rate_failures="")))


def test_owners_and_addresses_have_rates_of_their_own(open_rates: Open) -> None:
    """One owner at many addresses, and one address with many owners; another owner elsewhere is not concerned."""

    async def ask() -> None:
        rates = open_rates(rate_owner="10/day", rate_address="20/day")
        addresses = iter(range(1000))
        assert await allowed(lambda: rates.creation("a", f"2001:db8:0:{next(addresses):x}::1"), 30) == 10
        owners = iter(range(1000))
        assert await allowed(lambda: rates.creation(f"b{next(owners)}", f"2001:db8:ffff::{next(owners):x}"), 30) == 20
        assert await allowed(lambda: rates.creation("c", "192.0.2.1"), 5) == 5
        assert await allowed(lambda: rates.creation("c", None), 10) == 5

    asyncio.run(ask())


def test_a_refusal_by_address_takes_nothing_from_the_owner(open_rates: Open) -> None:
    """Otherwise one bad client would lock out all clients of its owner."""

    async def ask() -> None:
        rates = open_rates(rate_owner="10/day", rate_address="2/day")
        assert await allowed(lambda: rates.creation("a", "192.0.2.1"), 100) == 2
        assert await allowed(lambda: rates.creation("a", "192.0.2.2"), 1) == 1
        assert '"owner";r=7;' in (await rates.headers("a", "192.0.2.3"))[LIMIT_HEADER]

    asyncio.run(ask())


def test_headers_are_structured_fields_of_the_draft(open_rates: Open) -> None:
    """Names are strings; q, w, r and t are whole numbers. `t` is the time until there is more."""

    async def ask() -> None:
        clock = Clock()
        rates = counted(open_rates(rate_owner="100/minute", rate_address="5/hour"), clock)
        clock.now += 15
        headers = await rates.creation("a", "192.0.2.1")
        assert headers[POLICY_HEADER] == '"address";q=5;w=3600, "owner";q=100;w=60'
        assert headers[LIMIT_HEADER] == '"address";r=4;t=1186, "owner";r=99;t=46'
        assert await rates.headers("a", "192.0.2.1") == headers
        for value in headers.values():
            assert all(re.fullmatch(r'"[a-z]+";[qr]=\d+;[wt]=\d+', item) for item in value.split(", "))

    asyncio.run(ask())


def test_the_window_slides(open_rates: Open) -> None:
    """After a burst, requests are allowed again one by one, and a client that waits as told is served."""

    async def ask() -> None:
        clock = Clock()
        rates = counted(open_rates(rate_owner="10/minute"), clock)
        clock.now += 59
        assert await allowed(lambda: rates.creation("a", None), 50) == 10
        clock.now += 2  # in a fixed window there would be ten more by now
        assert await allowed(lambda: rates.creation("a", None), 50) <= 1
        for _ in range(30):
            try:
                await rates.creation("a", None)
            except RateLimitedError as refused:
                clock.now += refused.retry_seconds
                await rates.creation("a", None)
        clock.now += 10 * MINUTE
        assert await allowed(lambda: rates.creation("a", None), 50) == 10

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((0, 0.0, 0, 0.0), Level(10, 0)),
        ((0, 0.0, 3, 60 + 44.5), Level(7, 45)),
        ((0, 0.0, 3, 119.9), Level(7, 60)),
        ((0, 0.0, 10, 60 + 0.5), Level(0, 1)),
        ((10, 60.0, 0, 120.0), Level(0, 1)),
        ((10, 32.9, 5, 60 + 32.9), Level(0, 3)),
        ((1, 29.5, 5, 60 + 29.5), Level(5, 30)),
        ((5, 58.5, 10, 60 + 58.5), Level(0, 59)),
    ],
)
def test_what_is_left_follows_from_the_counts(counts: tuple[int, float, int, float], expected: Level) -> None:
    """Of ten a minute: how many are left, and the seconds until there is one more."""
    assert level(counts, 10, MINUTE) == expected


def test_failures_are_counted_until_they_are_refused_unseen(open_rates: Open) -> None:
    """Up to the rate they count; then nothing of this network is verified any more, while others are not concerned."""

    async def ask() -> None:
        rates = open_rates(rate_failures="30/day")
        for number in range(30):
            await rates.check_failures(f"2001:db8::{number:x}")
            await rates.failure(f"2001:db8::{number:x}")
        with pytest.raises(RateLimitedError):
            await rates.check_failures("2001:db8::ffff")
        with pytest.raises(RateLimitedError):
            await rates.failure("2001:db8::ffff")
        await rates.check_failures("2001:db8:0:1::1")
        await rates.check_failures(None)
        await rates.creation("a", "2001:db8::1")

    asyncio.run(ask())


@pytest.mark.parametrize("addresses", [22_000, pytest.param(50_000, marks=pytest.mark.soak)])
def test_a_flood_of_addresses_costs_no_memory(open_rates: Open, addresses: int) -> None:
    """More addresses than the table has room for: it does not grow, and owners are still known."""

    async def flood() -> None:
        rates = open_rates(rate_owner="10/day", rate_address="10/day")
        assert await allowed(lambda: rates.creation("a", None), 20) == 10
        tracemalloc.start()
        for number in range(addresses):
            await rates.failure(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 30 << 20
        assert rates.failures is not None
        assert isinstance(rates.failures.memory, WindowCounter)
        assert len(rates.failures.memory) == 20_000
        assert await allowed(lambda: rates.creation("a", None), 1) == 0

    asyncio.run(flood())


def test_a_step_in_memory_costs_the_same_in_a_full_table() -> None:
    """Nothing goes through all keys: a full table is as quick as an empty one, to a factor that noise explains."""
    rate = Rate("owner", parse("10/minute"), WindowCounter())

    def spent(start: int) -> float:
        best = []
        for turn in range(5):
            begin = time.process_time()
            for number in range(2000):
                rate.count(rate.memory, str(start + turn * 2000 + number))
            best.append(time.process_time() - begin)
        return min(best)

    empty = spent(0)
    spent(10_000)
    assert spent(20_000) < 10 * empty


def test_redis_counts_for_all_processes(redis_server: Broker, open_rates: Open) -> None:
    """Two processes have one rate; keys have no name of an owner in them, and expire."""
    redis_server.resume()

    async def ask() -> None:
        given = {"rate_owner": "10/day", "rate_failures": "5/day", "redis_url": redis_server.url}
        one, other = open_rates(**given), open_rates(**given)
        turns = itertools.cycle((one, other))
        headers: list[str] = []

        async def create() -> None:
            given = await next(turns).creation("secret-name", "192.0.2.7")
            headers.append(given[LIMIT_HEADER])

        assert await allowed(create, 20) == 10
        assert [re.findall(r"r=(\d+)", value) for value in headers] == [[str(left)] for left in range(9, -1, -1)]
        assert all(1 <= int(value.rpartition("=")[2]) <= DAY + 1 for value in headers)
        assert await allowed(lambda: one.failure("192.0.2.7"), 20) == 5
        with pytest.raises(RateLimitedError):
            await other.check_failures("192.0.2.7")
        assert one.redis is not None
        client: Any = one.redis.counter.get_connection()
        keys = [key.decode() for key in client.keys("videodock:*")]
        assert len(keys) == 2
        assert not [key for key in keys if "secret-name" in key]
        assert all(0 < client.ttl(key) <= 2 * DAY for key in keys)
        client.delete(*keys)

    asyncio.run(ask())


def test_hundreds_at_once_are_counted_exactly(redis_server: Broker, open_rates: Open) -> None:
    """No two requests take the same place, on the threads of two processes."""
    redis_server.resume()

    async def ask() -> None:
        given = {"rate_owner": "50/day", "redis_url": redis_server.url}
        both = [open_rates(**given), open_rates(**given)]
        owner = os.urandom(8).hex()
        results = await asyncio.gather(
            *(both[number % 2].creation(owner, None) for number in range(300)), return_exceptions=True
        )
        assert sum(isinstance(result, dict) for result in results) == 50
        assert all(isinstance(result, (dict, RateLimitedError)) for result in results)

    asyncio.run(ask())


def test_without_redis_each_process_counts_for_itself(
    redis_server: Broker, open_rates: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis ends, and comes back: one warning without the password, no refusal for it, then Redis counts again."""
    redis_server.resume()
    clock = Clock()

    async def ask() -> None:
        rates = open_rates(rate_owner="10/day", redis_url=redis_server.url)
        assert rates.redis is not None
        rates.redis.monotonic = clock
        owner = os.urandom(8).hex()
        await rates.creation(owner, None)
        redis_server.halt(signal.SIGKILL)
        with capture_logs() as lines:
            assert await allowed(lambda: rates.creation(owner, None), 20) == 10
            redis_server.resume()
            assert await allowed(lambda: rates.creation(owner, None), 5) == 0  # it is left alone for some seconds
            clock.now += 6
            assert await allowed(lambda: rates.creation(owner, None), 20) >= 9
        events = [line["event"] for line in lines]
        assert events == ["redis_away", "redis_back"]
        assert PASSWORD not in str(lines)

    try:
        asyncio.run(ask())
    finally:
        redis_server.resume()


def test_a_redis_that_does_not_answer_holds_nothing_up(open_rates: Open) -> None:
    """It accepts connections and is silent: a request waits for a second at most, and the event loop for nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:

        async def ask() -> None:
            rates = open_rates(rate_owner="10/day", redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
            turns = 0

            async def turn() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0.01)

            turning = asyncio.create_task(turn())
            results = await asyncio.gather(*(rates.creation("a", None) for _ in range(20)), return_exceptions=True)
            turning.cancel()
            assert sum(isinstance(result, dict) for result in results) == 10
            assert turns > 10

        with capture_logs():
            asyncio.run(ask())


def test_a_redis_that_is_not_there_is_no_reason_to_refuse(open_rates: Open) -> None:
    """Also from the start on."""
    port = free_port()
    try:
        with capture_logs() as lines:
            rates = open_rates(rate_owner="10/day", redis_url=f"redis://:{PASSWORD}@127.0.0.1:{port}/0")
            assert asyncio.run(allowed(lambda: rates.creation("a", None), 20)) == 10
        assert PASSWORD not in str(lines)
    finally:
        let_go(port)


@pytest.mark.parametrize("url", ["redis://:pass-word/of@127.0.0.1:6379/0", "redis://127.0.0.1:port/0"])
def test_a_url_that_is_none_is_explained_without_the_password(open_rates: Open, url: str) -> None:
    """A sentence at the start."""
    with pytest.raises(StartError, match="redis_url must be a URL") as caught:
        open_rates(redis_url=url)
    assert "pass" not in str(caught.value)


def test_a_missing_package_is_explained_at_the_start(open_rates: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which one, and how to install it; without `redis_url` nothing is missing."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StartError, match=r"pip install '\.\[redis\]'"):
        open_rates(redis_url="redis://127.0.0.1:6379/0")
    open_rates()
