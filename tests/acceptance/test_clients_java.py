"""tus-java-client 0.5, the one of Android apps: chunked bodies of 10 MiB, and an empty one where nothing is left."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.harness.arrival import check_arrived, upload_id
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.java import upload
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.samples import big

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(2)]  # a client and its troubles; it uploads in each run

MIB = 1 << 20
PAYLOAD = 2 * MIB


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("video")


@pytest.fixture(scope="module")
def video(folder: Path) -> Path:
    """A playable video whose length no request divides."""
    return big(folder, "假期 holiday.mp4", 5 * MIB + 12_345)


@pytest.fixture(scope="module")
def multiple(folder: Path) -> Path:
    """One that is an exact multiple of a request: the client finds its end by an empty one."""
    made = folder / "multiple" / "multiple.mp4"
    made.parent.mkdir()
    shutil.copy(big(folder, "start.mp4", 3 * MIB), made)
    with made.open("ab") as file:
        rest = 2 * PAYLOAD - made.stat().st_size
        file.write(rest.to_bytes(4, "big") + b"free" + bytes(rest - 8))
    assert made.stat().st_size == 2 * PAYLOAD
    return made


@pytest.fixture(params=["videodock", "tuspyserver"])
def server(request: pytest.FixtureRequest, start_server: StartServer) -> ServerProcess:
    return start_server(tus_engine=request.param)


def finished(server: ServerProcess, video: Path, url: str = "") -> str:
    """The URL of an upload that the client is content with."""
    found, why = upload(f"{server.url}/files", video, PAYLOAD, url)
    assert why == ""
    assert url in ("", found)
    return found


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", ["video", "multiple"])
@pytest.mark.turns(1)
def test_the_java_client_uploads_a_file(server: ServerProcess, kind: str, request: pytest.FixtureRequest) -> None:
    """Whole requests and a rest, or whole requests alone: it arrives, and the client ends well."""
    source: Path = request.getfixturevalue(kind)
    check_arrived(server, finished(server, source), source)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", ["video", "multiple"])
def test_the_java_client_resumes_a_complete_upload(
    server: ServerProcess, kind: str, request: pytest.FixtureRequest
) -> None:
    """The app was ended before it heard of the end: it sends no byte, and hears of it; there is still one task."""
    source: Path = request.getfixturevalue(kind)
    url = finished(server, source)
    assert finished(server, source, url) == url
    check_arrived(server, url, source)


@pytest.mark.sampled(1)
def test_the_java_client_resumes_after_a_cut(server: ServerProcess, video: Path) -> None:
    """The connection was cut in the second request, and the app starts again: it goes on where the bytes end."""
    with CuttingProxy(server.port, cuts=[PAYLOAD + MIB]) as proxy:
        cut, why = upload(f"{proxy.url}/files", video, PAYLOAD)
        assert "Exception" in why
        assert proxy.cut_count == 1
    url = f"{server.url}/files/{upload_id(cut)}"
    (row,) = query(server.database_url, "SELECT status FROM uploads WHERE id = :id", id=upload_id(url))
    assert row["status"] == "open"
    check_arrived(server, finished(server, video, url), video)


def test_the_java_client_uploads_an_empty_file(start_server: StartServer, tmp_path: Path) -> None:
    """An empty file is no video; where every file is taken, it is complete, and the client ends well."""
    empty = tmp_path / "empty.mp4"
    empty.touch()
    server = start_server(accept="any", scheduler="none")
    url = finished(server, empty)
    assert finished(server, empty, url) == url
    (row,) = query(server.database_url, "SELECT status, length FROM uploads WHERE id = :id", id=upload_id(url))
    assert row == {"status": "complete", "length": 0}
    strict = start_server(scheduler="none")
    _, why = upload(f"{strict.url}/files", empty, PAYLOAD)
    assert "415" in why
