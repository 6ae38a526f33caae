"""Posters that owners choose: a frame, an own picture, or the automatic one again; what is refused changes nothing."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.web.openapi.posters import MOST_BYTES
from tests import samples
from tests.harness.http import Answer, request, serving
from tests.pipeline.pictures import Picture, is_blue, is_red
from tests.tus.client import MOUNT, VERSION, metadata, patch_headers
from tests.web.owned import Owned

UNKNOWN = "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def owned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owned]:
    with serving(request, tmp_path_factory.mktemp("posters"), auth="on") as live:
        yield Owned(live)


@pytest.fixture(scope="module")
def task(owned: Owned, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A task of a video that is black for two seconds, and then not; completed, without results."""
    film = samples.make(tmp_path_factory.mktemp("film"), "film.mp4", seconds=4, black_intro=2.0)
    return completed(owned, film.read_bytes())


def completed(owned: Owned, data: bytes) -> str:
    headers = VERSION | {"Upload-Length": str(len(data)), "Upload-Metadata": metadata(filename="film.mp4")}
    segment = owned.ask("POST", MOUNT, "ann", headers).headers["location"].rpartition("/")[2]
    assert owned.ask("PATCH", f"{MOUNT}/{segment}", "", patch_headers(0), data).status == 204
    task = segment.partition("~")[0]
    owned.set_status(task, "completed")
    sql = "UPDATE task_files SET status = 'completed', duration = 4.0 WHERE task_id = :id"
    owned.live.execute(sql, id=task)
    return task


def put(owned: Owned, task: str, kind: str, body: bytes, who: str = "ann", query: str = "") -> Answer:
    return owned.ask("PUT", f"/api/task/{task}/poster{query}", who, {"Content-Type": kind}, body)


def choose(owned: Owned, task: str, seconds: object) -> dict[str, Any]:
    """The file after a frame was chosen."""
    answer = put(owned, task, "application/json", json.dumps({"seconds": seconds}).encode())
    assert answer.status == 200, answer
    (file,) = json.loads(answer.body)["files"]
    assert isinstance(file, dict)
    return file


def poster(owned: Owned, file: dict[str, Any], folder: Path) -> Picture:
    """The poster at the URL that the status has."""
    answer = owned.live.ask("GET", "/" + file["poster_url"].partition("://")[2].partition("/")[2])
    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
    path = folder / "poster.jpg"
    path.write_bytes(answer.body)
    return Picture(path)


def is_black(picture: Picture) -> bool:
    return all(max(picture.at(x, y)) < 40 for x in (0.1, 0.5, 0.9) for y in (0.1, 0.5, 0.9))


def test_a_frame_becomes_the_poster_and_the_automatic_one_again(owned: Owned, task: str, tmp_path: Path) -> None:
    """The frame at the time that was asked for, at another URL each time; an event and the audit log know of it."""
    early = choose(owned, task, 0.5)
    assert (early["poster"], is_black(poster(owned, early, tmp_path))) == ("frame", True)
    late = choose(owned, task, 3)
    assert not is_black(poster(owned, late, tmp_path))
    assert early["poster_url"] != late["poster_url"]
    choose(owned, task, 4)  # after the last frame, the one before
    assert choose(owned, task, 0)["poster"] == "frame"
    status, content = owned.json("DELETE", f"/api/task/{task}/poster")
    (file,) = content["files"]
    assert (status, file["poster"], is_black(poster(owned, file, tmp_path))) == (200, "automatic", False)
    kinds = owned.live.query("SELECT type, data FROM task_events WHERE task_id = :id ORDER BY id", id=task)
    assert [row["type"] for row in kinds][-5:] == ["poster_changed"] * 5
    assert owned.actions()[-5:] == ["poster_changed"] * 5
    assert not list((owned.live.data_dir / "work").iterdir())


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_an_own_picture_becomes_the_poster(owned: Owned, task: str, tmp_path: Path, kind: str) -> None:
    """It is decoded and encoded anew, at most as large as the setting: what came is never served."""
    picture = tmp_path / f"own.{kind}"
    codec = {"jpeg": "mjpeg", "png": "png", "webp": "libwebp"}[kind]
    half = "color=red:size=1600x900:duration=1:rate=1,drawbox=y=ih/2:h=ih/2:color=blue:t=fill"
    extra = ("-frames:v", "1", "-c:v", codec, *(("-f", "mjpeg") if kind == "jpeg" else ()))
    samples.run("-f", "lavfi", "-i", half, *extra, str(picture))
    data = picture.read_bytes() + b"<script>alert(1)</script>"
    answer = put(owned, task, f"image/{kind}", data)
    assert answer.status == 200, answer
    (file,) = json.loads(answer.body)["files"]
    assert file["poster"] == "picture"
    shown = poster(owned, file, tmp_path)
    assert (shown.width, shown.height) == (1280, 720)
    assert is_red(shown.at(0.5, 0.2))
    assert is_blue(shown.at(0.5, 0.8))
    assert b"script" not in (tmp_path / "poster.jpg").read_bytes()


def test_a_picture_is_turned_as_its_camera_says(owned: Owned, task: str, tmp_path: Path) -> None:
    """Exif's orientation of each kind, in both byte orders; damaged data are ignored."""
    picture = tmp_path / "own.jpg"
    half = "color=red:size=160x90:duration=1:rate=1,drawbox=y=ih/2:h=ih/2:color=blue:t=fill"
    samples.run("-f", "lavfi", "-i", half, "-frames:v", "1", "-f", "mjpeg", str(picture))
    plain = picture.read_bytes()
    # Where the red half is, which is above in the file; `<` and `>` are the byte orders.
    for value, red, order in ((3, (0.5, 0.9), "<"), (6, (0.9, 0.5), ">"), (8, (0.1, 0.5), "<"), (5, (0.1, 0.5), ">")):
        answer = put(owned, task, "image/jpeg", turned(plain, value, order))
        assert answer.status == 200, answer
        (file,) = json.loads(answer.body)["files"]
        assert is_red(poster(owned, file, tmp_path).at(*red)), value
    for damaged in (turned(plain, 6, "<")[:24] + plain[2:], turned(plain, 99, "<")):
        answer = put(owned, task, "image/jpeg", damaged)
        assert answer.status in (200, 422)


def turned(jpeg: bytes, value: int, order: str) -> bytes:
    """The JPEG with this orientation in Exif data."""
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, value, 0)
    tiff = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, 1) + entry + bytes(4)
    segment = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + jpeg[2:]


def test_what_is_refused_changes_nothing(owned: Owned, task: str) -> None:
    """Bodies that are no picture, too large, times that are none, other owners and scopes, unknown files."""
    before = owned.get(f"/api/task/status/{task}")["files"]
    path = f"/api/task/{task}/poster"
    for kind, body, expected in (
        ("image/jpeg", b"", (422, "picture_invalid")),
        ("image/jpeg", b"no picture", (422, "picture_invalid")),
        ("image/jpeg", b"\xff\xd8\xff\xe0 no picture", (422, "picture_invalid")),
        ("image/png", b"\x89PNG\r\n\x1a\n" + bytes(100), (422, "picture_invalid")),
        ("image/webp", b"RIFF\0\0\0\0WEBPVP8 ", (422, "picture_invalid")),
        ("image/gif", b"GIF89a", (415, "content_type_unsupported")),
        ("image/svg+xml", b"<svg/>", (415, "content_type_unsupported")),
        ("application/json", b'{"seconds": 4.1}', (400, "field_invalid")),
        ("application/json", b'{"seconds": -1}', (400, "field_invalid")),
        ("application/json", b'{"seconds": 1e400}', (400, "field_invalid")),
        ("application/json", b'{"seconds": NaN}', (400, "field_invalid")),
        ("application/json", b'{"seconds": true}', (400, "field_invalid")),
        ("application/json", b'{"seconds": 1, "more": 1}', (400, "field_invalid")),
        ("application/json", b"{}", (400, "field_invalid")),
        ("application/json", b"[1]", (400, "field_invalid")),
    ):
        answer = put(owned, task, kind, body)
        assert (answer.status, json.loads(answer.body)["code"]) == expected, (kind, body[:40])
    with owned.live.connect() as connection:  # before a byte of it is sent
        headers = {"Authorization": f"Bearer {owned.key('ann')}", "Content-Type": "image/jpeg"}
        connection.send(request("PUT", path, headers | {"Content-Length": str(MOST_BYTES + 1)}))
        answer = connection.answer()
        assert (answer.status, json.loads(answer.body)["code"]) == (413, "body_too_large")
    good = b'{"seconds": 1}'
    for who, query, status in (
        ("bob", "", 404),
        ("ann:read", "", 403),
        ("", "", 401),
        ("ann", f"?file={UNKNOWN}", 404),
    ):
        assert put(owned, task, "application/json", good, who, query).status == status
    assert put(owned, task, "application/json", good, "ann", "?file=x").status == 404
    assert owned.refused("DELETE", path, "bob") == (404, "task_not_found")
    assert owned.refused("DELETE", f"/api/task/{UNKNOWN}/poster") == (404, "task_not_found")
    assert owned.refused("GET", path) == (405, "method_not_allowed")
    assert owned.get(f"/api/task/status/{task}")["files"] == before


def test_only_a_ready_video_gets_a_poster(owned: Owned) -> None:
    """A waiting, a failed and a deleted video are refused; so is one of which no frame can be had."""
    waiting = owned.task()
    good = b'{"seconds": 1}'
    answer = put(owned, waiting, "application/json", good)
    assert (answer.status, json.loads(answer.body)["code"]) == (409, "poster_not_ready")
    owned.live.execute("UPDATE task_files SET status = 'error' WHERE task_id = :id", id=waiting)
    assert put(owned, waiting, "application/json", good).status == 409
    owned.live.execute("UPDATE task_files SET status = 'completed' WHERE task_id = :id", id=waiting)
    answer = put(owned, waiting, "application/json", good)  # noise
    assert (answer.status, json.loads(answer.body)["code"]) == (422, "frame_unavailable")
    assert owned.json("DELETE", f"/api/task/{waiting}?cancel=1")[0] == 200
    answer = put(owned, waiting, "application/json", good)
    assert (answer.status, json.loads(answer.body)["code"]) == (410, "task_gone")
