"""The files that the rows refer to.

Rule: the rows decide, never the folders; only the contents of an HLS folder are read from the folder. A file without a
row (an upload of a form that is being received, the result of a step that has not ended) does not belong to it yet.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, or_, select

from server.database.models import TUS, Task, TaskFile, Upload, UploadPart
from server.lifecycle import UploadStatus
from server.tus.protocol import is_final

_BATCH = 1000

# The files of a column, below `results/<task>/<file>/`; a slash at its end stands for a folder.
_RESULTS = (
    (TaskFile.has_poster, ("poster.jpg",)),
    (TaskFile.has_mp4, ("video.mp4",)),
    (TaskFile.has_hls, ("hls/",)),
    (TaskFile.has_storyboard, ("storyboard.jpg", "storyboard.vtt")),
)


@dataclass(frozen=True)
class WantedFile:
    """A file, or a folder whose `path` ends with a slash, below the data folder.

    `limit` is how many of its bytes count, `length` how many it must have; None where that is not known.
    """

    path: str
    limit: int | None = None
    length: int | None = None
    is_open: bool = False
    is_required: bool = True


def uploads(connection: Connection, node: str) -> Iterator[WantedFile]:
    """Files of uploads in the data folder `node`.

    Finals come last: a part's file that no longer exists has become its final's.
    """
    elsewhere = select(Task.id).where(Task.id == Upload.task_id, Task.node != node).exists()
    rows = select(Upload.__table__).where(or_(Upload.has_bytes, Upload.in_quarantine), ~elsewhere)
    for condition in (~Upload.is_final, Upload.is_final):
        for row in connection.execute(rows.where(condition).execution_options(yield_per=_BATCH)):
            yield from _of_upload(row)


def _of_upload(row: Row[Any]) -> Iterator[WantedFile]:
    if row.in_quarantine:
        yield WantedFile(f"quarantine/{row.id}", is_required=False)  # it may be there, or still in the store
    path = f"uploads/{row.id[:2]}/{row.id}"
    if not row.has_bytes:
        return
    if row.status == UploadStatus.COMPLETE:
        # A part's file that a final shares goes on growing, and only the part's own bytes belong to it.
        yield WantedFile(path, limit=row.length, length=row.length)
    elif row.status == UploadStatus.OPEN and row.protocol == TUS:
        if not is_final(row.concat):
            counted = row.received if row.checked_from is None else min(row.received, row.checked_from)
            yield WantedFile(path, limit=counted, is_open=True, is_required=counted > 0)
        else:
            # It is being joined: bytes are added in order and never changed.
            yield WantedFile(path, is_open=True, is_required=False)


def results(connection: Connection, node: str) -> Iterator[WantedFile]:
    """Results of videos in the data folder `node`. A result never changes once its column refers to it."""
    columns = [column for column, _ in _RESULTS]
    files = select(TaskFile.task_id, TaskFile.id, *columns).join(Task, Task.id == TaskFile.task_id)
    query = files.where(Task.node == node, Task.has_results, or_(*columns))
    for row in connection.execute(query.execution_options(yield_per=_BATCH)):
        for column, names in _RESULTS:
            if getattr(row, column.key):
                for name in names:
                    yield WantedFile(f"results/{row.task_id}/{row.id}/{name}")


def is_joining(connection: Connection, upload_id: str) -> bool:
    """Whether the bytes of a complete part may lie in an open final one already."""
    uses = select(func.count()).select_from(UploadPart).join(Upload, Upload.id == UploadPart.final_id)
    return bool(connection.scalar(uses.where(UploadPart.part_id == upload_id, Upload.status == UploadStatus.OPEN)))
