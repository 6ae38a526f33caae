"""A body that is handed over ends where its request ends: what is behind it, before it and around it stays HTTP."""

import contextlib
import http.client
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.transport.body import End
from tests.conftest import StartServer
from tests.harness.http import Answer, Connection, LiveServer, Loop, request
from tests.harness.waiting import PATIENCE, until
from tests.transport.handed import REFUSED, Handed, certificate, expected_answer, tls
from tests.tus.client import (
    MOUNT,
    VERSION,
    creation,
    filled,
    id_of,
    patch_headers,
    patch_request,
    target,
    video,
)

pytestmark = pytest.mark.turns(2)  # bodies and their ends

MIB = 1 << 20
NOISE = random.Random(3).randbytes(3 * MIB)
LOOPS: list[Loop] = ["asyncio", "uvloop"]
SIZES = [0, 1, 100, 65_536, 300_000, 3 * MIB]


@pytest.fixture(scope="module", params=LOOPS)
def started(request: pytest.FixtureRequest) -> Iterator[Handed]:
    with Handed(request.param) as made:
        yield made


@pytest.fixture
def handed(started: Handed) -> Iterator[Handed]:
    started.seen.clear()
    yield started
    started.idle()


def put(path: str, body: bytes, **headers: str) -> bytes:
    return request("PUT", path, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@pytest.mark.parametrize("piece", [10 * MIB, 70_001, 997])
def test_pipelined_requests_after_a_body_are_answered_in_order(handed: Handed, piece: int) -> None:
    """Requests behind a body that was handed over are answered in order, in whatever pieces they come."""
    paths = [("/slow" if number % 3 == 0 else f"/{number}", SIZES[number % len(SIZES)]) for number in range(9)]
    if piece < 1000:
        paths = [(path, min(size, 100_000)) for path, size in paths]
    data = b"".join(put(path, NOISE[:size]) + request("GET", "/get") for path, size in paths)
    with handed.connect() as connection:

        def send() -> None:
            for at in range(0, len(data), piece):
                connection.send(data[at : at + piece])

        sender = threading.Thread(target=send)
        sender.start()
        for path, size in paths:
            assert connection.answer().body == expected_answer(path, NOISE[:size])
            assert connection.answer().body == expected_answer("/get", b"")
        sender.join()
        assert connection.ask("PUT", "/last", body=b"more").body == expected_answer("/last", b"more")
    assert {kind for _, _, _, kind in handed.seen} == {"SocketBody"}


def test_a_connection_carries_many_bodies(handed: Handed) -> None:
    """One connection, many bodies, each sent when the one before was answered; head and body apart or together."""
    with handed.connect() as connection:
        for number, size in enumerate(SIZES * 2):
            whole = put("/", NOISE[:size])
            head = len(whole) - size
            if number % 2:
                connection.send(whole[:head])
                time.sleep(0.01)
                connection.send(whole[head:])
            else:
                connection.send(whole)
            assert connection.answer().body == expected_answer("/", NOISE[:size])


@pytest.mark.parametrize("size", [1, 100_000, 3 * MIB])
def test_the_interim_100_is_sent_once(handed: Handed, size: int) -> None:
    """100 comes once, when the body is asked for; a client that does not wait for it is served as well."""
    with handed.connect() as connection:
        for wait in (True, False):
            whole = put("/", NOISE[:size], Expect="100-continue")
            head = len(whole) - size
            connection.send(whole[:head])
            if wait:
                connection.readable()
            else:
                connection.send(whole[head : head + 1])
            connection.send(whole[head if wait else head + 1 :])
            answer = connection.answer()
            assert answer.body == expected_answer("/", NOISE[:size])
            assert answer.interim in ([(100,)] if wait else [(100,), ()])


def test_a_refusal_sends_no_interim_100(handed: Handed) -> None:
    """A refusal says no 100, also when nothing else is said for long."""
    with handed.connect() as connection:
        connection.send(request("PUT", "/refuse", {"Expect": "100-continue", "Content-Length": str(50 * MIB)}))
        answer = connection.answer()
        assert (answer.status, answer.interim, answer.body) == (413, (), REFUSED)
        assert connection.ended()


@pytest.mark.parametrize("path", ["/refuse", "/peek"])
@pytest.mark.parametrize("size", [100, MIB, 50 * MIB])
def test_a_refusal_reaches_a_client_that_sends_everything_first(handed: Handed, path: str, size: int) -> None:
    """Who sends all of a body first, and looks only then, reads the refusal, however large the body is."""
    body = bytes(size)
    connection = http.client.HTTPConnection("127.0.0.1", handed.port, timeout=PATIENCE)
    with contextlib.suppress(ConnectionError):  # what was left is not wanted
        connection.request("PUT", path, body)
    response = connection.getresponse()
    assert (response.status, response.read()) == (413, REFUSED)
    connection.close()
    with handed.connect() as raw:
        with contextlib.suppress(ConnectionError):
            raw.send(put(path, body))
        answer = raw.answer()
        assert (answer.status, answer.body) == (413, REFUSED)


def test_a_refusal_reaches_a_client_that_reads_while_it_sends(handed: Handed) -> None:
    """Who listens while it sends gets the answer and a proper end, and no reset."""
    with handed.connect() as connection:
        connection.send(request("PUT", "/refuse", {"Content-Length": str(50 * MIB)}) + bytes(100_000))
        assert connection.answer().status == 413
        connection.send(bytes(500_000))
        assert connection.read_to_end() == b""


@pytest.mark.parametrize("piece", [10 * MIB, 50])
def test_a_body_with_an_upgrade_header_is_handed_over(handed: Handed, piece: int) -> None:
    """A body of a request that asks for another protocol is handed over like any other."""
    wish = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"}
    body = NOISE[: 300_000 if piece > 50 else 2_000]
    data = request("PUT", "/a", wish, body) + put("/b", body) + request("GET", "/c", wish)
    with handed.connect() as connection:
        for at in range(0, len(data), piece):
            connection.send(data[at : at + piece])
        for path, expected in (("/a", body), ("/b", body), ("/c", b"")):
            assert connection.answer().body == expected_answer(path, expected)


def test_an_http_1_0_body_is_handed_over_and_the_connection_closed(handed: Handed) -> None:
    """HTTP/1.0: the body is read, answered, and the connection closed."""
    with handed.connect() as connection:
        connection.send(put("/", NOISE).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        answer = connection.answer()
        assert answer.body == expected_answer("/", NOISE)
        assert connection.ended()


@pytest.mark.parametrize("count", [0, 10, 300_000])
@pytest.mark.parametrize("how", ["close", "reset", "half_close"])
def test_a_lost_connection_keeps_the_bytes_that_came(handed: Handed, how: str, count: int) -> None:
    """A connection that is lost in a body: the application hears it, and has what came before."""
    with handed.connect() as connection:
        connection.send(request("PUT", "/", {"Content-Length": str(MIB)}) + NOISE[:count])
        if how == "reset":
            time.sleep(0.1)
        getattr(connection, how)()
        ((path, size, end, _),) = until(lambda: handed.seen, seconds=5, what="it is heard")
        assert (path, end) == ("/", End.GONE)
        assert size == count
        if how == "half_close":
            assert connection.ended()


@pytest.mark.parametrize("loop", LOOPS)
def test_a_tls_body_is_read_without_a_handover(loop: Loop, tmp_path: Path) -> None:
    """With TLS a body goes the usual way, with the same answers; a refusal arrives."""
    with Handed(loop, certificate=certificate(tmp_path)) as made:
        with tls(made.port) as connection:
            connection.sendall(put("/a", NOISE) + put("/b", b"x"))
            data = b""
            while data.count(b"HTTP/1.1 200") < 2 or not data.endswith(expected_answer("/b", b"x")):
                data += connection.recv(MIB)
            assert expected_answer("/a", NOISE) in data
        assert {kind for _, _, _, kind in made.seen} == {"AsgiBody"}
        with tls(made.port) as connection:
            connection.sendall(request("PUT", "/refuse", {"Content-Length": str(MIB)}))
            assert REFUSED in connection.recv(MIB) + connection.recv(MIB)
        made.idle()


# The real server


@pytest.mark.sampled(2)
@pytest.mark.parametrize("size", [MIB, 20 * MIB])
@pytest.mark.parametrize("loop", LOOPS)
def test_answers_409_and_413_reach_the_client_after_its_body(tmp_path: Path, loop: Loop, size: int) -> None:
    """What tells a client where to go on reaches it behind a body that nobody wants."""
    with LiveServer(tmp_path / "live", loop=loop) as live:
        upload, _ = filled(live, 30 * MIB, 1000)
        for offset, length, status in ((0, size, 409), (1000, 40 * MIB, 413)):
            for _ in range(3):
                assert blindly(live, upload, offset, bytes(length)).status == status
        assert live.path(upload).stat().st_size == 1000


def blindly(live: LiveServer, upload: str, offset: int, body: bytes) -> Answer:
    with live.connect() as connection:
        with contextlib.suppress(ConnectionError):
            connection.send(patch_request(upload, offset, body))
        answer = connection.answer()
    if answer.status == 409:
        assert answer.headers["upload-offset"] == "1000"
    return answer


def begun(port: int, data: bytes, count: int) -> tuple[str, Connection]:
    """An upload of all of the data whose body stopped after `count` bytes."""
    with Connection(port) as connection:
        upload = id_of(connection.ask("POST", MOUNT, creation(len(data))))
    holder = Connection(port)
    holder.send(patch_request(upload, 0, data[:count], length=len(data)))
    return upload, holder


def stored_all(path: Path, size: int) -> None:
    """Wait until the file is that long."""
    until(lambda: path.stat().st_size == size, seconds=10, what="it is stored")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("http", ["videodock", "portable"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_waits_for_bodies_within_the_grace_period(start_server: StartServer, workers: int, http: str) -> None:
    """SIGTERM: a body that comes to its end within the grace period is whole; one that does not keeps what it has, and
    its client is told to come again."""
    server = start_server(scheduler="none", shutdown_grace=3, workers=workers, http=http)
    data = video(MIB)
    (ends, first), (stays, second) = [begun(server.port, data, 500_000) for _ in range(2)]
    for upload in (ends, stays):
        stored_all(server.stored(upload), 500_000)
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    time.sleep(0.5)
    first.send(data[500_000:])
    assert first.answer().headers["upload-task"] == ends
    stopping.join()  # which proves exit code 0
    answer = second.answer()
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "server_stopping", "2")
    assert server.stored(ends).read_bytes() == data
    assert server.stored(stays).read_bytes() == data[:500_000]
    server.start()
    with Connection(server.port) as connection:
        assert connection.ask("HEAD", target(stays), VERSION).headers["upload-offset"] == "500000"
        answer = connection.ask("PATCH", target(stays), patch_headers(500_000), data[500_000:])
        assert answer.headers["upload-task"] == stays
    assert server.stored(stays).read_bytes() == data
    first.close()
    second.close()


def test_a_second_signal_ends_the_server_and_keeps_the_bytes(start_server: StartServer) -> None:
    """The second SIGTERM ends a server whose bodies still run; what they had is kept."""
    server = start_server(scheduler="none", shutdown_grace=60)
    data = video(MIB)
    upload, holder = begun(server.port, data, 500_000)
    stored_all(server.stored(upload), 500_000)
    process = server._process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    holder._socket.settimeout(0.5)
    with pytest.raises(TimeoutError):  # it waits for the body
        holder._socket.recv(1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 1
    server._process = None
    assert server.stored(upload).read_bytes() == data[:500_000]
    holder.close()
    server.start()
    with Connection(server.port) as connection:
        assert connection.ask("HEAD", target(upload), VERSION).headers["upload-offset"] == "500000"
