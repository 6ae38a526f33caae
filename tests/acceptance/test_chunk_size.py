"""A proxy that limits bodies: the doctor proposes a chunk size, the server tells it, and the upload page obeys it."""

from pathlib import Path

import pytest

from server.doctor import outside
from server.doctor.findings import Report
from tests.acceptance.nginx_uploads import MIB, StartNginx
from tests.conftest import StartServer
from tests.harness.arrival import check_arrived
from tests.harness.chromium import drive
from tests.harness.nginx import Nginx
from tests.harness.upload_page import check_quiet, uploads
from tests.samples import big

pytestmark = pytest.mark.acceptance

LIMIT = {"client_max_body_size    0;": "client_max_body_size 3m;"}


def findings(nginx: Nginx) -> dict[str, object]:
    report = Report()
    outside.examine(nginx.url, report, ca=str(nginx.certificate))
    return {one.code: one.params.get("advised") for one in report.findings if one.code != "certificate_expires"}


def test_the_doctor_proposes_what_the_page_then_obeys(
    start_server: StartServer, start_nginx: StartNginx, tmp_path: Path
) -> None:
    """Without advice it proposes the limit; with larger advice it says so; with that advice all is well, and the page
    uploads a video in such chunks. Nobody is refused."""
    video = big(tmp_path, "holiday.mp4", 8 * MIB + 1)
    assert findings(start_nginx(start_server(), LIMIT)) == {"body_limit": 3 * MIB}
    assert "chunk_too_large" in findings(start_nginx(start_server(advised_chunk_size="4MiB"), LIMIT))
    server = start_server(advised_chunk_size=3 * MIB)
    nginx = start_nginx(server, LIMIT)
    assert findings(nginx) == {}
    before = len(nginx.requests())
    steps = [["choose", str(video)], ["until", "done", 1]]
    with drive("page.mjs", tmp_path, url=f"{nginx.url}/", anyCertificate=True, steps=steps) as client:
        check_quiet(client.finish(seconds=120), nginx.url)
    check_arrived(server, f"{server.url}/files/{uploads(server)[video.name]}", video)
    sent = [line for line in nginx.requests()[before:] if line.startswith("PATCH")]
    assert len(sent) == 4  # the first is small, so that a refusal reaches the browser
