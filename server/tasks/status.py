"""The status of a task as clients get it: in answers, lists, events and webhooks.

Rule: the status values, keys and Chinese sentences are a contract with clients that cannot be changed. A removed task
is `cancelled` for clients that know only the documented values, and has `removed: true` for all others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from server.database.models import TaskFile
from server.errors import Param
from server.lifecycle import FileStatus, StepStatus, TaskStatus
from server.messages import Language, sentence
from server.tasks import status_rows
from server.tasks.file_steps import INFECTED, SCAN
from server.tasks.status_rows import TaskRows as TaskRows

POSTER_URL = "poster_url"
RESULT_URLS = {
    POSTER_URL: (TaskFile.has_poster, "poster.jpg"),
    "mp4_url": (TaskFile.has_mp4, "video.mp4"),
    "hls_url": (TaskFile.has_hls, "hls/index.m3u8"),
    "storyboard_url": (TaskFile.has_storyboard, "storyboard.vtt"),
}
"""The results that have a URL in the status: the column that says so, and the file's name."""

HIDDEN = (FileStatus.ERROR, FileStatus.CANCELLED, FileStatus.REMOVED)
"""No result of files in these states is shown, whatever was made before."""
UNENDED = (StepStatus.WAITING, StepStatus.PROCESSING)
"""The states of a step that has not ended."""


def find(session: Session, task_id: str, owner: str | None) -> TaskRows:
    """The rows of one task; of any owner where `owner` is None. Raises `TaskNotFoundError`."""
    session.flush()
    return status_rows.check(status_rows.look(session.connection(), task_id), owner)


def is_shown(file: Any, steps: Sequence[Any]) -> bool:
    """Whether the results of a file may be shown: not before its scan has ended, and not once it has failed or was
    removed."""
    is_scanned = not any(step.name == SCAN and step.status in UNENDED for step in steps)
    return is_scanned and file.scan != INFECTED and file.status not in HIDDEN


@dataclass(frozen=True)
class Places:
    """Where the URLs of a task's files begin: the origin with its prefix, the signature of results if there is one, and
    the last segment of the URL of each original, by the file's id; none where originals are not shown."""

    base: str
    signature: str | None
    originals: Mapping[str, str]


def urls(places: Places, file: Any, *, shown: bool) -> dict[str, str | None]:
    """The absolute URLs of a file's results and original; None for one that does not exist (yet)."""
    # The signature stands before what playlists refer to relatively.
    signature = f"~{places.signature}/" if places.signature else ""
    place = f"{places.base}/media/{signature}{file.task_id}/{file.id}/"
    found = result_urls(place, file, shown=shown)
    if file.id in places.originals:
        found["original_url"] = f"{places.base}/files/{places.originals[file.id]}" if shown else None
    return found


def result_urls(place: str, file: Any, *, shown: bool) -> dict[str, str | None]:
    """The URLs of a file's results below `place`; None for one that does not exist (yet)."""
    found = {
        key: place + name if shown and getattr(file, column.key) else None
        for key, (column, name) in RESULT_URLS.items()
    }
    if found[POSTER_URL] is not None and file.poster_version:
        # Another poster has another URL: a browser keeps the one that it has for an hour.
        found[POSTER_URL] = f"{found[POSTER_URL]}?v={file.poster_version}"
    return found


def as_json(found: TaskRows, places: Places, reader: Language, *, with_steps: bool = True) -> dict[str, object]:
    """The status as clients get it; lists leave out the steps of the files."""
    task, ones, steps = found.task, found.files, found.steps
    created_at = _documented(task.created_at)
    is_removed = task.status is TaskStatus.REMOVED
    return {
        "success": True,
        "task_id": task.id,
        "status": TaskStatus.CANCELLED.value if is_removed else task.status.value,
        "removed": is_removed,
        "message": _message(task, found.arrived, reader),
        "title": task.title,
        "passthrough": task.passthrough,
        "progress": task.progress,
        "partial": task.partial,
        "playable": task.playable and all(is_shown(file, steps.get(file.id, ())) for file in ones if file.playable),
        "step": task.step,
        "eta_seconds": task.eta_seconds,
        "waiting": _error(task.waiting_code, task.waiting_params, reader),
        "files": [_file(file, steps.get(file.id, ()), places, reader, with_steps) for file in ones],
        "created_at": created_at,
        "created_at_utc": created_at + "Z",
    }


def _message(task: Any, arrived: int, reader: Language) -> str:
    match task.status:
        case TaskStatus.UPLOADED if task.gather_until:
            return sentence("task_gathering", {"arrived": arrived, "files": task.file_count}, reader)
        case TaskStatus.PROCESSING if task.waiting_code:
            reason = sentence(task.waiting_code, task.waiting_params or {}, reader)
            return sentence("task_waiting", {"reason": reason}, reader)
        case TaskStatus.PROCESSING:
            current = max(1, task.current_file)
            return sentence("task_processing", {"current": current, "total": task.file_count}, reader)
        case TaskStatus.ERROR:
            reason = sentence(task.error_code or "not_found", task.error_params or {}, reader)
            return sentence("task_error", {"reason": reason}, reader)
        case other:
            return sentence(f"task_{other.value}", {}, reader)


def _file(file: Any, steps: Sequence[Any], places: Places, reader: Language, with_steps: bool) -> dict[str, object]:
    shown = is_shown(file, steps)
    # An earlier failure of a removed task is for reports only.
    why: tuple[str | None, Any] = (
        ("file_removed", None) if file.status is FileStatus.REMOVED else (file.error_code, file.error_params)
    )
    return {
        "id": file.id,
        "name": file.name,
        "size": file.size,
        "status": file.status.value,
        "progress": file.progress,
        "duration": file.duration,
        "width": file.width,
        "height": file.height,
        "frame_rate": file.frame_rate,
        "container": file.container,
        "video_codec": file.video_codec,
        "audio_codec": file.audio_codec,
        "audio_tracks": file.audio_tracks,
        "hdr": file.hdr,
        "variable_frame_rate": file.variable_frame_rate,
        "scan": file.scan,
        "playable": shown and file.playable,
        "poster": file.poster_from or "automatic",
        **urls(places, file, shown=shown),
        **({"steps": [_step(step, reader) for step in steps]} if with_steps else {}),
        "remarks": [{"code": code, "message": sentence(code, {}, reader)} for code in file.remarks],
        "error": _error(*why, reader),
    }


def _step(step: Any, reader: Language) -> dict[str, object]:
    return {
        "name": step.name,
        "status": step.status.value,
        "progress": step.progress,
        "seconds": _seconds(step.started_at, step.finished_at),
        "error": _error(step.error_code, step.error_params, reader),
    }


def _seconds(begin: datetime | None, end: datetime | None) -> float | None:
    """How long a step took, with its repetitions; None until it has ended."""
    if begin is None or end is None:
        return None
    return max(0.0, round((end - begin).total_seconds(), 2))  # a clock may be set back


def _error(code: str | None, params: Mapping[str, Param] | None, reader: Language) -> dict[str, str] | None:
    return {"code": code, "message": sentence(code, params or {}, reader)} if code else None


def _documented(moment: datetime) -> str:
    """UTC to the second, without a zone, as the document has it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S")
