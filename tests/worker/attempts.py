"""Registers tasks, runs their attempts in this process, and reads their rows."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import select, update

from server.bootstrap import Services
from server.database.models import DEFAULT_OWNER, Task, TaskEvent
from server.database.session import changed
from server.database.types import database_time
from server.uploads.new_upload import NewUpload
from server.worker.runner import runner_of
from tests.harness.rows import query
from tests.harness.waiting import PATIENCE

SetSteps = Callable[..., None]
"""Replaces the steps of the pipeline in one test."""

ATTEMPTS = 3


def register_task(services: Services, count: int = 1) -> str:
    """A task of so many files that waits."""
    task_id = services.new_id()
    ids = [services.new_id() for _ in range(count)]
    values: dict[str, Any] = {"protocol": "multipart", "task_id": task_id, "length": 5}
    for upload_id in ids:
        services.repository.insert(NewUpload(id=upload_id, owner=DEFAULT_OWNER, filename="a.mp4", **values))
        services.store.local_path(upload_id).write_bytes(b"12345")
        services.store.finish(upload_id)
    services.completion.complete_verified(dict.fromkeys(ids, "mp4"), task_id)
    return task_id


def run_attempt(services: Services) -> bool:
    """One attempt at whatever can be claimed; whether there was something."""
    claimed = runner_of(services).claim_next("test/1")
    if claimed:
        runner_of(services).attempt(claimed, "").run()
    return claimed is not None


def end_pauses(services: Services) -> None:
    """All pauses and leases are over."""
    with services.database.write() as session:
        waits = update(Task).where(Task.lease_expires_at.is_not(None))
        changed(session, waits.values(lease_expires_at=database_time(-1)))


def task(services: Services) -> dict[str, Any]:
    """The row of the only task."""
    return query(services.settings.sqlalchemy_url, "SELECT * FROM tasks")[0]


def step(services: Services, name: str) -> dict[str, Any]:
    """The row of a step of the only file."""
    return query(services.settings.sqlalchemy_url, "SELECT * FROM task_steps WHERE name = :name", name=name)[0]


def events(services: Services, *kinds: str) -> list[tuple[str, dict[str, Any]]]:
    """The events of these kinds, in order, and what they say."""
    with services.database.read() as session:
        found = session.scalars(select(TaskEvent).where(TaskEvent.type.in_(kinds)).order_by(TaskEvent.id))
        return [(event.type, event.data or {}) for event in found]


@contextmanager
def running(services: Services) -> Iterator[threading.Thread]:
    """An attempt beside the test; it has ended at the end."""
    thread = threading.Thread(target=run_attempt, args=(services,))
    thread.start()
    try:
        yield thread
    finally:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def statuses(services: Services) -> list[str]:
    """Those of the files of the only task, in order."""
    rows = query(services.settings.sqlalchemy_url, "SELECT status FROM task_files ORDER BY position")
    return [row["status"] for row in rows]
