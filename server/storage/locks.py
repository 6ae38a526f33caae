"""One request at a time works on an upload, and a newcomer gets its turn.

Theory of operation. A lock is `flock` on a file of the upload's name: it holds between threads and between the
processes of a host, and it dies with its process. The file holds the name of a FIFO on which the holder's process
listens; who wants the lock writes the upload's id there, and the holder's body lets go. (A FIFO, not a socket:
the path of a socket may have 107 bytes, that of a data folder has more.)

Rules:

- A file that was locked but is no longer the one at its path was removed by its last holder: try again.
- A lock that cannot be taken in time is `UploadLockedError`, never an upload without a lock.
- Only who came later may ask a holder to let go. Without this order a request that was dead already, and still
  waiting, would throw out the one that came to replace it. The order is the kernel's monotonic clock, which all
  processes of a host share.
- Whoever holds a lock for long (a body that is being received) can be asked to let go; whoever holds it briefly
  (the sweep) is waited for.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from server import threads
from server.errors import StorageFullError, UploadLockedError

_RETRY_SECONDS = 0.02
# Longer than any holder needs to let go, shorter than what a client takes for a dead server.
PATIENCE_SECONDS = 10.0
# So long somebody waits for a holder who came later: enough for one who only looks, not for a body.
DEFERENCE_SECONDS = 2.0
# The arrival of those who hold a lock for a moment only: before everybody, so that nobody is turned away.
_BRIEF = 0
_FIFO_SUFFIX = ".fifo"


BeforeAsking = Callable[[], Awaitable[object]]

# A disk without room for one line: the lock holds without it, and who wants it waits instead of asking.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Held:
    """A lock that is held; whoever attaches is told when somebody else wants it."""

    def __init__(self, upload_id: str, arrival: int, descriptor: int, path: Path) -> None:
        self.upload_id = upload_id
        self.arrival = arrival
        self.wanted = False
        self._descriptor = descriptor
        self._path = path
        self._let_go: list[Callable[[], None]] = []

    def attach(self, let_go: Callable[[], None]) -> None:
        """Have `let_go` called, on the event loop, when the lock is wanted; at once if it already is."""
        self._let_go.append(let_go)
        if self.wanted:
            let_go()

    def want(self) -> None:
        """Ask the holder to let go."""
        self.wanted = True
        for let_go in self._let_go:
            let_go()

    def release(self) -> None:
        # Removed while still locked: whoever waits finds that its file is not the one at the path.
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


class UploadLocks:
    """All locks of a data folder, as one process sees them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._held: dict[str, Held] = {}
        self._guard = threading.Lock()
        self._fifo = folder / f"{uuid.uuid4()}{_FIFO_SUFFIX}"
        self._listening: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def listen(self) -> None:
        """Let other processes ask this one's holders to let go; call it on the event loop."""
        # Renamed when it has its reader: `clean` of another process takes one without for a dead one's.
        unborn = self._folder / f".{self._fifo.name}"
        os.mkfifo(unborn, 0o600)
        # Opened for writing too, so that there is no end of file when an asker closes its end.
        self._listening = os.open(unborn, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        unborn.rename(self._fifo)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._listening, self._hear)

    def close(self) -> None:
        """Stop listening; locks that are held stay held until they are released."""
        if self._listening is not None and self._loop is not None:
            self._loop.remove_reader(self._listening)
            os.close(self._listening)
            self._listening = None
        self._fifo.unlink(missing_ok=True)

    @asynccontextmanager
    async def hold(self, upload_id: str, before_asking: BeforeAsking | None = None) -> AsyncIterator[Held]:
        """Hold the lock, asking whoever has it to let go.

        When somebody has it, `before_asking` is called first: if it raises, he is left alone, since a request
        that will be refused anyway must not disturb another.
        Raises `UploadLockedError` when nobody let go for 10 s, or somebody who came later kept it for 2 s.
        """
        held = await self._take(upload_id, time.monotonic_ns(), before_asking)
        try:
            yield held
        finally:
            self._forget(held)

    @contextmanager
    def try_hold(self, upload_id: str) -> Iterator[bool]:
        """Hold the lock if nobody has it; disturbs nobody. Yields whether it is held. Blocking."""
        held = self._try(upload_id, _BRIEF)
        try:
            yield held is not None
        finally:
            if held is not None:
                self._forget(held)

    def clean(self) -> int:
        """Remove what dead processes left; the number of files removed."""
        return sum(
            self._clean_fifo(path) if path.suffix == _FIFO_SUFFIX else self._clean_lock(path)
            for path in self._folder.iterdir()
            if not path.name.startswith(".")
        )

    async def _take(self, upload_id: str, arrival: int, before_asking: BeforeAsking | None) -> Held:
        try:
            while (held := await threads.run(self._try, upload_id, arrival)) is None:
                if before_asking is not None:
                    await before_asking()
                    before_asking = None
                patience = PATIENCE_SECONDS if await self._ask(upload_id, arrival) else DEFERENCE_SECONDS
                if time.monotonic_ns() - arrival > patience * 1e9:
                    raise UploadLockedError
                await asyncio.sleep(_RETRY_SECONDS)
        except asyncio.CancelledError:
            # It may have been taken in the very moment in which nobody wanted it any more.
            with self._guard:
                taken = self._held.get(upload_id)
            if taken is not None and taken.arrival == arrival:
                self._forget(taken)
            raise
        return held

    async def _ask(self, upload_id: str, arrival: int) -> bool:
        """Ask the holder to let go; False when the holder came later and is not asked."""
        with self._guard:
            holder = self._held.get(upload_id)
        if holder is None:
            return await threads.run(self._ask_process, upload_id, arrival)
        if holder.arrival > arrival:
            return False
        holder.want()
        return True

    def _try(self, upload_id: str, arrival: int) -> Held | None:
        path = self._folder / upload_id
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise (StorageFullError() if error.errno in _FULL else error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino != path.stat().st_ino:
                raise BlockingIOError  # noqa: TRY301  # the same as a lock that somebody has
            os.ftruncate(descriptor, 0)
            _sign(descriptor, f"{self._fifo.name} {arrival}".encode())
        except (BlockingIOError, FileNotFoundError):
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        held = Held(upload_id, arrival, descriptor, path)
        with self._guard:
            self._held[upload_id] = held
        return held

    def _forget(self, held: Held) -> None:
        with self._guard:
            self._held.pop(held.upload_id, None)
        held.release()

    def _ask_process(self, upload_id: str, arrival: int) -> bool:
        try:
            fifo, _, theirs = (self._folder / upload_id).read_text().partition(" ")
            # Without an arrival it was taken this moment and is not signed yet.
            if theirs and int(theirs) > arrival:
                return False
            if theirs and "/" not in fifo:
                _write_fifo(self._folder / fifo, upload_id.encode() + b"\n")
        except (OSError, ValueError):
            pass  # it was released meanwhile, or its holder died or does not listen: try again
        return True

    def _hear(self) -> None:
        if self._listening is None:
            return
        with contextlib.suppress(BlockingIOError):
            # Requests are lines shorter than PIPE_BUF, so each arrives whole.
            for upload_id in os.read(self._listening, 1 << 16).decode(errors="replace").split():
                with self._guard:
                    held = self._held.get(upload_id)
                if held is not None:
                    held.want()

    def _clean_lock(self, path: Path) -> bool:
        with self.try_hold(path.name) as held:
            return held

    def _clean_fifo(self, path: Path) -> bool:
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError:  # ENXIO: nobody listens any more
            path.unlink(missing_ok=True)
            return True
        return False


def _sign(descriptor: int, line: bytes) -> None:
    try:
        os.pwrite(descriptor, line, 0)
    except OSError as error:
        if error.errno not in _FULL:
            raise


def _write_fifo(path: Path, line: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)
