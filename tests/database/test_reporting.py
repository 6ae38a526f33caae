"""The queries of docs/reporting.md, from the page's own text, on both databases; and what counts as resumed."""

import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from alembic import command
from sqlalchemy import insert, inspect

from server.database import migration
from server.database.access_models import AuditEntry
from server.database.models import Base, Task, TaskEvent, TaskFile, TaskStep, Upload, UploadPart
from server.database.report_views import VIEWS
from server.database.session import Database, make_engine
from server.lifecycle import FileStatus, StepStatus, TaskStatus, UploadStatus
from tests.conftest import StartServer
from tests.harness.rows import query
from tests.harness.server_process import ROOT, ServerProcess
from tests.harness.waiting import until
from tests.reports.page import ask
from tests.samples import make

pytestmark = pytest.mark.every_backend  # SQL is what they are about

MONDAY = datetime(2026, 11, 16, 23, 59, 59, 900_000, tzinfo=UTC)
TUESDAY = datetime(2026, 11, 17, 0, 0, 0, 100_000, tzinfo=UTC)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An empty database at head."""
    migration.upgrade(database_url)
    made = Database(database_url, 2)
    yield made
    made.close()


def upload(database: Database, status: UploadStatus = UploadStatus.COMPLETE, **values: object) -> str:
    """A row of `uploads`."""
    at = values.pop("at", MONDAY)
    completed_at = at if status is UploadStatus.COMPLETE else None
    row: dict[str, Any] = {"id": str(uuid4()), "owner": "ann", "status": status, "protocol": "tus", "received": 10}
    row |= {"has_bytes": status is UploadStatus.COMPLETE, "task_id": str(uuid4()), "completed_at": completed_at}
    row |= {"created_at": at, "updated_at": at, "expires_at": at, **values}
    with database.change() as connection:
        connection.execute(insert(Upload).values(row))
    return str(row["id"])


def task(database: Database, status: TaskStatus, **values: object) -> str:
    """A row of `tasks`, with one file."""
    row: dict[str, Any] = {"id": str(uuid4()), "owner": "ann", "node": "node", "status": status, "partial": False}
    row |= {"progress": 0, "current_file": 0, "file_count": 1, "attempt": 1, "failures": 0}
    row |= {"created_at": MONDAY, "updated_at": MONDAY, **values}
    with database.change() as connection:
        connection.execute(insert(Task).values(row))
    return str(row["id"])


def file(database: Database, task_id: str, status: FileStatus, **values: object) -> str:
    """A file of a task."""
    row: dict[str, Any] = {"id": str(uuid4()), "task_id": task_id, "upload_id": upload(database), "position": 1}
    row |= {"name": "a.mp4", "safe_name": "a.mp4", "size": 1000, "status": status, "progress": 0, "has_poster": False}
    with database.change() as connection:
        connection.execute(insert(TaskFile).values(row | values))
    return str(row["id"])


def step(database: Database, file_id: str, name: str, status: StepStatus, **values: object) -> None:
    """A step of a file."""
    row = {"file_id": file_id, "name": name, "position": 1, "status": status, "progress": 0, "failures": 0, **values}
    with database.change() as connection:
        connection.execute(insert(TaskStep).values(row))


def test_the_descriptions_have_every_column_of_the_views(database: Database) -> None:
    """Every view is described, with its columns in their order; PostgreSQL has the descriptions as comments."""
    looked = inspect(database.engine)
    assert set(looked.get_view_names()) == set(VIEWS)
    for name, view in VIEWS.items():
        assert [column["name"] for column in looked.get_columns(name)] == list(view.columns), name
    if database.engine.dialect.name == "postgresql":
        for name in (*VIEWS, *Base.metadata.tables):
            assert looked.get_table_comment(name)["text"], name
            assert [column["name"] for column in looked.get_columns(name) if not column["comment"]] == [], name


def test_uploads_are_counted_per_utc_day(database: Database, database_url: str) -> None:
    """Days are those of UTC; what is counted as completed, expired and resumed is as the page says."""
    upload(database)
    upload(database, resumed=True)
    upload(database, UploadStatus.TERMINATED, completed_at=MONDAY, received=5)  # completed, and removed later
    upload(database, UploadStatus.EXPIRED, resumed=True, received=3)
    upload(database, UploadStatus.REJECTED, received=0)
    final = upload(database, at=TUESDAY, concat="final;/files/…", received=8_000_000_000)
    for position, resumed in ((1, False), (2, True)):
        part = upload(database, at=TUESDAY, concat="partial", resumed=resumed, received=4_000_000_000)
        with database.change() as connection:
            connection.execute(insert(UploadPart).values(final_id=final, position=position, part_id=part))
    upload(database, UploadStatus.OPEN, at=TUESDAY, received=1)
    upload(database, at=TUESDAY, concat="final;/files/… (not resumed)", received=1)
    for status in (UploadStatus.TERMINATED, UploadStatus.OPEN):  # visits of the doctor
        upload(database, status, owner="eve", at=TUESDAY, client="doctor", received=4)
    assert ask(database_url, "Uploads per day") == [
        {"day": "2026-11-17", "uploads": 3, "bytes": 8_000_000_002, "completed": 2, "expired": 0, "resumed": 1},
        {"day": "2026-11-16", "uploads": 5, "bytes": 28, "completed": 3, "expired": 1, "resumed": 1},
    ]
    assert sum(row["uploads"] for row in ask(database_url, "Why uploads fail")) == 2
    assert [(row["owner"], row["uploads"]) for row in ask(database_url, "Who uploads most")] == [("ann", 8)]


def test_actions_are_counted_per_day(database: Database, database_url: str) -> None:
    """By day of UTC, action and owner, with the number of addresses that they came from."""
    rows = [
        (MONDAY, "task_cancelled", "ann", "192.0.2.1"),
        (MONDAY, "sign_in_failed", None, "192.0.2.1"),
        (MONDAY, "sign_in_failed", None, "192.0.2.2"),
        (TUESDAY, "task_cancelled", "ann", None),
    ]
    with database.change() as connection:
        for at, action, owner, address in rows:
            values = {"at": at, "action": action, "actor": "key:1", "owner": owner, "address": address}
            connection.execute(insert(AuditEntry).values(values))
    assert ask(database_url, "Who did what") == [
        {"day": "2026-11-17", "action": "task_cancelled", "owner": "ann", "actions": 1, "addresses": 0},
        {"day": "2026-11-16", "action": "sign_in_failed", "owner": None, "actions": 2, "addresses": 2},
        {"day": "2026-11-16", "action": "task_cancelled", "owner": "ann", "actions": 1, "addresses": 1},
    ]


def test_tasks_by_status_have_their_waiting_and_total_seconds(database: Database, database_url: str) -> None:
    """Seconds from the last byte to the claim and to the end; none for what has not come to it."""

    def after(seconds: float) -> datetime:
        return MONDAY + timedelta(seconds=seconds)

    task(database, TaskStatus.UPLOADED)
    task(database, TaskStatus.PROCESSING, started_at=after(4))
    task(database, TaskStatus.COMPLETED, started_at=after(1), finished_at=after(11.5), file_count=50, partial=True)
    task(database, TaskStatus.COMPLETED, started_at=after(2), finished_at=after(86_400))
    task(database, TaskStatus.CANCELLED, finished_at=after(3))
    columns = ("status", "tasks", "partly_failed", "files", "waited_seconds", "processed_seconds", "longest_seconds")
    expected = [
        ("cancelled", 1, 0, 1, None, 3.0, 3.0),
        ("completed", 2, 1, 51, 1.5, 43_205.75, 86_400.0),
        ("processing", 1, 0, 1, 4.0, None, None),
        ("uploaded", 1, 0, 1, None, None, None),
    ]
    assert ask(database_url, "Tasks by status") == [dict(zip(columns, row, strict=True)) for row in expected]


def test_open_tasks_are_listed_oldest_first_with_their_reason(database: Database, database_url: str) -> None:
    """Open tasks only, the oldest first, with the reason of one that was set aside."""
    task(database, TaskStatus.ERROR, finished_at=MONDAY)
    late = task(database, TaskStatus.UPLOADED, created_at=TUESDAY, attempt=0)
    early = task(database, TaskStatus.PROCESSING, step="scan", waiting_code="scanner_away")
    rows = ask(database_url, "What waits, and why")
    assert [(row["task_id"], row["step"], row["why"]) for row in rows] == [
        (early, "scan", "scanner_away"),
        (late, None, "waits_for_worker"),
    ]


def test_failed_steps_are_counted_by_step_and_code(database: Database, database_url: str) -> None:
    """Grouped by step and code, those with most files first; steps that succeeded are not in it."""
    for failures in (0, 2):
        one = file(database, task(database, TaskStatus.ERROR), FileStatus.ERROR)
        step(database, one, "probe", StepStatus.ERROR, error_code="not_playable", failures=failures)
        step(database, one, "poster", StepStatus.SKIPPED)
    other = file(database, task(database, TaskStatus.COMPLETED), FileStatus.COMPLETED)
    step(database, other, "probe", StepStatus.COMPLETED)
    step(database, other, "poster", StepStatus.ERROR, error_code="poster_failed")
    assert ask(database_url, "Steps that fail") == [
        {"step": "probe", "error_code": "not_playable", "files": 2, "retries": 2},
        {"step": "poster", "error_code": "poster_failed", "files": 1, "retries": 0},
    ]


def test_completed_files_are_summed_by_codec(database: Database, database_url: str) -> None:
    """Videos, bytes and hours by codec, of processed files only; also of one that was deleted later."""
    for codec, seconds, status in (
        ("h264", 1800.0, FileStatus.COMPLETED),
        ("h264", 5400.0, FileStatus.REMOVED),
        ("hevc", 900.0, FileStatus.COMPLETED),
    ):
        of = task(database, TaskStatus.COMPLETED)
        file(database, of, status, video_codec=codec, duration=seconds, progress=100)
    file(database, task(database, TaskStatus.ERROR), FileStatus.ERROR, error_code="not_playable")
    assert ask(database_url, "Codecs of the originals") == [
        {"video_codec": "h264", "videos": 2, "bytes": 20, "hours": 2.0},
        {"video_codec": "hevc", "videos": 1, "bytes": 10, "hours": 0.25},
    ]


def test_stored_bytes_are_summed_by_owner(database: Database, database_url: str) -> None:
    """Complete uploads that have bytes, and what is reserved for open ones, by owner, the largest first."""
    upload(database, owner="bob", length=70)
    upload(database, length=10)
    upload(database, length=10)
    upload(database, UploadStatus.OPEN, has_bytes=True, length=30, reserved=30)
    upload(database, UploadStatus.EXPIRED, owner="eve", length=10)
    assert ask(database_url, "Who stores how much") == [
        {"owner": "bob", "originals": 1, "bytes": 70, "open_uploads": 0, "open_bytes": 0},
        {"owner": "ann", "originals": 2, "bytes": 20, "open_uploads": 1, "open_bytes": 30},
    ]


def test_retries_are_counted_by_task(database: Database, database_url: str) -> None:
    """The event `retried`, counted by task."""
    twice, failed = task(database, TaskStatus.COMPLETED), task(database, TaskStatus.ERROR)
    with database.change() as connection:
        for of, kind in ((twice, "retried"), (twice, "retried"), (failed, "error")):
            connection.execute(insert(TaskEvent).values(task_id=of, owner="ann", at=MONDAY, type=kind, attempt=1))
    rows = ask(database_url, "Tasks that were retried")
    assert [(row["id"], row["status"], row["retries"]) for row in rows] == [(twice, "completed", 2)]


TUS: Mapping[str, str] = {"Tus-Resumable": "1.0.0"}


def append(server: ServerProcess, url: str, offset: int, body: bytes) -> None:
    headers = {**TUS, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
    assert server.http.patch(url, content=body, headers=headers).status_code == 204


def test_an_upload_counts_as_resumed_after_a_head_in_the_middle(
    start_server: StartServer, database_url: str, tmp_path: Path
) -> None:
    """Chunk after chunk is no resumption; a HEAD in the middle is, also when the last byte comes at once after it."""
    server = start_server(database_url=database_url)
    video = make(tmp_path, "holiday.mp4").read_bytes()
    middle = len(video) // 2
    urls = {}
    for name, asks_at in (("straight", ()), ("begun", (0,)), ("resumed", (middle,)), ("asked later", (len(video),))):
        headers = {**TUS, "Upload-Length": str(len(video)), "Upload-Metadata": "filename YS5tcDQ="}
        url = urls[name] = server.http.post(f"{server.url}/files", headers=headers).headers["Location"]
        for offset, body in ((0, video[:middle]), (middle, video[middle:]), (len(video), b"")):
            if offset in asks_at:
                assert server.http.head(url, headers=TUS).headers["Upload-Offset"] == str(offset)
            if body:
                append(server, url, offset, body)

    def resumed() -> dict[str, bool]:
        rows = {row["id"]: bool(row["resumed"]) for row in query(database_url, "SELECT id, resumed FROM uploads")}
        return {name: rows[url.rpartition("/")[2]] for name, url in urls.items()}

    until(lambda: any(resumed().values()), seconds=10, what="the row says that it was resumed")
    server.stop()  # whatever is still to be told is told
    assert resumed() == {"straight": False, "begun": False, "resumed": True, "asked later": False}
    days = ask(database_url, "Uploads per day")  # two of them, when midnight has passed meanwhile
    assert [sum(day[name] for day in days) for name in ("uploads", "completed", "resumed")] == [4, 4, 1]
    (row,) = ask(database_url, "Uploads by protocol and client")
    assert (row["protocol"], row["client"], row["uploads"]) == ("tus", "python", 4)
    order = "created_at <= first_byte_at AND first_byte_at < completed_at"
    assert query(database_url, f"SELECT count(*) AS ordered FROM uploads WHERE {order}") == [{"ordered": 4}]


LATER = """
import sqlalchemy as sa
from alembic import op

revision = "later"
down_revision = "{head}"

def upgrade():
    recreate = "always" if op.get_bind().dialect.name == "sqlite" else "auto"
    for table in ("uploads", "tasks", "upload_parts"):
        with op.batch_alter_table(table, recreate=recreate) as batch:
            batch.add_column(sa.Column("later", sa.Integer()))
"""


def test_the_views_survive_a_migration_that_copies_their_tables(database_url: str, tmp_path: Path) -> None:
    """A revision that makes the tables anew, as SQLite needs it, leaves the views and the foreign keys as they were."""
    migration.upgrade(database_url)
    folder = tmp_path / "migrations"
    shutil.copytree(ROOT / "migrations", folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "later.py").write_text(LATER.format(head=migration.head()))
    config = migration.config(database_url)
    config.set_main_option("script_location", str(folder))
    engine = config.attributes["engine"] = make_engine(database_url, 1)

    def keys() -> list[Any]:
        found = [key for table in sorted(Base.metadata.tables) for key in inspect(engine).get_foreign_keys(table)]
        return sorted(found, key=lambda key: str(key["name"]))

    try:
        before = keys()
        command.upgrade(config, "head")
        assert any(column["name"] == "later" for column in inspect(engine).get_columns("uploads"))
        assert keys() == before
    finally:
        engine.dispose()
    assert ask(database_url, "Uploads per day") == []
    assert ask(database_url, "Tasks by status") == []
