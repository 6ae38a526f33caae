"""Uploads, refusals and downloads through nginx with the documented configuration, by HTTP/1.1 and HTTP/2."""

import hashlib
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.settings import Settings
from tests.acceptance.nginx_uploads import (
    MIB,
    PREFIX,
    PROTOCOLS,
    StartNginx,
    create,
    offset,
    options,
    success,
    under_prefix,
)
from tests.conftest import StartServer
from tests.harness.arrival import check_arrived, check_stored
from tests.harness.chromium import drive
from tests.harness.multipart import PATH, curl
from tests.harness.nginx import PATCH, TUS, Nginx, answered, seconds, sending, talking
from tests.harness.node import NodeClient
from tests.harness.rows import sha256
from tests.harness.server_process import ServerProcess
from tests.harness.upload_page import check_quiet, uploads
from tests.harness.waiting import PATIENCE, until
from tests.samples import big, make

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # a proxy and what passes it


def test_time_limits_of_the_documented_file_fit_the_defaults() -> None:
    """nginx waits longer than videodock for a client, and closes a silent connection to videodock sooner than it."""
    defaults = Settings.model_fields
    idle = float(defaults["body_idle_timeout"].default)
    for directive in ("client_body_timeout", "send_timeout", "proxy_send_timeout", "proxy_read_timeout"):
        assert seconds(directive) > idle, directive
    assert seconds("proxy_read_timeout") > defaults["head_timeout"].default
    from uvicorn import Config

    async def app(*_: object) -> None: ...

    assert seconds("keepalive_timeout") < Config(app).timeout_keep_alive  # the server leaves it as it is


def test_plain_http_is_redirected_http_2_is_spoken_and_metrics_are_private(nginx: Nginx) -> None:
    """Plain HTTP is sent on with its method, HTTP/2 is spoken, and `/metrics` is 404."""
    with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
        sent_on = client.post(f"http://127.0.0.1:{nginx.plain_port}/files?a=b")
    assert (sent_on.status_code, sent_on.headers["Location"]) == (308, "https://127.0.0.1/files?a=b")
    subprocess.run(
        ["curl", "--silent", "--fail", "--http2", "--cacert", str(nginx.certificate), f"{nginx.url}/readyz"],
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )
    # It writes its log after the response.
    until(lambda: nginx.requests()[-1:] == ["GET /readyz HTTP/2.0"], what="nginx has logged the request")
    assert nginx.http.get(f"{nginx.url}/metrics").status_code == 404


def test_parallel_parts_are_joined_over_several_processes(
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


def test_large_metadata_passes_nginx_both_ways(nginx: Nginx, server: ServerProcess) -> None:
    """Metadata as large as videodock takes it, and as it tells it back in answer to HEAD: nginx has room for it."""
    metadata = "filename YS5tcDQ=,note " + "QUJD" * 4000
    headers = TUS | {"Upload-Length": "1000", "Upload-Metadata": metadata}
    made = nginx.http.post(f"{nginx.url}/files", headers=headers)
    assert made.status_code == 201, made.text
    head = nginx.http.head(made.headers["Location"], headers=TUS)
    assert (head.status_code, head.headers["Upload-Metadata"]) == (200, metadata)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_refusal_reaches_the_client_before_its_body_ends(
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
            refusal = answered(client, seconds=10)  # the whole body would take 16
        assert refusal.startswith(f"{code}: ")
        assert refusal.endswith(f" {status}")
    film = big(tmp_path, "film.mp4", 8 * MIB)
    refused = curl(nginx.url, [film], protocol, "--cacert", str(nginx.certificate))
    assert (refused[0], refused[1]["success"]) == (413, False)


def test_a_slow_client_gets_408_from_videodock(start_server: StartServer, start_nginx: StartNginx) -> None:
    """nginx lets a client pause for longer than videodock does, so the 408 is videodock's; short pauses are harmless.

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


FORGED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Prefix": "/evil",
    "Forwarded": "for=203.0.113.9;proto=http;host=evil.example",
    "X-Real-IP": "203.0.113.9",
}


def test_forged_headers_have_no_effect(start_server: StartServer, start_nginx: StartNginx) -> None:
    """Neither through nginx, which replaces them, nor past it, where no client is trusted."""
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


@pytest.mark.sampled(1)
@pytest.mark.turns(1)
def test_the_documented_api_works_under_a_prefix(
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


def test_downloads_are_complete_and_not_buffered_on_disk(
    start_server: StartServer, start_nginx: StartNginx, video: Path
) -> None:
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
