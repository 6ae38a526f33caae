"""`videodock migrate-store`: uploads and results move between disk and bucket beside a server that serves them."""

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.harness.multipart import curl
from tests.harness.object_store import ObjectStore, in_bucket, object_store  # noqa: F401  # the last is a fixture
from tests.harness.server_process import ServerProcess
from tests.harness.tasks import finish, follow
from tests.harness.uploader import PART, Uploader
from tests.samples import make
from tests.tus.client import video

LARGE = 6 << 20  # two parts
SIZES = (3000, 70_000, LARGE)


@pytest.fixture
def settings(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:  # noqa: F811
    """Of a server in the bucket; its credentials are in the environment of all that follows."""
    return {**in_bucket(object_store, monkeypatch), "s3_part_size": "5MiB"}


@pytest.fixture
def server(tmp_path: Path, database_url: str, settings: dict[str, object]) -> Iterator[ServerProcess]:
    """A server on its disk, which `settings` may move."""
    url = "" if database_url.startswith("sqlite") else database_url
    made = ServerProcess(tmp_path / "server", database_url=url, s3_part_size=settings["s3_part_size"], downloads="on")
    made.start()
    yield made
    made.close()


class Reader:
    """Reads uploads again and again while they move; every answer has all bytes."""

    def __init__(self, server: ServerProcess, contents: dict[str, bytes]) -> None:
        self._server = server
        self._contents = contents
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.read = 0
        self._error: BaseException | None = None

    def __enter__(self) -> "Reader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self.read, "nothing was read"

    def _run(self) -> None:
        try:
            with httpx.Client(trust_env=False, timeout=60) as http:
                while not self._stop.is_set() or not self.read:
                    for upload_id, content in self._contents.items():
                        answer = http.get(f"{self._server.url}/files/{upload_id}")
                        assert answer.status_code == 200, answer.text
                        assert answer.content == content
                        self.read += 1
        except BaseException as error:
            self._error = error


def move(server: ServerProcess, target: object, *more: str) -> subprocess.CompletedProcess[str]:
    return server.run("migrate-store", "--to", str(target), *more)


def poster_of(server: ServerProcess, task_id: str) -> bytes:
    answer = server.status(task_id)
    url = answer["files"][0]["poster_url"]
    found = server.http.get(url if url.startswith("http") else server.url + url)
    assert found.status_code == 200, found.text
    return found.content


def test_uploads_and_results_move_to_a_bucket_and_back(
    server: ServerProcess, settings: dict[str, object], tmp_path: Path
) -> None:
    """There and back, with downloads meanwhile: every byte, a poster, an open upload, and a final of two stores."""
    client, contents = Uploader(server), {}
    for number, size in enumerate(SIZES):
        upload = client.create(size)
        contents[upload] = video(size, number)
        client.patch(upload, 0, contents[upload])
        follow(server, upload, until=["error"])  # it is no real video: the task ends, and the upload stays
    clip = make(tmp_path, "clip.mp4", seconds=0.4, size="64x64", audio=False)
    _, answer = curl(server.url, [clip])
    finish(server, answer["task_id"])
    poster = poster_of(server, answer["task_id"])
    half, part = client.create(4000), client.create(2000, PART)
    client.patch(half, 0, video(4000, 9)[:1500])
    client.patch(part, 0, video(4000, 8)[:2000])
    server.stop()

    # To the bucket. Without `previous_store` the server would not find its uploads.
    server._settings |= settings
    refused = server.run("sweep")
    assert refused.returncode == 1
    assert "previous_store" in refused.stderr
    server._settings["previous_store"] = "disk"
    server.start()
    second = client.create(2000, PART)
    client.patch(second, 0, video(4000, 8)[2000:])
    with Reader(server, contents) as reader:
        said = move(server, settings["store"], "--dry-run")
        assert said.returncode == 0, said.stderr
        assert "Would move 5 uploads" in said.stdout, said.stdout
        assert len(server.stored_files()) == 6
        said = move(server, settings["store"])
        assert "Moved 5 uploads" in said.stdout, said.stdout + said.stderr
        assert "1 uploads are open" in said.stdout
        assert said.returncode == 1
    assert reader.read
    assert [path.name for path in server.stored_files()] == [half]
    assert poster_of(server, answer["task_id"]) == poster
    final = client.join(part, second)
    client.patch(half, 1500, video(4000, 9)[1500:])
    contents |= {half: video(4000, 9), final: video(4000, 8)}
    for upload in (half, final):
        follow(server, upload, until=["error"])
    said = move(server, settings["store"])
    assert said.returncode == 0, said.stdout + said.stderr
    assert "The former store is empty" in said.stdout
    del server._settings["previous_store"]
    server.restart()
    with Reader(server, contents):
        assert server.run("check").returncode == 0
    assert poster_of(server, answer["task_id"]) == poster
    server.stop()

    # And back.
    server._settings |= {"store": "", "previous_store": settings["store"]}
    server.start()
    with Reader(server, contents):
        said = move(server, server.data_dir)
        assert said.returncode == 0, said.stdout + said.stderr
    del server._settings["previous_store"]
    server.restart()
    with Reader(server, contents):
        said = server.run("check")
        assert said.returncode == 0, said.stdout
    assert poster_of(server, answer["task_id"]) == poster


def test_what_cannot_be_moved_is_refused_with_a_sentence(server: ServerProcess, settings: dict[str, object]) -> None:
    """Without a former store, to another place than the settings name, and from one bucket to another."""
    said = move(server, settings["store"])
    assert (said.returncode, "previous_store" in said.stderr) == (1, True)
    server.stop()
    server._settings |= {**settings, "previous_store": "disk"}
    said = move(server, "s3://another-bucket/uploads")
    assert (said.returncode, "New uploads go to" in said.stderr) == (1, True)
    server._settings["previous_store"] = "s3://another-bucket/uploads"
    said = move(server, settings["store"])
    assert (said.returncode, "one bucket to another" in said.stderr) == (1, True)
