"""`Idempotency-Key` over the wire: the same form is answered as it was, another one is refused, and nothing is doubled.

Rule: whether a form was stored again is asked of rows and files, never of its answer.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from server.bootstrap import Services
from server.database import migration
from server.errors import HeaderInvalidError, IdempotencyRunningError
from server.settings import Settings
from server.uploads.idempotency import Content, Fingerprint, KeyClaim, parse_key
from tests.harness.http import Answer, Connection, LiveServer, chunked, request
from tests.harness.multipart import PATH, form_body
from tests.harness.rows import execute, query
from tests.harness.waiting import PATIENCE, until
from tests.tus.client import PAST, video

pytestmark = pytest.mark.turns(2)  # moments of a repetition

B = "f0rm"
LIMIT, FILES = 300_000, 3
TEXT = b"not a video, whatever its name says. " * 10
GOOD, OTHER, HUGE = video(1000), video(70_000, 2), video(LIMIT + 50_000, 3)
Part = tuple[str, str | None, bytes]
MODES = ("videodock", "portable")
DEAD = "INSERT INTO form_answers (owner, key, task_id, created_at, expires_at) VALUES ('default', 'dead', 'x', :t, :t)"


@pytest.fixture(params=MODES)
def live(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Iterator[LiveServer]:
    """On both databases, and by both ways in which a body comes."""
    settings: dict[str, Any] = {"max_file_size": LIMIT, "max_files": FILES, "body_idle_timeout": 5}
    with LiveServer(tmp_path / "live", database_url=database_url, http=request.param, **settings) as made:
        yield made


def file(name: str | None, data: bytes, field: str = "videos") -> Part:
    return field, name, data


def head(key: str, boundary: str = B, **more: str) -> dict[str, str]:
    return {"Content-Type": f"multipart/form-data; boundary={boundary}", "Idempotency-Key": key, **more}


def post(live: LiveServer, key: str, parts: Sequence[Part], boundary: str = B, **more: str) -> Answer:
    return live.ask("POST", PATH, head(key, boundary, **more), form_body(boundary, parts))


def said(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.body)
    return found


def state(live: LiveServer) -> tuple[object, ...]:
    """Everything that a form leaves: rows, files, locks."""
    rows = [live.query(f"SELECT id FROM {table} ORDER BY id") for table in ("uploads", "tasks", "task_files")]
    kept = live.query("SELECT owner, key, task_id, fingerprint FROM form_answers ORDER BY key")
    return *rows, kept, live.files(), live.locks()


def without_date(answer: Answer) -> Mapping[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in ("date", "x-request-id")}


FORMS: dict[str, tuple[Sequence[Part], int]] = {
    "one": ([file("a.mp4", OTHER)], 200),
    "several, one of no byte more than its head": ([file("a.mp4", GOOD[:20]), file("b.mp4", OTHER)], 200),
    "the same twice": ([file("a.mp4", GOOD), file("a.mp4", GOOD)], 200),
    "some refused": (
        [file("t.mp4", TEXT * 5000), file("n.txt", GOOD), file("a.mp4", GOOD), file("h.mp4", HUGE), file("e.mp4", b"")],
        200,
    ),
    "too many": ([file(f"{n}.mp4", GOOD) for n in range(5)], 200),
    "none valid": ([file("t.mp4", TEXT), file("我.txt", OTHER)], 400),
    "too large": ([file("h.mp4", HUGE * 3)], 413),
    "no file": ([file(None, b"x", "title")], 400),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.turns(1)
def test_a_repeated_form_gets_the_first_answer(live: LiveServer, name: str) -> None:
    """A repeat, in another frame, is answered byte by byte as the first, whatever it was, and stores nothing."""
    parts, status = FORMS[name]
    first = post(live, '"k1"', parts)
    assert (first.status, "idempotent-replayed" in first.headers) == (status, False), first
    before = state(live)
    again = post(live, "k1", parts, boundary="an-other.Boundary_1")
    assert (again.status, again.body) == (first.status, first.body)
    assert without_date(again) == {**without_date(first), "idempotent-replayed": "true"}
    with live.connect() as connection:  # in pieces, of unknown length
        connection.send(request("POST", PATH, head("k1", **{"Transfer-Encoding": "chunked"})))
        body = form_body(B, [file(None, b"nobody's", "title"), *parts])
        connection.send(chunked([body[at : at + 20_011] for at in range(0, len(body), 20_011)]))
        pieces = connection.answer()
        assert (pieces.status, pieces.body) == (first.status, first.body)
    assert state(live) == before
    english = post(live, "k1", parts, **{"Accept-Language": "en"})
    assert said(english) != said(first)
    assert said(english).get("task_id") == said(first).get("task_id")
    # Another key makes another task, of all that could be taken.
    assert post(live, "k2", parts).status == status
    assert len(live.query("SELECT id FROM tasks")) == (2 if status == 200 else 0)


FIRST = [file("t.mp4", TEXT), file("a.mp4", OTHER), file("b.mp4", GOOD)]
CHANGED: dict[str, Sequence[Part]] = {
    "other bytes, as many": [*FIRST[:2], file("b.mp4", video(1000, 9))],
    "the last byte": [*FIRST[:2], file("b.mp4", GOOD[:-1] + b"\0")],
    "a byte more": [*FIRST[:2], file("b.mp4", GOOD + b"\0")],
    "another name": [*FIRST[:2], file("c.mp4", GOOD)],
    "another order": [FIRST[0], FIRST[2], FIRST[1]],
    "a refused file is another": [file("t.mp4", TEXT[:-1] + b"!"), *FIRST[1:]],
    "one file less": FIRST[:2],
    "one file more": [*FIRST, file("c.mp4", GOOD)],
    "no file": [],
    "bytes moved from one file to the next": [FIRST[0], file("a.mp4", OTHER[:-3]), file("b.mp4", OTHER[-3:] + GOOD)],
}


def test_another_form_with_the_same_key_is_422(live: LiveServer) -> None:
    """A form that differs in anything is 422, changes nothing, and does not take the key from the first."""
    first = post(live, "key", FIRST)
    before = state(live)
    for name, parts in CHANGED.items():
        answer = post(live, "key", parts)
        assert (answer.status, said(answer)["code"]) == (422, "idempotency_mismatch"), name
        assert said(answer)["message"] == "该 Idempotency-Key 已用于另一组文件，新的上传请使用新的键"
        assert state(live) == before, name
    assert post(live, "key", FIRST).body == first.body


def test_an_invalid_form_takes_no_key(live: LiveServer) -> None:
    """A form that cannot be understood takes no key: the next one with it is a first one."""
    broken = live.ask("POST", PATH, head("key"), form_body(B, FIRST)[:-5])
    assert (broken.status, said(broken)["code"]) == (400, "multipart_invalid")
    assert live.query("SELECT * FROM form_answers") == []
    assert post(live, "key", CHANGED["another name"]).status == 200
    # And a repeat that cannot be understood is refused as that.
    broken = live.ask("POST", PATH, head("key"), form_body(B, CHANGED["another name"])[:-5])
    assert (broken.status, said(broken)["code"]) == (400, "multipart_invalid")
    assert post(live, "key", CHANGED["another name"]).headers["idempotent-replayed"] == "true"


def begun(live: LiveServer, key: str, parts: Sequence[Part], *, left: int, **more: str) -> Connection:
    """A connection with a form whose last `left` bytes are not sent yet."""
    body = form_body(B, parts)
    connection = live.connect()
    connection.send(request("POST", PATH, head(key, **{"Content-Length": str(len(body)), **more})) + body[:-left])
    until(lambda: live.query("SELECT key FROM form_answers"), seconds=5, what="the key is taken")
    return connection


def test_a_repeat_is_409_while_the_first_form_is_received(live: LiveServer) -> None:
    """Meanwhile, the same key is 409 with `Retry-After`, whatever comes with it; then it is the first one's answer."""
    with begun(live, "key", FIRST, left=10) as first:
        other = post(live, "key", CHANGED["another name"])
        refused = post(live, '"key"', FIRST)
        assert (refused.status, refused.headers["retry-after"]) == (409, "2")
        assert (said(refused)["code"], said(refused)["success"]) == ("idempotency_running", False)
        assert other.status == 409
        assert live.query("SELECT id FROM tasks") == []
        Sweeper(live).sweep()  # disturbs nobody
        first.send(form_body(B, FIRST)[-10:])
        answer = first.answer()
    again = post(live, "key", FIRST)
    assert (answer.status, again.status, again.body) == (200, 200, answer.body)
    assert len(live.query("SELECT id FROM tasks")) == 1


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_cut_form_releases_its_key(live: LiveServer, how: str) -> None:
    """A form that was cut off gives its key back: the repeat is a first one, and nothing of the other stays."""
    connection = begun(live, "key", FIRST, left=500)
    getattr(connection, how)()
    until(lambda: not live.query("SELECT key FROM form_answers"), seconds=5, what="the key is free")
    until(lambda: not live.locks(), seconds=5, what="the lock is free")
    assert (live.files(), live.query("SELECT id FROM tasks")) == ([], [])
    assert "idempotent-replayed" not in post(live, "key", FIRST).headers
    assert len(live.query("SELECT id FROM tasks")) == 1


def test_a_form_timeout_releases_its_key(tmp_path: Path) -> None:
    """408 gives the key back, too, of a first form and of a repeat."""
    with LiveServer(tmp_path / "live", body_idle_timeout=0.5) as live:
        with begun(live, "key", FIRST, left=10) as connection:
            assert connection.answer().status == 408
        assert live.query("SELECT key FROM form_answers") == []
        assert post(live, "key", FIRST).status == 200
        with begun(live, "key", FIRST, left=10) as connection:
            assert connection.answer().status == 408
        assert post(live, "key", FIRST).headers["idempotent-replayed"] == "true"


@pytest.mark.sampled(2)
def test_a_refusal_comes_before_100_continue(live: LiveServer) -> None:
    """`Expect: 100-continue`: a refusal comes before the body, an answer that depends on it only behind it."""
    body = form_body(B, FIRST)
    expecting = request("POST", PATH, head("key", Expect="100-continue", **{"Content-Length": str(len(body))}))
    with begun(live, "key", FIRST, left=10) as first:
        with live.connect() as connection:
            connection.send(expecting)
            answer = connection.answer()
            assert (answer.status, answer.interim) == (409, ())
        first.send(body[-10:])
        done = first.answer()
    with live.connect() as connection:
        connection.send(expecting)
        assert b"100 Continue\r\n\r\n" in connection.read(len(b"HTTP/1.1 100 Continue\r\n\r\n"))
        connection.send(body[:-1] + b"\n")
        again = connection.answer()
        assert (again.status, again.body) == (200, done.body)
        # It was read to its end, so the connection goes on.
        assert connection.ask("GET", "/healthz").status == 200
    with live.connect() as connection:
        connection.send(expecting)
        connection.read(len(b"HTTP/1.1 100 Continue\r\n\r\n"))
        connection.send(body.replace(b"b.mp4", b"c.mp4"))
        assert connection.answer().status == 422


@pytest.mark.sampled(2)
def test_without_a_key_each_form_is_its_own(live: LiveServer) -> None:
    """Without the header each form is its own, and no row is written for it."""
    headers = {"Content-Type": f"multipart/form-data; boundary={B}"}
    tasks = {said(live.ask("POST", PATH, headers, form_body(B, FIRST)))["task_id"] for _ in range(2)}
    assert len(tasks) == 2
    assert live.query("SELECT key FROM form_answers") == []


KEYS: dict[str, str | None] = {
    '"8e03978e-40d5-43dd-bc93-6894a57f9324"': "8e03978e-40d5-43dd-bc93-6894a57f9324",
    "8e03978e-40d5-43dd-bc93-6894a57f9324": "8e03978e-40d5-43dd-bc93-6894a57f9324",
    r'"a\"b\\c"': r'a"b\c',
    r"a\b": r"a\b",
    "!~": "!~",
    "x" * 255: "x" * 255,
    '"' + "x" * 255 + '"': "x" * 255,
    "": None,
    '""': None,
    '"': None,
    '"a': None,
    '"a" ; b=1': None,
    '"a", "b"': None,
    r'"a\"': None,
    r'"a\b"': None,
    "a b": None,
    '"a b"': None,
    "é": None,
    "a\x7f": None,
    "x" * 256: None,
}


@pytest.mark.parametrize("raw", KEYS)
def test_a_key_may_be_quoted(raw: str) -> None:
    """A key is the same in quotes and without; what is none is refused."""
    expected = KEYS[raw]
    if expected is not None:
        assert parse_key(raw) == expected
        return
    with pytest.raises(HeaderInvalidError):
        parse_key(raw)


def test_an_invalid_key_is_400(live: LiveServer) -> None:
    """400 for a key that is none, and for two of them, before a byte is stored."""
    for fields in ([("Idempotency-Key", "x" * 256)], [("Idempotency-Key", "a"), ("Idempotency-Key", "a")]):
        headers = [("Content-Type", f"multipart/form-data; boundary={B}"), *fields]
        answer = live.ask("POST", PATH, headers, form_body(B, FIRST))
        assert (answer.status, said(answer)["code"]) == (400, "header_invalid")
        assert "Idempotency-Key" in said(answer)["message"]
    assert (live.query("SELECT key FROM form_answers"), live.files()) == ([], [])


def test_different_forms_have_different_fingerprints() -> None:
    """No two lists of files make one fingerprint because bytes of names and contents could be read in two ways."""
    seen = set()
    lists = [[], [("", b"")], [("a", b"b")], [("ab", b"")], [("a", b""), ("b", b"")], [("b", b""), ("a", b"")]]
    lists += [[("1:a", b"")], [("a1:b", b"")], [("a", b"b"), ("c", b"")], [("a", b""), ("bc", b"")]]
    for files in lists:
        fingerprint = Fingerprint()
        for name, data in files:
            content = Content()
            content.update(data)
            fingerprint.add(name, content)
        seen.add(fingerprint.hexdigest())
    assert len(seen) == len(lists)


class Sweeper:
    """Another process's sweep over the data of a live server."""

    def __init__(self, live: LiveServer) -> None:
        self._settings = live.settings

    def sweep(self) -> int:
        """How many answers went."""
        with Services.open(self._settings) as services:
            return services.sweep().numbers["answers"]


def expire(live: LiveServer) -> None:
    live.execute("UPDATE form_answers SET expires_at = :past WHERE fingerprint IS NOT NULL", past=PAST)


def test_a_key_is_free_after_its_expiry(live: LiveServer) -> None:
    """After its time the key may be used anew, for the same form and for another; the answer's time is a setting's."""
    first = said(post(live, "key", FIRST))
    (row,) = query(live.database_url, "SELECT created_at, expires_at FROM form_answers")
    day = "julianday(expires_at) - julianday(created_at)"
    seconds = "EXTRACT(EPOCH FROM expires_at - created_at)" if "postgresql" in live.database_url else f"86400 * ({day})"
    ((age,),) = [tuple(found.values()) for found in live.query(f"SELECT {seconds} AS age FROM form_answers")]
    assert 86400 <= float(age) + 0.01 < 86410, row
    expire(live)
    second = said(post(live, "key", CHANGED["another name"]))
    assert second["task_id"] != first["task_id"]
    assert said(post(live, "key", CHANGED["another name"])) == second
    assert post(live, "key", FIRST).status == 422
    assert len(live.query("SELECT id FROM tasks")) == 2


@pytest.mark.sampled(2)
def test_expired_answers_are_swept(live: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep removes what has expired, in batches, and what a process left that died; nothing else."""
    monkeypatch.setattr("server.uploads.idempotency._BATCH", 2)
    for number in range(5):
        post(live, f"old-{number}", [file("t.txt", TEXT)])
    expire(live)
    post(live, "new", [file("t.txt", TEXT)])
    live.execute(DEAD, t=PAST)
    with begun(live, "running", FIRST, left=10) as connection:
        until(lambda: len(live.query("SELECT key FROM form_answers")) == 8, seconds=5, what="all keys are there")
        assert Sweeper(live).sweep() == 6
        assert Sweeper(live).sweep() == 0
        assert [row["key"] for row in live.query("SELECT key FROM form_answers ORDER BY key")] == ["new", "running"]
        connection.send(form_body(B, FIRST)[-10:])
        assert connection.answer().status == 200
    assert post(live, "running", FIRST).headers["idempotent-replayed"] == "true"


def test_a_key_of_a_dead_process_is_taken_over(live: LiveServer) -> None:
    """A row without an answer that nobody holds is taken over, however fresh it is."""
    live.execute(DEAD, t="2100-01-01 00:00:00.000000")
    answer = post(live, "dead", FIRST)
    assert answer.status == 200
    (row,) = live.query("SELECT task_id, fingerprint FROM form_answers")
    assert (row["task_id"], len(row["fingerprint"])) == (said(answer)["task_id"], 64)
    assert said(post(live, "dead", FIRST)) == said(answer)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("before", ["nothing", "a dead process", "an expired answer"])
def test_one_of_many_requests_gets_a_key(database_url: str, tmp_path: Path, before: str) -> None:
    """Of many who want a key at the same moment one gets it, whatever its row was; the others are told to wait."""
    settings = Settings(data_dir=tmp_path, database_url=database_url)
    migration.upgrade(settings.sqlalchemy_url)
    with Services.open(settings) as services, ThreadPoolExecutor(8) as pool:
        for number in range(6):
            together = Barrier(8)
            execute(database_url, "DELETE FROM form_answers")
            if before != "nothing":
                execute(database_url, DEAD, t=PAST)
            if before == "an expired answer":
                execute(database_url, "UPDATE form_answers SET fingerprint = 'f', answer = '{}'")

            def one(_: int, together: Barrier = together) -> KeyClaim | None:
                claim = services.form_keys.claim("default", "dead", services.new_id())
                with services.locks.try_hold(claim.task_id) as held:
                    assert held
                    together.wait(PATIENCE)
                    try:
                        assert claim.acquire() is None
                    except IdempotencyRunningError:
                        pass
                    finally:
                        together.wait(PATIENCE)  # nobody is over before all were there
                return claim if claim.held else None

            (winner,) = [claim for claim in pool.map(one, range(8)) if claim is not None]
            (row,) = query(database_url, "SELECT task_id, fingerprint, answer FROM form_answers")
            assert row == {"task_id": winner.task_id, "fingerprint": None, "answer": None}, number


@pytest.mark.sampled(2)
def test_keys_of_different_owners_are_separate(live: LiveServer) -> None:
    """The same key of another owner is another key."""
    post(live, "key", FIRST)
    live.execute("UPDATE form_answers SET owner = 'somebody'")
    assert "idempotent-replayed" not in post(live, "key", CHANGED["another name"]).headers
    assert len(live.query("SELECT key FROM form_answers")) == 2


@pytest.mark.sampled(2)
def test_a_stored_answer_remains_after_its_task_is_gone(live: LiveServer) -> None:
    """The first answer is given again when its task was cancelled, and when every row of it is gone."""
    first = post(live, "key", FIRST)
    task = said(first)["task_id"]
    assert live.ask("POST", f"/api/task/cancel/{task}").status == 200
    assert post(live, "key", FIRST).body == first.body
    for table in ("task_events", "task_files", "tasks", "uploads"):
        live.execute(f"DELETE FROM {table}")
    assert post(live, "key", FIRST).body == first.body
    assert live.query("SELECT id FROM tasks") == []


def test_a_form_that_lost_its_key_makes_no_task(live: LiveServer) -> None:
    """Whoever lost the row of its key makes no task without it, and leaves nothing."""
    with begun(live, "key", FIRST, left=10) as connection:
        live.execute("DELETE FROM form_answers")
        connection.send(form_body(B, FIRST)[-10:])
        assert connection.answer().status == 409
    assert (live.query("SELECT id FROM tasks"), live.files()) == ([], [])
    assert post(live, "key", FIRST).status == 200
