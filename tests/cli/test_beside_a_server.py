"""The commands as processes: their help, without a database, and beside a running server."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from server.cli.main import main
from tests.conftest import StartServer
from tests.harness.gate import Gate
from tests.harness.http import Connection
from tests.harness.multipart import curl
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.tasks import finish, follow
from tests.harness.waiting import until
from tests.samples import make
from tests.tus.client import FTYP, VERSION, creation, patch_request, video

BAD = FTYP + b"nothing that could be played"


def test_help_has_the_commands() -> None:
    """videodock --help names both groups, and each group its commands."""
    shown = CliRunner().invoke(main, ["--help"]).output
    assert re.search(r"\n  tasks +List and show tasks; retry, cancel or delete one\.\n", shown)
    assert re.search(r"\n  uploads +List and show uploads; terminate one\.\n", shown)
    for group, commands in (
        ("tasks", ("list", "show", "retry", "cancel", "delete")),
        ("uploads", ("list", "show", "terminate")),
    ):
        output = CliRunner().invoke(main, [group, "--help"]).output
        assert all(f"\n  {command} " in output for command in commands)


def test_without_a_database_nothing_is_created(tmp_path: Path) -> None:
    """A data folder that is none, and a database that is not migrated, are one sentence and exit 1."""
    missing = ServerProcess(tmp_path / "missing")
    some_id = "00000000-0000-4000-8000-000000000000"
    for command in (("tasks", "list"), ("tasks", "retry", some_id), ("uploads", "terminate", some_id)):
        done = missing.run(*command)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
        assert "--data-dir" in done.stderr
    assert not missing.data_dir.exists()
    missing.http.close()


@pytest.mark.sampled(1)
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


@pytest.mark.sampled(1)
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


@pytest.mark.sampled(1)
@pytest.mark.acceptance
def test_an_upload_is_terminated_while_its_client_sends(start_server: StartServer, database_url: str) -> None:
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
