"""What retention may delete, as conditions in SQL.

Rule: a condition says what is so now; that the task has ended, and how long ago, its caller asks besides.
"""

from sqlalchemy import ColumnElement, and_, exists, func, literal_column, or_

from server.database.models import Task, TaskFile, Upload
from server.lifecycle import FileStatus, TaskStatus, UploadStatus

# Must match the text of an index.
HAS_NO_BYTES: ColumnElement[bool] = literal_column("NOT uploads.has_bytes")
"""The upload has no bytes in the store."""


def is_lost() -> ColumnElement[bool]:
    """A file that will never be shown: cancelled, or failed and without an original that a retry could use."""
    original = exists().where(Upload.id == TaskFile.upload_id, Upload.has_bytes, Upload.status == UploadStatus.COMPLETE)
    can_retry = and_(original, func.coalesce(TaskFile.scan, "") != "infected")
    return or_(
        TaskFile.status == FileStatus.CANCELLED,
        and_(TaskFile.status == FileStatus.ERROR, ~can_retry),
        # A cancelled task that is tried again makes everything anew, so earlier results are of no use.
        Task.status == TaskStatus.CANCELLED,
    )


def is_bare() -> ColumnElement[bool]:
    """The task has nothing on the disk."""
    needed = or_(Upload.has_bytes, Upload.in_quarantine, Upload.status == UploadStatus.OPEN)
    return and_(~Task.has_results, ~exists().where(Upload.task_id == Task.id, needed))
