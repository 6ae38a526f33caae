"""creation-defer-length, checksum and concatenation over the wire: answers, bytes and rows."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import pytest

from tests.harness.http import Answer, LiveServer, chunked, request, serving
from tests.tus.client import (
    FTYP,
    MOUNT,
    OCTETS,
    VERSION,
    create,
    creation,
    head,
    id_of,
    metadata,
    patch,
    patch_headers,
    target,
    video,
)

NAME = {"Upload-Metadata": metadata(filename="clip.mp4")}
PARTIAL = {"Upload-Concat": "partial"}


@pytest.fixture(params=["sqlite", "postgresql"])
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LiveServer]:
    with serving(request, tmp_path) as server:
        yield server


@pytest.fixture
def one(tmp_path: Path) -> Iterator[LiveServer]:
    with LiveServer(tmp_path / "one") as server:
        yield server


def checksum(data: bytes, algorithm: str = "sha1") -> dict[str, str]:
    """Upload-Checksum of these bytes."""
    if algorithm == "crc32c":
        digest: bytes = google_crc32c.value(data).to_bytes(4, "big")
    else:
        digest = hashlib.new(algorithm, data).digest()
    return {"Upload-Checksum": f"{algorithm} {base64.b64encode(digest).decode()}"}


def checked(live: LiveServer, upload: str, offset: int, body: bytes, sum_of: bytes, algorithm: str = "sha1") -> Answer:
    """A PATCH whose checksum is that of `sum_of`."""
    return live.ask("PATCH", target(upload), patch_headers(offset) | checksum(sum_of, algorithm), body)


def join(live: LiveServer, *parts: str, prefix: str = MOUNT, more: dict[str, str] | None = None) -> Answer:
    """Ask for a final upload."""
    concat = "final;" + " ".join(f"{prefix}/{part}" for part in parts)
    return live.ask("POST", MOUNT, VERSION | {"Upload-Concat": concat} | NAME | (more or {}))


def part(live: LiveServer, data: bytes, have: int | None = None) -> str:
    """A partial upload with its bytes, or the first `have` of them."""
    upload = create(live, len(data), None, PARTIAL)
    sent = data if have is None else data[:have]
    answer = patch(live, upload, 0, sent)
    assert (answer.status, answer.headers["upload-offset"]) == (204, str(len(sent))), answer
    return upload


def test_options_lists_all_extensions_and_algorithms(one: LiveServer) -> None:
    """OPTIONS lists the extensions and algorithms, with commas and no spaces (rule 5)."""
    headers = one.ask("OPTIONS", MOUNT).headers
    assert headers["tus-extension"] == (
        "creation,creation-with-upload,creation-defer-length,termination,expiration,checksum,"
        "concatenation,concatenation-unfinished,checksum-trailer"
    )
    assert headers["tus-checksum-algorithm"] == "sha1,sha256,sha512,md5,crc32c"


# creation-defer-length


def test_a_deferred_length_is_set_once(live: LiveServer) -> None:
    """Bytes first, the length with a later PATCH; then it is set: the same again is harmless, another is 400."""
    data = video(300)
    answer = live.ask("POST", MOUNT, VERSION | NAME | {"Upload-Defer-Length": "1"})
    upload = id_of(answer)
    assert head(live, upload).headers["upload-defer-length"] == "1"
    assert "upload-length" not in head(live, upload).headers
    assert patch(live, upload, 0, data[:100]).status == 204
    answer = live.ask("PATCH", target(upload), patch_headers(100) | {"Upload-Length": "300"}, data[100:200])
    assert (answer.status, answer.headers["upload-offset"]) == (204, "200")
    shown = head(live, upload).headers
    assert (shown["upload-length"], "upload-defer-length" in shown) == ("300", False)
    again = live.ask("PATCH", target(upload), patch_headers(200) | {"Upload-Length": "301"}, data[200:])
    assert (again.status, again.code) == (400, "header_invalid")
    assert live.stored(upload) == data[:200]
    last = live.ask("PATCH", target(upload), patch_headers(200) | {"Upload-Length": "300"}, data[200:])
    assert (last.status, last.headers["upload-task"]) == (204, upload)
    assert live.stored(upload) == data


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Upload-Defer-Length": "0"}, "header_invalid"),
        ({"Upload-Defer-Length": "1", "Upload-Length": "5"}, "header_invalid"),
        ({}, "header_missing"),
    ],
)
def test_a_creation_has_a_length_or_defers_it(one: LiveServer, headers: dict[str, str], code: str) -> None:
    """Neither both nor none nor anything but 1."""
    answer = one.ask("POST", MOUNT, VERSION | NAME | headers)
    assert (answer.status, answer.code) == (400, code)
    assert one.query("SELECT id FROM uploads") == []


def test_a_deferred_length_must_fit_the_bytes(tmp_path: Path) -> None:
    """Less than is there is 400, more than the limit 413, a body beyond it 413; nothing is changed by them."""
    with LiveServer(tmp_path / "one", tus_max_size=1000) as live:
        upload = id_of(live.ask("POST", MOUNT, VERSION | NAME | {"Upload-Defer-Length": "1"}))
        data = video(100)
        assert patch(live, upload, 0, data).status == 204
        for length, body, status in (("99", b"", 400), ("1001", b"", 413), ("101", b"xx", 413)):
            answer = live.ask("PATCH", target(upload), patch_headers(100) | {"Upload-Length": length}, body)
            assert answer.status == status, answer
            assert head(live, upload).headers["upload-defer-length"] == "1"
        assert patch(live, upload, 100, b"x" * 901).status == 413
        assert live.stored(upload) == data
        end = live.ask("PATCH", target(upload), patch_headers(100) | {"Upload-Length": "100"}, b"")
        assert (end.status, end.headers["upload-task"]) == (204, upload)


# checksum


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512", "md5", "crc32c"])
def test_a_wrong_checksum_is_460_and_changes_nothing(one: LiveServer, algorithm: str) -> None:
    """Right: stored. Wrong: 460, and offset, file and row are as before (rule 12)."""
    data = video(3000)
    upload = create(one, 3000)
    assert checked(one, upload, 0, data[:1000], data[:1000], algorithm).status == 204
    wrong = checked(one, upload, 1000, data[1000:2000], data[1001:2001], algorithm)
    assert (wrong.status, wrong.code) == (460, "checksum_mismatch")
    assert "upload-offset" not in wrong.headers
    assert head(one, upload).headers["upload-offset"] == "1000"
    assert one.stored(upload) == data[:1000]
    assert checked(one, upload, 1000, data[1000:], data[1000:], algorithm).headers["upload-task"] == upload
    assert one.stored(upload) == data


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("sha3 AAAA", "checksum_unsupported"),
        ("sha1", "header_invalid"),
        ("sha1 !!!", "header_invalid"),
        ("", "header_invalid"),
    ],
)
def test_an_unusable_checksum_is_400(one: LiveServer, value: str, code: str) -> None:
    """400 before a byte is stored."""
    upload = create(one, 3000)
    answer = one.ask("PATCH", target(upload), patch_headers(0) | {"Upload-Checksum": value}, video(100))
    assert (answer.status, answer.code) == (400, code)
    assert one.stored(upload) == b""


def test_the_body_of_a_creation_is_checked(one: LiveServer) -> None:
    """The body of a POST is checked too; a wrong one leaves an empty upload whose place is told."""
    data = video(100)
    good = one.ask("POST", MOUNT, creation(100) | {"Content-Type": OCTETS} | checksum(data), data)
    assert (good.status, good.headers["upload-offset"]) == (201, "100")
    bad = one.ask("POST", MOUNT, creation(100) | {"Content-Type": OCTETS} | checksum(b"x"), data)
    assert (bad.status, bad.code) == (460, "checksum_mismatch")
    assert one.stored(id_of(bad)) == b""


def test_an_interrupted_checked_chunk_is_discarded(live: LiveServer) -> None:
    """Cut in the middle, nothing of the chunk stays; without a checksum what came would have stayed."""
    data = video(400_000)
    upload = create(live, len(data))
    assert patch(live, upload, 0, data[:1000]).status == 204
    with live.connect() as connection:
        headers = patch_headers(1000) | checksum(data[1000:]) | {"Content-Length": str(len(data) - 1000)}
        connection.send(request("PATCH", target(upload), headers) + data[1000:300_000])
        connection.reset()
    assert head(live, upload).headers["upload-offset"] == "1000"
    assert live.stored(upload) == data[:1000]
    assert live.row(upload)["checked_from"] is None


def test_a_checked_chunk_is_discarded_after_a_kill(live: LiveServer) -> None:
    """Rows and file as a kill -9 in a checked append leaves them: the next request finds the old offset."""
    data = video(3000)
    upload = create(live, 3000)
    assert patch(live, upload, 0, data[:1000]).status == 204
    live.execute("UPDATE uploads SET checked_from = 1000 WHERE id = :id", id=upload)
    with live.path(upload).open("ab") as file:
        file.write(b"never checked")
    assert patch(live, upload, 1000, data[1000:2000]).headers["upload-offset"] == "2000"
    assert live.stored(upload) == data[:2000]


def test_a_chunked_body_is_checked_at_its_end(one: LiveServer) -> None:
    """Without a Content-Length the bytes are checked at the end of the body."""
    data = video(3000)
    upload = create(one, 3000)
    for sum_of, status, kept in ((b"x", 460, b""), (data, 204, data)):
        headers = patch_headers(0) | checksum(sum_of) | {"Transfer-Encoding": "chunked"}
        with one.connect() as connection:
            connection.send(request("PATCH", target(upload), headers) + chunked([data[:1000], data[1000:]]))
            assert connection.answer().status == status
        assert one.stored(upload) == kept


# concatenation


@pytest.mark.parametrize("prefix", [MOUNT, "http://127.0.0.1/files", "https://elsewhere.example/x/files"])
def test_parts_are_joined_in_order_into_one_task(live: LiveServer, prefix: str) -> None:
    """Three parts, by paths (aiotus) or URLs (tus-js-client): their bytes in order, one task, parts gone (rule 9)."""
    data = video(3000)
    parts = [part(live, data[:1000]), part(live, data[1000:1500]), part(live, data[1500:])]
    for upload in parts:
        shown = head(live, upload).headers
        assert (shown["upload-concat"], "upload-task" in shown) == ("partial", False)
    made = join(live, *parts, prefix=prefix)
    assert (made.status, made.headers["upload-offset"]) == (201, "3000"), made
    final = id_of(made)
    assert made.headers["upload-task"] == final
    assert live.stored(final) == data
    shown = head(live, final).headers
    assert shown["upload-length"] == shown["upload-offset"] == "3000"
    assert shown["upload-concat"] == "final;" + " ".join(f"{prefix}/{upload}" for upload in parts)
    assert [head(live, upload).status for upload in parts] == [410, 410, 410]
    assert live.files() == [live.path(final)]
    assert [row["id"] for row in live.query("SELECT id FROM tasks")] == [final]


def test_a_final_may_come_before_its_parts_are_whole(live: LiveServer) -> None:
    """concatenation-unfinished: HEAD has no Upload-Offset until the last part is there; then it is joined by itself."""
    data = video(2000)
    first, second = part(live, data[:1000], 400), part(live, data[1000:], 1)
    made = join(live, first, second)
    final = id_of(made)
    assert (made.status, made.headers["upload-offset"]) == (201, "0")
    shown = head(live, final).headers
    assert ("upload-offset" in shown, shown["upload-length"]) == (False, "2000")
    assert patch(live, second, 1, data[1001:]).status == 204
    assert "upload-offset" not in head(live, final).headers
    assert patch(live, first, 400, data[400:1000]).status == 204
    assert head(live, final).headers["upload-task"] == final
    assert live.stored(final) == data


def test_a_part_may_be_in_several_finals(one: LiveServer) -> None:
    """In a final, and in another one that waits: nobody loses bytes."""
    data = video(1000)
    first, open_part = part(one, data), part(one, b"y" * 10, 1)
    waiting = id_of(join(one, first, open_part))
    whole = id_of(join(one, first))
    assert one.stored(whole) == data
    assert head(one, first).status == 200, "the other final wants it"
    assert patch(one, open_part, 1, b"y" * 9).status == 204
    assert head(one, waiting).headers["upload-offset"] == "1010"
    assert one.stored(waiting) == data + b"y" * 10
    assert one.stored(whole) == data
    assert [head(one, upload).status for upload in (first, open_part)] == [410, 410]


def test_only_the_final_is_checked_for_its_type(one: LiveServer) -> None:
    """Rule 17: parts are exempt from the type check, also by name; the final is not, and its parts stay."""
    parts = [part(one, b"no video " * 20), part(one, video(100))]
    refused = join(one, *parts)
    assert (refused.status, refused.code) == (415, "media_type_mismatch")
    assert [head(one, upload).status for upload in parts] == [200, 200]
    split = [part(one, FTYP[:7]), part(one, FTYP[7:] + b"x" * 100)]
    assert join(one, *split).status == 201


@pytest.mark.parametrize(
    ("concat", "more", "status", "code"),
    [
        ("final;/files/00000000-0000-4000-8000-000000000000", {}, 400, "part_invalid"),
        ("final;/files/../../etc/passwd", {}, 400, "header_invalid"),
        ("final;", {}, 400, "header_invalid"),
        ("finally", {}, 400, "header_invalid"),
        ("final;{part}", {"Upload-Length": "10"}, 400, "header_invalid"),
        ("final;{part}", {"Upload-Defer-Length": "1"}, 400, "header_invalid"),
        ("final;{plain}", {}, 400, "part_invalid"),
        ("final;{part} {plain}", {}, 400, "part_invalid"),
        ("final;{part} {part}", {}, 400, "part_repeated"),
        ("final;{part} https://elsewhere.example{part}", {}, 400, "part_repeated"),
    ],
)
def test_an_invalid_final_is_refused(
    one: LiveServer, concat: str, more: dict[str, str], status: int, code: str
) -> None:
    """Unknown, foreign or malformed parts and a length of its own are refused, and nothing is made."""
    known = {"part": f"/files/{part(one, video(100))}", "plain": f"/files/{create(one, 100)}"}
    before = one.query("SELECT id FROM uploads ORDER BY id")
    answer = one.ask("POST", MOUNT, VERSION | NAME | {"Upload-Concat": concat.format(**known)} | more)
    assert (answer.status, answer.code) == (status, code)
    assert one.query("SELECT id FROM uploads ORDER BY id") == before


def test_a_patch_on_a_final_is_403(one: LiveServer) -> None:
    """PATCH on a final is 403, joined or not; on a part it may bear Upload-Concat: partial."""
    data = video(200)
    first, second = part(one, data[:100]), part(one, data[100:], 1)
    final = id_of(join(one, first, second))
    assert (patch(one, final, 0, b"x").status, patch(one, final, 0, b"").code) == (403, "upload_final")
    answer = one.ask("PATCH", target(second), patch_headers(1) | PARTIAL, data[101:])
    assert answer.status == 204
    assert patch(one, final, 200, b"").status == 403
    assert one.stored(final) == data


def test_the_size_limit_holds_for_the_final(tmp_path: Path) -> None:
    """The limit holds for the whole, not only for each part."""
    with LiveServer(tmp_path / "one", tus_max_size=150) as live:
        parts = [part(live, video(100)), part(live, b"x" * 100)]
        answer = join(live, *parts)
        assert (answer.status, answer.code) == (413, "upload_too_large")
