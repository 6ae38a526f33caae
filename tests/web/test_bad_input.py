"""Bad input by table, on a real server with either HTTP class: refused with a sentence, and nothing stays of it.

Not stored, not in the log, and not in the memory, threads or descriptors of the server.
"""

import contextlib
import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from server.transport.pipes import _KEPT
from server.web import pages
from tests.harness import processes
from tests.harness.held import held_locks
from tests.harness.http import Answer, Connection, request
from tests.harness.rows import query, wait_until_received
from tests.harness.server_process import ServerProcess
from tests.harness.waiting import PATIENCE, until
from tests.transport.probe import trailing
from tests.tus.client import MOUNT, VERSION, creation, id_of, patch_headers, target
from tests.web.bad_input import cases, ends
from tests.web.bad_input.cases import CASES, FRAMING, HAVE, Case
from tests.web.bad_input.ends import CHUNKED, DATA, LENGTH, NOT_PORTABLE, SLOW, WHOLE, Slow, bytes_for

HTTP = ("videodock", "portable")
INVALID = "Invalid HTTP request received."
SENTENCE = re.compile(r"[a-z_]+: \S.*[^:]\n", re.DOTALL)
LEAVE: dict[str, Callable[[Connection], None]] = {"FIN": Connection.close, "RST": Connection.reset}


class Server(ServerProcess):
    """A server with short limits, and one upload for all that changes nothing."""

    def __init__(self, folder: Path, http: str) -> None:
        super().__init__(
            folder,
            http=http,
            scheduler="none",
            database_pool_size=2,
            head_timeout=0.8,
            body_idle_timeout=0.8,
            body_min_rate=1000,
        )
        self.kind = http
        self.start()
        self.http.close()  # it keeps a connection
        self.upload = self.create(cases.LENGTH)
        assert self.ask("PATCH", target(self.upload), patch_headers(0), DATA[:HAVE]).status == 204
        self.wait_until_received()

    def ask(self, method: str, where: str, headers: dict[str, str], body: bytes | None = None) -> Answer:
        """One request on a connection of its own."""
        with Connection(self.port) as connection:
            return connection.ask(method, where, headers, body)

    def create(self, length: int = LENGTH) -> str:
        """A new upload; its id."""
        answer = self.ask("POST", MOUNT, creation(length))
        assert answer.status == 201
        return id_of(answer)

    def offset(self, upload: str) -> int:
        """What HEAD says."""
        answer = self.ask("HEAD", target(upload), VERSION)
        assert answer.status == 200, answer
        return int(answer.headers["upload-offset"])

    def wait_until_received(self) -> None:
        """Wait until the row of the one upload tells its bytes, which it hears of within a second."""
        wait_until_received(self.database_url, self.upload, HAVE)

    def locks(self) -> list[str]:
        """Locks that are held."""
        return held_locks(self.data_dir)

    def state(self) -> tuple[object, ...]:
        """Everything that a request could leave behind."""
        with contextlib.closing(sqlite3.connect(self.data_dir / "videodock.db")) as database:
            rows = database.execute("SELECT * FROM uploads ORDER BY id").fetchall()
            tasks = database.execute("SELECT * FROM tasks").fetchall()
        return rows, tasks, {path: path.read_bytes() for path in self.stored_files()}, self.locks()

    def connections(self) -> int:
        """Connections that this server has not closed."""
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        local = f":{self.port:04X}"
        return sum(line[1].endswith(local) and line[3] not in ("0A", "06") for line in lines)  # LISTEN, TIME_WAIT

    def checked_log(self) -> str:
        """The log, in which nothing unexpected may stand."""
        log = self.log()
        assert "Traceback" not in log
        assert '"level": "error"' not in log
        return log


@pytest.fixture(scope="module", params=HTTP)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("bad"), request.param)
    try:
        yield made
    finally:
        made.close()


def send(server: Server, case: Case) -> tuple[int, str]:
    """Send a bad request; what it was answered with, checked for its form."""
    with Connection(server.port) as connection:
        with contextlib.suppress(ConnectionError):  # answered and closed before all of it was sent
            connection.send(case.bytes_for(server.upload))
        answer = connection.answer(head=case.has_no_text)
    return answer.status, case.expected(server.kind)[1] if case.has_no_text else error_code(answer)


def error_code(answer: Answer) -> str:
    """The code of a refusal; it has a sentence, and nothing else."""
    if answer.text == INVALID:
        return FRAMING
    if answer.headers["content-type"] == "application/json":
        refusal: dict[str, Any] = json.loads(answer.body)
        assert refusal["message"]
        assert refusal["success"] is False
        return str(refusal["code"])
    assert SENTENCE.fullmatch(answer.text), answer
    assert len(answer.body) < 1000, "it says back what it was sent"
    return answer.code


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_each_bad_request_is_refused_and_changes_nothing(server: Server, case: Case) -> None:
    """The refusal of the table, and nothing has changed."""
    before = server.state()
    assert send(server, case) == case.expected(server.kind)
    assert server.state() == before
    server.checked_log()


SCRIPT = next(route.path for route in pages.routes() if route.path.startswith("/page/"))


@pytest.mark.parametrize("path", ["/", MOUNT, cases.FORM, "/healthz", "/metrics", "/videos", SCRIPT])
def test_an_encoded_line_feed_is_not_ignored_in_a_path(server: Server, path: str) -> None:
    """What is there is not there with `%0a` behind it."""
    assert server.ask("OPTIONS" if path in (MOUNT, cases.FORM) else "GET", path, {}).status != 404
    answer = server.ask("POST" if path in (MOUNT, cases.FORM) else "GET", f"{path}%0a", {}, b"")
    assert (answer.status, error_code(answer)) == (404, "not_found")


def cut(server: Server, upload: str, data: bytes, how: str) -> None:
    """Send the beginning of a request and leave."""
    with Connection(server.port) as connection:
        connection.send(bytes_for(data, upload))
        LEAVE[how](connection)


@pytest.mark.parametrize("how", LEAVE)
@pytest.mark.parametrize("phase", ends.cuts())
def test_a_request_cut_anywhere_leaves_a_resumable_upload(server: Server, phase: str, how: str) -> None:
    """Whatever came is a beginning of what was sent; the upload goes on from there to its end."""
    data = ends.cuts()[phase]
    upload = server.create()
    cut(server, upload, data, how)

    def goes_on() -> bool:
        # The cut request may be noticed behind this one, and take the upload over for a moment.
        offset = server.offset(upload)
        assert offset <= len(ends.BODY)
        assert server.stored(upload).read_bytes()[:offset] == DATA[:offset]
        return server.ask("PATCH", target(upload), patch_headers(offset), DATA[offset:]).status == 204

    until(goes_on, seconds=10, what="the upload goes on")
    assert server.stored(upload).read_bytes() == DATA
    until(lambda: server.locks() == [], seconds=10, what="the locks are free")
    server.checked_log()


@pytest.mark.parametrize("phase", ends.cuts())
def test_a_cut_head_stores_no_byte(server: Server, phase: str) -> None:
    """Bytes of a body are kept only of a request whose head was whole."""
    data = ends.cuts()[phase]
    upload = server.create()
    with Connection(server.port) as connection:
        connection.send(bytes_for(data, upload))
        if b"\r\n\r\n" in data and len(data) > 500:
            until(lambda: server.stored(upload).stat().st_size > 0, seconds=5, what="bytes are stored")
        connection.half_close()
        # Who half-closes has ended the connection for uvicorn; only what is whole may have been answered before.
        with contextlib.suppress(ConnectionError):
            assert phase == WHOLE or connection.read_to_end() == b""
    until(lambda: server.locks() == [], seconds=10, what="the locks are free")
    stored = server.stored(upload).read_bytes()
    assert stored == DATA[: len(stored)]
    assert not stored or b"\r\n\r\n" in data
    assert stored or len(data) <= 500


def trickle(server: Server, slow: Slow, upload: str) -> tuple[int, str]:
    """Send a byte now and then until there is an answer."""
    with Connection(server.port) as connection:
        connection.send(bytes_for(slow.start, upload))
        deadline = time.monotonic() + PATIENCE
        connection._socket.settimeout(0.1)
        while True:
            try:
                connection.readable()
                break
            except TimeoutError:
                assert time.monotonic() < deadline, "it is waited for without end"
                connection.send(slow.tick)
        connection._socket.settimeout(PATIENCE)
        answer = connection.answer()
    return answer.status, error_code(answer)


def trickles(server: Server) -> dict[str, tuple[Slow, str, tuple[int, str]]]:
    """All that is slow, at the same time, each with an upload of its own and its answer."""
    names = [name for name in SLOW if server.kind == "videodock" or name not in NOT_PORTABLE]
    with ThreadPoolExecutor(len(names)) as pool:
        running = {}
        for name in names:
            upload = server.create()
            running[name] = SLOW[name], upload, pool.submit(trickle, server, SLOW[name], upload)
        return {name: (slow, upload, answer.result()) for name, (slow, upload, answer) in running.items()}


@pytest.mark.sampled(1)
def test_a_request_that_comes_byte_by_byte_is_given_up(server: Server) -> None:
    """Whatever comes byte by byte is refused, holds nothing any more, and what is true of it is kept."""
    found = trickles(server)
    assert {name: answer for name, (_, _, answer) in found.items()} == {
        name: (slow.status, slow.code) for name, (slow, _, _) in found.items()
    }
    until(lambda: server.locks() == [], seconds=10, what="the locks are free")
    for slow, upload, _ in found.values():
        stored = server.stored(upload).read_bytes()
        assert stored[: slow.kept] == DATA[: slow.kept]
        assert server.offset(upload) == len(stored)
        assert len(stored) < slow.kept + 100
    assert query(server.database_url, "SELECT id FROM uploads WHERE protocol = 'multipart'") == []
    server.checked_log()


@pytest.mark.parametrize(
    "more", [b"\0" * 100, request("GET", "/files/x"), b"\r\n\r\n\0"], ids=["zeros", "a request", "blank lines"]
)
def test_bytes_beyond_the_announced_length_are_the_next_request(server: Server, more: bytes) -> None:
    """What is beyond the announced length is the next request, good or bad, and never a part of the upload."""
    upload = server.create()
    whole = request("PATCH", target(upload), patch_headers(0) | {"Content-Length": "400"})
    last = 404 if more.startswith(b"GET") else 400
    with Connection(server.port) as connection:
        connection.send(whole + ends.BODY + more)
        first = connection.answer()
        if server.kind == "videodock" or last == 404:
            assert (first.status, first.headers["upload-offset"]) == (204, "400")
            assert connection.answer().status == last
        else:  # uvicorn's own refuses the second request at once, and drops the first
            assert first.status == 400
    offset = server.offset(upload)
    assert offset == 400 or first.status == 400
    assert server.stored(upload).read_bytes() == ends.BODY[:offset]


INJECTED = {
    "Upload-Length": ("PATCH", "400"),
    "Upload-Offset": ("PATCH", "0"),
    "X-HTTP-Method-Override": ("POST", "DELETE"),
    "Upload-Checksum": ("PATCH", "sha1 AAAA"),
    "Authorization": ("PATCH", "Bearer x"),
}


@pytest.mark.parametrize("name", INJECTED)
def test_trailers_have_no_effect_on_their_request(server: Server, name: str) -> None:
    """What comes behind a body has no effect on its request, on uvicorn's own class too, which appends it."""
    method, value = INJECTED[name]
    made = server.ask("POST", MOUNT, VERSION | {"Upload-Defer-Length": "1"})
    upload = id_of(made)
    head = request(method, target(upload), patch_headers(0) | CHUNKED | {"Expect": "100-continue"})
    with Connection(server.port) as connection:
        connection.send(head)
        if method == "POST":
            answer = connection.answer()  # refused unread; the trailer comes while the refusal drains
            assert (answer.status, answer.code) == (405, "method_not_allowed")
        else:
            assert connection.read(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        with contextlib.suppress(ConnectionError):
            connection.send(trailing([ends.BODY], [(name, value)]))
        if method == "PATCH":
            answer = connection.answer()
            assert (answer.status, answer.headers["upload-offset"]) == (204, "400")
    (row,) = query(server.database_url, "SELECT status, length FROM uploads WHERE id = :id", id=upload)
    assert row == {"status": "open", "length": None}


@pytest.mark.parametrize("name", INJECTED)
def test_trailers_in_one_piece_with_the_head_have_no_effect(server: Server, name: str) -> None:
    """The same in one piece: uvicorn has read the trailers before the application hears of the request."""
    method, value = INJECTED[name]
    upload = id_of(server.ask("POST", MOUNT, VERSION | {"Upload-Defer-Length": "1"}))
    with Connection(server.port) as connection:
        connection.send(
            request(method, target(upload), patch_headers(0) | CHUNKED) + trailing([ends.BODY], [(name, value)])
        )
        answer = connection.answer()
    assert answer.status == (405 if method == "POST" else 204)
    (row,) = query(server.database_url, "SELECT status, length FROM uploads WHERE id = :id", id=upload)
    assert row == {"status": "open", "length": None}


def test_trailers_do_not_change_the_language_of_a_refusal(server: Server) -> None:
    """A trailer changes nothing of an answer that is made when it is already there: here, its language."""
    upload = server.create()
    headers = patch_headers(0) | CHUNKED | {"Upload-Checksum": "sha1 AAAA", "Expect": "100-continue"}
    with Connection(server.port) as connection:
        connection.send(request("PATCH", target(upload), headers))
        assert connection.read(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.send(trailing([ends.BODY], [("Accept-Language", "zh")]))
        answer = connection.answer()
    assert (answer.status, answer.code) == (460, "checksum_mismatch")
    assert "were not stored" in answer.text
    assert server.offset(upload) == 0


def everything(server: Server) -> None:
    """The whole list once, much of it at the same time."""
    # uvicorn's own class gathers a head of any size, and how much of that memory the allocator gives back at once is
    # its own affair: a noise in which no leak could be heard.
    listed = [case for case in CASES if server.kind == "videodock" or len(case.data) < cases.MIB // 2]
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda case: send(server, case), listed)
        assert list(answers) == [case.expected(server.kind) for case in listed]
        uploads = [(data, server.create(), how) for data in ends.cuts().values() for how in LEAVE]
        list(pool.map(lambda each: cut(server, each[1], each[0], each[2]), uploads))
        begun = request("POST", ends.FORM, ends.FORM_TYPE | {"Content-Length": "9999"}) + ends.PART + ends.BODY
        list(pool.map(lambda how: cut(server, "", begun, how), list(LEAVE) * 4))
    trickles(server)
    until(lambda: server.locks() == [], seconds=10, what="the locks are free")


def held(server: Server) -> tuple[list[str], int]:
    """The descriptors, but for those of pools, and the number of threads of a server that has nothing to do."""
    found = []
    for path in (processes.PROC / str(server.pid) / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(re.sub(r"\d+", "N", str(path.readlink())))
    threads = len(list((processes.PROC / str(server.pid) / "task").iterdir()))
    return sorted(one for one in found if one != "pipe:[N]" and "/videodock.db" not in one), threads


_CONNECTIONS = 6


@pytest.mark.sampled(1)
@pytest.mark.alone
def test_bad_requests_leave_no_descriptors_or_threads(server: Server) -> None:
    """After the whole list, some times over, the server holds what it held, and answers as before."""
    everything(server)
    descriptors, threads = settled(server)
    memory, _ = processes.memory(server.pid)
    for _ in range(2):
        everything(server)
    until(lambda: held(server)[0] == descriptors, what=f"descriptors are {descriptors}")
    # A few pipes are kept for the next bodies; how many depends on what came together.
    until(lambda: sum("pipe:" in one for one in processes.descriptors(server.pid)) <= 2 * _KEPT, what="few pipes")
    # The same for connections to the database: one for each of three threads, for the writer and the event loop.
    connections = [one for one in processes.descriptors(server.pid) if one.endswith("/videodock.db")]
    assert len(connections) <= _CONNECTIONS
    # Idle threads of a pool end in their own time, and how many are needed depends on what comes together.
    assert settled(server)[1] <= max(threads, 40)
    assert processes.memory(server.pid)[0] < memory + (12 << 20)
    server.checked_log()
    assert server.offset(server.upload) == HAVE


def settled(server: Server) -> tuple[list[str], int]:
    """What it holds when no connection is open any more."""

    until(lambda: server.connections() == 0, seconds=15, what="no connection is left")
    return held(server)
