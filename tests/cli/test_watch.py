"""`videodock tasks watch`, beside a database and with a real server."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from server.cli import exits, remote_events, watch
from tests.conftest import StartServer
from tests.harness.event_client import EventClient
from tests.harness.tasks import finish
from tests.harness.uploader import Uploader
from tests.harness.waiting import Stopwatch
from tests.samples import make

UNKNOWN = "123e4567-e89b-42d3-a456-426614174000"
ENDS = ["upload.finished", "task.created", "task.processing", "video.completed", "task.completed"]


def test_a_task_is_watched_to_its_end(start_server: StartServer, tmp_path: Path) -> None:
    """By the database and by URL: every event in order, then exit code 0; 3 for a task that is not there."""
    server = start_server()
    video = make(tmp_path, "clip.mp4").read_bytes()
    uploader = Uploader(server)
    task = uploader.create(len(video))
    remote = subprocess.Popen(
        [sys.executable, "-m", "server", "tasks", "watch", task, "--url", server.url],
        stdout=subprocess.PIPE,
        text=True,
    )
    uploader.patch(task, 0, video)
    finish(server, task)
    said, _ = remote.communicate(timeout=120)
    assert remote.returncode == 0, said
    heard = [line.split("  ")[1] for line in said.splitlines()]
    assert [one for one in heard if not one.endswith((".progress", ".status"))] == ["upload.created", *ENDS]
    local = server.run("tasks", "watch", task, "--json")
    assert local.returncode == 0, local.stderr
    lines = [json.loads(line) for line in local.stdout.splitlines()]
    assert [line["type"] for line in lines] == ["upload.created", *ENDS]
    assert lines[-1]["status"]["status"] == "completed"
    for more in ([], ["--url", server.url]):
        missing = server.run("tasks", "watch", UNKNOWN, *more)
        assert (missing.returncode, missing.stdout) == (3, ""), missing.stderr


def test_no_redirect_gets_the_key_and_no_text_the_terminal() -> None:
    """A redirect is an error, and its target is not asked; controls in what a server says are shown as such."""
    asked: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", "/caught")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(exits.Refused, match="HTTP 302"):
            list(remote_events.follow(f"http://127.0.0.1:{server.server_address[1]}", UNKNOWN, "a key"))
    finally:
        server.shutdown()
        server.server_close()
    assert asked == [f"/api/task/events/{UNKNOWN}"]
    failed = {"at": "now", "type": "task.failed", "status": {"message": "\x1b]0;evil\x07"}}
    assert watch._text(failed) == "now  task.failed  ?]0;evil?"


def test_a_stopping_server_ends_its_streams_at_once(start_server: StartServer) -> None:
    """SIGTERM ends open streams well before the grace period, as whole responses, and the server with 0."""
    server = start_server(shutdown_grace=60)
    task = Uploader(server).create(10)
    port = int(server.url.rpartition(":")[2])
    streams = [EventClient(port, path).begun() for path in ("/api/events", f"/api/task/events/{task}")]
    watch = Stopwatch()
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    for stream in streams:
        with stream:
            stream.rest()
            assert stream.has_ended
    stopping.join()
    assert watch.seconds < 20
