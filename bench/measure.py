"""What a server costs while it works, read from /proc, and one measured cell.

Rule: everything that a server's session contains is counted, and all that those processes have started, children that
ended included; memory is the sum of the highest resident sizes of its processes since the cell began (pages that they
share count for each).
"""

import os
import resource
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.servers.base import ClientError, Server
from bench.source import Slice, WrongBytesError

_TICKS = os.sysconf("SC_CLK_TCK")
_BLOCK = 1 << 20
_MB = 1e6


@dataclass(frozen=True)
class Outcome:
    """What a work did: in how many seconds, how much, and which files now have to have which bytes."""

    seconds: float
    amount: int  # bytes, or operations
    stored: list[tuple[Path, Slice]]
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One work on one server in one round; without `error`, `values` were measured and every byte was compared."""

    work: str
    server: str
    turn: int
    values: dict[str, float] = field(default_factory=dict)
    error: str | None = None


class Run:
    """One prepared run of a work on a server."""

    def run(self) -> Outcome:
        """Do it; only this is measured."""
        raise NotImplementedError

    def close(self) -> None:
        """Close connections."""


@dataclass(frozen=True)
class Work:
    """Something that clients do; `bench/works.py` has them all."""

    name: str
    label: str  # what tells it from the others of its group
    size: int  # bytes that a server will write
    body: int  # bytes of its largest request
    make: Callable[[Server], Run]
    counts_bytes: bool = True

    def prepare(self, server: Server) -> Run:
        """All that is not measured: connections, created uploads, checksums, a filled table."""
        return self.make(server)


class Meter:
    """The processes of one server: its session, and what these have started in sessions of their own."""

    def __init__(self, server: Server) -> None:
        self._session = server.pid

    def cpu_seconds(self) -> float:
        """CPU time of all of them, and of those children that ended."""
        return sum(_ticks(fields) for _, fields in self._processes()) / _TICKS

    def forget_peaks(self) -> None:
        """Let the highest resident sizes start from the present ones."""
        for pid, _ in self._processes():
            try:
                (Path("/proc") / pid / "clear_refs").write_text("5")
            except OSError:  # it has just ended, or belongs to somebody else
                continue

    def peak_bytes(self) -> int:
        """The highest resident sizes since then, added up."""
        return sum(_peak(pid) for pid, _ in self._processes())

    def _processes(self) -> list[tuple[str, list[str]]]:
        every = {entry.name: _stat(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
        every = {pid: fields for pid, fields in every.items() if fields}
        found = {pid for pid, fields in every.items() if int(fields[3]) == self._session}
        known = 0
        while known < len(found):
            known = len(found)
            found |= {pid for pid, fields in every.items() if fields[1] in found}
        return [(pid, every[pid]) for pid in found]


def run_cell(work: Work, server: Server, turn: int) -> Cell:
    """Prepare, measure, compare, clean up. An error of the server is in the cell; nothing is raised for it."""
    try:
        run = work.prepare(server)
    except (ClientError, WrongBytesError, OSError) as error:
        return Cell(work.name, server.name, turn, error=_why(error))
    meter = Meter(server)
    try:
        meter.forget_peaks()
        before, mine, began = meter.cpu_seconds(), _own_cpu_seconds(), time.perf_counter()
        outcome = run.run()
        cpu, mine = meter.cpu_seconds() - before, _own_cpu_seconds() - mine
        cores = mine / (time.perf_counter() - began)
        peak = meter.peak_bytes()
        for path, content in outcome.stored:
            content.compare(path)
    except (ClientError, WrongBytesError, OSError) as error:
        return Cell(work.name, server.name, turn, error=_why(error))
    finally:
        run.close()
    values = {"seconds": outcome.seconds, "cpu_s": cpu, "peak_mb": peak / _MB, **outcome.values}
    values |= {"client_cpu_s": mine, "client_cores": cores}
    if work.counts_bytes:
        values |= {"mb_s": outcome.amount / outcome.seconds / _MB, "cpu_s_gb": cpu / outcome.amount * 1e9}
    else:
        values |= {"per_s": outcome.amount / outcome.seconds, "cpu_ms": cpu / max(1, outcome.amount) * 1e3}
        values["cpu_us"] = values["cpu_ms"] * 1e3
    return Cell(work.name, server.name, turn, {name: round(value, 4) for name, value in values.items()})


def warm(folder: Path, size: int) -> None:
    """Write as many bytes and delete them: the memory for the page cache is there then, and not fetched in between."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "warm"
    block = bytes(_BLOCK)
    with path.open("wb", buffering=0) as file:
        for _ in range(-(-size // _BLOCK)):
            file.write(block)
    path.unlink()


def clean(server: Server) -> None:
    """Remove the large files that a server has stored; its database and its log stay."""
    for path in server.folder.rglob("*"):
        if path.is_file() and path.stat().st_size >= _BLOCK and path.name != "log" and ".db" not in path.name:
            path.unlink()


def spread(values: list[float]) -> tuple[float, float, float]:
    """Median, least and most."""
    return median(values), min(values), max(values)


def forget(folder: Path) -> None:
    """Remove a server's folder."""
    shutil.rmtree(folder, ignore_errors=True)


def _own_cpu_seconds() -> float:
    """CPU time of this process, which is the client, and of those children that ended."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error)


def _stat(entry: Path) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty for a process that is gone."""
    try:
        return (entry / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _ticks(fields: list[str]) -> int:
    return sum(int(value) for value in fields[11:15])  # user and system, its own and those of ended children


def _peak(pid: str) -> int:
    try:
        lines = (Path("/proc") / pid / "status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
