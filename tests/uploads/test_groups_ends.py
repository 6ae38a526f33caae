"""A group that does not become whole: refused, removed, expired, late, cancelled; and what an operator can retry."""

import json
from collections.abc import Iterator

import pytest

from server.cli import actions
from tests.harness.groups import DATA, LENGTH, TEXT, Group, check_tidy, claim, sweep
from tests.harness.http import LiveServer, serving
from tests.harness.waiting import until
from tests.tus.client import PAST, head, patch, patch_request

FAR = "2999-01-01 00:00:00.000000"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with serving(request, tmp_path_factory.mktemp("live")) as made:
        yield made


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)], ids=str)
def test_a_refused_member_does_not_stop_the_others(live: LiveServer, order: tuple[int, ...]) -> None:
    """A member that is no video is a file that failed, as one of a form: the task goes on with the others."""
    group = Group(live)
    uploads = {place: group.create(place) for place in (1, 2, 3)}
    for place in order:
        answer = patch(live, uploads[place], 0, TEXT if place == 2 else DATA)
        assert answer.status == (415 if place == 2 else 204)
    group.check_ready()
    files = group.status()["files"]
    assert [(file["status"], (file["error"] or {}).get("code")) for file in files] == [
        ("waiting", None),
        ("error", "media_type_mismatch"),
        ("waiting", None),
    ]
    assert "mp4" in files[1]["error"]["message"]
    check_tidy(live)


def test_a_group_without_an_accepted_file_is_an_error(live: LiveServer) -> None:
    """Then nothing is left to be processed: the task is an error, with the first file's reason."""
    group = Group(live, files=2)
    for place in (2, 1):
        assert patch(live, group.create(place), 0, TEXT).status == 415
    state = group.status()
    assert state["status"] == "error"
    assert state["message"] == f"处理出错：{state['files'][0]['error']['message']}"
    assert (group.row()["gather_until"], group.row()["finished_at"] is None) == (None, False)
    check_tidy(live)


@pytest.mark.parametrize("whole", [False, True], ids=["open", "complete"])
def test_a_terminated_member_fails_its_group(live: LiveServer, whole: bool) -> None:
    """The group has failed and names the file; the open members are gone, the others' bytes stay."""
    group = Group(live, files=4)
    gone = group.whole(1) if whole else group.create(1)
    kept, other = group.whole(2), group.create(3)
    patch(live, other, 0, DATA[:100])
    assert group.delete(gone).status == 204
    state = group.status()
    assert (state["status"], state["message"]) == ("error", "处理出错：文件“1.mp4”的上传已被删除，其余文件不再等待")
    ends = [(file["status"], file["error"]["code"]) for file in state["files"]]
    assert ends[0] == (("removed", "file_removed") if whole else ("error", "group_member_removed"))
    assert set(ends[1:]) == {("error", "group_member_removed")}
    for upload in (gone, other):
        assert patch(live, upload, 0, DATA).status == 410
        assert head(live, upload).status == 410
        assert live.stored(upload) is None, "bytes are left"
    assert live.stored(kept) == DATA
    assert group.events() == (["uploaded", "file_removed", "error"] if whole else ["uploaded", "error"])
    assert group.delete(kept).status == 204, "its task is over"
    check_tidy(live)


def test_a_member_of_a_complete_group_is_removed_alone(live: LiveServer) -> None:
    """With all files there it is a task like any other: one file is removed, and the other waits on."""
    group = Group(live, files=2)
    first, second = group.whole(1), group.whole(2)
    assert group.delete(first).status == 204
    state = group.status()
    assert (state["status"], state["removed"], state["message"]) == ("uploaded", False, "文件上传完成，准备处理")
    assert [(file["status"], file["error"]) for file in state["files"]] == [
        ("removed", {"code": "file_removed", "message": "文件已删除"}),
        ("waiting", None),
    ]
    assert (live.stored(first), live.stored(second)) == (None, DATA)
    assert group.delete(second).status == 204
    state = group.status()
    assert (state["status"], state["removed"], state["message"]) == ("cancelled", True, "任务已删除")
    assert group.events() == ["uploaded", "gathered", "file_removed", "file_removed", "removed"]
    check_tidy(live)


def test_a_deleted_task_ends_its_open_members(live: LiveServer) -> None:
    """Its open uploads end with it, those that are whole are gone, and no creation joins it any more."""
    group = Group(live)
    kept, other = group.whole(1), group.create(2)
    answer = live.ask("DELETE", f"/api/task/{group.task}", ())
    assert (answer.status, json.loads(answer.body)) == (200, {"success": True, "message": "任务已删除"})
    state = group.status()
    assert (state["status"], state["removed"]) == ("cancelled", True)
    assert {file["status"] for file in state["files"]} == {"removed"}
    for upload in (kept, other):
        assert live.stored(upload) is None
        assert (head(live, upload).status, patch(live, upload, 0, DATA).status) == (410, 410)
    assert group.ask(3).code == "group_ended"
    check_tidy(live)


def test_an_expired_member_fails_its_group(live: LiveServer) -> None:
    """An upload that nobody finished in time fails its group; the other open ones go with it."""
    group = Group(live)
    kept, stale, other = group.whole(1), group.create(2), group.create(3)
    live.expire(stale)
    sweep(live)
    state = group.status()
    assert (state["status"], state["message"]) == ("error", "处理出错：文件“2.mp4”未能在期限内上传完成")
    assert (live.row(stale)["status"], live.row(other)["status"]) == ("expired", "terminated")
    assert (head(live, stale).status, head(live, other).status) == (410, 410)
    assert live.stored(kept) == DATA
    check_tidy(live)


def test_a_group_fails_when_its_members_are_not_created_in_time(live: LiveServer) -> None:
    """Each creation gives the others time again; once it is over, the group fails and says how many there were."""
    group = Group(live)
    group.create(1)
    live.execute("UPDATE tasks SET gather_until = :far WHERE id = :id", id=group.task, far=FAR)
    other = group.create(2)
    assert str(group.row()["gather_until"]) < FAR, "the deadline is that of the last creation"
    sweep(live)
    group.check_gathering(0)
    live.execute("UPDATE tasks SET gather_until = :past WHERE id = :id", id=group.task, past=PAST)
    assert sweep(live).numbers["late"] == 1
    state = group.status()
    assert (state["status"], state["message"]) == ("error", "处理出错：3 个文件中只有 2 个在期限内开始上传")
    assert head(live, other).status == 410
    check_tidy(live)


def test_the_deadline_concerns_creations_only(live: LiveServer) -> None:
    """The deadline is for creations; uploads that are there have the time that each of them has."""
    group = Group(live, files=2)
    first = group.create(1)
    group.whole(2)
    live.execute("UPDATE tasks SET gather_until = :past WHERE id = :id", id=group.task, past=PAST)
    assert sweep(live).numbers["late"] == 0
    patch(live, first, 0, DATA)
    group.check_ready()


@pytest.mark.parametrize("by", ["api", "operator"])
def test_a_cancelled_group_removes_its_open_members(live: LiveServer, by: str) -> None:
    """Cancelling a group that gathers removes its open members; the whole ones keep their bytes."""
    group = Group(live)
    kept, other = group.whole(1), group.create(2)
    patch(live, other, 0, DATA[:100])
    if by == "api":
        assert group.cancel().status == 200
        assert live.stored(other) is None
    else:
        with actions.opened(live.settings) as database:
            actions.cancel(database, group.task, live.data_dir)
    assert (group.status()["status"], group.status()["message"]) == ("cancelled", "任务已取消")
    assert patch(live, other, 100, DATA[100:]).status == 410
    assert live.stored(kept) == DATA
    assert group.cancel().status == 200
    check_tidy(live)


@pytest.mark.parametrize("how", ["cancel", "operator", "delete another", "expire another"])
def test_a_body_of_an_ended_group_is_answered_with_410(live: LiveServer, how: str) -> None:
    """A body that is being received when its group ends is stopped and answered with 410; nothing of it stays."""
    group = Group(live, files=3)
    upload, other = group.create(1), group.create(2)
    with live.connect() as connection:
        connection.send(patch_request(upload, 0, DATA[:200], length=LENGTH))
        until(lambda: len(live.stored(upload) or b"") == 200, seconds=5, what="the first bytes are stored")
        if how == "cancel":
            assert group.cancel().status == 200
        elif how == "operator":
            with actions.opened(live.settings) as database:
                actions.cancel(database, group.task, live.data_dir)
        elif how == "delete another":
            assert group.delete(other).status == 204
        else:
            live.expire(other)
            sweep(live)
        answer = connection.answer()
    assert (answer.status, answer.code) == (410, "upload_gone")
    assert live.stored(upload) is None
    assert live.row(upload)["has_bytes"] in (False, 0)
    live.quiet()
    check_tidy(live)


def test_a_delete_of_a_member_evicts_its_body(live: LiveServer) -> None:
    """DELETE of a member evicts its body, as for any upload, and fails the group."""
    group = Group(live, files=2)
    upload = group.create(1)
    with live.connect() as connection:
        connection.send(patch_request(upload, 0, DATA[:200], length=LENGTH))
        until(lambda: len(live.stored(upload) or b"") == 200, seconds=5, what="the first bytes are stored")
        assert group.delete(upload).status == 204
        assert connection.answer().status in (410, 423)
    assert group.status()["status"] == "error"
    live.quiet()
    check_tidy(live)


def test_a_retry_processes_the_files_that_arrived(live: LiveServer) -> None:
    """An operator's retry of a group that failed tries the files whose bytes came, and names the others."""
    group = Group(live, files=3)
    group.whole(1)
    group.delete(group.create(2))
    with actions.serving(live.settings) as services:
        done = actions.retry(services, group.task)
    assert (done.waiting, done.left) == (["1.mp4"], ["2.mp4"])
    assert [file["status"] for file in group.status()["files"]] == ["waiting", "error"]
    assert claim(live, group.task) is not None
    nothing = Group(live, files=2)
    nothing.delete(nothing.create(1))
    with actions.serving(live.settings) as services, pytest.raises(actions.ActionRefusedError, match="gone"):
        actions.retry(services, nothing.task)
