"""Programs that a job starts from inside the child process.

Rule: a program stays in the child's process group, so that killing the group kills it too, and its standard error
goes to the child's, which the parent reads and bounds. Only the child process imports this.
"""

import contextlib
import ctypes
import gc
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

_running: set["subprocess.Popen[bytes]"] = set()

before_program: Callable[[], None] | None = None
"""Called by a program's process before it becomes the program: the confinement for programs alone."""

_KILLED = (-signal.SIGKILL, -signal.SIGTERM)

_STDERR = 2
_LOOK = 0.5  # seconds between two checks of the clock and of the output
_MAX_LINE = 4 << 10
_MAX_ERRORS = 16 << 10  # last bytes kept, unless the caller wants more


class KilledError(Exception):
    """Another process ended the program (the kernel, out of memory, say): nothing is known of the file."""


@dataclass(frozen=True)
class Outcome:
    """How a program ended: its exit code (negative: the signal that ended it), and its last output."""

    code: int
    errors: bytes

    @property
    def succeeded(self) -> bool:
        """Whether it exited with success."""
        return self.code == 0

    @property
    def disk_is_full(self) -> bool:
        """Whether the disk was full."""
        return any(sign in self.errors for sign in (b"No space left on device", b"Disk quota exceeded"))

    @property
    def wrote_too_much(self) -> bool:
        """Whether a file grew beyond what the child may write."""
        return self.code == -signal.SIGXFSZ or b"File too large" in self.errors


def run(command: Sequence[str | os.PathLike[str]], seconds: float) -> bool:
    """Run a program without input or output for at most `seconds`; returns whether it succeeded.

    Raises `KilledError`.
    """
    with subprocess.Popen(  # noqa: S603  # a list, never a shell
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        preexec_fn=before_program,  # only system calls, prepared before
    ) as process:
        _running.add(process)
        try:
            return _checked(process.wait(seconds)) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            process.kill()
            _running.discard(process)


def follow(
    command: Sequence[str],
    seconds: float,
    *,
    folder: str,
    look: Callable[[float | None], None],
    keep: int = _MAX_ERRORS,
) -> Outcome:
    """Run FFmpeg (with `-progress pipe:1`) in `folder` for at most so many seconds; keeps the last `keep` bytes of it.

    `look` is called at least twice a second with the time in seconds up to which the result is made, None while that
    is not known; when it raises, the program is killed. A program that runs out of time ends as by SIGKILL. Raises
    `KilledError`.
    """
    _give_back()
    with subprocess.Popen(  # noqa: S603  # a list, never a shell
        command,
        preexec_fn=before_program,  # as above
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as process:
        _running.add(process)
        try:
            deadline = time.monotonic() + seconds
            errors = _listen(process, deadline, look, keep)
            return Outcome(_checked(process.wait(max(_LOOK, deadline - time.monotonic()))), errors)
        except subprocess.TimeoutExpired:
            return Outcome(-signal.SIGKILL, b"")
        finally:
            process.kill()
            _running.discard(process)


def _give_back() -> None:
    """Return the memory of closed files to the system, where libc can do so (glibc).

    PyAV's decoders of a thousand tracks of sound took 700 MB, and FFmpeg's program is about to take as much.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _checked(code: int) -> int:
    if code in _KILLED:
        raise KilledError
    return code


def kill_all() -> None:
    """Kill every running program, from another thread, and reap it (at most 100 ms for each)."""
    for process in list(_running):
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)


def _listen(
    process: "subprocess.Popen[bytes]", deadline: float, look: Callable[[float | None], None], keep: int
) -> bytes:
    """Read both pipes to their ends; returns the text of standard error. Raises `TimeoutExpired`."""
    made, errors, line = None, b"", b""
    with selectors.DefaultSelector() as selector:
        for pipe in (process.stdout, process.stderr):
            selector.register(_of(pipe), selectors.EVENT_READ)
        while selector.get_map():
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(process.args, 0)
            for key, _ in selector.select(_LOOK):
                chunk = os.read(key.fd, 65536)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stderr:
                    os.write(_STDERR, chunk)
                    errors = (errors + chunk)[-keep:]
                else:
                    *lines, line = (line + chunk)[-_MAX_LINE:].split(b"\n")
                    made = max((time for time in map(_made, lines) if time is not None), default=made)
            look(made)
    return errors


def _made(line: bytes) -> float | None:
    """Seconds, if this line of `-progress` has them; before the first frame FFmpeg writes N/A."""
    name, _, value = line.partition(b"=")
    return int(value) / 1e6 if name == b"out_time_us" and value.strip().isdigit() else None


def _of(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:  # never: both are pipes
        raise ValueError("the program has no such pipe")
    return pipe
