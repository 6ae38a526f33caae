"""Several tus uploads, one task: what each request of their clients is answered, and what becomes of the task."""

import base64
import hashlib
import json
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from server.errors import StorageFullError
from server.storage.disk import DiskStore
from tests.harness.groups import DATA, LENGTH, TEXT, Group, check_tidy, claim
from tests.harness.http import Answer, LiveServer, serving
from tests.harness.multipart import swift
from tests.harness.waiting import PATIENCE
from tests.tus.client import MOUNT, PAST, VERSION, create, head, id_of, metadata, patch, target


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with serving(request, tmp_path_factory.mktemp("live"), max_files=9) as made:
        yield made


def test_three_uploads_are_one_task(live: LiveServer) -> None:
    """The task is there with its first member, tells how many are whole, and waits for a worker when all are."""
    group = Group(live)
    third = group.create(3)
    group.check_gathering(0)
    assert group.status("en")["message"] == "Waiting for the other files (0/3)"
    assert [(file["name"], file["status"], file["size"]) for file in group.status()["files"]] == [
        ("3.mp4", "waiting", LENGTH)
    ]
    patch(live, third, 0, DATA)
    group.check_gathering(1)
    first = group.create(2)
    assert patch(live, first, 0, DATA[:200]).status == 204
    group.check_gathering(1)
    assert claim(live, group.task) is None, "somebody could claim it before all are there"
    second = group.whole(1)
    group.check_gathering(2)
    answer = head(live, first)
    assert (answer.headers["upload-task"], answer.headers["upload-offset"]) == (group.task, "200")
    assert "upload-expires" in answer.headers
    last = patch(live, first, 200, DATA[200:])
    assert (last.status, last.headers["upload-task"]) == (204, group.task)
    assert "upload-expires" not in last.headers
    group.check_ready()
    assert group.events() == ["uploaded", "gathered"]
    files = live.query("SELECT * FROM task_files WHERE task_id = :id ORDER BY position", id=group.task)
    assert [file["upload_id"] for file in files] == [second, first, third]
    assert {(file["size"], file["media_type"], file["status"]) for file in files} == {(LENGTH, "mp4", "waiting")}
    assert claim(live, group.task) is not None
    check_tidy(live)


def test_a_group_of_one_has_the_chosen_id(live: LiveServer) -> None:
    """A group of one has the id that its client chose, however that was spelled, and its state is found by both."""
    task = str(uuid.uuid4())
    group = Group(live, files=1, task=task)
    answer = group.ask(None, task=task.upper())
    assert (answer.status, answer.headers["upload-task"]) == (201, task)
    assert patch(live, id_of(answer), 0, DATA).headers["upload-task"] == task
    group.check_ready()
    answer = live.ask("GET", f"/api/task/status/{task.upper()}")
    assert json.loads(answer.body)["task_id"] == task


@pytest.mark.parametrize("body", [DATA, DATA[:100]], ids=["all", "some"])
def test_a_member_may_bring_bytes_with_its_creation(live: LiveServer, body: bytes) -> None:
    """A member may come in one request, or begin with it."""
    group = Group(live, files=1)
    answer = group.ask(1, {"Content-Type": "application/offset+octet-stream"}, body)
    assert (answer.status, answer.headers["upload-offset"]) == (201, str(len(body)))
    assert answer.headers["upload-task"] == group.task
    if len(body) < LENGTH:
        group.check_gathering(0)
        patch(live, id_of(answer), len(body), DATA[len(body) :])
    group.check_ready()


@pytest.mark.parametrize(
    "said",
    [
        {"task": ""},
        {"task": "holiday"},
        {"task": "8a6b1c6e-3f0e-1a58-9f57-0d8f1f1f9c11"},
        {"task": "8a6b1c6e3f0e4a589f570d8f1f1f9c11"},
        {"task_files": "0"},
        {"task_files": "10"},
        {"task_files": "-1"},
        {"task_files": "3.0"},
        {"task_files": "٣"},
        {"task_files": ""},
        {"task_file": "0"},
        {"task_file": "4"},
        {"task_file": "one"},
    ],
    ids=str,
)
def test_invalid_group_metadata_is_refused(live: LiveServer, said: dict[str, Any]) -> None:
    """What cannot be understood is 400, and nothing comes of it."""
    group = Group(live)
    answer = group.ask(1, **said)
    assert (answer.status, answer.code) == (400, "metadata_invalid")
    assert next(iter(said)) in answer.text
    assert live.query("SELECT id FROM tasks WHERE id = :id", id=group.task) == []


@pytest.mark.parametrize("keys", [("task",), ("task_files",), ("task_file",), ("task", "task_file")], ids=str)
def test_incomplete_group_metadata_is_refused(live: LiveServer, keys: tuple[str, ...]) -> None:
    """One key without the other it needs is 400: nobody is to wait for a file that went elsewhere."""
    all_of_them = {"task": str(uuid.uuid4()), "task_files": "2", "task_file": "1"}
    said = metadata(**{key: all_of_them[key] for key in keys})
    answer = live.ask("POST", MOUNT, VERSION | {"Upload-Length": "5", "Upload-Metadata": said})
    assert (answer.status, answer.code) == (400, "metadata_invalid")
    assert "needs" in answer.text


def test_a_group_id_that_is_in_use_is_refused(live: LiveServer) -> None:
    """The id of an upload, of its task, of a form's task, of a member, of another owner's group: 409, all alike."""
    alone = create(live, LENGTH)
    done = create(live, LENGTH)
    patch(live, done, 0, DATA)
    of_form = swift(live.port, [("clip.mp4", DATA)])[1]["task_id"]
    group = Group(live)
    member = group.create(1)
    others = Group(live)
    others.create(1)
    live.execute("UPDATE tasks SET owner = 'somebody' WHERE id = :id", id=others.task)
    for task in (alone, done, of_form, member, others.task):
        refused = Group(live, task=task).ask(2)
        assert (refused.status, refused.code) == (409, "task_taken"), task
    assert len(live.query("SELECT id FROM task_files WHERE task_id = :id", id=others.task)) == 1
    group.check_gathering(0)


def test_conflicting_members_are_refused(live: LiveServer) -> None:
    """Another number of files, a place that is taken, one file too many: 409, and the group is as it was."""
    group = Group(live, files=2)
    group.create(2)
    before = group.row()
    assert group.ask(1, task_files="3").code == "group_differs"
    assert group.ask(2, filename="other.mp4").code == "group_place_taken"
    assert group.ask(2, length=LENGTH + 1).code == "group_place_taken"
    assert group.row() == before
    group.create(1)
    full = group.ask(None, filename="more.mp4")
    assert (full.status, full.code) == (409, "group_full")
    group.check_gathering(0)


@pytest.mark.parametrize("end", ["ready", "cancelled", "error", "late"])
def test_an_ended_group_takes_no_member(live: LiveServer, end: str) -> None:
    """A group that waits for no more files takes none: 409."""
    group = Group(live, files=2)
    first = group.whole(1)
    if end == "ready":
        group.whole(2)
    elif end == "cancelled":
        group.cancel()
    elif end == "error":
        group.delete(first)
    else:  # no sweep has come yet
        live.execute("UPDATE tasks SET gather_until = :past WHERE id = :id", id=group.task, past=PAST)
    for place in (1, 2, None):
        answer = group.ask(place, filename="another.mp4")
        assert (answer.status, answer.code) == (409, "group_ended")


def test_a_repeated_creation_finds_its_upload(live: LiveServer) -> None:
    """The same creation again at its place is the same upload, however far that is; only its own client knows it."""
    group = Group(live, files=2)
    first = group.create(1)
    assert group.create(1) == first
    patch(live, first, 0, DATA[:200])
    assert group.create(1, offset=200) == first
    again = group.ask(1, {"Content-Type": "application/offset+octet-stream"}, DATA)
    assert (again.status, id_of(again), again.headers["upload-offset"]) == (201, first, "200")
    assert live.stored(first) == DATA[:200], "the body of a repeated creation was stored"
    patch(live, first, 200, DATA[200:])
    assert id_of(group.ask(1)) == first
    second = group.whole(2)
    assert id_of(group.ask(2)) == second
    group.check_ready()
    group.cancel()
    assert group.ask(2).code == "group_ended"
    assert len(live.query("SELECT id FROM uploads WHERE task_id = :id", id=group.task)) == 2


def test_a_repeated_creation_without_a_place_makes_a_new_member(live: LiveServer) -> None:
    """Files that look the same are files of their own as long as there is room; then it is one without bytes."""
    group = Group(live, files=2)
    first, second = group.create(None), group.create(None)
    assert first != second
    assert group.ask(None).code == "group_full", "which of the two is it? Another client may write to the wrong one"
    patch(live, first, 0, DATA[:100])
    assert group.create(None) == second
    patch(live, second, 0, DATA[:100])
    assert group.ask(None).code == "group_full"


def test_a_repeated_creation_reserves_no_more_space(live: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was promised to the first one is not asked for again; another one is refused."""
    group = Group(live, files=3)
    first = group.create(1)
    monkeypatch.setattr(DiskStore, "room", lambda _: 0)
    assert group.create(1) == first
    assert group.ask(2).code == "no_room"
    assert len(live.query("SELECT id FROM uploads WHERE task_id = :id", id=group.task)) == 1


def test_a_creation_refused_for_a_full_disk_leaves_nothing(live: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The creation is refused for the disk, and nothing stays of it but what the task tells."""
    group = Group(live, files=2)

    def fill(_: DiskStore, __: str, ___: int | None = None) -> None:
        group.cancel()
        raise StorageFullError

    monkeypatch.setattr(DiskStore, "create", fill)
    assert group.ask(1).code == "storage_full"
    monkeypatch.undo()
    rows = live.query("SELECT status, has_bytes FROM uploads WHERE task_id = :id", id=group.task)
    assert [(row["status"], bool(row["has_bytes"])) for row in rows] == [("terminated", False)]
    check_tidy(live)


def test_a_creation_that_is_refused_takes_no_place(live: LiveServer) -> None:
    """A name that is no video's is 415 before anything is made: the place is free for another file."""
    group = Group(live, files=1)
    assert group.ask(1, filename="notes.txt").status == 415
    assert live.query("SELECT id FROM tasks WHERE id = :id", id=group.task) == []
    group.whole(1)
    group.check_ready()


@pytest.mark.parametrize("placed", [True, False])
def test_the_last_place_is_given_once(live: LiveServer, placed: bool) -> None:
    """Of many that ask for the last place at once, one gets it; the very first creations make one task."""
    group = Group(live, files=2)
    for last in (False, True):
        answers = at_once(group, "last" if last else "first", place=(2 if last else 1) if placed else None)
        codes = [answer.code for answer in answers if answer.status != 201]
        made = len(answers) - len(codes)
        # Without a place the first round fills both.
        assert made == ((1 if placed else 2) if not last or placed else 0), answers
        assert set(codes) <= {"group_place_taken" if placed else "group_full"}
    assert len(live.query("SELECT id FROM task_files WHERE task_id = :id", id=group.task)) == 2
    assert group.events() == ["uploaded"]


def at_once(group: Group, name: str, place: int | None) -> list[Answer]:
    answers: list[Answer] = []
    barrier = threading.Barrier(6)

    def run(number: int) -> None:
        barrier.wait(PATIENCE)
        answers.append(group.ask(place, filename=f"{name}-{number}.mp4"))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(answers) == 6
    return answers


def test_a_member_may_defer_its_length(live: LiveServer) -> None:
    """A deferred length is told with the bytes; the task's file has it when it is whole."""
    group = Group(live, files=1)
    upload = group.create(1, length=None)
    assert group.status()["files"][0]["size"] == 0
    headers = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream", "Upload-Length": str(LENGTH)}
    assert live.ask("PATCH", target(upload), VERSION | headers, DATA).status == 204
    assert group.status()["files"][0]["size"] == LENGTH
    group.check_ready()


def test_a_group_in_another_data_folder_takes_no_member(live: LiveServer) -> None:
    """A task whose bytes lie in another data folder takes no member here: no worker would find all of it."""
    group = Group(live, files=2)
    group.create(1)
    live.execute("UPDATE tasks SET node = 'another' WHERE id = :id", id=group.task)
    assert group.ask(2).code == "task_taken"
    live.execute("DELETE FROM task_files WHERE task_id = :id", id=group.task)
    live.execute("DELETE FROM tasks WHERE id = :id", id=group.task)
    assert group.ask(2).code == "task_taken", "a row that was removed leaves its uploads, and its id is no other's"


def test_a_final_upload_can_be_a_member(live: LiveServer) -> None:
    """Parts say nothing of a group; the upload that they become is the member, also when its creation comes again."""
    group = Group(live, files=2)
    parts = []
    for data in (DATA[:300], DATA[300:]):
        of_group = group.headers(1, length=len(data)) | {"Upload-Concat": "partial"}
        part = id_of(live.ask("POST", MOUNT, of_group))
        assert "upload-task" not in head(live, part).headers
        patch(live, part, 0, data)
        parts.append(part)
    assert live.query("SELECT id FROM tasks WHERE id = :id", id=group.task) == []
    final = {name: value for name, value in group.headers(None).items() if name != "Upload-Length"}
    final["Upload-Concat"] = "final;" + " ".join(target(part) for part in parts)
    answer = live.ask("POST", MOUNT, final)
    assert (answer.status, answer.headers["upload-task"]) == (201, group.task), answer
    group.check_gathering(1)
    again = live.ask("POST", MOUNT, final)
    assert (again.status, id_of(again)) == (201, id_of(answer)), "its parts are gone, and it is there"
    assert live.stored(id_of(answer)) == DATA
    group.whole(2)
    group.check_ready()
    check_tidy(live)


def test_a_waiting_final_is_removed_with_its_group(live: LiveServer) -> None:
    """A member whose parts are still coming is removed with the others."""
    group = Group(live, files=2)
    part = id_of(live.ask("POST", MOUNT, VERSION | {"Upload-Length": str(LENGTH), "Upload-Concat": "partial"}))
    headers = {name: value for name, value in group.headers(1).items() if name != "Upload-Length"}
    final = id_of(live.ask("POST", MOUNT, headers | {"Upload-Concat": f"final;{target(part)}"}))
    group.check_gathering(0)
    group.cancel()
    assert head(live, final).status == 410
    assert patch(live, part, 0, DATA).status == 204, "it is nobody's but its client's"
    check_tidy(live)


def test_parts_keep_their_bytes_when_a_group_ends_during_a_join(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts keep their bytes, and another final is made of them."""
    parts = []
    for data in (DATA[:300], DATA[300:]):
        made = live.ask("POST", MOUNT, VERSION | {"Upload-Length": str(len(data)), "Upload-Concat": "partial"})
        parts.append(id_of(made))
        patch(live, parts[-1], 0, data)
    group, joined = Group(live, files=2), DiskStore.concatenate

    def join(*args: Any, **options: Any) -> None:
        joined(*args, **options)
        group.cancel()

    monkeypatch.setattr(DiskStore, "concatenate", join)
    concat = {"Upload-Concat": "final;" + " ".join(target(part) for part in parts)}
    headers = {name: value for name, value in group.headers(1).items() if name != "Upload-Length"}
    assert live.ask("POST", MOUNT, headers | concat).status == 410
    monkeypatch.undo()
    assert [live.stored(part) for part in parts] == [DATA[:300], DATA[300:]]
    final = live.ask("POST", MOUNT, VERSION | concat | {"Upload-Metadata": metadata(filename="clip.mp4")})
    assert live.stored(id_of(final)) == DATA


def test_a_wrong_checksum_leaves_a_member_unchanged(live: LiveServer) -> None:
    """A chunk that is not what its client hashed leaves a member as it was."""
    group = Group(live, files=1)
    upload = group.create(1)
    headers = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    for data, status in ((TEXT, 460), (DATA, 204)):
        digest = base64.b64encode(hashlib.sha1(DATA, usedforsecurity=False).digest()).decode()
        checked = headers | {"Upload-Checksum": f"sha1 {digest}"}
        answer = live.ask("PATCH", target(upload), VERSION | checked, DATA[: LENGTH // 2] + data[LENGTH // 2 :])
        assert answer.status == status, answer
    group.check_ready()
