"""Following a task through the documented API, and what must be true all along the way."""

import io
import re
import time
from collections.abc import Collection
from typing import Any

import av

from tests.harness.server_process import ServerProcess
from tests.harness.waiting import PATIENCE, pauses

ENDS = frozenset({"completed", "error", "cancelled"})
FILE_KEYS = {
    "id", "name", "size", "status", "progress", "duration", "width", "height", "frame_rate", "container",
    "video_codec", "audio_codec", "audio_tracks", "hdr", "variable_frame_rate", "scan", "playable",
    "poster", "poster_url", "mp4_url", "hls_url", "storyboard_url", "steps", "remarks", "error",
}  # fmt: skip
MORE_FILE_KEYS = {"original_url"}  # with the setting `downloads`
STEP_KEYS = {"name", "status", "progress", "seconds", "error"}
DOCUMENTED_KEYS = {"success", "task_id", "status", "message", "progress", "files", "created_at"}
OUR_KEYS = {"created_at_utc", "partial", "playable", "step", "eta_seconds", "title", "passthrough"}


def follow(
    server: ServerProcess, task_id: str, *, until: Collection[str] = ENDS, seconds: float = 60, is_old: bool = False
) -> list[dict[str, Any]]:
    """Poll until the status is one of `until`; every distinct answer in order, the progress never falling.

    The answers of an old version (`is_old`) have the shape that they had then.
    """
    deadline = time.monotonic() + max(seconds, PATIENCE)
    seen: list[dict[str, Any]] = []
    for pause in pauses():
        answer = server.status(task_id)
        if not is_old:
            check_status_shape(answer, task_id)
        if seen:
            assert answer["progress"] >= seen[-1]["progress"], "the progress of the task fell"
        if not seen or answer != seen[-1]:
            seen.append(answer)
        if answer["status"] in until:
            return seen
        assert answer["status"] not in ENDS, f"the task ended as {answer['status']}: {answer}"
        assert time.monotonic() < deadline, f"the task did not get to {sorted(until)} in {seconds} s: {answer}"
        time.sleep(pause)
    raise AssertionError  # the pauses never end


def finish(server: ServerProcess, task_id: str, *, seconds: float = 60) -> dict[str, Any]:
    """The last answer of a task that must complete, at 100 with the documented sentence."""
    answer = follow(server, task_id, seconds=seconds)[-1]
    assert answer["status"] == "completed", answer
    assert answer["progress"] == 100
    assert answer["message"] == "处理完成"
    return answer


def check_status_shape(answer: dict[str, Any], task_id: str) -> None:
    """Every status answer has the documented fields in the documented form."""
    assert answer.keys() >= DOCUMENTED_KEYS | OUR_KEYS, answer
    assert answer["success"] is True
    assert answer["task_id"] == task_id
    assert type(answer["progress"]) is int
    assert 0 <= answer["progress"] <= 100
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", answer["created_at"]), answer["created_at"]
    assert answer["created_at_utc"] == answer["created_at"] + "Z"
    for file in answer["files"]:
        assert file.keys() - MORE_FILE_KEYS == FILE_KEYS, file.keys() ^ FILE_KEYS
        assert file["status"] in {"waiting", "processing", "completed", "error", "cancelled", "removed"}
        assert type(file["progress"]) is int
        assert (file["error"] is not None) == (file["status"] in ("error", "removed")), file
        for step in file["steps"]:
            assert step.keys() == STEP_KEYS, step.keys() ^ STEP_KEYS
            assert step["status"] in {"waiting", "processing", "completed", "skipped", "error", "cancelled"}
            assert 0 <= step["progress"] <= 100
        for error in (file["error"], *(step["error"] for step in file["steps"])):
            assert error is None or error.keys() == {"code", "message"}


def poster(server: ServerProcess, file: dict[str, Any]) -> tuple[int, int]:
    """Fetch a file's poster; it must be a JPEG that can be decoded. Its width and height."""
    assert file["poster_url"].startswith(f"{server.url}/media/"), file["poster_url"]
    assert file["poster_url"].endswith(f"/{file['id']}/poster.jpg"), file["poster_url"]
    response = server.http.get(file["poster_url"])
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/jpeg"
    assert response.content.startswith(b"\xff\xd8\xff")
    with av.open(io.BytesIO(response.content), "r") as picture:
        frame = next(picture.decode(video=0))
        return frame.width, frame.height
