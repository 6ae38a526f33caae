"""A real nginx with the documented configuration, before a server of the tests.

Rule: what runs is docs/deploy/nginx.conf with other addresses, ports and files; every change is one that the page
tells the reader to make, or named by the test. Nothing of it outlives its `with` block, and no service of the system
is touched.
"""

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.harness import processes
from tests.harness.ports import free_port, let_go
from tests.harness.server_process import ROOT
from tests.harness.waiting import PATIENCE, until

TUS = {"Tus-Resumable": "1.0.0"}
PATCH = TUS | {"Content-Type": "application/offset+octet-stream"}

DOCUMENTED = ROOT / "docs/deploy/nginx.conf"

# What Debian's /etc/nginx/nginx.conf is for: the parts that no file of conf.d may have.
_MAIN = """\
{user}
daemon off;
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 1024; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/videodock.conf;
}}
"""


class Nginx:
    """nginx before the server on `port`. `changes` are exact replacements in the documented file, each of them once.

    `certificate` is what clients have to trust.
    """

    def __init__(self, folder: Path, port: int, changes: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._upstream = port
        self._changes = changes or {}
        self._process: subprocess.Popen[bytes] | None = None
        self.certificate = folder / "fullchain.pem"
        self.port, self.plain_port = free_port(), free_port()
        make_certificate(self.certificate, folder / "privkey.pem")
        self.http = httpx.Client(
            trust_env=False, timeout=PATIENCE, verify=ssl.create_default_context(cafile=self.certificate)
        )

    @property
    def url(self) -> str:
        """Origin that clients talk to, without a slash at its end."""
        return f"https://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start and wait until it listens; a second start uses the ports of the first."""
        assert self._process is None, "nginx runs already"
        self._write()
        with (self._folder / "nginx.out").open("ab") as out:
            self._process = subprocess.Popen(
                [_program(), "-c", str(self._folder / "nginx.conf"), "-e", str(self._folder / "error.log")],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        if until(self._listens_or_ended, what="nginx listens") != "listens":
            self._process = None
            raise AssertionError(f"nginx does not start:\n{self.log()[-3000:]}")

    def stop(self) -> None:
        """SIGTERM: open connections are cut, as by a restart of the service."""
        assert self._process is not None
        family = processes.descendants(self._process.pid)
        self._process.terminate()
        self._process.wait(PATIENCE)
        self._process = None
        until(lambda: not processes.still_alive(family), what="no worker of nginx is left")

    def kill(self) -> None:
        """SIGKILL to it and its workers, as by a machine that loses its power."""
        assert self._process is not None
        family = processes.descendants(self._process.pid)
        os.killpg(self._process.pid, signal.SIGKILL)  # a session of its own
        self._process.wait(PATIENCE)
        self._process = None
        until(lambda: not processes.still_alive(family), what="no worker of nginx is left")

    def reload(self) -> None:
        """SIGHUP, and wait until new workers serve; the old ones end once their connections have."""
        assert self._process is not None
        before = set(self.workers())
        self._process.send_signal(signal.SIGHUP)
        until(lambda: len(set(self.workers()) - before) == 2, seconds=20, what="nginx has new workers")

    def kill_workers(self) -> None:
        """SIGKILL to every worker; the master starts others."""
        before = set(self.workers())
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(set(self.workers()) - before) == 2, seconds=20, what="nginx has other workers")

    def workers(self) -> list[int]:
        """Process ids of the workers, also of those that are about to end."""
        assert self._process is not None
        return [process.pid for process in processes.descendants(self._process.pid)]

    def log(self) -> str:
        """What it says of errors."""
        found = (self._folder / name for name in ("nginx.out", "error.log"))
        return "".join(path.read_text(errors="replace") for path in found if path.exists())

    def requests(self) -> list[str]:
        """What was asked, as the log has it: method, path and protocol, in the order of the answers."""
        lines = (self._folder / "access.log").read_text(errors="replace").splitlines()
        return [line.split('"')[1] for line in lines]

    def check_nothing_buffered(self) -> None:
        """No body and no answer was written into a file of nginx, ever."""
        assert "buffered to a temporary file" not in self.log()
        left = [path for name in ("body", "proxy") for path in (self._folder / name).rglob("*") if path.is_file()]
        assert left == []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()
        if self._process is not None:
            self.stop()
        let_go(self.port)
        let_go(self.plain_port)

    def _write(self) -> None:
        user = "user root;" if os.getuid() == 0 else ""  # nobody else may enter the folders of pytest
        (self._folder / "nginx.conf").write_text(_MAIN.format(folder=self._folder, user=user))
        (self._folder / "videodock.conf").write_text(self._configuration())

    def _configuration(self) -> str:
        text = DOCUMENTED.read_text()
        ours = {
            "listen 80;": f"listen 127.0.0.1:{self.plain_port};",
            "    listen [::]:80;\n": "",
            "listen 443 ssl http2;": f"listen 127.0.0.1:{self.port} ssl http2;",
            "    listen [::]:443 ssl http2;\n": "",
            "/etc/ssl/videodock/fullchain.pem": str(self.certificate),
            "/etc/ssl/videodock/privkey.pem": str(self._folder / "privkey.pem"),
            "server 127.0.0.1:8000;": f"server 127.0.0.1:{self._upstream};",
        }
        for old, new in {**ours, **self._changes}.items():
            assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {DOCUMENTED.name}"
            text = text.replace(old, new)
        return text

    def _listens_or_ended(self) -> str:
        assert self._process is not None
        if self._process.poll() is not None:
            return "ended"
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return ""
        return "listens"


@contextmanager
def sending(
    nginx: Nginx, protocol: str, url: str, source: Path, *, at: int, rate: str
) -> Iterator["subprocess.Popen[str]"]:
    """curl on its way with a PATCH of the rest of a file, `rate` bytes a second."""
    with source.open("rb") as file:
        file.seek(at)
        rest = source.with_name(f"rest-{at}") if at else source
        if at:
            rest.write_bytes(file.read())
    headers = PATCH | {"Upload-Offset": str(at), "Expect": ""}
    client = subprocess.Popen(
        [
            *("curl", "--silent", "--show-error", "--max-time", "120", protocol, "--cacert", str(nginx.certificate)),
            *("--request", "PATCH", "--upload-file", str(rest), "--write-out", " %{http_code}"),
            *(part for name, value in headers.items() for part in ("--header", f"{name}: {value}")),
            *(("--limit-rate", rate) if rate else ()),
            url,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield client
    finally:
        if client.poll() is None:
            client.kill()
        client.communicate()
        if at:
            rest.unlink()


def answered(client: "subprocess.Popen[str]", *, seconds: float = 120) -> str:
    """What curl was told within `seconds`: the body, and the status behind it."""
    out, errors = client.communicate(timeout=seconds)
    assert client.returncode == 0, f"curl ended with {client.returncode}: {errors}"
    return out


@contextmanager
def talking(nginx: Nginx, line: str, headers: Mapping[str, str], length: int) -> Iterator[ssl.SSLSocket]:
    """A connection on which the head of a request was sent, for who wants to say when what is sent."""
    context = ssl.create_default_context(cafile=nginx.certificate)
    plain = socket.create_connection(("127.0.0.1", nginx.port), timeout=PATIENCE)
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as wire:
        fields = {"Host": f"127.0.0.1:{nginx.port}", "Content-Length": str(length), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        wire.sendall(f"{line} HTTP/1.1\r\n{head}\r\n".encode())
        yield wire


def seconds(directive: str) -> float:
    """The value of a directive in the documented file that is a time in seconds, and stands there once."""
    (found,) = re.findall(rf"^\s*{directive}\s+(\d+)s;", DOCUMENTED.read_text(), re.MULTILINE)
    return float(found)


def make_certificate(certificate: Path, key: Path) -> None:
    """A certificate for this machine, signed by itself, that clients can be told to trust."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=videodock test", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )


def _program() -> str:
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert found, "nginx is not installed; `make test` installs it"
    return found
