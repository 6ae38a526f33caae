"""`owners list`, `owners set` and `owner rename`, on both databases and beside a running server."""

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from server.database.access_models import ApiKey, BrowserSession, Grant, OwnerLimits, Share
from server.database.base import Base
from server.database.event_models import WebhookEndpoint
from server.database.models import FormAnswer, Task, Upload
from server.database.report_models import ReportOwners
from server.database.session import Database
from server.uploads.new_upload import NewUpload
from tests.cli.operator import Operator, register_task
from tests.conftest import StartServer
from tests.harness.rows import query
from tests.harness.waiting import until
from tests.tus.client import MOUNT, creation

NOW = datetime(2026, 11, 30, tzinfo=UTC)
NOTHING = {"stored_bytes": 0, "open_bytes": 0, "open_uploads": 0, "daily_bytes": 0, "waiting_tasks": 0}
MODELS: tuple[type[Any], ...] = (
    Task, Upload, FormAnswer, ApiKey, Grant, Share, BrowserSession, OwnerLimits, WebhookEndpoint,
    ReportOwners,
)  # fmt: skip


def open_upload(operator: Operator, owner: str, length: int) -> str:
    services = operator.services
    upload_id = services.new_id()
    services.repository.insert(
        NewUpload(id=upload_id, owner=owner, protocol="tus", task_id=upload_id, length=length, filename="a.mp4")
    )
    return upload_id


def add(operator: Operator, model: type[Base], **values: object) -> None:
    with operator.services.database.write() as session:
        session.execute(insert(model).values(**values))


def add_everything(operator: Operator, owner: str) -> None:
    """A row of each table that has an owner."""
    task_id = register_task(operator.services, "a.mp4", owner=owner)
    later = NOW + timedelta(days=1)
    times = {"created_at": NOW, "expires_at": later}
    add_answer(operator, owner, "key-1", "task-of-" + owner)
    ids = {"id": f"k-{owner}", "secret_hash": "0" * 64, "owner": owner}
    add(operator, ApiKey, scopes=["upload"], **ids, created_at=NOW)
    add(operator, Grant, created_by="key:1", uploads=1, **ids, **times)
    link = {"id": f"s-{owner}", "token_hash": owner.ljust(64, "0"), "task_id": task_id, "created_by": "key:1"}
    add(operator, Share, owner=owner, **link, **times)
    sign_in = {"credential": "key:1", "scopes": ["upload"], "used_at": NOW}
    add(operator, BrowserSession, id_hash=owner.ljust(64, "0"), owner=owner, **sign_in, **times)
    hook = {"id": f"w-{owner}", "url": "https://example.com/", "types": [], "event_id": 0, "created_at": NOW}
    add(operator, WebhookEndpoint, owner=owner, **hook)
    kept = {"day": "2026-11-01", "outcome": "succeeded", "reason": "", "last_at": NOW}
    add(operator, ReportOwners, owner=owner, uploads=1, bytes=2, arrived=1, resumed=0, **kept)
    add(operator, OwnerLimits, owner=owner, open_uploads=len(owner), updated_at=NOW)


def add_answer(operator: Operator, owner: str, key: str, task_id: str, fingerprint: str | None = "0" * 64) -> None:
    values = {"owner": owner, "key": key, "task_id": task_id, "fingerprint": fingerprint}
    add(operator, FormAnswer, answer={} if fingerprint else None, created_at=NOW, expires_at=NOW, **values)


def owners_of(database: Database) -> dict[str, list[str]]:
    """The owners in each table."""
    with database.read() as session:
        return {
            model.__tablename__: sorted(session.scalars(select(model.owner)))
            for model in MODELS
        }  # fmt: skip


def test_a_list_has_usage_beside_limits(operator: Operator) -> None:
    """Of each owner that has something or limits; in JSON every number in bytes."""
    assert operator.run("owners", "list").output == "No owners.\n"
    register_task(operator.services, "a.mp4", owner="ann")
    open_upload(operator, "bob", 1 << 20)
    operator.run("owners", "set", "ann", "--stored-bytes", "10GiB", "--open-uploads", "5")
    operator.run("owners", "set", "zoe", "--waiting-tasks", "1")
    lines = operator.run("owners", "list").output.splitlines()
    assert lines[0].split("  ")[0] == "OWNER"
    assert [" ".join(line.split()) for line in lines[1:]] == [
        "ann 5 B of 10 GiB* 0 B 0 of 5* 5 B 1",
        "bob 1 MiB 1 MiB 1 1 MiB 1",
        "zoe 0 B 0 B 0 0 B 0 of 1*",
    ]
    listed = operator.json("owners", "list")
    assert listed[0] == {
        "owner": "ann",
        "usage": NOTHING | {"stored_bytes": 5, "daily_bytes": 5, "waiting_tasks": 1},
        "limits": NOTHING | {"stored_bytes": 10 << 30, "open_uploads": 5},
        "own_limits": dict.fromkeys(NOTHING) | {"stored_bytes": 10 << 30, "open_uploads": 5},
    }


def test_limits_are_set_one_by_one_and_taken_away(operator: Operator) -> None:
    """Those that are not named stay; `none` is the setting again, and 0 no limit; without any, no row is left."""
    operator.run("owners", "set", "ann", "--stored-bytes", "1000", "--daily-bytes", "2KB")
    set_again = operator.json("owners", "set", "ann", "--stored-bytes", "0", "--waiting-tasks", "7")
    expected = {"stored_bytes": 0, "daily_bytes": 2000, "waiting_tasks": 7}
    assert set_again["own_limits"] == dict.fromkeys(NOTHING) | expected
    assert owners_of(operator.services.database)["owners"] == ["ann"]
    given = [word for name in expected for word in (f"--{name.replace('_', '-')}", "none")]
    assert operator.json("owners", "set", "ann", *given)["own_limits"] == dict.fromkeys(NOTHING)
    assert owners_of(operator.services.database)["owners"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("owners", "set", "ann"),
        ("owners", "set", "ann", "--stored-bytes", "much"),
        ("owners", "set", "ann", "--stored-bytes", "-1"),
        ("owners", "set", "ann", "--stored-bytes", "9999999999999GiB"),
        ("owners", "set", "ann", "--open-uploads", "1.5"),
        ("owners", "set", "ann", "--open-uploads", "5GiB"),
        ("owners", "set", " ", "--open-uploads", "5"),
        ("owners", "set", "a\nb", "--open-uploads", "5"),
        ("owner", "rename", "ann", "ann"),
        ("owner", "rename", "ann", ""),
    ],
)
def test_a_command_that_cannot_be_is_refused(operator: Operator, arguments: tuple[str, ...]) -> None:
    """With exit code 2, and nothing is changed."""
    assert operator.run(*arguments).exit_code == 2
    assert owners_of(operator.services.database)["owners"] == []


def test_a_rename_moves_everything_at_once(operator: Operator) -> None:
    """All rows of the owner, and none of another one; then the old name is not known any more."""
    add_everything(operator, "ann")
    add_everything(operator, "bob")
    add_answer(operator, "ann", "key-2", "still-running", fingerprint=None)
    moved = operator.json("owner", "rename", "ann", "anna")
    assert moved == dict.fromkeys((model.__tablename__ for model in MODELS), 1) | {"task_events": 3}
    expected = {model.__tablename__: ["anna", "bob"] for model in MODELS}
    # The request that holds that key looks for it under the old name.
    assert owners_of(operator.services.database) == expected | {"form_answers": ["ann", "anna", "bob"]}
    assert operator.refused("owner", "rename", "nobody", "ann") == (3, "There is no owner nobody.")


def test_a_name_in_use_is_merged_only_on_demand(operator: Operator) -> None:
    """Refused with 4 and nothing changed; with --merge the limits and the answers of the new name stay."""
    add_everything(operator, "ann")
    add_everything(operator, "robert")
    add_answer(operator, "ann", "key-2", "of-ann")
    before = owners_of(operator.services.database)
    code, sentence = operator.refused("owner", "rename", "ann", "robert")
    assert (code, "--merge" in sentence) == (4, True)
    assert owners_of(operator.services.database) == before
    done = operator.run("owner", "rename", "ann", "robert", "--merge")
    assert done.output == (
        "Moved to robert: tasks 1, uploads 1, form answers 1, api keys 1, grants 1, shares 1, browser sessions 1, "
        "task events 3, webhook endpoints 1, report owners 1.\n"
    )
    assert all(set(names) == {"robert"} for names in owners_of(operator.services.database).values())
    with operator.services.database.read() as session:
        assert session.get_one(OwnerLimits, "robert").open_uploads == len("robert")
        assert session.get_one(FormAnswer, ("robert", "key-1")).task_id == "task-of-robert"
        assert session.get_one(FormAnswer, ("robert", "key-2")).task_id == "of-ann"
        assert session.get_one(ReportOwners, ("robert", "2026-11-01", "succeeded", "")).uploads == 2


def test_limits_move_with_a_name_and_not_into_another(operator: Operator) -> None:
    """A new name takes the limits over; an owner who is there already keeps their own, or none."""
    add_everything(operator, "ann")
    operator.run("owner", "rename", "ann", "anna")
    with operator.services.database.read() as session:
        assert session.get_one(OwnerLimits, "anna").open_uploads == len("ann")
    register_task(operator.services, "a.mp4", owner="bob")
    operator.run("owner", "rename", "anna", "bob", "--merge")
    with operator.services.database.read() as session:
        assert session.get(OwnerLimits, "bob") is None
        assert session.get(OwnerLimits, "anna") is None


def test_a_rename_beside_traffic_loses_nothing(operator: Operator) -> None:
    """While uploads are created and completed, every row ends under one of the two names, and none is locked out."""
    stop = threading.Event()
    errors: list[Exception] = []

    def work() -> None:
        while not stop.is_set():
            try:
                register_task(operator.services, "a.mp4", "b.mp4", owner="ann")
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(20):
        old, new = ("ann", "anna") if number % 2 == 0 else ("anna", "ann")
        operator.run("owner", "rename", old, new, "--merge")
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert operator.run("owner", "rename", "ann", "anna", "--merge").exit_code in (0, 3)
    found = owners_of(operator.services.database)
    assert set(found["uploads"]) == set(found["tasks"]) == {"anna"}


@pytest.mark.acceptance
def test_limits_hold_in_every_process_of_a_running_server(start_server: StartServer, database_url: str) -> None:
    """Set by a command, they are in force within five seconds, and so is their end."""
    server = start_server(database_url=database_url, workers=2, scheduler="none")

    def statuses() -> set[int]:
        """Of requests that go to both processes."""
        return {server.http.post(f"{server.url}{MOUNT}", headers=creation(1000) | CLOSE).status_code for _ in range(12)}

    assert statuses() == {201}
    done = server.run("owners", "set", "default", "--stored-bytes", "999", "--json")
    assert (done.returncode, json.loads(done.stdout)["limits"]["stored_bytes"]) == (0, 999), done.stderr
    until(lambda: statuses() == {413}, what="every process refuses", seconds=5)
    assert server.run("owners", "set", "default", "--stored-bytes", "none").returncode == 0
    until(lambda: statuses() == {201}, what="no process refuses", seconds=5)
    assert server.run("owner", "rename", "default", "ann").returncode == 0
    assert {row["owner"] for row in query(server.database_url, "SELECT owner FROM uploads")} == {"ann"}


CLOSE = {"Connection": "close"}
