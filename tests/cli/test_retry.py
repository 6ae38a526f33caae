"""`videodock tasks` and `videodock uploads`: what they show, what they change, what they refuse, on both databases."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import update

from server.bootstrap import Services
from server.cli import actions, output
from server.cli.actions import RefusedError
from server.cli.main import main
from server.cli.tasks import add_to
from server.database import migration
from server.database.models import DEFAULT_OWNER, Task, TaskFile, Upload
from server.database.session import changed
from server.errors import StepError
from server.lifecycle import FILE_MOVES, STEP_MOVES, TASK_MOVES, TASK_RETRIES, TaskStatus, UploadStatus, ends
from server.settings import Settings
from server.tasks import queue
from server.worker import runner
from server.worker.runner import Attempt, claim_next
from tests.conftest import StartServer
from tests.harness.gate import Gate
from tests.harness.http import Connection
from tests.harness.multipart import curl
from tests.harness.rows import execute, query
from tests.harness.server_process import ServerProcess
from tests.harness.steps import FakeStep, failing
from tests.harness.tasks import finish, follow
from tests.harness.waiting import PATIENCE, until
from tests.samples import make
from tests.tus.client import FTYP, VERSION, creation, patch_request, video

BAD = FTYP + b"nothing that could be played"


@dataclass
class Operator:
    """The commands in this process, on a database and a data folder of their own."""

    services: Services
    group: click.Group

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(self.group, arguments, prog_name="videodock")

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.output)

    def refused(self, *arguments: str) -> tuple[int, str]:
        """Exit code and the sentence; nothing else is printed."""
        done = self.run(*arguments)
        assert (done.stdout, done.stderr.count("\n")) == ("", 1), done.output
        return done.exit_code, done.stderr.strip()

    def change(self, statement: Any) -> None:
        with self.services.database.write() as session:
            assert changed(session, statement)

    def kinds(self, task_id: str) -> list[str]:
        return [event["type"] for event in self.json("tasks", "show", task_id)["events"]]


@pytest.fixture
def operator(tmp_path: Path, database_url: str) -> Iterator[Operator]:
    migration.upgrade(database_url)
    settings = Settings(data_dir=tmp_path / "data", database_url=database_url, task_max_attempts=2, fsync="never")
    group = click.Group("videodock")
    add_to(group, lambda command: command, lambda _: settings)
    with Services.open(settings) as services:
        services.claim_store()
        yield Operator(services, group)


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The steps of this test, in place of the real ones."""
    return lambda *steps: monkeypatch.setattr(runner, "STEPS", steps)


def registered(services: Services, *names: str, protocol: str = "tus", owner: str = DEFAULT_OWNER) -> str:
    """A task of files of these names, that waits; of one file it has the upload's id."""
    ids = [services.uploads.new_id() for _ in names]
    task_id = ids[0] if len(ids) == 1 else services.uploads.new_id()
    kind = protocol if len(ids) == 1 else "multipart"
    told: dict[str, Any] = {"protocol": kind, "task_id": task_id, "length": 5, "metadata_raw": None}
    for upload_id, name in zip(ids, names, strict=True):
        services.uploads.insert(upload_id, owner, filename=name, **told)
        services.store.local_path(upload_id).write_bytes(b"12345")
        services.store.finish(upload_id)
    services.uploads.complete(ids, task_id, dict.fromkeys(ids, "mp4"))
    return task_id


def attempt(services: Services) -> bool:
    """One attempt at whatever can be claimed; whether there was something."""
    claimed = claim_next(services, "test/1")
    if claimed:
        Attempt(services, claimed, "").run()
    return claimed is not None


def failed(operator: Operator, put: Callable[..., None], *names: str) -> str:
    """A task all of whose files have failed at their first step."""
    put(FakeStep("probe", failing(*[StepError("not_playable") for _ in names])), FakeStep("poster"))
    task_id = registered(operator.services, *names)
    assert attempt(operator.services)
    return task_id


# What is shown


def test_a_list_is_filtered_and_limited(operator: Operator) -> None:
    """The newest first; by status, by owner, at most so many, 0 for all; in JSON every column."""
    services = operator.services
    tasks = [registered(services, "a.mp4", owner=owner) for owner in ("ann", "bob", "ann")]
    actions.cancel(services.database, tasks[0])
    told = operator.json("tasks", "list")
    assert [task["id"] for task in told] == tasks[::-1]
    assert told[0].keys() == set(Task.__table__.columns.keys())
    assert told[0]["created_at"].endswith("Z")
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


def test_tables_and_pages(operator: Operator, put: Callable[..., None]) -> None:
    """A table has a line a row, with the sentence of a failure; a task shows its files, steps and events."""
    task_id = failed(operator, put, "holiday.mp4")
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
    waiting = operator.services.uploads.new_id()
    told: dict[str, Any] = {"protocol": "tus", "task_id": waiting, "length": 5, "metadata_raw": None}
    operator.services.uploads.insert(waiting, DEFAULT_OWNER, filename="a.mp4", **told)
    assert "expires_at" in operator.run("uploads", "show", waiting).output


def test_a_table_is_cut_at_the_terminal() -> None:
    """Ideographs take two columns; the last column is cut, and not without a terminal."""
    rows = [("a", 1, "假期视频.mp4"), ("bbb", 22, "x")]
    assert output.table(("N", "NUMBER", "NAME"), rows) == (
        "N    NUMBER  NAME\na         1  假期视频.mp4\nbbb      22  x"
    )
    assert output.table(("N", "NUMBER", "NAME"), rows, 18).splitlines()[1] == "a         1  假期…"


def test_a_name_cannot_write_on_the_terminal(operator: Operator) -> None:
    """Escape sequences and overrides that stand in a row are shown as `?`, and escaped in JSON."""
    name = "\x1b[2J\u202egpj.mp4"
    task_id = registered(operator.services, "a.mp4")
    operator.change(update(Upload).where(Upload.id == task_id).values(filename=name))
    operator.change(update(TaskFile).where(TaskFile.upload_id == task_id).values(name=name))
    for command in (("tasks", "show", task_id), ("uploads", "list"), ("uploads", "show", task_id)):
        output = operator.run(*command).output
        assert "?[2J?gpj.mp4" in output
        assert "\x1b" not in output
        assert "\x1b" not in operator.run(*command, "--json").output
    assert operator.json("uploads", "show", task_id)["filename"] == name


# Retry


def test_retry_of_a_failed_task(operator: Operator, put: Callable[..., None]) -> None:
    """Back to uploaded, as new: failures 0, steps waiting, one event; a worker takes it, and it completes."""
    services = operator.services
    task_id = failed(operator, put, "a.mp4")
    before = operator.json("tasks", "show", task_id)
    assert (before["status"], before["error_code"]) == ("error", "not_playable")
    done = operator.run("tasks", "retry", task_id)
    assert (done.exit_code, done.output) == (0, "Waits again: a.mp4.\n")
    told = operator.json("tasks", "show", task_id)
    expected = {
        "status": "uploaded",
        "progress": 0,
        "failures": 0,
        "error_code": None,
        "finished_at": None,
        "step": None,
    }
    assert expected.items() <= told.items()
    assert (told["attempt"], told["started_at"]) == (before["attempt"], before["started_at"])
    (file,) = told["files"]
    assert {"status": "waiting", "progress": 0, "error_code": None}.items() <= file.items()
    fresh = {"status": "waiting", "progress": 0, "failures": 0, "error_code": None, "finished_at": None}
    assert all(fresh.items() <= step.items() for step in file["steps"])
    assert attempt(services)
    assert operator.json("tasks", "show", task_id)["status"] == "completed"
    assert operator.kinds(task_id)[-6:] == [
        "file_error",
        "error",
        "retried",
        "processing",
        "file_completed",
        "completed",
    ]


def test_retry_of_a_task_that_completed_in_part(operator: Operator, put: Callable[..., None]) -> None:
    """Only what failed is done again: not the other file, and not the failed file's step that had come to its end."""
    services = operator.services
    probe = FakeStep("probe", lambda _: {"playable": True})
    mp4 = FakeStep("mp4", failing(StepError("transcode_failed")))
    poster = FakeStep("poster")
    put(probe, mp4, poster)
    task_id = registered(services, "bad.mp4", "good.mp4")
    assert attempt(services)
    before = operator.json("tasks", "show", task_id)
    assert (before["status"], before["partial"], before["progress"]) == ("completed", True, 100)
    assert (len(probe.calls), len(mp4.calls), len(poster.calls)) == (2, 2, 1)
    assert "Some of its files failed" in operator.run("tasks", "list").output
    assert operator.run("tasks", "retry", task_id).output == "Waits again: bad.mp4.\n"
    told = operator.json("tasks", "show", task_id)
    assert (told["status"], told["partial"], told["progress"]) == ("uploaded", False, 50)
    bad, good = told["files"]
    assert [step["status"] for step in bad["steps"]] == ["completed", "waiting", "waiting"]
    assert good == before["files"][1]
    assert attempt(services)
    told = operator.json("tasks", "show", task_id)
    assert (told["status"], told["partial"], told["playable"]) == ("completed", False, True)
    assert (len(probe.calls), len(mp4.calls), len(poster.calls)) == (2, 3, 2)


def test_retry_of_a_task_that_was_given_up(operator: Operator, put: Callable[..., None]) -> None:
    """A task whose workers crashed too often has all its tries again."""
    services = operator.services
    put(FakeStep("probe"))
    task_id = registered(services, "a.mp4")
    operator.change(update(Task).where(Task.id == task_id).values(failures=2))
    assert claim_next(services, "test/1") is None
    assert operator.json("tasks", "show", task_id)["error_code"] == "too_many_attempts"
    assert operator.run("tasks", "retry", task_id).exit_code == 0
    assert attempt(services)
    assert operator.json("tasks", "show", task_id)["status"] == "completed"


def test_files_without_an_original_stay_failed(operator: Operator, put: Callable[..., None]) -> None:
    """What is gone or infected is named and left; when nothing else is there the retry is refused, changing nothing."""
    services = operator.services
    task_id = failed(operator, put, "a.mp4", "b.mp4", "c.mp4")
    files = operator.json("tasks", "show", task_id)["files"]
    services.store.local_path(files[0]["upload_id"]).unlink()
    operator.change(update(TaskFile).where(TaskFile.id == files[1]["id"]).values(scan="infected"))
    done = operator.run("tasks", "retry", task_id)
    assert done.output == "Waits again: c.mp4.\nIts original is gone, so it stays failed: a.mp4, b.mp4.\n"
    assert attempt(services)
    told = operator.json("tasks", "show", task_id)
    assert (told["status"], told["partial"], [file["status"] for file in told["files"]]) == (
        "completed",
        True,
        ["error", "error", "completed"],
    )
    assert operator.refused("tasks", "retry", task_id) == (4, "The original is gone: a.mp4, b.mp4.")
    services.uploads.delete_bytes(files[1]["upload_id"])
    operator.change(update(TaskFile).where(TaskFile.id == files[0]["id"]).values(scan="infected"))
    sentence = "A virus was found in it; the original is in quarantine."
    assert operator.refused("tasks", "retry", task_id) == (4, sentence)
    assert operator.json("tasks", "show", task_id)["updated_at"] == told["updated_at"]


def test_what_cannot_be_tried_again(operator: Operator, put: Callable[..., None]) -> None:
    """A task that waits, runs, has nothing failed or belongs elsewhere is left as it is."""
    services = operator.services
    put(FakeStep("probe"))
    task_id = registered(services, "a.mp4")
    assert operator.refused("tasks", "retry", task_id) == (4, "The task is not over: its status is `uploaded`.")
    claimed = claim_next(services, "test/1")
    assert claimed is not None
    assert operator.refused("tasks", "retry", task_id) == (4, "The task is not over: its status is `processing`.")
    Attempt(services, claimed, "").run()
    assert operator.refused("tasks", "retry", task_id) == (4, "None of its files has failed or was cancelled.")
    elsewhere = failed(operator, put, "a.mp4")
    operator.change(update(Task).where(Task.id == elsewhere).values(node="another"))
    code, sentence = operator.refused("tasks", "retry", elsewhere)
    assert (code, "another data folder" in sentence) == (4, True)
    assert [operator.kinds(one).count("retried") for one in (task_id, elsewhere)] == [0, 0]


@pytest.mark.parametrize("started", [False, True])
def test_a_cancelled_task_is_tried_again(operator: Operator, put: Callable[..., None], started: bool) -> None:
    """What was cancelled, before or after a worker took it, waits again, and comes to its end."""
    services = operator.services
    put(FakeStep("probe"))
    task_id = registered(services, "a.mp4")
    claimed = claim_next(services, "test/1") if started else None
    assert operator.run("tasks", "cancel", task_id).exit_code == 0
    assert operator.json("tasks", "show", task_id)["status"] == "cancelled"
    assert operator.run("tasks", "retry", task_id).output == "Waits again: a.mp4.\n"
    if claimed is not None:
        Attempt(services, claimed, "").run()  # the worker of before has nothing to say
    told = operator.json("tasks", "show", task_id)
    assert (told["status"], [file["status"] for file in told["files"]]) == ("uploaded", ["waiting"])
    assert attempt(services)
    assert operator.json("tasks", "show", task_id)["status"] == "completed"
    assert operator.kinds(task_id).count("retried") == 1


def test_a_worker_of_before_the_retry_has_nothing_to_say(operator: Operator, put: Callable[..., None]) -> None:
    """Whoever worked on the task before it failed writes into nothing, before and after it is claimed again."""
    services = operator.services
    put(FakeStep("probe"))
    task_id = registered(services, "a.mp4")
    slow = claim_next(services, "test/slow")
    assert slow is not None
    now = services.uploads.clock()
    with services.database.write() as session:
        queue.expire_leases(session, "test/slow", now=now)
        changed(session, update(Task).values(failures=2))
    assert claim_next(services, "test/2") is None  # given up
    actions.retry(services, task_id)
    with services.database.write() as session:
        assert queue.finish(session, slow, now=now) is None
    assert claim_next(services, "test/3") is not None
    with services.database.write() as session:
        assert not queue.update_claimed(session, slow, {"progress": 77})
    assert operator.json("tasks", "show", task_id)["status"] == "processing"


def test_a_retry_is_the_operators_move_alone() -> None:
    """For workers, clients and sweeps the ends are the ends they were, for tasks, files and steps."""
    assert set(TASK_RETRIES) == set(ends(TASK_MOVES)) - {TaskStatus.REMOVED}  # of which nothing is left
    assert TaskStatus.CANCELLED in TASK_RETRIES
    assert len(ends(TASK_MOVES)) == len(ends(FILE_MOVES)) == len(ends(STEP_MOVES)) + 1 == 4


def test_a_retry_and_a_removal_at_once(operator: Operator, put: Callable[..., None]) -> None:
    """The removal wins, whichever comes first: original and task are gone, and no worker gets it."""
    services = operator.services

    def both(task_id: str) -> None:
        barrier = threading.Barrier(2)

        def attempted(move: Callable[[Services, str], object]) -> bool:
            barrier.wait(PATIENCE)
            try:
                move(services, task_id)
            except RefusedError:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            won = list(pool.map(attempted, (actions.retry, actions.terminate)))
        task, upload = operator.json("tasks", "show", task_id), operator.json("uploads", "show", task_id)
        assert won[1]
        assert (task["status"], upload["status"]) == ("removed", "terminated")
        assert services.store.size(task_id) is None
        assert operator.kinds(task_id).count("retried") == won[0]
        assert claim_next(services, "test/1") is None

    for task_id in [failed(operator, put, "a.mp4") for _ in range(6)]:
        both(task_id)


# Cancel and terminate


def test_cancel(operator: Operator, put: Callable[..., None]) -> None:
    """Whoever owns it, and twice if need be; a task that has ended is refused."""
    task_id = registered(operator.services, "a.mp4", owner="ann")
    for _ in range(2):
        assert operator.run("tasks", "cancel", task_id).output == "Cancelled.\n"
    assert operator.kinds(task_id) == ["uploaded", "cancelled"]
    ended = failed(operator, put, "a.mp4")
    assert operator.refused("tasks", "cancel", ended) == (4, "The task is over: its status is `error`.")


@pytest.mark.parametrize("protocol", ["tus", "multipart"])
def test_terminate_takes_the_task_with_it(operator: Operator, protocol: str) -> None:
    """While a task waits for its only upload that is removed, once, and so is the task; rows stay."""
    services = operator.services
    task_id = registered(services, "a.mp4", protocol=protocol)
    assert operator.run("uploads", "terminate", task_id).output == "Terminated.\n"
    assert services.store.size(task_id) is None
    told = operator.json("uploads", "show", task_id)
    assert (told["status"], told["has_bytes"], told["received"]) == ("terminated", False, 5)
    gone = "The upload is gone: its status is `terminated`."
    assert operator.refused("uploads", "terminate", task_id) == (4, gone)
    assert operator.json("tasks", "show", task_id)["status"] == "removed"


@pytest.mark.parametrize("protocol", ["tus", "multipart"])
def test_delete(operator: Operator, put: Callable[..., None], protocol: str) -> None:
    """Whoever owns it, waiting or ended, and twice if need be; afterwards it is neither cancelled nor retried."""
    waiting = registered(operator.services, "a.mp4", owner="ann", protocol=protocol)
    for task_id in (waiting, failed(operator, put, "a.mp4")):
        for _ in range(2):
            assert operator.run("tasks", "delete", task_id).output == "Deleted.\n"
        assert operator.services.store.size(task_id) is None
        over = "The task is over: its status is `removed`."
        assert operator.refused("tasks", "cancel", task_id) == (4, over)
        assert operator.refused("tasks", "retry", task_id)[0] == 4
        assert operator.kinds(task_id)[-1] == "removed"


def test_delete_of_what_lies_elsewhere(operator: Operator) -> None:
    """A task of another data folder is refused, and nothing is changed."""
    task_id = registered(operator.services, "a.mp4")
    execute(operator.services.settings.sqlalchemy_url, "UPDATE tasks SET node = 'elsewhere'")
    code, sentence = operator.refused("tasks", "delete", task_id)
    assert (code, sentence) == (4, "The task belongs to another data folder; name that one with --data-dir.")
    assert operator.services.store.size(task_id) == 5
    assert operator.json("tasks", "show", task_id)["status"] == "uploaded"


def test_a_removal_that_was_cut_short_is_ended_by_the_sweep(operator: Operator) -> None:
    """Killed between row and file, a file of a form goes with the next sweep; the row of its task's file stays."""
    services = operator.services
    task_id = registered(services, "a.mp4", protocol="multipart")
    actions.cancel(services.database, task_id)
    operator.change(update(Upload).where(Upload.id == task_id).values(status=UploadStatus.TERMINATED))
    report = services.sweep()
    assert (report.removed, report.failed) == (1, 0)
    assert services.store.size(task_id) is None
    assert operator.json("uploads", "show", task_id)["has_bytes"] is False


def test_bytes_that_lie_elsewhere_are_not_forgotten(operator: Operator) -> None:
    """An upload whose bytes are not in this data folder stays, and so does one that a form is bringing."""
    services = operator.services
    task_id = registered(services, "a.mp4")
    actions.cancel(services.database, task_id)
    services.store.local_path(task_id).unlink()
    code, sentence = operator.refused("uploads", "terminate", task_id)
    assert (code, "--data-dir" in sentence) == (4, True)
    assert operator.json("uploads", "show", task_id)["status"] == "complete"
    form = services.uploads.new_id()
    told: dict[str, Any] = {"protocol": "multipart", "length": None, "metadata_raw": None, "filename": "a.mp4"}
    services.uploads.insert(form, DEFAULT_OWNER, task_id=services.uploads.new_id(), **told)
    code, sentence = operator.refused("uploads", "terminate", form)
    assert (code, "form" in sentence) == (4, True)


@pytest.mark.parametrize(
    "command", ["tasks show", "tasks retry", "tasks cancel", "tasks delete", "uploads show", "uploads terminate"]
)
def test_an_unknown_id_is_exit_3(operator: Operator, command: str) -> None:
    """An id of nobody, and what is no id at all."""
    kind = command.partition("s ")[0]
    for unknown in ("00000000-0000-4000-8000-000000000000", "../etc/passwd", "\udcff"):
        code, sentence = operator.refused(*command.split(), unknown)
        assert (code, sentence.startswith(f"There is no {kind} ")) == (3, True)


# As processes, beside a server


def test_help_has_the_commands() -> None:
    """videodock --help names both groups, and each group its commands."""
    shown = CliRunner().invoke(main, ["--help"]).output
    assert "\n  tasks     List and show tasks; retry, cancel or delete one.\n" in shown
    assert "\n  uploads   List and show uploads; terminate one.\n" in shown
    for group, commands in (
        ("tasks", ("list", "show", "retry", "cancel", "delete")),
        ("uploads", ("list", "show", "terminate")),
    ):
        output = CliRunner().invoke(main, [group, "--help"]).output
        assert all(f"\n  {command} " in output for command in commands)


def test_without_a_database_nothing_is_made(tmp_path: Path) -> None:
    """A data folder that is none, and a database that is not migrated, are one sentence and exit 1."""
    nobody = ServerProcess(tmp_path / "nobody")
    some_id = "00000000-0000-4000-8000-000000000000"
    for command in (("tasks", "list"), ("tasks", "retry", some_id), ("uploads", "terminate", some_id)):
        done = nobody.run(*command)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
        assert "--data-dir" in done.stderr
    assert not nobody.data_dir.exists()
    nobody.http.close()


@pytest.mark.acceptance
def test_a_failed_task_is_tried_again_by_the_running_server(
    start_server: StartServer, database_url: str, tmp_path: Path
) -> None:
    """The server beside which the command runs takes the task up: the repaired original completes."""
    server = start_server(database_url=database_url)
    bad = tmp_path / "holiday.mp4"
    bad.write_bytes(BAD)
    task_id = upload(server, bad)
    assert follow(server, task_id)[-1]["status"] == "error"
    (file,) = json.loads(server.run("tasks", "show", task_id, "--json").stdout)["files"]
    server.stored(file["upload_id"]).write_bytes(make(tmp_path, "good.mp4").read_bytes())
    done = server.run("tasks", "retry", task_id)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Waits again: holiday.mp4.\n", "")
    finish(server, task_id)
    listed = server.run("tasks", "list", "--status", "completed")
    assert listed.stdout.splitlines()[1].startswith(task_id)


@pytest.mark.acceptance
def test_a_running_task_is_cancelled_and_its_upload_terminated(
    start_server: StartServer, database_url: str, gate: Gate, tmp_path: Path
) -> None:
    """First the refusal, then the cancel stops FFmpeg, and then the upload goes; the server goes on."""
    server = start_server(database_url=database_url, ffmpeg=gate.path)
    video = make(tmp_path, "clip.mp4")
    task_id = upload(server, video)
    until(gate.waiting, seconds=20, what="the task is being processed")
    (file,) = json.loads(server.run("tasks", "show", task_id, "--json").stdout)["files"]
    refused = server.run("tasks", "retry", task_id)
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (4, "", 1), refused.stderr
    assert server.run("tasks", "cancel", task_id).returncode == 0
    assert server.status(task_id)["status"] == "cancelled"
    until(lambda: not gate.waiting(), seconds=10, what="FFmpeg has ended")
    assert server.run("uploads", "terminate", file["upload_id"]).returncode == 0
    assert server.stored_files() == []
    gate.open()
    finish(server, upload(server, video))


@pytest.mark.acceptance
def test_an_upload_is_terminated_under_its_senders_hands(start_server: StartServer, database_url: str) -> None:
    """A body that is being received is told to let go; no byte and no open upload stays, and its client hears of it."""
    server = start_server(database_url=database_url)
    body, half = video(1 << 20), 1 << 19
    url = server.http.post(f"{server.url}/files", headers=creation(len(body))).headers["Location"]
    upload_id = url.rpartition("/")[2]
    stored = server.stored(upload_id)
    with Connection(server.port) as sender:
        sender.send(patch_request(upload_id, 0, body[:half], length=len(body)))
        until(lambda: stored.stat().st_size == half, seconds=20, what="half of it is there")
        done = server.run("uploads", "terminate", upload_id)
        assert (done.returncode, done.stdout, done.stderr) == (0, "Terminated.\n", "")
        assert sender.answer().status == 423
    assert server.stored_files() == []
    assert server.http.head(url, headers=VERSION).status_code == 410
    rows = query(database_url, "SELECT status, received FROM uploads")
    assert rows == [{"status": "terminated", "received": half}]


def upload(server: ServerProcess, *videos: Path) -> str:
    """By one form; the task's id."""
    status, answer = curl(server.url, videos)
    assert status == 200, answer
    return str(answer["task_id"])
