"""Disk reservations: which bytes open uploads have reserved, and whether there is room for more.

Rule: an upload reserves its bytes only while the disk has room for them, for what other uploads have reserved and not
yet received, and for the reserve. Its row has the reservation (`reserved`) before the next sum is taken.

Theory of operation. The truth is in the rows of open uploads, so nothing has to be given back: a reservation ends with
its upload, and shrinks by the received bytes of its row. Adding up the rows of 100,000 open uploads takes tens of
milliseconds. So the last sum is kept in a file of the data folder, each reservation adds to it, and the free space is
read each time. Reservations shrink by themselves and grow only here, so the sum is never too small, for any number of
processes. It does not see uploads that ended since: a request that it would refuse, or that finds it older than five
seconds, takes a new one. First it waits for uncommitted reservations; otherwise the new sum would miss them.

Locks are two bytes of that file: a disk belongs to one machine, and such locks go with their process. The first is held
to read and change the sum; the second is held, shared, by creations whose rows are not committed yet.
"""

import contextlib
import errno
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import structlog
from pydantic import ByteSize, TypeAdapter
from sqlalchemy import Table, func, select

from server.database.models import Upload
from server.database.session import Database
from server.errors import NoRoomError, UnavailableError
from server.lifecycle import UploadStatus
from server.messages.phrases import Phrase
from server.storage.base import UploadStore

KEPT_BYTES = 64 << 20
"""Bytes at most that even reserved bodies leave free: without any, SQLite cannot record what they brought."""

_MOST_RESERVE = 2 << 30
_RESERVED_PART = 20  # of a disk
_SUM_SECONDS = 5.0
_PATIENCE_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0002, 0.005

# struct flock of 64-bit Linux: type, whence, start, length, and a process id that must be 0.
_FLOCK = struct.Struct("hhqqi4x")
_SUM_BYTE, _UNCOMMITTED_BYTE = 0, 1
# Until when the sum may be used (nanoseconds of the machine's monotonic clock), and the reserved bytes.
_SUM = struct.Struct("qq")

_uploads = cast("Table", Upload.__table__)
_PROMISED = select(func.coalesce(func.sum(_uploads.c.reserved - _uploads.c.received), 0)).where(
    _uploads.c.status == UploadStatus.OPEN, _uploads.c.reserved > _uploads.c.received
)

_log = structlog.stdlib.get_logger("videodock.uploads")


def reserve_bytes(setting: str, capacity: int) -> int:
    """Bytes that the setting `disk_reserve` keeps free on a disk of `capacity` bytes."""
    if setting == "auto":
        return min(capacity // _RESERVED_PART, _MOST_RESERVE)
    return int(TypeAdapter(ByteSize).validate_python(setting))


@dataclass(frozen=True)
class DiskSpace:
    """Bytes: free on the disk, reserved by open uploads and not yet received, and kept free in any case."""

    free: int
    promised: int
    reserve: int

    @property
    def left(self) -> int:
        """What could still be reserved; negative when there is too little even for what is."""
        return self.free - self.promised - self.reserve


class DiskReservations:
    """Reserves space on the disk of one data folder. Threads and processes may call it at once."""

    def __init__(self, database: Database, store: UploadStore, reserve: int, path: Path) -> None:
        self._database = database
        self._store = store
        self._reserve = reserve
        self._path = path
        self._refused: int | None = None  # the smallest request that was refused since there was room
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def measure(self) -> DiskSpace:
        """The disk space now. Blocking."""
        with self._database.look() as connection:
            promised = int(connection.execute(_PROMISED).scalar_one())
        # The free space is read last: bytes that arrive in between are counted twice, and never missed.
        return self._space(promised)

    def problem(self) -> str | None:
        """Why uploads are refused for lack of room, if they are. Blocking."""
        return None if self.measure().left > 0 else Phrase.of("no_room_left")

    def check(self, need: int) -> None:
        """Raise `NoRoomError` if so many bytes could not be reserved now. Nothing is reserved. Blocking."""
        with self._file() as file:
            self._judge(file, need)

    @contextlib.contextmanager
    def reserve(self, need: int) -> Iterator[None]:
        """Reserve `need` bytes for the upload whose row has that reservation once this block has ended. Blocking.

        Raises `NoRoomError`, and `UnavailableError` when the lock cannot be had. The row must be committed within
        the block, and a caller in a transaction must not enter it.
        """
        with self._file() as file:
            room = self._judge(file, need)
            if need:
                _write(file, need + room.promised)
            _lock(file, _UNCOMMITTED_BYTE, fcntl.F_RDLCK)
            _lock(file, _SUM_BYTE, fcntl.F_UNLCK)
            yield

    def reserve_at_once(self, need: int) -> contextlib.AbstractContextManager[None] | None:
        """The same as `reserve` for the event loop: it does not wait, and costs no look at the rows.

        None if a thread has to try it: to wait, to sum up, or to refuse.
        """
        file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            if _try_lock(file, _SUM_BYTE, fcntl.F_WRLCK) and (promised := _read(file)) is not None:
                room = self._space(promised)
                if need <= room.left and _try_lock(file, _UNCOMMITTED_BYTE, fcntl.F_RDLCK):
                    self._record_space(room.left)
                    if need:
                        _write(file, need + promised)
                    _lock(file, _SUM_BYTE, fcntl.F_UNLCK)
                    held, file = file, -1
                    return _closing(held)
        finally:
            if file >= 0:
                os.close(file)
        return None

    def _judge(self, file: int, need: int) -> DiskSpace:
        """The disk space, when it has room for `need` bytes more. Raises `NoRoomError`."""
        promised = _read(file)
        room = None if promised is None else self._space(promised)
        if room is None or need > room.left:
            # First wait for uncommitted reservations; otherwise the sum would miss them.
            _lock(file, _UNCOMMITTED_BYTE, fcntl.F_WRLCK)
            room = self.measure()
            _write(file, room.promised, time.monotonic_ns())
            _lock(file, _UNCOMMITTED_BYTE, fcntl.F_UNLCK)
        if need > room.left:
            self._record_refusal(need, room)
            raise NoRoomError(needed=need, room=max(0, room.left))
        self._record_space(room.left)
        return room

    def _space(self, promised: int) -> DiskSpace:
        return DiskSpace(self._store.room(), promised, self._reserve)

    def _record_refusal(self, need: int, room: DiskSpace) -> None:
        if self._refused is None:
            _log.warning("uploads_refused", reason="no room on the disk", needed=need, left=room.left, **vars(room))
        self._refused = need if self._refused is None else min(need, self._refused)

    def _record_space(self, left: int) -> None:
        if self._refused is not None and left >= max(1, self._refused):
            self._refused = None
            _log.info("uploads_accepted_again", left=left)

    @contextlib.contextmanager
    def _file(self) -> Iterator[int]:
        """The file with the sum, and its lock; closing it releases both."""
        # Opened each time: the kernel's locks belong to descriptors, not to the threads that use one.
        file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            _lock(file, _SUM_BYTE, fcntl.F_WRLCK)
            yield file
        finally:
            os.close(file)


@contextlib.contextmanager
def _closing(file: int) -> Iterator[None]:
    """Closing the file releases its locks."""
    try:
        yield
    finally:
        os.close(file)


def _try_lock(file: int, place: int, kind: int) -> bool:
    """Take or free a lock; False when another descriptor has it."""
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, place, 1, 0))
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return False
    return True


def _lock(file: int, place: int, kind: int) -> None:
    deadline, pause = time.monotonic() + _PATIENCE_SECONDS, _FIRST_PAUSE
    while not _try_lock(file, place, kind):
        if time.monotonic() > deadline:
            raise UnavailableError(part="disk")
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _read(file: int) -> int | None:
    """The last sum of reservations, in bytes; None if it is too old, or from before the machine was started."""
    found = os.pread(file, _SUM.size, 0)
    if len(found) < _SUM.size:
        return None
    until, promised = _SUM.unpack(found)
    left = until - time.monotonic_ns()
    return int(promised) if 0 < left <= _SUM_SECONDS * 1e9 else None


def _write(file: int, promised: int, now: int | None = None) -> None:
    """Write the sum: one that was taken just `now`, or the last one with a new reservation added."""
    if now is None:
        place, data = _SUM.size // 2, struct.pack("q", promised)
    else:
        place, data = 0, _SUM.pack(now + int(_SUM_SECONDS * 1e9), promised)
    try:
        os.pwrite(file, data, place)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        # The very first write takes a block of the disk; later ones overwrite it.
        raise NoRoomError(needed=promised, room=0) from None
