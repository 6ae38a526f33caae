"""The upload page in Chromium, used as a person uses it, against a real server."""

import http.client
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from server import media_types
from server.messages import Language, sentence
from tests.conftest import StartServer
from tests.harness.arrival import check_arrived
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.gate import Gate
from tests.harness.node import Event, NodeClient
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.samples import big, make

pytestmark = pytest.mark.acceptance

MIB = 1 << 20
PREFIX = "/video"


def use(folder: Path, url: str, *steps: list[object], locale: str = "en-GB", troubled: bool = False) -> list[Event]:
    """Open the page and take `steps` there; all events, checked."""
    with browser(folder, url, *steps, locale=locale) as client:
        events = client.finish(seconds=150)
    check_quiet(events, url, troubled=troubled)
    return events


def browser(folder: Path, url: str, *steps: list[object], locale: str = "en-GB") -> NodeClient:
    """Chromium on the page, taking `steps`."""
    chromium = shutil.which("chromium")
    assert chromium, "Chromium is not installed; `make test` installs it"
    return NodeClient("page.mjs", folder, chromium=chromium, url=f"{url}/", locale=locale, steps=steps)


def check_quiet(events: list[Event], url: str, *, troubled: bool = False) -> None:
    """No error, nothing against the policy, no other origin.

    Only with `troubled` may requests fail: the browser itself writes those to the console.
    """
    assert not [event for event in events if event["event"] == "pageerror"]
    said = [event["text"] for event in events if event["event"] == "console"]
    assert [text for text in said if not (troubled and text.startswith("Failed to load resource"))] == []
    elsewhere = [event["url"] for event in events if "url" in event and not event["url"].startswith((url, "data:"))]
    assert elsewhere == [], "the page asked another origin"


def look(events: list[Event], label: str) -> Event:
    """What was to be seen at that step."""
    (found,) = [event for event in events if event["event"] == "look" and event["label"] == label]
    return found


def row(events: list[Event], label: str) -> dict[str, Any]:
    """The only row at that step."""
    (found,) = look(events, label)["rows"]
    assert isinstance(found, dict)
    return found


def requests(events: list[Event], method: str) -> list[Event]:
    return [event for event in events if event["event"] == "request" and event["method"] == method]


def uploads(server: ServerProcess) -> dict[str, str]:
    """Ids of all uploads, by name."""
    return {found["filename"]: found["id"] for found in query(server.database_url, "SELECT id, filename FROM uploads")}


def check_continued(events: list[Event]) -> None:
    """The upload was interrupted: asked for once, and continued at the offset that the server then told."""
    assert len(requests(events, "POST")) == 1
    (asked,) = [event for event in events if event["event"] == "response" and event["method"] == "HEAD"][-1:]
    assert asked["status"] == 200
    assert asked["offset"] > 0
    later = events[events.index(asked) :]
    assert requests(later, "PATCH")[0]["offset"] == asked["offset"]


def test_videos_are_uploaded_and_shown_with_their_posters(server: ServerProcess, tmp_path: Path) -> None:
    """Chosen by keyboard or dropped, a video arrives byte for byte and ends with poster, duration and codecs."""
    chosen = make(tmp_path, "假期 one.mp4", size="640x360", seconds=3)
    dropped = make(tmp_path, "two.mov", size="240x320", audio=False)
    events = use(
        tmp_path,
        server.url,
        ["look", "empty"],
        ["choose", str(chosen)],
        ["drop", str(dropped)],
        ["until", "done", 2],
        ["visible", ".row:nth-child(1) img"],
        ["visible", ".row:nth-child(2) img"],
        ["look", "end"],
    )
    assert "MP4, MOV, AVI, MKV, WMV, FLV and 3GP are accepted, up to 10 GB each." in look(events, "empty")["text"]
    ids = uploads(server)
    for source in (chosen, dropped):
        check_arrived(server, f"{server.url}/files/{ids[source.name]}", source)
    one, two = look(events, "end")["rows"]
    assert [(one["name"], one["line"]), (two["name"], two["line"])] == [
        (chosen.name, "0:03 · 640 × 360 · 25 fps · H.264 · AAC"),
        (dropped.name, "0:02 · 240 × 320 · 25 fps · H.264 · no sound"),
    ]
    assert one["poster"]["width"] > one["poster"]["height"] > 0
    assert two["poster"]["height"] > two["poster"]["width"] > 0
    assert one["buttons"] == [f"Remove from list: {chosen.name}"]


def test_pause_and_resume_keep_the_bytes(server: ServerProcess, tmp_path: Path) -> None:
    """A paused upload sends nothing, keeps what arrived, and continues there to the same SHA-256."""
    video = big(tmp_path, "long.mp4", 24 * MIB)
    events = use(
        tmp_path,
        server.url,
        ["throttle", 5 * MIB],
        ["choose", str(video)],
        ["percent", 40],
        ["click", ".row .main"],
        ["until", "paused"],
        ["wait", 1500],
        ["look", "paused"],
        ["wait", 1500],
        ["look", "still paused"],
        ["throttle", 0],
        ["click", ".row .main"],
        ["until", "done"],
    )
    paused = row(events, "paused")
    assert paused["line"].startswith("Paused at ")
    assert paused["buttons"] == [f"Resume: {video.name}", f"Remove: {video.name}"]
    marks = [events.index(look(events, label)) for label in ("paused", "still paused")]
    assert not [event for event in events[marks[0] : marks[1]] if event["event"] == "request"]
    check_continued(events)
    check_arrived(server, f"{server.url}/files/{uploads(server)[video.name]}", video)


def test_after_a_reload_the_file_is_chosen_again_and_continues(server: ServerProcess, tmp_path: Path) -> None:
    """A reload in the middle leaves a row that asks for the file; chosen again, the same upload goes on."""
    video = big(tmp_path, "long.mp4", 24 * MIB)
    other = make(tmp_path, "other.mp4")
    events = use(
        tmp_path,
        server.url,
        ["throttle", 5 * MIB],
        ["choose", str(video)],
        ["percent", 40],
        ["reload"],
        ["until", "unchosen"],
        ["wait", 500],
        ["look", "after reload"],
        ["throttle", 0],
        ["choose", str(video)],
        ["until", "done"],
        ["look", "end"],
        ["reload"],
        ["until", "done"],
        ["choose", str(other)],
        ["until", "done", 2],
    )
    waiting = row(events, "after reload")
    assert waiting["percent"] > 0
    assert waiting["line"].endswith("% uploaded; choose the file again to continue")
    assert waiting["buttons"][0] == f"Choose file: {video.name}"
    check_continued(events[: events.index(look(events, "end"))])
    assert len(requests(events, "POST")) == 2, "one upload for each file"
    ids = uploads(server)
    for source in (video, other):
        check_arrived(server, f"{server.url}/files/{ids[source.name]}", source)


def test_an_upload_that_the_server_lost_starts_anew(server: ServerProcess, tmp_path: Path) -> None:
    """When the upload is gone (410), the page makes a new one and sends the file from its start."""
    video = big(tmp_path, "long.mp4", 24 * MIB)
    events = use(
        tmp_path,
        server.url,
        ["throttle", 5 * MIB],
        ["choose", str(video)],
        ["percent", 20],
        ["click", ".row .main"],
        ["until", "paused"],
        ["lose"],
        ["throttle", 0],
        ["click", ".row .main"],
        ["until", "done"],
        troubled=True,
    )
    assert len(requests(events, "POST")) == 2
    rows = query(server.database_url, "SELECT id, status FROM uploads ORDER BY status")
    assert [found["status"] for found in rows] == ["complete", "terminated"]
    check_arrived(server, f"{server.url}/files/{rows[0]['id']}", video)


def test_a_wrong_offset_is_corrected_by_the_answer(server: ServerProcess, tmp_path: Path) -> None:
    """A 409 tells the true offset, and the page goes on there without asking."""
    video = big(tmp_path, "long.mp4", 12 * MIB)
    events = use(
        tmp_path,
        server.url,
        ["throttle", 5 * MIB],
        ["choose", str(video)],
        ["percent", 10],
        ["confuse"],
        ["throttle", 0],
        ["until", "done"],
        troubled=True,
    )
    refused = [event for event in events if event["event"] == "response" and event["status"] == 409]
    assert [event["offset"] for event in refused] == [MIB // 4 + 8 * MIB]
    assert requests(events, "HEAD") == []
    check_arrived(server, f"{server.url}/files/{uploads(server)[video.name]}", video)


@pytest.mark.parametrize(
    ("locale", "told"), [("en-GB", "Not now. Trying again in 3 s"), ("zh-CN", "Not now。3 秒后重试")]
)
def test_a_busy_server_is_told_and_waited_for(server: ServerProcess, tmp_path: Path, locale: str, told: str) -> None:
    """After a 503 the row tells the server's sentence and waits as long as Retry-After says."""
    video = big(tmp_path, "long.mp4", 12 * MIB)
    events = use(
        tmp_path,
        server.url,
        ["throttle", 5 * MIB],
        ["choose", str(video)],
        ["percent", 10],
        ["busy", "unavailable: Not now\n", 3],
        ["until", "retrying"],
        ["look", "busy"],
        ["until", "done"],
        locale=locale,
        troubled=True,
    )
    assert row(events, "busy")["line"] == told
    check_continued(events)
    check_arrived(server, f"{server.url}/files/{uploads(server)[video.name]}", video)


def test_broken_connections_are_survived(server: ServerProcess, tmp_path: Path) -> None:
    """Cut twice, with or without the browser's own second try, one upload arrives whole."""
    video = big(tmp_path, "long.mp4", 12 * MIB)
    with CuttingProxy(server.port, cuts=[3 * MIB, 7 * MIB]) as proxy:
        events = use(tmp_path, proxy.url, ["choose", str(video)], ["until", "done"], troubled=True)
        assert proxy.cut_count == 2
    assert len(requests(events, "POST")) == 1
    check_arrived(server, f"{server.url}/files/{uploads(server)[video.name]}", video)


def test_a_server_that_dies_is_told_and_waited_for(server: ServerProcess, tmp_path: Path) -> None:
    """While the server is away the row counts down to the next try; once it is back, the upload goes on."""
    video = big(tmp_path, "long.mp4", 24 * MIB)
    steps: list[list[object]] = [
        ["throttle", 5 * MIB],
        ["choose", str(video)],
        ["percent", 40],
        ["look", "before"],
        ["until", "retrying"],
        ["look", "lost"],
        ["text", "trying again in 4\u00a0s"],
        ["throttle", 0],
        ["look", "back"],
        ["until", "done"],
    ]
    with browser(tmp_path, server.url, *steps) as client:
        client.wait_for("look", where=lambda event: event["label"] == "before")
        server.kill()
        client.wait_for("look", where=lambda event: event["label"] == "back")
        server.start()
        events = client.finish()
    check_quiet(events, server.url, troubled=True)
    lost = row(events, "lost")
    assert lost["line"] == "Connection lost, trying again in 1 s"
    assert lost["buttons"] == [f"Try now: {video.name}", f"Remove: {video.name}"]
    assert look(events, "lost")["news"] == f"{video.name}: {lost['line']}".replace("1 s", "1\u00a0s")
    check_continued(events)
    check_arrived(server, f"{server.url}/files/{uploads(server)[video.name]}", video)


@pytest.mark.parametrize(("locale", "language"), [("en-GB", "en"), ("zh-CN", "zh")])
def test_a_text_named_mp4_shows_the_servers_sentence(
    server: ServerProcess, tmp_path: Path, locale: str, language: Language
) -> None:
    """A file of 20 MiB that is no video is refused in the reader's language, early, and nothing of it is kept."""
    text = tmp_path / "notes.mp4"
    text.write_bytes(b"Dear diary, today I uploaded nothing.\n" * (20 * MIB // 38))
    events = use(
        tmp_path,
        server.url,
        ["choose", str(text)],
        ["until", "failed"],
        ["look", "failed"],
        locale=locale,
        troubled=True,
    )
    assert row(events, "failed")["line"] == sentence(
        "media_type_mismatch", {"accepted": media_types.ACCEPTED}, language
    )
    assert len(requests(events, "PATCH")) == 1
    assert server.stored_files() == []


def test_a_file_over_the_limit_is_refused_unsent(start_server: StartServer, tmp_path: Path) -> None:
    """The page tells the limit beforehand, shows the server's sentence for more, and sends nothing."""
    server = start_server(tus_max_size=MIB)
    events = use(
        tmp_path,
        server.url,
        ["text", "up to 1\u00a0MB each"],
        ["choose", str(big(tmp_path, "long.mp4", 2 * MIB))],
        ["until", "failed"],
        ["look", "failed"],
        troubled=True,
    )
    assert row(events, "failed")["line"] == sentence("upload_too_large", {"limit": "1 MiB"}, "en")
    assert requests(events, "PATCH") == []


def test_a_video_that_cannot_be_played_shows_why(server: ServerProcess, tmp_path: Path) -> None:
    """What only processing finds out is told in the language of the page, after a switch in the other one."""
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + bytes(5000))
    english = sentence("not_playable", {}, "en")
    chinese = sentence("not_playable", {}, "zh")
    events = use(
        tmp_path,
        server.url,
        ["choose", str(broken)],
        ["until", "failed"],
        ["look", "english"],
        ["click", "#language"],
        ["text", chinese],
        ["look", "chinese"],
        ["reload"],
        ["text", chinese],
        ["look", "reloaded"],
    )
    assert (look(events, "english")["lang"], row(events, "english")["line"]) == ("en", english)
    for label in ("chinese", "reloaded"):
        assert (look(events, label)["lang"], row(events, label)["line"]) == ("zh-CN", chinese)
        assert "选择视频" in look(events, label)["text"]


def test_cancel_while_processing(start_server: StartServer, gate: Gate, tmp_path: Path) -> None:
    """The button in the row of a video that is being processed cancels its task."""
    server = start_server(ffmpeg=gate.path)
    video = make(tmp_path, "clip.mp4")
    events = use(
        tmp_path,
        server.url,
        ["choose", str(video)],
        ["text", "Processing"],
        ["look", "processing"],
        ["click", ".row .second"],
        ["until", "cancelled"],
    )
    assert row(events, "processing")["buttons"] == [f"Cancel: {video.name}"]
    assert server.status(uploads(server)[video.name])["status"] == "cancelled"


def test_remove_asks_again_and_deletes_the_upload(server: ServerProcess, tmp_path: Path) -> None:
    """The first press only asks; the second takes the row away and the bytes from the server."""
    video = big(tmp_path, "long.mp4", 24 * MIB)
    events = use(
        tmp_path,
        server.url,
        ["throttle", 5 * MIB],
        ["choose", str(video)],
        ["percent", 20],
        ["click", ".row .second"],
        ["look", "asked"],
        ["click", ".row .second"],
        ["wait", 1500],
        ["look", "removed"],
    )
    assert row(events, "asked")["buttons"][1] == f"Really remove?: {video.name}"
    assert look(events, "removed")["rows"] == []
    rows = query(server.database_url, "SELECT status FROM uploads")
    assert rows == [{"status": "terminated"}]
    assert server.stored_files() == []


def test_the_page_works_below_a_prefix(server: ServerProcess, tmp_path: Path) -> None:
    """Behind a proxy that publishes the server below /video, no request goes past the prefix."""
    video = make(tmp_path, "clip.mp4")
    with prefix_proxy(server.port) as origin:
        events = use(
            tmp_path,
            f"{origin}{PREFIX}",
            ["choose", str(video)],
            ["until", "done"],
            ["visible", ".row img"],
            ["look", "end"],
        )
    assert row(events, "end")["poster"]["url"].startswith(f"{origin}{PREFIX}/media/")
    check_arrived(server, f"{server.url}/files/{uploads(server)[video.name]}", video)


@contextmanager
def prefix_proxy(port: int) -> Iterator[str]:
    """A proxy that strips the prefix and names it in X-Forwarded-Prefix; its origin."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            assert urlsplit(self.path).path.startswith(f"{PREFIX}/"), self.path
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            headers = {**dict(self.headers.items()), "X-Forwarded-Prefix": PREFIX, "Connection": "close"}
            upstream.request(self.command, self.path.removeprefix(PREFIX), body, headers)
            answer = upstream.getresponse()
            content = answer.read()
            upstream.close()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                    self.send_header(name, value)
            if answer.status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PATCH = do_DELETE = do_OPTIONS = forward  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.daemon_threads = True
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}"
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join(5)
