"""Rounds: a scenario with a fault, a restart, one sweep, and the check; two benches at a time."""

import queue
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from tests.crash.bench import Bench, DiedError
from tests.crash.load import random_round
from tests.crash.play import Play
from tests.crash.scenarios import SCENARIOS
from tests.harness import seed

Databases = Callable[[], AbstractContextManager[str]]
"""Each call an empty database: its URL."""

BENCHES = 2
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
    """Faults that were not reached: the scenario came to its end, and the server was killed behind it."""
    found: list[str] = field(default_factory=list)

    def told(self) -> str:
        """For people."""
        first = f"{self.rounds} rounds, {len(self.alive)} of them not killed before their end"
        second = f"{self.uploads} uploads under random kills, {len(self.found)} findings"
        points = [f"{number:6} {name}" for name, number in sorted(self.killed.items())]
        return "\n".join([first, second, *points, *self.found])


def play_round(bench: Bench, fault: Fault) -> bool:
    """One round; whether the fault was reached. Raises `AssertionError` for what a crash must not leave."""
    if not bench.running:
        bench.start()
    play = Play(bench, fault.where, seed=fault)
    try:
        SCENARIOS[fault.scenario](play)
        reached = False
    except DiedError:
        reached = True
    if play.only_the_sweep_died:
        bench.kill()
    elif reached:
        assert bench.dies(seconds=60), "it gave no answer, and lives"
    else:
        # It may be about to die behind its answer.
        reached = bench.dies(seconds=_MOMENT)
        if not reached:
            bench.kill()
    bench.start()
    bench.sweep()
    play.verify()
    return reached


def sqlite() -> AbstractContextManager[str]:
    """A database in the data folder."""
    return nullcontext("")


def record(database: Databases = sqlite) -> dict[str, Counter[str]]:
    """How often each scenario reaches each point when nobody dies."""
    found = {}
    with database() as url, Bench(database_url=url, follow_lines=True) as bench:
        for scenario in SCENARIOS:
            bench.recorded()
            play_round(bench, Fault(scenario, "record"))
            found[scenario] = Counter(bench.recorded())
    return found


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


def play_all(faults: Iterable[Fault], database: Databases = sqlite, *, follow_lines: bool = False) -> Figures:
    """All of them. What goes wrong is gathered, not raised."""
    waiting: Waiting = queue.SimpleQueue()
    for fault in faults:
        waiting.put(fault)
    figures = Figures()

    def work(_: int) -> None:
        while not waiting.empty():
            with database() as url, Bench(database_url=url, follow_lines=follow_lines) as bench:
                _some(bench, waiting, figures)

    with ThreadPoolExecutor(BENCHES) as pool:
        list(pool.map(work, range(BENCHES)))
    return figures


def _some(bench: Bench, waiting: Waiting, figures: Figures) -> None:
    for _ in range(_FRESH):
        try:
            fault = waiting.get_nowait()
        except queue.Empty:
            return
        figures.rounds += 1
        try:
            reached = _one(bench, fault, figures)
        except Exception as error:  # the next ones are wanted too
            figures.found.append(f"{fault.scenario} killed at {fault.where}: {error!r}\n{bench.log()}")
            return
        if reached:
            figures.killed[fault.point] += 1
        else:
            figures.alive.append(fault)


def _one(bench: Bench, fault: Fault, figures: Figures) -> bool:
    if fault.scenario == LOAD:
        figures.uploads += random_round(bench, fault.where)
        return True
    return play_round(bench, fault)
