"""What a benchmark asks of a server: how it is started, how an upload is made, where the bytes are.

Rule: one class a server. It is started as its documentation says, in a session of its own, and ended by the process
group that it was given; a server that cannot be had here says why by `missing`.
"""

import base64
import contextlib
import importlib.metadata
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "bench" / ".peers"
METADATA = ",".join(
    f"{key} {base64.b64encode(value).decode()}"
    for key, value in (("filename", b"clip.mp4"), ("filetype", b"video/mp4"))
)
_START_SECONDS = 30
_STOP_SECONDS = 20


class ClientError(Exception):
    """A server's answer, or its silence, was not what makes an upload."""


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def expect(self, *statuses: int) -> "Answer":
        """Itself; raises `ClientError` for another status."""
        if self.status not in statuses:
            raise ClientError(f"it answered {self.status}: {self.body[:200].decode(errors='replace')}".rstrip(": "))
        return self


class Ability(Enum):
    """What a server can do; a work needs some of these."""

    BODY = auto()  # one request body into one file
    TUS = auto()  # create, look, append, terminate
    SHA1 = auto()  # Upload-Checksum
    FORM = auto()  # multipart/form-data with one file
    TABLE = auto()  # can be filled with uploads beforehand
    STATUS = auto()  # tells what became of an upload
    PROCESSING = auto()  # encodes uploaded videos


class Role(Enum):
    """What a server is in the comparison."""

    OURS = "ours"
    PEER = "peer"
    VARIANT = "variant"  # ours with other settings, for which there are no goals
    LIMIT = "limit"  # not a choice that a user has: it shows what is possible


class Server:
    """One server of the benchmark; see the rule above."""

    name: ClassVar[str]
    label: ClassVar[str]
    role: ClassVar[Role] = Role.PEER
    abilities: ClassVar[frozenset[Ability]]
    groups: ClassVar[tuple[str, ...]] = ("",)
    """How the names begin of the groups in which it takes part, as far as it can."""
    largest_body: ClassVar[int | None] = None
    """Bytes; None is any. For those that keep a whole body in memory."""
    durable: ClassVar[str] = "no fsync"
    mount: ClassVar[str] = "/files"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.processing = False  # whether it processes what was uploaded, if it can; before the start
        self._process: subprocess.Popen[bytes] | None = None

    # What it is

    @classmethod
    def missing(cls) -> str | None:
        """Why it cannot take part; None when it can."""
        return None

    @classmethod
    def version(cls) -> str:
        """Its version, and that of what it runs on."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """The command that serves on `self.port` and stores below `self.folder`."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Variables for it alone."""
        return {}

    # Its life

    @property
    def pid(self) -> int:
        """The process that was started; also its session and process group."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start, and wait until it accepts connections. Raises `ClientError`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._process = self._launch()
        deadline = time.monotonic() + _START_SECONDS
        while not self._accepts():
            if not self.running or time.monotonic() > deadline:
                self.stop()
                raise ClientError(f"it does not start: {self.log()[-300:]}")
            time.sleep(0.02)

    def _launch(self) -> subprocess.Popen[bytes]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("VIDEODOCK_", "RUSTUS_"))}
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                self.command(),
                cwd=ROOT,
                env=kept | self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> None:
        """End it and whatever it has started."""
        if self._process is None:
            return
        _signal(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        _signal(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def log(self) -> str:
        """What it printed."""
        return (self.folder / "log").read_text(errors="replace")

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    # An upload

    def request(self, method: str, target: str, headers: Mapping[str, str], length: int | None = None) -> bytes:
        """A request head."""
        lines = {"Host": f"127.0.0.1:{self.port}", "Tus-Resumable": "1.0.0", **headers}
        if length is not None:
            lines["Content-Length"] = str(length)
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"{method} {target} HTTP/1.1\r\n{text}\r\n".encode()

    def create_request(self, length: int) -> bytes:
        """The request that creates an upload of `length` bytes; empty when there is none."""
        return self.request("POST", self.mount, {"Upload-Length": str(length), "Upload-Metadata": METADATA}, 0)

    def created(self, answer: Answer | None) -> str:
        """The path of the upload that `answer` announces."""
        assert answer is not None
        return urlsplit(answer.expect(201).headers["location"]).path

    def append_request(self, target: str, offset: int, length: int, more: Mapping[str, str]) -> bytes:
        """The request that appends."""
        headers = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream", **more}
        return self.request("PATCH", target, headers, length)

    def check_appended(self, answer: Answer, offset: int) -> None:
        """Raise `ClientError` unless `answer` says that the upload is at `offset`."""
        found = answer.expect(204).headers.get("upload-offset")
        if found != str(offset):
            raise ClientError(f"it says that it has {found} bytes instead of {offset}")

    def head_request(self, target: str) -> bytes:
        """The request that looks."""
        return self.request("HEAD", target, {})

    def delete_request(self, target: str) -> bytes:
        """The request that terminates."""
        return self.request("DELETE", target, {})

    def stored(self, target: str, answer: Answer | None) -> Path:
        """The file with the bytes of an upload; `answer` is its last one."""
        return self.folder / "data" / target.rpartition("/")[2]

    def form_request(self, boundary: str, length: int) -> bytes:
        """The request whose body is a form."""
        return self.request("POST", "/upload", {"Content-Type": f"multipart/form-data; boundary={boundary}"}, length)

    def stored_form(self, answer: Answer) -> Path:
        """The file with the bytes of the form's file."""
        return self.folder / "data" / answer.expect(200).body.decode()

    def status_request(self, answer: Answer) -> bytes:
        """The request for the status of the upload whose last answer this is."""
        raise NotImplementedError

    def check_status(self, status: Answer, answer: Answer) -> Mapping[str, Any]:
        """What this answer tells, `status` and `step` among it; raises `ClientError` when it is of another upload."""
        raise NotImplementedError

    def fill(self, uploads: int) -> list[str]:
        """Make its table have so many open uploads without bytes, and as many complete ones, beside those of the
        benchmark; the paths of the open ones."""
        raise NotImplementedError


class PythonServer(Server):
    """One on the interpreter that runs the benchmark; `BENCH_FOLDER` says where the bytes go."""

    def environment(self) -> dict[str, str]:
        return {"BENCH_FOLDER": str(self.folder / "data")}

    def start(self) -> None:
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        super().start()

    def uvicorn(self, app: str) -> list[str]:
        """uvicorn as most people run it, without a line in the log for each request."""
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--log-level", "warning", "--no-access-log"]
        return [sys.executable, "-m", "uvicorn", app, *options]


def versions(*names: str) -> str:
    """Installed distributions and their versions."""
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def output(command: list[str]) -> str:
    """What a command prints, both outputs."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return (done.stdout + done.stderr).strip()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
