"""POST /api/upload/videos over the wire: every file is judged by itself, and a form that breaks leaves nothing."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.harness.http import Answer, Connection, LiveServer, chunked, request
from tests.harness.multipart import PATH, form_body
from tests.harness.waiting import until
from tests.tus.client import video

B = "f0rm"
TYPE = {"Content-Type": f"multipart/form-data; boundary={B}"}
LIMIT, FILES = 300_000, 3
TEXT = b"not a video, whatever its name says. " * 10
Part = tuple[str, str | None, bytes]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("live")
    with LiveServer(folder, max_file_size=LIMIT, max_files=FILES, body_idle_timeout=5) as made:
        yield made


@pytest.fixture
def both(database_url: str, tmp_path: Path) -> Iterator[LiveServer]:
    with LiveServer(tmp_path / "both", database_url=database_url, max_file_size=LIMIT, max_files=FILES) as made:
        yield made


def post(live: LiveServer, body: bytes, **headers: str) -> tuple[Answer, dict[str, Any]]:
    answer = live.ask("POST", PATH, TYPE | headers, body)
    return answer, json.loads(answer.body)


def state(live: LiveServer) -> tuple[object, ...]:
    """Everything that a form may leave: rows, files, locks."""
    rows = [live.query(f"SELECT id FROM {table} ORDER BY id") for table in ("uploads", "tasks", "task_files")]
    return *rows, live.files(), live.locks()


def taken(live: LiveServer, task: str) -> list[tuple[str, bytes | None]]:
    """Names and bytes of the files of a task, in order."""
    rows = live.query("SELECT name, upload_id FROM task_files WHERE task_id = :id ORDER BY position", id=task)
    return [(row["name"], live.stored(row["upload_id"])) for row in rows]


def file(name: str | None, data: bytes, field: str = "videos") -> Part:
    return field, name, data


GOOD, OTHER = video(1000), video(70_000, 2)
HUGE = video(LIMIT + 1)


class Case(NamedTuple):
    parts: Sequence[Part]
    status: int
    taken: Sequence[tuple[str, bytes]] = ()
    invalid: Sequence[tuple[str, str]] = ()
    code: str = ""


CASES: dict[str, Case] = {
    "one": Case([file("a.mp4", GOOD)], 200, [("a.mp4", GOOD)]),
    "duplicate names are both kept": Case(
        [file("a.mp4", GOOD), file("a.mp4", OTHER)], 200, [("a.mp4", GOOD), ("a.mp4", OTHER)]
    ),
    "the same file twice": Case(
        [file("a.mp4", GOOD), file("a.mp4", GOOD)], 200, [("a.mp4", GOOD), ("a.mp4", GOOD)]
    ),
    "other fields are nobody's": Case(
        [file(None, b"v", "title"), file("b.mp4", GOOD, "other"), file("a.mp4", GOOD), file(None, b"x")],
        200,
        [("a.mp4", GOOD)],
    ),
    "an empty name is no file": Case([file("", GOOD), file("a.mp4", GOOD)], 200, [("a.mp4", GOOD)]),
    "as large as may be": Case([file("a.mp4", HUGE[:-1])], 200, [("a.mp4", HUGE[:-1])]),
    "too large among others": Case(
        [file("a.mp4", GOOD), file("b.mp4", HUGE), file("c.mp4", OTHER)],
        200,
        [("a.mp4", GOOD), ("c.mp4", OTHER)],
        [("b.mp4", "file_too_large")],
    ),
    "far too large, first": Case(
        [file("b.mp4", HUGE * 5), file("c.mp4", OTHER)], 200, [("c.mp4", OTHER)], [("b.mp4", "file_too_large")]
    ),
    "text among others": Case(
        [file("t.mp4", TEXT), file("a.mp4", GOOD), file("n.txt", GOOD)],
        200,
        [("a.mp4", GOOD)],
        [("t.mp4", "media_type_mismatch"), ("n.txt", "media_type_unsupported")],
    ),
    "large text is drained": Case(
        [file("t.mp4", TEXT * 9000), file("a.mp4", GOOD)], 200, [("a.mp4", GOOD)], [("t.mp4", "media_type_mismatch")]
    ),
    "empty among others": Case(
        [file("e.mp4", b""), file("a.mp4", GOOD)], 200, [("a.mp4", GOOD)], [("e.mp4", "file_empty")]
    ),
    "shorter than 64 bytes": Case([file("s.mp4", GOOD[:20])], 200, [("s.mp4", GOOD[:20])]),
    "as many as may be": Case([file(f"{n}.mp4", GOOD) for n in range(3)], 200, [(f"{n}.mp4", GOOD) for n in range(3)]),
    "one too many": Case(
        [file(f"{n}.mp4", GOOD) for n in range(5)],
        200,
        [(f"{n}.mp4", GOOD) for n in range(3)],
        [("3.mp4", "too_many_files"), ("4.mp4", "too_many_files")],
    ),
    "refused ones do not count": Case(
        [file("t.mp4", TEXT)] * 4 + [file(f"{n}.mp4", GOOD) for n in range(3)],
        200,
        [(f"{n}.mp4", GOOD) for n in range(3)],
        [("t.mp4", "media_type_mismatch")] * 4,
    ),
    "a path": Case([file("../../etc/a.mp4", GOOD)], 200, [("a.mp4", GOOD)]),
    "a path of Windows": Case([file("videos\\2026\\a.mp4", GOOD)], 200, [("a.mp4", GOOD)]),
    "a path of both": Case([file("videos/2026\\a.mp4", GOOD)], 200, [("a.mp4", GOOD)]),
    "a path that is refused": Case(
        [file("C:\\a\\n.txt", GOOD), file("b/n.txt", GOOD), file("a.mp4", GOOD)],
        200,
        [("a.mp4", GOOD)],
        [("n.txt", "media_type_unsupported")] * 2,
    ),
    "Chinese and emoji": Case([file("我的视频🎬.mp4", GOOD)], 200, [("我的视频🎬.mp4", GOOD)]),
    "none valid": Case(
        [file("t.mp4", TEXT), file("e.mp4", b"")],
        400,
        invalid=[("t.mp4", "media_type_mismatch"), ("e.mp4", "file_empty")],
        code="no_valid_file",
    ),
    "none valid, one too large": Case(
        [file("t.mp4", TEXT), file("b.mp4", HUGE)],
        413,
        invalid=[("t.mp4", "media_type_mismatch"), ("b.mp4", "file_too_large")],
        code="no_valid_file",
    ),
    "no part": Case([], 400, code="no_file"),
    "no file": Case([file(None, b"x", "title"), file("", b"")], 400, code="no_file"),
    "files of another field only": Case([file("a.mp4", GOOD, "video")], 400, code="no_file"),
}  # fmt: skip


@pytest.mark.parametrize("how", ["length", "chunked"])
@pytest.mark.parametrize("name", CASES)
def test_each_file_of_a_form_is_accepted_or_named_with_its_reason(live: LiveServer, name: str, how: str) -> None:
    """Each file is taken or named with its reason; what was refused left no row and no byte."""
    case = CASES[name]
    before = len(live.files()), len(live.query("SELECT id FROM uploads")), len(live.query("SELECT id FROM tasks"))
    body = form_body(B, case.parts)
    with live.connect() as connection:
        if how == "length":
            connection.send(request("POST", PATH, TYPE, body))
        else:
            connection.send(request("POST", PATH, TYPE | {"Transfer-Encoding": "chunked"}))
            connection.send(chunked([body[at : at + 50_001] for at in range(0, len(body), 50_001)]))
        answer = connection.answer()
        if how == "length":
            # It was read to its end, so the connection goes on.
            assert connection.ask("GET", "/healthz").status == 200
    said = json.loads(answer.body)
    assert answer.status == case.status, said
    assert said["success"] == (case.status == 200)
    assert said["invalid_files"] == ([name for name, _ in case.invalid] or None)
    details = [(item["name"], item["code"]) for item in said.get("invalid_details") or []]
    assert details == list(case.invalid)
    assert all(item["message"] for item in said.get("invalid_details") or [])
    if case.status == 200:
        assert (said["message"], said["uploaded_files"]) == ("视频上传成功", len(case.taken))
        assert taken(live, said["task_id"]) == list(case.taken)
    else:
        assert said["code"] == case.code
    added = len(case.taken)
    assert (len(live.files()), len(live.query("SELECT id FROM uploads"))) == (before[0] + added, before[1] + added)
    assert len(live.query("SELECT id FROM tasks")) == before[2] + (case.status == 200)
    assert live.locks() == []


def test_a_form_becomes_one_task_with_its_files(both: LiveServer) -> None:
    """A form becomes one task with its files in order, complete uploads and one event, on both databases."""
    _, said = post(both, form_body(B, [file("a.mp4", GOOD), file("t.mp4", TEXT), file("\u202eb.mp4", OTHER)]))
    task = said["task_id"]
    uploads = both.query("SELECT status, protocol, length, received, media_type, task_id, owner FROM uploads")
    common = {"status": "complete", "protocol": "multipart", "media_type": "mp4", "task_id": task, "owner": "default"}
    assert sorted(uploads, key=lambda row: int(row["length"])) == [
        common | {"length": size, "received": size} for size in (1000, 70_000)
    ]
    rows = both.query("SELECT position, name, safe_name, size, status FROM task_files ORDER BY position")
    assert rows == [
        {"position": 1, "name": "a.mp4", "safe_name": "a.mp4", "size": 1000, "status": "waiting"},
        {"position": 2, "name": "\u202eb.mp4", "safe_name": "b.mp4", "size": 70_000, "status": "waiting"},
    ]
    assert both.query("SELECT id, status, file_count FROM tasks") == [
        {"id": task, "status": "uploaded", "file_count": 2}
    ]
    assert both.query("SELECT type FROM task_events WHERE upload_id IS NULL") == [{"type": "uploaded"}]


def test_a_long_name_is_accepted_and_keeps_its_extension(live: LiveServer) -> None:
    """A name of two thousand characters is taken, and its safe form keeps the extension within 255 bytes."""
    _, said = post(live, form_body(B, [file("é" * 2000 + ".mp4", GOOD)]))
    assert said["success"], said
    (row,) = live.query("SELECT safe_name FROM task_files WHERE task_id = :id", id=said["task_id"])
    assert row["safe_name"].endswith("é.mp4")
    assert len(row["safe_name"].encode()) <= 255


def test_answers_follow_accept_language(live: LiveServer) -> None:
    """Sentences follow Accept-Language."""
    body = form_body(B, [file("t.mp4", TEXT)])
    _, said = post(live, body, **{"Accept-Language": "en"})
    assert said["message"] == "None of the files was accepted; invalid_details says why"
    assert said["invalid_details"][0]["message"].startswith("The content is not a video")


BROKEN: dict[str, tuple[dict[str, str], bytes]] = {
    "no form": ({"Content-Type": "application/json"}, b"{}"),
    "no content type": ({}, b"x"),
    "no boundary": ({"Content-Type": "multipart/form-data"}, b"x"),
    "not the boundary it said": (TYPE, form_body("other", [file("a.mp4", GOOD)])),
    "no body": (TYPE, b""),
    "ends in a file": (TYPE, form_body(B, [file("a.mp4", GOOD), file("b.mp4", OTHER)])[:-5000]),
    "ends before its last boundary": (TYPE, form_body(B, [file("a.mp4", GOOD)])[:-4]),
    "a bad header behind a good file": (
        TYPE,
        form_body(B, [file("a.mp4", GOOD)])[: -len(f"--{B}--\r\n")] + f"--{B}\r\nno colon\r\n\r\n".encode(),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_form_is_400_and_leaves_nothing(live: LiveServer, name: str) -> None:
    """What is no whole form is 400 with a reason, and nothing of it stays."""
    before = state(live)
    headers, body = BROKEN[name]
    answer = live.ask("POST", PATH, headers, body)
    said = json.loads(answer.body)
    assert (answer.status, said["code"], said["success"]) == (400, "multipart_invalid", False)
    assert said["message"]
    assert said["invalid_files"] is None
    assert state(live) == before


def test_a_refusal_reaches_a_client_that_still_sends_its_form(live: LiveServer) -> None:
    """A request that is no form is refused before its body is asked for; the answer reaches who sends all the same."""
    before = state(live)
    headers = {"Content-Type": "text/plain", "Content-Length": str(50_000_000)}
    with live.connect() as connection:
        connection.send(request("POST", PATH, headers | {"Expect": "100-continue"}))
        answer = connection.answer()
        assert (answer.status, answer.interim) == (400, ())
    with live.connect() as connection:
        connection.send(request("POST", PATH, headers) + bytes(500_000))
        assert connection.answer().status == 400
        assert connection.ended()
    assert state(live) == before


def test_other_methods_are_405(live: LiveServer) -> None:
    """405 in the documented form, and it says what is possible."""
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        answer = live.ask(method, PATH, TYPE)
        assert (answer.status, answer.headers["allow"]) == (405, "POST, OPTIONS")
        assert json.loads(answer.body)["code"] == "method_not_allowed"


WHOLE = form_body(B, [file("a.mp4", OTHER), file("t.mp4", TEXT), file("b.mp4", HUGE), file("c.mp4", OTHER)])
FIRST, SECOND = WHOLE.index(OTHER), WHOLE.index(HUGE)
PHASES = {
    "before the first byte": 0,
    "in the first boundary": 3,
    "in the headers": FIRST - 10,
    "at the first byte of a file": FIRST + 1,
    "before its type is known": FIRST + 40,
    "in a file": FIRST + 40_000,
    "at the end of a file": FIRST + len(OTHER),
    "in a boundary": FIRST + len(OTHER) + 4,
    "in a refused file": WHOLE.index(TEXT) + 200,
    "in a second file": SECOND + 100_000,
    "in one that is too large": SECOND + LIMIT + 1,
    "in the last file": len(WHOLE) - 1000,
    "in the last boundary": len(WHOLE) - 4,
}
LEAVE: dict[str, Callable[[Connection], None]] = {
    "FIN": Connection.close,
    "RST": Connection.reset,
    "half-close": Connection.half_close,
}


@pytest.mark.parametrize("how", LEAVE)
@pytest.mark.parametrize("phase", PHASES)
def test_a_form_whose_client_left_leaves_nothing(live: LiveServer, phase: str, how: str) -> None:
    """Wherever a client leaves, no row, no file and no lock of its form stays."""
    before = state(live)
    count = PHASES[phase]
    with live.connect() as connection:
        headers = TYPE | {"Content-Length": str(len(WHOLE)), "Expect": "100-continue"}
        connection.send(request("POST", PATH, headers))
        assert connection.read(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert len(live.locks()) == 1
        connection.send(WHOLE[:count])
        if count > FIRST + 64:
            until(lambda: len(live.files()) > len(before[3]), seconds=5, what="a file is made")  # type: ignore[arg-type]
        LEAVE[how](connection)
        until(lambda: state(live) == before, seconds=5, what="nothing is left")


def test_a_silent_form_is_408_and_leaves_nothing(tmp_path: Path) -> None:
    """A form without a byte for too long is 408, and nothing of it stays."""
    with LiveServer(tmp_path / "idle", body_idle_timeout=0.2) as live:
        before = state(live)
        for count in (0, 3, FIRST + 10, FIRST + 40_000, len(WHOLE) - 4):
            with live.connect() as connection:
                connection.send(request("POST", PATH, TYPE | {"Content-Length": str(len(WHOLE))}) + WHOLE[:count])
                answer = connection.answer()
                assert (answer.status, json.loads(answer.body)["code"]) == (408, "form_timeout"), count
                assert connection.ended()
            assert state(live) == before


def test_a_wrong_content_length_loses_no_byte(live: LiveServer) -> None:
    """A length below the truth is a form cut short; one above it is waited for, and what is there is not lost."""
    before = state(live)
    body = form_body(B, [file("a.mp4", GOOD)])
    with live.connect() as connection:
        # What is beyond the length is taken for the next request, and is none: the server may say that first.
        connection.send(request("POST", PATH, TYPE | {"Content-Length": str(len(body) - 10)}) + body)
        assert connection.answer().status == 400
    until(lambda: state(live) == before, seconds=5, what="nothing is left")
    with live.connect() as connection:
        # The form is whole with its last boundary, whatever else was announced.
        connection.send(request("POST", PATH, TYPE | {"Content-Length": str(len(body) + 10)}) + body)
        answer = connection.answer()
    assert (answer.status, json.loads(answer.body)["uploaded_files"]) == (200, 1)
    assert live.locks() == []


def test_a_form_may_arrive_byte_by_byte(live: LiveServer) -> None:
    """A form that arrives byte by byte is the same form."""
    body = form_body(B, [file("a.mp4", GOOD[:300]), file("t.mp4", TEXT[:100])])
    with live.connect() as connection:
        connection.send(request("POST", PATH, TYPE | {"Content-Length": str(len(body))}))
        for byte in body:
            connection.send(bytes([byte]))
        said = json.loads(connection.answer().body)
    assert said["invalid_files"] == ["t.mp4"]
    assert taken(live, said["task_id"]) == [("a.mp4", GOOD[:300])]


def test_a_full_disk_is_507_and_leaves_nothing_of_a_form(live: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes no more ends the form with 507, and gives back what the form had taken."""
    before = state(live)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("server.transport.body.Writer.__call__", full)
        answer, said = post(live, form_body(B, [file("a.mp4", GOOD), file("b.mp4", OTHER)]))
    assert (answer.status, said["code"]) == (507, "form_storage_full")
    assert state(live) == before


def test_a_failed_transaction_leaves_nothing_of_a_form(live: LiveServer) -> None:
    """Where the task cannot be registered the form has failed as a whole, and nothing of it stays."""
    before = state(live)
    live.execute("ALTER TABLE task_events RENAME TO away")
    answer, said = post(live, form_body(B, [file("a.mp4", GOOD)]))
    live.execute("ALTER TABLE away RENAME TO task_events")
    assert answer.status >= 500
    assert said["success"] is False
    assert state(live) == before


@pytest.mark.parametrize("coding", ["gzip", "identity, br", "x-\xfc"])
def test_a_compressed_form_is_refused_unread(live: LiveServer, coding: str) -> None:
    """415 names the coding before a byte is invited; a coding that is none changes nothing."""
    before = state(live)
    sent = TYPE | {"Content-Length": "100000", "Content-Encoding": coding, "Expect": "100-continue"}
    with live.connect() as connection:
        connection.send(request("POST", PATH, sent | {"Accept-Language": "en"}))
        answer = connection.answer()
    refusal = json.loads(answer.body)
    assert (answer.status, refusal["code"], answer.interim) == (415, "content_encoding_unsupported", ())
    assert coding.rpartition(" ")[2] in refusal["message"]
    assert answer.headers["accept-encoding"] == "identity"
    assert state(live) == before
    body = form_body(B, [file("a.mp4", GOOD)])
    assert post(live, body, **{"Content-Encoding": "identity"})[0].status == 200
