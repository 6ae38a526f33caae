"""Tasks on an empty database, and their rows, for the tests of the queue."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import insert, select, update

from server.database.models import DEFAULT_OWNER, Task, TaskEvent, Upload
from server.database.session import Database, changed
from server.database.types import database_time
from server.lifecycle import UploadStatus
from server.tasks import file_steps, queue
from server.tasks.queue import Claim, Failure

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
LEASE = 30.0
STEPS = {"probe": True, "poster": True, "mp4": False}


def new_id() -> str:
    """A UUID."""
    return str(uuid4())


def register(
    database: Database, *, files: int = 1, at: datetime = NOW, node: str = "node", owner: str = DEFAULT_OWNER
) -> str:
    """A waiting task of so many files."""
    task_id = new_id()
    with database.write() as session:
        uploads = [new_id() for _ in range(files)]
        for upload_id in uploads:
            session.execute(
                insert(Upload).values(
                    id=upload_id,
                    owner=owner,
                    status=UploadStatus.COMPLETE,
                    protocol="tus",
                    length=5,
                    has_bytes=True,
                    task_id=task_id,
                    created_at=at,
                    updated_at=at,
                    expires_at=at,
                )
            )
        new = [queue.NewFile(upload_id, "a.mp4", "a.mp4", 5, "mp4") for upload_id in uploads]
        queue.register(session.connection(), task_id, owner, new, node=node, now=at, new_id=new_id)
    return task_id


def claim(database: Database, worker: str = "node/1", **asked: Any) -> Claim | None:
    """The task that a worker gets, or None."""
    with database.write() as session:
        return queue.claim(session, worker, node="node", lease=LEASE, now=NOW, **asked)


def claimed(database: Database, worker: str = "node/1", **asked: Any) -> Claim:
    """The task that a worker must get."""
    found = claim(database, worker, **asked)
    assert found is not None
    return found


def write(database: Database, work: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """One transaction."""
    with database.write() as session:
        return work(session, *args, **named)


def task(database: Database, task_id: str) -> Task:
    """Its row."""
    with database.read() as session:
        return session.get_one(Task, task_id)


def file_ids(database: Database, task_id: str) -> list[str]:
    """Its files, in order."""
    with database.read() as session:
        return [file.id for file in queue.files_of(session, task_id)]


def kinds(database: Database, task_id: str) -> list[str]:
    """Its events, in order."""
    with database.read() as session:
        query = (
            select(TaskEvent.type)
            .where(TaskEvent.task_id == task_id, TaskEvent.upload_id.is_(None))
            .order_by(TaskEvent.id)
        )
        return list(session.scalars(query))


def move_lease(database: Database, task_id: str, seconds: float) -> None:
    """The lease of a task ends so many seconds from the database's now, as if its clock had jumped."""
    values = {"lease_expires_at": database_time(seconds)}
    write(database, lambda s: changed(s, update(Task).where(Task.id == task_id).values(values)))


def let_lease_run_out(database: Database, task_id: str) -> None:
    """Its worker has been silent for a day."""
    move_lease(database, task_id, -86_400)


def end_file(database: Database, mine: queue.Claim, file_id: str, *, works: bool = True) -> None:
    """A worker brings a file to its end."""
    write(database, file_steps.begin_file, mine, file_id, STEPS)
    if works:
        found = {"playable": True, "has_mp4": True}
        assert write(database, file_steps.begin_step, mine, file_id, "poster", now=NOW)
        assert write(database, file_steps.complete_step, mine, file_id, "poster", found, now=NOW)
        assert write(database, file_steps.complete_file, mine, file_id, now=NOW)
    else:
        assert write(database, file_steps.fail_file, mine, file_id, Failure("not_playable", {}), now=NOW)
