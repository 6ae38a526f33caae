"""What `tasks list`, `tasks show`, `uploads list` and `uploads show` print, on both databases."""

import re
from typing import Any

import pytest
from sqlalchemy import update

from server.cli import actions, output
from server.database.models import DEFAULT_OWNER, Task, TaskFile, Upload
from server.uploads.new_upload import NewUpload
from tests.cli.operator import Operator, SetSteps, failed_task, register_task


def test_a_list_is_filtered_and_limited(operator: Operator) -> None:
    """The newest first; by status, by owner, at most so many, 0 for all; in JSON every column."""
    services = operator.services
    tasks = [register_task(services, "a.mp4", owner=owner) for owner in ("ann", "bob", "ann")]
    actions.cancel(services.database, tasks[0])
    shown = operator.json("tasks", "list")
    assert [task["id"] for task in shown] == tasks[::-1]
    assert shown[0].keys() == set(Task.__table__.columns.keys())
    assert shown[0]["created_at"].endswith("Z")
    cases = {
        ("--owner", "ann"): {tasks[0], tasks[2]},
        ("--owner", "nobody"): set(),
        ("--status", "cancelled"): {tasks[0]},
        ("--status", "cancelled", "--status", "uploaded"): set(tasks),
        ("--status", "uploaded", "--owner", "bob"): {tasks[1]},
        ("--limit", "1"): {tasks[2]},
        ("--limit", "0"): set(tasks),
    }
    for filters, expected in cases.items():
        assert {task["id"] for task in operator.json("tasks", "list", *filters)} == expected, filters
    uploads = operator.json("uploads", "list", "--status", "complete", "--owner", "bob")
    assert [upload["id"] for upload in uploads] == [tasks[1]]
    assert uploads[0].keys() == set(Upload.__table__.columns.keys())
    assert operator.run("tasks", "list", "--status", "error").output == "No tasks.\n"
    assert operator.run("tasks", "list", "--status", "open").exit_code == 2
    assert operator.run("uploads", "list", "--limit", "-1").exit_code == 2


@pytest.mark.sampled(1)
def test_a_list_has_a_line_per_row_and_show_has_every_fact(operator: Operator, set_steps: SetSteps) -> None:
    """A row of a table has the sentence of a failure; the page of a task has its files, steps and events."""
    task_id = failed_task(operator, set_steps, "holiday.mp4")
    lines = operator.run("tasks", "list").output.splitlines()
    assert lines[0].split() == ["ID", "STATUS", "%", "FILES", "CREATED", "(UTC)", "ENDED", "(UTC)", "OWNER", "REASON"]
    assert lines[1].startswith(f"{task_id}  error ")
    assert lines[1].endswith("  default  The file is not a playable video")
    page = operator.run("tasks", "show", task_id).output
    for part in ("holiday.mp4", "5 B", "probe", "skipped", "file_error", "not_playable"):
        assert part in page
    (file,) = operator.json("tasks", "show", task_id)["files"]
    assert [step["name"] for step in file["steps"]] == ["probe", "poster"]
    assert "holiday.mp4" in operator.run("uploads", "list").output
    assert operator.json("uploads", "show", task_id)["length"] == 5
    shown = operator.run("uploads", "show", task_id).output
    assert re.search(r"^status +complete$", shown, re.MULTILINE)
    assert "expires_at" not in shown
    assert operator.json("uploads", "show", task_id)["expires_at"]
    events = page[page.index("EVENT") :].splitlines()
    (line,) = [line for line in events if "file_error" in line]
    assert line.endswith("  file holiday.mp4; code not_playable")
    assert file["id"] not in "".join(events)
    assert operator.run("tasks", "retry", task_id).exit_code == 0
    assert "  files holiday.mp4" in operator.run("tasks", "show", task_id).output
    waiting = operator.services.new_id()
    values: dict[str, Any] = {"protocol": "tus", "task_id": waiting, "length": 5}
    operator.services.repository.insert(NewUpload(id=waiting, owner=DEFAULT_OWNER, filename="a.mp4", **values))
    assert "expires_at" in operator.run("uploads", "show", waiting).output


def test_a_table_is_cut_at_the_width_of_the_terminal() -> None:
    """Ideographs take two columns; the last column is cut, and not without a terminal."""
    rows = [("a", 1, "假期视频.mp4"), ("bbb", 22, "x")]
    assert output.table(("N", "NUMBER", "NAME"), rows) == (
        "N    NUMBER  NAME\na         1  假期视频.mp4\nbbb      22  x"
    )
    assert output.table(("N", "NUMBER", "NAME"), rows, 18).splitlines()[1] == "a         1  假期…"


def test_a_file_name_cannot_control_the_terminal(operator: Operator) -> None:
    """Escape sequences and overrides that stand in a row are shown as `?`, and escaped in JSON."""
    name = "\x1b[2J\u202egpj.mp4"
    task_id = register_task(operator.services, "a.mp4")
    operator.change(update(Upload).where(Upload.id == task_id).values(filename=name))
    operator.change(update(TaskFile).where(TaskFile.upload_id == task_id).values(name=name))
    for command in (("tasks", "show", task_id), ("uploads", "list"), ("uploads", "show", task_id)):
        output = operator.run(*command).output
        assert "?[2J?gpj.mp4" in output
        assert "\x1b" not in output
        assert "\x1b" not in operator.run(*command, "--json").output
    assert operator.json("uploads", "show", task_id)["filename"] == name
