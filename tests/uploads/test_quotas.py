"""Quotas of owners: what counts, what is refused with which answer, and that the rows are the truth."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from server.database.session import Database
from server.settings import Settings
from server.uploads.quotas import FRESH_SECONDS, Limits, OwnerQuotas
from tests.harness.groups import Group
from tests.harness.http import Answer, LiveServer, chunked, request
from tests.harness.migrated import migrate
from tests.harness.multipart import PATH, form_body
from tests.harness.rows import execute
from tests.harness.waiting import until
from tests.tus.client import MOUNT, OCTETS, VERSION, create, creation, id_of, metadata, patch, target, video

Serve = Callable[..., LiveServer]
BOUNDARY = "boundary-of-quotas"


@pytest.fixture
def serve(database_url: str, tmp_path: Path) -> Iterator[Serve]:
    """Starts a server with these settings, on an empty database."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            LiveServer(tmp_path / "live", database_url=database_url, fsync="never", scheduler="none", **settings)
        )


def post(live: LiveServer, headers: dict[str, str]) -> Answer:
    return live.ask("POST", MOUNT, headers)


def refused(answer: Answer, status: int, *words: str) -> None:
    """An answer in words, and with the time to wait where waiting helps."""
    code = {413: "quota_too_small", 429: "quota_reached"}[status]
    assert (answer.status, answer.code) == (status, code), answer
    assert all(word in answer.text for word in words), answer.text
    assert ("retry-after" in answer.headers) == (status == 429)


def form(*sizes: int) -> bytes:
    return form_body(BOUNDARY, [("videos", f"{number}.mp4", video(size)) for number, size in enumerate(sizes)])


def send_form(live: LiveServer, body: bytes, **more: str) -> tuple[int, dict[str, Any]]:
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Accept-Language": "en", **more}
    answer = live.ask("POST", PATH, headers, body)
    return answer.status, json.loads(answer.body)


def partial(live: LiveServer, length: int) -> str:
    """A whole partial upload."""
    answer = post(live, VERSION | {"Upload-Length": str(length), "Upload-Concat": "partial"})
    assert answer.status == 201, answer
    assert patch(live, id_of(answer), 0, video(length)).status == 204
    return id_of(answer)


def join(live: LiveServer, *parts: str) -> Answer:
    concat = "final;" + " ".join(target(part) for part in parts)
    return post(live, VERSION | {"Upload-Concat": concat, "Upload-Metadata": metadata(filename="a.mp4")})


def test_no_limit_costs_no_query_of_usage(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner without any limit is let through without a look at what there is, and without a lock."""
    live = serve()
    monkeypatch.setattr("server.uploads.quotas.OwnerUsage", None)
    monkeypatch.setattr("server.uploads.quotas.OwnerQuotas._lock", None)
    assert patch(live, create(live, 100), 0, video(100)).status == 204
    assert send_form(live, form(100))[0] == 200


def test_limits_are_read_once_in_a_while(database_url: str, tmp_path: Path) -> None:
    """The row of an owner is read again after two seconds, each owner's by itself, and their number is bounded."""
    migrate(database_url)
    now = 100.0
    settings = Settings(data_dir=tmp_path, database_url=database_url, owner_open_uploads=3)
    database = Database(database_url, 2)
    quotas = OwnerQuotas(settings=settings, database=database, clock=lambda: datetime.now(UTC), monotonic=lambda: now)

    def limits(owner: str) -> tuple[int, int]:
        with database.look() as connection:
            found = quotas.limits_of(connection, owner)
        return found.open_uploads, found.stored_bytes

    insertion = "INSERT INTO owners (owner, updated_at, open_uploads, stored_bytes) VALUES (:owner, :at, :most, 7)"
    try:
        assert limits("a") == limits("b") == (3, 0)
        for owner, most in (("a", 0), ("c", None)):
            execute(database_url, insertion, owner=owner, most=most, at="2026-01-01 00:00:00.000000")
        assert [limits(owner) for owner in "abc"] == [(3, 0), (3, 0), (3, 7)]
        now += FRESH_SECONDS + 0.1
        assert [limits(owner) for owner in "abc"] == [(0, 7), (3, 0), (3, 7)]
        for number in range(10_001):
            quotas._known[str(number)] = now, Limits()
        limits("d")
        assert len(quotas._known) < 10
    finally:
        database.close()


def test_stored_bytes_are_those_of_complete_and_open_uploads(serve: Serve) -> None:
    """They are full to the last byte, and free again when an upload is removed."""
    live = serve(owner_stored_bytes=1000)
    refused(post(live, creation(1001)), 413, "1000 B")
    first = create(live, 400)
    assert patch(live, first, 0, video(400)).status == 204
    second = create(live, 600)
    refused(post(live, creation(1)), 429, "1000 B of stored videos")
    assert live.ask("DELETE", target(second), VERSION).status == 204
    refused(post(live, creation(601)), 429)
    create(live, 600)


def test_open_bytes_are_free_again_after_completion(serve: Serve) -> None:
    """What is complete does not count as open."""
    live = serve(owner_open_bytes=1000)
    refused(post(live, creation(1001)), 413)
    first = create(live, 1000)
    refused(post(live, creation(1)), 429, "unfinished")
    assert patch(live, first, 0, video(1000)).status == 204
    create(live, 1000)


def test_open_uploads_are_counted(serve: Serve) -> None:
    """Their number, whatever their size; a form is one of them."""
    live = serve(owner_open_uploads=2)
    first = create(live, 100)
    create(live, 5)
    refused(post(live, creation(1)), 429, "2 unfinished uploads")
    assert send_form(live, form(100))[0] == 429
    assert patch(live, first, 0, video(100)).status == 204
    assert send_form(live, form(100, 100, 100))[1]["uploaded_files"] == 3


def test_daily_bytes_count_removed_uploads_until_midnight(serve: Serve) -> None:
    """Sending and deleting in turns does not get around it; what was made yesterday does not count."""
    live = serve(owner_daily_bytes=1000)
    refused(post(live, creation(1001)), 413)
    upload = create(live, 700)
    assert patch(live, upload, 0, video(600)).status == 204
    refused(post(live, creation(301)), 429, "1000 B a day")
    assert live.ask("DELETE", target(upload), VERSION).status == 204
    answer = post(live, creation(401))
    refused(answer, 429)
    now = datetime.now(UTC)
    left = 86400 - now.hour * 3600 - now.minute * 60 - now.second
    assert abs(int(answer.headers["retry-after"]) - left) < 60 or left < 60
    create(live, 400)
    live.execute("UPDATE uploads SET created_at = :day", day="2020-01-01 00:00:00.000000")
    create(live, 1000)


def test_waiting_tasks_count_with_the_uploads_that_become_some(serve: Serve) -> None:
    """So that no completion goes beyond the limit. Partial uploads become no task, and a group is one."""
    live = serve(owner_waiting_tasks=2)
    whole = create(live, 50)
    assert patch(live, whole, 0, video(50)).status == 204
    group = Group(live, files=3)
    for place in (1, 2, 3):
        group.whole(place)
    refused(post(live, creation(50)), 429, "2 unfinished tasks")
    assert send_form(live, form(100))[0] == 429
    partial(live, 10)
    live.execute("UPDATE tasks SET finished_at = created_at WHERE id = :id", id=whole)
    create(live, 50)
    refused(post(live, creation(50)), 429)


def test_a_deferred_length_is_judged_when_it_is_declared(serve: Serve) -> None:
    """Before a byte is read, with the upload as it was; a length that fits is reserved."""
    live = serve(owner_stored_bytes=1000)
    deferred = VERSION | {"Upload-Defer-Length": "1", "Upload-Metadata": metadata(filename="a.mp4")}
    upload = id_of(post(live, deferred))
    create(live, 500)
    headers = VERSION | {"Upload-Offset": "0", "Content-Type": OCTETS}
    with live.connect() as connection:
        connection.send(request("PATCH", target(upload), headers | {"Upload-Length": "501", "Content-Length": "501"}))
        refused(connection.answer(), 429)  # nothing of the body was sent
    refused(live.ask("PATCH", target(upload), headers | {"Upload-Length": "1001"}, video(10)), 413)
    assert live.row(upload)["length"] is None
    assert live.ask("PATCH", target(upload), headers | {"Upload-Length": "500"}, video(10)).status == 204
    refused(post(live, creation(1)), 429)
    other = id_of(post(live, deferred))
    refused(live.ask("PATCH", target(other), headers, video(1)), 429)


def test_a_body_of_unknown_length_ends_at_the_quota(serve: Serve) -> None:
    """An upload whose length is never declared has no more bytes than the owner may have; nor has a form."""
    live = serve(owner_stored_bytes=1000)
    deferred = VERSION | {"Upload-Defer-Length": "1", "Upload-Metadata": metadata(filename="a.mp4")}
    upload = id_of(post(live, deferred))
    headers = VERSION | {"Upload-Offset": "0", "Content-Type": OCTETS, "Transfer-Encoding": "chunked"}
    answer = live.ask("PATCH", target(upload), headers, chunked([video(1001)]))
    assert (answer.status, answer.code) == (413, "body_too_large"), answer
    assert live.ask("PATCH", target(upload), headers, chunked([video(800)])).status == 204
    until(lambda: live.row(upload)["received"] == 800, what="the row has the bytes")
    refused(post(live, creation(201)), 429)
    status, answered = send_form(live, chunked([form(150, 51)]), **{"Transfer-Encoding": "chunked"})
    assert (status, answered["code"]) == (429, "quota_reached"), answered
    assert len(live.query("SELECT id FROM uploads")) == 1
    assert send_form(live, chunked([form(100, 100)]), **{"Transfer-Encoding": "chunked"})[0] == 200


def test_a_form_is_refused_before_its_body(serve: Serve) -> None:
    """By its Content-Length, with a sentence in the reader's language; and as a whole."""
    live = serve(owner_stored_bytes=2000)
    create(live, 500)
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    for length, status, code in ((2001, 413, "quota_too_small"), (1501, 429, "quota_reached")):
        with live.connect() as connection:
            connection.send(request("POST", PATH, headers | {"Content-Length": str(length)}))
            answer = connection.answer()
        answered = json.loads(answer.body)
        assert (answer.status, answered["code"]) == (status, code)
        assert "2.0 KiB" in answered["message"]
        assert answered["invalid_files"] is None
    assert send_form(live, form(400, 400))[0] == 200
    until(lambda: {row["status"] for row in live.query("SELECT status FROM uploads")} == {"open", "complete"},
          what="nothing is left of the refused forms")  # fmt: skip
    refused(post(live, creation(701)), 429)
    create(live, 700)


def test_a_final_upload_has_the_bytes_of_its_parts(serve: Serve) -> None:
    """Parts count as open until they are joined, and joining needs nothing more, not even where all is full."""
    live = serve(owner_stored_bytes=1000, owner_open_bytes=1000, owner_daily_bytes=1000)
    parts = [partial(live, 500), partial(live, 500)]
    refused(post(live, creation(1)), 429)
    answer = join(live, *parts)
    assert answer.status == 201, answer
    final = id_of(answer)
    until(lambda: live.row(final)["status"] == "complete", what="it is joined")
    assert {row["status"] for row in live.query("SELECT status FROM uploads WHERE concat = 'partial'")} == {
        "terminated"
    }
    refused(post(live, creation(1)), 429)


def test_a_lowered_limit_does_not_keep_parts_from_being_joined(serve: Serve) -> None:
    """What was admitted is finished."""
    live = serve(owner_stored_bytes=1000)
    parts = [partial(live, 500), partial(live, 500)]
    set_limits(live, stored_bytes=10)
    until(lambda: post(live, creation(5)).status == 429, what="the limit is in force")
    assert join(live, *parts).status == 201


def test_what_finals_share_counts_for_each(serve: Serve) -> None:
    """Two finals of one part are two copies in the end, and are counted so from the start."""
    live = serve(owner_stored_bytes=1000)
    shared = partial(live, 300)
    later = [
        id_of(post(live, VERSION | {"Upload-Length": "200", "Upload-Concat": "partial"})) for _ in range(2)
    ]  # fmt: skip
    assert join(live, later[0], shared).status == 201
    create(live, 100)
    refused(join(live, later[1], shared), 429)
    other = live.query("SELECT id FROM uploads WHERE length = 100")[0]["id"]
    assert live.ask("DELETE", target(other), VERSION).status == 204
    assert join(live, later[1], shared).status == 201
    refused(post(live, creation(1)), 429)
    for part in later:
        assert patch(live, part, 0, video(200)).status == 204
    finals = "SELECT sum(length) AS size FROM uploads WHERE concat <> 'partial' AND status = 'complete'"
    until(lambda: live.query(finals)[0]["size"] == 1000, what="both are joined")


def test_a_repeated_creation_costs_nothing(serve: Serve) -> None:
    """In a group that is full to the last byte, a creation whose response was lost finds its upload."""
    live = serve(owner_stored_bytes=1000, owner_open_uploads=1, owner_waiting_tasks=1)
    group = Group(live, files=1)
    first = group.create(1, length=1000)
    assert group.create(1, length=1000) == first


def test_an_upload_that_was_allowed_is_never_refused(serve: Serve) -> None:
    """Whatever the limits have become: HEAD, PATCH to its end, DELETE, and a form that is sent again with its key."""
    live = serve(owner_stored_bytes=5000)
    upload, other = create(live, 1000), create(live, 1000)
    key = {"Idempotency-Key": "once"}
    answered = send_form(live, form(300), **key)
    assert answered[0] == 200
    limits = {"stored_bytes": 1, "open_bytes": 1, "open_uploads": 1, "daily_bytes": 1, "waiting_tasks": 1}
    set_limits(live, **limits)
    until(lambda: post(live, creation(1)).status == 429, what="the limits are in force")
    assert patch(live, upload, 0, video(1000)[:400]).status == 204
    assert live.ask("HEAD", target(upload), VERSION).headers["upload-offset"] == "400"
    assert patch(live, upload, 400, video(1000)[400:]).status == 204
    assert live.ask("DELETE", target(other), VERSION).status == 204
    assert send_form(live, form(300), **key) == answered


def test_the_other_engine_has_the_same_quotas(serve: Serve) -> None:
    """tuspyserver creates uploads by the same way."""
    live = serve(owner_stored_bytes=1000, tus_engine="tuspyserver")
    for length, status in ((1001, 413), (600, 201), (401, 429), (400, 201)):
        assert post(live, creation(length)).status == status, length


def test_limits_of_an_owner_go_before_the_settings(serve: Serve) -> None:
    """Within seconds, in every process: a number of its own, none at all, or the setting again."""
    live = serve(owner_stored_bytes=1000, owner_open_uploads=3)
    refused(post(live, creation(1001)), 413)
    set_limits(live, stored_bytes=0, open_uploads=1)
    until(lambda: post(live, creation(5000)).status == 201, what="a row with 0 is no limit", seconds=5)
    refused(post(live, creation(1)), 429, "1 unfinished")
    set_limits(live, stored_bytes=None, open_uploads=None)
    until(lambda: post(live, creation(1001)).status == 413, what="the setting again", seconds=5)


def set_limits(live: LiveServer, **limits: int | None) -> None:
    live.execute("DELETE FROM owners WHERE owner = 'default'")
    names, places = "".join(f", {name}" for name in limits), "".join(f", :{name}" for name in limits)
    at = "2026-01-01 00:00:00.000000"
    live.execute(f"INSERT INTO owners (owner, updated_at{names}) VALUES ('default', :at{places})", at=at, **limits)
