"""Rounds: a scenario with a fault, a restart, one sweep, and the check; two servers at a time."""

import queue
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from tests.crash.load import random_round
from tests.crash.recording_client import RecordingClient
from tests.crash.restarted_server import DiedError, RestartedServer
from tests.crash.scenarios import SCENARIOS
from tests.harness import seed

Databases = Callable[[], AbstractContextManager[str]]
"""Each call an empty database: its URL."""

SERVERS = 2
_MOMENT = 1.0
_FRESH = 40  # rounds after which a folder has become large enough


@dataclass(frozen=True)
class Fault:
    """A scenario, and where in it the server dies."""

    scenario: str
    where: str

    @property
    def point(self) -> str:
        """`where` without its number."""
        return self.where.partition(":")[0]


Waiting = queue.SimpleQueue[Fault]
LINE = "line"
LOAD = "load"
"""No scenario: many clients, killed at random; `where` is `random:` and the seed."""


@dataclass
class Figures:
    """What was done, and what went wrong."""

    rounds: int = 0
    uploads: int = 0
    """Of the rounds with many clients."""
    killed: Counter[str] = field(default_factory=Counter)
    alive: list[Fault] = field(default_factory=list)
    """Faults that were not reached: the scenario came to its end, and the server was killed after it."""
    found: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """For people."""
        first = f"{self.rounds} rounds, {len(self.alive)} of them not killed before their end"
        second = f"{self.uploads} uploads under random kills, {len(self.found)} findings"
        points = [f"{number:6} {name}" for name, number in sorted(self.killed.items())]
        return "\n".join([first, second, *points, *self.found])


def run_round(server: RestartedServer, fault: Fault) -> bool:
    """One round; whether the fault was reached. Raises `AssertionError` for what a crash must not leave."""
    if not server.running:
        server.start()
    client = RecordingClient(server, fault.where, seed=fault)
    try:
        SCENARIOS[fault.scenario](client)
        reached = False
    except DiedError:
        reached = True
    if client.only_the_sweep_died:
        server.kill()
    elif reached:
        assert server.dies(seconds=60), "it gave no answer, and lives"
    else:
        # It may be about to die after its answer.
        reached = server.dies(seconds=_MOMENT)
        if not reached:
            server.kill()
    server.start()
    server.sweep()
    client.verify()
    return reached


def sqlite() -> AbstractContextManager[str]:
    """A database in the data folder."""
    return nullcontext("")


def record(
    database: Databases = sqlite, scenarios: tuple[str, ...] = tuple(SCENARIOS), *, follow_lines: bool = True
) -> dict[str, Counter[str]]:
    """How often each scenario reaches each point without a fault."""
    waiting, found = iter(scenarios), {}  # the iterator of a tuple can be used by two threads

    def work(_: int) -> None:
        with database() as url, RestartedServer(database_url=url, follow_lines=follow_lines) as server:
            while scenario := next(waiting, ""):
                server.recorded()
                run_round(server, Fault(scenario, "record"))
                found[scenario] = Counter(server.recorded())

    with ThreadPoolExecutor(SERVERS) as pool:
        list(pool.map(work, range(SERVERS)))
    return {scenario: found[scenario] for scenario in scenarios}


def named(reached: Counter[str], *, every: bool) -> Iterator[str]:
    """Faults at each named point, at each time it is reached or at one of them."""
    for name, times in reached.items():
        if name != LINE:
            chosen = seed.dice("time", name).randint(1, times)
            yield from (f"{name}:{at}" for at in (range(1, times + 1) if every else [chosen]))


def lines(reached: Counter[str], number: int | None, scenario: str) -> Iterator[str]:
    """Faults at every line, or at so many: one of each of `number` equal stretches."""
    total = reached[LINE]
    dice = seed.dice("lines", scenario)
    stretches = total if number is None else min(number, total)
    for part in range(stretches):
        yield f"{LINE}:{dice.randint(part * total // stretches + 1, (part + 1) * total // stretches)}"


def run_all(faults: Iterable[Fault], database: Databases = sqlite, *, follow_lines: bool = False) -> Figures:
    """All of them. What goes wrong is gathered, not raised."""
    waiting: Waiting = queue.SimpleQueue()
    for fault in faults:
        waiting.put(fault)
    figures = Figures()

    def work(_: int) -> None:
        while not waiting.empty():
            with database() as url, RestartedServer(database_url=url, follow_lines=follow_lines) as server:
                _some(server, waiting, figures)

    with ThreadPoolExecutor(SERVERS) as pool:
        list(pool.map(work, range(SERVERS)))
    return figures


def _some(server: RestartedServer, waiting: Waiting, figures: Figures) -> None:
    for _ in range(_FRESH):
        try:
            fault = waiting.get_nowait()
        except queue.Empty:
            return
        figures.rounds += 1
        try:
            reached = _one(server, fault, figures)
        except Exception as error:  # the next ones are wanted too
            figures.found.append(f"{fault.scenario} killed at {fault.where}: {error!r}\n{server.log()}")
            return
        if reached:
            figures.killed[fault.point] += 1
        else:
            figures.alive.append(fault)


def _one(server: RestartedServer, fault: Fault, figures: Figures) -> bool:
    if fault.scenario == LOAD:
        figures.uploads += random_round(server, fault.where)
        return True
    return run_round(server, fault)
