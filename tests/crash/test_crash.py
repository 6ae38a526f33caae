"""After `kill -9` at any instruction: every acknowledged byte, rows that agree with files, one task an upload."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.crash import rounds
from tests.crash.rounds import LINE, LOAD, Fault, Figures
from tests.crash.scenarios import SCENARIOS
from tests.harness import seed
from tests.harness.faulty_server import ANSWERS, POINTS
from tests.harness.postgres import PostgresServer

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(2)]  # ways to choose the moment of a kill

# Samples of this run's seed; `make soak` takes them all.
RANDOM_KILLS = 12
POINTS_A_RUN = 0.5  # of the named points, in one scenario each
LINES = 1  # of each scenario
ON_POSTGRESQL = ("create", "append_last", "append_checked", "join_with_last_part", "terminate", "form", "sweep")
OF_ROWS = (
    *(f"{name}.{side}" for name in ("transaction", "change") for side in ("before", "half", "after")),
    *("store.finish.after", "store.delete.before"),
)

Databases = Callable[[], AbstractContextManager[str]]


@pytest.fixture(scope="module")
def reached() -> dict[str, Counter[str]]:
    """What each scenario reaches without a fault."""
    return rounds.record()


@pytest.fixture(scope="module")
def postgres(postgres_server: PostgresServer) -> Databases:
    """Databases on PostgreSQL."""
    return databases(postgres_server)


def databases(cluster: PostgresServer) -> Databases:
    @contextmanager
    def made() -> Iterator[str]:
        url = cluster.create_database()
        try:
            yield url
        finally:
            cluster.drop_database(url)

    return made


@pytest.mark.turns(1)
def test_every_kill_point_is_reached_by_a_scenario(reached: dict[str, Counter[str]]) -> None:
    """Each row of the table of points is reached by some scenario, so a renamed function is not lost unseen."""
    seen = set().union(*reached.values())
    expected = {f"{name}.{side}" for name in ANSWERS.values() for side in ("before", "after")}
    for point in POINTS:
        sides = ("before", "half", "after") if point.half or point.kind == "manager" else ("before", "after")
        expected |= {f"{point.name}.{side}" for side in sides}
    assert seen - {LINE} == expected
    assert all(found[LINE] > 50 for found in reached.values())


@pytest.mark.turns(1)
def test_a_kill_at_any_named_point_loses_nothing(reached: dict[str, Counter[str]]) -> None:
    """At half of the points, another half each day, in one of the scenarios that reach it."""
    faults = some([Fault(name, where) for name in SCENARIOS for where in rounds.named(reached[name], every=False)])
    check(rounds.run_all(faults), faults)


def test_a_kill_at_points_of_past_faults_loses_nothing() -> None:
    """Where a kill once left something: a body that was too long was taken for a whole one."""
    points = ("store.append.after:1", "file.write.after:1", "store.truncate.before:1")
    faults = [Fault("append_too_long", where) for where in points]
    faults += [Fault("join_with_last_part", "store.finish.before:1")] * 3
    check(rounds.run_all(faults), faults)


def test_a_kill_at_any_sampled_line_loses_nothing(reached: dict[str, Counter[str]]) -> None:
    """In every scenario, behind lines that are spread over all of it."""
    faults = [Fault(name, where) for name in SCENARIOS for where in rounds.lines(reached[name], LINES, name)]
    check(rounds.run_all(faults, follow_lines=True), faults)


def test_a_kill_at_a_random_moment_loses_nothing() -> None:
    """Many clients at once, and a kill from outside at a random moment."""
    faults = [Fault(LOAD, f"random:{seed.value()}-{number}") for number in range(RANDOM_KILLS)]
    figures = rounds.run_all(faults)
    check(figures, faults)
    assert figures.uploads > RANDOM_KILLS


def test_a_kill_with_postgresql_loses_nothing(postgres: Databases) -> None:
    """The same where the database is a process of its own: transactions that were cut off, and random moments."""
    reached = rounds.record(postgres, ON_POSTGRESQL, follow_lines=False)
    of_rows = [
        Fault(name, where)
        for name in ON_POSTGRESQL
        for where in rounds.named(reached[name], every=False)
        if Fault(name, where).point in OF_ROWS
    ]
    faults = some(of_rows, share=1) + [Fault(LOAD, f"random:{seed.value()}-{number}") for number in range(2)]
    check(rounds.run_all(faults, postgres), faults)


def some(faults: list[Fault], share: float = POINTS_A_RUN) -> list[Fault]:
    """Of this share of the points one each."""
    by_point: dict[str, list[Fault]] = {}
    for fault in faults:
        by_point.setdefault(fault.point, []).append(fault)
    dice = seed.dice("scenarios of a point")
    points = dice.sample(sorted(by_point), math.ceil(len(by_point) * share))
    return [dice.choice(by_point[point]) for point in points]


def check(figures: Figures, faults: list[Fault]) -> None:
    """Everything was done, nothing was found, and hardly any server outlived its scenario."""
    assert figures.found == [], figures.summary()
    assert figures.rounds == len(faults)
    # Threads take turns as they like, so a point that was reached for the third time may be reached only twice.
    assert len(figures.alive) <= len(faults) // 10, figures.alive
