"""Which processes there are, read from /proc, so that tests can tell who was left behind."""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """One process; `started` (clock ticks since boot) tells it from a later one with the same number."""

    pid: int
    parent: int
    session: int
    started: int
    command: str

    @property
    def name(self) -> str:
        """What it calls itself now; nothing when it has ended."""
        with suppress(FileNotFoundError, ProcessLookupError):
            return (PROC / str(self.pid) / "comm").read_text().strip()
        return ""

    @property
    def alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        now = read(self.pid)
        return now is not None and now.started == self.started

    def kill(self) -> None:
        """End it, if it is still the same one."""
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)


def read(pid: int) -> Process | None:
    """The process with that number, None when there is none or only its zombie."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        command = (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0] in "ZX" and not _has_threads(pid):
        return None
    return Process(pid, int(fields[1]), int(fields[3]), int(fields[19]), command.strip())


def session_of(pid: int) -> int:
    """The session of a running process."""
    found = read(pid)
    assert found is not None, f"process {pid} does not run"
    return found.session


def everyone() -> list[Process]:
    """All processes that may be seen."""
    found = (read(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdigit())
    return [process for process in found if process is not None]


def descendants(pid: int) -> list[Process]:
    """Children of `pid` and theirs, whatever their session."""
    # Not by `children` of /proc, which may miss one while others end.
    children: dict[int, list[int]] = {}
    for number in _numbers():
        fields = _bytes(number, "stat").rpartition(b")")[2].split()
        if fields:
            children.setdefault(int(fields[1]), []).append(number)
    found: list[Process] = []
    waiting = [pid]
    while waiting:
        born = [process for process in map(read, children.get(waiting.pop(), [])) if process is not None]
        found += born
        waiting += [process.pid for process in born]
    return found


def marked(mark: str) -> list[Process]:
    """Processes whose environment or command line bears `mark`: those of a server, also when orphaned."""
    # Its bytes first: this is asked at the end of every server, and hardly any process bears it.
    sought = mark.encode()
    bearing = [number for number in _numbers() if sought in _bytes(number, "environ") + _bytes(number, "cmdline")]
    return [process for process in map(read, bearing) if process is not None]


def still_alive(processes: Iterable[Process]) -> list[Process]:
    """Those of `processes` that have not ended."""
    return [process for process in processes if process.alive]


def memory(pid: int) -> tuple[int, int]:
    """Resident bytes of a process now, and at their highest since `forget_peak`."""
    lines = (PROC / str(pid) / "status").read_text().splitlines()
    sizes = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
    return int(sizes["VmRSS"]) * 1024, int(sizes["VmHWM"]) * 1024


def descriptors(pid: int | str = "self") -> set[str]:
    """Every open descriptor of a process, with what it is."""
    found = set()
    for entry in list((PROC / str(pid) / "fd").iterdir()):
        with suppress(FileNotFoundError):
            found.add(f"{entry.name} {entry.readlink()}")
    return found


def forget_peak(pid: int) -> None:
    """Let the highest resident size start from the present one."""
    (PROC / str(pid) / "clear_refs").write_text("5")


def _has_threads(pid: int) -> bool:
    """Whether a thread of an ended process is left: its files, a listening socket too, are open until the last ends."""
    try:
        return len(os.listdir(PROC / str(pid) / "task")) > 1  # noqa: PTH208
    except (FileNotFoundError, ProcessLookupError):
        return False


def _numbers() -> list[int]:
    return [int(name) for name in os.listdir(PROC) if name.isdigit()]  # noqa: PTH208


def _bytes(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:  # noqa: PTH123
            return file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""
