"""What a worker writes about the files of its task, and about their steps.

Rule: each function locks the task's row first (`queue.hold`), so it happens under a valid claim, or not at all.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import and_, case, func, select, update
from sqlalchemy.orm import Session

from server.database.access_models import Grant
from server.database.models import Task, TaskFile, TaskStep, Upload
from server.database.session import changed
from server.lifecycle import FILE_MOVES, STEP_MOVES, FileStatus, StepStatus, ends, sources
from server.tasks import events
from server.tasks.queue import Claim, Failure, skip_steps, update_claimed

SCAN = "scan"
"""The step whose end has a column of its own."""

INFECTED = "infected"
"""The code of its failure that sends a file into quarantine."""

# What failures of the scan mean for the file.
_VERDICTS = {INFECTED: "infected", "too_large_to_scan": "too_large", "scan_limit": "too_large"}


def begin_file(
    session: Session, claimed: Claim, file_id: str, steps: Mapping[str, bool]
) -> Mapping[str, TaskStep] | None:
    """A worker begins a file with these steps, in order; unwanted steps are skipped.

    The current steps by name: an earlier attempt may have ended some. None when this worker no longer has the task.
    """
    if not _move_file(session, claimed, file_id, FileStatus.PROCESSING, {}):
        return None
    known = {step.name: step for step in steps_of(session, file_id)}
    for position, (name, is_wanted) in enumerate(steps.items(), 1):
        if name not in known:
            status = StepStatus.WAITING if is_wanted else StepStatus.SKIPPED
            known[name] = TaskStep(file_id=file_id, name=name, position=position, status=status)
            session.add(known[name])
        elif is_wanted == (known[name].status is StepStatus.SKIPPED) and known[name].status not in ends(STEP_MOVES):
            # The settings have changed since an earlier attempt.
            known[name].status = StepStatus.WAITING if is_wanted else StepStatus.SKIPPED
            known[name].error_code = known[name].error_params = None
    session.flush()
    if SCAN in known and known[SCAN].status in (StepStatus.WAITING, StepStatus.SKIPPED):
        scan = "skipped" if known[SCAN].status is StepStatus.SKIPPED else None
        changed(session, update(TaskFile).where(TaskFile.id == file_id).values(scan=scan))
    return known


def file_progress(session: Session, claimed: Claim, file_id: str, progress: int, steps: Mapping[str, int]) -> bool:
    """Write the progress of a file and its running steps, in percent; False when this worker no longer has the task."""
    raised = case((TaskFile.progress < progress, progress), else_=TaskFile.progress)
    mine = _move_file(session, claimed, file_id, FileStatus.PROCESSING, {"progress": raised})
    if mine:
        for step, percent in steps.items():
            running = (TaskStep.file_id == file_id, TaskStep.name == step, TaskStep.status == StepStatus.PROCESSING)
            changed(session, update(TaskStep).where(*running).values(progress=percent))
    return mine


def is_removed(session: Session, claimed: Claim, file_id: str) -> bool:
    """Whether this file was deleted while this worker still has the task, so that it goes on with the next file."""
    removed = (TaskFile.id == file_id, TaskFile.status == FileStatus.REMOVED)
    return update_claimed(session, claimed, {}) and session.scalar(select(TaskFile.id).where(*removed)) is not None


def complete_file(session: Session, claimed: Claim, file_id: str, *, now: datetime) -> bool:
    """All steps of a file have ended; False when this worker no longer has the task."""
    moved = _move_file(session, claimed, file_id, FileStatus.COMPLETED, {"progress": 100})
    if moved:
        skip_steps(session, file_id, now=now)
        _update_playable(session, claimed, now)
        data = {"file": file_id}
        events.append_of_claim(session, claimed, "file_completed", at=now, data=data)
    return moved


def fail_file(session: Session, claimed: Claim, file_id: str, failure: Failure, *, now: datetime) -> bool:
    """A file cannot be processed; its earlier results are hidden. False when this worker no longer has the task."""
    values = {"error_code": failure.code, "error_params": failure.params, "playable": False}
    moved = _move_file(session, claimed, file_id, FileStatus.ERROR, values)
    if moved:
        skip_steps(session, file_id, now=now)
        _update_playable(session, claimed, now)
        data = {"file": file_id, "code": failure.code}
        events.append_of_claim(session, claimed, "file_error", at=now, data=data)
    return moved


def steps_of(session: Session, file_id: str) -> Sequence[TaskStep]:
    """The steps of a file, in order; none before a worker has begun it."""
    return session.scalars(select(TaskStep).where(TaskStep.file_id == file_id).order_by(TaskStep.position)).all()


def steps_of_task(session: Session, task_id: str) -> Mapping[str, Sequence[TaskStep]]:
    """The steps of all files of a task, by file, in order."""
    found: dict[str, list[TaskStep]] = {}
    query = select(TaskStep).join(TaskFile, TaskFile.id == TaskStep.file_id).where(TaskFile.task_id == task_id)
    for step in session.scalars(query.order_by(TaskStep.position)):
        found.setdefault(step.file_id, []).append(step)
    return found


def begin_step(session: Session, claimed: Claim, file_id: str, step: str, *, now: datetime) -> bool:
    """A step runs; False when this worker no longer has the task."""
    if not update_claimed(session, claimed, {"step": step, "waiting_code": None, "waiting_params": None}):
        return False
    began = case((TaskStep.started_at.is_(None), now), else_=TaskStep.started_at)
    return _move_step(session, file_id, step, StepStatus.PROCESSING, {"started_at": began, "progress": 0})


def complete_step(
    session: Session, claimed: Claim, file_id: str, step: str, found: Mapping[str, Any], *, now: datetime
) -> bool:
    """A step is done; `found` are columns of the file's row. False when this worker no longer has the task.

    `remarks` among them are added to those that the file has.
    """
    if not update_claimed(session, claimed, {}):
        return False
    if "remarks" in found:
        found = {**found, "remarks": _joined_remarks(session, file_id, found["remarks"])}
    if not _move_file(session, claimed, file_id, FileStatus.PROCESSING, found):
        return False
    if "playable" in found:
        _update_playable(session, claimed, now)
    values = {"progress": 100, "finished_at": now, "error_code": None, "error_params": None}
    return _move_step(session, file_id, step, StepStatus.COMPLETED, values)


def fail_step(session: Session, claimed: Claim, file_id: str, step: str, failure: Failure, *, now: datetime) -> bool:
    """A step has failed for good; False when this worker no longer has the task."""
    values = {"error_code": failure.code, "error_params": failure.params, "finished_at": now}
    if not (update_claimed(session, claimed, {}) and _move_step(session, file_id, step, StepStatus.ERROR, values)):
        return False
    if failure.code in _VERDICTS:
        changed(session, update(TaskFile).where(TaskFile.id == file_id).values(scan=_VERDICTS[failure.code]))
    if failure.code == INFECTED:
        data = {"file": file_id, **failure.params}
        events.append_of_claim(session, claimed, "infected", at=now, data=data)
    return True


def retry_step(session: Session, claimed: Claim, file_id: str, step: str, failure: Failure, *, counts: bool) -> bool:
    """A step failed and will be tried again; False when this worker no longer has the task."""
    values = {
        "error_code": failure.code,
        "error_params": failure.params,
        "failures": TaskStep.failures + int(counts),
    }
    return update_claimed(session, claimed, {}) and _move_step(session, file_id, step, StepStatus.PROCESSING, values)


def _update_playable(session: Session, claimed: Claim, now: datetime) -> None:
    """A task can be played when one of its files can, and every other one either can or has ended."""
    of = select(TaskFile.id).where(TaskFile.task_id == claimed.task_id)
    waits = of.where(TaskFile.playable.is_(False), TaskFile.status.not_in(ends(FILE_MOVES)))
    before = session.scalar(select(Task.playable).where(Task.id == claimed.task_id))
    can_play = and_(of.where(TaskFile.playable).exists(), ~waits.exists())
    first = case((and_(Task.playable_at.is_(None), can_play), now), else_=Task.playable_at)
    update_claimed(session, claimed, {"playable": can_play, "playable_at": first})
    if before is False and session.scalar(select(Task.playable).where(Task.id == claimed.task_id)):
        events.append_of_claim(session, claimed, events.PLAYABLE, at=now)


def _joined_remarks(session: Session, file_id: str, added: Sequence[str]) -> list[str]:
    """The file's remarks with those of one more step, each once, in the order in which they came."""
    known = session.scalars(select(TaskFile.remarks).where(TaskFile.id == file_id)).one_or_none() or []
    return list(dict.fromkeys([*known, *added]))


def _move_file(session: Session, claimed: Claim, file_id: str, status: FileStatus, values: Mapping[str, Any]) -> bool:
    if not update_claimed(session, claimed, {}):
        return False
    allowed = and_(TaskFile.id == file_id, TaskFile.status.in_(sources(FILE_MOVES, status)))
    return bool(changed(session, update(TaskFile).where(allowed).values(status=status, **values)))


def _move_step(session: Session, file_id: str, step: str, status: StepStatus, values: Mapping[str, Any]) -> bool:
    which = (TaskStep.file_id == file_id, TaskStep.name == step, TaskStep.status.in_(sources(STEP_MOVES, status)))
    return bool(changed(session, update(TaskStep).where(*which).values(status=status, **values)))


def first_upload(session: Session, task_id: str) -> datetime | None:
    """When the first upload of the task was created."""
    return session.scalar(select(func.min(Upload.created_at)).where(Upload.task_id == task_id))


def max_duration(session: Session, upload_id: str) -> float | None:
    """The most seconds that the grant of an upload allows; None for any number."""
    return session.scalar(
        select(Grant.max_duration).join(Upload, Upload.grant_id == Grant.id).where(Upload.id == upload_id)
    )
