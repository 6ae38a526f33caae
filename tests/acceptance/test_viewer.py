"""The viewer of the API at /docs, in Chromium, below the prefix of a proxy."""

from pathlib import Path

import pytest

from tests.acceptance.nginx_uploads import PREFIX, under_prefix
from tests.conftest import StartServer
from tests.harness.chromium import drive
from tests.harness.nginx import Nginx
from tests.harness.upload_page import check_quiet

pytestmark = pytest.mark.acceptance


def test_the_viewer_shows_and_tries_the_api(start_server: StartServer, tmp_path: Path) -> None:
    """All operations, at first without the HEADs and OPTIONS that every address has, one with its parameters and codes,
    one tried out: from this origin alone, without an error, on a desk and on a phone; nothing scrolls sideways."""
    server = start_server(root_path=PREFIX, auth="on")
    nginx = Nginx(tmp_path / "nginx", server.port, under_prefix())
    nginx.start()
    try:
        url = f"{nginx.url}{PREFIX}"
        options = {"operation": "tusPatch", "run": "whoIsSignedIn", "anyCertificate": True}
        with drive("viewer.mjs", tmp_path, url=f"{url}/docs", **options) as client:
            events = client.finish(seconds=180)
    finally:
        nginx.stop()
    check_quiet(events, url)
    paths = server.http.get(f"{server.url}/openapi.json").json()["paths"]
    (seen,) = [event for event in events if event["event"] == "seen"]
    every = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert set(seen["all"]) == every
    repeated = {
        f"HEAD {path}" for path, methods in paths.items() if "head" in methods and not path.startswith("/files")
    }
    repeated |= {f"OPTIONS {path}" for path in paths if not path.startswith("/files")}
    assert len(every & repeated) > 30
    assert set(seen["operations"]) == every - repeated
    assert {one.partition(" ")[2] for one in seen["operations"]} == set(paths)
    for word in ("Upload-Offset", "offset_mismatch", "checksum_mismatch", "Retry-After"):
        assert word in seen["opened"], word
    assert seen["status"] == 200  # asked by the page: with the prefix in its address, and allowed by its policy
    assert max(seen["wide"]) <= 0
