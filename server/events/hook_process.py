"""A hook in a process of its own: the side of the server.

Rules:

- A hook runs in a child process with a session of its own, started by `subprocess` (never by fork). It gets our
  environment, without the settings of Videodock.
- A call ends at its deadline. A child that did not answer by then, or ended, is killed with its group, and the next
  call starts another one.
- An answer has the number of its call: what a hook that forks says twice answers no later call.
"""

import contextlib
import importlib.metadata
import io
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from server.events.hook_output import HookOutput
from server.hooks import GROUP
from server.settings.types import PREFIX

_START_SECONDS = 30.0
"""That a child may take to import its hook."""
_MOST_ANSWER = 64 << 10


@dataclass(frozen=True)
class Hook:
    """A registered function: the name of the hook, and `module:function`."""

    name: str
    value: str


def registered(*names: str) -> Sequence[Hook]:
    """The functions that installed packages register under these names, each once, in the order of their values."""
    found = importlib.metadata.entry_points(group=GROUP)
    return sorted(
        {Hook(entry.name, entry.value) for entry in found if entry.name in names}, key=lambda hook: hook.value
    )


class HookError(Exception):
    """The hook failed: it raised, ended its process, or took too long. The text is for the log."""


class HookTimeoutError(HookError):
    """It took too long."""


class HookProcess:
    """One hook. For one call at a time."""

    def __init__(self, hook: Hook) -> None:
        self.hook = hook
        self._output = HookOutput(hook.value)
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._is_ready = False
        self._buffer = b""
        self._calls = 0
        self._closing = threading.Lock()
        self._is_closed = False

    def start(self) -> None:
        """Start the child, so that it is ready when it is needed. Raises `HookError`."""
        with self._closing:
            if self._process is not None or self._is_closed:
                return
            self._is_ready, self._buffer, self._started = False, b"", time.monotonic()
            try:
                self._process = subprocess.Popen(  # noqa: S603  # our own interpreter, never a shell
                    [sys.executable, "-m", "server.events.hook_child", self.hook.name, self.hook.value],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,  # the child prints there, too
                    bufsize=0,
                    env={name: value for name, value in os.environ.items() if not name.startswith(PREFIX)},
                    start_new_session=True,
                )
            except OSError as error:
                raise HookError(f"no process can be started: {error.strerror}") from None
            if self._process.stderr is not None:
                # Buffered, for its lines; the process keeps no reference, since the thread closes it.
                self._output.follow(io.BufferedReader(cast("io.RawIOBase", self._process.stderr)))

    def call(self, argument: Mapping[str, Any], deadline: float) -> str | None:
        """Call the hook; the explanation with which it refused, or None. Blocking, until `deadline` of
        `time.monotonic` at most. Raises `HookError`."""
        self.start()
        self._wait_ready(deadline)
        with self._ending_on_failure():
            self._calls += 1
            self._write(json.dumps({"call": self._calls, "argument": argument}).encode() + b"\n", deadline)
            answer = self._read(deadline)
            while answer.get("call") != self._calls:
                answer = self._read(deadline)
        if "error" in answer:
            raise HookError(_text(answer["error"]))
        refusal = answer.get("refuse")
        return None if refusal is None else _text(refusal)

    def close(self) -> None:
        """End the child. May be called from any thread; a call that runs fails."""
        self._is_closed = True
        self._end()

    def _wait_ready(self, deadline: float) -> None:
        if self._is_ready:
            return
        # A child that is still starting may go on with that after this call has given up.
        last = self._started + _START_SECONDS
        try:
            answer = self._read(min(deadline, last))
        except TimeoutError:
            if time.monotonic() >= last:
                self._end()
            raise HookTimeoutError("it is still starting") from None
        except (OSError, ValueError):
            self._end()
            raise HookError("its process ended while it was imported") from None
        if "error" in answer:
            self._end()
            raise HookError(f"it cannot be imported: {answer['error']}")
        self._is_ready = True

    @contextlib.contextmanager
    def _ending_on_failure(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            self._end()
            raise HookTimeoutError("it took too long") from None
        except (OSError, ValueError):
            self._end()
            raise HookError("it ended its process") from None

    def _write(self, data: bytes, deadline: float) -> None:
        pipe = self._pipe(1)
        os.set_blocking(pipe, False)
        while data:
            self._wait(pipe, select.POLLOUT, deadline)
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(pipe, data) :]

    def _read(self, deadline: float) -> Mapping[str, Any]:
        pipe = self._pipe(0)
        while b"\n" not in self._buffer:
            self._wait(pipe, select.POLLIN, deadline)
            piece = os.read(pipe, 65536)
            self._buffer += piece
            if not piece or len(self._buffer) > _MOST_ANSWER:
                raise ValueError("the child's answer has no end")
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer = json.loads(line)
        if not isinstance(answer, dict):
            raise ValueError("the child's answer is no object")  # noqa: TRY004  # its bytes are wrong
        return answer

    def _pipe(self, writes: int) -> int:
        process = self._process
        stream = None if process is None else (process.stdin if writes else process.stdout)
        if stream is None:
            raise ValueError("the child has ended")
        return stream.fileno()

    @staticmethod
    def _wait(pipe: int, event: int, deadline: float) -> None:
        poll = select.poll()  # not select(): it cannot watch a descriptor above 1023
        poll.register(pipe, event)
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError

    def _end(self) -> None:
        with self._closing:
            process, self._process = self._process, None
            self._is_ready = False
            if process is None:
                return
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
            process.wait()


def _text(value: object) -> str:
    """As a text that can be sent: halves of surrogates, which JSON can spell, have no encoding."""
    return str(value).encode("utf-8", "replace").decode()
