"""The upload page in Chromium when things go wrong: what a person is told, and what becomes of the bytes."""

from pathlib import Path

import pytest

from server import media_types
from server.messages import Language, sentence
from tests.conftest import StartServer
from tests.harness.arrival import check_arrived
from tests.harness.chromium import check_continued, drive, look, requests, responses
from tests.harness.clamd import EICAR, SIGNATURE, Clamd
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.nginx import Nginx
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.upload_page import browser, check_quiet, row, uploads, use
from tests.harness.videos_page import use as use_views
from tests.harness.waiting import until
from tests.samples import big, make

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # a browser and its troubles

MIB = 1 << 20


def test_an_upload_that_is_gone_starts_again(server: ServerProcess, tmp_path: Path) -> None:
    """When the upload is gone (410), the page makes a new one and sends the file from its start."""
    video = big(tmp_path, "long.mp4", 24 * MIB)
    events = use(
        tmp_path,
        server.url,
        ["throttle", 5 * MIB],
        ["choose", str(video)],
        ["percent", 20],
        ["click", ".row .action-pause"],
        ["until", "paused"],
        ["lose"],
        ["throttle", 0],
        ["click", ".row .action-resume"],
        ["until", "done"],
        troubled=True,
    )
    assert len(requests(events, "POST")) == 2
    rows = query(server.database_url, "SELECT id, status FROM uploads ORDER BY status")
    assert [found["status"] for found in rows] == ["complete", "terminated"]
    check_arrived(server, f"{server.url}/files/{rows[0]['id']}", video)


def test_a_wrong_offset_is_corrected_after_a_409(server: ServerProcess, tmp_path: Path) -> None:
    """After a 409, which Chromium causes when it repeats a PATCH by itself, the page asks for the offset at once, and
    goes on there."""
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
    check_continued(events)
    assert responses(events, "HEAD")[0]["offset"] == refused[0]["offset"]
    check_arrived(server, f"{server.url}/files/{uploads(server)[video.name]}", video)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("locale", "expected"), [("en-GB", "Not now. Trying again in 3 s"), ("zh-CN", "Not now。3 秒后重试")]
)
def test_a_busy_server_is_reported_and_retried(
    server: ServerProcess, tmp_path: Path, locale: str, expected: str
) -> None:
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
    assert row(events, "busy")["line"] == expected
    check_continued(events)
    check_arrived(server, f"{server.url}/files/{uploads(server)[video.name]}", video)


def test_an_upload_continues_after_cuts(server: ServerProcess, tmp_path: Path) -> None:
    """Cut twice, with or without the browser's own second try, one upload arrives whole."""
    video = big(tmp_path, "long.mp4", 12 * MIB)
    with CuttingProxy(server.port, cuts=[3 * MIB, 7 * MIB]) as proxy:
        events = use(tmp_path, proxy.url, ["choose", str(video)], ["until", "done"], troubled=True)
        assert proxy.cut_count == 2
    assert len(requests(events, "POST")) == 1
    check_arrived(server, f"{server.url}/files/{uploads(server)[video.name]}", video)


def test_a_lost_server_is_reported_and_retried(server: ServerProcess, tmp_path: Path) -> None:
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


def test_three_uploads_outlast_a_proxy_that_is_killed(nginx: Nginx, server: ServerProcess, tmp_path: Path) -> None:
    """Three videos are dropped, and the proxy before the server is killed: each upload waits, and goes on where it was
    when the proxy runs again."""
    videos = [big(tmp_path, f"{name}.mp4", 6 * MIB) for name in ("one", "two", "three")]
    steps: list[list[object]] = [
        ["visible", "#zone"],
        ["throttle", MIB],
        ["drop", *map(str, videos)],
        ["moving", 3],
        ["throttle", MIB // 8],  # so that all are still sent when the proxy dies
        ["look", "moving"],
        ["unreachable"],
        ["throttle", 0],  # which holds back errors, too
        ["until", "retrying", 3],
        ["look", "lost"],
        ["until", "done", 3],
    ]
    options = {"url": f"{nginx.url}/", "steps": steps, "anyCertificate": True}
    with drive("page.mjs", tmp_path, **options) as client:
        client.wait_for("look", where=lambda event: event["label"] == "moving")
        until(lambda: len([file for file in server.stored_files() if file.stat().st_size]) == 3, what="bytes of all")
        nginx.kill()
        client.wait_for("look", where=lambda event: event["label"] == "lost")
        nginx.start()
        events = client.finish(seconds=150)
    check_quiet(events, nginx.url, troubled=True)
    assert len(requests(events, "POST")) == 3
    later = events[events.index(look(events, "lost")) :]
    told = {event["url"]: event["offset"] for event in responses(later, "HEAD") if event["status"] == 200}
    assert len(told) == 3
    assert all(told.values())
    for url, offset in told.items():
        first = next(event for event in requests(later, "PATCH") if event["url"] == url)
        assert first["offset"] == offset
    for video in videos:
        check_arrived(server, f"{server.url}/files/{uploads(server)[video.name]}", video)


@pytest.mark.sampled(1)
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
        "media_type_mismatch", {"accepted": media_types.ACCEPTED_BY_TUS}, language
    )
    assert len(requests(events, "PATCH")) == 1
    assert server.stored_files() == []


def test_what_cannot_be_accepted_is_refused_before_a_byte_is_sent(start_server: StartServer, tmp_path: Path) -> None:
    """Too large, of another kind, or empty: the page says what to do, in both languages, and sends nothing."""
    server = start_server(tus_max_size=MIB, accept_types="mp4,webm")
    (tmp_path / "notes.txt").write_text("Dear diary")
    (tmp_path / "empty.mp4").touch()
    chosen = [str(big(tmp_path, "long.mp4", 2 * MIB)), str(tmp_path / "notes.txt"), str(tmp_path / "empty.mp4")]
    events = use(
        tmp_path,
        server.url,
        ["text", "up to 1\u00a0MiB each"],
        ["choose", *chosen],
        ["until", "failed", 3],
        ["look", "english"],
        ["click", "#language"],
        ["text", "文件是空的"],
        ["look", "chinese"],
    )
    large, text, empty = (found["line"] for found in look(events, "english")["rows"])
    assert large.endswith("at most 1 MiB are accepted. Export the video in a lower quality, and choose that file.")
    assert text == ("TXT files are not accepted here; MP4 and WebM are. Export the video as MP4, and choose that file.")
    assert empty == "The file is empty. Export the video again, and choose that file."
    assert [found["state"] for found in look(events, "chinese")["rows"]] == ["failed"] * 3
    assert look(events, "chinese")["rows"][1]["line"] == (
        "不支持 TXT 文件，支持 MP4 和 WebM。请将视频导出为 MP4，再选择导出的文件。"
    )
    assert requests(events, "POST") == []


def test_an_infected_video_shows_what_was_found(start_server: StartServer, tmp_path: Path) -> None:
    """What the scanner finds is told in the row and on the video's page, where it follows the switch."""
    with Clamd() as clamd:
        server = start_server(clamd=clamd.unix)
        box = (8 + len(EICAR)).to_bytes(4, "big") + b"free" + EICAR
        video = tmp_path / "infected.mp4"
        video.write_bytes(make(tmp_path, "clip.mp4").read_bytes() + box)
        events = use(tmp_path, server.url, ["choose", str(video)], ["until", "failed"], ["look", "failed"])
        english, chinese = (sentence("infected", {"signature": SIGNATURE}, language) for language in ("en", "zh"))
        views = use_views(
            tmp_path,
            server.url,
            "videos",
            ["click", ".video-name"],
            ["text", english],
            ["click", "#language"],
            ["text", chinese],
            ["look", "video"],
        )
    assert row(events, "failed")["line"] == english
    assert look(views, "video")["players"] == []


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
