"""Which processes are there, from /proc."""

import time
from pathlib import Path

from tests.harness.waiting import PATIENCE, Stopwatch


def children(pid: int) -> set[int]:
    """The children of a process, zombies included."""
    found: set[int] = set()
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found |= {int(child) for child in tasks.read_text().split()}
        except (FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            continue
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie that process 1 has not reaped yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


def gone_within(seconds: float, *pids: int) -> bool:
    """Whether all of them end within so many seconds, those not counted in which the machine was busy."""
    watch = Stopwatch()
    while any(alive(pid) for pid in pids):
        if watch.seconds > seconds:
            return False
        time.sleep(0.01)
    return True


def wait_for_text(path: Path, seconds: float = PATIENCE) -> str:
    """What a file says, once it is there and ends with a line break."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text()).endswith("\n"):
            return text
        time.sleep(0.01)
    raise AssertionError(f"{path} was not written")


def everything() -> list[int]:
    """The numbers of all processes."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def command(pid: int) -> str:
    """The command line of a process, each argument with a space; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def below(pid: int) -> dict[int, str]:
    """All that a process has started, and what that started: command lines by number, as they are seen from here."""
    found: dict[int, str] = {}
    for child in children(pid):
        found[child] = command(child)
        found |= below(child)
    return found


def wait_for_program(pid: int, line: str = "sleep 600 ", seconds: float = PATIENCE) -> tuple[int, int, set[int]]:
    """The job below a process and the program that it started, once that runs; and all that is below."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = below(pid)
        for program in (number for number, found_line in found.items() if found_line == line):
            job = next((number for number in found if program in children(number)), None)
            if job is not None:
                return job, program, set(found)
        time.sleep(0.01)
    raise AssertionError(f"{line} was not started")
