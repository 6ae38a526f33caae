"""A real `python -m server serve`: started, stopped, killed and restarted on the same port.

Rule: nothing of it outlives its test. Stopping proves exit code 0, no orphan and no traceback in the log.
"""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.harness import forkserver, leftovers, migrated, processes
from tests.harness.ports import free_port, let_go
from tests.harness.waiting import PATIENCE, until, within

ROOT = Path(__file__).resolve().parents[2]
MARK = "SERVER_OF_TEST"

# What most tests can do without, since it takes a processor and seconds; a test that means it says so.
QUICK: Mapping[str, object] = {"transcode": "none", "storyboard": "off"}


class ServerProcess:
    """One server on its own data folder. `settings` are the fields of `Settings`, by name; `QUICK` are their defaults.

    `module` is what runs in place of `server`, and `environment` comes besides, from the next start on. `cold` starts a
    new interpreter each time; otherwise the process is forked from one that has the imports (`forkserver`).
    """

    def __init__(
        self,
        folder: Path,
        *,
        database_url: str = "",
        data_dir: Path | None = None,
        cold: bool = forkserver.COLD,
        **settings: object,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.data_dir = data_dir or folder / "data"
        self.database_url = database_url or f"sqlite:///{self.data_dir / 'videodock.db'}"
        self._given_database = database_url
        self._settings = {**QUICK, **settings}
        self.module = "server"
        self.environment: dict[str, str] = {}
        self.cold = cold
        self._out = folder / "server.out"
        self._err = folder / "server.err"
        self._mark = f"server-{uuid.uuid4()}"
        self._process: subprocess.Popen[bytes] | forkserver.ForkedProcess | None = None
        self._family: list[processes.Process] = []
        self._is_prepared = False
        self.port = free_port()
        self.http = httpx.Client(trust_env=False, timeout=PATIENCE)

    @property
    def url(self) -> str:
        """Origin of the server, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start and wait until it is ready; every start uses the same port."""
        assert not self.running, "the server runs already"
        before = self._out.stat().st_size if self._out.exists() else 0
        command = self._command("serve", "--host", "127.0.0.1", "--port", str(self.port))
        self._prepare_database()
        self._process = self._launch_forked(command) if self._is_warm else self._launch(command)
        until(lambda: self._announced(before), what="the server prints its address")
        self.wait_ready()

    def _prepare_database(self) -> None:
        # The first start of a server would run every migration. A cold one does.
        if self._is_warm and not self._is_prepared:
            migrated.prepare(self.database_url)
            self._is_prepared = True

    @property
    def _is_warm(self) -> bool:
        # Another Python path means another checkout's server, and that is not what the fork server has imported.
        return not self.cold and self.module == "server" and "PYTHONPATH" not in self.environment

    def _launch(self, command: list[str]) -> "subprocess.Popen[bytes]":
        with self._out.open("ab") as out, self._err.open("ab") as err:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def _launch_forked(self, command: list[str]) -> forkserver.ForkedProcess:
        # FastAPI comes with that engine, and with no other.
        imports = ["server.web.tuspyserver.guard"] if self._settings.get("tus_engine") == "tuspyserver" else []
        environment = self._environment()
        return forkserver.start("server.cli.main:main", command[3:], environment, self._out, self._err, imports=imports)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command with this server's folder and database to its end."""
        command = self._command(*arguments)
        if self._is_warm:
            return forkserver.run("server.cli.main:main", command[3:], self._environment(), seconds=300)
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self._environment(),
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def _command(self, *arguments: str) -> list[str]:
        command = [sys.executable, "-m", self.module, *arguments, "--data-dir", str(self.data_dir)]
        return command + (["--database-url", self._given_database] if self._given_database else [])

    def wait_ready(self) -> None:
        """Poll /readyz until it answers 200."""
        until(self._is_ready, what="/readyz says 200")

    def stop(self, seconds: float = PATIENCE) -> None:
        """SIGTERM; proves that it ends by itself with code 0 and leaves no process and no traceback."""
        assert self._process is not None
        self._remember_family()
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"SIGTERM did not end the server within {seconds} s") from None
        self._process = None
        assert code == 0, f"after SIGTERM the server ended with {code}"
        self.check_no_processes(seconds=2)
        assert "Traceback (most recent call last)" not in self.log(), "the server's log has a traceback"

    def kill(self) -> None:
        """SIGKILL to the server alone, as a crash would; its children are left to notice by themselves."""
        assert self._process is not None
        self._remember_family()
        self._process.kill()
        self._process.wait()
        self._process = None

    def restart(self) -> None:
        """Stop if it runs, and start on the same port."""
        if self.running:
            self.stop()
        self.start()

    def close(self) -> None:
        """For the end of a test: stop, or after a kill prove that the orphans are gone."""
        try:
            if self.running:
                self.stop()
            elif self._process is not None:
                raise AssertionError(f"the server ended by itself with {self._process.poll()}")
            else:
                self.check_no_processes(seconds=5)
        finally:
            self.http.close()
            let_go(self.port)
            if self.running and self._process is not None:
                self._process.kill()
                self._process.wait()
            self._end_leftovers()
        leftovers.check(self.data_dir, self.database_url)

    def children(self) -> list[processes.Process]:
        """The processes that the running server started, and theirs."""
        return processes.descendants(self.pid)

    def at_work(self) -> list[processes.Process]:
        """The same without the spare children, which wait for a job."""
        return [process for process in self.children() if process.name != "videodock-spare"]

    def check_no_processes(self, seconds: float) -> None:
        """Fail when a process of this server is still there after `seconds`, in which the machine was not busy."""
        within(lambda: not self._leftovers(), seconds=seconds, what=f"no process left of {self._leftovers()}")

    def log(self) -> str:
        """All that it printed, of all its starts."""
        return "".join(path.read_text(errors="replace") for path in (self._out, self._err) if path.exists())

    def stored(self, upload_id: str) -> Path:
        """Where the bytes of an upload lie."""
        return self.data_dir / "uploads" / upload_id[:2] / upload_id

    def stored_files(self) -> list[Path]:
        """Every file below the folder of uploads."""
        return [path for path in (self.data_dir / "uploads").rglob("[!.]*") if path.is_file()]

    def status(self, task_id: str) -> dict[str, Any]:
        """The documented status of a task; fails unless it is answered with 200."""
        response = self.http.get(f"{self.url}/api/task/status/{task_id}")
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def _environment(self) -> dict[str, str]:
        # PYTHONUNBUFFERED would hide that the address is printed too late.
        env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("VIDEODOCK_") and name != "PYTHONUNBUFFERED"
        }
        env["VIDEODOCK_SPARE_CHILDREN"] = "0"  # most servers of tests are stopped before one would be of use
        env |= {f"VIDEODOCK_{name.upper()}": str(value) for name, value in self._settings.items()}
        env[MARK] = self._mark
        return env | self.environment

    def _announced(self, before: int) -> bool:
        assert self._process is not None
        code = self._process.poll()
        assert code is None, f"the server ended at its start with {code}:\n{self.log()[-4000:]}"
        text = self._out.read_bytes()[before:].decode(errors="replace")
        return f"http://127.0.0.1:{self.port}" in text

    def _is_ready(self) -> bool:
        assert self.running, f"the server ended before it was ready:\n{self.log()[-4000:]}"
        try:
            return self.http.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def _remember_family(self) -> None:
        self._family += self.children()

    def _leftovers(self) -> list[processes.Process]:
        seen = {process.pid: process for process in self._family if process.alive}
        seen |= {process.pid: process for process in processes.marked(self._mark)}
        return list(seen.values())

    def _end_leftovers(self) -> None:
        for process in self._leftovers():
            process.kill()
