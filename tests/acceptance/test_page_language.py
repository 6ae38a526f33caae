"""A refusal on the upload page follows the language switch: it is read in the language chosen last."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from server import media_types
from server.messages import Param, sentence
from tests.conftest import StartServer
from tests.harness.chromium import look, requests
from tests.harness.gate import Gate
from tests.harness.server_process import ServerProcess
from tests.harness.upload_page import browser, check_quiet, row, use
from tests.harness.videos_page import Step
from tests.harness.videos_page import use as use_views
from tests.samples import big, make

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # sentences and moments of a switch

MIB = 1 << 20
BROKEN = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + bytes(5000)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("name", "content", "code", "params"),
    [
        ("notes.mp4", b"Dear diary.\n" * 1000, "media_type_mismatch", {"accepted": media_types.ACCEPTED_BY_TUS}),
        ("broken.mp4", BROKEN, "not_playable", {}),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else "",
)
def test_a_refusal_follows_the_switch_of_the_language(
    start_server: StartServer, tmp_path: Path, name: str, content: bytes, code: str, params: Mapping[str, Param]
) -> None:
    """Refused by its bytes or by processing, a video says why in English, in Chinese and in English."""
    server = start_server(tus_max_size=MIB)
    (tmp_path / name).write_bytes(content)
    english, chinese = (sentence(code, params, language) for language in ("en", "zh"))
    events = use(
        tmp_path,
        server.url,
        ["choose", str(tmp_path / name)],
        ["until", "failed"],
        ["look", "first"],
        ["click", "#language"],
        ["text", chinese],
        ["look", "switched"],
        ["click", "#language"],
        ["text", english],
        ["look", "back"],
        troubled=True,
    )
    lines = [row(events, label)["line"] for label in ("first", "switched", "back")]
    assert lines == [english, chinese, english]
    assert len(requests(events, "POST")) == 1, "it is not sent again for its sentence"


def test_the_refusal_of_a_busy_server_follows_the_switch(start_server: StartServer, tmp_path: Path) -> None:
    """The reason of a wait is told in the language of now, too."""
    server = start_server()
    answer = '{"code": "unavailable", "messages": {"en": "Not now", "zh": "稍等"}}'
    events = use(
        tmp_path,
        server.url,
        ["throttle", 5 * MIB],
        ["choose", str(big(tmp_path, "long.mp4", 12 * MIB))],
        ["percent", 10],
        ["busy", answer, 600],
        ["until", "retrying"],
        ["look", "english"],
        ["click", "#language"],
        ["look", "chinese"],
        troubled=True,
    )
    assert row(events, "english")["line"].startswith("Not now. Trying again in 10 min")
    assert row(events, "chinese")["line"].startswith("稍等。10 分钟后重试")


def test_the_failure_of_a_view_follows_the_switch(server: ServerProcess, tmp_path: Path) -> None:
    """What the server says in place of a view is read in the language chosen last."""
    refusal = {"code": "unavailable", "messages": {"en": "Not now", "zh": "稍等"}}
    views = ("videos", "v/00000000-0000-4000-8000-000000000000", "numbers")
    steps: list[Step] = [
        ["answer", f"**/api/{what}", 503, refusal] for what in ("tasks?*", "task/status/*", "reports/*")
    ]
    for view in views:
        steps += [["goto", view], ["text", "Not now"], ["click", "#language"], ["text", "稍等"], ["look", f"{view} zh"]]
        steps += [["click", "#language"], ["text", "Not now"], ["look", f"{view} en"]]
    events = use_views(tmp_path, server.url, "healthz", *steps, troubled=True)
    for view in views:
        assert "Not now" not in look(events, f"{view} zh")["text"]
        assert "稍等" not in look(events, f"{view} en")["text"]


def test_why_a_task_waits_follows_the_switch(start_server: StartServer, tmp_path: Path) -> None:
    """The server's sentence about a task that waits is asked for in the new language."""
    server = start_server(clamd="tcp://127.0.0.1:9")
    events = use(
        tmp_path,
        server.url,
        ["choose", str(make(tmp_path, "clip.mp4"))],
        ["text", "Waiting; "],
        ["click", "#language"],
        ["text", "正在等待，稍后自动重试："],
    )
    assert not [event for event in events if event["event"] == "failed"]


def test_a_switch_of_the_language_works_while_the_server_is_away(start_server: StartServer, tmp_path: Path) -> None:
    """The sentence that is known stays until the server can say the other one; the row stays failed."""
    server = start_server()
    (tmp_path / "broken.mp4").write_bytes(BROKEN)
    with browser(
        tmp_path,
        server.url,
        ["choose", str(tmp_path / "broken.mp4")],
        ["until", "failed"],
        ["look", "failed"],
        ["text", "\u4e2d\u6587"],
        ["offline", True],
        ["click", "#language"],
        ["look", "away"],
        ["offline", False],
        ["text", sentence("not_playable", {}, "zh")],
        ["look", "back"],
    ) as client:
        events = client.finish(seconds=150)
    check_quiet(events, server.url, troubled=True)
    assert [row(events, label)["line"] for label in ("away", "back")] == [
        sentence("not_playable", {}, language) for language in ("en", "zh")
    ]
    assert {row(events, label)["state"] for label in ("away", "back")} == {"failed"}


def test_a_lost_server_is_reported_during_processing(start_server: StartServer, gate: Gate, tmp_path: Path) -> None:
    """A status that cannot be asked is told as a lost connection and asked again, to the end of the task."""
    server = start_server(ffmpeg=gate.path)
    video = make(tmp_path, "clip.mp4")
    with browser(
        tmp_path,
        server.url,
        ["choose", str(video)],
        ["text", "Processing"],
        ["look", "processing"],
        ["visible", ".away p"],
        ["look", "lost"],
        ["gone", ".away p"],
        ["look", "back"],
        ["until", "done"],
    ) as client:
        client.wait_for("look", where=lambda event: event["label"] == "processing")
        server.kill()
        client.wait_for("look", where=lambda event: event["label"] == "lost")
        server.start()
        client.wait_for("look", where=lambda event: event["label"] == "back")
        gate.open()
        events = client.finish(seconds=150)
    check_quiet(events, server.url, troubled=True)
    assert row(events, "lost")["state"] == "processing"
    assert "The server does not answer. Trying again…" in look(events, "lost")["text"]
    assert "The server does not answer" not in look(events, "back")["text"]


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("locale", "expected"),
    [
        ("en-GB", "No network. The page continues when it is back."),
        ("zh-CN", "没有网络，恢复后自动继续。"),
    ],
)
def test_a_lost_network_is_reported_during_processing(
    start_server: StartServer, gate: Gate, tmp_path: Path, locale: str, expected: str
) -> None:
    """Without a network the row says so at once, and goes on when the network is back."""
    server = start_server(ffmpeg=gate.path)
    with browser(
        tmp_path,
        server.url,
        ["choose", str(make(tmp_path, "clip.mp4"))],
        ["visible", '.row[data-tone="work"] progress'],
        ["offline", True],
        ["text", expected],
        ["look", "away"],
        ["offline", False],
        ["until", "done"],
        locale=locale,
    ) as client:
        client.wait_for("look", where=lambda event: event["label"] == "away")
        gate.open()
        events = client.finish(seconds=150)
    check_quiet(events, server.url, troubled=True)
    assert row(events, "away")["state"] in ("queued", "processing")
