"""The states of uploads and tasks, and the moves between them, as data.

Rules:

- A status changes only along its table below. SQL never spells a list of states itself: the
  `WHERE status IN (...)` of a compare-and-set is built from `sources()`, so an illegal move matches
  no row and changes nothing.
- A state without an outgoing move is final for workers. Only an operator's retry and a removal on request leave it;
  they have separate tables.
- The values of `TaskStatus` are the documented API's and never change. `removed` alone is ours: the API returns
  `cancelled` for it (`docs/decisions/0013-removed-is-told-as-cancelled.md`).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

S = TypeVar("S", bound=StrEnum)


class UploadStatus(StrEnum):
    """The status of an upload. It never says how many bytes the upload has; the store does."""

    OPEN = "open"  # created; bytes may be appended
    COMPLETE = "complete"  # every byte is there and the task is registered
    REJECTED = "rejected"  # its first bytes were not those of an allowed video
    EXPIRED = "expired"  # not finished in time, removed by the sweep
    TERMINATED = "terminated"  # removed on request, or abandoned by its client


class TaskStatus(StrEnum):
    """The status of a task; its values are a contract with legacy clients."""

    UPLOADED = "uploaded"  # waiting for a worker
    PROCESSING = "processing"  # claimed by a worker
    COMPLETED = "completed"  # done; at least one file is playable
    ERROR = "error"  # done; no file is playable
    CANCELLED = "cancelled"  # stopped on request
    REMOVED = "removed"  # deleted on request with all its results; the row stays


class FileStatus(StrEnum):
    """The status of one file of a task."""

    WAITING = "waiting"
    PROCESSING = "processing"
    COMPLETED = "completed"
    ERROR = "error"
    CANCELLED = "cancelled"
    REMOVED = "removed"  # deleted on request with all its results; the row stays


class StepStatus(StrEnum):
    """The status of one step of a file."""

    WAITING = "waiting"
    PROCESSING = "processing"
    COMPLETED = "completed"
    SKIPPED = "skipped"  # switched off by the settings, or its file failed before
    ERROR = "error"
    CANCELLED = "cancelled"


UPLOAD_MOVES: Mapping[UploadStatus, frozenset[UploadStatus]] = {
    UploadStatus.OPEN: frozenset(
        {UploadStatus.COMPLETE, UploadStatus.REJECTED, UploadStatus.EXPIRED, UploadStatus.TERMINATED}
    ),
    # A complete upload is removed with its file of the task; a partial one that is not joined expires.
    UploadStatus.COMPLETE: frozenset({UploadStatus.TERMINATED, UploadStatus.EXPIRED}),
    UploadStatus.REJECTED: frozenset(),
    UploadStatus.EXPIRED: frozenset(),
    UploadStatus.TERMINATED: frozenset(),
}

TASK_MOVES: Mapping[TaskStatus, frozenset[TaskStatus]] = {
    # Uploaded to error: a group of uploads (`uploads/groups.py`) that never becomes whole.
    TaskStatus.UPLOADED: frozenset({TaskStatus.PROCESSING, TaskStatus.ERROR, TaskStatus.CANCELLED}),
    # Processing to processing: another worker takes over a task whose lease ran out.
    TaskStatus.PROCESSING: frozenset(
        {TaskStatus.PROCESSING, TaskStatus.COMPLETED, TaskStatus.ERROR, TaskStatus.CANCELLED}
    ),
    TaskStatus.COMPLETED: frozenset(),
    TaskStatus.ERROR: frozenset(),
    TaskStatus.CANCELLED: frozenset(),
    TaskStatus.REMOVED: frozenset(),
}

FILE_MOVES: Mapping[FileStatus, frozenset[FileStatus]] = {
    FileStatus.WAITING: frozenset({FileStatus.PROCESSING, FileStatus.ERROR, FileStatus.CANCELLED}),
    FileStatus.PROCESSING: frozenset(
        {FileStatus.PROCESSING, FileStatus.COMPLETED, FileStatus.ERROR, FileStatus.CANCELLED}
    ),
    FileStatus.COMPLETED: frozenset(),
    FileStatus.ERROR: frozenset(),
    FileStatus.CANCELLED: frozenset(),
    FileStatus.REMOVED: frozenset(),
}


STEP_MOVES: Mapping[StepStatus, frozenset[StepStatus]] = {
    StepStatus.WAITING: frozenset({StepStatus.PROCESSING, StepStatus.SKIPPED, StepStatus.CANCELLED}),
    StepStatus.PROCESSING: frozenset(
        {
            StepStatus.PROCESSING,
            StepStatus.COMPLETED,
            StepStatus.SKIPPED,
            StepStatus.ERROR,
            StepStatus.CANCELLED,
        }
    ),
    StepStatus.COMPLETED: frozenset(),
    # A later attempt may have other settings: a file that was not scanned is scanned as soon as there is a scanner.
    StepStatus.SKIPPED: frozenset({StepStatus.WAITING}),
    StepStatus.ERROR: frozenset(),
    StepStatus.CANCELLED: frozenset(),
}


# What an operator may have tried again. A completed state stays; a skipped one waits again too, since the failed step
# may have been the reason.
TASK_RETRIES: Mapping[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.COMPLETED: frozenset({TaskStatus.UPLOADED}),  # if some of its files failed
    TaskStatus.ERROR: frozenset({TaskStatus.UPLOADED}),
    TaskStatus.CANCELLED: frozenset({TaskStatus.UPLOADED}),
}
FILE_RETRIES: Mapping[FileStatus, frozenset[FileStatus]] = {
    FileStatus.ERROR: frozenset({FileStatus.WAITING}),
    FileStatus.CANCELLED: frozenset({FileStatus.WAITING}),
}
STEP_RETRIES: Mapping[StepStatus, frozenset[StepStatus]] = {
    StepStatus.CANCELLED: frozenset({StepStatus.WAITING}),
    StepStatus.ERROR: frozenset({StepStatus.WAITING}),
    StepStatus.SKIPPED: frozenset({StepStatus.WAITING}),
}

# The moves of a removal on request: at any time, also after an end.
TASK_REMOVALS: Mapping[TaskStatus, frozenset[TaskStatus]] = {
    status: frozenset({TaskStatus.REMOVED}) for status in TaskStatus if status is not TaskStatus.REMOVED
}
FILE_REMOVALS: Mapping[FileStatus, frozenset[FileStatus]] = {
    status: frozenset({FileStatus.REMOVED}) for status in FileStatus if status is not FileStatus.REMOVED
}


def sources(moves: Mapping[S, frozenset[S]], target: S) -> list[S]:
    """Every state from which `target` may be reached, in the order of the table."""
    return [state for state, targets in moves.items() if target in targets]


def ends(moves: Mapping[S, frozenset[S]]) -> list[S]:
    """Every state without an outgoing move."""
    return [state for state, targets in moves.items() if not targets]
