"""GET /api/task/events/<id> and GET /api/events over HTTP, on both databases."""

import contextlib
import itertools
import json
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text

from server.database.models import DEFAULT_OWNER
from server.database.session import Database
from server.events import feed
from server.events.hub import EventHub, Stream
from server.tasks import events, file_steps, queue
from server.tasks.queue import Claim, Failure
from server.web import event_stream
from server.web import events as live_events
from tests.harness.event_client import EventClient, Heard, names
from tests.harness.http import LiveServer, serving
from tests.harness.waiting import PATIENCE, until, within
from tests.tasks.queued_tasks import NOW, claimed, register
from tests.tus.client import creation, patch_headers, video


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The app, on a database of each kind."""
    with serving(request, tmp_path_factory.mktemp("live"), max_event_streams=40, max_owner_event_streams=30) as made:
        yield made


@pytest.fixture
def database(live: LiveServer) -> Iterator[Database]:
    """The same database as another process has it."""
    made = Database(live.database_url, 4)
    yield made
    made.close()


@contextmanager
def stream(live: LiveServer, path: str, **more: Any) -> Iterator[EventClient]:
    """A stream that has begun."""
    with EventClient(live.port, path, **more) as client:
        assert client.status == 200, client.headers
        yield client.begun()


def of(task: str) -> str:
    return f"/api/task/events/{task}"


def finish(database: Database, claim: Claim) -> None:
    """The worker completes the one file, and the task."""
    with database.write() as session:
        (file,) = queue.files_of(session, claim.task_id)
        file_steps.begin_file(session, claim, file.id, {"probe": True})
        assert file_steps.complete_file(session, claim, file.id, now=NOW)
        assert queue.finish(session, claim, now=NOW)


def fail(database: Database, claim: Claim) -> None:
    """The worker fails the one file, and so the task."""
    with database.write() as session:
        assert queue.fail_exhausted(session, claim, Failure("too_many_attempts", {}), now=NOW)


def test_a_task_is_followed_from_its_upload_to_its_end(live: LiveServer, database: Database) -> None:
    """A stream that begins with the upload gets each event once, with the status of the moment, and then ends."""
    made = live.ask("POST", "/files", creation(1000))
    task = made.headers["location"].rpartition("/")[2]
    with stream(live, of(task) + "?lang=en") as client:
        assert client.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert client.headers["cache-control"] == "no-store"
        assert client.headers["x-accel-buffering"] == "no"
        first = client.next()
        assert first is not None
        assert (first.type, first.data["status"]) == ("task.status", None)
        live.ask("PATCH", f"/files/{task}", patch_headers(0), video(1000))
        heard = client.until("task.created")
        node = str(live.query("SELECT node FROM tasks WHERE id = :id", id=task)[0]["node"])
        with database.write() as session:
            claim = queue.claim(session, f"{node}/1", node=node, lease=30, now=NOW, task_id=task)
        assert claim is not None
        finish(database, claim)
        heard += client.rest()
    assert names(heard) == [
        "upload.finished",
        "task.created",
        "task.processing",
        "video.completed",
        "task.completed",
    ]
    assert [one.id for one in heard if one.id] == sorted({one.id for one in heard if one.id})
    last = heard[-1].data
    status = last["status"]
    assert (last["task_id"], status["status"], status["message"]) == (task, "completed", "Processing complete")
    assert heard[0].data["upload_id"] == task
    asked = live.ask("GET", f"/api/task/status/{task}", {"Accept-Language": "en", "Host": f"127.0.0.1:{live.port}"})
    assert last["status"] == json.loads(asked.body)


def test_a_client_that_comes_back_gets_the_rest(live: LiveServer, database: Database) -> None:
    """After each event, Last-Event-ID (or the parameter) gives exactly the later ones, and 204 after the last."""
    task = register(database)
    finish(database, claimed(database, task_id=task))
    with stream(live, of(task), after=0) as client:
        everything = client.rest()
    assert names(everything) == ["task.created", "task.processing", "video.completed", "task.completed"]
    for number, one in enumerate(everything[:-1], 1):
        with stream(live, of(task), after=one.id) as client:
            assert client.rest() == everything[number:]
        with stream(live, f"{of(task)}?last_event_id={one.id}") as client:
            assert client.rest() == everything[number:]
    assert live.ask("GET", of(task), {"Last-Event-ID": str(everything[-1].id)}).status == 204
    with stream(live, of(task)) as client:
        assert client.rest() == everything[-1:]


def test_a_failed_task_that_is_tried_again_is_not_over(live: LiveServer, database: Database) -> None:
    """The end is that of the state, so a client that missed the retry is not stopped by the old failure."""
    task = register(database)
    fail(database, claimed(database, task_id=task))
    with stream(live, of(task), after=0) as client:
        failed = client.rest()
    assert failed[-1].type == "task.failed"
    with database.write() as session:
        session.execute(text("UPDATE tasks SET status = 'uploaded' WHERE id = :id"), {"id": task})
        events.append(session, task, "retried", owner=DEFAULT_OWNER, at=NOW)
    with stream(live, of(task), after=failed[0].id) as client:
        heard = client.until("task.retried")
        with database.write() as session:
            queue.cancel(session, task, None, now=NOW)
        heard += client.rest()
    assert names(heard)[-3:] == ["task.failed", "task.retried", "task.cancelled"]


def test_an_upload_that_is_given_up_ends_the_stream(live: LiveServer) -> None:
    """An upload that never becomes a task ends its stream, too."""
    task = live.ask("POST", "/files", creation(12)).headers["location"].rpartition("/")[2]
    with stream(live, of(task)) as client:
        live.ask("DELETE", f"/files/{task}", {"Tus-Resumable": "1.0.0"})
        heard = names(client.rest())
        # It may still hear what was committed a moment before it began.
        assert [one for one in heard if one != "upload.created"] == ["task.status", "upload.terminated"]
    assert names(_all_of(live, of(task))) == ["upload.terminated"]


def _all_of(live: LiveServer, path: str) -> list[Heard]:
    with stream(live, path) as client:
        return client.rest()


def test_progress_has_no_number(live: LiveServer, database: Database) -> None:
    """Bytes of an upload and the percent of a task come, at most twice a second, and do not change where to resume."""
    upload = live.ask("POST", "/files", creation(2000)).headers["location"].rpartition("/")[2]
    with stream(live, "/api/events") as client:
        live.ask("PATCH", f"/files/{upload}", patch_headers(0), video(1000))
        (received,) = [one for one in client.until("upload.progress") if one.type == "upload.progress"]
        assert (received.id, received.data["received"], received.data["length"]) == (None, 1000, 2000)
        task = register(database)
        claim = claimed(database, task_id=task)
        client.until("task.processing")
        for percent in itertools.count(1):
            with database.write() as session:
                moved = {"progress": percent % 99, "current_file": 1, "eta_seconds": 5}
                queue.heartbeat(session, claim, lease=30, now=NOW, **moved)
            if percent == 20:
                break
            threading.Event().wait(0.05)
        progress = client.until("task.progress")[-1]
        assert (progress.id, progress.data["status"]["status"]) == (None, "processing")
        with database.write() as session:
            queue.cancel(session, task, None, now=NOW)
        others = [one for one in client.until("task.cancelled") if one.type == "task.progress"]
        assert len(others) <= 4


class RolledBackError(Exception):
    """A transaction that fails after its event."""


class Storm:
    """Writers in parallel, some of whose transactions roll back, and clients that come and go."""

    def __init__(self, live: LiveServer, database: Database) -> None:
        self.live = live
        self.database = database
        self.tasks = [register(database) for _ in range(3)]
        self.first = int(live.query("SELECT max(id) AS id FROM task_events")[0]["id"])
        self.last: int | None = None
        self.heard: dict[str, list[int]] = {path: [] for path in ("/api/events", of(self.tasks[0]), of(self.tasks[1]))}

    def write(self, number: int) -> None:
        for turn in range(60):
            with contextlib.suppress(RolledBackError), self.database.write() as session:
                # As every transaction that adds an event, it has changed a row before.
                session.execute(text("UPDATE tasks SET current_file = 1 WHERE id = :id"), {"id": self.tasks[number]})
                events.append(session, self.tasks[number], "waiting", owner=DEFAULT_OWNER, at=NOW)
                self._fail_if(turn % 7 == number)
        with self.database.write() as session:
            queue.cancel(session, self.tasks[number], None, now=NOW)

    def _fail_if(self, fails: bool) -> None:
        if fails:
            raise RolledBackError

    def follow(self, path: str) -> None:
        heard = self.heard[path]
        while self.last is None or not heard or heard[-1] < self.last:
            with EventClient(self.live.port, path, after=heard[-1] if heard else self.first) as client:
                if client.status == 204:
                    return
                for one in filter(None, (client.next() for _ in range(23))):
                    heard += [] if one.id is None else [one.id]
                    if self.last is not None and heard[-1] >= self.last:
                        return

    def run(self) -> None:
        readers = [threading.Thread(target=self.follow, args=(path,)) for path in self.heard]
        writers = [threading.Thread(target=self.write, args=(number,)) for number in range(3)]
        for thread in [*readers, *writers]:
            thread.start()
        for thread in writers:
            thread.join()
        with self.database.write() as session:  # for those that wait
            events.append(session, self.tasks[2], "waiting", owner=DEFAULT_OWNER, at=NOW)
        self.last = int(self.live.query("SELECT max(id) AS id FROM task_events")[0]["id"])
        with self.database.write() as session:
            for _ in range(23):
                events.append(session, self.tasks[2], "waiting", owner=DEFAULT_OWNER, at=NOW)
        for thread in readers:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def expected(self, path: str) -> list[int]:
        rows = self.live.query("SELECT id, task_id FROM task_events WHERE id > :id ORDER BY id", id=self.first)
        return [int(row["id"]) for row in rows if path in ("/api/events", of(row["task_id"]))]


def test_a_storm_is_heard_without_gap_or_double(live: LiveServer, database: Database) -> None:
    """Clients that come and go while transactions commit in any order and roll back get each event once, in order."""
    storm = Storm(live, database)
    storm.run()
    assert storm.last is not None
    for path, heard in storm.heard.items():
        expected = [number for number in storm.expected(path) if number <= max(storm.last, heard[-1])]
        assert heard == expected, path


def test_foreign_and_unknown_tasks_are_not_there(live: LiveServer, database: Database) -> None:
    """404 for what belongs to another owner and for what does not exist; a wrong number or language is explained."""
    foreign = register(database, owner="somebody else")
    for path in (of(foreign), of("123e4567-e89b-42d3-a456-426614174000"), of("nothing")):
        assert live.ask("GET", path).status == 404
    task = register(database)
    for number in ("abc", "-1", str(1 << 63), "9" * 5000):
        assert live.ask("GET", of(task), {"Last-Event-ID": number}).status == 400
    for query in (f"{of(task)}?lang=fr", "/api/events?owner=%00", "/api/events?owner=a&owner=a"):
        assert live.ask("GET", query).status == 400
    for path in ("/api/events", "/api/tasks", "/api/uploads"):
        off = live.ask("GET", f"{path}?owner=ann", {"Accept-Language": "en"})
        assert (off.status, b"change the setting auth to on" in off.body) == (400, True), off
    assert live.ask("GET", of(task), (), b"body").status == 400
    assert live.ask("POST", of(task)).status == 405
    with stream(live, of(task), after=1 << 60) as client:  # of another database: it begins now
        with database.write() as session:
            queue.cancel(session, task, None, now=NOW)
        assert names(client.rest())[-1] == "task.cancelled"


def test_one_stream_too_many_is_refused(live: LiveServer) -> None:
    """One more stream of an address than the setting gets 503 with a sentence; one that ends makes room."""
    clients = [EventClient(live.port, "/api/events").begun() for _ in range(30)]
    refused = live.ask("GET", "/api/events", {"Accept-Language": "en"})
    assert (refused.status, refused.headers["retry-after"]) == (503, "30")
    assert b"limit of 30 live streams" in refused.body
    for client in clients:
        client.__exit__(None, None, None)

    def is_open() -> bool:
        with EventClient(live.port, "/api/events") as client:
            return client.status == 200

    until(is_open, what="there is room again")


def test_a_silent_stream_has_a_heart(live: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comments come while nothing happens, and the stream goes on after them."""
    monkeypatch.setattr(live_events, "HEARTBEAT", 0.2)
    with stream(live, "/api/events") as client:
        for _ in range(3):
            client.wait_comment()


def test_a_client_that_does_not_read_is_dropped(
    live: LiveServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds a bounded number of messages, is reset, disturbs no other stream, and may come back for the rest."""
    monkeypatch.setattr(event_stream, "STALL", 1.0)
    task = register(database)
    deaf = EventClient(live.port, of(task)).begun()
    first = deaf.next()
    assert first is not None
    with stream(live, of(task)) as client:
        dropped = threading.Event()

        def write() -> None:
            while not dropped.is_set():
                with database.write() as session:
                    for _ in range(100):
                        events.append(session, task, "waiting", owner=DEFAULT_OWNER, at=NOW)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            heard: list[Heard] = []

            def is_dropped() -> bool:
                heard.extend(client.until("task.waiting"))
                lines = live.query("SELECT 1 AS one")
                return bool(lines) and _is_reset(deaf)

            until(is_dropped, what="the client that does not read is dropped")
        finally:
            dropped.set()
            writer.join()
    deaf.__exit__(None, None, None)
    after = first.id
    with stream(live, of(task), after=after) as client:
        one = client.next()
    (row,) = live.query("SELECT min(id) AS id FROM task_events WHERE task_id = :t AND id > :a", t=task, a=after)
    assert one is not None
    assert one.id == row["id"]


def test_what_is_past_is_not_read_for_a_client_that_has_gone(
    live: LiveServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that asks for thousands of events and leaves costs no more reading of them."""
    task = register(database)
    with database.write() as session:
        for _ in range(5000):
            events.append(session, task, "waiting", owner=DEFAULT_OWNER, at=NOW)
    monkeypatch.setattr(live_events, "_PAGE", 1)
    real, pages = feed.past, itertools.count()
    monkeypatch.setattr(feed, "past", lambda *given, **more: (next(pages), real(*given, **more))[1])
    close, closed = EventHub.close, threading.Event()

    def closing(hub: EventHub, one: Stream) -> None:
        close(hub, one)
        closed.set()

    monkeypatch.setattr(EventHub, "close", closing)
    with stream(live, of(task), after=0) as client:
        client.next()
    until(closed.is_set, what="the stream has ended")
    assert next(pages) < 4000


def _is_reset(client: EventClient) -> bool:
    """Whether the server has reset the connection; nothing is read."""
    poll = select.poll()
    poll.register(client._socket, select.POLLERR | select.POLLHUP)
    return bool(poll.poll(0))


def test_a_row_reaches_a_stream_at_once(live: LiveServer, database: Database) -> None:
    """Within 300 ms from the commit of another process."""
    task = register(database)
    with stream(live, of(task)) as client:
        client.next()
        with database.write() as session:
            queue.cancel(session, task, None, now=NOW)
        heard: list[Heard] = []
        thread = threading.Thread(target=lambda: heard.extend(client.rest()))
        thread.start()
        within(lambda: heard, seconds=0.3, what="the event is there")
        thread.join()
