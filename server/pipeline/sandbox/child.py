"""Jobs in child processes that can be killed: the parent's side.

Rule: however a job ends, nothing of it is left. The parent accepts only a bounded line of JSON from the child.
`child_process.py` starts and ends it, `child_main.py` is the other side.
"""

import contextlib
import errno
import json
import logging
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO

import structlog

from server.errors import Param, StepError
from server.messages import CODES, size
from server.pipeline.sandbox import child_process
from server.pipeline.sandbox.child_process import Process
from server.pipeline.sandbox.spare_children import NONE, SpareChildren
from server.pipeline.step import Cancelled, Limits, TryLaterError

_log = structlog.stdlib.get_logger("videodock.pipeline")

_POLL = 0.05  # seconds between two checks of the clock and of `cancelled`
_MAX_REQUEST = 32 << 10  # bytes; less than a pipe holds, so that writing it never waits
_MAX_ANSWER = 256 << 10  # bytes of all lines together
_MAX_STDERR = 8 << 10  # last bytes kept for the log

_INTERRUPTED = "step_interrupted"  # the reason after a kill: nothing is known of the file

# How Python, the dynamic loader, glibc, FFmpeg and x264 report that the address space is full.
_MEMORY_SIGNS = (b"MemoryError", b"Cannot allocate memory", b"failed to map segment", b"bad_alloc", b"malloc of size")


def run(
    job: str,
    arguments: Mapping[str, object],
    *,
    limits: Limits,
    cancelled: threading.Event,
    report: Callable[[int], None],
    spares: SpareChildren = NONE,
) -> Mapping[str, object]:
    """Call `job` (`module:function`, called with `arguments` and a function that reports percent) in a child.

    It may read the file `path`, run the program `ffmpeg` and write into the folder `output`, so far as `arguments` name
    them, and nothing else.

    Returns the job's mapping, as JSON carries it. Raises `StepError` if the job does, and step_timeout,
    step_memory or step_crashed if it could not finish; `Cancelled` within a poll (50 ms) and the child's grace
    (0.3 s) after `cancelled` is set; `TryLaterError` if another process killed the child or its program; `OSError` if
    no process can be started, or ENOSPC if it says that the disk is full. May be called from several threads.
    """
    given = {"job": job, "arguments": arguments, "limits": asdict(limits), "files": _files(arguments)}
    request = json.dumps(given).encode() + b"\n"
    if len(request) > _MAX_REQUEST:
        raise ValueError(f"a job takes at most {_MAX_REQUEST} bytes of arguments")
    if cancelled.is_set():
        raise Cancelled
    with spares.child() as process, _Conversation(process, report) as conversation:
        with contextlib.suppress(BrokenPipeError):  # it died at once; its standard error says why
            os.write(_descriptor(process.stdin), request)
        _follow(process, conversation, limits, cancelled)
    _own(arguments.get("output"))
    if conversation.error is None and conversation.result is not None:
        return conversation.result
    verdict = _verdict(process.returncode, conversation, limits)
    # After an answer the exit code is our own doing: the parent ends the child.
    end = "its own answer" if conversation.over else f"exit code {process.returncode}"
    # A file that cannot be played is not our fault; a child that crashed may be.
    level = logging.INFO if conversation.is_reasoned and verdict is conversation.error else logging.WARNING
    _log.log(level, "job_gave_up", job=job, code=verdict.code, after=end, stderr=repr(conversation.stderr))
    if verdict.code == _INTERRUPTED:
        raise TryLaterError(_INTERRUPTED)
    if verdict.code == "disk_full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    raise verdict


def _follow(
    process: Process,
    conversation: "_Conversation",
    limits: Limits,
    cancelled: threading.Event,
) -> None:
    """Listen until the child has answered or is dead."""
    deadline = time.monotonic() + limits.seconds
    while not conversation.over:
        dead = child_process.is_dead(process)
        conversation.listen(0 if dead else _POLL)
        if cancelled.is_set():
            raise Cancelled
        if dead:
            return
        if time.monotonic() > deadline:
            raise StepError("step_timeout", seconds=_seconds(limits))


def _files(arguments: Mapping[str, object]) -> Mapping[str, Sequence[str]]:
    """Paths that the job may read, run and write."""
    names = {"read": "path", "run": "ffmpeg", "write": "output"}
    return {right: [str(arguments[name])] for right, name in names.items() if arguments.get(name)}


def _own(output: object) -> None:
    """Give the files that a child of root made as another user (`confinement.py`) back to root."""
    user, group = os.geteuid(), os.getegid()
    if user != 0 or not isinstance(output, str):
        return
    for folder, folders, names in os.walk(output):
        for name in (*folders, *names):
            with contextlib.suppress(FileNotFoundError):
                os.chown(Path(folder) / name, user, group, follow_symlinks=False)


def _descriptor(stream: IO[bytes] | None) -> int:
    if stream is None:  # never: all three are pipes
        raise ValueError("the child has no such pipe")
    return stream.fileno()


def _seconds(limits: Limits) -> Param:
    return int(limits.seconds) if limits.seconds == int(limits.seconds) else limits.seconds


def _verdict(returncode: int, conversation: "_Conversation", limits: Limits) -> StepError:
    """Why there is no result."""
    if returncode == -signal.SIGXCPU:
        return StepError("step_timeout", seconds=_seconds(limits))
    # Even when the job gave its own reason: its program without memory looks like a file that could not be opened.
    if any(sign in conversation.stderr for sign in _MEMORY_SIGNS):
        return StepError("step_memory", limit=size(limits.memory))
    if conversation.error is None and returncode in (-signal.SIGKILL, -signal.SIGTERM):
        return StepError(_INTERRUPTED)
    return conversation.error or StepError("step_crashed")


class _Conversation:
    """The child's output: progress, then one answer, on standard output; anything at all on standard error."""

    def __init__(self, process: Process, report: Callable[[int], None]) -> None:
        self.result: Mapping[str, object] | None = None
        self.error: StepError | None = None
        self.stderr = b""
        self.is_reasoned = False
        """Whether the job itself reported this error about the file."""
        self._report = report
        self._line = b""
        self._received = 0
        self._selector = selectors.DefaultSelector()
        for stream, read in ((process.stdout, self._read_answer), (process.stderr, self._read_stderr)):
            os.set_blocking(_descriptor(stream), False)
            self._selector.register(_descriptor(stream), selectors.EVENT_READ, read)

    def __enter__(self) -> "_Conversation":
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()

    @property
    def over(self) -> bool:
        """Whether there is an answer: a result or a reason."""
        return self.result is not None or self.error is not None

    def listen(self, timeout: float) -> None:
        """Read what the child writes, waiting at most `timeout` seconds for it."""
        for key, _ in self._selector.select(timeout):
            chunk = os.read(key.fd, 65536)
            if chunk:
                key.data(chunk)
            else:
                self._selector.unregister(key.fd)

    def _read_stderr(self, chunk: bytes) -> None:
        self.stderr = (self.stderr + chunk)[-_MAX_STDERR:]

    def _read_answer(self, chunk: bytes) -> None:
        self._received += len(chunk)
        if self.over:
            return
        if self._received > _MAX_ANSWER:
            self.error = StepError("step_crashed")
            return
        *lines, self._line = (self._line + chunk).split(b"\n")
        for line in lines:
            self._understand(line)

    def _understand(self, line: bytes) -> None:
        match _parse(line):
            case {"percent": int(percent)}:
                self._report(max(0, min(100, percent)))
            case {"result": dict(result)}:
                self.result = result
            case {"error": {"code": str(code), "params": dict(params)}} if code in CODES:
                self.error = StepError(code)
                self.error.params.update(_scalars(params))
                self.is_reasoned = True
            case _:
                self.error = StepError("step_crashed")


def _parse(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):  # a child that a video took over may send anything
        return None


def _scalars(params: Mapping[str, object]) -> dict[str, Param]:
    return {name: value for name, value in params.items() if isinstance(value, str | int | float)}
