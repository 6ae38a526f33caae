"""The long form of `test_crash.py`, for `make soak`: every line, every point each time, hundreds of random kills."""

import os
import time
from collections import Counter

import pytest

from tests.crash import rounds
from tests.crash.rounds import LOAD, Fault
from tests.crash.scenarios import SCENARIOS
from tests.crash.test_crash import Databases, check, databases
from tests.harness.postgres import PostgresServer

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

_GIVEN = int(os.environ.get("SOAK_ROUNDS") or 0)
ROUNDS = _GIVEN or 300
"""Random kills on each database."""
LINES = _GIVEN or None
"""Lines of each scenario; all of them when SOAK_ROUNDS is not given."""


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Databases:
    if request.param == "sqlite":
        return rounds.sqlite
    cluster: PostgresServer = request.getfixturevalue("postgres_server")
    return databases(cluster)


@pytest.fixture(scope="module")
def reached() -> dict[str, Counter[str]]:
    return rounds.record()


def test_a_kill_at_each_visit_of_each_point_loses_nothing(
    database: Databases, reached: dict[str, Counter[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """At each point, each time it is reached."""
    faults = [Fault(name, where) for name in SCENARIOS for where in rounds.named(reached[name], every=True)]
    _soak(faults, database, capsys)


def test_a_kill_at_any_line_loses_nothing(reached: dict[str, Counter[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """At every line, or SOAK_ROUNDS of them."""
    faults = [Fault(name, where) for name in SCENARIOS for where in rounds.lines(reached[name], LINES, name)]
    _soak(faults, rounds.sqlite, capsys, follow_lines=True)


def test_kills_at_random_moments_lose_nothing(database: Databases, capsys: pytest.CaptureFixture[str]) -> None:
    """SOAK_ROUNDS times at a random moment, other ones each time."""
    begin = time.time_ns()
    _soak([Fault(LOAD, f"random:{begin + number}") for number in range(ROUNDS)], database, capsys)


def _soak(
    faults: list[Fault], database: Databases, capsys: pytest.CaptureFixture[str], *, follow_lines: bool = False
) -> None:
    begin = time.monotonic()
    figures = rounds.run_all(faults, database, follow_lines=follow_lines)
    with capsys.disabled():
        print(f"\n{figures.summary()}\n{time.monotonic() - begin:.0f} s")
    check(figures, faults)
