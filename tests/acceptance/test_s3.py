"""A server whose uploads are in a bucket, and a real server of objects behind it."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.cases import CASES
from tests.conformance.features import look
from tests.conformance.runner import PASS, SECONDS, run
from tests.harness import tasks
from tests.harness.object_store import CREDENTIALS, ObjectStore, object_store  # noqa: F401  # the third is a fixture
from tests.harness.server_process import ServerProcess
from tests.harness.uploader import Uploader
from tests.harness.waiting import until
from tests.samples import make
from tests.storage.s3.driving import noise
from tests.tus.client import FTYP, patch_headers

pytestmark = pytest.mark.acceptance

Start = Callable[..., ServerProcess]
CHUNK = 3_000_000
UNKNOWN = "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"


@pytest.fixture
def start(
    object_store: ObjectStore,  # noqa: F811
    start_server: Start,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., tuple[ServerProcess, str]]:
    """Start a server on an empty bucket; and the bucket's name."""
    name = object_store.new_bucket()
    for variable, value in CREDENTIALS.items():
        monkeypatch.setenv(variable, value)

    def begin(**settings: object) -> tuple[ServerProcess, str]:
        url = object_store.url(name, "videos")
        chosen = {"store": url, "downloads": "on", "sweep_interval": 3600, "s3_deadline": 2, **settings}
        return start_server(database_url=database_url, **chosen), name

    return begin


@pytest.fixture
def started(start: Callable[..., tuple[ServerProcess, str]]) -> tuple[ServerProcess, str]:
    """A server that processes nothing."""
    return start(scheduler="none")


def test_every_case_of_the_conformance_suite_passes(started: tuple[ServerProcess, str]) -> None:
    """What clients are promised does not depend on where the bytes are."""
    server, _ = started
    results = run(look(f"{server.url}/files", (), SECONDS), CASES, seconds=SECONDS, jobs=4)
    assert [(result.case.name, result.outcome, result.why) for result in results if result.outcome != PASS] == []


def test_a_killed_server_loses_no_acknowledged_byte(
    started: tuple[ServerProcess, str],
    object_store: ObjectStore,  # noqa: F811
) -> None:
    """Killed after some bodies and started again: the offset is what was acknowledged; in the end the bytes are equal,
    as a whole and in a range, the bucket has one object, rows and bucket fit together, and deletion empties it."""
    server, bucket = started
    uploader = Uploader(server)
    data = FTYP + noise(20_000_000)
    upload = uploader.create(len(data))
    for position in range(0, len(data), CHUNK):
        if position in (CHUNK, 4 * CHUNK):
            server.kill()
            server.start()
            assert uploader.offset(upload) == position
        uploader.patch(upload, position, data[position : position + CHUNK])
    answer = server.http.get(f"{server.url}/files/{upload}")
    assert hashlib.sha256(answer.content).digest() == hashlib.sha256(data).digest()
    middle = server.http.get(f"{server.url}/files/{upload}", headers={"Range": "bytes=9000000-9000099,-5"})
    assert middle.status_code == 206
    assert data[9_000_000:9_000_100] in middle.content
    assert data[-5:] in middle.content
    assert object_store.objects(bucket) == {"videos/.videodock": 0, f"videos/uploads/{upload}/whole": len(data)}
    assert server.run("sweep").returncode == 0  # what the killed processes left
    found = server.run("check")
    assert found.returncode == 0, found.stdout
    uploader.ask("DELETE", f"/files/{upload}", {"Tus-Resumable": "1.0.0"})
    until(lambda: list(object_store.objects(bucket)) == ["videos/.videodock"], what="the bucket is empty")
    assert object_store.multiparts(bucket) == []


def test_a_form_is_processed_from_the_bucket(start: Callable[..., tuple[ServerProcess, str]], tmp_path: Path) -> None:
    """A video of a form is stored in the bucket, read through a local copy, and has a poster."""
    server, _ = start()
    video = make(tmp_path, "a.mp4")
    with video.open("rb") as file:
        answer = server.http.post(f"{server.url}/api/upload/videos", files={"videos": ("a.mp4", file, "video/mp4")})
    assert answer.json()["success"] is True, answer.text
    done = tasks.finish(server, answer.json()["task_id"])
    assert tasks.poster(server, done["files"][0]) == (320, 240)
    assert list((server.data_dir / "uploads").glob("*")) == []


def test_check_finds_what_the_bucket_has_lost(
    started: tuple[ServerProcess, str],
    object_store: ObjectStore,  # noqa: F811
) -> None:
    """An object that somebody deleted, and one that no row knows; a sweep touches neither."""
    server, bucket = started
    uploader = Uploader(server)
    upload = uploader.create(40)
    uploader.patch(upload, 0, FTYP + b"x" * (40 - len(FTYP)))
    (key,) = [key for key in object_store.objects(bucket) if upload in key]
    object_store.client.delete_object(Bucket=bucket, Key=key)
    object_store.client.put_object(Bucket=bucket, Key=f"videos/uploads/{UNKNOWN}/whole", Body=b"x")
    assert server.run("sweep").returncode == 0
    found = server.run("check")
    assert found.returncode == 1
    assert (upload in found.stdout, UNKNOWN in found.stdout) == (True, True)
    assert server.http.get(f"{server.url}/files/{upload}").status_code == 410


def test_a_bucket_that_is_away_is_told_and_heals(
    started: tuple[ServerProcess, str],
    object_store: ObjectStore,  # noqa: F811
) -> None:
    """503 with Retry-After while the object store is away; `/readyz` says so; then the upload goes on."""
    server, _ = started
    uploader = Uploader(server)
    upload = uploader.create(2000)
    uploader.patch(upload, 0, FTYP + b"x" * (1000 - len(FTYP)))
    object_store.halt()
    try:
        answer = uploader.ask("PATCH", f"/files/{upload}", patch_headers(1000), b"y" * 500, expect=503)
        assert int(answer.headers["retry-after"]) > 0
        ready = server.http.get(f"{server.url}/readyz")
        assert (ready.status_code, ready.json()["checks"]["store"]) == (503, "the object store cannot be reached")
        assert uploader.offset(upload) == 1000
        assert "cannot be reached" in server.run("doctor").stdout
    finally:
        object_store.resume()
    uploader.patch(upload, 1000, b"y" * 1000)
    assert server.http.get(f"{server.url}/files/{upload}").content[1000:] == b"y" * 1000
