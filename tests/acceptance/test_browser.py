"""The document's JavaScript sample, as written, in Chromium."""

from pathlib import Path

import pytest

from tests.harness.arrival import check_processed, check_stored
from tests.harness.chromium import drive
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.tasks import finish
from tests.samples import make

pytestmark = pytest.mark.acceptance

SAMPLE = Path(__file__).parent / "documented_sample.js"


def test_the_documented_javascript_sample_uploads_two_videos(server: ServerProcess, tmp_path: Path) -> None:
    """On the server's own origin the sample uploads two videos, polls, and says that they are processed."""
    videos = [make(tmp_path, "one.mp4"), make(tmp_path, "假期.mov")]
    with drive(
        "browser.mjs",
        tmp_path,
        origin=server.url,
        script=str(SAMPLE),
        files=[str(video) for video in videos],
        call="uploadVideos(files)",
        until="处理完成！",
        seconds=60,
    ) as browser:
        events = browser.finish(seconds=120)
    assert [event["status"] for event in events if event["event"] == "landed"] == [200]
    assert not [event for event in events if event["event"] == "pageerror"]
    said = [event["text"] for event in events if event["event"] == "console" and event["type"] == "log"]
    assert said[-1] == "处理完成！"
    (row,) = query(server.database_url, "SELECT id FROM tasks")
    check_stored(server, row["id"], videos)
    for file in finish(server, row["id"])["files"]:
        check_processed(server, file)
