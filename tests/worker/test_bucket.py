"""Workers of several hosts with one bucket: any of them takes any task, and their folders may be lost at any moment."""

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.bootstrap import Services
from server.database.models import DEFAULT_OWNER
from server.errors import StepError
from server.pipeline.step import StepContext
from server.settings import Settings
from server.storage.s3 import cache
from server.uploads.new_upload import NewUpload
from tests.harness.bucket_results import content
from tests.harness.migrated import migrate
from tests.harness.object_store import ObjectStore, in_bucket, object_store  # noqa: F401  # the third is a fixture
from tests.harness.rows import query
from tests.harness.steps import FakeStep, failing
from tests.storage.s3.driving import append, noise
from tests.worker.attempts import ATTEMPTS, SetSteps, end_pauses, run_attempt, step, task

DATA = noise(6_000_000)


@pytest.fixture
def hosts(
    object_store: ObjectStore,  # noqa: F811
    tmp_path: Path,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Services, Services]]:
    """Two hosts, each with a folder of its own."""
    migrate(database_url)
    place: Any = in_bucket(object_store, monkeypatch, database_url=database_url, task_max_attempts=ATTEMPTS)
    one, two = (Settings(data_dir=tmp_path / name, **place) for name in ("one", "two"))
    with Services.open(one) as first, Services.open(two) as second:
        first.claim_store()
        yield first, second


def register(services: Services) -> tuple[str, str]:
    """A task whose original is in the bucket; its id, and that of its upload."""
    task_id, upload_id = services.new_id(), services.new_id()
    values: dict[str, Any] = {"protocol": "multipart", "task_id": task_id, "length": len(DATA)}
    with services.locks.try_hold(task_id) as held:
        assert held
        services.repository.insert(NewUpload(id=upload_id, owner=DEFAULT_OWNER, filename="a.mp4", **values))
        append(services.store, upload_id, 0, DATA)
        services.store.finish(upload_id)
        services.completion.complete_verified({upload_id: "mp4"}, task_id)
    return task_id, upload_id


def poster(context: StepContext) -> dict[str, object]:
    """Work that copies the first bytes of what it reads."""
    (context.output / "poster.jpg").write_bytes(context.source.read_bytes()[:1000])
    return {"has_poster": True}


def test_any_host_takes_a_task_and_any_host_has_its_results(
    hosts: tuple[Services, Services], set_steps: SetSteps
) -> None:
    """The host that received the upload does nothing more; the one that processed it loses its folder."""
    first, second = hosts
    set_steps(FakeStep("poster", poster))
    task_id, _ = register(first)
    assert run_attempt(second)
    assert task(first)["status"] == "completed"
    for folder in ("results", "work", "cache"):
        shutil.rmtree(second.settings.data_dir / folder)
    (row,) = query(first.settings.sqlalchemy_url, "SELECT id FROM task_files")
    for services in hosts:
        assert content(services.results.look_up(task_id, row["id"], "poster.jpg")) == DATA[:1000]
        assert services.checker.find_mismatches() == []
    assert first.removal.remove_task(task_id, None, even_running=False)
    assert query(first.settings.sqlalchemy_url, "SELECT id FROM result_sets") == []


def test_a_cache_that_is_emptied_is_no_fault_of_the_file(hosts: tuple[Services, Services], set_steps: SetSteps) -> None:
    """The step fails since its copy is gone, the task waits, and another attempt reads the right bytes."""
    first, _ = hosts

    def emptied(context: StepContext) -> dict[str, object]:
        context.source.unlink()
        raise StepError("not_playable")

    works = iter([emptied, poster])
    set_steps(FakeStep("poster", lambda context: next(works)(context)))
    register(first)
    assert run_attempt(first)
    assert (task(first)["status"], task(first)["waiting_code"]) == ("processing", "unavailable")
    end_pauses(first)
    assert run_attempt(first)
    assert (task(first)["status"], step(first, "poster")["failures"]) == ("completed", 0)


def test_a_file_that_is_to_blame_fails_with_its_copy_there(
    hosts: tuple[Services, Services], set_steps: SetSteps
) -> None:
    """And so does one whose original was deleted: there is nothing to try again."""
    first, _ = hosts

    def deleted(context: StepContext) -> dict[str, object]:
        first.store.delete(upload_id)
        raise StepError("original_missing")

    set_steps(FakeStep("probe", failing(StepError("not_playable"))))
    register(first)
    assert run_attempt(first)
    assert (task(first)["status"], task(first)["error_code"]) == ("error", "not_playable")
    set_steps(FakeStep("probe", deleted))
    task_id, upload_id = register(first)
    assert run_attempt(first)
    found = query(first.settings.sqlalchemy_url, "SELECT error_code FROM tasks WHERE id = :id", id=task_id)
    assert found == [{"error_code": "original_missing"}]


def test_a_full_disk_of_the_cache_is_told_and_tried_again(
    hosts: tuple[Services, Services], set_steps: SetSteps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The part that was copied is given back, and the task waits for space, however long that takes."""
    first, _ = hosts
    set_steps(FakeStep("poster", poster))
    register(first)
    real = cache._fill

    def full(file: Any, size: int, pieces: Any) -> None:
        file.write(b"x" * 1000)
        file.flush()
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(cache, "_fill", full)
    assert run_attempt(first)
    assert (task(first)["status"], task(first)["waiting_code"]) == ("processing", "disk_full")
    assert sum(path.stat().st_size for path in (first.settings.data_dir / "cache").iterdir()) == 0
    monkeypatch.setattr(cache, "_fill", real)
    end_pauses(first)
    assert run_attempt(first)
    assert task(first)["status"] == "completed"


def test_a_bucket_that_is_away_postpones_the_task(
    hosts: tuple[Services, Services],
    set_steps: SetSteps,
    object_store: ObjectStore,  # noqa: F811
) -> None:
    """It goes away after the step read its original: nothing is lost, no failure counts, and another host goes on."""
    first, second = hosts

    def away(context: StepContext) -> dict[str, object]:
        found = poster(context)
        object_store.halt()
        return found

    works = iter([away, poster])
    set_steps(FakeStep("poster", lambda context: next(works)(context)))
    register(first)
    try:
        assert run_attempt(first)
        assert (task(first)["status"], task(first)["waiting_code"]) == ("processing", "unavailable")
    finally:
        object_store.resume()
    end_pauses(first)
    assert run_attempt(second)
    assert (task(first)["status"], step(first, "poster")["failures"]) == ("completed", 0)
    first.sweep()
    assert [row["status"] for row in query(first.settings.sqlalchemy_url, "SELECT status FROM result_sets")] == [
        "published"
    ]
