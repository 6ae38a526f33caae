"""What must be true of a video that has arrived, whatever way it came."""

import re
from pathlib import Path
from typing import Any

from tests.harness.rows import query, sha256
from tests.harness.server_process import ServerProcess
from tests.harness.tasks import finish, poster

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def upload_id(url: str) -> str:
    """The id at the end of an upload's URL."""
    found = url.rpartition("/")[2]
    assert UUID4.fullmatch(found), url
    return found


def check_arrived(server: ServerProcess, url: str, source: Path) -> dict[str, Any]:
    """A tus upload is whole on disk, became one task, and was processed; the last answer of its task."""
    upload = upload_id(url)
    answer = finish(server, upload)
    assert sha256(server.stored(upload)) == sha256(source)

    head = server.http.head(f"{server.url}/files/{upload}", headers={"Tus-Resumable": "1.0.0"})
    assert head.status_code == 200
    assert head.headers["Upload-Task"] == upload
    assert head.headers["Upload-Offset"] == head.headers["Upload-Length"] == str(source.stat().st_size)

    (file,) = answer["files"]
    assert (file["name"], file["size"]) == (source.name, source.stat().st_size)
    check_processed(server, file)
    check_events(server, upload)
    rows = query(server.database_url, "SELECT upload_id FROM task_files WHERE task_id = :task", task=upload)
    assert rows == [{"upload_id": upload}]
    return answer


def check_processed(server: ServerProcess, file: dict[str, Any]) -> None:
    """A file of a task was probed, and has a poster of the same shape as the picture."""
    assert (file["status"], file["progress"], file["error"]) == ("completed", 100, None), file
    assert file["duration"] > 0
    assert file["frame_rate"] > 0
    assert file["container"]
    assert file["video_codec"]
    width, height = poster(server, file)
    assert 16 <= max(width, height) <= 1280
    assert abs(width / height - file["width"] / file["height"]) < 0.05, (width, height, file)


def check_events(server: ServerProcess, task_id: str) -> None:
    """A task was registered once and completed once."""
    rows = query(
        server.database_url,
        "SELECT type FROM task_events WHERE task_id = :task AND upload_id IS NULL ORDER BY id",
        task=task_id,
    )
    types = [row["type"] for row in rows]
    assert types[0] == "uploaded", types
    assert types[-1] == "completed", types
    assert types.count("uploaded") == types.count("completed") == 1, types


def check_stored(server: ServerProcess, task_id: str, sources: list[Path]) -> None:
    """The files of a form lie on disk as they were sent, in their order."""
    rows = query(
        server.database_url,
        "SELECT name, upload_id FROM task_files WHERE task_id = :task ORDER BY position",
        task=task_id,
    )
    assert [row["name"] for row in rows] == [source.name for source in sources]
    for row, source in zip(rows, sources, strict=True):
        assert sha256(server.stored(row["upload_id"])) == sha256(source), source.name
