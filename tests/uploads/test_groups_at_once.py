"""Clients of one group that do everything at the same time: no order of theirs gives another task."""

import random
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.harness.groups import Group, GroupClients, check_tidy
from tests.harness.http import Answer, LiveServer, serving
from tests.harness.waiting import PATIENCE, until
from tests.tus.client import head

ROUNDS = 6


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with serving(request, tmp_path_factory.mktemp("live"), fsync="never") as made:
        yield made


def test_concurrent_members_make_one_task(live: LiveServer) -> None:
    """Creations and bytes of all files side by side: one task, every file in its place, and it waits for a worker."""
    for number in range(ROUNDS):
        group = Group(live, files=5)
        crowd = GroupClients(group, pieces=1 + number % 3, refused=number % 6)
        with crowd:
            pass
        group.check_ready()
        assert group.events().count("gathered") == 1
        ends = {place: "media_type_mismatch" if place == crowd.refused else "whole" for place in range(1, 6)}
        assert crowd.ended == ends
        files = live.query("SELECT * FROM task_files WHERE task_id = :id ORDER BY position", id=group.task)
        assert [file["upload_id"] for file in files] == [crowd.uploads[place] for place in range(1, 6)]
        assert [file["status"] for file in files].count("error") == (crowd.refused > 0)
    check_tidy(live)


def remove_one(group: Group, crowd: GroupClients) -> Answer:
    until(lambda: crowd.uploads, every=0.001, what="one is created")
    return group.delete(random.choice(list(crowd.uploads.values())))


def remove_all(group: Group, crowd: GroupClients) -> Answer:
    """Several members at once: each would fail the group, and end the others."""
    first = remove_one(group, crowd)
    answers: list[Answer] = []

    def remove(upload: str) -> None:
        answers.append(group.delete(upload))

    threads = [threading.Thread(target=remove, args=(upload,)) for upload in list(crowd.uploads.values())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert all(answer.status in (204, 409, 410) for answer in answers), answers
    return first


def cancel(group: Group, crowd: GroupClients) -> Answer:
    deadline = time.monotonic() + PATIENCE
    while (answer := group.cancel()).status == 404:  # the task appears with its first member
        assert time.monotonic() < deadline
    return answer


def check_deleted(live: LiveServer, group: Group, answer: Answer) -> None:
    """All was there: each deleted file is removed, the others wait for a worker, and the last one takes the task."""
    assert answer.status == 204, answer
    files = live.query("SELECT upload_id, status FROM task_files WHERE task_id = :id", id=group.task)
    removed = [file["upload_id"] for file in files if file["status"] == "removed"]
    assert removed
    assert all(head(live, upload).status == 410 for upload in removed)
    assert {file["status"] for file in files} <= {"removed", "waiting"}, files
    task = group.row()
    assert task["status"] == ("removed" if len(removed) == len(files) else "uploaded"), task
    assert task["gather_until"] is None


@pytest.mark.sampled(3)
@pytest.mark.parametrize("end", [remove_one, remove_all, cancel])
def test_a_group_that_ends_during_uploads_leaves_nothing_open(
    live: LiveServer, end: Callable[[Group, GroupClients], Answer]
) -> None:
    """Wherever it strikes, the group is over for all: no client goes on, and no open upload and no byte is left."""
    for number in range(ROUNDS):
        group = Group(live, files=4)
        crowd = GroupClients(group, pieces=4)
        with crowd:
            time.sleep(number * 0.01)
            answer = end(group, crowd)
        task = group.row()
        if end is not cancel and "gathered" in group.events():  # all was there: a deletion takes its own file only
            check_deleted(live, group, answer)
            continue
        if answer.status == 409:  # it came too late: all was there
            assert task["status"] == "uploaded", answer
            group.check_ready()
            continue
        assert answer.status in (200, 204), answer
        assert task["status"] == ("cancelled" if end is cancel else "error"), task
        assert task["gather_until"] is None
        for place, said in crowd.ended.items():
            assert said in ("whole", "upload_gone", "group_ended"), (place, said)
            if said == "upload_gone":
                assert head(live, crowd.uploads[place]).status == 410
        # A file that was whole may be deleted after the group has ended.
        assert [event for event in group.events() if event != "file_removed"][-1] == task["status"]
        assert group.events().count("gathered") == 0 or end is cancel
    live.quiet()
    check_tidy(live)
