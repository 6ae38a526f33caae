"""Behind nginx with the documented configuration: uploads by HTTP/1.1 and HTTP/2, cut and resumed, and what is told."""

import hashlib
import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from server.settings import Settings
from tests.conftest import StartServer
from tests.harness.arrival import check_arrived, check_stored, upload_id
from tests.harness.chromium import drive
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.multipart import PATH, curl
from tests.harness.nginx import PATCH, TUS, Nginx, answered, seconds, sending, talking
from tests.harness.node import Event, NodeClient
from tests.harness.rows import sha256
from tests.harness.server_process import ROOT, ServerProcess
from tests.harness.upload_page import check_quiet, uploads
from tests.harness.waiting import PATIENCE, until
from tests.samples import big, make

pytestmark = pytest.mark.acceptance

MIB = 1 << 20
RETRIES = [0, 100, 300, 600, 1000, *[1000] * 20]
PREFIX = "/video"
PROTOCOLS = ["--http1.1", "--http2"]

StartNginx = Callable[..., Nginx]


@pytest.fixture
def start_nginx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartNginx]:
    """Start nginx before a server: `start_nginx(server, {"text of the file": "other text"})`."""
    with ExitStack() as ends:
        made: list[Nginx] = []

        def start(server: ServerProcess, changes: Mapping[str, str] | None = None) -> Nginx:
            nginx = ends.enter_context(Nginx(tmp_path / f"nginx-{len(made)}", server.port, changes))
            made.append(nginx)
            monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(nginx.certificate))
            return nginx

        yield start
        for nginx in made:
            nginx.check_nothing_buffered()
            assert "[emerg]" not in nginx.log()


@pytest.fixture
def nginx(server: ServerProcess, start_nginx: StartNginx) -> Nginx:
    """nginx before a server with default settings."""
    return start_nginx(server)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A playable video of at least 12 MiB whose length no chunk divides."""
    return big(tmp_path_factory.mktemp("video"), "假期 holiday.mp4", 12 * MIB + 12_345)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A playable video of 300 MB."""
    return big(tmp_path_factory.mktemp("large"), "large.mp4", 300_000_000)


def options(origin: str, source: Path, **more: object) -> dict[str, Any]:
    return {
        "endpoint": f"{origin}/files",
        "path": str(source),
        "metadata": {"filename": source.name, "filetype": "video/mp4"},
        "retryDelays": RETRIES,
    } | more


def success(events: list[Event]) -> str:
    (end,) = [event for event in events if event["event"] == "success"]
    return str(end["url"])


def statuses(events: list[Event], method: str) -> list[int]:
    return [event["status"] for event in events if event["event"] == "response" and event["method"] == method]


def create(nginx: Nginx, source: Path, origin: str = "") -> str:
    """Create an upload for that file through nginx; its URL."""
    headers = TUS | {"Upload-Length": str(source.stat().st_size)}
    answer = nginx.http.post(f"{origin or nginx.url}/files", headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.headers["Location"])


def offset(nginx: Nginx, url: str) -> int:
    answer = nginx.http.head(url, headers=TUS)
    assert answer.status_code == 200
    return int(answer.headers["Upload-Offset"])


# What the file says


def test_the_file_fits_the_defaults() -> None:
    """nginx waits longer than videodock for a client, and closes a silent connection to videodock sooner than it."""
    defaults = Settings.model_fields
    idle = float(defaults["body_idle_timeout"].default)
    for directive in ("client_body_timeout", "send_timeout", "proxy_send_timeout", "proxy_read_timeout"):
        assert seconds(directive) > idle, directive
    assert seconds("proxy_read_timeout") > defaults["head_timeout"].default
    from uvicorn import Config

    async def app(*_: object) -> None: ...

    assert seconds("keepalive_timeout") < Config(app).timeout_keep_alive  # the server leaves it as it is


def test_what_the_page_says_of_the_world_is_true(nginx: Nginx) -> None:
    """Plain HTTP is sent on with its method, HTTP/2 is spoken, and the metrics are not for the world."""
    with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
        sent_on = client.post(f"http://127.0.0.1:{nginx.plain_port}/files?a=b")
    assert (sent_on.status_code, sent_on.headers["Location"]) == (308, "https://127.0.0.1/files?a=b")
    subprocess.run(
        ["curl", "--silent", "--fail", "--http2", "--cacert", str(nginx.certificate), f"{nginx.url}/readyz"],
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert nginx.requests()[-1] == "GET /readyz HTTP/2.0"
    assert nginx.http.get(f"{nginx.url}/metrics").status_code == 404


# tus


@pytest.mark.parametrize("how", ["rst", "fin"])
def test_tus_js_is_cut_and_resumes(
    server: ServerProcess, start_nginx: StartNginx, video: Path, tmp_path: Path, how: Literal["rst", "fin"]
) -> None:
    """Over TLS, a cut before nginx ends the request behind it at once; the client goes on where the server is."""
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


def test_a_dead_connection_is_taken_over(nginx: Nginx, server: ServerProcess, video: Path, tmp_path: Path) -> None:
    """A client that vanished without a word leaves an open request in nginx; who resumes waits for no timeout."""
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


@pytest.mark.parametrize("what", ["reload", "kill", "restart"])
def test_nginx_may_change_under_an_upload(
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


def test_a_restart_of_videodock_is_survived(
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


def test_parts_at_once_with_several_processes(
    start_server: StartServer, start_nginx: StartNginx, video: Path, tmp_path: Path
) -> None:
    """Four parts over TLS, two serving processes and two of nginx: joined they are the video."""
    server = start_server(workers=2)
    nginx = start_nginx(server)
    with NodeClient("tus.mjs", tmp_path, **options(nginx.url, video, parallelUploads=4)) as client:
        events = client.finish()
    check_arrived(server, success(events), video)


def test_a_browser_uploads_by_http_2_under_a_prefix(
    start_server: StartServer, start_nginx: StartNginx, video: Path, tmp_path: Path
) -> None:
    """The upload page under /video, in Chromium: every request is HTTP/2, every URL has the prefix."""
    server = start_server(root_path=PREFIX)
    nginx = start_nginx(server, under_prefix())
    base = f"{nginx.url}{PREFIX}"
    with drive(
        "page.mjs",
        tmp_path,
        url=f"{base}/",
        anyCertificate=True,
        steps=[["choose", str(video)], ["until", "done", 1], ["visible", ".row img"]],
    ) as client:
        events = client.finish(seconds=120)
    check_quiet(events, base)
    upload = uploads(server)[video.name]
    assert sha256(server.stored(upload)) == sha256(video)
    asked = nginx.requests()
    assert f"PATCH {PREFIX}/files/{upload} HTTP/2.0" in asked
    assert {line.rpartition(" ")[2] for line in asked} == {"HTTP/2.0"}, asked


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_large_body_streams_is_cut_and_resumes(
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


def test_a_large_head_passes_both_ways(nginx: Nginx, server: ServerProcess) -> None:
    """Metadata as large as videodock takes it, and as it tells it back in answer to HEAD: nginx has room for it."""
    metadata = "filename YS5tcDQ=,note " + "QUJD" * 4000
    headers = TUS | {"Upload-Length": "1000", "Upload-Metadata": metadata}
    made = nginx.http.post(f"{nginx.url}/files", headers=headers)
    assert made.status_code == 201, made.text
    told = nginx.http.head(made.headers["Location"], headers=TUS)
    assert (told.status_code, told.headers["Upload-Metadata"]) == (200, metadata)


# Refusals


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_refusal_overtakes_the_body(
    start_server: StartServer, start_nginx: StartNginx, tmp_path: Path, protocol: str
) -> None:
    """A client that still sends hears 413 or 415 from videodock itself, not a broken connection or nginx's page."""
    server = start_server(max_file_size=2 * MIB)
    nginx = start_nginx(server)
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(bytes(64 * MIB))
    small = make(tmp_path, "small.mp4")
    for source, code, status in ((noise, "media_type_mismatch", 415), (small, "body_too_large", 413)):
        with sending(nginx, protocol, create(nginx, source), noise, at=0, rate="4M") as client:
            told = answered(client, seconds=10)  # the whole body would take 16
        assert told.startswith(f"{code}: ")
        assert told.endswith(f" {status}")
    film = big(tmp_path, "film.mp4", 8 * MIB)
    refused = curl(nginx.url, [film], protocol, "--cacert", str(nginx.certificate))
    assert (refused[0], refused[1]["success"]) == (413, False)


def test_who_is_slow_hears_of_it_from_videodock(start_server: StartServer, start_nginx: StartNginx) -> None:
    """nginx lets a client pause for longer than videodock does: pauses within are no matter, then 408 of our own.

    The times are those of the file and of the defaults, both divided by 30.
    """
    server = start_server(body_idle_timeout=2)
    wait = f"client_body_timeout {seconds('client_body_timeout'):g}s;"
    nginx = start_nginx(server, {wait: f"client_body_timeout {seconds('client_body_timeout') / 30 * 1000:g}ms;"})
    piece = bytes.fromhex("0000001c667479706d703432") + bytes(4084)
    made = nginx.http.post(f"{nginx.url}/files", headers=TUS | {"Upload-Length": str(4 * len(piece))})
    url = made.headers["Location"]
    with talking(nginx, f"PATCH {url.removeprefix(nginx.url)}", PATCH | {"Upload-Offset": "0"}, 4 * len(piece)) as wire:
        for _ in range(3):
            wire.sendall(piece)
            time.sleep(1.4)
        said = b""
        while b"body_timeout" not in said:
            more = wire.recv(4096)
            assert more, said
            said += more
    assert said.startswith(b"HTTP/1.1 408 ")
    assert offset(nginx, url) == 3 * len(piece)


# Whom to believe

FORGED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Prefix": "/evil",
    "Forwarded": "for=203.0.113.9;proto=http;host=evil.example",
    "X-Real-IP": "203.0.113.9",
}


def test_forged_headers_have_no_effect(start_server: StartServer, start_nginx: StartNginx) -> None:
    """Neither through nginx, which replaces them, nor past it, where nobody trusts the client."""
    server = start_server(trusted_proxies="127.0.0.2", log_format="json")
    nginx = start_nginx(server, {"proxy_redirect     off;": "proxy_redirect off; proxy_bind 127.0.0.2;"})
    headers = TUS | {"Upload-Length": "10"}
    through = nginx.http.post(f"{nginx.url}/files", headers=headers | FORGED | {"X-Request-ID": "through-nginx"})
    assert through.headers["Location"].startswith(f"{nginx.url}/files/")
    with httpx.Client(
        trust_env=False, timeout=PATIENCE, transport=httpx.HTTPTransport(local_address="127.0.0.3")
    ) as client:
        past = client.post(f"{server.url}/files", headers=headers | FORGED | {"X-Request-ID": "past-nginx"})
    assert past.headers["Location"].startswith(f"{server.url}/files/")
    assert client_of(server, "through-nginx") == "127.0.0.1"
    assert client_of(server, "past-nginx") == "127.0.0.3"


def client_of(server: ServerProcess, request_id: str) -> str:
    """Who asked, as the server's log has it."""

    def look() -> str:
        for line in server.log().splitlines():
            if request_id in line and '"request"' in line:
                return str(json.loads(line)["client"])
        return ""

    return until(look, seconds=5, what=f"the log has {request_id}")


# The documented API


def test_the_documented_api_under_a_prefix(
    start_server: StartServer, database_url: str, start_nginx: StartNginx, tmp_path: Path
) -> None:
    """A form by curl and HTTP/2, its state, and the poster at the URL that the state tells."""
    server = start_server(database_url=database_url, root_path=PREFIX)
    nginx = start_nginx(server, under_prefix())
    videos = [make(tmp_path, "one.mp4"), make(tmp_path, "假期.mov")]
    base = f"{nginx.url}{PREFIX}"
    status, answer = curl(base, videos, "--http2", "--cacert", str(nginx.certificate))
    assert (status, answer["uploaded_files"]) == (200, 2), answer
    sent = [f"POST {PREFIX}{PATH} HTTP/2.0"]  # written down when the client has its answer already
    until(lambda: nginx.requests() == sent, seconds=5, what=f"nginx tells {sent}")
    task = answer["task_id"]

    def ended() -> dict[str, Any]:
        state: dict[str, Any] = nginx.http.get(f"{base}/api/task/status/{task}").json()
        return state if state["status"] == "completed" else {}

    state = until(ended, seconds=60, every=0.1, what="the task is completed")
    check_stored(server, task, videos)
    for file in state["files"]:
        assert file["poster_url"].startswith(f"{base}/media/{task}/")
        poster = nginx.http.get(file["poster_url"])
        assert (poster.status_code, poster.headers["Content-Type"]) == (200, "image/jpeg")
        assert poster.content.startswith(b"\xff\xd8\xff")
    url = create(nginx, videos[0], base)
    assert url.startswith(f"{base}/files/")
    assert nginx.http.head(url, headers=TUS).status_code == 200
    bare = nginx.http.get(f"{nginx.url}{PREFIX}")
    assert (bare.status_code, bare.headers["Location"]) == (301, f"{base}/")
    assert nginx.http.get(f"{base}/metrics").status_code == 404


def test_downloads_pass_as_they_are(start_server: StartServer, start_nginx: StartNginx, video: Path) -> None:
    """The original comes whole and in ranges, by HTTP/2 to a slow client too, and nginx keeps none of it on disk."""
    server = start_server(downloads="on")
    nginx = start_nginx(server)
    url = create(nginx, video)
    sent = nginx.http.patch(url, headers=PATCH | {"Upload-Offset": "0"}, content=video.read_bytes())
    assert sent.status_code == 204
    part = nginx.http.get(url, headers={"Range": "bytes=5000000-5000099"})
    assert (part.status_code, part.content) == (206, video.read_bytes()[5_000_000:5_000_100])
    for more in ([], ["--limit-rate", "8M"]):
        done = subprocess.run(
            ["curl", "--silent", "--fail", "--http2", "--cacert", str(nginx.certificate), *more, url],
            check=True,
            capture_output=True,
            timeout=PATIENCE,
        )
        assert hashlib.sha256(done.stdout).hexdigest() == sha256(video)


# Doing it


@contextmanager
def held(nginx: Nginx, source: Path, folder: Path) -> Iterator[tuple[CuttingProxy, NodeClient]]:
    """tus-js-client in the middle of an upload whose connection is held, until the proxy is told to release it."""
    with (
        CuttingProxy(nginx.port, hold_at=5 * MIB) as proxy,
        NodeClient("tus.mjs", folder, **options(f"https://127.0.0.1:{proxy.port}", source)) as client,
    ):
        assert proxy.held.wait(PATIENCE)
        yield proxy, client


def under_prefix() -> dict[str, str]:
    """The change that the page tells to make for a prefix."""
    page = (ROOT / "docs/deploy/README.md").read_text()
    (block,) = [found for found in re.findall(r"```nginx\n(.*?)```", page, re.DOTALL) if f"location {PREFIX}/" in found]
    return {"    location / {\n        proxy_pass http://videodock;\n    }\n": block}
