"""PATCH, DELETE and retry of a task by HTTP: what changes, what is refused, and what the audit log has."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.http import LiveServer, serving
from tests.web.owned import Owned

UNKNOWN = "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def owned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owned]:
    with serving(request, tmp_path_factory.mktemp("changes"), auth="on") as live:
        yield Owned(live)


def test_title_and_passthrough_are_changed_and_cleared(owned: Owned) -> None:
    """What the body lacks stays; `null` and an empty text clear; the answer is the status."""
    task = owned.task(passthrough="from the upload")
    path = f"/api/task/{task}"
    assert owned.get(f"/api/task/status/{task}")["passthrough"] == "from the upload"
    for content, expected in (
        ({"title": "假期 2026"}, ("假期 2026", "from the upload")),
        ({"passthrough": "a\r\n\tb"}, ("假期 2026", "a\r\n\tb")),
        ({"title": " \u202aOne\n\u0000two\ud800 "}, ("\u202aOnetwo", "a\r\n\tb")),
        ({}, ("\u202aOnetwo", "a\r\n\tb")),
        ({"title": None, "passthrough": "é" * 512}, (None, "é" * 512)),
        ({"title": "x" * 255, "passthrough": ""}, ("x" * 255, None)),
        ({"title": " \n"}, (None, None)),
    ):
        status, answer = owned.json("PATCH", path, "ann", content)
        assert (status, answer["title"], answer["passthrough"]) == (200, *expected), content
        assert answer == owned.get(f"/api/task/status/{task}")
    assert owned.json("PATCH", path.replace(task, task.upper()), "root:admin", {"title": "A"})[1]["title"] == "A"
    assert owned.actions()[-1] == "task_changed"


REFUSED: list[object] = [
    {"title": 7},
    {"title": ["a"]},
    {"title": "x" * 256},
    {"passthrough": "é" * 513},
    {"passthrough": "a\0"},
    {"passthrough": "\ud800"},
    {"passthrough": {"id": 1}},
    {"titel": "a"},
    {"\ud800": "a"},
    {"title": "a", "status": "completed"},
    ["title"],
    "title",
]


def test_what_is_no_change_is_refused(owned: Owned) -> None:
    """Wholly: a good field beside a bad one is not written."""
    task = owned.task()
    for content in REFUSED:
        assert owned.refused("PATCH", f"/api/task/{task}", "ann", content) == (400, "field_invalid"), content
    answer = owned.ask("PATCH", f"/api/task/{task}", "ann", {"Content-Type": "text/plain"}, b"{}")
    assert answer.status == 415
    answer = owned.ask("PATCH", f"/api/task/{task}", "ann", {"Content-Type": "application/json"}, b" " * 20_000)
    assert answer.status == 413
    assert owned.get(f"/api/task/status/{task}")["title"] is None


def test_a_removed_task_is_not_changed(owned: Owned) -> None:
    """Neither by a change nor by a retry; deleting it again is a success. Its title stays for reports."""
    task = owned.task()
    owned.json("PATCH", f"/api/task/{task}", "ann", {"title": "kept"})
    for _ in range(2):
        assert owned.json("DELETE", f"/api/task/{task}") == (200, {"success": True, "message": "任务已删除"})
    assert owned.refused("PATCH", f"/api/task/{task}", "ann", {"title": "x"}) == (410, "task_gone")
    assert owned.refused("PATCH", f"/api/task/{task}", "ann", {}) == (410, "task_gone")
    assert owned.refused("POST", f"/api/task/retry/{task}") == (410, "task_gone")
    status = owned.get(f"/api/task/status/{task}")
    assert (status["title"], status["removed"]) == ("kept", True)


def test_a_running_task_is_deleted_with_cancel_only(owned: Owned) -> None:
    """409 with a code, in both languages; then 200, and its status is as that of every deleted task."""
    task = owned.task()
    owned.set_status(task, "processing")
    for query in ("", "?cancel=0", "?cancel=false", "?cancel="):
        assert owned.refused("DELETE", f"/api/task/{task}{query}") == (409, "task_running")
    assert owned.refused("DELETE", f"/api/task/{task}?cancel=yes") == (400, "field_invalid")
    assert owned.refused("DELETE", f"/api/task/{task}?cancel=1&cancel=1") == (400, "field_invalid")
    assert owned.get(f"/api/task/status/{task}")["status"] == "processing"
    assert owned.json("DELETE", f"/api/task/{task}?cancel=1")[0] == 200
    assert owned.get(f"/api/task/status/{task}")["removed"] is True
    assert owned.actions()[-1] == "task_removed"


def test_a_task_that_failed_is_retried(owned: Owned) -> None:
    """It waits again, and says which files do; another retry has to wait for its end."""
    task = owned.task(filename="a.mp4")
    assert owned.refused("POST", f"/api/task/retry/{task}") == (409, "task_not_ended")
    owned.set_status(task, "error")
    owned.live.execute(
        "UPDATE task_files SET status = 'error', error_code = 'not_playable' WHERE task_id = :id", id=task
    )
    assert owned.json("POST", f"/api/task/retry/{task}") == (
        200,
        {"success": True, "message": "任务将重新处理", "retried_files": ["a.mp4"], "failed_files": []},
    )
    assert owned.actions()[-1] == "task_retried"
    status = owned.get(f"/api/task/status/{task}")
    assert (status["status"], status["files"][0]["status"]) == ("uploaded", "waiting")
    assert owned.refused("POST", f"/api/task/retry/{task}") == (409, "task_not_ended")
    owned.set_status(task, "completed")
    owned.live.execute("UPDATE task_files SET status = 'completed' WHERE task_id = :id", id=task)
    assert owned.json("POST", f"/api/task/retry/{task}")[1] == {
        "success": False,
        "message": "任务无法重新处理：没有失败或已取消的文件",
        "code": "task_not_retried",
        "invalid_files": None,
    }
    owned.set_status(task, "cancelled")
    owned.live.path(task).unlink()
    answer = owned.ask("POST", f"/api/task/retry/{task}", "ann", {"Accept-Language": "en"})
    assert (answer.status, "the original is gone: a.mp4" in answer.text) == (409, True)


def test_a_retry_counts_as_a_task_that_waits(tmp_path: Path) -> None:
    """An owner with as many waiting tasks as allowed has to wait; an administrator has not."""
    with LiveServer(tmp_path, auth="on", owner_waiting_tasks=2) as live:
        owned = Owned(live)
        failed, _ = owned.task(), owned.task()
        owned.set_status(failed, "error")
        live.execute("UPDATE task_files SET status = 'error' WHERE task_id = :id", id=failed)
        owned.task()
        assert owned.refused("POST", f"/api/task/retry/{failed}") == (429, "quota_reached")
        assert owned.get(f"/api/task/status/{failed}")["status"] == "error"
        assert owned.json("POST", f"/api/task/retry/{failed}", "root:admin")[0] == 200


def test_only_its_owner_changes_a_task(owned: Owned) -> None:
    """What is foreign, unknown or no id is 404 for each of them; a grant and the URL of an upload are not enough."""
    segment = owned.open(have=1000)
    task = segment.partition("~")[0]
    requests = (("PATCH", "/api/task/{}"), ("POST", "/api/task/retry/{}"), ("DELETE", "/api/task/{}"))
    for method, path in requests:
        content: object = {} if method == "PATCH" else None
        for one, who in ((task, "bob"), (UNKNOWN, "ann"), ("a/b", "ann"), ("x", "root:admin")):
            assert owned.refused(method, path.format(one), who, content) == (404, "task_not_found")
        assert owned.refused(method, path.format(segment), "", content) == (401, "authentication_required")
        assert owned.refused(method, path.format(task), "ann:read,upload", content) == (403, "scope_missing")
        answer = owned.ask("OPTIONS", path.format(task), "", {"Origin": "https://a.example"})
        assert method in answer.headers["access-control-allow-methods"]
    status, grant = owned.json("POST", "/api/grants", "ann", {"passthrough": "theirs"})
    assert status == 201
    credential = {"Authorization": f"Bearer {grant['token']}", "Content-Type": "application/json"}
    for method, path in requests[:2]:
        assert owned.ask(method, path.format(task), "", credential, b"{}").status == 403
    assert owned.get(f"/api/task/status/{task}")["status"] == "uploaded"
