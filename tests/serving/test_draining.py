"""A stop signal behind a load balancer: first the host is not ready, then it takes nothing more."""

import os
import signal

import httpx
import pytest

from tests.conftest import StartServer
from tests.harness.server_process import ServerProcess
from tests.harness.uploader import Uploader
from tests.harness.waiting import until
from tests.tus.client import video

pytestmark = pytest.mark.acceptance


def not_ready(server: ServerProcess) -> httpx.Response | None:
    answer = server.http.get(f"{server.url}/readyz")
    return answer if answer.status_code == 503 else None


def test_a_draining_server_is_not_ready_and_serves_everything(start_server: StartServer) -> None:
    """After SIGTERM /readyz is 503 at once; uploads that run go on, and new ones are created."""
    server = start_server(drain_seconds=600)
    client = Uploader(server)
    before = client.create(2000)
    client.patch(before, 0, video(2000)[:1000])
    os.kill(server.pid, signal.SIGTERM)
    answer = until(lambda: not_ready(server), what="/readyz is 503")
    assert answer is not None
    assert answer.json() == {**answer.json(), "status": "not ready"}
    assert answer.json()["checks"]["serving"] == "stops soon"
    assert server.http.get(f"{server.url}/healthz").status_code == 200
    client.patch(before, 1000, video(2000)[1000:])
    after = client.create(2000)
    client.patch(after, 0, video(2000))
    assert server.stored(after).read_bytes() == server.stored(before).read_bytes() == video(2000)
    server.kill()  # nobody waits ten minutes


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_stops_by_itself_once_it_has_drained(start_server: StartServer, workers: int) -> None:
    """With exit code 0, as without a drain; also several processes under their supervisor."""
    start_server(drain_seconds=0.2, workers=workers).stop()
