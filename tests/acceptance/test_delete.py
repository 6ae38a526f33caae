"""Deleting a video and everything made of it: by tus, by the documented API, on the command line."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.harness import processes
from tests.harness.gate import Gate
from tests.harness.multipart import PATH, curl
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.tasks import check_status_shape, finish
from tests.harness.waiting import until, within
from tests.samples import make
from tests.tus.client import MOUNT, VERSION, creation, id_of, patch_headers, target
from tests.web.engine import ask

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # moments of a deletion


def upload(server: ServerProcess, video: Path) -> str:
    """One tus upload, which is a task of the same id then."""
    data = video.read_bytes()
    made = id_of(ask(server, "POST", MOUNT, creation(len(data))))
    assert ask(server, "PATCH", target(made), patch_headers(0), data).status == 204
    return made


def send(server: ServerProcess, *videos: Path) -> str:
    """One form."""
    status, answer = curl(server.url, videos)
    assert status == 200, answer
    return str(answer["task_id"])


def addresses(state: dict[str, Any]) -> list[str]:
    """Every address in a status."""
    keys = ("poster_url", "mp4_url", "hls_url", "storyboard_url")
    return [file[key] for file in state["files"] for key in keys if file[key]]


def check_deleted(server: ServerProcess, task: str, urls: list[str], language: str = "zh") -> dict[str, Any]:
    """The status says so in words that old clients know, no address answers, and nothing is on the disk."""
    answer = server.http.get(f"{server.url}/api/task/status/{task}", headers={"Accept-Language": language})
    state: dict[str, Any] = answer.json()
    check_status_shape(state, task)
    assert (state["status"], state["removed"], state["playable"]) == ("cancelled", True, False), state
    assert state["message"] == {"zh": "任务已删除", "en": "Task deleted"}[language]
    for file in state["files"]:
        assert (file["status"], file["error"]["code"], file["playable"]) == ("removed", "file_removed", False)
    assert addresses(state) == []
    assert {server.http.get(url).status_code for url in urls} <= {404}
    assert on_disk(server, task) == []
    checked = server.run("check")
    assert checked.returncode == 0, checked.stdout
    return state


def on_disk(server: ServerProcess, task: str) -> list[Path]:
    """What lies in the data folder of a task and its uploads."""
    rows = query(server.database_url, "SELECT id FROM uploads WHERE task_id = :id", id=task)
    names = [task, *(row["id"] for row in rows)]
    # Not by rglob, which raises when the server removes a folder meanwhile.
    return [
        Path(place, found)
        for place, folders, files in os.walk(server.data_dir)
        for found in (*folders, *files)
        if any(name in found for name in names)
    ]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make(tmp_path, "clip.mp4")


@pytest.mark.sampled(1)
def test_a_deleted_video_cannot_be_fetched(start_server: StartServer, database_url: str, clip: Path) -> None:
    """DELETE by tus: 204, then 410; its MP4 cannot be fetched any more, and reports still count it."""
    server = start_server(database_url=database_url, transcode="both", downloads="on")
    task = upload(server, clip)
    urls = addresses(finish(server, task))
    assert len(urls) >= 3
    assert {server.http.get(url).status_code for url in urls} == {200}
    assert ask(server, "DELETE", target(task), VERSION).status == 204
    check_deleted(server, task, urls)
    check_deleted(server, task, urls, "en")
    for method in ("HEAD", "GET", "DELETE"):
        assert ask(server, method, target(task), VERSION).status == 410
    (day,) = query(server.database_url, "SELECT uploads, completed FROM uploads_per_day")
    assert day == {"uploads": 1, "completed": 1}
    assert query(server.database_url, "SELECT status, tasks FROM tasks_by_status") == [
        {"status": "removed", "tasks": 1}
    ]


@pytest.mark.sampled(1)
@pytest.mark.turns(1)
def test_a_task_is_deleted_by_the_api(start_server: StartServer, database_url: str, clip: Path) -> None:
    """DELETE /api/task/<id> is 200 in the reader's language, again too; an unknown one is 404, another method 405."""
    server = start_server(database_url=database_url, transcode="mp4")
    task = send(server, clip, clip)
    urls = addresses(finish(server, task))
    address = f"{server.url}/api/task/{task}"
    for _ in range(2):
        answer = server.http.delete(address.upper().replace("HTTP", "http").replace("/API/TASK/", "/api/task/"))
        assert (answer.status_code, answer.json()) == (200, {"success": True, "message": "任务已删除"})
    answer = server.http.delete(address, headers={"Accept-Language": "en"})
    assert (answer.status_code, answer.json()) == (200, {"success": True, "message": "Task deleted"})
    check_deleted(server, task, urls)
    for other in ("00000000-0000-4000-8000-000000000000", "status", "a/b"):
        answer = server.http.delete(f"{server.url}/api/task/{other}")
        assert (answer.status_code, answer.json()["code"]) == (404, "task_not_found")
    answer = server.http.get(address)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "DELETE, PATCH, OPTIONS"
    cancelled = server.http.post(f"{server.url}/api/task/cancel/{task}")
    assert (cancelled.status_code, cancelled.json()["code"]) == (409, "task_ended")


@pytest.mark.sampled(1)
@pytest.mark.parametrize("by", ["tus", "api", "command"])
def test_deleting_a_running_task_stops_it(start_server: StartServer, gate: Gate, clip: Path, by: str) -> None:
    """The step's process group is gone within 2 s, and the next task is processed."""
    server = start_server(ffmpeg=gate.path)
    task = upload(server, clip)
    (step, *_) = until(gate.waiting, seconds=20, what="a step runs")
    family = [process for process in server.children() if process.session == step.session]
    if by == "tus":
        assert ask(server, "DELETE", target(task), VERSION).status == 204
    elif by == "api":
        refused = server.http.delete(f"{server.url}/api/task/{task}")
        assert (refused.status_code, refused.json()["code"]) == (409, "task_running")
        assert gate.waiting()
        assert server.http.delete(f"{server.url}/api/task/{task}?cancel=1").status_code == 200
    else:
        done = server.run("tasks", "delete", task)
        assert (done.returncode, done.stdout) == (0, "Deleted.\n"), done.stderr
    within(lambda: not processes.still_alive(family), seconds=2, what=f"the step's processes are gone: {family}")
    within(lambda: not on_disk(server, task), seconds=2, what="nothing of it is left")
    check_deleted(server, task, [])
    gate.open()
    finish(server, upload(server, clip))


def test_deleting_a_running_file_leaves_the_other(start_server: StartServer, gate: Gate, tmp_path: Path) -> None:
    """The first file is removed on the command line while it is processed; the same attempt completes the second."""
    server = start_server(ffmpeg=gate.path, transcode="mp4")
    task = send(server, make(tmp_path, "one.mp4"), make(tmp_path, "two.mp4"))
    (step, *_) = until(gate.waiting, seconds=20, what="a step runs")
    family = [process for process in server.children() if process.session == step.session]
    sql = "SELECT upload_id FROM task_files WHERE task_id = :id ORDER BY position"
    first, second = (row["upload_id"] for row in query(server.database_url, sql, id=task))
    done = server.run("uploads", "terminate", first)
    assert done.returncode == 0, done.stderr
    within(lambda: not processes.still_alive(family), seconds=2, what=f"the step's processes are gone: {family}")
    gate.open()
    state = finish(server, task)
    assert [file["status"] for file in state["files"]] == ["removed", "completed"]
    assert (state["removed"], state["partial"], state["playable"]) == (False, False, True)
    assert not server.stored(first).exists()
    assert server.http.get(state["files"][1]["mp4_url"]).status_code == 200
    assert query(server.database_url, "SELECT attempt FROM tasks") == [{"attempt": 1}]
    assert server.run("uploads", "terminate", second).returncode == 0
    check_deleted(server, task, [state["files"][1]["mp4_url"]])


@pytest.mark.sampled(1)
def test_a_task_is_deleted_on_the_command_line(start_server: StartServer, database_url: str, clip: Path) -> None:
    """`tasks delete` beside a server and without one; `list` and `show` tell of it; exit codes say what cannot be."""
    server = start_server(database_url=database_url, scheduler="none")
    task, other = send(server, clip), send(server, clip)
    assert server.run("tasks", "delete", task).stdout == "Deleted.\n"
    check_deleted(server, task, [])
    server.stop()
    for _ in range(2):
        assert server.run("tasks", "delete", other).stdout == "Deleted.\n"
    assert on_disk(server, other) == []
    listed = server.run("tasks", "list", "--status", "removed").stdout
    assert task in listed
    assert other in listed
    assert "removed" in server.run("tasks", "show", task).stdout
    unknown = server.run("tasks", "delete", "00000000-0000-4000-8000-000000000000")
    assert (unknown.returncode, unknown.stderr) == (3, "There is no task 00000000-0000-4000-8000-000000000000.\n")
    gone = query(server.database_url, "SELECT id FROM uploads WHERE task_id = :id", id=task)[0]["id"]
    refused = server.run("uploads", "terminate", gone)
    assert (refused.returncode, refused.stderr) == (4, "The upload is gone: its status is `terminated`.\n")


def test_a_repeated_form_of_a_deleted_task_stores_nothing(start_server: StartServer, clip: Path) -> None:
    """Its Idempotency-Key still answers as it did; nothing is stored or processed once more."""
    server = start_server(scheduler="none")

    def again() -> Any:
        with clip.open("rb") as file:
            form, key = {"videos": ("clip.mp4", file, "video/mp4")}, {"Idempotency-Key": "one"}
            return server.http.post(server.url + PATH, files=form, headers=key)

    first = again().json()
    assert server.http.delete(f"{server.url}/api/task/{first['task_id']}").status_code == 200
    second = again()
    assert (second.json(), second.headers["Idempotent-Replayed"]) == (first, "true")
    check_deleted(server, first["task_id"], [])


def test_a_task_without_originals_is_deleted(start_server: StartServer, clip: Path) -> None:
    """Without an original the results still go, and the upload says that it is gone."""
    server = start_server(originals="drop", transcode="mp4")
    task = upload(server, clip)
    urls = addresses(finish(server, task))
    until(lambda: not server.stored(task).exists(), what="the original is dropped")
    assert ask(server, "HEAD", target(task), VERSION).status == 200
    assert ask(server, "DELETE", target(task), VERSION).status == 204
    check_deleted(server, task, urls)
