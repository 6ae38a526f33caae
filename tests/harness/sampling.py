"""`@pytest.mark.sampled(most)`: `make test` runs so many of a test's parameter sets, `make soak` the others.

Rule: nothing is lost. A parameter set that is not drawn gets the marker `soak`, before pytest selects by markers, so
what `make test` leaves out is exactly what `make soak` adds. The draw is the same in each process of a run, whatever
else it collects, and covers as much as it can: first every value of every parameter, then every pair of values, then by
chance. The tests of a file take turns, so that those with room for one database do not all take the same.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from types import FunctionType

import pytest

from tests.harness import seed

MARKER = "sampled"
Value = tuple[str, object]
"""A parameter's name, and which of its values."""


def draw(items: Iterable[pytest.Item]) -> None:
    """Give the marker `soak` to what is not drawn. A test that alone was named on the command line always is."""
    tests: dict[str, list[pytest.Function]] = {}
    for item in items:
        if (
            isinstance(item, pytest.Function)
            and item.get_closest_marker(MARKER)
            and not item.get_closest_marker("soak")
        ):
            tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for name, sets in tests.items():
        most = max(_most(item) for item in sets)
        drawn = choose([_values(item) for item in sets], most, name.partition("::")[0], _turn(sets[0]))
        for number, item in enumerate(sets):
            if number not in drawn:
                item.add_marker(pytest.mark.soak)


def choose(sets: Sequence[frozenset[Value]], most: int, file: str, turn: int = 0) -> set[int]:
    """The numbers of the sets that are drawn: each time the one that adds most values, of those the most pairs."""
    order = list(range(len(sets)))
    seed.dice("sampled", file, len(sets)).shuffle(order)
    order = order[turn % len(order) :] + order[: turn % len(order)]
    drawn: set[int] = set()
    values: set[Value] = set()
    pairs: set[frozenset[Value]] = set()
    while order and len(drawn) < most:
        best = max(order, key=lambda number: (len(sets[number] - values), len(_pairs(sets[number]) - pairs)))
        order.remove(best)
        drawn.add(best)
        values |= sets[best]
        pairs |= _pairs(sets[best])
    return drawn


def _most(item: pytest.Function) -> int:
    marker = item.get_closest_marker(MARKER)
    match marker and marker.args:
        case (int(most),) if most > 0:
            return most
    raise pytest.UsageError(f"{item.nodeid}: `sampled` takes the number of parameter sets that `make test` runs")


def _turn(item: pytest.Function) -> int:
    """The place of a test among those of its file or class that are sampled."""
    names = [name for name, value in vars(item.parent.obj).items() if _is_sampled(value)]  # type: ignore[union-attr]
    return names.index(item.originalname) if item.originalname in names else 0


def _is_sampled(value: object) -> bool:
    return isinstance(value, FunctionType) and MARKER in [mark.name for mark in getattr(value, "pytestmark", ())]


def _values(item: pytest.Function) -> frozenset[Value]:
    """The values of a test's parameters; one that is no plain value is known by its number."""
    if not hasattr(item, "callspec"):
        return frozenset()
    spec = item.callspec
    return frozenset(_numbered(spec.params, spec.indices))


def _numbered(params: dict[str, object], indices: dict[str, int]) -> Iterator[Value]:
    for name, value in params.items():
        plain = value is None or isinstance(value, str | bytes | int | float)
        yield name, repr(value) if plain else indices[name]


def _pairs(values: frozenset[Value]) -> set[frozenset[Value]]:
    return {frozenset(pair) for pair in combinations(values, 2)}
