"""Serving processes of a forked server (`workers=2`) without waiting for their imports: forks of their supervisor.

Rule: a fork is what a new interpreter would be by then. So it is made only while the supervisor has one thread, and it
gives back what it inherits: descriptors, signal handlers, environment and the session. The tests of the supervisor
itself (`tests/serving/test_supervisor.py`) start new interpreters, as `videodock serve` does: 1.1 s of a processor for
each.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from tests.harness.waiting import pauses


class ForkedWorker:
    """A serving process, with those names of `subprocess.Popen` that the supervisor uses."""

    def __init__(self, command: Sequence[str], *, pass_fds: Sequence[int], env: Mapping[str, str], **_: Any) -> None:
        assert threading.active_count() == 1, "a child would lack the other threads"
        self.returncode: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            _serve(command[3:], pass_fds, env)

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended; raises `subprocess.TimeoutExpired`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        sleeps = pauses()
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            time.sleep(next(sleeps))
        return code

    def terminate(self) -> None:
        """SIGTERM."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class _Subprocess:
    """What `server.serving.supervisor` uses of the module."""

    Popen = ForkedWorker
    DEVNULL = subprocess.DEVNULL
    TimeoutExpired = subprocess.TimeoutExpired


def install() -> None:
    """Let the supervisor of this process fork from now on."""
    from server.serving import supervisor

    vars(supervisor)["subprocess"] = _Subprocess


def _serve(numbers: Sequence[str], kept: Sequence[int], environment: Mapping[str, str]) -> NoReturn:
    """The child."""
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        first = 3
        for descriptor in sorted(kept):
            os.closerange(first, descriptor)
            first = descriptor + 1
        os.closerange(first, 1024)
        os.environ.clear()
        os.environ.update(environment)
        _share_metrics()
        from server.serving import supervisor

        vars(supervisor)["_child"](numbers)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(1)


def _share_metrics() -> None:
    """Decide anew how this process keeps its metrics: the library looked into the environment when it was imported."""
    from prometheus_client import values

    values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]
