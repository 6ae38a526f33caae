"""Rule 17: first bytes that are no allowed video are the one refusal after bytes."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness.http import LiveServer, chunked, request, serving
from tests.tus.client import (
    MOUNT,
    OCTETS,
    VERSION,
    create,
    creation,
    head,
    patch,
    patch_headers,
    target,
    video,
)

LENGTH = 200
TEXT = b"#EXTM3U\n" + b"http://intranet/secret\n" * 20
MKV = b"\x1a\x45\xdf\xa3" + bytes(600)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with serving(request, tmp_path_factory.mktemp("live")) as made:
        yield made


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with LiveServer(tmp_path_factory.mktemp("one")) as made:
        yield made


def check_rejected(live: LiveServer, upload: str) -> None:
    """Nothing of it is stored, and every later PATCH is 415 without an offset."""
    row = live.row(upload)
    assert (row["status"], bool(row["has_bytes"])) == ("rejected", False)
    assert live.stored(upload) is None
    for offset in (0, 64, LENGTH):
        answer = patch(live, upload, offset, b"x" * (LENGTH - offset))
        assert (answer.status, answer.code) == (415, "media_type_unsupported")
        assert "upload-offset" not in answer.headers
    looked = head(live, upload)
    assert looked.status >= 400
    assert "upload-offset" not in looked.headers
    assert live.query("SELECT id FROM tasks WHERE id = :id", id=upload) == []
    assert live.locks() == []


def test_text_in_the_first_chunk_is_415(live: LiveServer) -> None:
    """Text under a video's name: 415 with the first bytes, and the client that goes on sending hears it."""
    upload = create(live, LENGTH)
    answer = patch(live, upload, 0, TEXT[:LENGTH])
    assert (answer.status, answer.code) == (415, "media_type_mismatch")
    assert "upload-offset" not in answer.headers
    check_rejected(live, upload)


def test_text_is_refused_with_its_64th_byte(one: LiveServer) -> None:
    """The answer comes with the 64th byte though megabytes were announced, and nothing was stored before."""
    upload = create(one, 10_000_000)
    with one.connect() as connection:
        headers = patch_headers(0) | {"Content-Length": "10000000"}
        connection.send(request("PATCH", target(upload), headers) + TEXT[:64])
        answer = connection.answer()
    assert (answer.status, answer.code) == (415, "media_type_mismatch")
    assert one.stored(upload) is None
    assert one.row(upload)["status"] == "rejected"


def test_text_in_one_byte_patches_is_refused_with_its_64th_byte(live: LiveServer) -> None:
    """First bytes that come one PATCH each are judged with the 64th; until then they are kept."""
    upload = create(live, LENGTH)
    for offset in range(63):
        answer = patch(live, upload, offset, TEXT[offset : offset + 1])
        assert (answer.status, answer.headers["upload-offset"]) == (204, str(offset + 1))
    assert live.stored(upload) == TEXT[:63]
    answer = patch(live, upload, 63, TEXT[63:64])
    assert (answer.status, answer.code) == (415, "media_type_mismatch")
    check_rejected(live, upload)


def test_a_video_in_one_byte_patches_is_accepted(one: LiveServer) -> None:
    """The counterpart: a video that comes so is taken, and its type is in its row soon after the 64th byte."""
    data = video(70)
    upload = create(one, 70)
    for offset in range(70):
        if offset == 63:
            one.wait_until_received(upload, 63)
            assert one.row(upload)["media_type"] is None
        if offset == 69:
            one.wait_until_received(upload, 69)
            assert one.row(upload)["media_type"] == "mp4"
        assert patch(one, upload, offset, data[offset : offset + 1]).status == 204
    assert one.stored(upload) == data


def test_text_in_a_creation_is_415(live: LiveServer) -> None:
    """The same for the body of a POST; there is no Location to go on at."""
    answer = live.ask("POST", MOUNT, creation(LENGTH) | {"Content-Type": OCTETS}, TEXT[:100])
    assert (answer.status, answer.code) == (415, "media_type_mismatch")
    assert "location" not in answer.headers
    (row,) = live.query("SELECT id FROM uploads ORDER BY created_at DESC LIMIT 1")
    check_rejected(live, row["id"])


class Case(NamedTuple):
    name: str | None
    length: int
    pieces: tuple[bytes, ...]
    status: int
    type: str | None


CASES = {
    "short and a video": Case("a.mp4", 30, (video(30),), 204, "mp4"),
    "short and text": Case("a.mp4", 30, (TEXT[:30],), 415, None),
    "short, in two": Case("a.mp4", 30, (video(30)[:10], video(30)[10:]), 204, "mp4"),
    "short text, in two": Case("a.mp4", 30, (TEXT[:10], TEXT[10:30]), 415, None),
    "exactly 64": Case("a.mp4", 64, (video(64),), 204, "mp4"),
    "cut at 63": Case("a.mp4", 200, (video(200)[:63], video(200)[63:]), 204, "mp4"),
    "text, cut at 63": Case("a.mp4", 200, (TEXT[:63], TEXT[63:200]), 415, None),
    "mp4 named mov": Case("a.mov", 200, (video(200),), 204, "mov"),
    "mkv named mp4": Case("a.mp4", 200, (MKV[:200],), 415, None),
    "mp4 named mkv": Case("a.mkv", 200, (video(200),), 415, None),
    "no name, a video": Case(None, 200, (MKV[:200],), 204, "mkv"),
    "no name, text": Case(None, 200, (TEXT[:200],), 415, None),
}


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("how", ["length", "chunked"])
def test_the_type_is_decided_by_name_and_first_bytes(one: LiveServer, kind: str, how: str) -> None:
    """Name and bytes must agree; without a name the bytes decide; an upload shorter than 64 bytes by all it has."""
    case = CASES[kind]
    upload = create(one, case.length, case.name)
    offset = 0
    for piece in case.pieces:
        with one.connect() as connection:
            headers = patch_headers(offset)
            if how == "length":
                connection.send(request("PATCH", target(upload), headers, piece))
            else:
                chunks = chunked([piece[at : at + 7] for at in range(0, len(piece), 7)])
                connection.send(request("PATCH", target(upload), headers | {"Transfer-Encoding": "chunked"}) + chunks)
            answer = connection.answer()
        offset += len(piece)
    assert answer.status == case.status
    assert one.row(upload)["media_type"] == case.type
    assert one.stored(upload) == (b"".join(case.pieces) if case.status == 204 else None)


WEBM = MKV[:4] + b"\x9f\x42\x86\x81\x01\x42\x82\x84webm" + MKV[16:]
STREAM = (bytes.fromhex("474000100000b00d0001c100000001f0002ab104b2") + bytes(167)) * 3


@pytest.mark.parametrize(
    ("types", "by_tus", "by_form"),
    [
        ("default", {"a.webm": "webm", "a.m4v": "m4v", "a.ts": None, "a.mp4": "mp4"}, {"a.webm": None, "a.mp4": "mp4"}),
        ("default,mts", {"a.webm": "webm", "a.m2ts": "ts"}, {"a.webm": None, "a.ts": "ts"}),
        ("mp4,webm", {"a.webm": "webm", "a.mkv": None, "a.m4v": None}, {"a.webm": "webm", "a.mov": None}),
    ],
)
def test_accept_types_decides_what_is_accepted(
    tmp_path: Path, types: str, by_tus: dict[str, str | None], by_form: dict[str, str | None]
) -> None:
    """WebM and M4V come in by tus; the documented form keeps its seven; a list holds for both and is told in full."""
    data = {"webm": WEBM, "mkv": MKV, "ts": STREAM, "m2ts": bytes(4) + STREAM}
    with LiveServer(tmp_path / "types", accept_types=types) as live:
        for name, kind in by_tus.items():
            content = data.get(name[2:], video(300))
            if kind is None:
                answer = live.ask("POST", MOUNT, creation(len(content), name))
                assert (answer.status, answer.code) == (415, "media_type_unsupported"), name
                assert b"webm" in answer.body
                continue
            upload = create(live, len(content), name)
            assert patch(live, upload, 0, content).status == 204, name
            assert live.row(upload)["media_type"] == kind
        for name, kind in by_form.items():
            content = data.get(name[2:], video(300))
            part = f'--B\r\nContent-Disposition: form-data; name="videos"; filename="{name}"\r\n\r\n'.encode()
            headers = {"Content-Type": "multipart/form-data; boundary=B"}
            answer = live.ask("POST", "/api/upload/videos", headers, part + content + b"\r\n--B--\r\n")
            assert answer.status == (200 if kind else 400), (name, answer.body)


def test_accept_any_accepts_any_name_and_bytes(tmp_path: Path) -> None:
    """`accept=any`: any name and any bytes; what is a video is known as one, so that it is processed."""
    with LiveServer(tmp_path / "any", accept="any") as live:
        for name, data, kind in (
            ("a.txt", TEXT, None),
            ("a.mp4", TEXT, None),
            (None, TEXT, None),
            ("b.mkv", MKV, "mkv"),
        ):
            upload = create(live, len(data), name)
            assert patch(live, upload, 0, data).headers["upload-task"] == upload
            assert live.stored(upload) == data
            assert live.row(upload)["media_type"] == kind
        upload = create(live, 0, "empty")
        assert head(live, upload).headers["upload-task"] == upload


def test_a_rejected_upload_can_be_removed(one: LiveServer) -> None:
    """DELETE of a rejected upload says that it is gone, one way or the other, and the row stays rejected."""
    answer = one.ask("POST", MOUNT, creation(LENGTH) | {"Content-Type": OCTETS}, TEXT[:100])
    assert answer.status == 415
    (row,) = one.query("SELECT id FROM uploads WHERE status = 'rejected' ORDER BY created_at DESC LIMIT 1")
    refused = one.ask("DELETE", target(row["id"]), VERSION)
    assert refused.status in (204, 404, 410, 415)
    assert "upload-offset" not in refused.headers
    assert one.row(row["id"])["status"] == "rejected"
