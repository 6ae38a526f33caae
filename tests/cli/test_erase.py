"""`owner erase`: everything of one owner goes, the numbers stay; repeatable after an interruption; both databases."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, Text, insert, select, text, update

from server.database.access_models import ApiKey, AuditEntry
from server.database.base import Base
from server.database.event_models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from server.database.models import Task, TaskEvent, TaskFile, Upload
from server.database.personal_data import PERSONAL, SECRET_TABLES, is_personal
from server.events.bodies import Origin
from server.lifecycle import TaskStatus, UploadStatus
from server.maintenance import erasure
from tests.cli.operator import Operator, register_task
from tests.cli.test_owners import add_answer, add_everything, open_upload
from tests.conftest import StartServer
from tests.harness.rows import query
from tests.tus.client import MOUNT, creation

NOW = datetime(2026, 11, 30, tzinfo=UTC)
NAME = "Ann Å <a@b.de>"
VIDEO = "ann at the beach.mp4"
ADDRESS = "192.0.2.77"


@pytest.fixture(autouse=True)
def _without_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure.Erasure, "pause", lambda _self, _seconds: None)


def everything(operator: Operator) -> str:
    """Personal data of NAME in every column that can have some; the id of a task."""
    services = operator.services
    add_everything(operator, NAME)
    task_id = register_task(services, VIDEO, "b.mp4", owner=NAME)
    open_upload(operator, NAME, 100)
    add_answer(operator, NAME, "key-9", task_id)
    with services.database.write() as session:
        mine = {"passthrough": f"customer {NAME}", "metadata_raw": "filename YW5u", "filename": VIDEO}
        session.execute(update(Upload).where(Upload.owner == NAME).values(**mine))
        reasons = {"error_params": {"name": VIDEO}, "waiting_params": {"name": VIDEO}}
        session.execute(update(Task).where(Task.id == task_id).values(title=VIDEO, passthrough=NAME, **reasons))
        session.execute(update(TaskFile).where(TaskFile.task_id == task_id).values(error_params={"name": VIDEO}))
        data = {"code": "x", "title": VIDEO, "passthrough": NAME}
        event = {"task_id": task_id, "owner": NAME, "at": NOW, "type": "waiting", "attempt": 1, "data": data}
        session.execute(insert(TaskEvent).values(**event))
        for endpoint, owner in (("mine", NAME), ("all", None)):
            values: dict[str, Any] = {
                "id": endpoint,
                "owner": owner,
                "url": f"https://example.org/{owner}",
                "types": [],
            }
            session.execute(insert(WebhookEndpoint).values(**values, created_at=NOW, event_id=0))
            told = {"message_id": endpoint, "endpoint_id": endpoint, "task_id": task_id, "type": "t", "status": "dead"}
            session.execute(insert(WebhookDelivery).values(**told, created_at=NOW, data={"name": VIDEO}))
        (delivery,) = session.scalars(select(WebhookDelivery.id).where(WebhookDelivery.endpoint_id == "all"))
        answered = {"delivery_id": delivery, "at": NOW, "seconds": 1.0, "answer": f"hello {NAME}"}
        session.execute(insert(WebhookAttempt).values(**answered))
        for entry in (
            {"actor": f"jwt:{NAME}", "owner": NAME, "address": ADDRESS, "details": {"agent": NAME}},
            {"actor": "key:1", "owner": "admin", "object_owner": NAME, "object_kind": "task", "object_id": task_id},
        ):
            session.execute(insert(AuditEntry).values(at=NOW, action="task_cancelled", **entry))
    return task_id


def found_anywhere(operator: Operator, *words: str) -> list[str]:
    """The columns of the whole database that have one of these words."""
    found = []
    with operator.services.database.read() as session:
        for table in Base.metadata.sorted_tables:
            for column in table.columns:
                for value in session.execute(select(column)).scalars():
                    shown = json.dumps(value, ensure_ascii=False, default=str)
                    found += [f"{table.name}.{column.name}: {shown}" for word in words if word in shown]
    return found


def test_an_owner_is_erased_and_the_numbers_stay(operator: Operator) -> None:
    """No column has the name, a file's name, metadata or an address; the reports count what they counted."""
    everything(operator)
    add_everything(operator, "bob")
    database = operator.services.database
    counted = "SELECT day, sum(uploads), sum(bytes) FROM upload_outcomes_per_day GROUP BY day"
    with database.read() as session:
        before = session.execute(text(counted)).all()
    done = operator.json("owner", "erase", NAME, "--yes")
    assert found_anywhere(operator, "Ann", "a@b", VIDEO, "YW5u", ADDRESS) == []
    with database.read() as session:
        assert session.execute(text(counted)).all() == before
        mine = Upload.owner == done["name"]
        assert set(session.scalars(select(Upload.status).where(mine))) == {UploadStatus.TERMINATED}
        assert set(session.scalars(select(Task.status).where(Task.owner == done["name"]))) == {TaskStatus.REMOVED}
        assert session.scalars(select(ApiKey.owner)).all() == ["bob"]
        assert session.scalars(select(WebhookEndpoint.id).order_by(WebhookEndpoint.id)).all() == ["all", "w-bob"]
        ids = session.scalars(select(Upload.id).where(mine)).all()
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "owner_erased")).one()
    assert (entry.actor, entry.object_id) == ("operator", done["name"])
    assert (done["tasks"], done["uploads"], done["left"]) == (2, 1, 0)
    assert [upload_id for upload_id in ids if operator.services.store.size(upload_id) is not None] == []
    assert done["name"].startswith("erased-")
    assert operator.refused("owner", "erase", NAME, "--yes") == (3, f"There is no owner {NAME}.")


def test_an_earlier_name_goes_too(operator: Operator) -> None:
    """Names that were renamed to this one are in the audit log only, and leave it."""
    register_task(operator.services, VIDEO, owner="ann-before")
    with operator.services.database.write() as session:
        old = {"actor": "key:1", "owner": "ann-before", "address": ADDRESS}
        session.execute(insert(AuditEntry).values(at=NOW, action="sign_in", **old))
    operator.run("owner", "rename", "ann-before", NAME)
    operator.run("owner", "erase", NAME, "--yes")
    assert found_anywhere(operator, "ann-before", "Ann", ADDRESS) == []


def test_it_asks_before(operator: Operator) -> None:
    """Without --yes and an answer, nothing is changed."""
    register_task(operator.services, VIDEO, owner=NAME)
    assert operator.run("owner", "erase", NAME).exit_code == 1
    for nobody in ("", " "):
        assert "is not empty" in operator.run("owner", "erase", nobody).output
    with operator.services.database.read() as session:
        assert set(session.scalars(select(Task.status))) == {TaskStatus.UPLOADED}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_files_of_sqlite_have_no_name(operator: Operator) -> None:
    """Neither the database nor its write-ahead log keeps what rows were before."""
    everything(operator)
    file = Path(str(operator.services.database.engine.url.database))
    files = [file, file.with_name(f"{file.name}-wal")]
    assert any(VIDEO.encode() in one.read_bytes() for one in files)
    operator.json("owner", "erase", NAME, "--yes")
    assert [one.name for one in files if one.exists() and VIDEO.encode() in one.read_bytes()] == []


@pytest.mark.parametrize("is_late", [False, True])
def test_what_waits_for_other_endpoints_is_still_sent(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, is_late: bool
) -> None:
    """A message to the endpoint of an administrator has what its body needs, without the name; also one made late."""
    everything(operator)

    def add(self: erasure.Erasure, owner: str) -> None:
        real(self, owner)
        if is_late:
            insert_waiting()

    def insert_waiting() -> None:
        with operator.services.database.write() as session:
            (task_id,) = session.scalars(select(Task.id).where(Task.owner == NAME).limit(1))
            told = {"message_id": "waits", "endpoint_id": "all", "task_id": task_id, "type": "t", "status": "pending"}
            data = Origin(task_id=task_id, owner=NAME, at=NOW).as_row()
            session.execute(insert(WebhookDelivery).values(**told, created_at=NOW, data=data))

    real = erasure.Erasure._empty
    monkeypatch.setattr(erasure.Erasure, "_empty", add)
    if not is_late:
        insert_waiting()
    operator.json("owner", "erase", NAME, "--yes")
    assert found_anywhere(operator, "Ann") == []
    with operator.services.database.read() as session:
        (row,) = session.scalars(select(WebhookDelivery).where(WebhookDelivery.message_id == "waits"))
    assert Origin.of_row(str(row.task_id), row.data or {}) == Origin(task_id=str(row.task_id), owner=None, at=NOW)


class KilledError(Exception):
    """Instead of a killed process."""


@pytest.mark.parametrize("after", ["_revoke", "_remove_videos", "_check_elsewhere", "_empty"])
def test_an_interrupted_erasure_is_completed_by_the_next(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    """Killed after any of its parts: repeated, it ends with nothing left and one entry in the audit log."""
    everything(operator)
    real = getattr(erasure.Erasure, after)

    def killed(self: erasure.Erasure, *arguments: Any) -> Any:
        real(self, *arguments)
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(erasure.Erasure, after, killed)
        assert isinstance(operator.run("owner", "erase", NAME, "--yes").exception, KilledError)
    operator.json("owner", "erase", NAME, "--yes")
    assert found_anywhere(operator, "Ann", "a@b", VIDEO, "YW5u", ADDRESS) == []
    with operator.services.database.read() as session:
        assert len(session.scalars(select(AuditEntry).where(AuditEntry.action == "owner_erased")).all()) == 1


def test_videos_in_another_data_folder_are_erased_there(operator: Operator) -> None:
    """A task of another folder is left, and the command says so with exit code 4; nothing is renamed."""
    mine, other = (register_task(operator.services, VIDEO, owner=NAME) for _ in range(2))
    operator.change(update(Task).where(Task.id == other).values(node="elsewhere"))
    code, sentence = operator.refused("owner", "erase", NAME, "--yes")
    assert (code, "another data folder" in sentence) == (4, True)
    with operator.services.database.read() as session:
        assert session.get_one(Task, mine).status is TaskStatus.REMOVED
        assert session.get_one(Task, other).status is TaskStatus.UPLOADED
        assert session.get_one(Task, other).owner == NAME


def test_every_column_of_text_is_judged() -> None:
    """A new column of text or JSON is either marked as personal, or listed here as one that is not."""
    impersonal = {
        "uploads": {"concat"},
        "tasks": {"worker"},
        "task_files": {"remarks"},
        "task_steps": {"error_params"},
        "form_answers": set(),
        "api_keys": {"scopes"},
        "grants": {"types", "allowed_origin"},
        "browser_sessions": {"scopes"},
        "webhook_endpoints": {"types", "worker"},
        "outbox_cursors": {"worker"},
        "upload_leases": {"name", "process"},
        "s3_uploads": {"multipart_id", "object_key"},
        "s3_parts": {"crc32c", "etag", "name"},
        "result_objects": {"crc32c", "name"},
    }
    for table in Base.metadata.sorted_tables:
        if table.name in SECRET_TABLES:
            continue
        texts = {column.name for column in table.columns if isinstance(column.type, Text | JSON)}
        known = PERSONAL.get(table.name, frozenset()) | impersonal.get(table.name, set())
        assert texts - known == set(), table.name
    for table_name, columns in PERSONAL.items():
        assert all(is_personal(table_name, column) for column in columns)
        assert columns <= set(Base.metadata.tables[table_name].c.keys())


@pytest.mark.acceptance
def test_it_works_beside_a_running_server(start_server: StartServer, database_url: str) -> None:
    """Open uploads end with 410, and the server goes on for others."""
    server = start_server(database_url=database_url, scheduler="none")
    made = server.http.post(f"{server.url}{MOUNT}", headers=creation(1000))
    done = server.run("owner", "erase", "default", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    assert server.http.head(made.headers["Location"], headers={"Tus-Resumable": "1.0.0"}).status_code in (404, 410)
    (row,) = query(server.database_url, "SELECT owner, status, filename FROM uploads")
    assert row == {"owner": json.loads(done.stdout)["name"], "status": "terminated", "filename": None}
    assert server.http.post(f"{server.url}{MOUNT}", headers=creation(1000)).status_code == 201
