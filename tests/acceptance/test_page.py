"""The upload page in Chromium, used as a person uses it, against a real server."""

import http.client
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import StartServer
from tests.harness.arrival import check_arrived
from tests.harness.chromium import check_continued, look, requests
from tests.harness.gate import Gate
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.upload_page import browser, row, uploads, use
from tests.harness.waiting import PATIENCE, until
from tests.samples import big, make

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # a browser and its troubles

MIB = 1 << 20
PREFIX = "/video"


@pytest.mark.turns(1)
def test_videos_are_uploaded_and_shown_with_their_posters(server: ServerProcess, tmp_path: Path) -> None:
    """Chosen by keyboard or dropped, a video arrives byte for byte and ends with poster, duration and codecs."""
    chosen = make(tmp_path, "假期 one.mp4", size="640x360", seconds=3)
    dropped = make(tmp_path, "two.mov", size="240x320", audio=False)
    events = use(
        tmp_path,
        server.url,
        ["text", "are accepted"],  # as soon as the server has told what
        ["look", "empty"],
        ["choose", str(chosen)],
        ["drop", str(dropped)],
        ["until", "done", 2],
        ["visible", ".row:nth-child(1) img"],
        ["visible", ".row:nth-child(2) img"],
        ["look", "end"],
    )
    accepted = "MP4, MOV, AVI, MKV, WMV, FLV, 3GP, WebM and M4V are accepted, up to 10 GiB each."
    assert accepted in look(events, "empty")["text"]
    ids = uploads(server)
    for source in (chosen, dropped):
        check_arrived(server, f"{server.url}/files/{ids[source.name]}", source)
    two, one = look(events, "end")["rows"]  # the newest is on top
    assert [(one["name"], one["line"]), (two["name"], two["line"])] == [
        (chosen.name, "0:03 · 640 × 360 · 25 fps · H.264 · AAC"),
        (dropped.name, "0:02 · 240 × 320 · 25 fps · H.264 · no sound"),
    ]
    assert one["poster"]["width"] > one["poster"]["height"] > 0
    assert two["poster"]["height"] > two["poster"]["width"] > 0
    assert one["buttons"] == [f"Delete: {chosen.name}"]
    assert "Uploaded. You may close this page." in look(events, "end")["text"]


def test_pause_and_resume_keep_the_bytes(server: ServerProcess, tmp_path: Path) -> None:
    """A paused upload sends nothing, keeps what arrived, and continues there to the same SHA-256."""
    video = big(tmp_path, "long.mp4", 24 * MIB)
    events = use(
        tmp_path,
        server.url,
        ["throttle", 5 * MIB],
        ["choose", str(video)],
        ["percent", 40],
        ["click", ".row .action-pause"],
        ["until", "paused"],
        ["wait", 1500],
        ["look", "paused"],
        ["wait", 1500],
        ["look", "still paused"],
        ["throttle", 0],
        ["click", ".row .action-resume"],
        ["until", "done"],
    )
    paused = row(events, "paused")
    assert paused["line"].startswith("Paused at ")
    assert paused["buttons"] == [f"Resume: {video.name}", f"Remove: {video.name}"]
    marks = [events.index(look(events, label)) for label in ("paused", "still paused")]
    assert not [event for event in events[marks[0] : marks[1]] if event["event"] == "request"]
    check_continued(events)
    check_arrived(server, f"{server.url}/files/{uploads(server)[video.name]}", video)


def test_an_upload_continues_when_its_file_is_chosen_again_after_a_reload(
    server: ServerProcess, tmp_path: Path
) -> None:
    """Where the browser keeps no file, a row asks for it after a reload; chosen again, the same upload goes on."""
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
        ["text", "choose the file again to continue"],
        ["look", "after reload"],
        ["throttle", 0],
        ["choose", str(video)],
        ["until", "done"],
        ["look", "end"],
        ["reload"],
        ["until", "done"],
        ["choose", str(other)],
        ["until", "done", 2],
        keeps=False,
    )
    waiting = row(events, "after reload")
    assert waiting["percent"] > 0
    assert waiting["line"].endswith("% uploaded; choose the file again to continue")
    assert waiting["buttons"] == [f"Choose file: {video.name}", f"Remove: {video.name}"]
    check_continued(events[: events.index(look(events, "end"))])
    assert len(requests(events, "POST")) == 2, "one upload for each file"
    ids = uploads(server)
    for source in (video, other):
        check_arrived(server, f"{server.url}/files/{ids[source.name]}", source)


@pytest.mark.parametrize(("way", "again"), [("choose", "reload"), ("pick", "reload"), ("choose", "reopen")])
def test_an_upload_continues_by_itself_after_a_reload(
    server: ServerProcess, tmp_path: Path, way: str, again: str
) -> None:
    """With a copy of the file, or with a handle by which the browser finds it, nobody has to choose it again, also when
    the tab was closed, which the page asks about; when the upload has ended, nothing of it is stored."""
    video = big(tmp_path, "long.mp4", 24 * MIB)
    events = use(
        tmp_path,
        server.url,
        ["throttle", 5 * MIB],
        [way, str(video)],
        ["percent", 40],
        ["look", "before"],
        [again],
        ["throttle", 0],
        ["until", "done"],
        ["look", "end"],
    )
    assert [event for event in events if event["event"] == "dialog"], "the browser asks before it leaves the page"
    assert look(events, "before")["stored"] == [uploads(server)[video.name]]
    assert look(events, "end")["stored"] == []
    check_continued(events)
    check_arrived(server, f"{server.url}/files/{uploads(server)[video.name]}", video)


def test_a_second_window_shows_the_same(server: ServerProcess, tmp_path: Path) -> None:
    """What one window uploads is seen in another one at once, with its progress, and so are the videos of before."""
    first, long = make(tmp_path, "first.mp4"), big(tmp_path, "long.mp4", 24 * MIB)
    events = use(
        tmp_path,
        server.url,
        ["choose", str(first)],
        ["until", "done"],
        ["throttle", 5 * MIB],
        ["choose", str(long)],
        ["percent", 10],
        ["throttle", MIB // 8],  # so that it is still sent when the other windows are there
        ["elsewhere", "first.mp4"],
        ["elsewhere", "Uploading in another window or on another device, "],
        ["throttle", 0],
        ["until", "done", 2],
    )
    assert len(requests(events, "POST")) == 2


def test_the_same_file_again_asks_what_is_meant(server: ServerProcess, tmp_path: Path) -> None:
    """Nothing is sent before the answer: left alone, it is not sent; otherwise it is a second video."""
    video = make(tmp_path, "clip.mp4")
    events = use(
        tmp_path,
        server.url,
        ["choose", str(video)],
        ["until", "done"],
        ["reload"],
        ["until", "done"],
        ["choose", str(video)],
        ["text", "“clip.mp4” was uploaded before"],
        ["key", "Escape"],
        ["choose", str(video)],
        ["visible", "#twin-skip"],
        ["click", "#twin-skip"],
        ["look", "left"],
        ["choose", str(video)],
        ["click", "#twin-again"],
        ["until", "done", 2],
    )
    assert len(look(events, "left")["rows"]) == 1
    assert len(requests(events[: events.index(look(events, "left"))], "POST")) == 1
    assert len(requests(events, "POST")) == 2


def test_folders_and_pasted_files_are_uploaded_as_one_batch(start_server: StartServer, tmp_path: Path) -> None:
    """A folder brings its videos and leaves out the rest; all together they have one bar, one pause, and one end."""
    server = start_server(scheduler="none")
    folder = tmp_path / "holiday"
    (folder / "day two").mkdir(parents=True)
    video = big(tmp_path, "long.mp4", 12 * MIB)
    names = ["one.mp4", "two.mp4"]
    shutil.copy(video, folder / "one.mp4")
    shutil.copy(video, folder / "day two" / "two.mp4")
    (folder / "notes.txt").write_text("Dear diary")
    events = use(
        tmp_path,
        server.url,
        ["throttle", MIB // 2],
        ["chooseFolder", str(folder)],
        ["percent", 1],
        ["paste", str(big(tmp_path, "pasted.mp4", 6 * MIB))],
        ["text", "0 of 3 uploaded"],
        ["click", ".batch-button"],
        ["until", "paused", 3],
        ["look", "paused"],
        ["throttle", 0],
        ["click", ".batch-button"],
        ["text", "Uploaded. You may close this page."],
        ["look", "end"],
    )
    assert {found["name"] for found in look(events, "paused")["rows"]} == {*names, "pasted.mp4"}
    assert set(uploads(server)) == {*names, "pasted.mp4"}
    rows = query(server.database_url, "SELECT status FROM uploads")
    assert [found["status"] for found in rows] == ["complete"] * 3


def test_the_cancel_button_cancels_a_running_task(start_server: StartServer, gate: Gate, tmp_path: Path) -> None:
    """The button in the row of a video that is being processed cancels its task, unless that is undone."""
    server = start_server(ffmpeg=gate.path)
    video = make(tmp_path, "clip.mp4")
    events = use(
        tmp_path,
        server.url,
        ["choose", str(video)],
        ["text", "Processing"],
        ["look", "processing"],
        ["click", ".row .action-cancel"],
        ["until", "stopping"],
        ["click", ".toast button"],
        ["text", "Processing"],
        ["look", "undone"],
        ["click", ".row .action-cancel"],
        ["until", "cancelled"],
    )
    assert row(events, "processing")["buttons"] == [f"Stop processing: {video.name}"]
    assert row(events, "undone")["state"] == "processing"
    cancels = [one for one in requests(events, "POST") if "/api/task/cancel/" in one["url"]]
    assert [events.index(one) > events.index(look(events, "undone")) for one in cancels] == [True]
    assert server.status(uploads(server)[video.name])["status"] == "cancelled"


def test_remove_can_be_undone_and_then_deletes_the_upload(server: ServerProcess, tmp_path: Path) -> None:
    """Undone, an upload goes on where it was; not undone, its bytes are gone from the server."""
    video = big(tmp_path, "long.mp4", 24 * MIB)
    events = use(
        tmp_path,
        server.url,
        ["throttle", 5 * MIB],
        ["choose", str(video)],
        ["percent", 20],
        ["click", ".row .action-remove"],
        ["text", "Removed: long.mp4"],
        ["look", "removed"],
        ["click", ".toast button"],
        ["until", "sending"],
        ["look", "undone"],
        ["click", ".row .action-remove"],
        ["text", "Removed: long.mp4"],
        ["gone", ".toast"],
        ["look", "end"],
    )
    assert look(events, "removed")["rows"] == look(events, "end")["rows"] == []
    assert len(requests(events, "POST")) == 1
    assert row(events, "undone")["percent"] > 0
    until(
        lambda: query(server.database_url, "SELECT status FROM uploads") == [{"status": "terminated"}], what="it ends"
    )
    until(lambda: server.stored_files() == [], what="its bytes are deleted")


def test_without_javascript_the_page_is_a_form(server: ServerProcess, tmp_path: Path) -> None:
    """The form sends the videos as a program would, and a page says that they have arrived."""
    videos = [make(tmp_path, name) for name in ("one.mp4", "two.mov")]
    with browser(tmp_path, server.url, ["submit", *map(str, videos)], plain=True) as client:
        events = client.finish(seconds=150)
    (answer,) = (event["text"] for event in events if event["event"] == "answer")
    assert "2 videos uploaded" in answer
    assert uploads(server).keys() == {video.name for video in videos}


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
            upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
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
        thread.join(PATIENCE)
