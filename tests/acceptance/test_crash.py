"""A server that dies in the middle of its work."""

from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.harness.arrival import check_events, check_processed, check_stored
from tests.harness.gate import Gate
from tests.harness.multipart import curl
from tests.harness.rows import query
from tests.harness.tasks import finish, follow
from tests.harness.waiting import until
from tests.samples import make

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # ways in which a server ends


@pytest.mark.sampled(1)
@pytest.mark.turns(1)
def test_a_task_completes_after_its_server_was_killed(
    start_server: StartServer, database_url: str, gate: Gate, tmp_path: Path
) -> None:
    """Killed while processing and restarted, the task completes, once, in its second attempt."""
    server = start_server(database_url=database_url, ffmpeg=gate.path, task_lease=3)
    videos = [make(tmp_path, "one.mp4"), make(tmp_path, "two.mp4")]
    _, answer = curl(server.url, videos)
    task = answer["task_id"]
    before = follow(server, task, until={"processing"})[-1]
    until(gate.waiting, seconds=20, what="a step runs")
    server.kill()
    server.check_no_processes(seconds=5)
    gate.open()
    server.start()
    after = finish(server, task)
    assert after["created_at"] == before["created_at"]
    check_stored(server, task, videos)
    for file in after["files"]:
        check_processed(server, file)
    check_events(server, task)
    rows = query(server.database_url, "SELECT status, attempt FROM tasks WHERE id = :task", task=task)
    assert rows == [{"status": "completed", "attempt": 2}]


def test_a_waiting_task_is_processed_after_a_restart(start_server: StartServer, gate: Gate, tmp_path: Path) -> None:
    """A task that nobody had begun when the server was killed needs no second upload."""
    server = start_server(ffmpeg=gate.path, encode_limit=1, task_lease=3)
    video = make(tmp_path, "clip.mp4")
    _, first = curl(server.url, [video])
    until(gate.waiting, seconds=20, what="a step runs")
    _, second = curl(server.url, [video])
    assert server.status(second["task_id"])["status"] == "uploaded"
    server.kill()
    gate.open()
    server.start()
    for answer in (first, second):
        finish(server, answer["task_id"])
        check_events(server, answer["task_id"])


def test_a_task_completes_after_its_server_was_stopped(start_server: StartServer, gate: Gate, tmp_path: Path) -> None:
    """SIGTERM while processing ends the server cleanly and in time; the next one completes the task."""
    server = start_server(ffmpeg=gate.path, task_lease=3)
    _, answer = curl(server.url, [make(tmp_path, "clip.mp4")])
    until(gate.waiting, seconds=20, what="a step runs")
    server.stop()
    gate.open()
    server.start()
    finish(server, answer["task_id"])
    check_events(server, answer["task_id"])
