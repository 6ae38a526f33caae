"""Parts that go away under a real server: its database, its disk's space, its whole upload folder."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.harness.postgres import PostgresServer
from tests.harness.rows import query, sha256
from tests.harness.server_process import ServerProcess
from tests.harness.tasks import finish
from tests.harness.waiting import PATIENCE, until
from tests.samples import big, make

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # parts that are away

VERSION = {"Tus-Resumable": "1.0.0"}
PATCH = VERSION | {"Content-Type": "application/offset+octet-stream"}


@pytest.fixture
def cluster() -> Iterator[PostgresServer]:
    """A PostgreSQL of this test's own, which it may stop."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def create(server: ServerProcess, length: int) -> str:
    """A tus upload of an MP4 of no name; its URL."""
    answer = server.http.post(f"{server.url}/files", headers=VERSION | {"Upload-Length": str(length)})
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


def test_a_database_that_is_restarted_costs_no_upload(
    start_server: StartServer, cluster: PostgresServer, tmp_path: Path
) -> None:
    """Away: PATCH is 503, and HEAD 423, which tus-js-client waits for. Back: the upload goes on and is processed."""
    server = start_server(database_url=cluster.create_database())
    video = make(tmp_path, "a.mp4")
    data = video.read_bytes()
    url = create(server, len(data))
    half = len(data) // 2
    first = server.http.patch(url, headers=PATCH | {"Upload-Offset": "0"}, content=data[:half])
    assert first.headers["upload-offset"] == str(half)
    cluster.halt()
    second = PATCH | {"Upload-Offset": str(half)}
    answer = server.http.patch(url, headers=second, content=data[half:], timeout=PATIENCE)
    assert (answer.status_code, "upload-offset" in answer.headers) == (503, False)
    looked = server.http.head(url, headers=VERSION, timeout=PATIENCE)
    assert (looked.status_code, looked.headers["retry-after"]) == (423, "2")
    assert server.http.get(f"{server.url}/readyz", timeout=PATIENCE).status_code == 503
    cluster.resume()
    until(lambda: server.http.head(url, headers=VERSION).status_code == 200, seconds=20, what="HEAD works again")
    assert server.http.patch(url, headers=second, content=data[half:]).status_code == 204
    task_id = url.rpartition("/")[2]
    finish(server, task_id)
    assert sha256(server.stored(task_id)) == sha256(video)


def test_a_full_disk_keeps_what_fits_and_empties_itself(
    start_server: StartServer, small_disk: Path, tmp_path: Path
) -> None:
    """507 when nothing more fits, with the truth at the next HEAD; a DELETE makes room, and life goes on."""
    database = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    server = start_server(data_dir=small_disk, database_url=database)
    data = big(tmp_path, "a.mp4", 7_000_000).read_bytes()
    url = create(server, len(data))
    (small_disk / "somebody else's").write_bytes(bytes(3_000_000))
    answer = server.http.patch(url, headers=PATCH | {"Upload-Offset": "0"}, content=data)
    assert answer.status_code == 507, answer.text
    offset = int(server.http.head(url, headers=VERSION).headers["upload-offset"])
    assert 4_000_000 < offset < 8 << 20
    assert server.stored(url.rpartition("/")[2]).read_bytes() == data[:offset]
    assert server.http.get(f"{server.url}/readyz").json()["checks"]["space"] == "the disk has no room for new uploads"
    assert server.http.delete(url, headers=VERSION).status_code == 204
    (small_disk / "somebody else's").unlink()
    video = make(tmp_path, "b.mp4")
    with video.open("rb") as file:
        made = server.http.post(f"{server.url}/api/upload/videos", files={"videos": ("b.mp4", file)}).json()
    finish(server, made["task_id"])


def test_a_server_without_its_upload_folder_refuses_to_start(start_server: StartServer, tmp_path: Path) -> None:
    """The server refuses to start with a sentence, changes no row, and goes on when the folder is back."""
    server = start_server()
    url = create(server, 1000)
    server.stop()
    (server.data_dir / "uploads").rename(server.data_dir / "unmounted")
    done = server.run("serve")
    assert done.returncode != 0
    assert "knows 1 uploads" in done.stderr
    assert "Traceback" not in done.stderr
    assert [row["status"] for row in query(server.database_url, "SELECT status FROM uploads")] == ["open"]
    (server.data_dir / "uploads" / ".videodock").unlink(missing_ok=True)
    (server.data_dir / "uploads").rmdir()
    (server.data_dir / "unmounted").rename(server.data_dir / "uploads")
    server.start()
    assert server.http.head(url.replace(url.partition("/files")[0], server.url), headers=VERSION).status_code == 200
