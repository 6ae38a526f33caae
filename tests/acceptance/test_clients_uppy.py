"""Uppy 6 with Dashboard and Golden Retriever in Chromium, on a page of another origin than the server's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from server import media_types
from server.messages import Language, sentence
from tests.conftest import StartServer
from tests.harness.arrival import check_arrived, upload_id
from tests.harness.chromium import check_continued, drive, look, requests, responses
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.node import Event, NodeClient
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.uppy_page import serving
from tests.harness.waiting import PATIENCE, until
from tests.samples import big

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # a client and its troubles; it uploads in each run

MIB = 1 << 20
Step = list[str | int]
UPLOAD: Step = ["press", "Upload 1 file"]
COMPLETE: Step = ["text", "Complete"]
SUCCESS = "uppy upload-success "


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the page is, bundled from `tests/clients/uppy/`."""
    with serving(tmp_path_factory.mktemp("uppy")) as found:
        yield found


@pytest.fixture
def server(start_server: StartServer, origin: str) -> ServerProcess:
    """A server that lets pages of that origin upload, and of no other."""
    return start_server(cors_origins=origin)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A playable video, larger than what Golden Retriever stores unless it is told to."""
    return big(tmp_path_factory.mktemp("video"), "假期 holiday.mp4", 12 * MIB + 12_345)


def browser(folder: Path, page: str, target: str, *steps: Step, locale: str = "en-GB") -> NodeClient:
    """Chromium on the page, uploading to `target`, taking `steps`."""
    return drive("uppy.mjs", folder, url=f"{page}/?endpoint={target}/files", locale=locale, steps=steps)


def use(folder: Path, page: str, target: str, *steps: Step, locale: str = "en-GB") -> list[Event]:
    """Take all `steps`; all events."""
    with browser(folder, page, target, *steps, locale=locale) as client:
        return client.finish(seconds=150)


def success(events: list[Event]) -> str:
    """The URL of the one upload that Uppy says has succeeded."""
    said = [event["text"] for event in events if event["event"] == "console"]
    assert not [text for text in said if text.startswith("uppy upload-error")]
    (found,) = [text.removeprefix(SUCCESS) for text in said if text.startswith(SUCCESS)]
    return str(found)


def check_whole(server: ServerProcess, events: list[Event], video: Path) -> None:
    """The one upload that there is arrived, byte for byte, and became the one task that there is."""
    assert not [event for event in events if event["event"] == "pageerror"]
    url = success(events)
    check_arrived(server, url, video)
    for table in ("uploads", "tasks"):
        assert query(server.database_url, f"SELECT id FROM {table}") == [{"id": upload_id(url)}]


def arrived(server: ServerProcess) -> int:
    """Bytes of the one upload that lie on disk now; unlike HEAD, it does not disturb who writes them."""
    return sum(path.stat().st_size for path in server.stored_files())


def offset(server: ServerProcess) -> int:
    """The offset of the one upload, as the server tells it."""
    (row,) = query(server.database_url, "SELECT id FROM uploads")
    head = server.http.head(f"{server.url}/files/{row['id']}", headers={"Tus-Resumable": "1.0.0"})
    assert head.status_code == 200
    return int(head.headers["Upload-Offset"])


@pytest.mark.sampled(1)
@pytest.mark.parametrize("allowed", ["this origin", "*"])
@pytest.mark.turns(1)
def test_a_dropped_video_arrives(
    start_server: StartServer, origin: str, allowed: str, video: Path, tmp_path: Path
) -> None:
    """A file dropped from the desktop is asked for across origins, arrives in one PATCH and becomes one task."""
    server = start_server(cors_origins=origin if allowed == "this origin" else allowed)
    events = use(tmp_path, origin, server.url, ["drop", str(video)], UPLOAD, COMPLETE)
    asked = [(event["url"], event["status"]) for event in events if event["event"] == "preflight"]
    assert sorted(asked) == [(f"{server.url}/files", 204), (success(events), 204)]
    assert [event["offset"] for event in requests(events, "PATCH")] == [0]
    check_whole(server, events, video)


def test_a_page_of_another_origin_may_not_upload(
    server: ServerProcess, origin: str, video: Path, tmp_path: Path
) -> None:
    """The browser lets a page of an origin that is not named create nothing."""
    other = origin.replace("127.0.0.1", "localhost")
    steps: list[Step] = [["drop", str(video)], UPLOAD, ["logged", "blocked by CORS policy"]]
    use(tmp_path, other, server.url, *steps)
    assert query(server.database_url, "SELECT id FROM uploads") == []


def test_a_paused_upload_is_resumed_without_repeating_bytes(
    server: ServerProcess, origin: str, video: Path, tmp_path: Path
) -> None:
    """While Uppy is paused the server's offset stands still; resumed, it goes on there and sends nothing twice."""
    enough, seen = tmp_path / "enough", tmp_path / "seen"
    steps: list[Step] = [
        ["drop", str(video)],
        ["throttle", 4 * MIB],
        UPLOAD,
        ["file", str(enough)],
        ["press", "Pause"],
        ["text", "Paused"],
        ["throttle", 0],  # a request that were still under way would be through at once
        ["look", "paused"],
        ["file", str(seen)],
        ["look", "still paused"],
        ["press", "Resume"],
        COMPLETE,
    ]
    with browser(tmp_path, origin, server.url, *steps) as client:
        until(lambda: arrived(server) >= 3 * MIB, seconds=30, what="3 MiB are there")
        enough.touch()
        client.wait_for("failed", where=lambda event: event["method"] == "PATCH")
        client.wait_for("look")
        paused = offset(server)
        assert 3 * MIB <= paused < video.stat().st_size
        for _ in range(100):
            assert (arrived(server), offset(server)) == (paused, paused)
        seen.touch()
        events = client.finish(seconds=150)
    pause = events[events.index(look(events, "paused")) : events.index(look(events, "still paused"))]
    assert not [event for event in pause if event["event"] == "request"]
    assert check_continued(events) == paused
    assert [event["offset"] for event in requests(events, "PATCH")] == [0, paused]
    check_whole(server, events, video)


def test_an_upload_is_resumed_after_a_reload(server: ServerProcess, origin: str, video: Path, tmp_path: Path) -> None:
    """Golden Retriever brings the file back, and the same upload goes on although its old connection is still open."""
    reload = tmp_path / "reload"
    steps: list[Step] = [
        ["drop", str(video)],
        UPLOAD,
        ["saved"],
        ["file", str(reload)],
        ["reload"],
        ["text", "Session restored"],
        ["look", "restored"],
        UPLOAD,
        COMPLETE,
    ]
    least = 6 * MIB - 16_384  # what the proxy lets through, without the heads of the requests
    with CuttingProxy(server.port, hold_at=6 * MIB) as proxy:
        with browser(tmp_path, origin, proxy.url, *steps) as client:
            assert proxy.held.wait(PATIENCE)
            until(lambda: arrived(server) > least, seconds=10, what="what the proxy let through is on disk")
            reload.touch()
            events = client.finish(seconds=150)
        assert video.name in look(events, "restored")["text"]
        continued = check_continued(events)
        assert least < continued < 6 * MIB
        assert [event["offset"] for event in requests(events, "PATCH")] == [0, continued]
        assert {event["url"] for event in requests(events, "PATCH")} == {success(events)}
        check_whole(server, events, video)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("how", ["rst", "fin"])
def test_cut_connections_are_retried(
    server: ServerProcess, origin: str, video: Path, tmp_path: Path, how: Literal["rst", "fin"]
) -> None:
    """Cut twice in the middle, Uppy asks where it was, goes on there by itself, and one upload arrives whole."""
    # The first cut waits until the server has what came before: a reset may take along what is still in buffers.
    with CuttingProxy(server.port, hold_at=2 * MIB, cuts=[3 * MIB, 7 * MIB], how=how) as proxy:
        with browser(tmp_path, origin, proxy.url, ["drop", str(video)], UPLOAD, COMPLETE) as client:
            assert proxy.held.wait(PATIENCE)
            until(lambda: arrived(server) > MIB, seconds=10, what="what the proxy let through is on disk")
            proxy.release()
            events = client.finish(seconds=150)
        assert proxy.cut_count == 2
    assert check_continued(events) > MIB
    offsets = [event["offset"] for event in responses(events, "HEAD")]
    assert [event["offset"] for event in requests(events, "PATCH")] == [0, *offsets]
    check_whole(server, events, video)


def test_an_upload_is_resumed_after_a_restart_of_the_server(
    server: ServerProcess, origin: str, video: Path, tmp_path: Path
) -> None:
    """While the server is away Uppy keeps trying; once it is back, the same upload goes on."""
    steps: list[Step] = [
        ["drop", str(video)],
        ["throttle", 4 * MIB],
        UPLOAD,
        ["logged", "ERR_CONNECTION_REFUSED"],
        ["throttle", 0],
        COMPLETE,
    ]
    with browser(tmp_path, origin, server.url, *steps) as client:
        until(lambda: arrived(server) >= 3 * MIB, seconds=30, what="3 MiB are there")
        server.kill()
        client.wait_for("step", where=lambda event: event["name"] == "logged")
        server.start()
        events = client.finish(seconds=150)
    assert check_continued(events) >= 3 * MIB
    check_whole(server, events, video)


def test_a_cancel_removes_the_received_bytes(server: ServerProcess, origin: str, video: Path, tmp_path: Path) -> None:
    """Cancelled in the middle, Uppy deletes the upload: no byte of it is left, and there is no task."""
    enough = tmp_path / "enough"
    steps: list[Step] = [
        ["drop", str(video)],
        ["throttle", 4 * MIB],
        UPLOAD,
        ["file", str(enough)],
        ["press", "Cancel"],
        ["answered", "DELETE"],
    ]
    with browser(tmp_path, origin, server.url, *steps) as client:
        until(lambda: arrived(server) >= 3 * MIB, seconds=30, what="3 MiB are there")
        enough.touch()
        events = client.finish(seconds=150)
    assert [event["status"] for event in responses(events, "DELETE")] == [204]
    assert server.stored_files() == []
    assert [row["status"] for row in query(server.database_url, "SELECT status FROM uploads")] == ["terminated"]
    assert query(server.database_url, "SELECT id FROM tasks") == []


@pytest.mark.sampled(2)
@pytest.mark.parametrize("size", [5_000, 20 * MIB])
@pytest.mark.parametrize(("locale", "language"), [("en-GB", "en"), ("zh-CN", "zh")])
def test_a_text_named_mp4_is_refused_once(
    server: ServerProcess, origin: str, tmp_path: Path, size: int, locale: str, language: Language
) -> None:
    """The Dashboard shows the server's sentence in the reader's language; Uppy tries again only when it is told to."""
    text = tmp_path / "notes.mp4"
    text.write_bytes(b"Dear diary, today I uploaded nothing.\n" * (size // 38))
    refusal = sentence("media_type_mismatch", {"accepted": media_types.ACCEPTED_BY_TUS}, language)
    steps: list[Step] = [["drop", str(text)], UPLOAD, ["text", refusal], ["text", "Upload failed"]]
    steps += [["look", "failed"], ["press", "Retry upload"], ["logged", "uppy upload-error", 2]]
    events = use(tmp_path, origin, server.url, *steps, locale=locale)
    alone = events[: events.index(look(events, "failed"))]
    assert "uppy complete" in [event.get("text") for event in alone], "Uppy has not given up"
    assert len(requests(alone, "PATCH")) == len(requests(alone, "POST")) == 1
    assert [event["status"] for event in responses(events, "PATCH")] == [415, 415]
    assert server.stored_files() == []
    assert query(server.database_url, "SELECT id FROM tasks") == []


def test_a_file_over_the_limit_is_refused_before_it_is_sent(
    start_server: StartServer, origin: str, video: Path, tmp_path: Path
) -> None:
    """A refused creation shows the server's sentence too, and no byte is sent."""
    server = start_server(cors_origins=origin, tus_max_size=MIB)
    refusal = sentence("upload_too_large", {"limit": "1 MiB"}, "en")
    events = use(tmp_path, origin, server.url, ["drop", str(video)], UPLOAD, ["text", refusal])
    assert [event["status"] for event in responses(events, "POST")] == [413]
    assert requests(events, "PATCH") == []


def test_the_documented_sample_is_what_runs() -> None:
    """docs/clients.md shows the very code that these tests bundle, and the element that it looks for."""
    root = Path(__file__).parents[2]
    shown = (root / "docs/clients.md").read_text()
    assert f"```js\n{(root / 'tests/clients/uppy/sample.js').read_text()}```" in shown
    assert 'id="uppy" data-endpoint=' in shown
