"""The page in Firefox, from the sign-in to the deletion of a video: what every visitor does, in the other engine."""

import json
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.harness import firefox
from tests.harness.arrival import check_stored
from tests.harness.chromium import look, requests
from tests.harness.node import Event
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.upload_page import check_quiet
from tests.harness.videos_page import Step, player
from tests.harness.waiting import until
from tests.samples import make

pytestmark = pytest.mark.acceptance


def test_videos_are_sent_by_drop_and_by_keyboard(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(auth="on", transcode="both", storyboard="on", transcode_preset="ultrafast")
    key = make_key(server)
    dropped, chosen = make(tmp_path, "假期 one.mp4", seconds=4), make(tmp_path, "two.mov", size="240x320", audio=False)
    with firefox.drive(
        "page.mjs",
        tmp_path,
        url=f"{server.url}/",
        locale="en-GB",
        steps=[
            ["visible", "#credential"],
            ["type", key],
            ["key", "Enter"],
            ["visible", "#zone"],
            ["drop", str(dropped)],
            ["until", "done"],
            ["choose", str(chosen)],
            ["until", "done", 2],
            ["visible", ".row:nth-child(1) img"],
            ["visible", ".row:nth-child(2) img"],
            ["look", "end"],
        ],
    ) as client:
        events = client.finish(seconds=150)
    print(events)
    check_quiet(events, server.url, troubled=True)


def make_key(server: ServerProcess) -> str:
    scopes = [part for scope in ("upload", "read", "manage") for part in ("--scope", scope)]
    return str(json.loads(server.run("keys", "create", "--owner", "ann", *scopes, "--json").stdout)["key"])
