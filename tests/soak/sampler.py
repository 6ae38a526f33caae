"""What a server uses while it is soaked: memory, descriptors and threads of each life, and what it keeps on the disk.

Rule: it reads /proc and folders beside the server, a few times a minute; a process that goes meanwhile is no sample.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from tests.harness.server_process import ServerProcess
from tests.harness.watch import used

MIB = 1 << 20


@dataclass(frozen=True)
class Sample:
    """Of one process: resident bytes, open descriptors, threads; at seconds of the monotonic clock.

    `database` is how many of the descriptors are those of connections to the database, at a rest.
    """

    at: float
    memory: int
    descriptors: int
    threads: int
    database: int = 0


@dataclass
class ServerRun:
    """From a start of the server to its end. `idle` are the levels at which it had nothing to do."""

    pid: int
    samples: list[Sample] = field(default_factory=list)
    idle: list[Sample] = field(default_factory=list)

    def most(self, what: str) -> int:
        """The highest sample of that kind."""
        return max((getattr(sample, what) for sample in self.samples), default=0)

    @property
    def seconds(self) -> float:
        """How long it was followed."""
        return self.samples[-1].at - self.samples[0].at if self.samples else 0.0


def look(pid: int) -> Sample | None:
    """One process now."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        fields = {line.partition(":")[0]: line.split() for line in lines}
        open_ones = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return Sample(time.monotonic(), int(fields["VmRSS"][1]) << 10, open_ones, int(fields["Threads"][1]))
    except (OSError, KeyError):
        return None


def descriptors(pid: int) -> list[str]:
    """What its descriptors are, for a report of a leak."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found.append(str(entry.readlink()))
    return sorted(found)


def of_database(pid: int, url: str) -> int:
    """How many descriptors are those of connections to the database."""
    found = descriptors(pid)
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        return sum(name in (path, f"{path}-wal", f"{path}-shm") for name in found)
    port = f":{int(url.rpartition(':')[2].partition('/')[0]):04X}"
    lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    inodes = {f"socket:[{fields[9]}]" for fields in lines if fields[2].endswith(port)}
    return sum(name in inodes for name in found)


class Sampler:
    """Follows one server through its lives until it is stopped."""

    def __init__(self, server: ServerProcess, *, every: float = 2.0) -> None:
        self.lives: list[ServerRun] = []
        self.disk: list[tuple[float, Mapping[str, int]]] = []
        self._server = server
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="sampler", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def rest(self) -> Sample:
        """The level of the server, which has nothing to do now: the lowest of some looks."""
        pid = self._server.pid
        found = []
        for _ in range(8):
            sample = look(pid)
            if sample is not None:
                found.append(sample)
            time.sleep(0.5)
        lowest = Sample(
            time.monotonic(),
            min(sample.memory for sample in found),
            min(sample.descriptors for sample in found),
            min(sample.threads for sample in found),
            of_database(pid, self._server.database_url),
        )
        self._life(pid).idle.append(lowest)
        return lowest

    def sizes(self) -> dict[str, int]:
        """Bytes on the disk, by what they are."""
        data = self._server.data_dir
        found = {name: used(data / name) for name in ("uploads", "results", "work", "locks")}
        url = self._server.database_url
        if url.startswith("sqlite"):
            path = Path(url.removeprefix("sqlite:///"))
            for name, file in (("database", path), ("WAL", path.with_name(path.name + "-wal"))):
                found[name] = file.stat().st_size if file.exists() else 0
        else:
            found |= _size_of(url)
        return found

    def _follow(self) -> None:
        number = 0
        while not self._over.wait(self._every):
            process = self._server._process  # it may go at any moment, which is no error here
            sample = look(process.pid) if process is not None else None
            if sample is not None and process is not None:
                self._life(process.pid).samples.append(sample)
            if number % 5 == 0:
                with suppress(OSError, SQLAlchemyError):
                    self.disk.append((time.monotonic(), self.sizes()))
            number += 1

    def _life(self, pid: int) -> ServerRun:
        if not self.lives or self.lives[-1].pid != pid:
            self.lives.append(ServerRun(pid))
        return self.lives[-1]


def _size_of(url: str) -> dict[str, int]:
    engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            return {
                "database": int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
            }
    finally:
        engine.dispose()


def check_flat(lives: list[ServerRun], describe: Callable[[], list[str]] = list) -> list[str]:
    """Is a life that was never restarted as lean at its end as after its warming up? What is not, in sentences."""
    wrong = []
    for life in lives:
        if len(life.idle) < 2:
            continue
        first, last = life.idle[0], life.idle[-1]
        before, after = (sample.descriptors - sample.database for sample in (first, last))
        if after > before:
            wrong.append(f"descriptors at rest went from {before} to {after} in {life.seconds:.0f} s: {describe()}")
        if last.database > CONNECTIONS:
            wrong.append(f"the database has {last.database} descriptors")
        if last.threads > first.threads + THREADS:
            wrong.append(f"threads at rest went from {first.threads} to {last.threads} in {life.seconds:.0f} s")
        if last.memory - first.memory > MEMORY:
            wrong.append(f"memory at rest went from {first.memory} to {last.memory} bytes in {life.seconds:.0f} s")
    return wrong


def check_lives(lives: Sequence[ServerRun]) -> list[str]:
    """Do later lives of a server take more memory? Only what they find on the disk could make it so."""
    peaks = [life.most("memory") for life in lives if life.seconds > _LONG_ENOUGH]
    third = len(peaks) // 3
    if third == 0 or max(peaks[-third:]) - max(peaks[:third]) <= MEMORY:
        return []
    return [f"the highest memory of a life went from {max(peaks[:third])} to {max(peaks[-third:])} bytes"]


_LONG_ENOUGH = 45  # seconds

ROOM = {"database": 2 * MIB, "WAL": 8 * MIB}
"""Bytes by which the last third of a run may have more than a quarter more; of folders, some uploads at once."""

CONNECTIONS = 30
"""Descriptors of connections to the database: the pool has ten at most, of up to three files each."""

THREADS = 8
"""Threads that it may have more: pools take one whenever all of theirs are busy, up to their bound, and keep it."""

MEMORY = 30 * MIB
"""Bytes that a server may have more at rest, at its end, than after its warming up."""


def check_sizes(disk: Sequence[tuple[float, Mapping[str, int]]], *, least_seconds: float = 600) -> list[str]:
    """Is the second half of a run no larger on the disk than the first? Only of a run that is long enough."""
    if not disk or disk[-1][0] - disk[0][0] < least_seconds:
        return []
    begin, end = disk[0][0], disk[-1][0]
    wrong = []
    for name in disk[-1][1]:
        # The first third fills what retention then keeps level.
        early = max(
            sizes[name] for at, sizes in disk if begin + (end - begin) / 3 <= at < begin + (end - begin) * 2 / 3
        )
        late = max(sizes[name] for at, sizes in disk if at >= begin + (end - begin) * 2 / 3)
        if late > 1.25 * early + ROOM.get(name, 24 * MIB):
            wrong.append(f"{name} went from {early} bytes in the second third to {late} in the last")
    return wrong
