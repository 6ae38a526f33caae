"""tus-js-client 4 with everything it can be asked to do, against a real server."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.harness.arrival import check_arrived, upload_id
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.node import Event, NodeClient
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.waiting import PATIENCE, until
from tests.samples import big

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # a client and its troubles; it uploads in each run

MIB = 1 << 20
RETRIES = [0, 100, 300, 600, 1000, 2000, 3000]
TUS = {"Tus-Resumable": "1.0.0"}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A playable video of at least 8 MiB whose length no chunk divides."""
    return big(tmp_path_factory.mktemp("video"), "假期 holiday.mp4", 8 * MIB + 12_345)


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


def responses(events: list[Event], method: str) -> list[Event]:
    return [event for event in events if event["event"] == "response" and event["method"] == method]


def check_alone(server: ServerProcess, url: str) -> None:
    """Nothing but this upload is left: its file, its task, and of its parts only rows that say they are gone."""
    final = upload_id(url)
    assert server.stored_files() == [server.stored(final)]
    assert [row["id"] for row in query(server.database_url, "SELECT id FROM tasks")] == [final]
    others = query(server.database_url, "SELECT status, has_bytes FROM uploads WHERE id <> :id", id=final)
    assert all(row["status"] == "terminated" and not row["has_bytes"] for row in others), others


@pytest.mark.turns(1)
def test_a_creation_brings_the_first_chunk(server: ServerProcess, video: Path, tmp_path: Path) -> None:
    """With uploadDataDuringCreation and chunks, the POST brings the first chunk and is answered with its offset."""
    given = options(server.url, video, uploadDataDuringCreation=True, chunkSize=3 * MIB)
    with NodeClient("tus.mjs", tmp_path, **given) as client:
        events = client.finish()
    (post,) = responses(events, "POST")
    assert (post["status"], post["offset"]) == (201, str(3 * MIB))
    patches = [int(event["offset"]) for event in responses(events, "PATCH")]
    assert patches == [6 * MIB, video.stat().st_size]
    check_arrived(server, success(events), video)


@pytest.mark.sampled(1)
def test_four_parts_at_once_become_one_video(
    start_server: StartServer, database_url: str, video: Path, tmp_path: Path
) -> None:
    """parallelUploads 4: four partial uploads are joined in order into one video with one task, and are gone."""
    server = start_server(database_url=database_url)
    with NodeClient("tus.mjs", tmp_path, **options(server.url, video, parallelUploads=4)) as client:
        events = client.finish()
    url = success(events)
    assert [event["status"] for event in responses(events, "POST")] == [201] * 5
    patches = responses(events, "PATCH")
    assert [event["status"] for event in patches] == [204] * 4
    assert sum(int(event["offset"]) for event in patches) == video.stat().st_size
    assert all(event["task"] is None for event in patches), "a part became a task"
    check_arrived(server, url, video)
    check_alone(server, url)
    for part in {event["url"] for event in patches}:
        gone = server.http.head(part, headers=TUS)
        assert gone.status_code == 410
        assert "Upload-Offset" not in gone.headers
    (row,) = query(server.database_url, "SELECT concat FROM uploads WHERE id = :id", id=upload_id(url))
    assert row["concat"].startswith(f"final;{server.url}/files/")


def test_cut_parts_are_resumed_from_their_stored_urls(server: ServerProcess, video: Path, tmp_path: Path) -> None:
    """Four parts that were aborted on the way are found in the URL storage and go on where they were."""
    more = {"parallelUploads": 4, "chunkSize": MIB, "urlStorage": str(tmp_path / "urls.json")}
    with NodeClient("tus.mjs", tmp_path, **options(server.url, video, abortAfterBytes=2 * MIB, **more)) as first:
        first.finish()
        assert first.events("aborted")
        assert not first.events("success")
    with NodeClient("tus.mjs", tmp_path, **options(server.url, video, **more)) as second:
        events = second.finish()
        (previous,) = second.events("previous")
    heads = responses(events, "HEAD")
    assert {event["url"] for event in heads} == set(previous["parts"])
    kept = sum(int(event["offset"]) for event in heads)
    assert kept >= 2 * MIB
    assert [event["status"] for event in responses(events, "POST")] == [201], "more was made than the final"
    sent = sum(event["chunk"] for event in events if event["event"] == "chunk")
    assert sent == video.stat().st_size - kept, "bytes that had arrived were sent again"
    check_arrived(server, success(events), video)
    check_alone(server, success(events))


def test_cut_parts_are_resumed_by_the_retries_of_the_client(server: ServerProcess, video: Path, tmp_path: Path) -> None:
    """Connections of two parts are cut in the middle; the client asks, goes on, and the joined video is whole."""
    with CuttingProxy(server.port, cuts=[2 * MIB, 5 * MIB]) as proxy:
        given = options(proxy.url, video, parallelUploads=4, retryDelays=RETRIES)
        with NodeClient("tus.mjs", tmp_path, **given) as client:
            events = client.finish()
        assert proxy.cut_count == 2
    heads = responses(events, "HEAD")
    assert heads
    assert all(event["status"] == 200 for event in heads), heads
    check_arrived(server, success(events), video)
    check_alone(server, success(events))


def test_a_stream_sets_its_length_at_its_end(server: ServerProcess, video: Path, tmp_path: Path) -> None:
    """With uploadLengthDeferred nothing knows the length before the stream's end; the video is whole all the same."""
    given = options(server.url, video, asStream=True, uploadLengthDeferred=True, chunkSize=3 * MIB)
    with NodeClient("tus.mjs", tmp_path, **given) as client:
        events = client.finish()
    url = success(events)
    offsets = [int(event["offset"]) for event in responses(events, "PATCH")]
    assert offsets[0] == 3 * MIB
    assert offsets[-1] == video.stat().st_size
    check_arrived(server, url, video)
    (row,) = query(server.database_url, "SELECT length FROM uploads WHERE id = :id", id=upload_id(url))
    assert row["length"] == video.stat().st_size


def test_a_stream_of_unknown_length_is_resumed_after_a_cut(server: ServerProcess, video: Path, tmp_path: Path) -> None:
    """A chunk of a stream that was cut goes on at the offset that HEAD tells, the length still deferred."""
    with CuttingProxy(server.port, cuts=[5 * MIB // 2]) as proxy:
        how = {"asStream": True, "uploadLengthDeferred": True, "chunkSize": MIB, "retryDelays": RETRIES}
        with NodeClient("tus.mjs", tmp_path, **options(proxy.url, video, **how)) as client:
            events = client.finish()
        assert proxy.cut_count == 1
    (head,) = responses(events, "HEAD")
    assert head["status"] == 200
    assert 2 * MIB <= int(head["offset"]) < 3 * MIB
    check_arrived(server, success(events), video)


def test_a_post_with_the_override_header_works_as_patch(server: ServerProcess, video: Path, tmp_path: Path) -> None:
    """With overridePatchMethod no PATCH is ever sent: POST with X-HTTP-Method-Override does the same."""
    given = options(server.url, video, overridePatchMethod=True, chunkSize=4 * MIB)
    with NodeClient("tus.mjs", tmp_path, **given) as client:
        events = client.finish()
    assert not responses(events, "PATCH")
    url = success(events)
    posts = responses(events, "POST")
    assert [(event["url"], event["status"]) for event in posts] == [
        (f"{server.url}/files", 201),
        (url, 204),
        (url, 204),
        (url, 204),
    ]
    check_arrived(server, url, video)


def test_a_stored_url_survives_a_restart_of_client_and_server(
    server: ServerProcess, video: Path, tmp_path: Path
) -> None:
    """findPreviousUploads finds the URL of an aborted upload; after a restart it goes on there and is forgotten."""
    storage = tmp_path / "urls.json"
    more = {"chunkSize": MIB, "urlStorage": str(storage)}
    with NodeClient("tus.mjs", tmp_path, **options(server.url, video, abortAfterBytes=2 * MIB, **more)) as first:
        first.finish()
        (aborted,) = first.events("aborted")
    assert aborted["url"] in storage.read_text()
    server.restart()
    with NodeClient("tus.mjs", tmp_path, **options(server.url, video, **more)) as second:
        events = second.finish()
        assert [event["url"] for event in second.events("previous")] == [aborted["url"]]
    assert success(events) == aborted["url"]
    (head,) = responses(events, "HEAD")
    assert (head["status"], int(head["offset"])) == (200, 2 * MIB)
    check_arrived(server, aborted["url"], video)
    assert storage.read_text() == "{}", "a finished upload is still remembered"


def test_an_abort_between_requests_may_remove_the_upload(server: ServerProcess, video: Path, tmp_path: Path) -> None:
    """abort(true) is answered with 204; the file is gone, the row says so, and the URL is forgotten."""
    more = {"chunkSize": MIB, "urlStorage": str(tmp_path / "urls.json")}
    given = options(server.url, video, abortAfterBytes=2 * MIB, terminate=True, **more)
    with NodeClient("tus.mjs", tmp_path, **given) as client:
        events = client.finish()
        (aborted,) = client.events("aborted")
    check_terminated(server, events, aborted["url"])
    assert (tmp_path / "urls.json").read_text() == "{}"


def test_an_abort_in_a_request_may_remove_the_upload(server: ServerProcess, video: Path, tmp_path: Path) -> None:
    """abort(true) in the middle of a PATCH: DELETE evicts the body, even on a connection that is dead but open."""
    with CuttingProxy(server.port, hold_at=6 * MIB) as proxy:
        # The proxy reads no further and closes nothing, so the server cannot know that the client has left.
        now = tmp_path / "now"
        given = options(proxy.url, video, abortOnFile=str(now), terminate=True)
        with NodeClient("tus.mjs", tmp_path, **given) as client:
            assert proxy.held.wait(PATIENCE)
            now.touch()
            events = client.finish(seconds=30)
            (aborted,) = client.events("aborted")
        check_terminated(server, events, aborted["url"].replace(proxy.url, server.url))
        assert not responses(events, "PATCH")
        proxy.release()
    until(lambda: not server.stored_files(), seconds=1, what="late bytes of the evicted body bring nothing back")


def check_terminated(server: ServerProcess, events: list[Event], url: str) -> None:
    (delete,) = responses(events, "DELETE")
    assert delete["status"] == 204
    assert server.stored_files() == []
    assert not server.stored(upload_id(url)).exists()
    rows = query(server.database_url, "SELECT status, has_bytes FROM uploads")
    assert [(row["status"], bool(row["has_bytes"])) for row in rows] == [("terminated", False)]
    assert query(server.database_url, "SELECT id FROM tasks") == []
    gone = server.http.head(url, headers=TUS)
    assert (gone.status_code, gone.headers.get("Upload-Offset")) == (410, None)


def test_parts_are_removed_by_an_abort(server: ServerProcess, video: Path, tmp_path: Path) -> None:
    """abort(true) of a parallel upload removes every part; nothing is left on disk and no task was made."""
    given = options(server.url, video, parallelUploads=4, chunkSize=MIB, abortAfterBytes=MIB, terminate=True)
    with NodeClient("tus.mjs", tmp_path, **given) as client:
        events = client.finish()
    assert [event["status"] for event in responses(events, "DELETE")] == [204] * 4
    assert server.stored_files() == []
    assert query(server.database_url, "SELECT id FROM tasks") == []
