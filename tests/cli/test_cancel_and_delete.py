"""`tasks cancel`, `tasks delete` and `uploads terminate`: what they remove and refuse, on both databases."""

from typing import Any

import pytest
from sqlalchemy import update

from server.cli import actions
from server.database.models import DEFAULT_OWNER, Upload
from server.lifecycle import UploadStatus
from server.uploads.new_upload import NewUpload
from tests.cli.operator import Operator, SetSteps, failed_task, register_task
from tests.harness.rows import execute


@pytest.mark.sampled(1)
def test_a_waiting_task_is_cancelled_and_an_ended_one_is_not(operator: Operator, set_steps: SetSteps) -> None:
    """A task of any owner, and a second time without an error; for an ended task the command is refused."""
    task_id = register_task(operator.services, "a.mp4", owner="ann")
    for _ in range(2):
        assert operator.run("tasks", "cancel", task_id).output == "Cancelled.\n"
    assert operator.kinds(task_id) == ["uploaded", "cancelled"]
    ended = failed_task(operator, set_steps, "a.mp4")
    assert operator.refused("tasks", "cancel", ended) == (4, "The task is over: its status is `error`.")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("protocol", ["tus", "multipart"])
def test_terminating_its_only_upload_removes_a_waiting_task(operator: Operator, protocol: str) -> None:
    """The bytes go, upload and task are marked, and the rows stay; a second command is refused."""
    services = operator.services
    task_id = register_task(services, "a.mp4", protocol=protocol)
    assert operator.run("uploads", "terminate", task_id).output == "Terminated.\n"
    assert services.store.size(task_id) is None
    record = operator.json("uploads", "show", task_id)
    assert (record["status"], record["has_bytes"], record["received"]) == ("terminated", False, 5)
    gone = "The upload is gone: its status is `terminated`."
    assert operator.refused("uploads", "terminate", task_id) == (4, gone)
    assert operator.json("tasks", "show", task_id)["status"] == "removed"


@pytest.mark.sampled(2)
@pytest.mark.parametrize("protocol", ["tus", "multipart"])
def test_a_deleted_task_is_neither_cancelled_nor_retried(
    operator: Operator, set_steps: SetSteps, protocol: str
) -> None:
    """A task of any owner, waiting or ended, and a second time without an error."""
    waiting = register_task(operator.services, "a.mp4", owner="ann", protocol=protocol)
    for task_id in (waiting, failed_task(operator, set_steps, "a.mp4")):
        for _ in range(2):
            assert operator.run("tasks", "delete", task_id).output == "Deleted.\n"
        assert operator.services.store.size(task_id) is None
        over = "The task is over: its status is `removed`."
        assert operator.refused("tasks", "cancel", task_id) == (4, over)
        assert operator.refused("tasks", "retry", task_id)[0] == 4
        assert operator.kinds(task_id)[-1] == "removed"


def test_a_task_of_another_data_folder_is_not_deleted(operator: Operator) -> None:
    """The command is refused and changes nothing."""
    task_id = register_task(operator.services, "a.mp4")
    execute(operator.services.settings.sqlalchemy_url, "UPDATE tasks SET node = 'elsewhere'")
    code, sentence = operator.refused("tasks", "delete", task_id)
    assert (code, sentence) == (4, "The task belongs to another data folder; name that one with --data-dir.")
    assert operator.services.store.size(task_id) == 5
    assert operator.json("tasks", "show", task_id)["status"] == "uploaded"


def test_an_interrupted_removal_is_completed_by_the_sweep(operator: Operator) -> None:
    """Killed between row and file, a file of a form goes with the next sweep; the row of its task's file stays."""
    services = operator.services
    task_id = register_task(services, "a.mp4", protocol="multipart")
    actions.cancel(services.database, task_id)
    operator.change(update(Upload).where(Upload.id == task_id).values(status=UploadStatus.TERMINATED))
    report = services.sweep()
    assert (report.numbers["removed"], report.numbers["failed"]) == (1, 0)
    assert services.store.size(task_id) is None
    assert operator.json("uploads", "show", task_id)["has_bytes"] is False


def test_an_upload_without_bytes_here_is_not_terminated(operator: Operator) -> None:
    """An upload whose bytes are not in this data folder stays, and so does one that a form is bringing."""
    services = operator.services
    task_id = register_task(services, "a.mp4")
    actions.cancel(services.database, task_id)
    services.store.local_path(task_id).unlink()
    code, sentence = operator.refused("uploads", "terminate", task_id)
    assert (code, "--data-dir" in sentence) == (4, True)
    assert operator.json("uploads", "show", task_id)["status"] == "complete"
    form = services.new_id()
    record: dict[str, Any] = {"protocol": "multipart", "length": None, "filename": "a.mp4"}
    services.repository.insert(NewUpload(id=form, owner=DEFAULT_OWNER, task_id=services.new_id(), **record))
    code, sentence = operator.refused("uploads", "terminate", form)
    assert (code, "form" in sentence) == (4, True)


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    "command", ["tasks show", "tasks retry", "tasks cancel", "tasks delete", "uploads show", "uploads terminate"]
)
def test_an_unknown_id_is_exit_3(operator: Operator, command: str) -> None:
    """An id that no row has, and text that is not an id."""
    kind = command.partition("s ")[0]
    for unknown in ("00000000-0000-4000-8000-000000000000", "../etc/passwd", "\udcff"):
        code, sentence = operator.refused(*command.split(), unknown)
        assert (code, sentence.startswith(f"There is no {kind} ")) == (3, True)
