"""Posters that owners choose: made beside the pipeline, and put into place with the row.

Rules:

- Only a poster that no worker will make any more is replaced: that of a file which is completed, or whose step `poster`
  has ended.
- The row and the file change together, while the transaction holds the task's row: a removal comes before or after,
  and a reader finds the former poster or the new one.
"""

import math
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from server import media_types
from server.database.models import Task, TaskFile, TaskStep
from server.database.session import Database, changed
from server.errors import (
    FieldInvalidError,
    FrameUnavailableError,
    NotFoundError,
    PictureInvalidError,
    PosterNotReadyError,
    StartError,
    StepError,
    TaskGoneError,
    TaskNotFoundError,
    UnavailableError,
)
from server.lifecycle import STEP_MOVES, FileStatus, TaskStatus, ends
from server.pipeline import chosen_poster
from server.pipeline.chosen_poster import Source
from server.pipeline.step import Cancelled, TryLaterError
from server.pipeline.steps.poster import FILE_NAME, Poster
from server.settings import Settings
from server.storage.base import UploadStore
from server.storage.result_store import CHOSEN_ATTEMPTS, ResultStore
from server.tasks import events

CHANGED = "poster_changed"
FRAME, PICTURE = "frame", "picture"
"""What the column `poster_from` has."""

_VIDEO = "video.mp4"


@dataclass(frozen=True)
class _Target:
    task_id: str
    owner: str
    file_id: str
    upload_id: str
    media_type: str | None
    duration: float | None


@dataclass(frozen=True, kw_only=True, repr=False)
class Posters:
    """Changes posters. Everything here blocks, for as long as a child works.

    All raise `TaskNotFoundError`, `TaskGoneError`, `NotFoundError` (no such file of the task), `PosterNotReadyError`,
    `UnavailableError`; `owner` None may change any task, `file_id` None is the first file.
    """

    settings: Settings
    database: Database
    store: UploadStore
    results: ResultStore
    clock: Callable[[], datetime]
    stop: threading.Event = field(default_factory=threading.Event)
    """Ends what is being made."""

    def take_frame(self, task_id: str, owner: str | None, file_id: str | None, at: float) -> None:
        """Take the frame `at` so many seconds. Raises `FieldInvalidError`, `FrameUnavailableError`, too."""
        target = self._find(task_id, owner, file_id)
        if target.duration is not None and at > target.duration:
            raise FieldInvalidError(field="seconds", reason="field_range", least=0, most=math.floor(target.duration))

        def make(folder: Path) -> None:
            chosen_poster.from_frame(self._source(target), at, folder, self.settings, self.stop)

        self._replace(target, make, FRAME, FrameUnavailableError)

    def take_picture(self, task_id: str, owner: str | None, file_id: str | None, data: bytes) -> None:
        """Make the poster of this JPEG, PNG or WebP. Raises `PictureInvalidError`, too."""
        target = self._find(task_id, owner, file_id)
        demuxer = chosen_poster.demuxer_of(data)
        if demuxer is None:
            raise PictureInvalidError

        def make(folder: Path) -> None:
            picture = folder / "picture"
            picture.write_bytes(data)
            chosen_poster.from_picture(picture, demuxer, folder, self.settings, self.stop)

        self._replace(target, make, PICTURE, PictureInvalidError)

    def choose_again(self, task_id: str, owner: str | None, file_id: str | None) -> None:
        """Take the frame that the pipeline takes. Raises `FrameUnavailableError`, too."""
        target = self._find(task_id, owner, file_id)

        def make(folder: Path) -> None:
            chosen_poster.automatic(self._source(target), folder, self.settings, self.stop)

        self._replace(target, make, None, FrameUnavailableError)

    def _find(self, task_id: str, owner: str | None, file_id: str | None) -> _Target:
        with self.database.read() as session:
            return _target(session, task_id, owner, file_id, lock=False)

    def _source(self, target: _Target) -> Source:
        """What the frame is taken from: the MP4, which is what people see, else the original."""
        made = self.results.local_path(target.task_id, target.file_id, _VIDEO)
        if made is not None:
            return Source(made, "mov", target.duration)
        if target.media_type is None:
            raise FrameUnavailableError
        original = self.store.local_path(target.upload_id)
        return Source(original, media_types.get(target.media_type).demuxer, target.duration)

    def _replace(
        self,
        target: _Target,
        make: Callable[[Path], None],
        origin: str | None,
        refusal: type[FrameUnavailableError | PictureInvalidError],
    ) -> None:
        attempt = CHOSEN_ATTEMPTS + secrets.randbits(40)
        where = (target.task_id, attempt, target.file_id, Poster.name)
        folder = self.results.begin(*where)
        try:
            make(folder)
            self.results.seal(*where)
            self._publish(target, where, origin)
        except StepError:
            raise refusal from None
        except StartError:
            raise UnavailableError(part="ffmpeg") from None
        except (Cancelled, TryLaterError):
            raise UnavailableError(part="server") from None
        finally:
            self.results.discard(target.task_id, attempt)

    def _publish(self, target: _Target, where: tuple[str, int, str, str], origin: str | None) -> None:
        now = self.clock()
        with self.database.write() as session:
            _target(session, target.task_id, target.owner, target.file_id, lock=True)
            values = {"has_poster": True, "poster_from": origin, "poster_version": TaskFile.poster_version + 1}
            changed(session, update(TaskFile).where(TaskFile.id == target.file_id).values(values))
            changed(session, update(Task).where(Task.id == target.task_id).values(updated_at=now))
            data = {"file": target.file_id}
            events.append(session, target.task_id, CHANGED, owner=target.owner, at=now, data=data)
            self.results.replace(*where, FILE_NAME, session)


def _target(session: Session, task_id: str, owner: str | None, file_id: str | None, *, lock: bool) -> _Target:
    query = select(Task.owner, Task.status).where(Task.id == task_id)
    task = session.execute(query.with_for_update() if lock else query).one_or_none()
    if task is None or owner not in (None, task.owner):
        raise TaskNotFoundError
    if task.status is TaskStatus.REMOVED:
        raise TaskGoneError
    files = select(TaskFile).where(TaskFile.task_id == task_id).order_by(TaskFile.position)
    file = session.scalars(files if file_id is None else files.where(TaskFile.id == file_id)).first()
    if file is None:
        raise NotFoundError
    step = session.get(TaskStep, (file.id, Poster.name))
    has_ended = step is not None and step.status in ends(STEP_MOVES)
    if not (file.status is FileStatus.COMPLETED or (file.status is FileStatus.PROCESSING and has_ended)):
        raise PosterNotReadyError
    return _Target(task_id, task.owner, file.id, file.upload_id, file.media_type, file.duration)
