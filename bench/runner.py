"""The interleaved run: in each round every server does each work once, in an order that rotates.

Rule: a server that fails is started again for its next turn, and its failure is written down; it never stops the run.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.clients import Plan
from bench.measure import Cell, Run, Work, clean, forget, run_cell, warm
from bench.runs import Form, Uploads
from bench.servers.base import Ability, ClientError, Server
from bench.source import MIB, Source, WrongBytesError
from bench.works import Group

Say = Callable[[str], None]
_WARM_MOST = 2 << 30  # more would be written to the disk before it is deleted


@dataclass
class Results:
    """What came out of a run."""

    cells: list[Cell] = field(default_factory=list)
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)
    """Work, server: why a server took no part in a work that it could otherwise do."""

    def of(self, work: str, server: str) -> list[Cell]:
        """The cells of one server in one work."""
        return [cell for cell in self.cells if (cell.work, cell.server) == (work, server)]


def run_groups(
    groups: Sequence[Group],
    servers: Sequence[type[Server]],
    source: Source,
    folder: Path,
    rounds: int,
    say: Say,
    results: Results,
    seconds: float = math.inf,
) -> None:
    """Run everything into `results`; server folders are made below `folder`. After `seconds` no work is begun any more.

    However it ends, `results` has every cell that came to its end.
    """
    deadline = time.monotonic() + seconds
    for group in groups:
        with ExitStack() as stack:
            running = []
            for kind in servers:
                if not _takes_part(kind, group):
                    continue
                server = kind(folder / group.name / kind.name)
                server.processing = group.processing
                stack.callback(forget, server.folder)
                stack.callback(server.stop)
                running.append(server)
            say(f"{group.title}: {', '.join(server.name for server in running) or 'no server'}")
            for turn in range(min(rounds, group.rounds or rounds)):
                for work in group.works:
                    if time.monotonic() > deadline:
                        say(f"  {work.name:<20} {turn + 1}  left out: the time is over")
                    else:
                        _all_servers(group, work, running, turn, source, results, say)


def _takes_part(kind: type[Server], group: Group) -> bool:
    chosen = kind.name in group.only if group.only else group.name.startswith(kind.groups)
    return chosen and group.needs <= kind.abilities


def _all_servers(
    group: Group, work: Work, servers: Sequence[Server], turn: int, source: Source, results: Results, say: Say
) -> None:
    for server in _rotated(servers, turn):
        if server.largest_body is not None and work.body > server.largest_body:
            reason = "it keeps a whole request body in memory"
            results.left_out.setdefault(work.name, {})[server.name] = reason
            continue
        cell = _one(group, work, server, turn, source)
        results.cells.append(cell)
        say(f"  {work.name:<20} {turn + 1}  {server.name:<18} {_line(group, cell)}")


def _one(group: Group, work: Work, server: Server, turn: int, source: Source) -> Cell:
    try:
        if group.fresh:
            server.stop()
        if group.processing:
            forget(server.folder)  # it would go on with the videos of the cell before
        if not server.running:
            server.start()
            _greet(server, source)
    except (ClientError, WrongBytesError, OSError) as error:
        server.stop()
        return Cell(work.name, server.name, turn, error=str(error))
    warm(server.folder, min(max(work.size, 64 * MIB), _WARM_MOST))
    cell = run_cell(work, server, turn)
    if cell.error is not None or group.processing:
        server.stop()
    clean(server)
    return cell


def _greet(server: Server, source: Source) -> None:
    """A first small upload: the server is up and its code is loaded."""
    content = source.slices(1, MIB)[0]
    first: Run = Uploads(server, [content], Plan(0)) if Ability.BODY in server.abilities else Form(server, content)
    try:
        for path, expected in first.run().stored:
            expected.compare(path)
    finally:
        first.close()


def _rotated(servers: Sequence[Server], turn: int) -> list[Server]:
    start = turn % len(servers) if servers else 0
    return [*servers[start:], *servers[:start]]


def _line(group: Group, cell: Cell) -> str:
    if cell.error is not None:
        return f"failed: {cell.error}"
    values = cell.values
    text = f"{values[group.metric]:10.1f} {group.metric}   {values['peak_mb']:6.0f} MB peak"
    if "cpu_s_gb" in values:
        text += f"   {values['cpu_s_gb']:.2f} CPU-s/GB"
    if "broken" in values:
        text += f"   {values['broken']:.0f} broken"
    return text
