"""A PostgreSQL of our own, made from Debian's package: started for a test session, gone with it."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Any

import psycopg

from tests.harness.ports import free_port, let_go
from tests.harness.waiting import until

USER = "postgres"


class PostgresServer:
    """One cluster on the loopback address, without durability: it lives only as long as the tests."""

    def __init__(self) -> None:
        self._programs = _programs()
        # Not below pytest's folders, which only root may enter: initdb and postgres refuse to run as root.
        self._folder = Path(tempfile.mkdtemp(prefix="videodock-pg-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam(USER)
            os.chown(self._folder, account.pw_uid, account.pw_gid)
            self._as = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}

    @property
    def log(self) -> str:
        """What the server wrote."""
        path = self._folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Make the cluster and wait until it answers."""
        data = self._folder / "data"
        initdb = [str(self._programs / "initdb"), "--pgdata", str(data), "--username", USER]
        initdb += ["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        made = subprocess.run(initdb, cwd=self._folder, capture_output=True, text=True, check=False, **self._as)
        assert made.returncode == 0, f"initdb failed:\n{made.stdout}{made.stderr}"
        self.resume()

    def resume(self) -> None:
        """Start the cluster that is there, and wait until it answers."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self._folder,
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": 300,
            "shared_buffers": "64MB",
        }
        command = [str(self._programs / "postgres"), "-D", str(self._folder / "data")]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._as,
            )
        until(self._answers, seconds=30, what="PostgreSQL answers")

    def stop(self) -> None:
        """Stop it and remove its files."""
        self.halt()
        shutil.rmtree(self._folder, ignore_errors=True)
        let_go(self.port)

    def halt(self) -> None:
        """Stop it (fast shutdown, then hard); its files stay, for `resume`."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                # SIGQUIT is PostgreSQL's immediate shutdown: it takes its children along.
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(10)

    def create_database(self) -> str:
        """A new, empty database; its SQLAlchemy URL."""
        name = f"test_{uuid.uuid4().hex}"
        self._execute(f'CREATE DATABASE "{name}"')
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{name}"

    def drop_database(self, url: str) -> None:
        """Remove a database of `create_database`, whoever is still connected to it."""
        self._execute(f'DROP DATABASE "{url.rpartition("/")[2]}" WITH (FORCE)')

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"PostgreSQL ended at its start:\n{self.log}"
        try:
            self._execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _execute(self, sql: str) -> None:
        with psycopg.connect(
            host=str(self._folder), port=self.port, user=USER, dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(sql.encode())


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    assert found, "PostgreSQL's server is not installed; `make test` installs it, or apt-get install postgresql"
    return found[-1].parent
