"""How many connections and bodies there may be at once, and what the others hear."""

import resource
import uuid
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.harness.http import Answer, Connection, LiveServer
from tests.harness.waiting import Stopwatch, until
from tests.tus.client import MOUNT, VERSION, create, head, patch, patch_request, target, video


def check_busy(answer: Answer) -> None:
    """503 with a stable code, a sentence, and when to come again."""
    assert answer.status == 503
    assert "too_busy" in answer.text
    assert int(answer.headers["retry-after"]) > 0


def test_a_connection_over_the_limit_is_refused(tmp_path: Path) -> None:
    """A request on one connection more than there may be is refused; when one goes, the next is served."""
    with LiveServer(tmp_path, max_connections=3) as live:
        first = [live.connect() for _ in range(3)]
        for one in first:
            assert one.ask("OPTIONS", MOUNT).status == 204
        with live.connect() as more:
            check_busy(more.ask("OPTIONS", MOUNT))
            assert more.ended()
        assert first[0].ask("OPTIONS", MOUNT).status == 204  # nobody else is disturbed
        first.pop().close()

        def served() -> bool:
            with live.connect() as one:
                return one.ask("OPTIONS", MOUNT).status == 204

        until(served, seconds=5, what="the next is served")
        for one in first:
            one.close()


def test_an_idle_connection_is_closed_after_keep_alive_timeout(tmp_path: Path) -> None:
    """A connection without another request is closed after `keep_alive_timeout`, which is 5 s by default."""
    with LiveServer(tmp_path, keep_alive_timeout=0.2) as live, live.connect() as one:
        assert one.ask("OPTIONS", MOUNT).status == 204
        began = Stopwatch()
        assert one.ended()
        assert began.seconds < 4


def test_a_final_upload_of_a_thousand_urls_is_accepted(tmp_path: Path) -> None:
    """A final upload of as many parts as there may be, by absolute URLs, is no request that is too large."""
    with LiveServer(tmp_path) as live:
        urls = [f"https://uploads.video.example.org/some/prefix{MOUNT}/{uuid.uuid4()}" for _ in range(1000)]
        answer = live.ask("POST", MOUNT, VERSION | {"Upload-Concat": "final;" + " ".join(urls)})
        assert (answer.status, answer.code) == (400, "part_invalid")


def test_the_limit_of_open_files_is_raised(start_server: StartServer) -> None:
    """A server may open as many files as its user may: an upload needs three, and the soft limit is often 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, soft), hard))
    try:
        server = start_server(scheduler="none")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    limits = Path(f"/proc/{server.pid}/limits").read_text()
    (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
    assert line.split()[3:5] == [str(hard), str(hard)]


@pytest.mark.parametrize("http", ["videodock", "portable"])
def test_a_body_over_the_limit_is_refused_unread(tmp_path: Path, http: str) -> None:
    """One body more is refused before a byte of it is read; requests without one go on."""
    with LiveServer(tmp_path, max_bodies=2, http=http) as live:
        data = video(1000)
        uploads = [create(live, 1000) for _ in range(3)]
        holders: list[Connection] = []
        for upload in uploads[:2]:
            holder = live.connect()
            holder.send(patch_request(upload, 0, data[:500], length=1000))
            until(lambda upload=upload: live.stored(upload) == data[:500], seconds=5, what="it is stored")  # type: ignore[misc]
            holders.append(holder)
        check_busy(patch(live, uploads[2], 0, data))
        assert live.stored(uploads[2]) == b""
        assert live.ask("HEAD", target(uploads[2]), VERSION).status == 200
        holders[0].send(data[500:])
        assert holders[0].answer().status == 204
        assert patch(live, uploads[2], 0, data).status == 204
        assert live.stored(uploads[2]) == data
        assert head(live, uploads[1]).headers["upload-offset"] == "500"
        for holder in holders:
            holder.close()
