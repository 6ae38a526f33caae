"""A real `python -m server worker`, or another program that works on tasks: started, stopped, killed.

Rule: nothing of it outlives its test.
"""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

from tests.harness import forkserver, processes
from tests.harness.server_process import MARK, QUICK, ROOT
from tests.harness.waiting import PATIENCE, until, within

_PLAIN = [sys.executable, "-m", "server", "worker"]


class WorkerProcess:
    """One worker. `settings` are the fields of `Settings`, by name; `before` is put in front of the command."""

    def __init__(self, folder: Path, *, before: Sequence[str] = (), **settings: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._before = list(before)
        self._settings = {**QUICK, **settings}
        self._mark = f"worker-{uuid.uuid4()}"
        self._out = folder / "worker.out"
        self._process: subprocess.Popen[bytes] | forkserver.ForkedProcess | None = None
        self._family: list[processes.Process] = []
        self.command = list(_PLAIN)

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the running worker."""
        assert self._process is not None, "the worker does not run"
        return self._process.pid

    def log(self) -> str:
        """All that it printed."""
        return self._out.read_text(errors="replace") if self._out.exists() else ""

    def start(self, ready: str = "processes uploads") -> None:
        """Start it, and wait until it says so."""
        self.launch()
        until(lambda: self._has_said(ready), what=f"the worker says {ready!r}:\n{self.log()}")

    def launch(self) -> None:
        """Start it, forked from the imports (`forkserver`) where nothing else than a plain worker is wanted."""
        if not self._before and not forkserver.COLD and self.command == _PLAIN:
            imports = ["server.worker.celery_app"] if self._settings.get("scheduler") == "celery" else []
            environment = self.environment()
            arguments = self.command[3:]
            self._process = forkserver.start(
                "server.cli.main:main", arguments, environment, self._out, self._out, imports=imports
            )
            return
        with self._out.open("ab") as out:
            self._process = subprocess.Popen(
                [*self._before, *self.command],
                cwd=ROOT,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def environment(self) -> dict[str, str]:
        """What it is started with."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("VIDEODOCK_")}
        env["VIDEODOCK_SPARE_CHILDREN"] = "0"  # most workers of tests are stopped before one would be of use
        env |= {f"VIDEODOCK_{name.upper()}": str(value) for name, value in self._settings.items()}
        return env | {MARK: self._mark, "PYTHONPATH": str(ROOT)}

    def wait(self, seconds: float = PATIENCE) -> int:
        """Its exit code, once it has ended."""
        assert self._process is not None
        return self._process.wait(seconds)

    def stop(self, seconds: float = PATIENCE) -> None:
        """SIGTERM; proves that it ends by itself with code 0 and leaves no process and no traceback."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"SIGTERM did not end the worker within {seconds} s:\n{self.log()}") from None
        self._process = None
        assert code == 0, f"after SIGTERM the worker ended with {code}:\n{self.log()}"
        within(lambda: not self._leftovers(), seconds=2, what=f"no process left of {self._leftovers()}")
        assert "Traceback (most recent call last)" not in self.log(), self.log()

    def kill(self) -> None:
        """SIGKILL to the worker alone, as a crash would; its children are left to notice by themselves."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def close(self) -> None:
        """For the end of a test: stop it if it runs, and whatever is left."""
        try:
            if self.running:
                self.stop()
        finally:
            for process in self._leftovers():
                process.kill()
            if self._process is not None:
                self._process.wait(PATIENCE)

    def _has_said(self, ready: str) -> bool:
        assert self.running, f"the worker ended at its start:\n{self.log()}"
        return ready in self.log()

    def _leftovers(self) -> list[processes.Process]:
        return processes.marked(self._mark)
