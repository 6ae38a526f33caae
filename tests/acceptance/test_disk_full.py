"""A disk of 32 MiB with the data folder on it, and mostly the database: what a server says and does when it is full.

The issue: creation is refused with 507 when its length, everything promised to open uploads and the reserve exceed what
is free; a disk that is full in the middle of a body keeps what fits, answers 507, and resumes when there is room.
"""

import base64
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from shutil import which

import pytest

from tests.conftest import StartServer
from tests.harness.http import Answer, Connection, chunked, request
from tests.harness.multipart import form_body
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.tasks import finish
from tests.harness.waiting import until
from tests.samples import make
from tests.tus.client import MOUNT, OCTETS, VERSION, creation, id_of, patch_headers, target, video

pytestmark = pytest.mark.turns(3)  # moments at which the disk is full

MIB = 1 << 20
FORM = "/api/upload/videos"
FORM_TYPE = {"Content-Type": "multipart/form-data; boundary=aa"}


class Disk:
    """A disk, and somebody else who fills it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._other = folder / "somebody else's"

    @property
    def free(self) -> int:
        """Bytes."""
        state = os.statvfs(self.folder)
        return state.f_bavail * state.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Take all of it but `leave` bytes."""
        with self._other.open("ab", buffering=0) as file:
            while (rest := self.free - leave) > 0:
                try:
                    file.write(bytes(min(rest, MIB)))
                except OSError:
                    return

    def empty(self) -> None:
        """Give it back."""
        self._other.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 32 MiB; the reserve is 1.6 MiB of it."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)], check=True)
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """SQLite on the disk itself, or PostgreSQL elsewhere."""
    if request.param == "sqlite":
        yield ""
        return
    cluster = request.getfixturevalue("postgres_server")
    url = cluster.create_database()
    yield url
    cluster.drop_database(url)


def ask(
    server: ServerProcess, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
) -> Answer:
    """One request on a connection of its own."""
    with Connection(server.port) as connection:
        return connection.ask(method, path, headers or {}, body)


def create(server: ServerProcess, length: int) -> Answer:
    """Create a tus upload."""
    return ask(server, "POST", MOUNT, creation(length))


def offset(server: ServerProcess, upload: str) -> int:
    """What HEAD says, which must be what the disk has."""
    answer = ask(server, "HEAD", target(upload), VERSION)
    assert answer.status == 200, answer
    offset = int(answer.headers["upload-offset"])
    assert offset == server.stored(upload).stat().st_size
    return offset


def space(server: ServerProcess) -> str:
    """What /readyz says of room, while the server stays ready."""
    answer = ask(server, "GET", "/readyz")
    assert answer.status == 200, answer
    return str(json.loads(answer.body)["checks"]["space"])


def metric(server: ServerProcess, name: str) -> int:
    """A metric of the disk, in bytes."""
    lines = ask(server, "GET", "/metrics").text.splitlines()
    (value,) = [line.split()[1] for line in lines if line.startswith(f"videodock_disk_{name}_bytes ")]
    return int(float(value))


@pytest.mark.sampled(1)
def test_a_creation_without_room_is_507_until_there_is_room(
    disk: Disk, database: str, start_server: StartServer
) -> None:
    """507 for what does not fit beside what was promised, before a byte is read; a removal makes room for it."""
    server = start_server(data_dir=disk.folder / "data", database_url=database, scheduler="none")
    first = create(server, 20 * MIB)
    assert first.status == 201
    refused = create(server, 20 * MIB)
    assert (refused.status, refused.code, refused.headers["retry-after"]) == (507, "no_room", "30")
    assert "needs 20 MiB" in refused.text
    assert "location" not in refused.headers
    assert space(server) == "ok"  # for smaller ones
    assert metric(server, "promised") == 20 * MIB
    assert metric(server, "reserve") == 32 * MIB // 20
    assert 0 < metric(server, "free") <= 32 * MIB

    with Connection(server.port) as connection:  # a form says how long it is, and is told at once
        connection.send(request("POST", FORM, FORM_TYPE | {"Content-Length": str(20 * MIB), "Expect": "100-continue"}))
        answer = connection.answer()
    said = json.loads(answer.body)
    assert (answer.status, said["code"], said["success"], answer.interim) == (507, "no_room", False, ())
    assert "存储空间不足" in said["message"]

    # A length that is told later is promised then, also before a byte is read.
    later = ask(server, "POST", MOUNT, VERSION | {"Upload-Defer-Length": "1"})
    assert later.status == 201
    with Connection(server.port) as connection:
        headers = {"Upload-Length": str(20 * MIB), "Content-Length": str(MIB), "Expect": "100-continue"}
        connection.send(request("PATCH", target(id_of(later)), patch_headers(0) | headers))
        answer = connection.answer()
    assert (answer.status, answer.code, answer.interim) == (507, "no_room", ())
    assert offset(server, id_of(later)) == 0
    with Connection(server.port) as connection:  # so much at least is needed, although more may come
        connection.send(
            request(
                "PATCH",
                target(id_of(later)),
                patch_headers(0) | {"Content-Length": str(15 * MIB), "Expect": "100-continue"},
            )
        )
        assert connection.answer().code == "no_room"

    assert ask(server, "DELETE", target(id_of(first)), VERSION).status == 204
    again = create(server, 20 * MIB)
    assert again.status == 201
    body = video(20 * MIB)
    assert ask(server, "PATCH", target(id_of(again)), patch_headers(0), body).status == 204
    assert metric(server, "promised") == 0
    log = server.log()
    assert (log.count("uploads_refused"), log.count("uploads_accepted_again")) == (1, 1)


@pytest.mark.sampled(1)
def test_an_expired_upload_frees_its_reservation(disk: Disk, database: str, start_server: StartServer) -> None:
    """What an upload was promised is free again when it has expired."""
    server = start_server(data_dir=disk.folder / "data", database_url=database, upload_expiry=3, sweep_interval=0.5)
    assert create(server, 25 * MIB).status == 201
    assert create(server, 25 * MIB).status == 507
    until(lambda: create(server, 25 * MIB).status == 201, seconds=30, every=0.5, what="there is room again")


@pytest.mark.sampled(1)
def test_parts_and_their_final_reserve_space(disk: Disk, database: str, start_server: StartServer) -> None:
    """A part is promised its length; joining needs room for all parts but the first, whose file is taken."""
    server = start_server(data_dir=disk.folder / "data", database_url=database, scheduler="none")
    data = video(18 * MIB)
    parts = []
    for piece in (data[: 10 * MIB], data[10 * MIB :]):
        made = ask(server, "POST", MOUNT, VERSION | {"Upload-Length": str(len(piece)), "Upload-Concat": "partial"})
        assert made.status == 201
        assert ask(server, "PATCH", target(id_of(made)), patch_headers(0), piece).status == 204
        parts.append(target(id_of(made)))
    final = VERSION | {"Upload-Concat": f"final;{' '.join(parts)}"}
    held = create(server, 5 * MIB)
    refused = ask(server, "POST", MOUNT, final)
    assert (refused.status, refused.code) == (507, "no_room")
    assert "needs 8 MiB" in refused.text
    assert ask(server, "DELETE", target(id_of(held)), VERSION).status == 204
    joined = ask(server, "POST", MOUNT, final)
    assert joined.status == 201, joined
    assert server.stored(id_of(joined)).read_bytes() == data


@pytest.mark.sampled(4)
@pytest.mark.parametrize("kind", ["plain", "checked", "chunked", "form"])
def test_an_upload_goes_on_after_another_program_filled_the_disk(
    disk: Disk, database: str, start_server: StartServer, kind: str
) -> None:
    """In the middle of a body: 507, the truth at the next HEAD, and from there on when there is room again."""
    server = start_server(data_dir=disk.folder / "data", database_url=database, scheduler="none")
    data = video(12 * MIB)
    if kind == "form":
        body = form_body("aa", [("videos", "clip.mp4", data)])
        head = request("POST", FORM, FORM_TYPE | {"Content-Length": str(len(body))})
        upload = ""
    else:
        upload = id_of(create(server, len(data)))
        more = {"Content-Length": str(len(data))}
        if kind == "checked":
            more |= {"Upload-Checksum": f"sha1 {base64.b64encode(hashlib.sha1(data).digest()).decode()}"}
        if kind == "chunked":
            more = {"Transfer-Encoding": "chunked"}
        head, body = request("PATCH", target(upload), patch_headers(0) | more), data
    with closing(Connection(server.port)) as connection:
        connection.send(head)
        send = (lambda piece: connection.send(chunked([piece], end=False))) if kind == "chunked" else connection.send
        send(body[: 2 * MIB])
        until(lambda: sum(path.stat().st_size for path in server.stored_files()) > MIB, seconds=10, what="bytes came")
        disk.fill(leave=3 * MIB)
        try:
            for at in range(2 * MIB, len(body), MIB):
                send(body[at : at + MIB])
        except OSError:
            pass  # it was refused while we were sending
        answer = connection.answer()
    code = json.loads(answer.body)["code"] if kind == "form" else answer.code
    assert (answer.status, code) == (507, "form_storage_full" if kind == "form" else "storage_full")
    assert "upload-offset" not in answer.headers
    if kind == "form":
        until(lambda: server.stored_files() == [], seconds=5, what="nothing of it stays")
        disk.empty()
        done = json.loads(ask(server, "POST", FORM, FORM_TYPE, body).body)
        assert done["success"] is True
        return
    there = offset(server, upload)
    assert there == 0 if kind == "checked" else 2 * MIB <= there < len(data)
    assert server.stored(upload).read_bytes() == data[:there]
    disk.empty()
    done = ask(server, "PATCH", target(upload), patch_headers(there), data[there:])
    assert (done.status, done.headers["upload-offset"]) == (204, str(len(data)))
    assert server.stored(upload).read_bytes() == data
    assert [row["status"] for row in query(server.database_url, "SELECT status FROM uploads")] == ["complete"]


@pytest.mark.sampled(1)
def test_a_running_body_is_not_counted_twice(disk: Disk, database: str, start_server: StartServer) -> None:
    """What a PATCH or a form has brought is no promise any more while it still runs."""
    server = start_server(data_dir=disk.folder / "data", database_url=database, scheduler="none")
    data = video(20 * MIB)
    upload = id_of(create(server, len(data)))
    form = form_body("aa", [("videos", "a.mp4", data[: 6 * MIB]), ("videos", "b.mp4", data[: 2 * MIB])])
    with Connection(server.port) as patching, Connection(server.port) as posting:
        patching.send(request("PATCH", target(upload), patch_headers(0) | {"Content-Length": str(len(data))}))
        patching.send(data[: 15 * MIB])
        _wait_promised(server, 5 * MIB)
        posting.send(request("POST", FORM, FORM_TYPE | {"Content-Length": str(len(form))}))
        posting.send(form[: 7 * MIB])
        _wait_promised(server, 5 * MIB + len(form) - 7 * MIB)
        patching.send(data[15 * MIB :])
        posting.send(form[7 * MIB :])
        assert patching.answer().status == 204
        assert posting.answer().status == 200
    assert metric(server, "promised") == 0


def _wait_promised(server: ServerProcess, lacking: int) -> None:
    # A running body has at most a MiB on its way.
    until(
        lambda: lacking <= metric(server, "promised") < lacking + 2 * MIB,
        seconds=15,
        every=0.3,
        what="only what lacks is promised",
    )


def test_a_server_on_a_full_disk_loses_nothing(disk: Disk, start_server: StartServer) -> None:
    """Not a byte is free, and the database is there: nothing lies, nothing is lost, and a removal still works."""
    server = start_server(data_dir=disk.folder / "data", sweep_interval=1)
    until(lambda: (server.data_dir / "spare").exists(), seconds=10, what="room for the worst is kept")
    whole, half, gone = (id_of(create(server, 3 * MIB)) for _ in range(3))
    data = video(3 * MIB)
    assert ask(server, "PATCH", target(half), patch_headers(0), data[:MIB]).status == 204
    assert ask(server, "PATCH", target(gone), patch_headers(0), data).status == 204
    assert ask(server, "PATCH", target(whole), patch_headers(0), data[: 3 * MIB - 100]).status == 204
    disk.fill()
    assert space(server) == "the disk has no room for new uploads"
    refused = create(server, 1)
    assert (refused.status, refused.code) == (507, "no_room")
    for _ in range(3):
        answer = ask(server, "PATCH", target(half), patch_headers(MIB), data[MIB:])
        assert (answer.status, answer.code) == (507, "storage_full")
        assert offset(server, half) == MIB
    server.kill()
    disk.fill()
    with server.stored(whole).open("ab") as file:  # as if the last bytes had just come before the kill
        file.write(data[3 * MIB - 100 :])
    server.start()
    disk.fill()
    done = until(
        lambda: (
            query(server.database_url, "SELECT status FROM uploads WHERE id = :id", id=whole)[0]["status"] == "complete"
        ),
        seconds=30,
        what="what is whole is registered",
    )
    assert done
    # What is asked while nothing can be recorded is refused for now, and works in the end: it is what makes room.
    until(
        lambda: ask(server, "DELETE", target(half), VERSION).status in (204, 410),
        seconds=20,
        every=0.3,
        what="an upload can be removed",
    )
    assert not server.stored(half).exists()
    disk.empty()
    assert create(server, MIB).status == 201
    assert space(server) == "ok"
    until(lambda: (server.data_dir / "spare").exists(), seconds=10, what="room for the worst is kept again")


def test_a_server_restarts_on_a_full_disk(disk: Disk, start_server: StartServer) -> None:
    """SQLite's other files are gone after a stop, and there is no room for new ones but the spare."""
    server = start_server(data_dir=disk.folder / "data", sweep_interval=1)
    until(lambda: (server.data_dir / "spare").exists(), seconds=10, what="room for the worst is kept")
    upload = id_of(create(server, 2 * MIB))
    server.stop()
    disk.fill()
    server.start()
    assert offset(server, upload) == 0
    assert create(server, 1).status == 507
    done = server.run("sweep")
    assert done.returncode == 0, done.stderr
    disk.empty()
    assert create(server, 1).status == 201


@pytest.mark.sampled(1)
@pytest.mark.leaves("a file beside the others, which held the disk")
def test_a_task_waits_while_the_disk_is_full(
    disk: Disk, database: str, start_server: StartServer, tmp_path: Path
) -> None:
    """A task that finds the disk full waits for as long as that lasts, says so, and loses no try."""
    server = start_server(
        data_dir=disk.folder / "data",
        database_url=database,
        transcode="mp4",
        task_max_attempts=2,
        task_retry_pause=1,
        disk_reserve=0,
        sweep_interval=1,
    )
    path = make(tmp_path, "a.mp4")
    disk.fill(leave=path.stat().st_size + 400_000)
    upload = id_of(create(server, path.stat().st_size))
    assert (
        ask(
            server, "PATCH", target(upload), VERSION | {"Upload-Offset": "0", "Content-Type": OCTETS}, path.read_bytes()
        ).status
        == 204
    )
    disk.fill()
    until(lambda: server.log().count("task_set_aside") >= 3, seconds=60, every=0.2, what="it was tried more than twice")
    answer = server.status(upload)
    assert answer["status"] in ("uploaded", "processing"), answer
    assert "存储空间已满" in answer["message"], answer
    disk.empty()
    finish(server, upload, seconds=90)


def test_a_task_that_fills_the_disk_removes_its_output_and_waits(
    disk: Disk, start_server: StartServer, tmp_path: Path
) -> None:
    """What it made so far goes before the database is told, which lies on that disk and has no spare."""
    ffmpeg = tmp_path / "ffmpeg"
    ffmpeg.write_text(
        f'#!/bin/sh\ncase "$*" in *video.mp4) exec cat /dev/zero > video.mp4;; esac\nexec {which("ffmpeg")} "$@"\n'
    )
    ffmpeg.chmod(0o755)
    server = start_server(data_dir=disk.folder / "data", transcode="mp4", ffmpeg=ffmpeg, disk_reserve=0)
    path = make(tmp_path, "a.mp4")
    upload = id_of(create(server, path.stat().st_size))
    assert ask(server, "PATCH", target(upload), patch_headers(0), path.read_bytes()).status == 204
    until(lambda: server.log().count("task_set_aside") >= 2, seconds=40, every=0.2, what="it waits, and is tried again")
    assert "存储空间已满" in server.status(upload)["message"]
    ffmpeg.write_text(f'#!/bin/sh\nexec {which("ffmpeg")} "$@"\n')
    finish(server, upload, seconds=90)


def test_two_processes_reserve_space_together(disk: Disk, start_server: StartServer) -> None:
    """None of them dies of a full disk, and they promise no room twice."""
    server = start_server(data_dir=disk.folder / "data", workers=2, sweep_interval=1)
    # A child tries the confinement at the start, and ends.
    until(lambda: len(server.children()) == 2, what="the serving processes are alone")
    serving = {process.pid for process in server.children()}
    made = [create(server, 4 * MIB) for _ in range(12)]
    granted = [id_of(answer) for answer in made if answer.status == 201]
    assert {answer.status for answer in made} == {201, 507}
    assert 1 <= len(granted) <= 6
    until(lambda: (server.data_dir / "spare").exists(), seconds=10, what="room for the worst is kept")
    disk.fill()
    for _ in range(10):
        assert create(server, 1).status == 507
        assert ask(server, "GET", "/metrics").status == 200
        assert ask(server, "GET", f"/{os.urandom(4).hex()}").status == 404
        assert ask(server, "HEAD", target(granted[0]), VERSION).status == 200
    assert {process.pid for process in server.children()} >= serving
    server.kill()
    until(lambda: not server._leftovers(), seconds=10, what="its processes end")
    disk.fill()
    server.start()
    assert ask(server, "GET", "/metrics").status == 200
    until(
        lambda: ask(server, "DELETE", target(granted[0]), VERSION).status in (204, 410),
        seconds=20,
        every=0.3,
        what="an upload can be removed",
    )
    disk.empty()
    assert create(server, 4 * MIB).status == 201
