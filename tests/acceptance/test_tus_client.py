"""Real videos sent by tus-js-client, over connections that break and to a server that dies."""

from pathlib import Path
from typing import Any, Literal

import pytest

from tests.conftest import StartServer
from tests.harness.arrival import check_arrived, upload_id
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.node import Event, NodeClient
from tests.harness.server_process import ServerProcess
from tests.harness.waiting import PATIENCE, until
from tests.samples import big

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # a client and its troubles; it uploads in each run

MIB = 1 << 20
RETRIES = [0, 100, 300, 600, 1000, 2000, 3000, 5000]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A playable video of at least 8 MiB."""
    return big(tmp_path, "假期 holiday.mp4", 8 * MIB)


def options(origin: str, source: Path, **more: object) -> dict[str, Any]:
    return {
        "endpoint": f"{origin}/files",
        "path": str(source),
        "metadata": {"filename": source.name, "filetype": "video/mp4"},
    } | more


def success(events: list[Event]) -> str:
    """The URL of the upload; the response that completed it named the task."""
    (end,) = [event for event in events if event["event"] == "success"]
    assert end["task"] == upload_id(end["url"])
    return str(end["url"])


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "how",
    [
        pytest.param({}, id="whole"),
        pytest.param({"chunkSize": MIB}, id="chunks"),
        pytest.param({"uploadDataDuringCreation": True}, id="creation-with-upload"),
    ],
)
@pytest.mark.turns(1)
def test_a_video_arrives_and_is_processed(
    start_server: StartServer, database_url: str, video: Path, tmp_path: Path, how: dict[str, Any]
) -> None:
    """A video sent whole, in chunks, or with its creation, arrives byte for byte and gets its poster."""
    server = start_server(database_url=database_url)
    with NodeClient("tus.mjs", tmp_path, **options(server.url, video, **how)) as client:
        events = client.finish()
    check_arrived(server, success(events), video)
    patches = [event for event in events if event.get("method") == "PATCH"]
    assert len(patches) == {(): 1, ("chunkSize",): -(-video.stat().st_size // MIB)}.get(tuple(how), 0)


def test_an_aborted_upload_is_resumed_where_it_stopped(server: ServerProcess, video: Path, tmp_path: Path) -> None:
    """A second client that only shares the URL storage continues the upload and sends nothing twice."""
    more = {"chunkSize": MIB, "urlStorage": str(tmp_path / "urls.json")}
    with NodeClient("tus.mjs", tmp_path, **options(server.url, video, abortAfterBytes=3 * MIB, **more)) as first:
        first.finish()
        (aborted,) = first.events("aborted")
        assert not first.events("success")
    task = upload_id(aborted["url"])
    response = server.http.get(f"{server.url}/api/task/status/{task}")
    assert (response.status_code, response.json()["code"]) == (404, "task_not_found")

    with NodeClient("tus.mjs", tmp_path, **options(server.url, video, **more)) as second:
        events = second.finish()
    assert success(events) == aborted["url"]
    head, *rest = [event for event in events if event["event"] == "response"]
    assert (head["method"], head["status"]) == ("HEAD", 200)
    assert int(head["offset"]) >= 3 * MIB
    assert {event["method"] for event in rest} == {"PATCH"}
    assert sum(event["chunk"] for event in second.events("chunk")) == video.stat().st_size - int(head["offset"])
    check_arrived(server, aborted["url"], video)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("chunk", [0, 3 * MIB], ids=["one-request", "chunks"])
@pytest.mark.parametrize("how", ["rst", "fin"])
def test_a_cut_upload_is_resumed_by_the_retries_of_the_client(
    server: ServerProcess, video: Path, tmp_path: Path, how: Literal["rst", "fin"], chunk: int
) -> None:
    """Two cuts in the middle of a PATCH cost a HEAD each; what had arrived is not sent again."""
    with CuttingProxy(server.port, cuts=[5 * MIB // 2, 11 * MIB // 2], how=how) as proxy:
        given = options(proxy.url, video, retryDelays=RETRIES, chunkSize=chunk or None)
        with NodeClient("tus.mjs", tmp_path, **given) as client:
            events = client.finish()
        assert proxy.cut_count == 2
    heads = [event for event in events if event.get("method") == "HEAD"]
    assert len(heads) >= 2
    assert all(event["status"] == 200 and int(event["offset"]) > 0 for event in heads), heads
    check_arrived(server, success(events), video)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("healer", ["same-client", "new-client"])
def test_a_server_killed_in_a_patch_costs_nothing(
    start_server: StartServer, database_url: str, video: Path, tmp_path: Path, healer: str
) -> None:
    """After kill -9 in the middle of a PATCH and a restart, the upload goes on and is whole."""
    server = start_server(database_url=database_url)
    with CuttingProxy(server.port, hold_at=4 * MIB) as proxy:
        more = {"retryDelays": RETRIES, "urlStorage": str(tmp_path / "urls.json")}
        with NodeClient("tus.mjs", tmp_path, **options(proxy.url, video, **more)) as client:
            url = client.wait_for("url")["url"]
            assert proxy.held.wait(PATIENCE)
            stored = server.stored(upload_id(url))
            until(lambda: stored.stat().st_size > 0, seconds=10, what="bytes of a running PATCH are on disk")
            server.kill()
            proxy.release()
            if healer == "same-client":
                client.wait_for("retry")
                server.start()
                events = client.finish()
        if healer == "new-client":
            server.start()
            with NodeClient("tus.mjs", tmp_path, **options(proxy.url, video, **more)) as client:
                events = client.finish()
                assert client.events("previous")
    assert success(events) == url
    offsets = [int(event["offset"]) for event in events if event.get("method") == "HEAD" and event["offset"]]
    assert offsets, "the client did not ask for the offset"
    assert offsets[-1] > 0, "bytes that were on disk are lost"
    check_arrived(server, url, video)


def test_the_task_of_an_upload_can_be_polled_by_its_url(server: ServerProcess, video: Path) -> None:
    """The task's id is the upload's: 404 until the last byte, then there; browsers may read the header."""
    tus = {"Tus-Resumable": "1.0.0", "Origin": "https://app.example.org"}
    data = video.read_bytes()
    name = "ZmlsbS5tcDQ="  # film.mp4
    made = server.http.post(
        f"{server.url}/files", headers=tus | {"Upload-Length": str(len(data)), "Upload-Metadata": f"filename {name}"}
    )
    assert made.status_code == 201, made.text
    url = made.headers["Location"]
    assert url.startswith(f"{server.url}/files/")
    status = f"{server.url}/api/task/status/{upload_id(url)}"
    for start, end in ((0, MIB), (MIB, len(data))):
        assert server.http.get(status).status_code == 404
        patched = server.http.patch(
            url,
            content=data[start:end],
            headers=tus | {"Upload-Offset": str(start), "Content-Type": "application/offset+octet-stream"},
        )
        assert (patched.status_code, patched.headers["Upload-Offset"]) == (204, str(end)), patched.text
        assert patched.headers.get("Upload-Task") == (upload_id(url) if end == len(data) else None)
    exposed = patched.headers["Access-Control-Expose-Headers"].lower()
    assert {"upload-task", "location", "upload-offset"} <= {name.strip() for name in exposed.split(",")}
    assert server.http.get(status).status_code == 200

    again = server.http.patch(
        url,
        headers=tus | {"Upload-Offset": str(len(data)), "Content-Type": "application/offset+octet-stream"},
    )
    assert again.status_code == 204, "a last PATCH whose response was lost may be repeated"
    head = server.http.head(url, headers=tus)
    assert head.headers["Upload-Task"] == upload_id(url)
