"""The tables of the report: one a group, servers in the order of their medians.

Rule: a cell without a measured number says so in words.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.goals import middle, values
from bench.measure import spread
from bench.runner import Results
from bench.servers.base import Role, Server
from bench.works import Group


class Column(NamedTuple):
    """A metric as a table shows it."""

    metric: str
    title: str
    digits: int


COLUMNS = {
    "mb_s": Column("mb_s", "MB/s", 0),
    "per_s": Column("per_s", "cycles/s", 0),
    "requests_s": Column("requests_s", "requests/s", 0),
    "head_p99_ms": Column("head_p99_ms", "HEAD p99, ms", 1),
}
_PEAK = Column("peak_mb", "peak MB", 0)
_CLIENT = Column("client_cores", "client, cores", 2)
_COSTS = ("peak_mb", "cpu_s", "cpu_s_gb")  # beside which encoding would be all that is seen
_MORE = {
    "mb_s": (Column("cpu_s_gb", "CPU-s a GB", 2), _PEAK, _CLIENT),
    "per_s": (Column("cpu_ms", "CPU-ms a cycle", 2), _PEAK, _CLIENT),
    "requests_s": (
        Column("p50_ms", "p50, ms", 1),
        Column("p99_ms", "p99, ms", 1),
        Column("max_ms", "max, ms", 1),
        Column("cpu_us", "CPU-us a request", 0),
        _PEAK,
        _CLIENT,
    ),
    "head_p99_ms": (
        Column("head_p50_ms", "HEAD p50, ms", 1),
        Column("head_max_ms", "HEAD max, ms", 1),
        Column("begin_ms", "longest while all begin, ms", 0),
        Column("broken", "broken", 0),
        _PEAK,
        Column("cpu_s", "CPU-s", 1),
        Column("cpu_s_gb", "CPU-s a GB", 1),
        _CLIENT,
    ),
}


def table(group: Group, kinds: Sequence[type[Server]], results: Results) -> str:
    """The table of one group."""
    if len(group.works) > 1 and not group.tall:
        return _growth(group, kinds, results)
    return _comparison(group, kinds, results)


def ordered(
    group: Group, kinds: Sequence[type[Server]], results: Results, work: str | None = None
) -> list[type[Server]]:
    """The servers that took part in a work (None: the first), the best one first, those without a number last."""
    work = work or group.works[0].name
    found = [kind for kind in kinds if results.of(work, kind.name)]
    sign = -1 if is_higher_better(group) else 1

    def rank(kind: type[Server]) -> tuple[bool, float]:
        number = middle(results, work, kind.name, group.metric)
        return number is None, sign * (number or 0)

    return sorted(found, key=rank)


def is_higher_better(group: Group) -> bool:
    """Whether a larger number of the group's metric is the better one."""
    return group.metric != "head_p99_ms"


def failure(results: Results, work: str, server: str) -> str:
    """How often it failed, and why; empty when it did not."""
    cells = results.of(work, server)
    errors = Counter(cell.error for cell in cells if cell.error is not None)
    if not errors:
        return ""
    return f"{errors.total()} of {len(cells)} failed: {errors.most_common(1)[0][0]}"


def _comparison(group: Group, kinds: Sequence[type[Server]], results: Results) -> str:
    every = [(work, kind) for work in group.works for kind in ordered(group, kinds, results, work.name)]
    ours = next((kind for kind in kinds if kind.role is Role.OURS and kind in {kind for _, kind in every}), None)
    columns = [
        column
        for column in (COLUMNS[group.metric], *_MORE[group.metric])
        if not (group.processing and column.metric in _COSTS)
        if column.metric == group.metric
        or any(values(results, work.name, kind.name, column.metric) for work, kind in every)
    ]
    shows_ratio = is_higher_better(group) and ours is not None and len({kind for _, kind in every}) > 1
    head = ["server", columns[0].title, *(["Videodock is"] if shows_ratio else []), *(c.title for c in columns[1:])]
    rows = []
    for work, kind in every:
        cells = [_number(results, work.name, kind.name, column, spread_too=column is columns[0]) for column in columns]
        if shows_ratio and ours is not None:
            cells.insert(1, _ratio(results, group, work.name, ours, kind))
        problem = failure(results, work.name, kind.name)
        cells.insert(0, _name(kind) + (f" ({problem})" if problem else ""))
        rows.append([work.label, *cells] if group.tall else cells)
    return "\n".join(_markdown(["work", *head] if group.tall else head, rows))


def _growth(group: Group, kinds: Sequence[type[Server]], results: Results) -> str:
    column = COLUMNS[group.metric]
    head = ["server", *(f"{work.label}, {column.title}" for work in group.works)]
    head += [f"{work.label}, {_PEAK.title}" for work in group.works]
    rows = []
    for kind in ordered(group, kinds, results):
        row = [_name(kind)]
        for shown in (column, _PEAK):
            row += [
                _number(results, work.name, kind.name, shown, spread_too=shown is column)
                or failure(results, work.name, kind.name)
                for work in group.works
            ]
        rows.append(row)
    return "\n".join(_markdown(head, rows))


def _number(results: Results, work: str, server: str, column: Column, *, spread_too: bool) -> str:
    found = values(results, work, server, column.metric)
    if not found:
        return ""
    mid, low, high = (f"{number:.{column.digits}f}" for number in spread(found))
    return f"{mid} ({low}–{high})" if spread_too and len(found) > 1 else mid


def _ratio(results: Results, group: Group, work: str, ours: type[Server], kind: type[Server]) -> str:
    mine, theirs = (middle(results, work, one.name, group.metric) for one in (ours, kind))
    if kind is ours or not mine or not theirs:
        return ""
    return f"{mine / theirs:.2f}x"


def _name(kind: type[Server]) -> str:
    if kind.role in (Role.OURS, Role.VARIANT):
        return f"**{kind.label}**"
    return f"*{kind.label}*" if kind.role is Role.LIMIT else kind.label


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    texts = head.index("server") + 1
    yield "|" + " --- |" * texts + " ---: |" * (len(head) - texts)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"
