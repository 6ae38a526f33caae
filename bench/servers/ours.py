"""Videodock as a user starts it: `python -m server serve`, one process, SQLite. It processes nothing unless told to."""

import contextlib
import json
import socket
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from bench.servers.base import Ability, Answer, ClientError, Role, Server, versions
from server import __version__
from server.settings import Settings

_FILLED = "filled.mp4"  # by this name the uploads are known that `fill` has made
_LENGTH = 1000


def _row(name: str, received: int) -> dict[str, object]:
    long_ago = "2026-01-01 00:00:00.000000"
    return {
        "id": name,
        "owner": "default",
        "status": "complete" if received else "open",
        "protocol": "tus",
        "length": _LENGTH,
        "reserved": _LENGTH,
        "received": received,
        "filename": _FILLED,
        "media_type": "mp4" if received else None,
        "has_bytes": 1,
        "task_id": name,
        "created_at": long_ago,
        "updated_at": long_ago,
        "expires_at": "2099-01-01 00:00:00.000000",
    }


def _marks(row: Mapping[str, object]) -> str:
    return ", ".join(f":{name}" for name in row)


class Videodock(Server):
    """Default settings, but for sizes and processing."""

    name = "videodock"
    label = "Videodock"
    role = Role.OURS
    abilities = frozenset(Ability)
    durable = "fsync once, before an upload is announced complete"
    size_limit: ClassVar[int] = 1 << 40

    @classmethod
    def version(cls) -> str:
        return f"Videodock {__version__}, {versions('uvicorn')}, Python {sys.version.split()[0]}"

    def command(self) -> list[str]:
        where = ["--port", str(self.port), "--data-dir", str(self.folder / "data")]
        sizes = ["--max-file-size", str(self.size_limit), "--tus-max-size", str(self.size_limit)]
        scheduler = "embedded" if self.processing else "none"
        return [sys.executable, "-m", "server", "serve", *where, *sizes, "--scheduler", scheduler]

    def stored(self, target: str, answer: Answer | None) -> Path:
        upload = target.rpartition("/")[2]
        return self.folder / "data" / "uploads" / upload[:2] / upload

    def form_request(self, boundary: str, length: int) -> bytes:
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return self.request("POST", "/api/upload/videos", headers, length)

    def stored_form(self, answer: Answer) -> Path:
        task = json.loads(answer.expect(200).body)["task_id"]
        with contextlib.closing(self._database()) as database:
            row = database.execute("SELECT id FROM uploads WHERE task_id = ?", (task,)).fetchone()
        if row is None:
            raise ClientError("its database has no upload of that task")
        return self.stored(row[0], None)

    def status_request(self, answer: Answer) -> bytes:
        return self.request("GET", f"/api/task/status/{answer.headers['upload-task']}", {})

    def check_status(self, status: Answer, answer: Answer) -> Mapping[str, Any]:
        found: dict[str, Any] = json.loads(status.expect(200).body)
        if not found["success"] or found["task_id"] != answer.headers["upload-task"]:
            raise ClientError("it told the status of another task")
        return found

    def fill(self, uploads: int) -> list[str]:
        ids = [str(uuid.uuid4()) for _ in range(2 * uploads)]
        opened = ids[:uploads]
        with contextlib.closing(self._database()) as database, database:
            old = database.execute("SELECT id FROM uploads WHERE filename = ? AND status = 'open'", (_FILLED,))
            for (name,) in old.fetchall():
                self.stored(name, None).unlink()
            database.execute("DELETE FROM uploads WHERE filename = ?", (_FILLED,))
            rows = [_row(name, 0) for name in opened] + [_row(name, _LENGTH) for name in ids[uploads:]]
            database.executemany(f"INSERT INTO uploads ({', '.join(rows[0])}) VALUES ({_marks(rows[0])})", rows)
        with contextlib.closing(self._database()) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for name in opened:
            path = self.stored(name, None)
            path.parent.mkdir(exist_ok=True)
            path.touch()
        return [f"{self.mount}/{name}" for name in opened]

    def _database(self) -> sqlite3.Connection:
        return sqlite3.connect(self.folder / "data" / "videodock.db", timeout=60)


class VideodockWithoutFsync(Videodock):
    """The same with the durability of the peers: none."""

    name = "videodock-no-fsync"
    label = "Videodock, fsync=never"
    durable = "no fsync"

    @classmethod
    def missing(cls) -> str | None:
        return None if "fsync" in Settings.model_fields else "this version has no setting `fsync`"

    def command(self) -> list[str]:
        return [*super().command(), "--fsync", "never"]


class VideodockTwo(Videodock):
    """The same on two cores, where requests are many."""

    name = "videodock-two"
    label = "Videodock, workers=2"
    role = Role.VARIANT
    groups = ("chunks", "cycles", "phones")

    def command(self) -> list[str]:
        return [*super().command(), "--workers", "2"]


class VideodockAuth(Videodock):
    """The same with authentication: each request has a key, and the URLs of uploads are signed."""

    name = "videodock-auth"
    label = "Videodock, auth=on"
    role = Role.VARIANT
    groups = ("chunks", "cycles", "polls")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._key = ""

    @classmethod
    def missing(cls) -> str | None:
        return None if "auth" in Settings.model_fields else "this version has no authentication"

    def command(self) -> list[str]:
        return [*super().command(), "--auth", "on"]

    def start(self) -> None:
        scopes = ["--scope", "upload", "--scope", "read", "--scope", "manage"]
        for options in (["migrate"], ["keys", "create", "--owner", "default", *scopes]):
            command = [sys.executable, "-m", "server", *options, "--data-dir", str(self.folder / "data")]
            self._key = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        super().start()

    def request(self, method: str, target: str, headers: Mapping[str, str], length: int | None = None) -> bytes:
        return super().request(method, target, {"Authorization": f"Bearer {self._key}", **headers}, length)

    def stored(self, target: str, answer: Answer | None) -> Path:
        return super().stored(target.partition("~")[0], answer)


class VideodockScheduling(Videodock):
    """The same with its scheduler: what the next one is compared with."""

    name = "videodock-scheduler"
    label = "Videodock, scheduler=embedded"
    role = Role.VARIANT
    groups = ("chunks-500k", "cycles")

    def command(self) -> list[str]:
        given = super().command()
        return [*given[: given.index("--scheduler")], "--scheduler", "embedded"]


class VideodockHanging(VideodockScheduling):
    """The same while every event goes to a webhook that takes connections and never answers."""

    name = "videodock-webhook"
    label = "Videodock, a webhook that hangs"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        # Nothing reads it: the kernel takes connections and requests.
        self._silent = socket.create_server(("127.0.0.1", 0), backlog=1024)

    def command(self) -> list[str]:
        return [*super().command(), "--webhook-allow-private", "on"]

    def start(self) -> None:
        where = ["--data-dir", str(self.folder / "data")]
        url = f"http://127.0.0.1:{self._silent.getsockname()[1]}/"
        add = ["webhooks", "add", url, "--event", "all", "--webhook-allow-private", "on"]
        for options in (["migrate"], add):
            subprocess.run([sys.executable, "-m", "server", *options, *where], check=True, capture_output=True)
        super().start()

    def stop(self) -> None:
        super().stop()
        self._silent.close()


class VideodockPortable(Videodock):
    """The path for every other HTTP server: bodies by ASGI messages."""

    name = "videodock-portable"
    label = "Videodock, http=portable"
    role = Role.LIMIT
    abilities = frozenset({Ability.BODY})
    durable = "no fsync"

    def command(self) -> list[str]:
        return [*super().command(), "--http", "portable", "--fsync", "never"]
