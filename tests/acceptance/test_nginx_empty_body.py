"""Through nginx by HTTP/2, a stream that ends with an empty DATA frame: a body that is empty, whatever its framing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.nginx import PATCH, TUS, Nginx
from tests.harness.node import NodeClient
from tests.harness.server_process import ServerProcess
from tests.harness.waiting import until

pytestmark = pytest.mark.acceptance

SIZE = 8


@pytest.fixture
def nginx(server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nginx]:
    """nginx with the documented configuration before a server with default settings."""
    with Nginx(tmp_path / "nginx", server.port) as made:
        monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(made.certificate))
        yield made


def ask(nginx: Nginx, folder: Path, *requests: dict[str, str]) -> list[dict[str, object]]:
    """Status and location of each answer; the names of fields are in lower case, as HTTP/2 has them."""
    lowered = [{name.lower(): value for name, value in headers.items()} for headers in requests]
    with NodeClient("empty_data.mjs", folder, url=nginx.url, requests=lowered) as client:
        return [event for event in client.finish() if event["event"] == "answer"]


def test_an_empty_data_frame_is_an_empty_body(nginx: Nginx, tmp_path: Path) -> None:
    """A creation is 201, a PATCH at the end of a complete upload is 204, and one in the middle stores nothing."""
    creation = {":method": "POST", ":path": "/files", "Upload-Length": str(SIZE)} | TUS
    metadata = {"Upload-Metadata": "filename YS5tcDQ="}
    (made,) = ask(nginx, tmp_path, creation | metadata)
    assert made["status"] == 201
    path = "/files/" + str(made["location"]).rpartition("/")[2]
    patch = {":method": "PATCH", ":path": path, "Upload-Offset": "0"} | PATCH
    (open_still,) = ask(nginx, tmp_path, patch)
    assert open_still["status"] == 204
    head = nginx.http.head(f"{nginx.url}{path}", headers=TUS)
    assert (head.status_code, head.headers["upload-offset"]) == (200, "0")
    content = b"\0\0\0\x08free"
    sent = nginx.http.patch(f"{nginx.url}{path}", headers=PATCH | {"Upload-Offset": "0"}, content=content)
    assert (sent.status_code, sent.headers["upload-offset"]) == (204, str(SIZE))
    (again,) = ask(nginx, tmp_path, patch | {"Upload-Offset": str(SIZE)})
    assert again["status"] == 204
    until(
        lambda: any("HTTP/2.0" in line and line.startswith("PATCH") for line in nginx.requests()),
        what="nginx has logged a PATCH by HTTP/2",
    )
    nginx.check_nothing_buffered()
