"""Rules 13 and 14: a body that stops keeps what arrived, and a newcomer takes the upload over."""

import concurrent.futures
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.harness.http import Answer, Connection, LiveServer, chunked, request
from tests.harness.waiting import PATIENCE, Stopwatch, until
from tests.tus.client import (
    MOUNT,
    OCTETS,
    VERSION,
    create,
    creation,
    head,
    id_of,
    patch,
    patch_headers,
    patch_request,
    target,
    video,
)

LENGTH, FIRST = 200_000, 90_000
SECONDS = 2.0


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with LiveServer(tmp_path_factory.mktemp("live")) as made:
        yield made


def stored(live: LiveServer, upload: str, size: int) -> None:
    """Wait until the store has so many bytes."""
    until(lambda: live.path(upload).stat().st_size >= size, seconds=5, what=f"{size} bytes are stored")


def stall(live: LiveServer, upload: str, data: bytes, offset: int = 0, first: int = FIRST) -> Connection:
    """A PATCH of all the rest that stops when `first` bytes have come and are stored."""
    connection = live.connect()
    rest = data[offset:]
    connection.send(patch_request(upload, offset, rest[:first], length=len(rest)))
    stored(live, upload, offset + first)
    return connection


CUTS: dict[str, Callable[[Connection], None]] = {
    "FIN": Connection.close,
    "RST": Connection.reset,
    "half-close": Connection.half_close,
}


@pytest.mark.sampled(8)
@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("first", [1, 40, 64, FIRST])
@pytest.mark.parametrize("kind", ["length", "chunked"])
def test_a_cut_patch_keeps_what_came(live: LiveServer, how: str, first: int, kind: str) -> None:
    """Rule 13: what came before the cut is kept, the offset is the truth, and the upload goes on from there."""
    data = video(LENGTH)
    upload = create(live, LENGTH)
    size = {"Content-Length": str(LENGTH)} if kind == "length" else {"Transfer-Encoding": "chunked"}
    with live.connect() as connection:
        connection.send(request("PATCH", target(upload), patch_headers(0) | size | {"Expect": "100-continue"}))
        # It says 100 when it begins to read: what was cut off before that, uvicorn would throw away unread.
        assert connection.read(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.send(data[:first] if kind == "length" else chunked([data[:first]], end=False))
        if first >= 64:  # fewer bytes than the type check needs wait for more; the cut brings them into the store
            stored(live, upload, first)
        CUTS[how](connection)
        stored(live, upload, first)
        until(lambda: not live.locks(), seconds=5, what="the request is over")
    live.wait_until_received(upload, first)
    assert head(live, upload).headers["upload-offset"] == str(first)
    assert live.stored(upload) == data[:first]
    assert patch(live, upload, first, data[first:]).headers["upload-task"] == upload
    assert live.stored(upload) == data


@pytest.mark.parametrize("how", CUTS)
def test_a_cut_creation_keeps_what_came(live: LiveServer, how: str) -> None:
    """Rule 13: the same for the body of a POST."""
    data = video(LENGTH)
    before = {path.name for path in live.files()}
    connection = live.connect()
    headers = creation(LENGTH) | {"Content-Type": OCTETS, "Content-Length": str(LENGTH)}
    connection.send(request("POST", MOUNT, headers) + data[:FIRST])
    (upload,) = until(lambda: {path.name for path in live.files()} - before, seconds=5, what="it is created")
    stored(live, upload, FIRST)
    CUTS[how](connection)
    until(lambda: not live.locks(), seconds=5, what="the request is over")
    connection.close()
    assert head(live, upload).headers["upload-offset"] == str(FIRST)
    assert live.stored(upload) == data[:FIRST]


def test_a_silent_body_is_408_and_keeps_what_came(tmp_path: Path) -> None:
    """Rule 13: a body that falls silent is given up with 408; what came is kept, and 408 has no offset."""
    with LiveServer(tmp_path / "idle", body_idle_timeout=0.3) as live:
        data = video(LENGTH)
        for first in (10, FIRST):
            upload = create(live, LENGTH)
            with live.connect() as connection:
                connection.send(patch_request(upload, 0, data[:first], length=LENGTH))
                answer = connection.answer()
                assert (answer.status, answer.code) == (408, "body_timeout")
                assert "upload-offset" not in answer.headers
                assert answer.headers["retry-after"]
                assert connection.ended()
            assert live.stored(upload) == data[:first]
            assert head(live, upload).headers["upload-offset"] == str(first)
            assert patch(live, upload, first, data[first:]).status == 204


def test_a_slow_body_is_not_idle(tmp_path: Path) -> None:
    """A body that is slow but never silent for the limit is not given up."""
    with LiveServer(tmp_path / "slow", body_idle_timeout=0.5) as live:
        data = video(100)
        upload = create(live, 100)
        pause = threading.Event()  # never set: time itself is the subject here
        with live.connect() as connection:
            connection.send(patch_request(upload, 0, b"", length=100))
            for start in range(0, 100, 20):
                pause.wait(0.2)
                connection.send(data[start : start + 20])
            assert connection.answer().headers["upload-task"] == upload


def check_evicted(live: LiveServer, upload: str, holder: Connection, data: bytes, end: int) -> None:
    """The evicted request ended with 423, and not one of the bytes that it still sends reaches the file."""
    answer = holder.answer()
    assert (answer.status, answer.code) == (423, "upload_locked")
    assert "upload-offset" not in answer.headers
    try:
        for _ in range(20):
            holder.send(b"\xff" * 10_000)
    except OSError:
        pass
    assert live.stored(upload) == data[:end]
    holder.close()


@pytest.mark.parametrize("first", [10, FIRST])
def test_head_evicts_a_running_body(live: LiveServer, first: int) -> None:
    """Rule 14: HEAD gets the true offset within 2 s though a body is being received; what it had is kept."""
    data = video(LENGTH)
    upload = create(live, LENGTH)
    holder = live.connect()
    holder.send(patch_request(upload, 0, data[:first], length=LENGTH))
    if first == FIRST:
        stored(live, upload, first)
    else:
        until(live.locks, seconds=5, what="the body is being received")
    started = Stopwatch()
    answer = head(live, upload)
    assert started.seconds < SECONDS
    assert answer.status == 200
    offset = int(answer.headers["upload-offset"])
    assert live.stored(upload) == data[:offset]
    if first == FIRST:
        assert offset == first
    check_evicted(live, upload, holder, data, offset)
    assert patch(live, upload, offset, data[offset:]).headers["upload-task"] == upload
    assert live.stored(upload) == data


def test_a_patch_at_the_true_offset_evicts_a_running_body(live: LiveServer) -> None:
    """Rule 14: a PATCH at the true offset takes over; the late bytes of the old one never reach the file."""
    data = video(LENGTH)
    upload = create(live, LENGTH)
    holder = stall(live, upload, data)
    started = Stopwatch()
    newcomer = live.connect()
    newcomer.send(patch_request(upload, FIRST, data[FIRST : FIRST + 100], length=LENGTH - FIRST))
    stored(live, upload, FIRST + 100)
    assert started.seconds < SECONDS
    check_evicted(live, upload, holder, data, FIRST + 100)
    newcomer.send(data[FIRST + 100 :])
    assert newcomer.answer().headers["upload-task"] == upload
    newcomer.close()
    assert live.stored(upload) == data


def test_a_patch_at_a_wrong_offset_does_not_evict(live: LiveServer) -> None:
    """Rules 2 and 3: a PATCH at a wrong offset is told the truth at once, and the body goes on that holds the lock."""
    data = video(LENGTH)
    upload = create(live, LENGTH)
    holder = stall(live, upload, data)
    started = Stopwatch()
    answer = patch(live, upload, 0, data[:100])
    assert started.seconds < SECONDS
    assert (answer.status, answer.headers["upload-offset"]) == (409, str(FIRST))
    wrong = live.ask("PATCH", target(upload), VERSION | {"Upload-Offset": str(FIRST)}, data[FIRST:])
    assert wrong.status == 415
    holder.send(data[FIRST:])
    assert holder.answer().headers["upload-task"] == upload
    holder.close()
    assert live.stored(upload) == data


def test_delete_evicts_a_running_body(live: LiveServer) -> None:
    """Rule 14: DELETE removes an upload whose body is being received; late bytes bring no file back."""
    data = video(LENGTH)
    upload = create(live, LENGTH)
    holder = stall(live, upload, data)
    started = Stopwatch()
    assert live.ask("DELETE", target(upload), VERSION).status == 204
    assert started.seconds < SECONDS
    assert holder.answer().status == 423
    holder.close()
    assert live.stored(upload) is None
    assert live.row(upload)["status"] == "terminated"


def test_a_body_at_full_speed_is_evicted(live: LiveServer) -> None:
    """Rule 14: a body at full speed lets go too; what the offset says is what the file has, then and later."""
    size = 400_000_000
    data = video(1 << 20)
    upload = create(live, size)
    holder = live.connect()
    stop = threading.Event()

    def flood() -> int:
        sent = 0
        try:
            holder.send(patch_request(upload, 0, b"", length=size))
            while not stop.is_set() and sent < size - len(data):
                holder.send(data)
                sent += len(data)
        except OSError:
            pass
        return sent

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        flooding = pool.submit(flood)
        stored(live, upload, 2 << 20)
        started = Stopwatch()
        answer = head(live, upload)
        assert started.seconds < SECONDS
        offset = int(answer.headers["upload-offset"])
        assert live.path(upload).stat().st_size == offset
        stop.set()
        flooding.result(PATIENCE)
    assert live.path(upload).stat().st_size == offset
    assert (live.stored(upload) or b"") == (data * (offset // len(data) + 1))[:offset]
    holder.close()
    assert live.ask("DELETE", target(upload), VERSION).status == 204


def test_refused_requests_do_not_evict(live: LiveServer) -> None:
    """Rules 2 and 14: a request without the version, or for another upload, disturbs nobody."""
    data = video(LENGTH)
    upload = create(live, LENGTH)
    holder = stall(live, upload, data)
    assert live.ask("HEAD", target(upload), {}).status == 412
    assert live.ask("PATCH", target(upload), {"Tus-Resumable": "9"}, b"x").status == 412
    assert live.ask("OPTIONS", target(upload)).status == 204
    assert head(live, create(live, 10)).status == 200
    holder.send(data[FIRST:])
    assert holder.answer().headers["upload-task"] == upload
    holder.close()
    assert live.stored(upload) == data


def test_concurrent_patches_write_each_byte_once(live: LiveServer) -> None:
    """Rule 14: of PATCHes that race for the same offset one writes each byte; the file is never a mixture."""
    length = 60_000
    ours, theirs = video(length, 1), video(length, 2)
    for _ in range(10):
        upload = create(live, length)
        answers: list[Answer] = []

        def race(data: bytes, upload: str = upload, answers: list[Answer] = answers) -> None:
            answers.append(patch(live, upload, 0, data))

        racers = [threading.Thread(target=race, args=(data,)) for data in (ours, theirs)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join(PATIENCE)
        statuses = sorted(answer.status for answer in answers)
        assert len(statuses) == 2
        assert statuses[0] in (204, 409), statuses
        assert statuses[1] in (409, 423), statuses
        found = live.stored(upload)
        assert found is not None
        assert found in (ours[: len(found)], theirs[: len(found)])
        offset = head(live, upload).headers["upload-offset"]
        assert offset == str(len(found))
        for answer in answers:
            if answer.status == 409:
                assert answer.headers["upload-offset"] == offset
        if 204 in statuses:
            assert len(found) == length


def test_twenty_evictions_in_turn_leave_the_file_whole(live: LiveServer) -> None:
    """Rule 14: twenty clients that each take the upload over in turn: the file is whole in the end."""
    data = video(LENGTH)
    upload = create(live, LENGTH)
    holders = [stall(live, upload, data, offset=turn * 5000, first=5000) for turn in range(20)]
    for holder in holders[:-1]:
        assert holder.answer().status == 423
    holders[-1].send(data[100_000:])
    assert holders[-1].answer().headers["upload-task"] == upload
    for holder in holders:
        holder.close()
    assert live.stored(upload) == data


@pytest.mark.sampled(1)
@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
def test_a_body_in_another_process_is_evicted(start_server: StartServer, method: str) -> None:
    """Rule 14: a newcomer evicts a stalled body also when another serving process holds it, each time."""
    server = start_server(workers=2, scheduler="none")
    data = video(LENGTH)
    # Which process takes a connection is the kernel's choice: after eight times both cases were there.
    for _ in range(8):
        with Connection(server.port) as connection:
            made = connection.ask("POST", MOUNT, creation(LENGTH))
        upload = id_of(made)
        with Connection(server.port) as holder, Connection(server.port) as newcomer:
            holder.send(patch_request(upload, 0, data[:FIRST], length=LENGTH))
            path = server.stored(upload)
            until(lambda path=path: path.stat().st_size == FIRST, seconds=5, what="it is stored")  # type: ignore[misc]
            started = Stopwatch()
            if method == "PATCH":
                answer = newcomer.ask("PATCH", target(upload), patch_headers(FIRST), data[FIRST:])
                assert answer.headers["upload-task"] == upload
            else:
                answer = newcomer.ask(method, target(upload), VERSION)
            assert started.seconds < SECONDS
            assert holder.answer().status == 423
            if method == "HEAD":
                assert answer.headers["upload-offset"] == str(FIRST)
            assert path.exists() == (method != "DELETE")
            if method != "DELETE":
                assert path.read_bytes() == (data if method == "PATCH" else data[:FIRST])
