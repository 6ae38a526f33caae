"""A file goes out by `sendfile` byte for byte, and whatever its client does, nothing of it is held or left behind."""

import contextlib
import errno
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from server.serving.supervisor import allow_descriptors
from server.transport import sendfile as sendfile_module
from server.transport import time_slice
from server.transport.sendfile import FILES
from tests.harness.http import Loop, request
from tests.harness.processes import descriptors
from tests.harness.waiting import PATIENCE, until
from tests.transport.handed import certificate, tls
from tests.transport.outgoing import (
    DATA,
    Files,
    all_threads_are_free,
    all_wait,
    close_all,
    expected,
    in_a_hurry,
    piece_size,
    slowly,
)
from tests.transport.pairs import MIB

pytestmark = pytest.mark.turns(2)  # downloads and their ends

LOOPS: list[Loop] = ["asyncio", "uvloop"]
IDLE = 0.5


WHOLE = f"/0-{len(DATA)}"


@pytest.fixture(scope="module", params=LOOPS)
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    file = tmp_path_factory.mktemp("files") / "file"
    file.write_bytes(DATA)
    with Files(request.param, file) as made:
        yield made


@pytest.fixture
def files(started: Files) -> Iterator[Files]:
    """A server with a fresh file; afterwards nothing is left of a request, not even a descriptor."""
    started.file.write_bytes(DATA)
    started.idle_seconds, started.rate, started.missing = 2 * PATIENCE, 0, 0
    started.send_buffer = 0
    started.in_front.clear()
    started.senders.clear()
    started.ends.clear()
    started.idle()
    before = descriptors()
    yield started
    assert not any(started.in_front), "the server had still to write"
    close_all(started)
    started.idle()
    until(lambda: descriptors() <= before, seconds=5, what="no descriptor is left")
    all_threads_are_free()


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each `os.sendfile` moved."""
    counts: list[int] = []
    real = os.sendfile

    def sendfile(out: int, file: int, offset: int, count: int) -> int:
        assert not os.get_blocking(out)
        found = real(out, file, offset, count)
        counts.append(found)
        return found

    monkeypatch.setattr(os, "sendfile", sendfile)
    return counts


@pytest.mark.parametrize("turn", [1 << 25, 100_000])
@pytest.mark.parametrize(
    "path", ["/0-0", "/5-1", "/0-65536", WHOLE, f"/1-{7 * MIB}", "/a/10-20/b/0-0/c/20-1/100-900000/d"]
)
@pytest.mark.turns(1)
def test_files_and_ranges_are_sent_by_sendfile(
    files: Files, monkeypatch: pytest.MonkeyPatch, moved: list[int], path: str, turn: int
) -> None:
    """Whole files, stretches of them, and text between: the bytes that were asked for, and by sendfile."""
    monkeypatch.setattr(time_slice, "SLICE_BYTES", turn)
    with files.connect() as connection:
        for _ in range(3):
            assert connection.ask("GET", path).body == expected(path)
    count = sum(piece_size(piece) for piece in path.split("/") if "-" in piece)
    until(lambda: len(files.ends) == 3, seconds=5, what="all have heard that they are over")
    assert sum(moved) == 3 * count
    assert [one.sent for one in files.senders] == [count] * 3


@pytest.mark.sampled(1)
def test_a_file_follows_bytes_that_wait_in_the_buffer(files: Files, moved: list[int]) -> None:
    """What the server still has to write comes first, however long its client takes for it; many at once."""
    path = f"/x*{9 * MIB}/0-{3 * MIB}/y*{2 * MIB}/7-100/z"
    slow = [slowly(files, path) for _ in range(3)]
    time.sleep(0.2)
    assert moved == []
    digests = [hashlib.sha256(in_a_hurry(connection).answer().body).digest() for connection in slow]
    assert digests == [hashlib.sha256(expected(path)).digest()] * 3
    for connection in slow:
        assert connection.ask("GET", "/next").body == b"next"


def test_a_file_follows_a_few_bytes_that_wait(files: Files) -> None:
    """The same for so few bytes that the server would not call its buffer full."""
    files.send_buffer = 4096
    for path in ("/x*50000/0-100/y*10000/5-1000/z*3000/0-9", "/x*15000/0-100"):
        connection = slowly(files, path)
        for _ in range(3):
            assert connection.answer().body == expected(path)
            connection.send(request("GET", path))
        assert connection.answer().body == expected(path)


@pytest.mark.sampled(1)
def test_pipelined_requests_after_a_file_are_answered_in_order(files: Files) -> None:
    """Requests that wait behind a file are answered in order, on a connection that stays."""
    paths = [WHOLE, "/a", "/0-0", "/0-10/b", f"/3-{MIB}", WHOLE, "/end"] * 2
    with files.connect() as connection:
        connection.send(b"".join(request("GET", path) for path in paths))
        time.sleep(0.1)
        for path in paths:
            assert connection.answer().body == expected(path)
        assert connection.ask("PUT", "/0-9", body=b"x" * 100_000).body == DATA[:9]


def test_the_connection_is_closed_after_the_answer(files: Files) -> None:
    """Where the connection ends behind the answer, it ends there and not before."""
    closing = {"Connection": "close"}
    for asked in (request("GET", WHOLE).replace(b"HTTP/1.1", b"HTTP/1.0", 1), request("GET", WHOLE, closing)):
        with files.connect() as connection:
            connection.send(asked)
            assert connection.answer().body == DATA
            assert connection.ended()


@pytest.mark.sampled(1)
def test_idle_downloads_hold_no_thread(files: Files) -> None:
    """Three hundred clients that read nothing: no thread works for them, and each gets every byte when it reads."""
    allow_descriptors()
    slow = [slowly(files, f"/0-{3 * MIB}") for _ in range(300)]
    all_wait(files, len(slow))
    all_threads_are_free()
    with files.connect() as connection:
        assert connection.ask("GET", "/0-70000").body == DATA[:70_000]
    for connection in slow:
        assert in_a_hurry(connection).answer().body == DATA[: 3 * MIB]


@pytest.mark.parametrize("behind", [0, 3])
@pytest.mark.parametrize("how", ["close", "reset", "half_close"])
def test_a_client_that_leaves_frees_everything(files: Files, how: str, behind: int) -> None:
    """A client that goes in the middle, while the server waits for it: all is let go, also when requests wait."""
    connection = slowly(files, WHOLE)
    connection.send(request("GET", "/a") * behind)
    all_wait(files, 1)
    if behind and how == "half_close":  # nobody reads its end, since nobody reads: it is a client like any other
        connection.half_close()
        assert in_a_hurry(connection).answer().body == DATA
        return
    getattr(connection, how)()
    until(lambda: files.ends, seconds=5, what="it is heard")
    assert files.ends[0] is False


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_at_full_speed_frees_everything(files: Files, how: str) -> None:
    """The same while bytes are moved."""
    for count in (1, 100_000, 5_000_000):
        with files.connect() as connection:
            connection.send(request("GET", WHOLE))
            connection.read(count)
            getattr(connection, how)()
    files.idle()
    assert len(files.ends) == 3


@pytest.mark.sampled(2)
@pytest.mark.parametrize("left", [0, 100, 10 * MIB])
def test_a_file_that_became_shorter_cuts_the_connection(
    files: Files, left: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that got shorter: what it still has arrives, then the connection is cut, and somebody is told."""
    connection = slowly(files, WHOLE)
    all_wait(files, 1)
    already = files.senders[0].sent
    os.truncate(files.file, left)
    got = b""
    with contextlib.suppress(ConnectionResetError):
        got = connection.read_to_end()
    body = got.partition(b"\r\n\r\n")[2]
    assert len(body) == max(already, left)
    assert body[:left] == DATA[:left]  # what was cut off may have lain in the socket as pages of the file
    assert files.ends == [sendfile_module.FileTooShortError]
    assert [record.exc_info is not None for record in caplog.records if record.levelno == logging.ERROR] == [True]


@pytest.mark.sampled(1)
def test_an_idle_reader_is_reset(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    """Who takes no byte for too long is reset, in the file and in what comes before it; nobody calls it an error."""
    files.idle_seconds = IDLE
    for path in (WHOLE, f"/x*{9 * MIB}/0-10"):
        connection = slowly(files, path)
        until(lambda: files.ends, seconds=5, what="it is given up")
        assert files.ends == [False]
        files.idle()
        with pytest.raises(ConnectionResetError):
            connection.read_to_end()
        files.ends.clear()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.sampled(1)
def test_a_slow_reader_is_not_idle(files: Files) -> None:
    """Who takes a little again and again is not idle, although the socket takes nothing for longer than that."""
    files.idle_seconds = IDLE
    connection = slowly(files, WHOLE)
    all_wait(files, 1)
    before, end, got = files.senders[0].sent, time.monotonic() + 4 * IDLE, b""
    while time.monotonic() < end:
        got += connection.read(2000)
        time.sleep(IDLE / 10)
    assert files.senders[0].sent == before, "the socket took something: this proves nothing"
    assert files.ends == []
    connection._buffer = got + connection._buffer
    assert in_a_hurry(connection).answer().body == DATA


def test_a_reader_below_the_slowest_rate_is_given_up(files: Files) -> None:
    """Who takes fewer bytes a second than a download must have is given up, however busy it is."""
    files.idle_seconds, files.rate = IDLE, 100 * MIB
    connection = slowly(files, WHOLE)
    with contextlib.suppress(ConnectionError):
        while not files.ends:
            connection.read(10_000)
            time.sleep(IDLE / 20)
    until(lambda: files.ends, seconds=5, what="it is given up")
    assert files.ends == [False]


@pytest.mark.sampled(1)
def test_a_file_system_without_sendfile_is_read(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that cannot be sent from is read."""

    def sendfile(*_: int) -> int:
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(os, "sendfile", sendfile)
    with files.connect() as connection:
        for path in (WHOLE, "/a/5-7/b", WHOLE):
            assert connection.ask("GET", path).body == expected(path)
    connection = slowly(files, WHOLE)
    all_wait(files, 1)
    os.truncate(files.file, 0)
    with contextlib.suppress(ConnectionResetError):
        assert len(connection.read_to_end()) < len(DATA)
    assert files.ends[-1] is sendfile_module.FileTooShortError


def test_a_read_error_cuts_the_connection(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that cannot be read cut the connection."""
    real = os.sendfile

    def sendfile(out: int, file: int, offset: int, count: int) -> int:
        if offset > 5 * MIB:
            raise OSError(errno.EIO, "broken")
        return real(out, file, offset, count)

    monkeypatch.setattr(os, "sendfile", sendfile)
    with files.connect() as connection:
        connection.send(request("GET", WHOLE))
        with contextlib.suppress(ConnectionResetError):
            assert len(connection.read_to_end()) < len(DATA)
    assert files.ends == [OSError]


@pytest.mark.parametrize("path", ["/0-100", "/a*50/0-50", WHOLE])
def test_nothing_is_sent_beyond_the_announced_length(files: Files, path: str) -> None:
    """No byte behind the end of an answer: what has no room is not begun."""
    files.missing = 1
    with files.connect() as connection:
        connection.send(request("GET", path))
        body = connection.read_to_end().partition(b"\r\n\r\n")[2]
    assert body == expected(path.rpartition("/")[0] or "/")
    assert files.ends == [RuntimeError]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("loop", LOOPS)
def test_a_stop_lets_active_readers_finish(loop: Loop, tmp_path: Path) -> None:
    """A stop lets those end who read, and cuts off the others; nothing is left of either."""
    file = tmp_path / "file"
    file.write_bytes(DATA)
    before = descriptors()
    stopped = Files(loop, file)
    stopped.grace = 4  # enough to read on a busy machine
    with stopped as made, contextlib.ExitStack() as ends:
        ends.callback(close_all, made)
        reads, sleeps = slowly(made, WHOLE), slowly(made, WHOLE)
        all_wait(made, 2)
        made._server.should_exit = True
        assert in_a_hurry(reads).answer().body == DATA
        assert reads.ended()
        until(lambda: len(made.ends) == 2, seconds=5, what="both are over")
        with contextlib.suppress(ConnectionResetError):
            assert len(sleeps.read_to_end()) < len(DATA)
    assert made.ends[0] is True
    assert made.ends[1] is not True
    until(lambda: descriptors() <= before, seconds=5, what="no descriptor is left")
    all_threads_are_free()


@pytest.mark.parametrize("loop", LOOPS)
def test_a_tls_socket_is_never_used_for_sendfile(loop: Loop, tmp_path: Path) -> None:
    """A socket with TLS is never let out: its bytes would go in the clear."""
    seen: list[set[str]] = []

    class Plain(Files):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # as ASGI has it
            seen.append(set(scope["extensions"]))
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

    with Plain(loop, tmp_path, certificate=certificate(tmp_path)) as made:
        with tls(made.port) as connection:
            connection.sendall(request("GET", "/"))
            assert connection.recv(1000).startswith(b"HTTP/1.1 204")
        with made.connect() as plain:  # and this is no TLS at all
            plain.send(request("GET", "/"))
            plain.ended()
    assert len(seen) == 1
    assert FILES not in seen[0]
