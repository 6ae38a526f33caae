"""What an operator can change: cancel, retry or delete a task, remove an upload.

Rule: a refused move changes nothing and raises `ActionRefusedError` with a sentence for the terminal, or
`UnknownError` when there is no such row.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.auth.audit import OPERATOR, AuditLog, Entry
from server.bootstrap import Services, utc_now
from server.database import migration
from server.database.models import Task, Upload
from server.database.session import AWAY, Database, reason
from server.errors import (
    StartError,
    TaskEndedError,
    TaskGoneError,
    TaskNotEndedError,
    TaskNotFoundError,
    TaskNotRetriedError,
    UploadLockedError,
)
from server.lifecycle import UPLOAD_MOVES, UploadStatus, sources
from server.messages import sentence
from server.settings import Settings
from server.storage.file_locks import FileLocks
from server.tasks.retry import Retried
from server.tasks.retry import retry as move_again
from server.tus.headers import is_id
from server.uploads import groups
from server.uploads.lease_locks import ask_holder


class UnknownError(Exception):
    """There is no task or upload of that id."""


class ActionRefusedError(Exception):
    """It is not possible now; the sentence says why."""


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """The database, without a migration. Raises `StartError` when it cannot be used."""
    file = settings.sqlalchemy_url.removeprefix("sqlite:///")
    if file != settings.sqlalchemy_url and not Path(file.partition("?")[0]).exists():
        raise StartError(f"There is no database {file}. Name the server's data folder with --data-dir.")
    database = Database(settings.sqlalchemy_url, 1)
    try:
        migration.check_fits(database.engine)
        yield database
    except AWAY as error:
        raise StartError(f"The database cannot be used: {reason(error)}") from None
    finally:
        database.close()


@contextmanager
def serving(settings: Settings) -> Iterator[Services]:
    """The server's own services over its data folder. Raises `StartError` when it is not a data folder."""
    if not (settings.data_dir / "node").exists():
        raise StartError(f"{settings.data_dir} is no data folder of a server; name it with --data-dir.")
    with opened(settings):
        pass
    with Services.open(settings) as services:
        services.claim_store()
        try:
            yield services
        except AWAY as error:
            raise StartError(f"The database cannot be used: {reason(error)}") from None


def audit(database: Database, action: str, kind: str, its_id: str, owner: str | None = None, **details: object) -> None:
    """Record in the audit log what an operator did."""
    entry = Entry(
        action=action, actor=OPERATOR, object_kind=kind, object_id=its_id, object_owner=owner, details=details or None
    )
    AuditLog(database=database, clock=utc_now).record_now(entry)


def cancel(database: Database, task_id: str, data_dir: Path | None = None) -> None:
    """Cancel a task of any owner; a cancelled task stays so. Its uploads into this data folder that are still open
    are stopped, and a sweep removes them."""
    with database.write() as session:
        task = session.get(Task, task_id) if is_id(task_id) else None
        if task is None:
            raise UnknownError(f"There is no task {task_id}.")
        try:
            ended = groups.cancel(session, task_id, task.owner, now=utc_now())
        except TaskEndedError:
            raise ActionRefusedError(f"The task is over: its status is `{task.status.value}`.") from None
    audit(database, "task_cancelled", "task", task_id, task.owner)
    if ended and data_dir is not None and (data_dir / "locks").is_dir():
        locks = FileLocks(data_dir / "locks")
        for upload_id in ended:
            locks.request_release(upload_id)
    if database.engine.dialect.name == "postgresql":
        for upload_id in ended:
            ask_holder(database, upload_id)


def retry(services: Services, task_id: str) -> Retried:
    """Have the failed files of an ended task tried again, and wake the workers."""
    if not is_id(task_id):
        raise UnknownError(f"There is no task {task_id}.")
    try:
        with services.database.write() as session:
            store = services.store
            has_bytes = lambda upload_id: store.size(upload_id) is not None  # noqa: E731
            done = move_again(session, task_id, None, node=services.node, has_bytes=has_bytes, now=utc_now())
    except TaskNotFoundError:
        raise UnknownError(f"There is no task {task_id}.") from None
    except (TaskNotEndedError, TaskGoneError, TaskNotRetriedError) as refused:
        raise ActionRefusedError(f"{sentence(refused.code, refused.params, 'en')}.") from None
    services.wake.notify()
    audit(services.database, "task_retried", "task", task_id)
    return done


def delete(services: Services, task_id: str) -> bool:
    """Delete a task of any owner, with its originals and results; a deleted task stays so.

    Returns whether all of it has left the disk already.
    """
    with services.database.read() as session:
        task = session.get(Task, task_id) if is_id(task_id) else None
    if task is None:
        raise UnknownError(f"There is no task {task_id}.")
    if task.node != services.node:
        raise ActionRefusedError("The task belongs to another data folder; name that one with --data-dir.")
    try:
        is_gone = services.removal.remove_task(task_id, None, even_running=True)
    except TaskNotFoundError:  # its rows were deleted meanwhile
        raise UnknownError(f"There is no task {task_id}.") from None
    audit(services.database, "task_removed", "task", task_id, task.owner)
    return is_gone


def terminate(services: Services, upload_id: str) -> None:
    """Remove an upload, open or complete, with everything that was made of it; a request that is sending its bytes is
    asked to release the lock."""
    if not is_id(upload_id):
        raise UnknownError(f"There is no upload {upload_id}.")

    async def under_lock() -> None:
        async with services.locks.hold(upload_id):
            await services.database.run(_remove, services, upload_id)

    try:
        asyncio.run(under_lock())
    except UploadLockedError:
        raise ActionRefusedError("Another request holds the upload and did not let go of it; try again.") from None
    audit(services.database, "upload_terminated", "upload", upload_id)


def _remove(services: Services, upload_id: str) -> None:
    with services.database.read() as session:
        row = session.get(Upload, upload_id)
    if row is None:
        raise UnknownError(f"There is no upload {upload_id}.")
    if row.status not in sources(UPLOAD_MOVES, UploadStatus.TERMINATED):
        raise ActionRefusedError(f"The upload is gone: its status is `{row.status.value}`.")
    if row.is_of_form and row.status is UploadStatus.OPEN:
        raise ActionRefusedError("The upload is part of a form that is being received; it ends with its request.")
    waits_for_parts = row.is_final and row.status is UploadStatus.OPEN
    if row.has_bytes and not waits_for_parts and services.store.size(upload_id) is None:
        # Otherwise the row would say that the bytes are gone while they are elsewhere for good.
        raise ActionRefusedError(
            f"Its bytes are not in {services.settings.data_dir}; name its data folder with --data-dir."
        )
    if not services.removal.remove_upload(upload_id):
        raise ActionRefusedError("The upload was removed meanwhile.")
