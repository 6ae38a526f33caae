"""Results in a bucket behind real servers: of hosts that die in mid-upload, and whose folders are emptied."""

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import StartServer
from tests.harness import tasks
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.object_store import CREDENTIALS, REGION, ObjectStore, object_store  # noqa: F401  # a fixture
from tests.harness.postgres import PostgresServer
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.uploader import Uploader
from tests.harness.waiting import PATIENCE, until
from tests.samples import make
from tests.tus.client import metadata

pytestmark = pytest.mark.acceptance

MADE = {"transcode": "both", "storyboard": "on", "downloads": "on", "sweep_interval": 3600, "task_lease": 5}


@pytest.fixture
def bucket(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> str:  # noqa: F811
    """The name of an empty bucket; credentials are in the environment."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return object_store.new_bucket()


def upload(server: ServerProcess, video: Path) -> str:
    """Upload by tus; the id of its task."""
    uploader, data = Uploader(server), video.read_bytes()
    task_id = uploader.create(len(data), {"Upload-Metadata": metadata(filename="a.mp4")})
    uploader.patch(task_id, 0, data)
    return task_id


def results_of(server: ServerProcess, task_id: str, **asked: Any) -> dict[str, httpx.Response]:
    """All results of the only file of a task, by their names; HLS with all of its segments."""
    (file,) = server.status(task_id)["files"]
    urls = [file[name] for name in ("poster_url", "mp4_url", "hls_url", "storyboard_url", "original_url")]
    urls.append(file["storyboard_url"].replace(".vtt", ".jpg"))
    found: dict[str, httpx.Response] = {}
    while urls:
        url = urls.pop()
        answer = server.http.get(url.replace(url.split("/")[2], f"127.0.0.1:{server.port}"), **asked)
        # The address of a poster that was chosen has its version.
        found[url.partition("?")[0].partition(task_id)[2].partition("/")[2].partition("/")[2] or "original"] = answer
        if url.endswith(".m3u8"):
            names = [line for line in answer.text.splitlines() if line and not line.startswith("#")]
            names += [part.partition('"')[0] for part in answer.text.split('URI="')[1:]]
            urls += [f"{url.rpartition('/')[0]}/{name}" for name in names]
    return found


def test_a_host_dies_in_mid_upload_and_another_one_finishes(
    start_server: StartServer,
    postgres_server: PostgresServer,
    object_store: ObjectStore,  # noqa: F811
    bucket: str,
    tmp_path: Path,
) -> None:
    """SIGKILL while results are on their way to the bucket: a second host with another folder makes them again, each
    once; nothing of the first attempt is left. Then its folder is emptied, and all of it is served all the same."""
    url = postgres_server.create_database()
    direct = object_store.url(bucket)
    with CuttingProxy(object_store.port, hold_at=60_000) as proxy:
        through = f"s3://{bucket}?endpoint={proxy.url}&region={REGION}&dialect=versitygw"
        web = start_server(database_url=url, store=direct, scheduler="none", **MADE)
        task_id = upload(web, make(tmp_path, "a.mp4"))
        first = start_server(database_url=url, store=through, **MADE)
        assert proxy.held.wait(PATIENCE), "the first host uploads no results"
        assert query(url, "SELECT id FROM result_sets WHERE status = 'writing'") != []
        first.kill()
        proxy.release()
    shutil.rmtree(first.data_dir)
    second = start_server(database_url=url, store=direct, **MADE)
    tasks.finish(web, task_id)
    before = {name: answer.content for name, answer in results_of(web, task_id).items()}
    assert {"poster.jpg", "video.mp4", "hls/index.m3u8", "storyboard.vtt", "storyboard.jpg", "original"} <= set(before)
    assert all(before.values())
    check_once(second, object_store, bucket, len(before))
    for host in (web, second):
        for folder in ("results", "work", "cache", "uploads"):
            shutil.rmtree(host.data_dir / folder, ignore_errors=True)
        assert {name: answer.content for name, answer in results_of(host, task_id).items()} == before
    assert web.http.delete(f"{web.url}/api/task/{task_id}").status_code == 200
    until(lambda: list(object_store.objects(bucket)) == [".videodock"], what="the bucket is empty")
    # One row may stay for an hour: of the first attempt, which could have been only slow.
    assert query(url, "SELECT id FROM result_sets WHERE status <> 'abandoned'") == []


def check_once(server: ServerProcess, store: ObjectStore, bucket: str, number: int) -> None:
    """A sweep leaves an object for each result and for the original; rows and bucket fit together."""
    assert server.run("sweep").returncode == 0
    found = store.objects(bucket)
    assert len(found) == number + 1, sorted(found)
    assert store.multiparts(bucket) == []
    rows = query(server.database_url, "SELECT type, count(*) AS times FROM task_events GROUP BY type")
    assert {row["times"] for row in rows if row["type"] in ("completed", "file_completed")} == {1}
    checked = server.run("check")
    assert checked.returncode == 0, checked.stdout


def test_videos_are_read_from_the_bucket_itself(
    start_server: StartServer,
    object_store: ObjectStore,  # noqa: F811
    bucket: str,
    tmp_path: Path,
) -> None:
    """With `s3_presign` GET of a video, a segment or an original is a redirect to an address that is valid for so long,
    in the right type and with ranges; what names other results comes from the server; pages may read from there."""
    server = start_server(store=object_store.url(bucket), s3_presign=120, **MADE)
    task_id = upload(server, make(tmp_path, "a.mp4"))
    tasks.finish(server, task_id)
    found = results_of(server, task_id)
    assert {name for name, answer in found.items() if answer.status_code == 302} == {
        name for name in found if name.endswith((".mp4", ".m4s")) or name == "original"
    }
    followed = results_of(server, task_id, follow_redirects=True)
    assert {answer.status_code for answer in followed.values()} == {200}
    assert followed["video.mp4"].headers["content-type"] == "video/mp4"
    answer = found["video.mp4"]
    assert (answer.headers["cache-control"], answer.content) == ("private, no-store", b"")
    place = answer.headers["location"]
    assert place.startswith(f"{object_store.endpoint}/{bucket}/results/")
    assert "X-Amz-Expires=120" in place
    part = httpx.get(place, headers={"Range": "bytes=4-7"}, trust_env=False)
    assert (part.status_code, part.content) == (206, b"ftyp")
    assert httpx.get(place.replace("video.mp4", "other.mp4"), trust_env=False).status_code == 403
    (file,) = server.status(task_id)["files"]
    looked = server.http.head(file["mp4_url"])
    assert (looked.status_code, looked.headers["content-length"]) == (200, str(len(followed["video.mp4"].content)))
    again = server.http.get(file["mp4_url"], headers={"If-None-Match": looked.headers["etag"]})
    assert again.status_code == 304
    saved = server.http.get(f"{file['mp4_url']}?download=1", follow_redirects=True)
    assert saved.headers["content-disposition"] == 'attachment; filename="a.mp4"'
    chosen = server.http.put(f"{server.url}/api/task/{task_id}/poster", json={"seconds": 0})
    assert chosen.status_code == 200, chosen.text
    assert results_of(server, task_id)["poster.jpg"].content != found["poster.jpg"].content
    assert len([key for key in object_store.objects(bucket) if key.endswith("/poster.jpg")]) == 1
    policy = server.http.get(f"{server.url}/").headers["content-security-policy"]
    assert f"media-src 'self' {object_store.endpoint} blob:" in policy
    assert f"connect-src 'self' {object_store.endpoint};" in policy
