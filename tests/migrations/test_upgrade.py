"""From a data folder and a database that an earlier version really made, to this version and back (`make_old.py`)."""

import json
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from sqlalchemy import Engine, NullPool, create_engine, inspect

from server.database import migration
from tests.backup.commands import findings
from tests.conftest import StartServer
from tests.harness import description
from tests.harness.rows import query
from tests.harness.server_process import ROOT
from tests.harness.tasks import follow
from tests.harness.uploader import Uploader
from tests.migrations.filler import rows
from tests.migrations.make_old import OLD, VIEWS, checked_out, old_server
from tests.tus.client import VERSION, metadata, video

# Times go by; what was kept for a while when this was made must not be removed now.
KEEPS = {"failed_retention": 0, "event_retention": 0, "quarantine_retention": 0}
COMMITS = {"0004": "5216e3e"}


class Old(NamedTuple):
    """What an earlier version left."""

    revision: str
    data_dir: Path
    url: str
    facts: dict[str, Any]


@pytest.fixture(params=sorted(path.name for path in OLD.iterdir()))
def old(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Old:
    """A copy of it, on both kinds of database."""
    kind = "sqlite" if database_url.startswith("sqlite") else "postgresql"
    place = OLD / request.param
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    with tarfile.open(place / f"{kind}.tar.gz") as archive:
        archive.extractall(data_dir, filter="data")
    for path in data_dir.rglob("*"):
        path.touch()  # its last byte came a moment ago, for open uploads
    _load(database_url, (place / f"{kind}.sql").read_text())
    return Old(request.param, data_dir, database_url, json.loads((place / f"{kind}.json").read_text()))


def _load(url: str, sql: str) -> None:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.executescript(sql)
        return
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(sql.encode())


@pytest.fixture
def engine(old: Old) -> Iterator[Engine]:
    made = create_engine(old.url, poolclass=NullPool)
    yield made
    made.dispose()


def schema(engine: Engine) -> dict[str, Any]:
    """All that a version can expect of a database."""
    found = inspect(engine)
    tables = sorted(set(found.get_table_names()) - {"sqlite_sequence"})
    return {
        "views": {name: [column["name"] for column in found.get_columns(name)] for name in found.get_view_names()},
        "columns": {
            name: sorted((one["name"], str(one["type"]), one["nullable"]) for one in found.get_columns(name))
            for name in tables
        },
        "indexes": {
            name: sorted((index["name"], index["column_names"], index["unique"]) for index in found.get_indexes(name))
            for name in tables
        },
        "keys": {name: found.get_foreign_keys(name) for name in tables},
    }


def migrate(old: Old, *arguments: str) -> None:
    place = ["--database-url", old.url, "--data-dir", str(old.data_dir)]
    command = [sys.executable, "-m", "server", "migrate", *arguments, *place]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def as_told(now: Any, before: Any) -> Any:
    """`now` without the fields that `before` lacks, at any depth: a new version may add fields, and changes none."""
    if isinstance(now, dict) and isinstance(before, dict):
        return {name: as_told(value, before[name]) for name, value in now.items() if name in before}
    if isinstance(now, list) and isinstance(before, list) and len(now) == len(before):
        return [as_told(*pair) for pair in zip(now, before, strict=True)]
    return now


def test_an_upgrade_and_a_rollback_keep_every_row_and_the_schema(old: Old, engine: Engine) -> None:
    """What the earlier version finds after a rollback is what it left: each row, each column, index and view."""
    assert migration.current(old.url) == old.revision
    before, shape = rows(engine), schema(engine)
    migrate(old)
    assert migration.current(old.url) == migration.head()
    migrate(old, "--to", old.revision, "--yes")
    assert rows(engine) == before
    assert schema(engine) == shape


@pytest.mark.sampled(1)
def test_open_work_is_completed_after_an_upgrade_and_after_a_rollback(
    old: Old, engine: Engine, start_server: StartServer, tmp_path: Path
) -> None:
    """Status, reports and bytes read as before; what was open comes to its end, on the new version and, after a
    rollback, on the old one's schema, which has every row that nobody touched as it was."""
    facts, before = old.facts, rows(engine)
    server = start_server(database_url=old.url, data_dir=old.data_dir, scheduler="none", **KEEPS)
    for task, answer in facts["answers"].items():
        now = json.loads(json.dumps(server.status(task)).replace(server.url, "http://server"))
        assert as_told(now, answer) == answer
    for view in VIEWS:
        figures = json.loads(json.dumps(query(old.url, f"SELECT * FROM {view} ORDER BY 1"), default=str))
        assert [
            {name: row[name] for name in was} for row, was in zip(figures, facts["reports"][view], strict=True)
        ] == (facts["reports"][view])
    client = Uploader(server)
    for upload, offset, data in (
        (facts["open"], 4000, video(9000, 2)),
        (facts["empty"], 0, video(9000, 5)),
        (facts["parts"][1], 0, video(5000, 3)[2000:]),
    ):
        assert client.offset(upload) == offset
        client.patch(upload, offset, data[offset:])
    assert server.stored(facts["open"]).read_bytes() == video(9000, 2)
    assert server.stored(facts["final"]).read_bytes() == video(5000, 3)
    client.ask("HEAD", f"/files/{facts['gone']}", VERSION, expect=410)
    server.stop()
    busy = start_server(database_url=old.url, data_dir=old.data_dir, **KEEPS)
    for task in (facts["waiting"], facts["open"], facts["final"]):
        follow(busy, task, until=["error"])
    half = Uploader(busy).create(6000)
    Uploader(busy).patch(half, 0, video(6000, 6)[:1000])
    busy.stop()
    assert findings(old.data_dir, old.url) == []

    migrate(old, "--to", old.revision, "--yes")
    after = rows(engine)
    touched = {facts["waiting"], facts["open"], facts["empty"], facts["final"], *facts["parts"]}
    for table in ("uploads", "tasks", "task_files", "upload_parts"):
        found = {tuple(row.values())[:2]: row for row in after[table]}
        for row in before[table]:
            if not touched & {row.get("id"), row.get("task_id"), row.get("upload_id")}:
                assert found[tuple(row.values())[:2]] == row, table
    _serve_with_old(old, half, tmp_path)


def _lacks(git: str, commit: str) -> bool:
    command = [git, "-C", str(ROOT), "cat-file", "-e", f"{commit}^{{commit}}"]
    return subprocess.run(command, check=False, capture_output=True).returncode != 0


def _serve_with_old(old: Old, half: str, tmp_path: Path) -> None:
    """Where its commit is at hand, that version itself serves what it got back."""
    commit = COMMITS.get(old.revision, "")
    git = shutil.which("git")
    if not commit or not git or _lacks(git, commit):
        return  # a shallow clone: the schema and the rows were compared
    with checked_out(commit) as checkout:
        server = old_server(checkout, tmp_path / "old", "" if old.url.startswith("sqlite") else old.url)
        server.data_dir, server.database_url, server._given_database = old.data_dir, old.url, old.url
        assert description.take_different() == []
        server.start()
        try:
            client = Uploader(server)
            for task, answer in old.facts["answers"].items():
                assert json.loads(json.dumps(server.status(task)).replace(server.url, "http://server")) == answer
            assert client.offset(half) == 1000
            client.patch(half, 1000, video(6000, 6)[1000:])
            assert server.stored(half).read_bytes() == video(6000, 6)
            follow(server, half, until=["error"], is_old=True)
        finally:
            description.take_different()  # the answers of that version are not those of this one's description
            server.close()


def test_a_rollback_cancels_incomplete_groups(start_server: StartServer, database_url: str, tmp_path: Path) -> None:
    """The earlier version knows no groups: the task is cancelled, its open upload terminated, its bytes go."""
    server = start_server(database_url=database_url, scheduler="none")
    task = str(uuid.uuid4())
    upload_metadata = metadata(filename="clip.mp4", task=task, task_files="3")
    client = Uploader(server)
    uploads = [client.create(1000, {"Upload-Metadata": upload_metadata}) for _ in range(2)]
    client.patch(uploads[0], 0, video(1000))
    assert server.status(task)["status"] == "uploaded"
    server.stop()
    done = server.run("migrate", "--to", "0004", "--yes")
    assert done.returncode == 0, done.stderr
    assert query(database_url, "SELECT id, status FROM tasks") == [{"id": task, "status": "cancelled"}]
    left = {row["id"]: row["status"] for row in query(database_url, "SELECT id, status FROM uploads")}
    assert left == {uploads[0]: "complete", uploads[1]: "terminated"}
    states = {row["status"] for row in query(database_url, "SELECT status FROM task_files")}
    assert states == {"cancelled"}
    server.restart()
    assert server.run("sweep").returncode == 0
    assert not server.stored(uploads[1]).exists()
