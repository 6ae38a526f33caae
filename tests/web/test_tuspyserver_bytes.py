"""tuspyserver as the engine: bodies that are cut, evicted or killed, and real clients that bring theirs."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tusclient.client import TusClient
from tusclient.uploader.uploader import Uploader

from tests.conftest import StartServer
from tests.harness.arrival import check_arrived, check_events, upload_id
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.http import Connection, chunked, request
from tests.harness.node import NodeClient
from tests.harness.server_process import ServerProcess
from tests.harness.waiting import PATIENCE, Stopwatch, until
from tests.samples import big
from tests.tus.client import (
    VERSION,
    patch_headers,
    patch_request,
    target,
    video,
)
from tests.web.engine import FIRST, LENGTH, MIB, ask, made, offset_of, registered, serving, serving_on, stall, tasks

pytestmark = pytest.mark.turns(2)  # bodies and their ends; what both engines do is in test_tus_*.py

SECONDS = 2.0


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


@pytest.mark.parametrize("how", [Connection.close, Connection.reset], ids=["FIN", "RST"])
@pytest.mark.parametrize("kind", ["length", "chunked"])
def test_a_cut_upload_is_resumed(light: ServerProcess, how: Callable[[Connection], None], kind: str) -> None:
    """What came before a cut is kept, HEAD tells it, and the upload goes on there."""
    data = video(LENGTH)
    upload = made(light, LENGTH)
    path = light.stored(upload)
    connection = Connection(light.port)
    if kind == "length":
        connection.send(patch_request(upload, 0, data[:FIRST], length=LENGTH))
    else:
        headers = patch_headers(0) | {"Transfer-Encoding": "chunked"}
        connection.send(request("PATCH", target(upload), headers) + chunked([data[:FIRST]], end=False))
    until(lambda: path.stat().st_size == FIRST, seconds=5, what="what was sent is stored")
    how(connection)
    assert offset_of(light, upload) == FIRST
    assert path.read_bytes() == data[:FIRST]
    assert ask(light, "PATCH", target(upload), patch_headers(FIRST), data[FIRST:]).headers["upload-task"] == upload
    assert path.read_bytes() == data


@pytest.mark.sampled(3)
@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_new_request_evicts_a_stalled_body(start_server: StartServer, method: str, workers: int) -> None:
    """A newcomer takes the upload from a stalled body within 2 s, in another process too; no late byte is stored."""
    server = start_server(tus_engine="tuspyserver", scheduler="none", workers=workers)
    data = video(LENGTH)
    # Which process takes a connection is the kernel's choice: after eight times both cases were there.
    for _ in range(1 if workers == 1 else 8):
        upload = made(server, LENGTH)
        with stall(server, upload, data) as holder, Connection(server.port) as newcomer:
            started = Stopwatch()
            if method == "PATCH":
                answer = newcomer.ask("PATCH", target(upload), patch_headers(FIRST), data[FIRST:])
                assert answer.headers["upload-task"] == upload
            else:
                answer = newcomer.ask(method, target(upload), VERSION)
                assert answer.status == (200 if method == "HEAD" else 204)
            assert started.seconds < SECONDS
            evicted = holder.answer()
            assert (evicted.status, evicted.code) == (423, "upload_locked")
        if method == "HEAD":
            assert answer.headers["upload-offset"] == str(FIRST)
        if method == "DELETE":
            assert not server.stored(upload).exists()
        else:
            assert server.stored(upload).read_bytes() == (data if method == "PATCH" else data[:FIRST])


def test_an_evicted_body_writes_no_late_byte(light: ServerProcess) -> None:
    """A body at full speed is evicted too; while it goes on sending, the file stays what the newcomer was told."""
    size = 400_000_000
    data = video(MIB)
    upload = made(light, size)
    path = light.stored(upload)
    stop = threading.Event()
    with Connection(light.port) as holder:

        def flood() -> None:
            sent = 0
            try:
                holder.send(patch_request(upload, 0, b"", length=size))
                while not stop.is_set() and sent < size - len(data):
                    holder.send(data)
                    sent += len(data)
            except OSError:
                pass

        flooding = threading.Thread(target=flood)
        flooding.start()
        until(lambda: path.stat().st_size > 2 * MIB, seconds=5, what="bytes come")
        offset = offset_of(light, upload)
        assert path.stat().st_size == offset
        stop.set()
        flooding.join(PATIENCE)
    assert path.read_bytes() == (data * (offset // len(data) + 1))[:offset]
    assert ask(light, "DELETE", target(upload), VERSION).status == 204


@pytest.mark.sampled(1)
def test_an_upload_is_resumed_after_a_kill(engine: ServerProcess) -> None:
    """After a kill -9 in a body HEAD tells what the file has, which is what was sent, and the upload goes on."""
    data = video(LENGTH)
    upload = made(engine, LENGTH)
    with stall(engine, upload, data):
        engine.kill()
    engine.start()
    offset = offset_of(engine, upload)
    assert offset == FIRST == engine.stored(upload).stat().st_size
    answer = ask(engine, "PATCH", target(upload), patch_headers(offset), data[offset:])
    assert answer.headers["upload-task"] == upload
    assert engine.stored(upload).read_bytes() == data
    assert registered(engine, upload) == ["uploaded"]


def test_an_upload_without_its_task_is_completed_by_the_next_request(engine: ServerProcess) -> None:
    """All bytes there and no task, as a crash leaves it: whoever looks next completes it, once."""
    data = video(LENGTH)
    upload = made(engine, LENGTH)
    assert ask(engine, "PATCH", target(upload), patch_headers(0), data[:FIRST]).status == 204
    engine.kill()
    with engine.stored(upload).open("ab") as file:
        file.write(data[FIRST:])
    engine.start()
    for _ in range(2):
        assert ask(engine, "HEAD", target(upload), VERSION).headers["upload-task"] == upload
    assert registered(engine, upload) == ["uploaded"]


def test_a_silent_body_is_408_and_keeps_what_came(start_server: StartServer) -> None:
    """A body that falls silent is given up with 408; what came is kept."""
    server = start_server(tus_engine="tuspyserver", scheduler="none", body_idle_timeout=0.5)
    data = video(LENGTH)
    upload = made(server, LENGTH)
    with stall(server, upload, data) as connection:
        answer = connection.answer()
    assert (answer.status, answer.code) == (408, "body_timeout")
    assert "upload-offset" not in answer.headers
    assert offset_of(server, upload) == FIRST
    assert server.stored(upload).read_bytes() == data[:FIRST]


def test_a_repeated_last_patch_changes_nothing(engine: ServerProcess) -> None:
    """A last PATCH whose answer was lost is answered again, and nothing happens twice."""
    data = video(LENGTH)
    upload = made(engine, LENGTH)
    first = ask(engine, "PATCH", target(upload), patch_headers(0), data)
    for _ in range(2):
        again = ask(engine, "PATCH", target(upload), patch_headers(LENGTH), b"")
        assert again.status == first.status == 204
        for name in ("upload-offset", "upload-task"):
            assert again.headers[name] == first.headers[name]
    assert registered(engine, upload) == ["uploaded"]
    late = ask(engine, "PATCH", target(upload), patch_headers(0), data)
    assert (late.status, late.code, late.headers["upload-offset"]) == (409, "offset_mismatch", str(LENGTH))
    assert engine.stored(upload).read_bytes() == data


def test_a_chunked_body_that_does_not_fit_is_413(light: ServerProcess) -> None:
    """A body without a length that turns out too long is 413 and leaves nothing; one that fits is whole."""
    data = video(1000)
    upload = made(light, 1000)
    headers = patch_headers(0) | {"Transfer-Encoding": "chunked"}
    for extra, status in ((b"x", 413), (b"", 204)):
        with Connection(light.port) as connection:
            connection.send(request("PATCH", target(upload), headers) + chunked([data[:400], data[400:] + extra]))
            assert connection.answer().status == status
        assert light.stored(upload).read_bytes() == (b"" if extra else data)


def test_tus_js_client_uploads_over_a_cut_connection(start_server: StartServer, clip: Path, tmp_path: Path) -> None:
    """tus-js-client brings a video over a connection that is cut on the way; it is whole and processed."""
    server = start_server(tus_engine="tuspyserver")
    with CuttingProxy(server.port, cuts=[2 * MIB]) as proxy:
        given = {
            "endpoint": f"{proxy.url}/files",
            "path": str(clip),
            "metadata": {"filename": clip.name, "filetype": "video/mp4"},
            "retryDelays": [0, 100, 300, 1000],
        }
        with NodeClient("tus.mjs", tmp_path, **given) as client:
            events = client.finish()
        assert proxy.cut_count == 1
    (end,) = [event for event in events if event["event"] == "success"]
    assert end["task"] == upload_id(end["url"])
    check_arrived(server, end["url"], clip)


def test_tus_js_client_uploads_in_parts(start_server: StartServer, clip: Path, tmp_path: Path) -> None:
    """Three parts at once become one video."""
    server = start_server(tus_engine="tuspyserver")
    given = {
        "endpoint": f"{server.url}/files",
        "path": str(clip),
        "metadata": {"filename": clip.name},
        "parallelUploads": 3,
    }
    with NodeClient("tus.mjs", tmp_path, **given) as client:
        events = client.finish()
    (end,) = [event for event in events if event["event"] == "success"]
    check_arrived(server, end["url"], clip)
    assert tasks(server) == [upload_id(end["url"])]


@pytest.fixture
def opened() -> Iterator[type[Uploader]]:
    """tuspy's uploader; it opens the file again for every request, and leaves closing it to whoever called it."""
    files: list[Any] = []

    class Tidy(Uploader):
        def get_file_stream(self) -> Any:
            files.append(super().get_file_stream())  # type: ignore[no-untyped-call]
            return files[-1]

    yield Tidy
    for file in files:
        file.close()


def test_tuspy_uploads_with_checksums_and_resumes(
    start_server: StartServer, clip: Path, opened: type[Uploader]
) -> None:
    """tuspy brings the same in chunks with a checksum each, and goes on after a restart of the server."""
    server = start_server(tus_engine="tuspyserver")
    named = {"filename": clip.name, "filetype": "video/mp4"}
    client = opened(
        str(clip), client=TusClient(f"{server.url}/files"), metadata=named, chunk_size=MIB, upload_checksum=True
    )
    client.upload(stop_at=2 * MIB)
    server.restart()
    assert client.get_offset() == 2 * MIB
    client.upload()
    url = str(client.url)
    check_arrived(server, url, clip)
    check_events(server, upload_id(url))
