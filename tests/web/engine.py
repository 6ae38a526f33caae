"""Real server processes with tuspyserver as the engine, and what is asked of them and found on their disk."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.http import Answer, Connection, Headers
from tests.harness.postgres import PostgresServer
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.waiting import until
from tests.tus.client import (
    MOUNT,
    VERSION,
    creation,
    id_of,
    patch_request,
    target,
)

MIB = 1 << 20
LENGTH, FIRST = 200_000, 90_000


@contextlib.contextmanager
def serving(folder: Path, database_url: str) -> Iterator[ServerProcess]:
    """A server with this engine; tasks stay as they are registered."""
    server = ServerProcess(folder, database_url=database_url, tus_engine="tuspyserver", scheduler="none")
    try:
        server.start()
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def serving_on(request: pytest.FixtureRequest, folder: Path) -> Iterator[ServerProcess]:
    """For a fixture with the parameters `sqlite` and `postgresql`: such a server on a database of that kind."""
    if request.param == "sqlite":
        with serving(folder, f"sqlite:///{folder / 'test.db'}") as server:
            yield server
        return
    cluster: PostgresServer = request.getfixturevalue("postgres_server")
    url = cluster.create_database()
    try:
        with serving(folder, url) as server:
            yield server
    finally:
        cluster.drop_database(url)


def ask(server: ServerProcess, method: str, path: str, headers: Headers = (), body: bytes | None = None) -> Answer:
    """One request on a connection of its own."""
    with Connection(server.port) as connection:
        return connection.ask(method, path, headers, body)


def made(server: ServerProcess, length: int, more: dict[str, str] | None = None) -> str:
    """A new upload; its id."""
    answer = ask(server, "POST", MOUNT, creation(length) | (more or {}))
    assert answer.status == 201, answer
    assert answer.headers["location"] == f"http://videodock.test{MOUNT}/{id_of(answer)}"
    return id_of(answer)


def offset_of(server: ServerProcess, upload: str) -> int:
    """What HEAD says."""
    answer = ask(server, "HEAD", target(upload), VERSION)
    assert answer.status == 200, answer
    return int(answer.headers["upload-offset"])


def state(server: ServerProcess, upload: str) -> tuple[list[dict[str, Any]], bytes | None]:
    """What a refusal must not change: the row and the bytes."""
    path = server.stored(upload)
    rows = query(server.database_url, "SELECT * FROM uploads WHERE id = :id", id=upload)
    return rows, path.read_bytes() if path.exists() else None


def stall(server: ServerProcess, upload: str, data: bytes, offset: int = 0, first: int = FIRST) -> Connection:
    """A PATCH of all the rest that stops when `first` bytes have come and are stored."""
    connection = Connection(server.port)
    rest = data[offset:]
    connection.send(patch_request(upload, offset, rest[:first], length=len(rest)))
    path = server.stored(upload)
    until(lambda: path.stat().st_size == offset + first, seconds=5, what="what was sent is stored")
    return connection


def registered(server: ServerProcess, upload: str) -> list[str]:
    """The events of an upload's task, of which it has just one: none while there is no task."""
    files = query(server.database_url, "SELECT task_id FROM task_files WHERE upload_id = :id", id=upload)
    rows = query(
        server.database_url,
        "SELECT type FROM task_events WHERE task_id = :id AND upload_id IS NULL ORDER BY id",
        id=upload,
    )
    assert files == ([{"task_id": upload}] if rows else [])
    return [row["type"] for row in rows]


def tasks(server: ServerProcess) -> list[str]:
    return [row["id"] for row in query(server.database_url, "SELECT id FROM tasks")]
