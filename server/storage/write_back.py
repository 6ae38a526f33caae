"""Sending bytes to the disk early, so that the sync at the end of an upload finds little left to do.

Rule: it is a hint. It guarantees nothing, no upload waits for it, and the `fsync` that follows reports errors of the
disk.
"""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for

WINDOW_BYTES = 1 << 25
"""So much is sent at once: enough for a disk to be efficient, and little is left for the end."""

_WRITE = 2  # SYNC_FILE_RANGE_WRITE: begin to write what is dirty, and wait for nothing
_MOST_WAITING = 16  # a disk that is slower than the network is not helped by a longer queue

# One thread: the call itself waits when the disk's queue is full.
_line = ThreadPoolExecutor(1, "write-back")
_waiting: "set[Future[None]]" = set()


def begin_write_back(descriptor: int, offset: int, length: int) -> None:
    """Have the system begin to write that range (bytes) of a file. Returns at once; the descriptor may be closed."""
    if _sync_file_range is None or len(_waiting) >= _MOST_WAITING:
        return
    job = _line.submit(_write_back, os.dup(descriptor), offset, length)
    _waiting.add(job)
    job.add_done_callback(_waiting.discard)


def send_to_disk(path: str) -> None:
    """Have the system begin to write a whole file. Blocks while the disk's queue is full. Raises `OSError`."""
    if _sync_file_range is not None:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            _sync_file_range(descriptor, 0, 0, _WRITE)
        finally:
            os.close(descriptor)


def wait() -> None:
    """Wait until everything that was begun so far was handed to the system."""
    wait_for(list(_waiting))


def _write_back(descriptor: int, offset: int, length: int) -> None:
    try:
        if _sync_file_range is not None:
            _sync_file_range(descriptor, offset, length, _WRITE)
    finally:
        os.close(descriptor)


def _found() -> Callable[[int, int, int, int], int] | None:
    """Linux has the call, Python has no name for it."""
    call = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is not None:
        call.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return call


_sync_file_range = _found()
