"""A data folder whose server is killed and started again, over and over."""

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from tests.harness import forkserver
from tests.harness.http import Connection
from tests.harness.ports import free_port, let_go
from tests.harness.rows import execute, query
from tests.harness.waiting import PATIENCE, until

# In memory: what commits thousands of times would wait for the disk, and no power is cut here.
_SHARED = Path("/dev/shm")
_SETTINGS = {"SCHEDULER": "none", "DATABASE_POOL_SIZE": "4", "LOG_FORMAT": "json"}


class DiedError(Exception):
    """The process that was asked died before it answered."""


class RestartedServer:
    """One server after the other on one folder and one database; use it with `with`, in one thread."""

    def __init__(self, *, database_url: str = "", follow_lines: bool = False) -> None:
        self._follow_lines = follow_lines
        self._given = database_url
        self._process: forkserver.ForkedProcess | None = None
        self.port = free_port()

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="videodock-crash-", dir=_SHARED if _SHARED.is_dir() else None))
        self.data_dir = self.folder / "data"
        self.data_dir.mkdir()
        self.url = self._given or f"sqlite:///{self.data_dir / 'videodock.db'}"
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.folder)
        let_go(self.port)

    @property
    def running(self) -> bool:
        """Whether a server was started whose end was not seen yet."""
        return self._process is not None

    def start(self, *, follow_lines: bool | None = None) -> None:
        """Start a server, and wait until it serves; without faults until one is armed."""
        out = self.folder / "server.out"
        before = out.stat().st_size if out.exists() else 0
        lines = self._follow_lines if follow_lines is None else follow_lines
        arguments = ["serve", "--host", "127.0.0.1", "--port", str(self.port), *self._place()]
        self._process = self._launch(arguments, self._environment("", lines=lines), out)

        def announced() -> bytes:
            return out.read_bytes()[before:] if out.exists() else b""

        until(lambda: b"Ctrl+C" in announced(), seconds=30, what="the server says that it is ready", every=0.004)

    def kill(self) -> None:
        """SIGKILL from outside, unless it has died already."""
        assert self._process is not None
        self._process.kill()
        self.dies(seconds=60)

    def dies(self, seconds: float) -> bool:
        """Whether the server dies within so many seconds: of SIGKILL, and of nothing else."""
        assert self._process is not None
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self._process = None
        assert code == -signal.SIGKILL, f"the server ended with {code}\n{self.log()}"
        return True

    def sweep(self, fault: str = "") -> dict[str, int]:
        """`videodock sweep` to its end; what it says it did. Raises `DiedError` when the fault has killed it."""
        out = self.folder / f"sweep-{uuid.uuid4()}.out"
        environment = self._environment(fault, lines=self._follow_lines and bool(fault))
        code = self._launch(["sweep", *self._place()], environment, out).wait(PATIENCE)
        said = out.read_text()
        if code == -signal.SIGKILL:
            assert fault
            raise DiedError
        assert code == 0, f"the sweep ended with {code}\n{said}"
        report = dict(line.split(": ") for line in said.splitlines() if line[:1].isalpha())
        assert report["failed"] == report["missing"] == "0", said
        return {name: int(number) for name, number in report.items()}

    def connect(self) -> Connection:
        """A connection to the server."""
        return Connection(self.port)

    def log(self) -> str:
        """What servers and sweeps have printed, its end."""
        return "\n".join(path.read_text(errors="replace")[-4000:] for path in self.folder.glob("*.out"))

    def recorded(self) -> list[str]:
        """The points that were reached since `record` was armed, once."""
        path = self.folder / "reached"
        found = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return found

    def path(self, upload_id: str) -> Path:
        """Where the bytes of an upload lie."""
        return self.data_dir / "uploads" / upload_id[:2] / upload_id

    def files(self) -> Iterator[Path]:
        """Every file below the folder of uploads, but the store's own mark."""
        return (path for path in (self.data_dir / "uploads").rglob("[!.]*") if path.is_file())

    def query(self, sql: str, **parameters: object) -> list[dict[str, Any]]:
        """Rows of the database."""
        return query(self.url, sql, **parameters)

    def execute(self, sql: str, **parameters: object) -> None:
        """Change the database."""
        execute(self.url, sql, **parameters)

    def _launch(self, arguments: list[str], environment: dict[str, str], out: Path) -> forkserver.ForkedProcess:
        return forkserver.start("tests.harness.faulty_server:main", arguments, environment, out, out)

    def _place(self) -> list[str]:
        return ["--data-dir", str(self.data_dir), *(["--database-url", self._given] if self._given else [])]

    def _environment(self, fault: str, *, lines: bool) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        settings = {f"VIDEODOCK_{name}": value for name, value in _SETTINGS.items()}
        faults = {"FAULT": fault, "FAULT_LOG": str(self.folder / "reached"), "FAULT_LINES": "1" if lines else ""}
        return kept | settings | faults
