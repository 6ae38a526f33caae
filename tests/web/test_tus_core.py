"""HEAD, PATCH, DELETE and OPTIONS as the specification and real clients have them, on both databases."""

import concurrent.futures
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.harness.http import LiveServer, chunked, request, serving
from tests.tus.client import (
    MOUNT,
    OCTETS,
    PAST,
    VERSION,
    create,
    creation,
    filled,
    head,
    id_of,
    metadata,
    patch,
    patch_headers,
    patch_request,
    target,
    video,
)

ALLOWED = (
    "Authorization, Content-Type, Tus-Resumable, Upload-Length, Upload-Offset, Upload-Metadata, Upload-Defer-Length, "
    "Upload-Concat, Upload-Checksum, X-HTTP-Method-Override, X-Request-ID, X-Requested-With, Range, If-Range"
)
EXPOSED = (
    "Location, Upload-Offset, Upload-Length, Upload-Metadata, Upload-Defer-Length, Upload-Concat, Upload-Expires, "
    "Tus-Version, Tus-Resumable, "
    "Tus-Max-Size, Tus-Extension, Tus-Checksum-Algorithm, X-Request-ID, Upload-Task, Accept-Ranges, Content-Range, "
    "Content-Disposition, ETag"
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with serving(request, tmp_path_factory.mktemp("live")) as made:
        yield made


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with LiveServer(tmp_path_factory.mktemp("one"), tus_max_size=5000, cors_origins="https://a.example") as made:
        yield made


def names(text: str) -> set[str]:
    return {name.strip() for name in text.split(",")}


@pytest.mark.sampled(1)
def test_an_upload_is_created_filled_completed_and_removed(live: LiveServer) -> None:
    """Rules 4, 7, 11, 16, 18: created, filled in pieces, complete, replayed, kept by its task, removed, gone."""
    data = video(2000)
    raw = metadata(filename="clip.mp4")
    upload = create(live, 2000)
    for start, end in ((0, 10), (10, 700), (700, 700), (700, 1999)):
        answer = patch(live, upload, start, data[start:end])
        assert (answer.status, answer.headers["upload-offset"], answer.body) == (204, str(end), b"")
        assert answer.headers["upload-expires"]
        assert "upload-task" not in answer.headers
        looked = head(live, upload)
        assert looked.status == 200
        assert (looked.headers["upload-offset"], looked.headers["upload-length"]) == (str(end), "2000")
        assert looked.headers["cache-control"] == "no-store"
        assert looked.headers["upload-metadata"] == raw
        assert "upload-defer-length" not in looked.headers
        assert live.stored(upload) == data[:end]
        live.wait_until_received(upload, end)
    last = patch(live, upload, 1999, data[1999:])
    assert (last.status, last.headers["upload-offset"], last.headers["upload-task"]) == (204, "2000", upload)
    replayed = patch(live, upload, 2000, b"")
    assert (replayed.status, replayed.headers["upload-offset"]) == (204, "2000")
    whole = head(live, upload)
    assert (whole.status, whole.headers["upload-offset"], whole.headers["upload-task"]) == (200, "2000", upload)
    assert live.stored(upload) == data

    stale = patch(live, upload, 700, data[700:800])
    assert (stale.status, stale.code, stale.headers["upload-offset"]) == (409, "offset_mismatch", "2000")
    more = patch(live, upload, 2000, b"x")
    assert (more.status, more.code, more.headers["upload-offset"]) == (409, "upload_complete", "2000")

    row = live.row(upload)
    assert (row["status"], row["received"], row["media_type"], row["filename"]) == (
        "complete", 2000, "mp4", "clip.mp4",
    )  # fmt: skip
    assert row["completed_at"] is not None
    tasks = live.query("SELECT status, file_count FROM tasks WHERE id = :id", id=upload)
    assert tasks == [{"status": "uploaded", "file_count": 1}]
    files = live.query("SELECT name, size, media_type, status FROM task_files WHERE upload_id = :id", id=upload)
    assert files == [{"name": "clip.mp4", "size": 2000, "media_type": "mp4", "status": "waiting"}]
    assert live.query("SELECT type FROM task_events WHERE task_id = :id AND upload_id IS NULL", id=upload) == [
        {"type": "uploaded"}
    ]


@pytest.mark.parametrize("status", ["uploaded", "processing", "completed", "error", "cancelled"])
def test_a_complete_upload_is_removed_with_its_task(live: LiveServer, status: str) -> None:
    """Rule 18: DELETE of a complete upload is 204 at any time; bytes gone, rows kept, the task says `removed`."""
    upload, _ = filled(live, 500, 500)
    live.execute("UPDATE tasks SET status = :status WHERE id = :id", status=status, id=upload)
    assert live.ask("DELETE", target(upload), VERSION).status == 204
    assert live.stored(upload) is None
    row = live.row(upload)
    assert (row["status"], bool(row["has_bytes"]), row["length"], row["received"]) == ("terminated", False, 500, 500)
    assert live.query("SELECT status FROM tasks WHERE id = :id", id=upload) == [{"status": "removed"}]
    files = live.query("SELECT status, removing FROM task_files WHERE upload_id = :id", id=upload)
    assert [(file["status"], bool(file["removing"])) for file in files] == [("removed", False)]
    for method in ("HEAD", "PATCH", "DELETE"):
        assert live.ask(method, target(upload), patch_headers(500)).status == 410


@pytest.mark.parametrize("have", [0, 300, 499])
def test_a_termination_is_204_and_later_requests_are_410(live: LiveServer, have: int) -> None:
    """Termination: exactly 204 without a body; the bytes are gone, the row says so, later requests are 410."""
    upload, _ = filled(live, 500, have)
    answer = live.ask("DELETE", target(upload), VERSION)
    assert (answer.status, answer.body) == (204, b"")
    assert live.stored(upload) is None
    row = live.row(upload)
    assert (row["status"], bool(row["has_bytes"])) == ("terminated", False)
    for method in ("HEAD", "PATCH", "DELETE"):
        again = live.ask(method, target(upload), patch_headers(have))
        assert again.status == 410
        assert "upload-offset" not in again.headers
    assert live.query("SELECT id FROM tasks WHERE id = :id", id=upload) == []


def test_options_is_204_without_a_version(one: LiveServer) -> None:
    """Rules 5 and 7: 204 without needing a version, on the mount and on uploads; lists without spaces."""
    for path in (MOUNT, MOUNT + "/", target("8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11")):
        answer = one.ask("OPTIONS", path)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["tus-version"] == answer.headers["tus-resumable"] == "1.0.0"
        assert {"creation", "termination"} < set(answer.headers["tus-extension"].split(","))
        assert " " not in answer.headers["tus-extension"] + answer.headers["tus-checksum-algorithm"]
        assert answer.headers["tus-max-size"] == "5000"


def test_a_preflight_lists_exactly_the_documented_headers(one: LiveServer) -> None:
    """Rule 15: a preflight lists exactly these headers, and every answer exposes those, for this origin only."""
    upload = create(one, 100)
    for origin, allowed in (("https://a.example", "https://a.example"), ("https://b.example", None), (None, None)):
        sent = {} if origin is None else {"Origin": origin}
        preflight = one.ask("OPTIONS", target(upload), {"Access-Control-Request-Method": "PATCH"} | sent)
        assert names(preflight.headers["access-control-allow-headers"]) == names(ALLOWED)
        assert names(preflight.headers["access-control-allow-methods"]) >= {"POST", "HEAD", "PATCH", "DELETE"}
        answers = [
            preflight,
            one.ask("POST", MOUNT, creation(10) | sent),
            one.ask("POST", MOUNT, sent),
            one.ask("HEAD", target(upload), VERSION | sent),
            one.ask("PATCH", target(upload), patch_headers(5) | sent, b"x"),
            one.ask("GET", MOUNT, sent),
            one.ask("DELETE", target("8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"), VERSION | sent),
        ]
        assert [answer.status for answer in answers] == [204, 201, 412, 200, 409, 405, 404]
        for answer in answers:
            assert answer.headers.get("access-control-allow-origin") == allowed
            assert answer.headers["vary"] == "Origin"
            assert "access-control-allow-credentials" not in answer.headers
            exposed = names(answer.headers["access-control-expose-headers"])
            assert exposed == names(EXPOSED) | {"Retry-After"}


def test_every_origin_is_allowed_by_default(live: LiveServer) -> None:
    """Rule 15: by default every origin is allowed, refusals included."""
    for headers in (creation(10), {}):
        answer = live.ask("POST", MOUNT, {"Origin": "https://a.example", **headers})
        assert answer.headers["access-control-allow-origin"] == "*"


def test_the_override_header_replaces_the_method(live: LiveServer) -> None:
    """Rule 10: a request with X-HTTP-Method-Override is of that method, in any case; the actual one is ignored."""
    data = video(100)
    upload = create(live, 100)
    path = target(upload)
    answer = live.ask("POST", path, patch_headers(0) | {"X-HTTP-Method-Override": "PATCH"}, data[:60])
    assert (answer.status, answer.headers["upload-offset"]) == (204, "60")
    looked = live.ask("POST", path, VERSION | {"X-HTTP-Method-Override": "HEAD"})
    assert (looked.status, looked.headers["upload-offset"]) == (200, "60")
    looked = live.ask("PATCH", path, patch_headers(60) | {"X-HTTP-Method-Override": "HEAD"}, data[60:90])
    assert (looked.status, looked.headers["upload-offset"], looked.body) == (200, "60", b"")
    assert live.stored(upload) == data[:60]
    for method, start in (("GET", 60), ("DELETE", 70), ("PUT", 80)):
        sent = patch_headers(start) | {"X-HTTP-Method-Override": "PATCH"}
        answer = live.ask(method, path, sent, data[start : start + 10])
        assert (answer.status, answer.headers["upload-offset"]) == (204, str(start + 10))
    assert live.stored(upload) == data[:90]
    assert live.ask("POST", path, VERSION | {"X-HTTP-Method-Override": "delete"}).status == 204
    assert live.stored(upload) is None
    made = live.ask("POST", MOUNT, creation(5) | {"X-HTTP-Method-Override": "POST"})
    assert made.status == 201


def test_a_patch_extends_the_expiry(live: LiveServer) -> None:
    """Rule 16: a PATCH puts the expiry off, and says until when."""
    upload, data = filled(live, 500, 100)
    soon = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    live.execute("UPDATE uploads SET expires_at = :soon WHERE id = :id", soon=f"{soon:%F %T}.000000", id=upload)
    os.utime(live.path(upload), (0, 0))
    assert parsedate_to_datetime(head(live, upload).headers["upload-expires"]) == soon
    answer = patch(live, upload, 100, data[100:200])
    assert parsedate_to_datetime(answer.headers["upload-expires"]) - soon > timedelta(days=6)
    looked = parsedate_to_datetime(head(live, upload).headers["upload-expires"])
    assert looked - soon > timedelta(days=6)


def test_a_complete_upload_does_not_expire(live: LiveServer) -> None:
    """Rule 16: only unfinished uploads expire."""
    upload, _ = filled(live, 500, 500)
    live.execute("UPDATE uploads SET expires_at = :past WHERE id = :id", past=PAST, id=upload)
    answer = head(live, upload)
    assert (answer.status, answer.headers["upload-offset"]) == (200, "500")
    assert "upload-expires" not in answer.headers


def test_a_connection_serves_many_requests(one: LiveServer) -> None:
    """A connection serves one request after the other, bodies of every kind included."""
    data = video(4000)
    upload = create(one, 4000)
    with one.connect() as connection:
        for start in range(0, 3000, 1000):
            answer = connection.ask("PATCH", target(upload), patch_headers(start), data[start : start + 1000])
            assert (answer.status, answer.headers.get("connection")) == (204, None)
        headers = patch_headers(3000) | {"Transfer-Encoding": "chunked"}
        connection.send(request("PATCH", target(upload), headers) + chunked([data[3000:3500], data[3500:3999]]))
        assert connection.answer().headers["upload-offset"] == "3999"
        assert connection.ask("HEAD", target(upload), VERSION).headers["upload-offset"] == "3999"
        headers = patch_headers(3999) | {"Transfer-Encoding": "chunked"}
        connection.send(request("PATCH", target(upload), headers) + chunked([data[3999:]]))
        assert connection.answer().headers["upload-task"] == upload
        assert connection.ask("HEAD", target(upload), VERSION).headers["upload-task"] == upload
    assert one.stored(upload) == data


def test_pipelined_requests_are_answered_in_order(one: LiveServer) -> None:
    """Requests that were sent without waiting are answered in order, and each body goes to its own request."""
    data = video(900)
    upload, other = create(one, 900), create(one, 900)
    with one.connect() as connection:
        connection.send(
            patch_request(upload, 0, data[:300])
            + patch_request(other, 0, data)
            + patch_request(upload, 300, data[300:])
            + request("HEAD", target(upload), VERSION)
            + request("OPTIONS", MOUNT)
        )
        offsets = [connection.answer().headers["upload-offset"] for _ in range(3)]
        assert offsets == ["300", "900", "900"]
        assert connection.answer(head=True).headers["upload-task"] == upload
        assert connection.answer().status == 204
    assert one.stored(upload) == one.stored(other) == data


def test_a_body_may_arrive_byte_by_byte(one: LiveServer) -> None:
    """A body that arrives byte by byte is the same body."""
    data = video(300)
    upload = create(one, 300)
    with one.connect() as connection:
        for byte in patch_request(upload, 0, data):
            connection.send(bytes([byte]))
        assert connection.answer().headers["upload-offset"] == "300"
    assert one.stored(upload) == data


def test_large_bodies_are_stored_as_sent(one: LiveServer, tmp_path: Path) -> None:
    """Some megabytes in one PATCH, by length and in chunks of any size, are stored as they came."""
    with LiveServer(tmp_path / "large") as live:
        data = video(5_000_000)
        upload = create(live, len(data))
        assert patch(live, upload, 0, data[:2_500_000]).status == 204
        headers = patch_headers(2_500_000) | {"Transfer-Encoding": "chunked"}
        pieces = [data[at : at + 77_777] for at in range(2_500_000, len(data), 77_777)]
        with live.connect() as connection:
            connection.send(request("PATCH", target(upload), headers) + chunked(pieces))
            assert connection.answer().headers["upload-task"] == upload
        assert live.stored(upload) == data


def test_an_empty_upload_is_refused_as_a_video(one: LiveServer, tmp_path: Path) -> None:
    """Length 0: no video, so it is refused and rejected; where anything is accepted it is complete at once."""
    answer = one.ask("POST", MOUNT, creation(0))
    assert (answer.status, answer.code) == (415, "file_empty")
    assert "location" not in answer.headers
    with LiveServer(tmp_path / "any", accept="any") as live:
        made = live.ask("POST", MOUNT, creation(0, "notes.txt"))
        assert (made.status, made.headers["upload-offset"]) == (201, "0")
        assert made.headers["upload-task"] == id_of(made)
        looked = head(live, id_of(made))
        assert (looked.headers["upload-length"], looked.headers["upload-task"]) == ("0", id_of(made))
        assert len(live.query("SELECT id FROM tasks")) == 1


@pytest.mark.sampled(1)
def test_fifty_concurrent_uploads_keep_their_own_bytes(live: LiveServer) -> None:
    """Fifty uploads at the same time, more than there are connections to the database: each has its own bytes."""
    before = len(live.query("SELECT id FROM tasks"))

    def upload(number: int) -> None:
        data = video(20_000, number)
        made = create(live, len(data))
        for start in range(0, len(data), 5000):
            assert patch(live, made, start, data[start : start + 5000]).status == 204
        assert live.stored(made) == data

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        list(pool.map(upload, range(50)))
    assert len(live.query("SELECT id FROM tasks")) == before + 50
    assert live.locks() == []


def test_an_error_is_a_code_and_a_sentence(live: LiveServer) -> None:
    """Errors are `code: sentence`, plain text."""
    answer = live.ask("POST", MOUNT, creation(100) | {"Content-Type": OCTETS}, b"x" * 100)
    assert re.fullmatch(r"[a-z_]+: [A-Z][^\n]+\n", answer.text)
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"
