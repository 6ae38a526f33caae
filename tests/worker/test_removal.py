"""Deleting beside workers: the step stops, the other files go on, and nothing of what was deleted is left."""

import os
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from server.bootstrap import Services
from server.database.models import DEFAULT_OWNER
from server.errors import StepError, TaskEndedError, TaskGoneError
from server.pipeline.step import StepContext
from server.settings import Settings
from server.storage.results import Results
from server.tasks.retry import retry
from server.uploads.new_upload import NewUpload
from server.worker import attempt as attempt_module
from server.worker.runner import runner_of
from tests.harness.migrated import migrate
from tests.harness.rows import execute, query
from tests.harness.steps import FakeStep, failing, held
from tests.harness.waiting import until, within

Put = Callable[..., None]


@pytest.fixture
def services(tmp_path: Path, database_url: str) -> Iterator[Services]:
    migrate(database_url)
    settings = Settings(data_dir=tmp_path / "data", database_url=database_url, fsync="never", disk_reserve="0")
    with Services.open(settings) as opened:
        opened.claim_store()
        yield opened


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Put:
    """The steps of this test, in place of the real ones."""
    return lambda *steps: monkeypatch.setattr(attempt_module, "STEPS", steps)


def registered(services: Services, count: int = 1, protocol: str = "multipart") -> tuple[str, list[str]]:
    """A task of so many files that waits, and its uploads."""
    ids = [services.new_id() for _ in range(count)]
    task_id = ids[0] if protocol == "tus" else services.new_id()
    values: dict[str, Any] = {"protocol": protocol, "task_id": task_id, "length": 5}
    for upload_id in ids:
        services.repository.insert(NewUpload(id=upload_id, owner=DEFAULT_OWNER, filename="a.mp4", **values))
        services.store.local_path(upload_id).write_bytes(b"12345")
        services.store.finish(upload_id)
    services.completion.complete_verified(dict.fromkeys(ids, "mp4"), task_id)
    return task_id, ids


def video(context: StepContext) -> Mapping[str, object]:
    """Work that makes a result."""
    (context.output / "video.mp4").write_bytes(b"video")
    return {"has_mp4": True, "playable": True}


def attempt(services: Services, task_id: str | None = None) -> bool:
    """One attempt; whether there was something to do."""
    claimed = runner_of(services).claim_next(f"test/{threading.get_ident()}", task_id)
    if claimed:
        runner_of(services).attempt(claimed, "").run()
    return claimed is not None


@contextmanager
def running(*work: Callable[[], object]) -> Iterator[None]:
    """Each beside the test, on a thread; all have ended at the end, and none has raised."""
    wrong: list[BaseException] = []

    def run(one: Callable[[], object]) -> None:
        try:
            one()
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
    assert not wrong, wrong


def delete(services: Services, upload_id: str) -> bool:
    """What a request does that holds the upload's lock."""
    with services.locks.try_hold(upload_id) as held_now:
        assert held_now
        return services.removal.remove_upload(upload_id)


def files(services: Services, task_id: str) -> list[dict[str, Any]]:
    """The rows of the files of a task."""
    sql = "SELECT * FROM task_files WHERE task_id = :id ORDER BY position"
    return query(services.settings.sqlalchemy_url, sql, id=task_id)


def task(services: Services, task_id: str) -> dict[str, Any]:
    """The row of a task."""
    return query(services.settings.sqlalchemy_url, "SELECT * FROM tasks WHERE id = :id", id=task_id)[0]


def on_disk(services: Services, *names: str) -> list[str]:
    """The paths below the data folder in which one of these ids stands, whatever it is."""
    data = services.settings.data_dir
    # Not by rglob, which raises when a worker removes a folder meanwhile.
    walked = (Path(folder, name) for folder, folders, files in os.walk(data) for name in (*folders, *files))
    found = (str(path.relative_to(data)) for path in walked)
    return sorted(path for path in found if any(name in path for name in names))


def check_gone(services: Services, task_id: str) -> None:
    """Nothing of a deleted task is left, and everything fits together."""
    assert on_disk(services, task_id, *(file["upload_id"] for file in files(services, task_id))) == []
    row = task(services, task_id)
    assert (row["status"], bool(row["has_results"]), bool(row["playable"])) == ("removed", False, False)
    assert not any(file["removing"] or file["has_mp4"] for file in files(services, task_id))
    assert services.checker.find_mismatches() == []


@pytest.mark.sampled(1)
def test_removing_the_running_file_stops_its_step(services: Services, put: Put) -> None:
    """Its step stops within 2 s and leaves nothing, while the task is still at work; the others are completed."""
    gate, begun = threading.Event(), threading.Event()

    def first_then(context: StepContext) -> Mapping[str, object]:
        (context.output / "half").write_bytes(b"half a result")
        begun.set()
        return held(gate)(context)

    slow = FakeStep("slow", lambda context: first_then(context) if len(slow.calls) == 1 else held(last)(context))
    last = threading.Event()
    put(FakeStep("mp4", video), slow)
    task_id, (first, second) = registered(services, 2)
    one, two = (file["id"] for file in files(services, task_id))
    with running(lambda: attempt(services)):
        try:
            begun.wait(20)
            assert on_disk(services, one), "it has a result and something in the making"
            assert delete(services, first)
            assert services.store.size(first) is None
            within(lambda: len(slow.calls) == 2, seconds=3, what="the next file is being worked on")
            assert on_disk(services, one, first) == []
        finally:
            gate.set()
            last.set()
    row = task(services, task_id)
    assert (row["status"], bool(row["partial"]), bool(row["playable"]), row["attempt"]) == ("completed", False, True, 1)
    assert [file["status"] for file in files(services, task_id)] == ["removed", "completed"]
    assert services.results.local_path(task_id, two, "video.mp4")
    assert services.store.size(second) == 5
    assert services.checker.find_mismatches() == []
    assert delete(services, second)
    check_gone(services, task_id)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("error", [StepError("original_missing"), OSError("gone"), RuntimeError("a bug")])
def test_a_step_that_fails_for_a_deleted_original_is_not_a_failure(
    services: Services, put: Put, error: Exception
) -> None:
    """What the step says of a deleted file counts for nothing: not as a failure, and not as a reason to wait."""

    def delete_and_fail(_: StepContext) -> Mapping[str, object]:
        delete(services, uploads[0])
        raise error

    step = FakeStep("mp4", lambda context: delete_and_fail(context) if len(step.calls) == 1 else video(context))
    put(step)
    task_id, uploads = registered(services, 2)
    assert attempt(services)
    assert task(services, task_id)["status"] == "completed"
    assert [file["status"] for file in files(services, task_id)] == ["removed", "completed"]
    assert not task(services, task_id)["partial"]


def test_a_removal_waits_for_a_running_publication(
    services: Services, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deletion waits for the transaction that publishes, and takes that result too."""
    real, inside, go_on = Results.publish, threading.Event(), threading.Event()

    def publish(self: Results, *which: Any) -> None:
        inside.set()
        go_on.wait(20)
        real(self, *which)

    monkeypatch.setattr(Results, "publish", publish)
    put(FakeStep("mp4", video))
    task_id, (upload_id,) = registered(services)
    with running(lambda: attempt(services)):
        inside.wait(20)
        with running(lambda: delete(services, upload_id)):
            go_on.set()
    check_gone(services, task_id)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("protocol", ["tus", "multipart"])
def test_removing_a_running_task_stops_its_worker(services: Services, put: Put, protocol: str) -> None:
    """Its worker stops within 2 s; originals, results and what was in the making are gone."""
    gate, slow = threading.Event(), FakeStep("slow")
    slow.work = held(gate)
    put(FakeStep("mp4", video), slow)
    task_id, uploads = registered(services, 1 if protocol == "tus" else 2, protocol)
    with running(lambda: attempt(services)):
        try:
            until(lambda: slow.calls, what="a step runs")
            assert services.removal.remove_task(task_id, DEFAULT_OWNER, even_running=True)
            assert all(services.store.size(upload_id) is None for upload_id in uploads)
            within(lambda: not on_disk(services, task_id), seconds=3, what="its worker has stopped")
        finally:
            gate.set()
    check_gone(services, task_id)
    assert services.removal.remove_task(task_id, DEFAULT_OWNER, even_running=True), "again"
    with pytest.raises(TaskEndedError):
        services.deletion.cancel(task_id, DEFAULT_OWNER)


@pytest.mark.sampled(1)
def test_removing_an_infected_file_empties_the_quarantine(services: Services, put: Put) -> None:
    """What lies in quarantine goes too; the deletion and the quarantine may come in either order."""
    put(FakeStep("scan", failing(*[StepError("infected", signature="Eicar")] * 2)))
    task_id, (upload_id,) = registered(services)
    assert attempt(services)
    assert services.store.size_in_quarantine(upload_id) == 5
    assert delete(services, upload_id)
    check_gone(services, task_id)
    other, (late,) = registered(services)
    assert services.removal.remove_task(other, None, even_running=True)
    services.quarantine(late)
    services.sweep()
    check_gone(services, other)


def test_a_removal_of_a_locked_file_is_completed_by_the_sweep(services: Services, put: Put) -> None:
    """The rows say it at once, `check` and a dry run tell what is left, and one sweep ends it."""
    put(FakeStep("mp4", video))
    task_id, (upload_id,) = registered(services)
    assert attempt(services)
    with services.locks.try_hold(upload_id) as is_held:
        assert is_held
        assert not services.removal.remove_task(task_id, DEFAULT_OWNER, even_running=True)
        assert task(services, task_id)["status"] == "removed"
        assert services.sweep().numbers["removed_results"] == 0
        assert not [found for found in services.checker.find_mismatches() if found.kind == "file_half_removed"], (
            "somebody is at it"
        )
    kinds = {found.kind: found.kind.is_swept for found in services.checker.find_mismatches()}
    assert kinds == {"file_half_removed": True, "upload_half_removed": True}
    before = on_disk(services, task_id, upload_id)
    report = services.sweep(dry_run=True)
    assert (report.numbers["removed"], report.numbers["removed_results"], report.freed) == (1, 1, 10)
    assert on_disk(services, task_id, upload_id) == before
    done = services.sweep()
    assert (done.numbers["removed"], done.numbers["removed_results"], done.freed, done.numbers["failed"]) == (
        1,
        1,
        10,
        0,
    )
    check_gone(services, task_id)


@pytest.mark.parametrize("status", ["error", "cancelled", "completed"])
def test_an_ended_task_is_removed_with_its_last_file(services: Services, put: Put, status: str) -> None:
    """The task stays what it was while a file is left; then it is removed, and an operator cannot retry it."""
    put(FakeStep("mp4", video if status != "error" else failing(*[StepError("not_playable")] * 2)))
    task_id, (first, second) = registered(services, 2)
    if status == "cancelled":
        services.deletion.cancel(task_id, DEFAULT_OWNER)
    else:
        assert attempt(services)
    ended = task(services, task_id)["finished_at"]
    assert delete(services, first)
    assert task(services, task_id)["status"] == status
    assert delete(services, second)
    assert not delete(services, second)
    assert task(services, task_id)["finished_at"] == ended
    with pytest.raises(TaskGoneError), services.database.write() as session:
        retry(session, task_id, None, node=services.node, has_bytes=lambda _: True, now=services.clock())
    check_gone(services, task_id)


def test_files_in_another_data_folder_are_removed_by_their_own_server(services: Services, put: Put) -> None:
    """A task whose files lie elsewhere is removed in the rows; its own server's sweep takes them away."""
    put(FakeStep("mp4", video))
    task_id, uploads = registered(services)
    assert attempt(services)
    execute(services.settings.sqlalchemy_url, "UPDATE tasks SET node = 'elsewhere' WHERE id = :id", id=task_id)
    before = on_disk(services, task_id)
    services.removal.remove_task(task_id, DEFAULT_OWNER, even_running=True)
    assert task(services, task_id)["status"] == "removed"
    assert on_disk(services, task_id) == before
    services.sweep()
    assert files(services, task_id)[0]["removing"]
    assert on_disk(services, uploads[0])
    execute(
        services.settings.sqlalchemy_url, "UPDATE tasks SET node = :node WHERE id = :id", node=services.node, id=task_id
    )
    services.sweep()
    check_gone(services, task_id)


@pytest.mark.sampled(1)
def test_concurrent_workers_and_deletions_leave_no_inconsistency(services: Services, put: Put) -> None:
    """Workers, deletions of files and tasks, and sweeps: in the end nothing is left of what was deleted, all else is
    there, and everything fits together."""
    dice = random.Random(11)
    put(FakeStep("mp4", video), FakeStep("slow", lambda _: {}))
    made = [registered(services, dice.choice([1, 2, 3])) for _ in range(12)]
    uploads = [upload_id for _, ids in made for upload_id in ids]
    chosen = dice.sample(uploads, len(uploads) // 2)
    tasks = [task_id for task_id, _ in dice.sample(made, 4)]

    def work() -> None:
        while attempt(services):
            pass

    def delete_files() -> None:
        for upload_id in chosen:
            until(partial(try_delete, services, upload_id), what="the upload's lock is free")

    def delete_tasks() -> None:
        for task_id in tasks:
            services.removal.remove_task(task_id, None, even_running=True)

    with running(work, work, delete_files, delete_files, delete_tasks, *[services.sweep] * 2):
        pass
    work()
    services.sweep()
    assert services.checker.find_mismatches() == []
    for task_id, _ in made:
        check_left(services, task_id, set(uploads) if task_id in tasks else set(chosen))


def try_delete(services: Services, upload_id: str) -> bool:
    """Delete an upload if its lock is free; whether it was."""
    with services.locks.try_hold(upload_id) as is_held:
        if is_held:
            services.removal.remove_upload(upload_id)
    return is_held


def check_left(services: Services, task_id: str, deleted: set[str]) -> None:
    """Of a task whose other files were completed: what is told, and what lies on the disk."""
    found = files(services, task_id)
    for file in found:
        assert file["status"] == ("removed" if file["upload_id"] in deleted else "completed"), file
        paths = on_disk(services, file["id"], file["upload_id"])
        # An original, a folder, and a result in it.
        assert len(paths) == (0 if file["status"] == "removed" else 3), (file, paths)
    is_removed = all(file["status"] == "removed" for file in found)
    assert task(services, task_id)["status"] == ("removed" if is_removed else "completed")
