"""HAProxy and Caddy with the documented configurations, before a server of the tests; nginx is in `nginx.py`.

Rule: what runs is the file of docs/deploy with other addresses, ports and files; `changes` are exact replacements.
Nothing outlives the `with` block.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.harness.nginx import Nginx, make_certificate
from tests.harness.ports import free_port, let_go
from tests.harness.server_process import ROOT
from tests.harness.waiting import PATIENCE, until


@dataclass(frozen=True)
class Front:
    """A running proxy. `certificate` is what clients have to trust."""

    url: str
    certificate: Path


@contextmanager
def nginx(folder: Path, port: int, changes: Mapping[str, str]) -> Iterator[Front]:
    """nginx before the server on `port`."""
    with Nginx(folder, port, changes) as made:
        yield Front(made.url, made.certificate)


@contextmanager
def haproxy(folder: Path, port: int, changes: Mapping[str, str]) -> Iterator[Front]:
    """HAProxy before the server on `port`."""
    folder.mkdir(parents=True)
    certificate, key, both = folder / "fullchain.pem", folder / "privkey.pem", folder / "both.pem"
    make_certificate(certificate, key)
    both.write_text(certificate.read_text() + key.read_text())
    public, plain = free_port(), free_port()
    ours = {
        "bind :80\n": f"bind 127.0.0.1:{plain}\n",
        "bind :443 ssl": f"bind 127.0.0.1:{public} ssl",
        "/etc/ssl/videodock/both.pem": str(both),
        "server videodock 127.0.0.1:8000": f"server videodock 127.0.0.1:{port}",
        "maxconn 10000": "maxconn 200",
    }
    file = _write(folder, "haproxy.cfg", {**ours, **changes})
    with _running([_program("haproxy"), "-db", "-f", str(file)], folder, public):
        yield Front(f"https://127.0.0.1:{public}", certificate)
    let_go(public)
    let_go(plain)


@contextmanager
def caddy(folder: Path, port: int, changes: Mapping[str, str]) -> Iterator[Front]:
    """Caddy before the server on `port`."""
    folder.mkdir(parents=True)
    certificate, key = folder / "fullchain.pem", folder / "privkey.pem"
    make_certificate(certificate, key)
    public, plain = free_port(), free_port()
    ours = {
        "video.example.com {": f"{{\n\tadmin off\n\thttp_port {plain}\n\tauto_https off\n}}\n\n"
        f"https://127.0.0.1:{public} {{\n\tbind 127.0.0.1",
        "/etc/ssl/videodock/fullchain.pem": str(certificate),
        "/etc/ssl/videodock/privkey.pem": str(key),
        "reverse_proxy 127.0.0.1:8000": f"reverse_proxy 127.0.0.1:{port}",
    }
    file = _write(folder, "Caddyfile", {**ours, **changes})
    command = [_program("caddy"), "run", "--config", str(file), "--adapter", "caddyfile"]
    with _running(command, folder, public):
        yield Front(f"https://127.0.0.1:{public}", certificate)
    let_go(public)
    let_go(plain)


def _write(folder: Path, name: str, changes: Mapping[str, str]) -> Path:
    text = (ROOT / "docs/deploy" / name).read_text()
    for old, new in changes.items():
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
        text = text.replace(old, new)
    file = folder / name
    file.write_text(text)
    return file


@contextmanager
def _running(command: list[str], folder: Path, port: int) -> Iterator[None]:
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    log = folder / "out.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, env=environment
        )

    def listens() -> bool:
        assert process.poll() is None, f"{command[0]} does not start:\n{log.read_text()[-3000:]}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    try:
        until(listens, what=f"{command[0]} listens")
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert found, f"{name} is not installed; `make test` installs it"
    return found
