"""Cancelling, while a task waits, while it is processed, and when it is too late."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.harness import processes
from tests.harness.gate import Gate
from tests.harness.multipart import curl
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.tasks import finish, follow
from tests.harness.waiting import Stopwatch, until, within
from tests.samples import make

pytestmark = pytest.mark.acceptance

CANCELLED = {"success": True, "message": "任务已取消"}


def upload(server: ServerProcess, *videos: Path) -> str:
    status, answer = curl(server.url, videos)
    assert status == 200, answer
    return str(answer["task_id"])


def cancel(server: ServerProcess, task: str, language: str = "") -> tuple[int, dict[str, Any]]:
    response = server.http.post(
        f"{server.url}/api/task/cancel/{task}", headers={"Accept-Language": language} if language else {}
    )
    return response.status_code, response.json()


def check_cancelled(server: ServerProcess, task: str) -> None:
    """The status, the files and the history of a cancelled task."""
    status = server.status(task)
    assert (status["status"], status["message"]) == ("cancelled", "任务已取消"), status
    assert {file["status"] for file in status["files"]} == {"cancelled"}, status
    assert all(file["poster_url"] is None for file in status["files"])
    events = query(
        server.database_url, "SELECT type FROM task_events WHERE task_id = :task AND upload_id IS NULL", task=task
    )
    types = [row["type"] for row in events]
    assert types.count("cancelled") == 1, types
    assert "completed" not in types, types


def test_a_cancel_of_a_waiting_task_counts_at_once(
    start_server: StartServer, database_url: str, tmp_path: Path
) -> None:
    """Without a worker the cancel counts at once; a second one is 200 as well, in the reader's language."""
    server = start_server(database_url=database_url, scheduler="none")
    task = upload(server, make(tmp_path, "clip.mp4"))
    assert server.status(task)["status"] == "uploaded"
    assert cancel(server, task) == (200, CANCELLED)
    check_cancelled(server, task)
    assert cancel(server, task) == (200, CANCELLED)
    assert cancel(server, task, "en") == (200, {"success": True, "message": "Task cancelled"})
    check_cancelled(server, task)


def test_a_cancelled_waiting_task_is_never_started(start_server: StartServer, gate: Gate, tmp_path: Path) -> None:
    """With one encode at a time the second task waits; cancelled, it is never begun, and the first completes."""
    server = start_server(ffmpeg=gate.path, encode_limit=1)
    video = make(tmp_path, "clip.mp4")
    busy = upload(server, video)
    until(gate.waiting, seconds=20, what="the first task is being processed")
    waiting = upload(server, video)
    assert server.status(waiting)["status"] == "uploaded"
    assert cancel(server, waiting) == (200, CANCELLED)
    check_cancelled(server, waiting)
    gate.open()
    finish(server, busy)
    # The next task shows that the scheduler has looked again since.
    finish(server, upload(server, video))
    check_cancelled(server, waiting)
    rows = query(server.database_url, "SELECT attempt FROM tasks WHERE id = :task", task=waiting)
    assert rows == [{"attempt": 0}], "a cancelled task was begun"


@pytest.mark.sampled(1)
def test_a_cancel_stops_a_running_task_within_two_seconds(
    start_server: StartServer, database_url: str, gate: Gate, tmp_path: Path
) -> None:
    """The status is cancelled from the answer on, the step's processes are gone within 2 s, no poster appears."""
    server = start_server(database_url=database_url, ffmpeg=gate.path)
    videos = [make(tmp_path, "one.mp4"), make(tmp_path, "two.mp4")]
    task = upload(server, *videos)
    (step, *_) = until(gate.waiting, seconds=20, what="a step runs")
    seen = follow(server, task, until={"processing"})[-1]
    assert seen["message"] == "正在处理第 1/2 个视频...", seen
    assert [file["status"] for file in seen["files"]] == ["processing", "waiting"]
    family = [process for process in server.children() if process.session == step.session]
    assert step.pid in {process.pid for process in family}
    assert step.session != processes.session_of(server.pid), "a step has a session of its own"

    assert cancel(server, task) == (200, CANCELLED)
    accepted = Stopwatch()
    check_cancelled(server, task)
    within(lambda: not processes.still_alive(family), seconds=2, what=f"the step's processes are gone: {family}")
    assert accepted.seconds < 3
    gate.open()
    finish(server, upload(server, videos[0]))
    check_cancelled(server, task)
    assert cancel(server, task) == (200, CANCELLED)


def test_a_cancel_of_an_ended_task_is_409(server: ServerProcess, tmp_path: Path) -> None:
    """Completed or failed, it is a 409 with the documented fields, and nothing changes."""
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + bytes(5000))
    for video, end in ((make(tmp_path, "clip.mp4"), "completed"), (broken, "error")):
        task = upload(server, video)
        before = follow(server, task, until={end})[-1]
        status, answer = cancel(server, task)
        assert status == 409, answer
        assert (answer["success"], answer["code"], answer["invalid_files"]) == (False, "task_ended", None)
        assert answer["message"] == "任务已结束，无法取消"
        assert server.status(task) == before
