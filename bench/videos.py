"""A queue of real videos, so that a server encodes while something else is measured.

Rules: the server encodes as many at once as it will before the measurement begins, and has as many left at its end;
otherwise there is no figure. A server is idle when it takes no CPU time.
"""

import os
import subprocess
import tempfile
import time
from functools import cached_property
from pathlib import Path

from bench.clients import Connection
from bench.measure import Meter
from bench.servers.base import Answer, ClientError, Server
from server.pipeline.media import ffmpeg

BEGIN_SECONDS = 60.0  # in which the server begins to encode, or becomes idle
AT_ONCE = len(os.sched_getaffinity(0))  # videos that a server encodes, with default settings
COUNT = 10 * AT_ONCE
_LOOK_SECONDS = 0.3
_IDLE_SHARE = 0.1  # of a core


class Video:
    """A video that a server has to encode: MPEG-4 Part 2, which no browser plays. It is made when it is needed."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds

    @cached_property
    def data(self) -> bytes:
        """Its bytes."""
        picture = f"testsrc2=size=1280x720:rate=25:duration={self._seconds},noise=alls=20:allf=t,format=yuv420p"
        with tempfile.TemporaryDirectory(prefix="bench-video-") as folder:
            path = Path(folder) / "video.mp4"
            command = [ffmpeg.find("auto"), "-hide_banner", "-nostdin", "-loglevel", "error", "-f", "lavfi"]
            subprocess.run([*command, "-i", picture, "-c:v", "mpeg4", "-q:v", "10", str(path)], check=True)
            return path.read_bytes()


class Queue:
    """Many uploads of one video; the server encodes them from `start` until it is stopped."""

    def __init__(self, server: Server, video: Video) -> None:
        self._server = server
        self._video = video
        self._answers: list[Answer] = []

    def start(self) -> None:
        """Upload them, and wait until the server encodes one a core. Raises `ClientError`."""
        data = self._video.data
        with Connection(self._server.port) as connection:
            for _ in range(COUNT):
                target = self._server.created(connection.ask(self._server.create_request(len(data))))
                head = self._server.append_request(target, 0, len(data), {})
                answer = connection.ask(head, lambda to: to.sendall(data))
                self._server.check_appended(answer, len(data))
                self._answers.append(answer)
            deadline = time.monotonic() + BEGIN_SECONDS
            while self._steps(connection).count("mp4") < AT_ONCE:
                if time.monotonic() > deadline:
                    raise ClientError("it does not encode as many videos at once as there are cores")
                time.sleep(_LOOK_SECONDS)

    def check(self) -> None:
        """Raise `ClientError` when it has not been busy all the time."""
        with Connection(self._server.port) as connection:
            if len(self._steps(connection)) < AT_ONCE:
                raise ClientError("it had no videos to encode any more")

    def _steps(self, connection: Connection) -> list[str | None]:
        """At which step those are that have not come to their end; None waits."""
        asked = [(connection.ask(self._server.status_request(answer)), answer) for answer in self._answers]
        found = [self._server.check_status(status, answer) for status, answer in asked]
        return [one["step"] for one in found if one["status"] in ("uploaded", "processing")]


def wait_until_idle(server: Server) -> None:
    """Until it takes hardly any CPU time. Raises `ClientError`."""
    meter = Meter(server)
    deadline = time.monotonic() + BEGIN_SECONDS
    while time.monotonic() < deadline:
        before = meter.cpu_seconds()
        time.sleep(_LOOK_SECONDS)
        if meter.cpu_seconds() - before <= _IDLE_SHARE * _LOOK_SECONDS:
            return
    raise ClientError("it does not become idle")
