"""tuspyserver as the engine: real server processes that keep the same rules, with tuspyserver doing the work."""

import base64
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException

from server.web.tuspyserver.storage import Storage
from tests.conftest import StartServer
from tests.harness.arrival import check_arrived
from tests.harness.http import Connection, LiveServer, chunked, request
from tests.harness.rows import execute, query, wait_until_received
from tests.harness.server_process import ServerProcess
from tests.samples import big
from tests.tus.client import (
    MOUNT,
    OCTETS,
    PAST,
    VERSION,
    create,
    creation,
    head,
    id_of,
    metadata,
    patch,
    patch_headers,
    patch_request,
    target,
    video,
)
from tests.web.engine import (
    FIRST,
    LENGTH,
    MIB,
    ask,
    made,
    offset_of,
    registered,
    serving,
    serving_on,
    state,
    tasks,
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests of this page, on each database."""
    with serving_on(request, tmp_path_factory.mktemp("engine")) as server:
        yield server


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The same where no row is looked at: on SQLite only."""
    with serving(tmp_path_factory.mktemp("light"), "") as server:
        yield server


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A playable video of at least 4 MiB whose length no chunk divides."""
    return big(tmp_path_factory.mktemp("clip"), "假期 holiday.mp4", 4 * MIB + 12_345)


def test_requests_go_through_tuspyserver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Creation, looking, bytes and removal go through tuspyserver, in the order in which they came."""
    seen: list[tuple[str, bytes]] = []

    def spy(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        async def spied(storage: Storage, uid: str, *more: bytes) -> Any:
            seen.append((name, b"".join(more)))
            return await real(storage, uid, *more)

        return spied

    for name in ("create", "exists", "append", "flush", "finalize", "delete"):
        monkeypatch.setattr(Storage, name, spy(name, getattr(Storage, name)))
    data = video(LENGTH)
    with LiveServer(tmp_path, tus_engine="tuspyserver") as live:
        upload = create(live, LENGTH)
        assert [name for name, _ in seen] == ["create"]
        seen.clear()
        assert head(live, upload).status == 200
        assert [name for name, _ in seen] == ["exists"]
        seen.clear()
        assert patch(live, upload, 0, data).headers["upload-task"] == upload
        names = [name for name, _ in seen]
        assert names.index("append") < names.index("flush") < names.index("finalize")
        assert b"".join(chunk for _, chunk in seen) == data
        seen.clear()
        gone = create(live, LENGTH)
        assert live.ask("DELETE", target(gone), VERSION).status == 204
        assert [name for name, _ in seen][-1] == "delete"
        assert live.stored(upload) == data


def test_a_refusal_by_tuspyserver_is_a_500_without_an_offset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When tuspyserver says no to what was judged good, the client gets a 500 without an offset, and can go on."""
    data = video(LENGTH)
    with LiveServer(tmp_path, tus_engine="tuspyserver") as live:
        upload = create(live, LENGTH)

        async def refusing(*_: object, **__: object) -> None:
            raise HTTPException(418, "no")

        with monkeypatch.context() as patched:
            patched.setattr(Storage, "append", refusing)
            answer = patch(live, upload, 0, data)
            assert (answer.status, answer.code) == (500, "internal_error")
            assert "upload-offset" not in answer.headers
            assert answer.headers["tus-resumable"] == "1.0.0"
            patched.setattr(Storage, "create", refusing)
            assert live.ask("POST", MOUNT, creation(LENGTH)).status == 500
        assert [path.name for path in live.files()] == [upload]
        assert live.stored(upload) == b""
        assert live.query("SELECT id FROM tasks") == []
        assert patch(live, upload, 0, data).headers["upload-task"] == upload
        assert live.stored(upload) == data
        assert live.locks() == []


@pytest.mark.sampled(1)
def test_a_video_becomes_one_task(start_server: StartServer, database_url: str, clip: Path) -> None:
    """An upload in three pieces is whole, becomes one task, and that is processed and reported as always."""
    server = start_server(tus_engine="tuspyserver", database_url=database_url)
    data = clip.read_bytes()
    named = {"Upload-Metadata": metadata(filename=clip.name)}
    upload = made(server, len(data), named)
    for start, end in ((0, 50), (50, 3 * MIB), (3 * MIB, len(data))):
        answer = ask(server, "PATCH", target(upload), patch_headers(start), data[start:end])
        assert (answer.status, answer.headers["upload-offset"]) == (204, str(end)), answer
        assert ("upload-task" in answer.headers) == (end == len(data))
    check_arrived(server, f"{server.url}{target(upload)}", clip)
    looked = ask(server, "HEAD", target(upload), VERSION)
    assert looked.headers["upload-metadata"] == named["Upload-Metadata"]
    assert looked.headers["cache-control"] == "no-store"


def test_a_stale_offset_is_409_with_the_true_one(engine: ServerProcess) -> None:
    """A PATCH at another offset is 409 with the store's, before and after some bytes came; row and file stay."""
    data = video(LENGTH)
    upload = made(engine, LENGTH)
    for have in (0, FIRST):
        if have:
            assert ask(engine, "PATCH", target(upload), patch_headers(0), data[:have]).status == 204
        before = state(engine, upload)
        assert before[1] == data[:have]
        for offset in {1, FIRST - 1, FIRST + 1, LENGTH, 0} - {have}:
            answer = ask(engine, "PATCH", target(upload), patch_headers(offset), b"x" * 100)
            assert (answer.status, answer.code) == (409, "offset_mismatch")
            assert answer.headers["upload-offset"] == str(have)
            assert state(engine, upload) == before


GOOD = patch_headers(300)


REFUSED: dict[str, tuple[dict[str, str], int, str]] = {
    "no version": ({"Upload-Offset": "300", "Content-Type": OCTETS}, 412, "version_unsupported"),
    "another version": (GOOD | {"Tus-Resumable": "0.2.2"}, 412, "version_unsupported"),
    "no content type": (VERSION | {"Upload-Offset": "300"}, 415, "content_type_unsupported"),
    "another content type": (GOOD | {"Content-Type": "video/mp4"}, 415, "content_type_unsupported"),
    "no offset": (VERSION | {"Content-Type": OCTETS}, 400, "header_missing"),
    "no number": (GOOD | {"Upload-Offset": "3e2"}, 400, "header_invalid"),
    "stale": (GOOD | {"Upload-Offset": "0"}, 409, "offset_mismatch"),
    "too large": (GOOD | {"Content-Length": "701"}, 413, "body_too_large"),
    "another length": (GOOD | {"Upload-Length": "999"}, 400, "header_invalid"),
    "unknown checksum": (GOOD | {"Upload-Checksum": "sha3 YQ=="}, 400, "checksum_unsupported"),
}


@pytest.mark.sampled(1)
def test_a_patch_is_refused_before_its_body_is_read(engine: ServerProcess) -> None:
    """What the head of a PATCH can refuse is refused with no byte of its body sent or invited; nothing changes."""
    upload = made(engine, 1000)
    assert ask(engine, "PATCH", target(upload), patch_headers(0), video(300)).status == 204
    wait_until_received(engine.database_url, upload, 300)
    before = state(engine, upload)
    for headers, status, code in REFUSED.values():
        fields = {"Content-Length": "700", "Expect": "100-continue", **headers}
        with Connection(engine.port) as connection:
            connection.send(request("PATCH", target(upload), fields))
            answer = connection.answer()
            assert connection.ended()
        assert (answer.status, answer.code, answer.interim) == (status, code, ()), headers
        assert answer.headers["tus-resumable"] == "1.0.0"
        assert answer.headers["access-control-allow-origin"] == "*"
        # And with the body on its way.
        assert ask(engine, "PATCH", target(upload), headers, bytes(701)).status == status
        assert state(engine, upload) == before
    assert ask(engine, "PATCH", target(upload), GOOD, video(1000)[300:]).headers["upload-task"] == upload


def test_a_refused_creation_leaves_nothing(start_server: StartServer) -> None:
    """A creation of the wrong version, name, length or metadata makes no row and no file."""
    server = start_server(tus_engine="tuspyserver", scheduler="none", tus_max_size=5000)
    for headers, status, code in (
        ({"Upload-Length": "10"}, 412, "version_unsupported"),
        (creation(5001), 413, "upload_too_large"),
        (creation(10, "notes.txt"), 415, "media_type_unsupported"),
        (VERSION, 400, "header_missing"),
        (VERSION | {"Upload-Length": "-1"}, 400, "header_invalid"),
        (VERSION | {"Upload-Defer-Length": "2"}, 400, "header_invalid"),
        (creation(10) | {"Upload-Metadata": "filename ?"}, 400, "metadata_invalid"),
        (creation(10) | {"Content-Type": "video/mp4", "Content-Length": "10"}, 415, "content_type_unsupported"),
        (creation(10) | {"Content-Type": OCTETS, "Content-Length": "11"}, 413, "body_too_large"),
    ):
        answer = ask(server, "POST", MOUNT, headers)
        assert (answer.status, answer.code) == (status, code), headers
        assert "location" not in answer.headers
    assert query(server.database_url, "SELECT id FROM uploads") == []
    assert server.stored_files() == []


def test_a_file_that_is_not_a_video_is_refused(engine: ServerProcess) -> None:
    """The first bytes are judged as soon as they are there: 415, nothing is stored, and the upload is rejected."""
    upload = made(engine, LENGTH)
    with Connection(engine.port) as connection:
        connection.send(patch_request(upload, 0, bytes(64), length=LENGTH))
        answer = connection.answer()
    assert (answer.status, answer.code) == (415, "media_type_mismatch")
    later = ask(engine, "PATCH", target(upload), patch_headers(0), video(LENGTH))
    looked = ask(engine, "HEAD", target(upload), VERSION)
    for refused in (answer, later, looked):
        assert refused.status == 415
        assert "upload-offset" not in refused.headers
    (row,), stored = state(engine, upload)
    assert (row["status"], stored) == ("rejected", None)
    assert registered(engine, upload) == []


def test_a_delete_removes_the_bytes_and_keeps_the_row(engine: ServerProcess) -> None:
    """DELETE takes the bytes and keeps the row, also of what became a task that waits."""
    upload = made(engine, LENGTH)
    assert ask(engine, "PATCH", target(upload), patch_headers(0), video(FIRST)).status == 204
    assert ask(engine, "DELETE", target(upload), VERSION).status == 204
    (row,), stored = state(engine, upload)
    assert (row["status"], stored) == ("terminated", None)
    for method in ("HEAD", "DELETE"):
        gone = ask(engine, method, target(upload), VERSION)
        assert gone.status == 410
        assert "upload-offset" not in gone.headers
    unknown = target("00000000-0000-4000-8000-000000000000")
    assert [ask(engine, method, unknown, VERSION).status for method in ("HEAD", "DELETE")] == [404, 404]

    whole = made(engine, LENGTH)
    ask(engine, "PATCH", target(whole), patch_headers(0), video(LENGTH))
    assert ask(engine, "DELETE", target(whole), VERSION).status == 204
    assert not engine.stored(whole).exists()
    rows = query(engine.database_url, "SELECT status, playable FROM tasks WHERE id = :id", id=whole)
    assert [(row["status"], bool(row["playable"])) for row in rows] == [("removed", False)]
    assert ask(engine, "DELETE", target(whole), VERSION).status == 410


def test_an_expired_upload_is_410_and_swept(engine: ServerProcess) -> None:
    """Upload-Expires is told; what has expired is 410 before a byte, and a sweep removes it."""
    answer = ask(engine, "POST", MOUNT, creation(LENGTH))
    assert answer.headers["upload-expires"].endswith(" GMT")
    upload = id_of(answer)
    patched = ask(engine, "PATCH", target(upload), patch_headers(0), video(FIRST))
    assert patched.headers["upload-expires"].endswith(" GMT")
    execute(engine.database_url, "UPDATE uploads SET expires_at = :past WHERE id = :id", past=PAST, id=upload)
    os.utime(engine.stored(upload), (0, 0))
    refused = ask(engine, "PATCH", target(upload), patch_headers(FIRST), video(LENGTH)[FIRST:])
    assert (refused.status, refused.code) == (410, "upload_gone")
    assert engine.stored(upload).read_bytes() == video(FIRST)
    assert engine.run("sweep").returncode == 0
    (row,), stored = state(engine, upload)
    assert (row["status"], stored) == ("expired", None)


def test_every_advertised_extension_works(engine: ServerProcess) -> None:
    """Tus-Extension names what was tried here: each extension with this engine, byte for byte."""
    answer = ask(engine, "OPTIONS", MOUNT)
    assert answer.status == 204
    assert answer.headers["tus-version"] == answer.headers["tus-resumable"] == "1.0.0"
    tried = {
        "creation": test_a_video_becomes_one_task,
        "creation-with-upload": creation_with_upload,
        "creation-defer-length": deferred_length,
        "termination": test_a_delete_removes_the_bytes_and_keeps_the_row,
        "expiration": test_an_expired_upload_is_410_and_swept,
        "checksum": checked,
        "checksum-trailer": checked_by_a_trailer,
        "concatenation": joined,
        "concatenation-unfinished": joined,
    }
    assert set(answer.headers["tus-extension"].split(",")) == tried.keys()
    for trial in (creation_with_upload, deferred_length, checked, checked_by_a_trailer, joined):
        trial(engine)


def creation_with_upload(server: ServerProcess) -> None:
    """The body of a POST is kept, whole or cut, and an empty upload is judged at once."""
    data = video(LENGTH)
    whole = ask(server, "POST", MOUNT, creation(LENGTH) | {"Content-Type": OCTETS}, data)
    assert (whole.status, whole.headers["upload-offset"]) == (201, str(LENGTH))
    assert whole.headers["upload-task"] == id_of(whole)
    assert server.stored(id_of(whole)).read_bytes() == data
    part = ask(server, "POST", MOUNT, creation(LENGTH) | {"Content-Type": OCTETS}, data[:FIRST])
    assert (part.status, part.headers["upload-offset"]) == (201, str(FIRST))
    assert offset_of(server, id_of(part)) == FIRST
    empty = ask(server, "POST", MOUNT, creation(0))
    assert (empty.status, empty.code) == (415, "file_empty")


def deferred_length(server: ServerProcess) -> None:
    """The length comes with a later PATCH."""
    data = video(LENGTH)
    headers = VERSION | {"Upload-Defer-Length": "1", "Upload-Metadata": metadata(filename="clip.mp4")}
    upload = id_of(ask(server, "POST", MOUNT, headers))
    assert ask(server, "PATCH", target(upload), patch_headers(0), data[:FIRST]).status == 204
    looked = ask(server, "HEAD", target(upload), VERSION)
    assert (looked.headers["upload-defer-length"], "upload-length" in looked.headers) == ("1", False)
    headers = patch_headers(FIRST) | {"Upload-Length": str(LENGTH)}
    assert ask(server, "PATCH", target(upload), headers, data[FIRST:]).headers["upload-task"] == upload
    assert server.stored(upload).read_bytes() == data


def sha1(data: bytes) -> str:
    return f"sha1 {base64.b64encode(hashlib.sha1(data).digest()).decode()}"


def checked(server: ServerProcess) -> None:
    """A chunk with the wrong sum leaves no byte, one with the right sum stays."""
    data = video(LENGTH)
    upload = made(server, LENGTH)
    wrong = patch_headers(0) | {"Upload-Checksum": sha1(b"else")}
    answer = ask(server, "PATCH", target(upload), wrong, data)
    assert (answer.status, answer.code) == (460, "checksum_mismatch")
    assert offset_of(server, upload) == server.stored(upload).stat().st_size == 0
    right = patch_headers(0) | {"Upload-Checksum": sha1(data)}
    assert ask(server, "PATCH", target(upload), right, data).headers["upload-task"] == upload
    assert server.stored(upload).read_bytes() == data


def checked_by_a_trailer(server: ServerProcess) -> None:
    """The same with the sum behind the body."""
    data = video(LENGTH)
    upload = made(server, LENGTH)
    headers = patch_headers(0) | {"Transfer-Encoding": "chunked", "Trailer": "Upload-Checksum"}
    for sum_of, status in ((b"else", 460), (data, 204)):
        trailer = f"Upload-Checksum: {sha1(sum_of)}\r\n\r\n".encode()
        with Connection(server.port) as connection:
            body = chunked([data]).removesuffix(b"\r\n") + trailer
            connection.send(request("PATCH", target(upload), headers) + body)
            assert connection.answer().status == status
    assert server.stored(upload).read_bytes() == data


def joined(server: ServerProcess) -> None:
    """Two parts, one of them coming after the final was made, are one video with one task."""
    data = video(LENGTH)
    before = set(tasks(server))
    bounds = ((0, FIRST), (FIRST, LENGTH))
    parts = [made(server, end - start, {"Upload-Concat": "partial"}) for start, end in bounds]
    assert ask(server, "PATCH", target(parts[0]), patch_headers(0), data[:FIRST]).status == 204
    final = VERSION | {"Upload-Concat": f"final;{target(parts[0])} {target(parts[1])}"}
    answer = ask(server, "POST", MOUNT, final | {"Upload-Metadata": metadata(filename="clip.mp4")})
    assert answer.status == 201
    waiting = ask(server, "HEAD", target(id_of(answer)), VERSION)
    assert (waiting.status, "upload-offset" in waiting.headers) == (200, False)
    assert ask(server, "PATCH", target(id_of(answer)), patch_headers(0), b"x").status == 403
    assert ask(server, "PATCH", target(parts[1]), patch_headers(0), data[FIRST:]).status == 204
    assert offset_of(server, id_of(answer)) == LENGTH
    assert server.stored(id_of(answer)).read_bytes() == data
    assert set(tasks(server)) - before == {id_of(answer)}


def test_head_works_without_metadata(light: ServerProcess) -> None:
    """HEAD tells the metadata byte for byte, and works without any, though tuspyserver alone would answer 400."""
    for raw in (None, "", "filename Y2xpcC5tcDQ=,a,b ", "name Y2xpcC5tcDQ="):
        more = {} if raw is None else {"Upload-Metadata": raw}
        upload = id_of(ask(light, "POST", MOUNT, creation(10, None) | more))
        looked = ask(light, "HEAD", target(upload), VERSION)
        assert looked.status == 200
        assert looked.headers.get("upload-metadata", "") == (raw or "").strip()
        assert (looked.headers["upload-length"], looked.headers["upload-offset"]) == ("10", "0")


def test_fastapi_is_loaded_for_this_engine_only(tmp_path: Path) -> None:
    """The default engine's start does not pay for FastAPI and tuspyserver; this one's does."""
    script = (
        "import sys; from pathlib import Path; from server.app import create_app; from server.settings import Settings;"
        "create_app(Settings(data_dir=Path(sys.argv[1]), tus_engine=sys.argv[2]));"
        "print({'fastapi', 'tuspyserver'} & sys.modules.keys() and 'loaded')"
    )
    for engine, said in (("videodock", "set()"), ("tuspyserver", "loaded")):
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / engine), engine], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == said
