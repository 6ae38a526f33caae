"""The locks of uploads for the processes of one host: byte ranges of a file.

Theory of operation. All locks of a data folder are byte ranges of one file, which stays empty: an upload's lock is
the byte at the number that its id hashes to, taken with `F_OFD_SETLK`. The kernel enforces such locks between all
descriptors of the file on this host, and drops them with the descriptor: no lock outlives its process or leaves a
file, and taking one touches no disk, so the event loop may do it. (Two ids with one number would only wait for each
other.) Each process listens on a FIFO; a request that wants a lock of another process writes the upload's id and its
own time of arrival into the FIFO of every process, and the holder's body stops and releases the lock. (A FIFO, not a
socket: the path of a socket may have 107 bytes, that of a data folder has more.)

Rule: the order of requests is the kernel's monotonic clock, which all processes of a host share; so these locks are for
one host (`server/uploads/lease_locks.py` has those of several).
"""

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import struct
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import cast

from server import threads
from server.errors import UploadLockedError
from server.storage.locks import BeforeAsking, HeldLock, IsNeedless, UploadLocks

_RETRY_SECONDS = 0.02
# Longer than any holder needs to release the lock, shorter than the time after which a client gives up on a server.
PATIENCE_SECONDS = 10.0
# How long a request waits for a holder that came later: enough for one that only reads, not for a body.
DEFERENCE_SECONDS = 2.0
# The arrival of short holders: earlier than all others, so that no request is refused because of them.
_BRIEF = 0
_FIFO_SUFFIX = ".fifo"

_TABLE = ".held"
# struct flock of 64-bit Linux: type, whence, start, length, and a process id that must be 0.
_FLOCK = struct.Struct("hhqqi4x")


class _HeldByte(HeldLock):
    """A byte that is locked; `arrival` is of the kernel's monotonic clock, in nanoseconds."""

    def __init__(self, upload_id: str, place: int, arrival: int) -> None:
        super().__init__(upload_id)
        self.place = place
        self.arrival = arrival


class FileLocks(UploadLocks):
    """All locks of a data folder, as one process sees them."""

    is_quick = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._held: dict[int, _HeldByte] = {}  # by the byte that is locked
        self._guard = threading.Lock()
        # Never closed while this object lives: closing it releases every lock.
        self._table = os.open(folder / _TABLE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._fifo = folder / f"{uuid.uuid4()}{_FIFO_SUFFIX}"
        self._listening: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def listen(self) -> None:
        # Renamed once it has its reader: `clean` of another process takes a FIFO without one for a dead process's.
        # Until then its name is locked, so that `clean` can distinguish it from the FIFO of a process that died here.
        unborn = self._folder / f".{self._fifo.name}"
        with self.try_hold(unborn.name):
            os.mkfifo(unborn, 0o600)
            # Opened for writing too, so that reading meets no end of file when a writer closes its end.
            self._listening = os.open(unborn, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            unborn.rename(self._fifo)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._listening, self._read_requests)

    def close(self) -> None:
        if self._listening is not None and self._loop is not None:
            self._loop.remove_reader(self._listening)
            os.close(self._listening)
            self._listening = None
        self._fifo.unlink(missing_ok=True)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            os.close(self._table)

    def hold(self, upload_id: str, before_asking: BeforeAsking | None = None) -> AbstractAsyncContextManager[HeldLock]:
        async def is_needless() -> bool:
            if before_asking is not None:
                await before_asking()
            return False

        # It never enters with None, since `is_needless` is always false.
        return cast("AbstractAsyncContextManager[HeldLock]", _Holding(self, upload_id, is_needless))

    def hold_unless(self, upload_id: str, is_needless: IsNeedless) -> AbstractAsyncContextManager[HeldLock | None]:
        return _Holding(self, upload_id, is_needless)

    def request_release(self, upload_id: str) -> None:
        self._ask_processes(upload_id, time.monotonic_ns())

    @contextmanager
    def try_hold(self, upload_id: str) -> Iterator[bool]:
        held = self._try(upload_id, _BRIEF)
        try:
            yield held is not None
        finally:
            if held is not None:
                self._release(held)

    def clean(self) -> int:
        return sum(self._clean(path) for path in self.stale_fifos())

    def stale_fifos(self) -> list[Path]:
        return [path for path in self._folder.glob(f"*{_FIFO_SUFFIX}") if self._is_stale(path)]

    async def _acquire(self, upload_id: str, arrival: int, is_needless: IsNeedless) -> _HeldByte | None:
        is_asked = False
        while (held := self._try(upload_id, arrival)) is None:
            if not is_asked and await is_needless():
                return None
            is_asked = True
            patience = (
                PATIENCE_SECONDS if await self._request_release_of_holder(upload_id, arrival) else DEFERENCE_SECONDS
            )
            if time.monotonic_ns() - arrival > patience * 1e9:
                raise UploadLockedError
            await asyncio.sleep(_RETRY_SECONDS)
        return held

    async def _request_release_of_holder(self, upload_id: str, arrival: int) -> bool:
        """Ask the holder to release the lock; False when it is known to have come later, and is not asked."""
        with self._guard:
            holder = self._held.get(_place(upload_id))
        if holder is None:
            await threads.run(self._ask_processes, upload_id, arrival)
            return True
        if holder.arrival > arrival:
            return False
        holder.want()
        return True

    def _try(self, upload_id: str, arrival: int) -> _HeldByte | None:
        place = _place(upload_id)
        with self._guard:
            # The kernel's locks are between processes; this one is between the tasks and threads of a process.
            if place in self._held or not self._lock(place, fcntl.F_WRLCK):
                return None
            held = self._held[place] = _HeldByte(upload_id, place, arrival)
        return held

    def _release(self, held: _HeldByte) -> None:
        with self._guard:
            del self._held[held.place]
            self._lock(held.place, fcntl.F_UNLCK)

    def _lock(self, place: int, kind: int) -> bool:
        """Take or free a byte; False when another process has it."""
        try:
            fcntl.fcntl(self._table, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, place, 1, 0))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def _ask_processes(self, upload_id: str, arrival: int) -> None:
        line = f"{upload_id} {arrival}\n".encode()
        for fifo in self._folder.glob(f"[!.]*{_FIFO_SUFFIX}"):
            with contextlib.suppress(OSError):  # full, or its process died: we ask again soon
                _write_fifo(fifo, line)

    def _read_requests(self) -> None:
        if self._listening is None:
            return
        with contextlib.suppress(BlockingIOError):
            # Requests are lines shorter than PIPE_BUF, so each arrives whole.
            for line in os.read(self._listening, 1 << 16).decode(errors="replace").splitlines():
                upload_id, _, arrival = line.partition(" ")
                with self._guard:
                    held = self._held.get(_place(upload_id))
                if held is not None and arrival.isdecimal() and held.arrival < int(arrival):
                    held.want()

    def _clean(self, path: Path) -> bool:
        with self.try_hold(path.name) as held:
            if held and self._is_stale(path, held=True):
                path.unlink(missing_ok=True)
                return True
        return False

    def _is_stale(self, path: Path, *, held: bool = False) -> bool:
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except FileNotFoundError:
            return False
        except OSError:  # ENXIO: no process listens any more, or not yet
            if held or not path.name.startswith("."):
                return True
            with self.try_hold(path.name) as free:
                return free and path.exists()
        return False


class _Holding:
    """A lock for the time of an `async with`; None where it is not needed.

    A class, because a generator as a context manager costs more than the lock.
    """

    __slots__ = ("_held", "_is_needless", "_locks", "_upload_id")

    def __init__(self, locks: FileLocks, upload_id: str, is_needless: IsNeedless) -> None:
        self._locks = locks
        self._upload_id = upload_id
        self._is_needless = is_needless
        self._held: _HeldByte | None = None

    async def __aenter__(self) -> HeldLock | None:
        self._held = await self._locks._acquire(self._upload_id, time.monotonic_ns(), self._is_needless)
        return self._held

    async def __aexit__(self, *_: object) -> None:
        if self._held is not None:
            self._locks._release(self._held)


def _place(upload_id: str) -> int:
    """The byte that stands for an upload: below 2^62, which is less than a file may be long."""
    return int.from_bytes(hashlib.blake2b(upload_id.encode(), digest_size=8).digest(), "big") >> 2


def _write_fifo(path: Path, line: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)
