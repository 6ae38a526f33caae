"""`originals=drop`: an original goes once its task is completed and it can be played, and not a moment sooner."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from server.bootstrap import Services
from server.maintenance.sweep_report import SweepKind, SweepReport
from server.storage.disk import DiskStore
from tests.conftest import StartServer
from tests.harness.gate import Gate
from tests.harness.http import LiveServer, serving
from tests.harness.server_process import ServerProcess
from tests.harness.tasks import finish, follow
from tests.harness.waiting import until
from tests.samples import make
from tests.tus.client import VERSION, filled, head, patch_headers, target

pytestmark = pytest.mark.turns(2)  # states of a task

SIZE = 500
PLAYABLE = {"status": "completed", "playable": True, "has_mp4": True}
COMPLETED = {"status": "completed"}


@pytest.fixture(params=["sqlite", "postgresql"])
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LiveServer]:
    with serving(request, tmp_path / "live", originals="drop", downloads="on") as made:
        yield made


@pytest.fixture
def services(live: LiveServer) -> Iterator[Services]:
    """Another process's view of the same folder and database."""
    with Services.open(live.settings) as made:
        yield made


def put(live: LiveServer, task: Mapping[str, Any], file: Mapping[str, Any]) -> str:
    """A complete upload whose task and file are so; its id."""
    upload, _ = filled(live, SIZE, SIZE)
    for table, key, values in (("tasks", "id", task), ("task_files", "task_id", file)):
        for column, value in values.items():
            live.execute(f"UPDATE {table} SET {column} = :value WHERE {key} = :id", value=value, id=upload)
    return upload


def has_bytes(live: LiveServer, upload: str) -> bool:
    """Whether the original is there, of which file and row must say the same."""
    row = live.row(upload)
    assert row["status"] == "complete"
    assert bool(row["has_bytes"]) == (live.stored(upload) is not None)
    return bool(row["has_bytes"])


@pytest.mark.sampled(9)
@pytest.mark.parametrize(
    ("task", "file"),
    [
        ({"status": "processing"}, {**PLAYABLE, "status": "processing"}),
        ({"status": "processing"}, PLAYABLE),
        ({"status": "error"}, {"status": "error"}),
        ({"status": "cancelled"}, {**PLAYABLE, "status": "cancelled"}),
        (COMPLETED, {**PLAYABLE, "status": "error"}),
        (COMPLETED, COMPLETED),
        (COMPLETED, {"status": "completed", "playable": True}),
        (COMPLETED, {"status": "completed", "has_mp4": True}),
        ({"status": "completed", "node": "another-folder"}, PLAYABLE),
    ],
    ids=[
        "file runs", "task runs", "failed", "cancelled", "file failed", "nothing made", "no result", "not playable",
        "of another folder",
    ],
)  # fmt: skip
def test_an_original_is_kept_while_it_is_needed(
    live: LiveServer, services: Services, task: dict[str, Any], file: dict[str, Any]
) -> None:
    """While a task runs, and for ever where nothing can be played in its place, the original stays."""
    upload = put(live, task, file)
    services.drop_originals(upload)
    assert services.sweep() == SweepReport()
    assert has_bytes(live, upload)


@pytest.mark.parametrize("result", ["has_mp4", "has_hls"])
def test_a_sweep_removes_originals_of_playable_videos(live: LiveServer, services: Services, result: str) -> None:
    """A sweep removes it; the upload stays complete for its client, and gone for who would download it."""
    kept = put(live, {"status": "processing"}, PLAYABLE)
    upload = put(live, COMPLETED, {"status": "completed", "playable": True, result: True})
    before = head(live, upload).headers
    assert services.sweep() == SweepReport(Counter({SweepKind.DROPPED: 1}))
    assert not has_bytes(live, upload)
    assert has_bytes(live, kept)
    assert services.sweep() == SweepReport()

    looked = head(live, upload)
    assert looked.status == 200
    for name in ("upload-offset", "upload-length", "upload-task"):
        assert looked.headers[name] == before[name]
    replayed = live.ask("PATCH", target(upload), patch_headers(SIZE), b"")
    assert (replayed.status, replayed.headers["upload-offset"]) == (204, str(SIZE))
    assert live.ask("GET", target(upload)).status == 410
    assert live.ask("DELETE", target(upload), VERSION).status == 204
    assert live.ask("GET", f"/api/task/status/{upload}").status == 200


def test_originals_are_kept_by_default(live: LiveServer) -> None:
    """With `originals=keep` nothing is removed."""
    upload = put(live, COMPLETED, PLAYABLE)
    with Services.open(live.settings.model_copy(update={"originals": "keep"})) as services:
        services.drop_originals(upload)
        assert services.sweep() == SweepReport()
    assert has_bytes(live, upload)


def test_a_crash_between_file_and_row_is_completed_by_a_sweep(
    live: LiveServer, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A removal that was cut short before or behind the file is ended by the next sweep."""
    upload = put(live, COMPLETED, PLAYABLE)

    class KilledError(Exception):
        pass

    def killed(store: DiskStore, upload_id: str) -> None:
        delete(store, upload_id)
        raise KilledError

    delete = DiskStore.delete
    with monkeypatch.context() as patched:
        patched.setattr(DiskStore, "delete", killed)
        assert services.sweep() == SweepReport(Counter({SweepKind.FAILED: 1}))
    assert live.stored(upload) is None
    assert live.row(upload)["has_bytes"]
    assert head(live, upload).status == 200
    assert services.sweep() == SweepReport(Counter({SweepKind.DROPPED: 1}))
    assert not has_bytes(live, upload)


def test_an_original_of_a_locked_upload_waits_for_the_next_sweep(live: LiveServer, services: Services) -> None:
    """An upload whose lock is held is left for the next sweep."""
    upload = put(live, COMPLETED, PLAYABLE)
    with services.locks.try_hold(upload) as held:
        assert held
        services.drop_originals(upload)
        assert has_bytes(live, upload)
    services.drop_originals(upload)
    assert not has_bytes(live, upload)


def send(server: ServerProcess, *sources: Path) -> str:
    """Files by the documented form; the task's id."""
    files = [("videos", (source.name, source.read_bytes())) for source in sources]
    answer = server.http.post(f"{server.url}/api/upload/videos", files=files)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["task_id"])


@pytest.mark.sampled(1)
@pytest.mark.acceptance
def test_a_worker_removes_the_original_after_its_task(
    start_server: StartServer, database_url: str, tmp_path: Path
) -> None:
    """Soon after the end of its task the original of a playable video is gone, that of a broken one is not."""
    server = start_server(database_url=database_url, transcode="mp4", originals="drop", sweep_interval=3600)
    good = make(tmp_path, "good.mp4", seconds=1, size="160x120", extra=("-preset", "ultrafast"))
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(good.read_bytes()[:2000])
    task = send(server, good, broken)
    files = {file["name"]: file for file in follow(server, task)[-1]["files"]}
    assert files["good.mp4"]["playable"]
    assert files["broken.mp4"]["status"] == "error"
    until(lambda: len(server.stored_files()) == 1, seconds=5, what="the original is gone")
    assert server.stored_files()[0].read_bytes() == broken.read_bytes()
    played = server.http.get(files["good.mp4"]["mp4_url"])
    assert played.status_code == 200
    server.restart()
    assert len(server.stored_files()) == 1


@pytest.mark.acceptance
def test_no_original_goes_before_its_task_ends(start_server: StartServer, gate: Gate, tmp_path: Path) -> None:
    """A task whose first file can be played already keeps both originals until the second is done, too."""
    server = start_server(transcode="mp4", originals="drop", sweep_interval=0.5, ffmpeg=gate.path)
    sources = [make(tmp_path, f"{name}.mp4", seconds=1, size="160x120") for name in ("one", "two")]
    task = send(server, *sources)
    follow(server, task, until=["processing"])
    assert len(server.stored_files()) == 2
    gate.open()
    finish(server, task)
    until(lambda: not server.stored_files(), seconds=5, what="both originals are gone")
