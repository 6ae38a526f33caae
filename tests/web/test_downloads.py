"""GET on a complete upload over real sockets: its bytes, its name, and who may not have it."""

import contextlib
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from structlog.testing import capture_logs

from server.tus.protocol import Facts
from server.web import downloads
from tests.harness.http import Answer, Connection, LiveServer, Loop, request, serving
from tests.harness.waiting import PATIENCE
from tests.tus.client import MOUNT, VERSION, create, creation, filled, head, id_of, patch, target, video

SIZE = 1000
DATA = video(SIZE)
UNKNOWN = "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"


@contextlib.contextmanager
def clean_log(caplog: pytest.LogCaptureFixture) -> Iterator[list[Any]]:
    """Whatever was asked for meanwhile, nobody finds a traceback in the log; its lines, for who expects one."""
    with capture_logs() as lines:
        yield lines
    assert not [line for line in lines if line["log_level"] in ("error", "critical") or line.get("exc_info")]
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]


@pytest.fixture(autouse=True)
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[Any]]:
    with clean_log(caplog) as lines:
        yield lines


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with serving(request, tmp_path_factory.mktemp("live"), downloads="on") as made:
        yield made


WAYS: list[tuple[str, Loop]] = [(http, loop) for http in ("videodock", "portable") for loop in ("asyncio", "uvloop")]
"""From the file into the socket, and through ASGI, on both loops."""


@pytest.fixture(scope="module", params=WAYS, ids="-".join)
def one(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    http, loop = request.param
    settings = {"downloads": "on", "cors_origins": "https://a.example", "http": http}
    with LiveServer(tmp_path_factory.mktemp("one"), loop=loop, **settings) as made:
        yield made


@pytest.fixture(scope="module")
def off(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with LiveServer(tmp_path_factory.mktemp("off")) as made:
        yield made


@pytest.fixture(scope="module")
def whole(one: LiveServer) -> str:
    """A complete upload of `DATA`."""
    return filled(one, SIZE, SIZE)[0]


def get(live: LiveServer, upload: str, headers: Mapping[str, str] | None = None) -> Answer:
    """One GET on a connection of its own, without Tus-Resumable."""
    return live.ask("GET", target(upload), headers or {})


def refusal(answer: Answer) -> tuple[int, str]:
    """Status and code, of an answer that must give nothing away."""
    assert not {"etag", "content-disposition", "content-range", "upload-offset"} & set(answer.headers)
    assert answer.headers["cache-control"] == "no-store"
    return answer.status, answer.code


def stop_task(live: LiveServer, upload: str) -> None:
    """Let nobody need the upload any more."""
    live.execute("UPDATE tasks SET status = 'completed' WHERE id = :id", id=upload)


def test_a_download_has_every_byte_and_safe_headers(live: LiveServer) -> None:
    """Every byte, with what a browser needs to keep it safely; HEAD by tus stays the one of tus."""
    upload, data = filled(live, 300_000, 300_000)
    answer = get(live, upload)
    assert (answer.status, answer.body) == (200, data)
    shown = answer.headers
    assert (shown["content-type"], shown["content-length"]) == ("video/mp4", "300000")
    assert shown["content-disposition"] == 'attachment; filename="clip.mp4"'
    assert (shown["x-content-type-options"], shown["accept-ranges"]) == ("nosniff", "bytes")
    assert shown["cache-control"] == "private, no-cache"
    assert re.fullmatch(rf'"{upload}-[0-9a-f]+-[0-9a-f]+"', shown["etag"])
    assert parsedate_to_datetime(shown["last-modified"]).tzinfo is not None
    assert (shown["tus-resumable"], shown["access-control-allow-origin"]) == ("1.0.0", "*")
    assert "upload-offset" not in shown
    assert get(live, upload).headers["etag"] == shown["etag"]

    looked = head(live, upload)
    assert (looked.status, looked.headers["upload-offset"]) == (200, "300000")
    assert looked.headers["cache-control"] == "no-store"
    # A length here would be the one of the GET.
    assert not {"etag", "accept-ranges", "content-disposition", "content-length"} & set(looked.headers)


def test_head_without_tus_describes_the_download(one: LiveServer, off: LiveServer, whole: str) -> None:
    """HEAD without Tus-Resumable is the head of the GET, for `curl -I` and players; not where GET is refused."""
    shown = get(one, whole)
    for headers in ({}, {"Range": "bytes=0-9"}):
        looked = one.ask("HEAD", target(whole), headers)
        assert (looked.status, looked.body) == (200, b"")
        for name in ("content-length", "content-type", "etag", "last-modified", "accept-ranges", "content-disposition"):
            assert looked.headers[name] == shown.headers[name]
    assert one.ask("HEAD", target(whole), {"If-None-Match": shown.headers["etag"]}).status == 304
    assert one.ask("HEAD", target(create(one, 5))).status == 404
    assert one.ask("HEAD", target(whole), {"Tus-Resumable": "0.2.2"}).status == 412
    hidden = one.ask("POST", target(whole), {"X-HTTP-Method-Override": "HEAD"})
    assert (hidden.status, hidden.body, hidden.headers["etag"]) == (200, b"", shown.headers["etag"])
    assert off.ask("HEAD", target(filled(off, 100, 100)[0])).status == 412


@pytest.mark.parametrize(
    ("given", "plain", "full"),
    [
        ("clip.mp4", "clip.mp4", None),
        ("my clip (1), final.mp4", "my clip (1), final.mp4", None),
        ('a"b.mp4', "a_b.mp4", None),
        ('"; filename="evil.exe";.mp4', "_; filename=_evil.exe_;.mp4", None),
        ("a\r\nSet-Cookie: a=b\r\n\r\n.mp4", "aSet-Cookie_ a=b.mp4", None),
        ("../../etc/passwd.mp4", "passwd.mp4", None),
        ("C:\\Users\\me\\clip.mp4", "clip.mp4", None),
        ("假期视频.mp4", "____.mp4", "假期视频.mp4"),
        ("été 🎬.mp4", "_t_ _.mp4", "été 🎬.mp4"),
        ("photo\u202egnp.exe.mp4", "photognp.exe.mp4", None),
        ("100%41.mp4", "100_41.mp4", "100%41.mp4"),
        ("a'b*c.mp4", "a'b_c.mp4", None),
        ("CON.mp4", "_CON.mp4", None),
        (None, "video.mp4", None),
    ],
)
def test_the_download_has_the_safe_file_name(one: LiveServer, given: str | None, plain: str, full: str | None) -> None:
    """The safe name, and no other header, whatever a client called its file; filename* where ASCII does not do."""
    upload = create(one, SIZE, given)
    assert patch(one, upload, 0, DATA).status == 204
    answer = get(one, upload)
    assert (answer.status, answer.body) == (200, DATA)
    assert "set-cookie" not in answer.headers
    shown = answer.headers["content-disposition"]
    assert shown.isascii()
    quoted, star, encoded = shown.partition("; filename*=UTF-8''")
    assert quoted == f'attachment; filename="{plain}"'
    assert (unquote(encoded) if star else None) == full


@pytest.mark.parametrize(("name", "shown"), [("page.html", "page.html"), (None, "video")])
def test_an_unknown_type_is_downloaded_as_bytes(tmp_path: Path, name: str | None, shown: str) -> None:
    """What nobody verified is bytes to save, never a page to open."""
    with LiveServer(tmp_path / "any", accept="any", downloads="on") as live:
        data = b"<script>alert(1)</script>"
        upload = create(live, len(data), name)
        assert patch(live, upload, 0, data).status == 204
        answer = get(live, upload)
        assert (answer.status, answer.body) == (200, data)
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"] == f'attachment; filename="{shown}"'
        empty = id_of(live.ask("POST", MOUNT, creation(0, "nothing.txt")))
        for asked in ("bytes=0-", "bytes=-5"):
            assert (get(live, empty, {"Range": asked}).status, get(live, empty).body) == (200, b"")


def test_downloads_are_off_by_default(off: LiveServer) -> None:
    """By default nobody gets an original, and nobody learns by trying which uploads there are."""
    complete, _ = filled(off, SIZE, SIZE)
    started, _ = filled(off, SIZE, 10)
    stop_task(off, complete)
    for upload in (complete, started, UNKNOWN):
        answer = get(off, upload, {"Range": "bytes=0-5", "If-None-Match": "*", "Accept-Language": "zh"})
        assert refusal(answer) == (403, "downloads_off")
        assert "downloads" in answer.text.partition(":")[2]
    assert off.ask("DELETE", target(complete), VERSION).status == 204
    assert refusal(get(off, complete)) == (403, "downloads_off")


def test_a_download_of_an_open_upload_is_404(live: LiveServer) -> None:
    """An upload that still lacks bytes is 404, and asking for it disturbs nobody who is sending them."""
    for have in (0, 10, SIZE - 1):
        upload, data = filled(live, SIZE, have)
        assert refusal(get(live, upload, {"Range": "bytes=0-5"})) == (404, "upload_incomplete")
        assert live.stored(upload) == data[:have]
    with live.connect() as sender:
        headers = VERSION | {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(SIZE - 1)}
        sender.send(request("PATCH", target(upload), headers | {"Content-Length": "1"}))
        assert refusal(get(live, upload)) == (404, "upload_incomplete")
        sender.send(data[-1:])
        assert sender.answer().status == 204
    assert get(live, upload).body == data


def test_a_partial_upload_is_never_downloaded(live: LiveServer) -> None:
    """A partial upload is never for download, complete or not; the final one is, once it is joined."""
    partial = {"Upload-Concat": "partial"}
    first, second = create(live, 400, None, partial), create(live, 600, None, partial)
    named = creation(0) | {"Upload-Concat": f"final;{target(first)} {target(second)}"}
    del named["Upload-Length"]
    assert patch(live, first, 0, DATA[:400]).status == 204
    final = id_of(live.ask("POST", MOUNT, named))
    assert refusal(get(live, final)) == (404, "upload_incomplete")
    for part in (first, second):
        assert refusal(get(live, part)) == (403, "upload_partial")
    assert patch(live, second, 0, DATA[400:]).status == 204
    assert head(live, final).headers["upload-offset"] == str(SIZE)
    assert (get(live, final).body, get(live, final, {"Range": "bytes=390-409"}).body) == (DATA, DATA[390:410])
    for part in (first, second):
        assert get(live, part).status in (403, 410)


def test_a_download_of_an_ended_upload_is_410(live: LiveServer) -> None:
    """Terminated, expired, rejected and lost uploads are 410, unknown ones and what is no id 404."""
    terminated, _ = filled(live, SIZE, SIZE)
    stop_task(live, terminated)
    assert live.ask("DELETE", target(terminated), VERSION).status == 204
    expired, _ = filled(live, SIZE, 10)
    live.expire(expired)
    rejected = create(live, 100)
    assert patch(live, rejected, 0, b"x" * 100).status == 415
    lost, kept = (filled(live, SIZE, SIZE)[0] for _ in range(2))
    live.path(lost).unlink()
    live.expire(kept)
    for upload in (terminated, expired, rejected, lost):
        assert refusal(get(live, upload)) == (410, "upload_gone")
    for upload in (UNKNOWN, UNKNOWN.upper(), "x", f"../{terminated}", f"{UNKNOWN}/poster.jpg", "%2e%2e%2fnode", "%00"):
        assert refusal(get(live, upload)) == (404, "upload_not_found")
    assert get(live, kept).body == DATA  # what is complete does not expire


def test_a_truncated_original_is_500(one: LiveServer, lines: list[Any]) -> None:
    """A file that is not as long as it was: 500 and a line for the operator, never bytes that are not the upload's."""
    upload, data = filled(one, SIZE, SIZE)
    one.path(upload).write_bytes(data[:-1])
    assert refusal(get(one, upload)) == (500, "internal_error")
    (line,) = (line for line in lines if line["log_level"] == "error")
    assert (line["event"], upload in str(line["exc_info"])) == ("internal_error", True)
    lines.clear()


@pytest.mark.sampled(1)
def test_a_delete_during_a_download_sends_no_other_bytes(live: LiveServer) -> None:
    """Who was reading when the upload was deleted gets every byte of it, or a cut, and never other bytes."""
    data = video(24_000_000)
    upload = create(live, len(data))
    assert patch(live, upload, 0, data).status == 204
    stop_task(live, upload)
    with live.connect() as slow, live.connect() as part:
        slow.send(request("GET", target(upload)))
        slow.readable()
        part.send(request("GET", target(upload), {"Range": "bytes=1000000-"}))
        part.readable()
        assert live.ask("DELETE", target(upload), VERSION).status == 204
        assert live.stored(upload) is None
        assert refusal(get(live, upload)) == (410, "upload_gone")
        others = [filled(live, 100_000, 100_000)[0] for _ in range(3)]  # would take the place of what was freed
        assert slow.answer().body == data
        assert part.answer().body == data[1_000_000:]
    assert all(get(live, other).body == video(100_000) for other in others)


@pytest.mark.parametrize("asked", ["", "bytes=5-9", "bytes=5-9,20-29"])
def test_a_file_deleted_before_the_download_opens_it_is_410(
    one: LiveServer, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """A file that goes after it was found and before it is opened is 410, not half an answer."""
    upload, _ = filled(one, SIZE, SIZE)

    def remove(facts: Facts) -> str:
        one.path(facts.id).unlink()
        return "video/mp4"

    monkeypatch.setattr(downloads, "_media_type", remove)
    with one.connect() as connection:
        answer = connection.ask("GET", target(upload), {"Range": asked, "Origin": "https://a.example"})
        assert refusal(answer) == (410, "upload_gone")
        assert answer.headers["access-control-allow-origin"] == "https://a.example"
        assert connection.ask("HEAD", target(upload), VERSION).status == 200


def test_a_client_that_leaves_a_download_harms_nobody(one: LiveServer) -> None:
    """A download that its client breaks off, by FIN or by reset, harms nobody."""
    data = video(24_000_000)
    upload = create(one, len(data))
    assert patch(one, upload, 0, data).status == 204
    for leave in ("close", "reset"):
        with one.connect() as connection:
            connection.send(request("GET", target(upload)))
            connection.readable()
            getattr(connection, leave)()
    assert get(one, upload, {"Range": "bytes=-10"}).body == data[-10:]


@pytest.mark.sampled(2)
def test_a_slow_client_gets_every_byte(one: LiveServer) -> None:
    """Who reads late gets every byte, of ranges too, and the server goes on with what waits behind."""
    data = video(24_000_000)
    upload = create(one, len(data))
    assert patch(one, upload, 0, data).status == 204
    with one.connect() as connection:
        connection.send(request("GET", target(upload)))
        connection.send(request("GET", target(upload), {"Range": "bytes=5-9999999,12000000-"}))
        connection.send(request("GET", target(upload), {"Range": "bytes=-10"}))
        connection.readable()
        time.sleep(0.3)
        assert get(one, upload, {"Range": "bytes=0-9"}).body == data[:10]
        assert connection.answer().body == data
        parts = connection.answer().body
        assert data[5:10_000_000] in parts
        assert data[12_000_000:] in parts
        assert connection.answer().body == data[-10:]
    one.quiet()


@pytest.mark.parametrize("asked", ["", "bytes=0-99", "bytes=-1", "bytes=0-9,20-29", "bytes=0-0,5-5,9-"])
def test_downloads_use_sendfile_on_our_server_only(
    one: LiveServer, whole: str, monkeypatch: pytest.MonkeyPatch, lines: list[Any], asked: str
) -> None:
    """By sendfile where the server is ours, and never elsewhere; the log has the number of bytes in any case."""
    moved = []
    real = os.sendfile

    def sendfile(out: int, file: int, offset: int, count: int) -> int:
        found = real(out, file, offset, count)
        moved.append(found)
        return found

    monkeypatch.setattr(os, "sendfile", sendfile)
    answer = get(one, whole, {"Range": asked})
    one.quiet()
    parts = re.findall(rb"Content-Range: bytes (\d+)-(\d+)/", answer.body)
    content = sum(int(last) - int(first) + 1 for first, last in parts) or len(answer.body)
    assert moved == [] if one.settings.http == "portable" else sum(moved) == content
    counted = [line["bytes_out"] for line in lines if (line.get("method"), line.get("path")) == ("GET", target(whole))]
    assert counted == [len(answer.body)]


@contextlib.contextmanager
def stopping(folder: Path, data: bytes, grace: int) -> Iterator[Connection]:
    """A connection whose download has begun, of a server that was told to stop."""
    with LiveServer(folder, downloads="on", shutdown_grace=grace) as live:
        upload = create(live, len(data))
        assert patch(live, upload, 0, data).status == 204
        connection = live.connect()
        connection.send(request("GET", target(upload)))
        connection.readable()
        live._server.should_exit = True
        yield connection


def test_a_stop_lets_a_download_end(tmp_path: Path) -> None:
    """One that is read comes whole, if it takes no longer than `shutdown_grace`."""
    data = video(24_000_000)
    with stopping(tmp_path, data, round(PATIENCE)) as reads, reads:
        assert reads.answer().body == data


def test_a_stop_cuts_off_a_download_that_is_not_read(tmp_path: Path) -> None:
    """A download that nobody reads is cut off."""
    with stopping(tmp_path, video(24_000_000), 1) as sleeps:
        pass
    with sleeps, pytest.raises(ConnectionError):
        sleeps.answer()


def test_a_connection_serves_many_downloads(one: LiveServer, whole: str) -> None:
    """Requests on one connection, pipelined too, a body that nobody wants and a method that was hidden included."""
    with one.connect() as connection:
        for asked, body in (("bytes=0-9", DATA[:10]), ("bytes=-5", DATA[-5:]), ("x", DATA)):
            assert connection.ask("GET", target(whole), {"Range": asked}).body == body
        connection.send(request("GET", target(whole)) * 2 + request("HEAD", target(whole), VERSION))
        assert connection.answer().body == connection.answer().body == DATA
        assert connection.answer(head=True).headers["upload-offset"] == str(SIZE)
        hidden = connection.ask("POST", target(whole), {"X-HTTP-Method-Override": "GET", "Range": "bytes=3-5"})
        assert (hidden.status, hidden.body) == (206, DATA[3:6])
    assert one.ask("GET", target(whole), {}, b"nobody reads this").body == DATA


def test_an_allowed_origin_may_read_ranges(one: LiveServer, whole: str) -> None:
    """A page of an allowed origin may ask for ranges and read what the answers say of them."""
    origin = {"Origin": "https://a.example"}
    preflight = one.ask("OPTIONS", target(whole), origin | {"Access-Control-Request-Method": "GET"})
    assert "GET" in preflight.headers["access-control-allow-methods"].split(", ")
    assert {"Range", "If-Range"} <= set(preflight.headers["access-control-allow-headers"].split(", "))
    for headers, status in (({}, 200), ({"Range": "bytes=0-5"}, 206), ({"If-None-Match": "*"}, 304)):
        answer = get(one, whole, origin | headers)
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == "https://a.example"
        assert answer.headers["vary"] == "Origin"
        exposed = set(answer.headers["access-control-expose-headers"].split(", "))
        assert {"Accept-Ranges", "Content-Range", "ETag", "Content-Disposition"} <= exposed
    assert "access-control-allow-origin" not in get(one, whole, {"Origin": "https://b.example"}).headers
    put = one.ask("PUT", target(whole), VERSION)
    assert (put.status, put.headers["allow"]) == (405, "OPTIONS, HEAD, GET, PATCH, DELETE")
