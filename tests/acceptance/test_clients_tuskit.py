"""TUSKit 3 as `tests/harness/tuskit.py` replays it: it heals itself, and is never told a lie that it would believe."""

import contextlib
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.harness.arrival import check_arrived, upload_id
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.rows import query, sha256
from tests.harness.server_process import ServerProcess
from tests.harness.tasks import finish
from tests.harness.tuskit import CHUNK, LosingProxy, TUSKit, UploadFailedError
from tests.harness.waiting import PATIENCE, until
from tests.samples import big

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # a client and its troubles; it uploads in each run

SIZE = 5 * CHUNK + 12_345


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A playable video of five chunks and a bit."""
    source = big(tmp_path_factory.mktemp("video"), "假期 IMG_0815.mp4", SIZE)
    assert source.stat().st_size == SIZE
    return source


def check_healed(server: ServerProcess, client: TUSKit) -> None:
    """It says that it has finished, and so it is: at once registered, and whole. No answer took anything back."""
    assert client.finished
    status = server.http.get(f"{server.url}/api/task/status/{upload_id(client.url)}")
    assert status.status_code == 200, f"TUSKit believes that it has finished, and there is no task: {client.exchanges}"
    offsets = [exchange.answer_offset for exchange in client.exchanges if exchange.answer_offset is not None]
    assert offsets == sorted(offsets), client.exchanges
    assert offsets[-1] == SIZE


def check_whole(server: ServerProcess, client: TUSKit) -> None:
    check_healed(server, client)
    check_arrived(server, client.url, client.file)


def conflicts(client: TUSKit) -> list[int | None]:
    """What answers with 409 told."""
    return [exchange.answer_offset for exchange in client.exchanges if exchange.status == 409]


@pytest.mark.turns(1)
def test_tuskit_uploads_without_extra_requests(server: ServerProcess, video: Path, tmp_path: Path) -> None:
    """A creation and six chunks, each answered with where it ended; nothing else is asked."""
    client = TUSKit(server.url, video, tmp_path)
    client.run()
    starts = range(0, SIZE, CHUNK)
    assert [
        (exchange.method, exchange.status, exchange.offset, exchange.answer_offset) for exchange in client.exchanges
    ] == [
        ("POST", 201, 0, 0),
        *(("PATCH", 204, start, min(start + CHUNK, SIZE)) for start in starts),
    ]
    check_whole(server, client)


def test_tuskit_resumes_after_a_cut(server: ServerProcess, video: Path, tmp_path: Path) -> None:
    """After a cut the stale offset is taken, or answered with 409 and the true one; TUSKit goes on without asking."""
    cuts = [CHUNK // 2, 2 * CHUNK, 4 * CHUNK + 4_321]
    with CuttingProxy(server.port, cuts=cuts) as proxy:
        client = TUSKit(proxy.url, video, tmp_path)
        client.run()
        assert proxy.cut_count == 3
    assert 1 <= client.failures <= 3, client.exchanges
    assert None not in conflicts(client)
    assert not [exchange for exchange in client.exchanges if exchange.method == "HEAD"]
    check_whole(server, client)


@pytest.mark.parametrize(
    "lost",
    [
        pytest.param([CHUNK, *[3 * CHUNK] * 3], id="of-a-chunk-three-times"),
        pytest.param([4 * CHUNK, *[SIZE] * 3], id="of-the-last-chunk-three-times"),
    ],
)
def test_tuskit_goes_on_after_a_lost_answer(
    server: ServerProcess, video: Path, tmp_path: Path, lost: list[int]
) -> None:
    """The chunk whose answer was lost is sent again at its stale offset; 409 tells that it is there already.

    Of the last chunk that 409 tells TUSKit that it has finished, so the task must be registered by then.
    """
    with LosingProxy(server.port, lost=lost) as proxy:
        client = TUSKit(proxy.url, video, tmp_path)
        client.run()
        assert proxy.lost == []
    assert client.failures == len(lost)
    assert conflicts(client) == sorted(set(lost))
    check_whole(server, client)
    assert len(query(server.database_url, "SELECT id FROM tasks")) == 1


def test_eight_tuskit_uploads_complete_over_a_bad_network(server: ServerProcess, video: Path, tmp_path: Path) -> None:
    """Eight uploads at once whose connections are cut again and again all heal, and are eight tasks."""
    cuts = range(CHUNK, 8 * SIZE, 3 * CHUNK + 54_321)
    with CuttingProxy(server.port, cuts=cuts, how="fin") as proxy:
        clients = [TUSKit(proxy.url, video, tmp_path) for _ in range(8)]

        def run(client: TUSKit) -> None:
            client.run()
            check_healed(server, client)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(run, clients))
        assert proxy.cut_count >= 8
    tasks = {upload_id(client.url) for client in clients}
    assert {row["id"] for row in query(server.database_url, "SELECT id FROM tasks")} == tasks
    assert len(tasks) == 8
    assert {sha256(server.stored(task)) for task in tasks} == {sha256(video)}
    for task in tasks:
        finish(server, task)


def test_tuskit_resumes_after_a_restart_of_the_server(server: ServerProcess, video: Path, tmp_path: Path) -> None:
    """While the server is away TUSKit gives up; asked to try again, it goes on with what had arrived."""
    with CuttingProxy(server.port, hold_at=2 * CHUNK + CHUNK // 2) as proxy:
        client = TUSKit(proxy.url, video, tmp_path)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(client.run)
            assert proxy.held.wait(PATIENCE)
            stored = server.stored(upload_id(client.url))
            until(lambda: stored.stat().st_size > 2 * CHUNK, seconds=10, what="bytes of a running PATCH are on disk")
            server.kill()
            proxy.release()
            with pytest.raises(UploadFailedError):
                running.result(30)
        kept = stored.stat().st_size
        assert client.offset == 2 * CHUNK
        server.start()
        client.retry()
    (head,) = [exchange for exchange in client.exchanges if exchange.method == "HEAD"]
    assert (head.status, head.answer_offset) == (200, kept)
    check_whole(server, client)


def test_tuskit_takes_over_from_its_dead_connection(server: ServerProcess, video: Path, tmp_path: Path) -> None:
    """The old connection is dead but open: TUSKit's time limit runs out, and its next request takes the upload over."""
    with CuttingProxy(server.port, hold_at=2 * CHUNK + CHUNK // 2) as proxy:
        client = TUSKit(proxy.url, video, tmp_path, time_limit=5)
        client.run()
        assert client.failures == 1, "the newcomer had to wait"
        check_whole(server, client)
        proxy.release()
    assert sha256(server.stored(upload_id(client.url))) == sha256(video)


@contextlib.contextmanager
def locked(server: ServerProcess) -> Iterator[None]:
    """Nobody can write to the server's SQLite."""
    with contextlib.closing(sqlite3.connect(server.data_dir / "videodock.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def test_no_409_reports_all_bytes_before_the_task_is_registered(
    server: ServerProcess, video: Path, tmp_path: Path
) -> None:
    """All bytes are on disk, but the database is slow and the task not registered: no 409 may tell the length yet."""
    client = TUSKit(server.url, video, tmp_path, time_limit=3)
    client.run(pause_at=5 * CHUNK)
    with ThreadPoolExecutor(1) as pool, locked(server):
        running = pool.submit(client.run)
        stored = server.stored(upload_id(client.url))
        until(lambda: stored.stat().st_size == SIZE, seconds=5, what="the last byte is on disk")
        until(lambda: client.failures == 2 or client.finished, seconds=5, what="TUSKit has asked again")
        premature = client.finished
    assert not premature, f"TUSKit was told that it has finished before it was: {client.exchanges[-1]}"
    running.result()
    check_whole(server, client)


def test_tuskit_never_reports_a_refused_file_as_complete(server: ServerProcess, tmp_path: Path) -> None:
    """415 carries no Upload-Offset, so TUSKit fails; HEAD does not tell it anything else later."""
    lie = tmp_path / "lie.mp4"
    lie.write_bytes(b"no video at all " * (SIZE // 16))
    client = TUSKit(server.url, lie, tmp_path)
    for attempt in (client.run, client.retry):
        with pytest.raises(UploadFailedError):
            attempt()
        assert not client.finished
    answers = client.exchanges[1:]
    assert [(exchange.method, exchange.answer_offset) for exchange in answers] == [("PATCH", None)] * 4 + [
        ("HEAD", None)
    ] * 4
    assert {exchange.status for exchange in answers} == {415}
    assert server.stored_files() == []
    assert query(server.database_url, "SELECT id FROM tasks") == []
