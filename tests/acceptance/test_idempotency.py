"""A client that sends its form again with the same `Idempotency-Key` gets one task, whatever happened in between."""

import json
import random
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Barrier
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.crash.restarted_server import RestartedServer
from tests.harness import processes, seed
from tests.harness.http import Answer, Connection, request
from tests.harness.kill_points import NEVER
from tests.harness.multipart import PATH, form_body, one_large_file, send
from tests.harness.postgres import PostgresServer
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.waiting import PATIENCE, until
from tests.tus.client import FTYP, video

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # moments at which a form is cut

MIB = 1 << 20
Files = Sequence[tuple[str, bytes]]


def form(files: Files, boundary: str) -> bytes:
    return form_body(boundary, [("videos", name, data) for name, data in files])


def head(key: str, boundary: str, **more: str) -> dict[str, str]:
    content_type = f"multipart/form-data; boundary={boundary}"
    return {"Content-Type": content_type, "Idempotency-Key": f'"{key}"', **more}


def post(port: int, key: str, files: Files, **more: str) -> Answer:
    """One form in a frame of its own."""
    boundary = uuid.uuid4().hex
    with Connection(port) as connection:
        return connection.ask("POST", PATH, head(key, boundary, **more), form(files, boundary))


def retried(port: int, key: str, files: Files) -> Answer:
    """As a client does it: again while the first is said to run."""

    def ask() -> Answer | None:
        answer = post(port, key, files)
        assert answer.status != 409 or answer.headers["retry-after"] == "2"
        return answer if answer.status != 409 else None

    answer = until(ask, seconds=20, what="the first form is over", every=0.1)
    assert answer is not None
    return answer


def said(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.body)
    return found


def forms(url: str) -> list[dict[str, Any]]:
    return query(url, "SELECT task_id, fingerprint FROM form_answers")


# kill -9


@dataclass
class Round:
    """Forms that are sent with a fault, and again after it, to one server after the other."""

    server: RestartedServer
    dice: random.Random = field(default_factory=lambda: random.Random(6))
    tasks: int = 0

    def files(self) -> Files:
        """Two that are taken, with one between them that is not."""
        return [("a.mp4", video(3000, self.dice.getrandbits(32))), ("t.mp4", b"text " * 99), ("b.mp4", video(700, 2))]

    def reached(self) -> tuple[Counter[str], Counter[str]]:
        """How often a first form and a repeat reach each point."""
        found, files = [], self.files()
        for _ in range(2):
            self.server.recorded()
            assert post(self.server.port, "recorded", files, **{"X-Fault": "record"}).status == 200
            self.server.kill()
            found.append(Counter(self.server.recorded()))
            self.server.start()
        self.tasks += 1
        return found[0], found[1]

    def play(self, fault: str, *, in_repeat: bool) -> bool:
        """Kill in the first form, or in its repeat; whether it died. Then the same form gives one task."""
        key, files, first_answer = str(uuid.uuid4()), self.files(), None
        if in_repeat:
            first_answer = post(self.server.port, key, files)
        try:
            answer = post(self.server.port, key, files, **{"X-Fault": fault})
            assert first_answer is None or first_answer.body == answer.body
            first_answer = answer
            died = self.server.dies(seconds=0.5)
        except (ConnectionError, TimeoutError):
            died = self.server.dies(seconds=10)
            assert died, "it gave no answer, and lives"
        if not died:
            self.server.kill()
        self.server.start()
        self.tasks += 1
        again = post(self.server.port, key, files)
        assert again.status == 200, again
        assert first_answer is None or again.body == first_answer.body
        self.check(said(again)["task_id"], files)
        assert post(self.server.port, key, files).body == again.body
        return died

    def check(self, task: str, files: Files) -> None:
        """One task more than before, with the bytes that were sent; a sweep takes what the dead one left."""
        rows = self.server.query("SELECT upload_id, name FROM task_files WHERE task_id = :t ORDER BY position", t=task)
        assert [(row["name"], self.server.path(row["upload_id"]).read_bytes()) for row in rows] == [files[0], files[2]]
        assert len(self.server.query("SELECT id FROM tasks")) == self.tasks
        self.server.sweep()
        assert self.server.query("SELECT id FROM uploads WHERE status <> 'complete'") == []
        assert len(list(self.server.files())) == 2 * self.tasks
        assert self.server.query("SELECT key FROM form_answers WHERE fingerprint IS NULL") == []


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty database, "" for the one of a data folder."""
    if request.param == "sqlite":
        yield ""
        return
    cluster: PostgresServer = request.getfixturevalue("postgres_server")
    url = cluster.create_database()
    yield url
    cluster.drop_database(url)


def rows_only(name: str) -> bool:
    return name.split(".")[0] in ("transaction", "change", "lock", "answer")


@pytest.mark.sampled(1)
@pytest.mark.parametrize("most", [24, pytest.param(NEVER, marks=pytest.mark.soak)], ids=["sample", "all"])
def test_a_form_killed_at_any_point_is_one_task_when_repeated(place: str, most: int) -> None:
    """kill -9 at each point that a form reaches, and that its repeat reaches: one task, and one answer."""
    with RestartedServer(database_url=place) as server:
        this_round = Round(server)
        first, repeat = this_round.reached()
        assert {"store.finish.after", "hook.post_finish.after", "transaction.half", "change.half"} <= set(first)
        assert not {"store.create.before", "store.append.before", "transaction.before"} & set(repeat)
        # The first time and the last: what is between differs in nothing but the file.
        points = [
            (f"{name}:{at}", in_repeat)
            for reached, in_repeat in ((first, False), (repeat, True))
            for name, times in reached.items()
            if name != "line" and (not place or rows_only(name))
            for at in sorted({1, times})
        ]
        points = seed.dice("points of a form", place == "").sample(points, min(most, len(points)))
        alive = [where for where, in_repeat in points if not this_round.play(where, in_repeat=in_repeat)]
        # Threads take turns as they like, so a point may be reached once less.
        assert len(alive) <= len(points) // 10, alive


@pytest.mark.parametrize("share", [0.5, pytest.param(8, marks=pytest.mark.soak)], ids=["sample", "many"])
def test_a_form_killed_at_any_sampled_line_is_one_task_when_repeated(share: float) -> None:
    """The same behind lines that are spread over the whole of a form; `make soak` takes sixteen times as many."""
    dice = seed.dice("lines of a form")
    with RestartedServer(follow_lines=True) as server:
        this_round = Round(server)
        first, repeat = this_round.reached()
        for reached, in_repeat, most in ((first, False, 24), (repeat, True, 8)):
            pieces = int(most * share)
            step = reached["line"] // pieces
            for part in range(pieces):
                this_round.play(f"line:{part * step + dice.randint(1, step)}", in_repeat=in_repeat)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("whom", ["everybody", "workers"])
def test_a_form_killed_while_it_is_received_is_one_task_when_repeated(
    start_server: StartServer, database_url: str, whom: str
) -> None:
    """Two processes, killed while they receive: the repeat, wherever it goes, is a first form, and the only task."""
    server = start_server(database_url=database_url, workers=2, scheduler="none")
    files = [("a.mp4", video(MIB)), ("b.mp4", video(2 * MIB, 2))]
    for number in range(2):
        key, boundary = f"key-{number}", uuid.uuid4().hex
        with begun(server, key, files, boundary, left=MIB):
            until(lambda: len(forms(server.database_url)) == number + 1, seconds=20, what="the key is taken")  # noqa: B023
            workers = server.children()
            if whom == "everybody":
                server.kill()
            for worker in workers:
                worker.kill()
            if whom == "everybody":
                # A worker that was started at the last moment has the port until it notices.
                server.check_no_processes(seconds=10)
                server.start()
            else:
                server.wait_ready()
        answer = retried(server.port, key, files)
        assert (answer.status, "idempotent-replayed" in answer.headers) == (200, False)
        assert retried(server.port, key, files).body == answer.body
        assert len(query(server.database_url, "SELECT id FROM tasks")) == number + 1
    assert server.run("sweep").returncode == 0
    assert len(server.stored_files()) == 4


def begun(server: ServerProcess, key: str, files: Files, boundary: str, *, left: int) -> Connection:
    """A form whose last `left` bytes are not sent yet."""
    body = form(files, boundary)
    connection = Connection(server.port)
    connection.send(request("POST", PATH, head(key, boundary, **{"Content-Length": str(len(body))})) + body[:-left])
    return connection


# Clients


@pytest.mark.sampled(1)
def test_a_form_that_was_cut_is_one_task_when_repeated(start_server: StartServer, database_url: str) -> None:
    """Cut in its body, cut before its answer: what it sends again is one task."""
    server = start_server(database_url=database_url, workers=2, scheduler="none")
    files = [("a.mp4", video(MIB)), ("b.mp4", video(2 * MIB, 2))]
    for number in range(4):
        boundary = uuid.uuid4().hex
        left = MIB if number % 2 else 0
        body = form(files, boundary)
        connection = Connection(server.port)
        connection.send(request("POST", PATH, head(f"key-{number}", boundary, **{"Content-Length": str(len(body))})))
        connection.send(body[: len(body) - left])
        connection.reset()
        answer = retried(server.port, f"key-{number}", files)
        assert answer.status == 200
        assert retried(server.port, f"key-{number}", files).body == answer.body
        assert len(query(server.database_url, "SELECT id FROM tasks")) == number + 1


@pytest.mark.sampled(1)
def test_equal_forms_at_once_are_one_task(start_server: StartServer, database_url: str) -> None:
    """Of equal forms sent at once to two processes one is received; the others are told 409, and then its answer."""
    server = start_server(database_url=database_url, workers=2, scheduler="none")
    files = [("a.mp4", video(MIB))]
    clients = 4
    with ThreadPoolExecutor(clients) as pool:
        for number in range(6):
            key, together = f"key-{number}", Barrier(clients)

            def one(_: int, key: str = key, together: Barrier = together) -> Answer:
                together.wait(PATIENCE)
                return post(server.port, key, files)

            answers = list(pool.map(one, range(clients)))
            statuses = Counter(answer.status for answer in answers)
            assert set(statuses) <= {200, 409}, statuses
            assert len({answer.body for answer in answers if answer.status == 200}) == 1, statuses
            assert all(answer.headers["retry-after"] == "2" for answer in answers if answer.status == 409)
            (body,) = {answer.body for answer in answers if answer.status == 200}
            assert retried(server.port, key, files).body == body
    assert len(query(server.database_url, "SELECT id FROM tasks")) == 6
    assert len(server.stored_files()) == 6


@pytest.mark.sampled(1)
def test_a_repeat_is_409_until_the_first_form_is_answered(start_server: StartServer, database_url: str) -> None:
    """While one is received, each other is 409 in whichever process; behind it, its answer; of other bytes, 422."""
    server = start_server(database_url=database_url, workers=2, scheduler="none")
    data = video(MIB)
    files, boundary = [("a.mp4", data)], uuid.uuid4().hex
    with begun(server, "key", files, boundary, left=1000) as first:
        until(lambda: forms(server.database_url), seconds=20, what="the key is taken")
        assert [post(server.port, "key", files).status for _ in range(8)] == [409] * 8
        first.send(form(files, boundary)[-1000:])
        answer = first.answer()
    assert answer.status == 200
    assert {post(server.port, "key", files).body for _ in range(8)} == {answer.body}
    other = post(server.port, "key", [("a.mp4", data[:-1] + b"\0")])
    assert (other.status, said(other)["code"]) == (422, "idempotency_mismatch")
    assert len(query(server.database_url, "SELECT id FROM tasks")) == 1


def test_a_stored_answer_expires(start_server: StartServer) -> None:
    """After `form_answer_expiry` seconds the key is free, and the server sweeps it by itself."""
    server = start_server(form_answer_expiry=1, sweep_interval=0.5)
    files = [("a.mp4", video(1000))]
    first = said(post(server.port, "key", files))["task_id"]
    until(lambda: not forms(server.database_url), seconds=20, what="the answer is swept")
    assert said(post(server.port, "key", [("b.mp4", video(2000))]))["task_id"] != first


# A machine


def test_a_large_form_with_a_key_costs_no_memory(start_server: StartServer) -> None:
    """500 MB with a key, and again: neither costs memory, and the repeat no byte on the disk either."""
    server = start_server(scheduler="none")
    post(server.port, "small", [("a.mp4", video(1000))])
    processes.forget_peak(server.pid)
    before, _ = processes.memory(server.pid)
    answers = []
    for _ in range(2):
        boundary = str(uuid.uuid4())
        length, pieces = one_large_file(boundary, "large.mp4", FTYP, 500_000_000)
        answers.append(send(server.port, boundary, pieces, {"Idempotency-Key": "large"}, length=length))
        assert sorted(path.stat().st_size for path in server.stored_files()) == [1000, 500_000_000]
    assert answers[0][0] == 200
    assert answers[0] == answers[1]
    _, peak = processes.memory(server.pid)
    assert peak - before < 60_000_000, f"the server grew by {(peak - before) / 1e6:.0f} MB"


@pytest.fixture
def cluster() -> Iterator[PostgresServer]:
    """A PostgreSQL of this test's own, which it may stop."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


def test_a_form_is_503_while_the_database_is_away(start_server: StartServer, cluster: PostgresServer) -> None:
    """503 while it is away, at the start, at the end and for a repeat; then the same key makes one task."""
    server = start_server(database_url=cluster.create_database(), scheduler="none")
    files, boundary = [("a.mp4", video(MIB))], uuid.uuid4().hex
    with begun(server, "key", files, boundary, left=1000) as connection:
        until(lambda: forms(server.database_url), seconds=20, what="the key is taken")
        cluster.halt()
        connection.send(form(files, boundary)[-1000:])
        late = connection.answer()
    assert (late.status, late.headers["retry-after"]) == (503, "2")
    early = post(server.port, "key", files)
    assert early.status == 503
    cluster.resume()
    answer = retried(server.port, "key", files)
    assert (answer.status, "idempotent-replayed" in answer.headers) == (200, False)
    cluster.halt()
    assert post(server.port, "key", files).status == 503
    cluster.resume()
    assert retried(server.port, "key", files).body == answer.body
    assert server.run("sweep").returncode == 0
    assert len(server.stored_files()) == len(query(server.database_url, "SELECT id FROM tasks")) == 1
