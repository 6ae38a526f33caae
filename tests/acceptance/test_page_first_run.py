"""The first video of a new server, sent by a program: each sample of the upload page, run as it stands there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.harness.node import CLIENTS, node
from tests.harness.rows import query, sha256
from tests.harness.server_process import ServerProcess
from tests.harness.upload_page import check_quiet
from tests.harness.videos_page import Step, browser, check_accessible
from tests.harness.waiting import PATIENCE
from tests.samples import make

pytestmark = pytest.mark.acceptance

PROGRAMS = {
    "curl": ("send.sh", ("bash",)),
    "Python": ("send.py", (sys.executable,)),
    "JavaScript": ("send.mjs", (node(),)),
}
"""Of each sample: the file that a person puts it into, and what runs that."""


@pytest.mark.sampled(1)
@pytest.mark.parametrize("auth", ["off", "on"])
def test_each_sample_sends_the_first_video(start_server: StartServer, tmp_path: Path, auth: str) -> None:
    """Taken from the page and started as it is, each sample brings every byte, and the page shows the video by itself;
    with authentication a person adds the key alone."""
    server = start_server(auth=auth)
    key = make_key(server) if auth == "on" else ""
    video = make(tmp_path, "holiday.mp4")
    steps: list[Step] = [
        *(sign_in(key) if key else []),
        ["click", ".program summary"],
        *(step for name in PROGRAMS for step in kept(name)),
        ["allowClipboard"],
        ["click", ".program-copy"],
        ["text", "Copied."],
        ["clipboard"],
        ["axe", "samples"],
        ["size", 320, 568],
        ["axe", "narrow"],
        ["look", "samples"],
        ["is", f"document.querySelectorAll('.row[data-state=done]').length === {len(PROGRAMS)}"],
    ]
    with browser(tmp_path, server.url, "", *steps) as client:
        seen = client.wait_for("look", where=lambda event: event["label"] == "samples")
        for name in PROGRAMS:
            run(name, seen["values"][name], video, key)
        events = client.finish(seconds=150)
    check_quiet(events, server.url, troubled=bool(key))  # the browser tells of the refusal that asks for the sign-in
    check_accessible(events)
    assert seen["wide"] <= 0
    (copied,) = [event["text"] for event in events if event["event"] == "clipboard"]
    assert copied == seen["values"]["JavaScript"]
    rows = query(server.database_url, "SELECT id, owner FROM uploads")
    assert [row["owner"] for row in rows] == ["ann" if key else "default"] * len(PROGRAMS)
    assert [sha256(server.stored(row["id"])) for row in rows] == [sha256(video)] * len(PROGRAMS)


def make_key(server: ServerProcess) -> str:
    """A key that may upload, and see what it uploads."""
    made = server.run("keys", "create", "--owner", "ann", "--scope", "upload", "--scope", "read", "--json")
    return str(json.loads(made.stdout)["key"])


def sign_in(key: str) -> list[Step]:
    """As a person does it."""
    return [["fill", "#credential", key], ["press", "#credential", "Enter"], ["visible", "#zone"]]


def kept(name: str) -> list[Step]:
    """Choose a sample, and keep what is to be read."""
    return [
        ["click", f".program-tools button >> text={name}"],
        ["keep", name, "document.querySelector('.program pre').innerText"],
    ]


def run(name: str, text: str, video: Path, key: str) -> None:
    """Put a sample beside the video, and start it there."""
    file, command = PROGRAMS[name]
    (video.parent / file).write_text(text)
    modules = video.parent / "node_modules"
    if not modules.exists():
        modules.symlink_to(CLIENTS / "node_modules")
    ended = subprocess.run(
        [*command, file],
        cwd=video.parent,
        env={**os.environ, "VIDEODOCK_KEY": key},
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE,
    )
    assert ended.returncode == 0, f"{name} ended with {ended.returncode}: {ended.stdout}\n{ended.stderr}"
