"""Uploads through nginx that are cut, or whose nginx or server restarts: each resumes where the server is."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from tests.acceptance.nginx_uploads import MIB, PROTOCOLS, StartNginx, create, offset, options, success
from tests.conftest import StartServer
from tests.harness.arrival import check_arrived, upload_id
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.nginx import PATCH, Nginx, answered, sending
from tests.harness.node import Event, NodeClient
from tests.harness.rows import sha256
from tests.harness.server_process import ServerProcess
from tests.harness.waiting import PATIENCE, until
from tests.samples import big

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # clients and interruptions


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A playable video of 300 MB."""
    return big(tmp_path_factory.mktemp("large"), "large.mp4", 300_000_000)


def statuses(events: list[Event], method: str) -> list[int]:
    return [event["status"] for event in events if event["event"] == "response" and event["method"] == method]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("how", ["rst", "fin"])
def test_tus_js_resumes_after_a_cut_before_nginx(
    server: ServerProcess, start_nginx: StartNginx, video: Path, tmp_path: Path, how: Literal["rst", "fin"]
) -> None:
    """Over TLS, a cut before nginx ends the request to videodock at once; the client resumes where the server is."""
    nginx = start_nginx(server)
    with CuttingProxy(nginx.port, cuts=[3 * MIB, 8 * MIB], how=how) as proxy:
        origin = f"https://127.0.0.1:{proxy.port}"
        with NodeClient("tus.mjs", tmp_path, **options(origin, video)) as client:
            events = client.finish()
        assert proxy.cut_count == 2
    url = success(events)
    assert url.startswith(f"{origin}/files/"), "scheme, host and port are not those that the client used"
    heads = [event for event in events if event["event"] == "response" and event["method"] == "HEAD"]
    assert [event["status"] for event in heads] == [200, 200]
    # What nginx has read and not sent on is lost with the client, so the first offset may be anything.
    assert int(heads[-1]["offset"]) > 0, "the cuts lost everything"
    check_arrived(server, url, video)


def test_a_client_that_resumes_evicts_its_dead_connection(
    nginx: Nginx, server: ServerProcess, video: Path, tmp_path: Path
) -> None:
    """A client that vanished leaves an open request in nginx; its next request waits for no timeout."""
    with held(nginx, video, tmp_path) as (proxy, client):
        # The same upload, by another way, while the connection that is held is open.
        url = str(client.wait_for("url")["url"]).replace(str(proxy.port), str(nginx.port))
        stored = server.stored(upload_id(url))
        until(lambda: stored.stat().st_size >= 4 * MIB, seconds=20, what="nginx sent on what it has")
        known = offset(nginx, url)
        assert known >= 4 * MIB
        data = video.read_bytes()[known:]
        answer = nginx.http.patch(url, headers=PATCH | {"Upload-Offset": str(known)}, content=data)
        assert answer.status_code == 204, answer.text
        check_arrived(server, url, video)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("what", ["reload", "kill", "restart"])
def test_an_upload_continues_after_a_reload_a_kill_and_a_restart_of_nginx(
    nginx: Nginx, server: ServerProcess, video: Path, tmp_path: Path, what: str
) -> None:
    """A reload cuts nothing; workers that die, and a restart, cost no more than a HEAD and the rest."""
    with held(nginx, video, tmp_path) as (proxy, client):
        if what == "reload":
            nginx.reload()
        elif what == "kill":
            nginx.kill_workers()
        else:
            nginx.stop()
            nginx.start()
        proxy.release()
        events = client.finish()
    assert statuses(events, "HEAD") == ([] if what == "reload" else [200])
    check_arrived(server, success(events), video)


@pytest.mark.sampled(1)
def test_an_upload_continues_after_a_restart_of_videodock(
    start_server: StartServer, database_url: str, start_nginx: StartNginx, video: Path, tmp_path: Path
) -> None:
    """While the server is away the client asks again and again, and then goes on where it was: it does not start anew.

    To all but HEAD nginx says 502; that would make tus-js-client begin a new upload, so HEAD gets no answer.
    """
    server = start_server(database_url=database_url, workers=2, shutdown_grace=1)
    nginx = start_nginx(server)
    with held(nginx, video, tmp_path) as (proxy, client):
        server.kill()
        server.check_no_processes(seconds=20)
        proxy.release()
        client.wait_for("retry", where=lambda event: event["attempt"] == 2)
        assert nginx.http.get(f"{nginx.url}/readyz").status_code == 502
        server.start()
        events = client.finish()
    assert statuses(events, "HEAD") == [200]
    assert statuses(events, "POST") == [201], "the upload was begun anew"
    check_arrived(server, success(events), video)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_large_body_is_streamed_and_resumed_after_a_cut(
    nginx: Nginx, server: ServerProcess, large: Path, tmp_path: Path, protocol: str
) -> None:
    """Bytes are stored while the client still has most of them; what was stored counts when it dies in the middle."""
    url = create(nginx, large)
    stored = server.stored(upload_id(url))
    with sending(nginx, protocol, url, large, at=0, rate="60M") as client:
        until(lambda: stored.stat().st_size > 20_000_000, seconds=30, what="bytes arrive while the client sends")
        client.send_signal(signal.SIGSTOP)
        assert client.poll() is None
        arrived = stored.stat().st_size
        assert arrived < 200_000_000, "the client had sent too much to tell"
        client.kill()
    known = until(lambda: offset(nginx, url), seconds=10, what="HEAD tells an offset")
    assert known >= arrived
    with sending(nginx, protocol, url, large, at=known, rate="") as client:
        assert answered(client).endswith(" 204")
    assert sha256(stored) == sha256(large)
    version = {"--http1.1": "1.1", "--http2": "2.0"}[protocol]
    assert {line for line in nginx.requests() if line.startswith("PATCH")} == {
        f"PATCH /files/{upload_id(url)} HTTP/{version}"
    }


@contextmanager
def held(nginx: Nginx, source: Path, folder: Path) -> Iterator[tuple[CuttingProxy, NodeClient]]:
    """tus-js-client in the middle of an upload whose connection is held, until the proxy is told to release it."""
    with (
        CuttingProxy(nginx.port, hold_at=5 * MIB) as proxy,
        NodeClient("tus.mjs", folder, **options(f"https://127.0.0.1:{proxy.port}", source)) as client,
    ):
        assert proxy.held.wait(PATIENCE)
        yield proxy, client
