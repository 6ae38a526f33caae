"""What `make test` leaves to `make soak`: parameter sets that the run's seed does not draw.

Rule: nothing is lost. A set that is not drawn gets the marker `soak`, before pytest selects by markers, and a set that
is drawn from several gets `drawn`. `make test` runs what is not `soak`; `make soak` runs `soak` and `drawn`, so it has
every set, whatever the seed of the day. The draw is the same in each process of a run, whatever else it collects.

- A test that runs on several of `BACKENDS` draws one for each set of its other parameters. Tests of one file that share
  a server draw the same, so that the other one does not start. `every_backend` is for those whose subject is the
  difference.
- `@pytest.mark.turns(days)`, mostly of a whole file: one in `days` of its tests runs, another one each day. It is for
  files whose tests are a matrix written out: one client or page and many troubles, one step and many odd videos.
- `@pytest.mark.sampled(most)` draws so many sets, and covers as much as it can: first every value of every parameter,
  then every pair of values, then by chance. The tests of a file take turns, so that those with room for one database
  do not all take the same.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from types import FunctionType
from zlib import crc32

import pytest

from tests.harness import seed

MARKER, EVERY, TURNS = "sampled", "every_backend", "turns"
BACKENDS = {
    *("sqlite", "postgresql"),
    *("videodock", "tuspyserver"),  # the tus engines; the first is the HTTP class, too
    "portable",  # the other HTTP class
    *("asyncio", "uvloop"),
    *("rabbitmq", "redis"),
    *("system", "bundled"),  # FFmpeg
}
"""Values of parameters that stand for a part with a twin: a promise of this server is the same with both."""
Value = tuple[str, object]
"""A parameter's name, and which of its values."""


def draw(items: Iterable[pytest.Item]) -> None:
    """Give the markers `soak` and `drawn`. A test that alone was named on the command line is always drawn."""
    samples: dict[object, list[pytest.Function]] = {}
    twins: dict[object, list[pytest.Function]] = {}
    places: dict[pytest.Item | pytest.Collector | None, list[pytest.Function]] = {}
    for item in items:
        if not isinstance(item, pytest.Function) or item.get_closest_marker("soak"):
            continue
        places.setdefault(item.parent, []).append(item)
        if item.get_closest_marker(MARKER):
            samples.setdefault(_test(item), []).append(item)
        elif not item.get_closest_marker(EVERY):
            twins.setdefault((_test(item), _values(item) - _backends(item)), []).append(item)
    for sets in samples.values():
        most = max(_number(item, MARKER) for item in sets)
        _leave(sets, choose([_values(item) for item in sets], most, _file(sets[0]), _turn(sets[0])))
    for sets in twins.values():
        _leave(sets, {min(range(len(sets)), key=lambda number: _rank(sets[number]))} if len(sets) > 1 else {0})
    for sets in places.values():
        _take_turns(sets)


def _take_turns(items: Sequence[pytest.Function]) -> None:
    """Leave those of a file's tests, or of a class's, whose turn is another day; unless only some were asked for."""
    parent = items[0].parent
    found = [name for name, value in vars(parent.obj).items() if isinstance(value, FunctionType)]  # type: ignore[union-attr]
    names = [name for name in found if name.startswith("test")]
    if len(names) > len({item.originalname for item in items}):
        return
    for item in items:
        days = _number(item, TURNS)
        place = names.index(item.originalname) + crc32(_file(item).encode())
        if days > 1:
            item.add_marker("soak" if (place + seed.value()) % days else "drawn")


def _leave(sets: Sequence[pytest.Function], drawn: set[int]) -> None:
    if len(drawn) == len(sets):
        return
    for number, item in enumerate(sets):
        item.add_marker("drawn" if number in drawn else "soak")


def _test(item: pytest.Function) -> str:
    return item.nodeid.partition("[")[0]


def _file(item: pytest.Function) -> str:
    return item.nodeid.partition("::")[0]


def _backends(item: pytest.Function) -> frozenset[Value]:
    """Those of the values of a test's parameters that name a backend, or several."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    names = {name for name, value in params.items() if _is_backend(value)}
    return frozenset(value for value in _values(item) if value[0] in names)


def _is_backend(value: object) -> bool:
    parts = value if isinstance(value, tuple) and value else (value,)
    return all(isinstance(part, str) and part in BACKENDS for part in parts)


def _rank(item: pytest.Function) -> list[float]:
    """Of the sets of a test, the lowest is drawn: by the test, or by the file where a backend serves all of it."""
    what = _test(item), sorted(map(repr, _values(item) - _backends(item)))
    return [
        seed.dice("backend", *([_file(item)] if _is_shared(item, name) else what), name, value).random()
        for name, value in sorted(_backends(item), key=repr)
    ]


def _is_shared(item: pytest.Function, name: str) -> bool:
    """Whether a parameter is that of a fixture for a whole file."""
    found = item.session._fixturemanager.getfixturedefs(name, item)  # pytest has no other way to ask
    return found is not None and len(found) > 0 and found[-1].scope != "function"


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


def _number(item: pytest.Function, name: str) -> int:
    """The argument of a marker; 1 without it."""
    marker = item.get_closest_marker(name)
    if marker is None:
        return 1
    match marker.args:
        case (int(number),) if number > 0:
            return number
    raise pytest.UsageError(f"{item.nodeid}: `{name}` takes a number from 1, and no name for it")


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
