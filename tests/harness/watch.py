"""What the processes below one use: memory, processor time, and room in some folders.

Rule: it looks 50 times a second from a thread of its own, so a peak that is shorter may be missed; what a process
says of its own highest size is not.
"""

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator, Set
from pathlib import Path
from types import TracebackType
from typing import Self

_TICKS = os.sysconf("SC_CLK_TCK")
_EVERY = 0.02  # seconds


class Watch:
    """Within `with`, watches the descendants of `pid`; afterwards the properties say what they used.

    `memory` is in bytes resident, of all of them at the same time; `largest` the highest of one of them; `disk` the
    most bytes in `folders`; `seconds` the processor time of those that have ended and were waited for. Of the
    descendants of this process itself, only those count that are started meanwhile: a browser of other tests does not.
    """

    def __init__(self, pid: int, *folders: Path) -> None:
        self.memory = self.largest = self.disk = 0
        self.seconds = 0.0
        self._pid = pid
        self._folders = folders
        self._before = _ended_seconds(pid)
        self._others = frozenset(_descendants(pid) if pid == os.getpid() else ())
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="watch")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self.seconds = _ended_seconds(self._pid) - self._before

    def __str__(self) -> str:
        memory, largest, disk = (f"{number / (1 << 20):.0f} MiB" for number in (self.memory, self.largest, self.disk))
        return f"memory {memory} (one: {largest}), processor {self.seconds:.1f} s, disk {disk}"

    def _follow(self) -> None:
        for look in itertools.count():
            sizes = [_memory(pid) for pid in _descendants(self._pid, self._others)]
            self.memory = max(self.memory, sum(now for now, _ in sizes))
            self.largest = max([self.largest, *(peak for _, peak in sizes)])
            if look % 10 == 0:
                self.disk = max(self.disk, sum(map(used, self._folders)))
            if self._over.wait(_EVERY):
                return


def used(folder: Path) -> int:
    """Bytes of all files below a folder, while others add and remove some."""
    total = 0
    for place, _, names in os.walk(folder):  # it passes over folders that go meanwhile
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += Path(place, name).stat().st_size
    return total


def _ended_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / _TICKS


def _descendants(pid: int, others: Set[int] = frozenset()) -> Iterator[int]:
    children: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  # a server has dozens: this is the quick way
            children += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    for child in children:
        if child not in others:
            yield child
            yield from _descendants(child, others)


def _memory(pid: int) -> tuple[int, int]:
    """Bytes now, and at the highest."""
    status = _read(f"/proc/{pid}/status")
    return _size(status, b"VmRSS:"), _size(status, b"VmHWM:")


def _size(status: bytes, name: bytes) -> int:
    words = status.partition(name)[2].split(maxsplit=1)
    return int(words[0]) << 10 if words else 0


def _read(path: str) -> bytes:
    """A file of /proc, which one read gives as a whole; nothing of a process or a thread that has ended."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, ProcessLookupError):
        return b""
    try:
        return os.read(descriptor, 1 << 16)
    except ProcessLookupError:
        return b""
    finally:
        os.close(descriptor)
