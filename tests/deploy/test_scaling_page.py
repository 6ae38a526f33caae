"""docs/scaling.md, followed as its reader would: every command of "From one machine to many", one after the other."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from server.pipeline.media import ffmpeg
from tests.harness.brokers import PASSWORD, Broker, rabbitmq_server, redis_server  # noqa: F401  # two are fixtures
from tests.harness.nginx import Nginx
from tests.harness.object_store import CREDENTIALS, REGION, ObjectStore, object_store  # noqa: F401  # as above
from tests.harness.ports import free_port, let_go
from tests.harness.postgres import USER, PostgresServer
from tests.harness.server_process import ROOT
from tests.harness.waiting import PATIENCE, until
from tests.samples import make

pytestmark = pytest.mark.acceptance

PAGE = (ROOT / "docs/scaling.md").read_text()
_BLOCK = re.compile(r"^```(sh|toml|nginx)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_STARTED = {"videodock serve": "is ready", "videodock worker": "processes uploads"}
_RABBITMQCTL = "/usr/lib/rabbitmq/bin/rabbitmqctl"


def section() -> str:
    """The part of the page whose commands are run."""
    found = re.search(r"^## From one machine to many\n(.*?)^## ", PAGE, re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


class Reader:
    """Does what the page says, on machines that are folders and ports of this one."""

    def __init__(self, folder: Path, postgres: PostgresServer, bucket: ObjectStore, rabbit: Broker, redis: Broker):
        self.folder = folder
        self.ports = {name: free_port() for name in ("web-1", "web-2")}
        self.nginx: Nginx | None = None
        self._settings = ""
        self._running: dict[tuple[str, str], subprocess.Popen[bytes]] = {}
        self._said: dict[tuple[str, str], Path] = {}
        # What the page's addresses and folders are here: the only place where the test differs from the page.
        self._ours = {
            "postgresql://videodock:a-password@database.example.org": f"postgresql://videodock@127.0.0.1:{postgres.port}",
            "redis-cli -h redis.example.org -a a-password": f"redis-cli -h 127.0.0.1 -p {redis.port} -a {PASSWORD}",
            "redis://:a-password@redis.example.org": f"redis://:{PASSWORD}@127.0.0.1:{redis.port}",
            "broker.example.org": f"127.0.0.1:{rabbit.port}",
            "https://s3.example.org": bucket.endpoint,
            "eu-1": REGION,
            "/mnt/backup": str(folder / "backup"),
            'host = "0.0.0.0"': 'host = "127.0.0.1"',  # the tests listen on the loopback address only
        }
        programs = folder / "bin"
        programs.mkdir()
        self._program(programs / "videodock", f'exec {sys.executable} -m server "$@"')
        self._program(programs / "pip", "exit 0")  # all of it is installed
        self._program(programs / "rabbitmqctl", f'exec {_RABBITMQCTL} "$@"')
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("VIDEODOCK_")},
            **CREDENTIALS,
            **rabbit._command()[1],
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PGHOST": "127.0.0.1",
            "PGPORT": str(postgres.port),
            "PGUSER": USER,
        }
        self._rabbit_home = str(rabbit._folder)

    def follow(self, kind: str, text: str) -> None:
        """Do one block."""
        if kind == "toml":
            self._settings += text
        elif kind == "nginx":
            self._balance(text)
        else:
            self._run(text)

    def settings(self, machine: str) -> Path:
        """The machine's file: all that the page said so far; what came later replaces what came before."""
        merged = tomllib.loads(self._last_of_each())
        lines = [f"{name} = {json.dumps(value)}" for name, value in merged.items()]
        path = self.folder / f"{machine}.toml"
        path.write_text(self._replaced("\n".join(lines), machine))
        path.chmod(0o600)
        return path

    def _last_of_each(self) -> str:
        lines = {line.partition(" = ")[0]: line for line in self._settings.splitlines() if " = " in line}
        return "\n".join(lines.values())

    def _run(self, text: str) -> None:
        machine = text.partition("\n")[0].removeprefix("# ")
        environment = {**self._environment, "VIDEODOCK_CONFIG": str(self.settings(machine))}
        if machine == "broker":
            environment["HOME"] = self._rabbit_home
        if self.nginx is not None:
            environment["CURL_CA_BUNDLE"] = str(self.nginx.certificate)
        for line in text.splitlines()[1:]:
            if line in _STARTED:
                self._start(machine, line, environment)
        commands = [line for line in text.splitlines()[1:] if line not in _STARTED and "VIDEODOCK_CONFIG=" not in line]
        if machine == "web-1" and commands and commands[0].startswith("videodock backup"):
            self.stop()  # "Stop the server", as the page says
        script = "\n".join(["set -eo pipefail", *commands])
        done = subprocess.run(
            ["bash", "-c", self._replaced(script, machine)],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=5 * PATIENCE,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}\n{self.logs()}"

    def _start(self, machine: str, command: str, environment: dict[str, str]) -> None:
        """Start it in the background, in place of the one that runs."""
        key = (machine, command)
        self._end(key)
        path = self._said[key] = self.folder / f"{machine}-{command.rpartition(' ')[2]}.out"
        with path.open("wb") as out:
            self._running[key] = subprocess.Popen(
                command.split(),
                cwd=self.folder,
                env=environment,
                executable=str(self.folder / "bin/videodock"),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        until(lambda: self._has_started(key), what=f"{command} on {machine} has started")

    def _has_started(self, key: tuple[str, str]) -> bool:
        said = self._said[key].read_text(errors="replace")
        assert self._running[key].poll() is None, said
        return _STARTED[key[1]] in said

    def _balance(self, text: str) -> None:
        """nginx as documented, with the page's upstream: a line for each host."""
        hosts = re.findall(r"server (10\.0\.0\.\d+:8000);", text)
        assert len(hosts) == len(self.ports)
        first, second = self.ports.values()
        also = {"keepalive 64;": f"server 127.0.0.1:{second};\n    keepalive 64;"}
        self.nginx = Nginx(self.folder / "nginx", first, also)
        self.nginx.start()
        self._ours["https://video.example.org"] = self.nginx.url
        self._end(("web-1", "videodock worker"))  # "Stop the worker of web-1"

    def _replaced(self, text: str, machine: str) -> str:
        for theirs, ours in self._ours.items():
            text = text.replace(theirs, ours)
        port = self.ports.get(machine, 1)
        return (
            text.replace("/srv/videodock", str(self.folder / machine))
            .replace("port = 8000", f"port = {port}")
            .replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        )

    def _end(self, key: tuple[str, str]) -> None:
        process = self._running.pop(key, None)
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                assert process.wait(PATIENCE) == 0, self._said[key].read_text(errors="replace")
            finally:
                process.kill()
                process.wait()

    def stop(self) -> None:
        """Everything that it started, in the background."""
        for key in list(self._running):
            self._end(key)

    def logs(self) -> str:
        """The ends of what all of them said."""
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in self._said.values())

    def close(self) -> None:
        """Stop all, also after a failure."""
        try:
            self.stop()
        finally:
            for process in self._running.values():
                process.kill()
                process.wait()
            if self.nginx is not None:
                self.nginx.__exit__(None, None, None)
            for port in self.ports.values():
                let_go(port)

    @staticmethod
    def _program(path: Path, line: str) -> None:
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)


@pytest.fixture
def reader(
    tmp_path: Path,
    object_store: ObjectStore,  # noqa: F811
    rabbitmq_server: Broker,  # noqa: F811
    redis_server: Broker,  # noqa: F811
) -> Iterator[Reader]:
    postgres = PostgresServer()
    postgres.start()
    try:
        made = Reader(tmp_path, postgres, object_store, rabbitmq_server, redis_server)
        try:
            yield made
        finally:
            made.close()
    finally:
        postgres.stop()


def test_the_page_leads_from_one_machine_to_many(reader: Reader) -> None:
    """Two web hosts, two workers and a bucket run in the end, and an upload through the load balancer plays."""
    shutil.copy(make(reader.folder, "sample.mp4", seconds=0.4, size="64x64", audio=False), reader.folder / "clip.mp4")
    blocks = _BLOCK.findall(section())
    # A file of settings comes after the command that names it: the reader writes it first.
    blocks.sort(key=lambda block: 0 if "data_dir" in block[1] and block[0] == "toml" else 1)
    for kind, text in blocks:
        reader.follow(kind, text)
    assert reader.nginx is not None
    answer = json.loads((reader.folder / "status.json").read_text())
    (file,) = answer["files"]
    assert file["mp4_url"].startswith(reader.nginx.url), file
    played = reader.nginx.http.get(file["mp4_url"])
    assert played.status_code == 200
    video = reader.folder / "played.mp4"
    video.write_bytes(played.content)
    command = [ffmpeg.find("auto"), "-v", "error", "-i", str(video), "-f", "null", "-"]
    decoded = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (decoded.returncode, decoded.stderr) == (0, "")
    for name in ("web-1", "web-2"):
        assert httpx.get(f"http://127.0.0.1:{reader.ports[name]}/readyz", trust_env=False).status_code == 200
    uploads = [path for path in (reader.folder / "web-1/uploads").rglob("[!.]*") if path.is_file()]
    assert uploads == [], "every upload is in the bucket"
