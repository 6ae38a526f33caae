"""Groups: several tus uploads that become one task, whose id their client has chosen.

Rules:

- A group is the row of its task, which gathers (`gather_until`) until each of its uploads is whole or was refused.
  Until then no worker claims it.
- A change of a group locks that row first, then rows of uploads in the order of their ids: two changes never wait for
  each other, and the later one sees all that the earlier one did. So the order of the requests does not matter.
- Once a member is removed, or the last one was not created in time, the group has failed. The same transaction ends
  its open members too: no client goes on sending bytes that will not be used.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, Table, and_, delete, exists, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from server import filenames
from server.database.models import TUS, Task, TaskFile, Upload
from server.database.session import changed
from server.errors import (
    GroupDiffersError,
    GroupEndedError,
    GroupFullError,
    GroupPlaceTakenError,
    MediaTypeUnsupportedError,
    TaskTakenError,
    VideodockError,
)
from server.lifecycle import FILE_MOVES, TASK_MOVES, FileStatus, TaskStatus, UploadStatus, sources
from server.tasks import events, queue
from server.tasks.queue import Failure
from server.tus.group_metadata import Group
from server.uploads.new_upload import NewUpload

_Row = Any
_tasks = cast("Table", Task.__table__)


@dataclass(frozen=True)
class Slot:
    """A place in a group, reserved for an upload, or the upload of an earlier, equal request (`again`)."""

    task_id: str
    place: int
    again: str | None = None


def group_of(row: _Row) -> str | None:
    """The group that this row's upload is a member of; None for all others."""
    task_id: str = row.task_id
    return task_id if row.protocol == TUS and task_id != row.id else None


def find(session: Session, upload_id: str) -> str | None:
    """The same, for an id."""
    return session.scalar(select(Upload.task_id).where(Upload.id == upload_id, _is_member()))


def lock_row(session: Session, task_id: str) -> _Row | None:
    """Lock the row of a task until the end of the transaction; the row, if the task still gathers."""
    row = _hold(session, task_id)
    return row if row is not None and row.gather_until is not None else None


# Creation


def reserve_slot(
    session: Session,
    group: Group,
    new: NewUpload,
    *,
    node: str,
    now: datetime,
    until: datetime,
    size: Callable[[str], int | None],
) -> Slot:
    """A place in `group` for this upload, whose row is inserted next; the first one creates the task.

    A repeated request, whose first response was lost, finds the upload that it created: the one at the place that it
    names, or, where it names none and no place is left, one like it that has no byte yet (`size` returns the bytes).
    The group waits until `until` for the others.
    Raises `TaskTakenError`, `GroupDiffersError`, `GroupFullError`, `GroupPlaceTakenError`, `GroupEndedError`.
    """
    task = _hold(session, group.task_id) or _register_task(session, group, new.owner, node=node, now=now, until=until)
    members = _members(session, group.task_id)
    _check_ownership(task, members, new, node)
    again = _find_repeated(task, members, group, new, size)
    if again is not None:
        return again
    if task.gather_until is None or task.gather_until <= now:
        raise GroupEndedError
    if task.file_count != group.files:
        raise GroupDiffersError(files=task.file_count)
    taken = {file.position for file, _ in members}
    if group.place in taken:
        raise GroupPlaceTakenError(place=group.place)
    if len(taken) >= group.files:
        raise GroupFullError(files=group.files)
    changed(session, update(Task).where(Task.id == group.task_id).values(gather_until=until, updated_at=now))
    free = next(place for place in range(1, group.files + 1) if place not in taken)
    return Slot(group.task_id, group.place or free)


def add_member(session: Session, slot: Slot, new: NewUpload, file_id: str) -> None:
    """Add the upload, whose row exists now, to its group; the state of the task follows."""
    name = new.shown_name or filenames.FALLBACK
    session.execute(
        insert(TaskFile).values(
            id=file_id,
            task_id=slot.task_id,
            upload_id=new.id,
            position=slot.place,
            name=name,
            safe_name=filenames.safe(name),
            size=new.length or 0,
        )
    )
    if new.passthrough is not None:
        # Of several uploads, the first one that has a text gives it to the task.
        this = (Task.id == slot.task_id, Task.passthrough.is_(None))
        changed(session, update(Task).where(*this).values(passthrough=new.passthrough))


def withdraw_member(session: Session, upload_id: str) -> None:
    """Withdraw an open upload whose id no client received; its place is free. A group without members is removed
    as if it had never existed."""
    task_id = find(session, upload_id)
    if task_id is None or lock_row(session, task_id) is None:
        return
    is_open = (Upload.id == upload_id, Upload.status == UploadStatus.OPEN)
    if changed(session, update(Upload).where(*is_open).values(task_id=Upload.id)):
        changed(session, delete(TaskFile).where(TaskFile.upload_id == upload_id))
        is_empty = ~exists().where(TaskFile.task_id == task_id)
        changed(session, delete(Task).where(Task.id == task_id, is_empty))


# Completion, refusal, failure


def member_completed(session: Session, task: _Row, upload: Upload, now: datetime) -> None:
    """A member is whole; with the last one the task waits for a worker. The task's row is held."""
    facts = {"size": upload.length or 0, "media_type": upload.media_type}
    changed(session, update(TaskFile).where(TaskFile.upload_id == upload.id).values(**facts))
    _start_when_all_arrived(session, task, now)


def member_removed(
    session: Session,
    task: _Row,
    upload: _Row,
    target: UploadStatus,
    why: VideodockError | None,
    now: datetime,
) -> Sequence[str]:
    """A member has ended as `target`; the ids of those that end with it. The task's row is held, and the task gathers.

    A refused member (`why`) is a failed file, as in a form: the others go on without it.
    """
    if target is UploadStatus.REJECTED:
        _refuse(session, task, upload.id, why or MediaTypeUnsupportedError(accepted="?"), now)
        return ()
    code = "group_member_expired" if target is UploadStatus.EXPIRED else "group_member_removed"
    return _fail(session, task, Failure(code, {"name": upload.filename or filenames.FALLBACK}), now)


def is_overdue(node: str, now: datetime) -> ColumnElement[bool]:
    """Tasks of this data folder whose last member was not created in time."""
    files = select(func.count()).select_from(TaskFile).where(TaskFile.task_id == Task.id).scalar_subquery()
    return and_(Task.gather_until <= now, Task.node == node, files < Task.file_count)


def fail_overdue(session: Session, task_id: str, node: str, now: datetime) -> Sequence[str] | None:
    """Fail a group that is late; the ids of the members that end with it. None when it is no longer late."""
    task = lock_row(session, task_id)
    if task is None or not session.scalar(select(Task.id).where(Task.id == task_id, is_overdue(node, now))):
        return None
    created = len(_members(session, task_id))
    return _fail(session, task, Failure("group_late", {"created": created, "files": task.file_count}), now)


def cancel(session: Session, task_id: str, owner: str | None, *, now: datetime) -> Sequence[str]:
    """Cancel a task of any kind; the ids of open uploads that end with it.

    Raises `TaskNotFoundError`, `TaskEndedError`.
    """
    _hold(session, task_id)
    queue.cancel(session, task_id, owner, now=now)
    return _end_open_members(session, task_id, now)


def _is_member() -> ColumnElement[bool]:
    return and_(Upload.protocol == TUS, Upload.task_id != Upload.id)


def _hold(session: Session, task_id: str) -> _Row | None:
    return session.execute(select(_tasks).where(_tasks.c.id == task_id).with_for_update()).one_or_none()


def _members(session: Session, task_id: str) -> Sequence[tuple[TaskFile, Upload]]:
    query = select(TaskFile, Upload).join(Upload, Upload.id == TaskFile.upload_id).where(TaskFile.task_id == task_id)
    found = session.execute(query.order_by(TaskFile.position), execution_options={"populate_existing": True})
    return [(file, upload) for file, upload in found]


def _register_task(session: Session, group: Group, owner: str, *, node: str, now: datetime, until: datetime) -> _Row:
    """The row of the task, locked; another request may have created it just now. Raises `TaskTakenError`."""
    # Tasks and uploads share one space of ids: the task of a single upload has that upload's id.
    used = exists().where(or_(Upload.id == group.task_id, Upload.task_id == group.task_id))
    if session.scalar(select(used)):
        return _existing_task(session, group.task_id)
    values = {
        "id": group.task_id,
        "owner": owner,
        "node": node,
        "file_count": group.files,
        "gather_until": until,
        "created_at": now,
        "updated_at": now,
    }
    try:
        with session.begin_nested():
            session.execute(insert(Task).values(**values))
            events.append(
                session, group.task_id, "uploaded", owner=owner, at=now, data={"files": group.files, "gathers": True}
            )
    except IntegrityError:
        pass
    return _existing_task(session, group.task_id)


def _existing_task(session: Session, task_id: str) -> _Row:
    """The row that exists by now. Raises `TaskTakenError`."""
    made = _hold(session, task_id)
    if made is None:
        raise TaskTakenError
    return made


def _check_ownership(task: _Row, members: Sequence[tuple[TaskFile, Upload]], new: NewUpload, node: str) -> None:
    """Raises `TaskTakenError` for a task of another owner or data folder, or one that is not a group; and for one of
    others than the client's grant has made, unless the grant names it: each member may see and cancel all of it."""
    is_group = task.gather_until is not None or (members and all(group_of(upload) for _, upload in members))
    if task.owner != new.owner or task.node != node or not is_group:
        raise TaskTakenError
    grant = new.terms.grant_id
    if grant is not None and new.terms.task != task.id and any(upload.grant_id != grant for _, upload in members):
        raise TaskTakenError


def _find_repeated(
    task: _Row,
    members: Sequence[tuple[TaskFile, Upload]],
    group: Group,
    new: NewUpload,
    size: Callable[[str], int | None],
) -> Slot | None:
    if task.status in (TaskStatus.ERROR, TaskStatus.CANCELLED, TaskStatus.REMOVED):
        return None
    same = [upload for _, upload in members if _is_same(upload, new)]
    alike = [upload.id for upload in same if upload.status is UploadStatus.OPEN and not size(upload.id)]
    for file, upload in members:
        if not _is_same(upload, new):
            continue
        if group.place is None and not upload.is_final:
            # Two files may look equal: it is certain only when no place and no second candidate is left.
            is_it = len(members) >= task.file_count and alike == [upload.id]
        else:
            is_it = upload.status in (UploadStatus.OPEN, UploadStatus.COMPLETE)
        if is_it:
            return Slot(task.id, file.position, upload.id)
    return None


def _is_same(upload: Upload, new: NewUpload) -> bool:
    """The place is in the metadata; a deferred length is in the row by now, that of a final may be."""
    same_length = new.length in (None, upload.length) or upload.is_final
    return upload.metadata_raw == new.metadata_raw and upload.concat == new.concat and same_length


def _refuse(session: Session, task: _Row, upload_id: str, why: VideodockError, now: datetime) -> None:
    mine = and_(TaskFile.upload_id == upload_id, TaskFile.status.in_(sources(FILE_MOVES, FileStatus.ERROR)))
    file_id = session.scalar(select(TaskFile.id).where(mine))
    values = {"status": FileStatus.ERROR, "error_code": why.code, "error_params": why.params}
    changed(session, update(TaskFile).where(mine).values(**values))
    events.append(session, task.id, "file_error", owner=task.owner, at=now, data={"file": file_id, "code": why.code})
    _start_when_all_arrived(session, task, now)


def _start_when_all_arrived(session: Session, task: _Row, now: datetime) -> None:
    """After the last member is whole or refused: the task waits for a worker, or ends if all were refused."""
    members = _members(session, task.id)
    this = update(Task).where(Task.id == task.id)
    if len(members) < task.file_count or any(upload.status is UploadStatus.OPEN for _, upload in members):
        changed(session, this.values(updated_at=now))
        return
    if all(file.status is FileStatus.ERROR for file, _ in members):
        first = members[0][0]
        _fail_task(session, task, Failure(first.error_code or "media_type_unsupported", first.error_params or {}), now)
        return
    changed(session, this.values(gather_until=None, updated_at=now))
    events.append(session, task.id, "gathered", owner=task.owner, at=now)


def _fail(session: Session, task: _Row, failure: Failure, now: datetime) -> Sequence[str]:
    if not _fail_task(session, task, failure, now):
        return ()
    values = {"status": FileStatus.ERROR, "error_code": failure.code, "error_params": failure.params}
    open_files = and_(TaskFile.task_id == task.id, TaskFile.status.in_(sources(FILE_MOVES, FileStatus.ERROR)))
    changed(session, update(TaskFile).where(open_files).values(**values))
    return _end_open_members(session, task.id, now)


def _fail_task(session: Session, task: _Row, failure: Failure, now: datetime) -> bool:
    may_move = (Task.status.in_(sources(TASK_MOVES, TaskStatus.ERROR)), Task.gather_until.is_not(None))
    values = {"status": TaskStatus.ERROR, "error_code": failure.code, "error_params": failure.params}
    times = {"gather_until": None, "updated_at": now, "finished_at": now}
    moved = changed(session, update(Task).where(Task.id == task.id, *may_move).values(**values, **times))
    if moved:
        events.append(session, task.id, TaskStatus.ERROR.value, owner=task.owner, at=now, data={"code": failure.code})
    return bool(moved)


def _end_open_members(session: Session, task_id: str, now: datetime) -> Sequence[str]:
    """End the open members, in the order of their ids: every change of several uploads locks rows in that order."""
    query = select(Upload.id, Upload.task_id, Upload.owner, Upload.concat).where(
        Upload.task_id == task_id, Upload.protocol == TUS, Upload.status == UploadStatus.OPEN
    )
    rows = session.execute(query.order_by(Upload.id).with_for_update()).all()
    ids = [row.id for row in rows]
    ended = {"status": UploadStatus.TERMINATED, "updated_at": now}
    changed(session, update(Upload).where(Upload.id.in_(ids)).values(**ended))
    for row in rows:
        events.append_of_upload(session.connection(), row, events.of_end(UploadStatus.TERMINATED), at=now)
    return ids
