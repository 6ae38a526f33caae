"""Bad input through a real server that makes everything it can: each file is refused, fails with a clear reason, or
plays; it uses no more than it may, leaves nothing behind, and the video behind it is processed.

`tests/pipeline/test_bad_input.py` looks closer at each step.
"""

import base64
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import bad_videos, samples
from tests.conftest import SERVERS
from tests.harness import processes
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.tasks import ENDS, finish, follow
from tests.harness.waiting import until
from tests.harness.watch import Watch, used

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # kinds of bad videos, through the whole server

VERSION = {"Tus-Resumable": "1.0.0"}
PATCH = VERSION | {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
MEMORY = 1536 << 20  # bytes resident, of all processes of the pipeline together
OWN_MEMORY = 512 << 20  # bytes resident, of the server
SECONDS = 120.0  # of the processor, for a file and the good one behind it
DISK = 64 << 20  # bytes of work and results, besides twice the file
LIMITS: dict[str, Any] = {"step_time_limit": 100, "transcode_time_limit": 100}

Make = Callable[[Path], Path]


def running(folder: Path, **settings: Any) -> Iterator[ServerProcess]:
    """A server that makes everything, one file at a time."""
    made = ServerProcess(
        folder, transcode="both", storyboard="on", encode_limit=1, spare_children=3, **LIMITS, **settings
    )
    made.start()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    yield from running(tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def careless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One that takes every file."""
    yield from running(tmp_path_factory.mktemp("careless"), accept="any")


@pytest.fixture
def server(shared: ServerProcess, request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """The shared one; after the test nothing is in the making, and no process is left."""
    request.node.stash[SERVERS] = [shared]
    yield shared
    until(lambda: not shared.at_work(), seconds=5, what="the processes of the pipeline are gone")
    until(lambda: not list((shared.data_dir / "work").iterdir()), seconds=5, what="nothing is in the making")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return samples.make(tmp_path_factory.mktemp("good"), "good.mp4", size="64x48", seconds=1)


@pytest.fixture
def listener() -> Iterator[str]:
    """The address of a server that must not be called."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        assert select.select([listening], [], [], 0.05)[0] == [], "somebody connected"


def send(server: ServerProcess, source: Path, name: str, language: str = "en") -> tuple[int, str]:
    """Upload by tus; status 204 and the task, or the status of the refusal and what it says."""
    headers = VERSION | {
        "Upload-Length": str(source.stat().st_size),
        "Upload-Metadata": "filename " + base64.b64encode(name.encode()).decode(),
        "Accept-Language": language,
    }
    created = server.http.post(f"{server.url}/files", headers=headers)
    if created.status_code != 201:
        return created.status_code, created.text
    url = created.headers["location"]
    answer = server.http.patch(url, headers=PATCH | {"Accept-Language": language}, content=source.read_bytes())
    if answer.status_code != 204:
        return answer.status_code, answer.text
    return 204, url.rpartition("/")[2]


def put(server: ServerProcess, source: Path, name: str | None = None) -> str:
    """Upload what must be taken; its task."""
    status, task_id = send(server, source, name or source.name)
    assert status == 204, task_id
    return task_id


def process(server: ServerProcess, source: Path, good: Path) -> dict[str, Any]:
    """Upload a file and a good one behind it; how the first ended. The second must complete, all within bounds."""
    folders = (server.data_dir / "work", server.data_dir / "results")
    before = sum(map(used, folders))
    with Watch(server.pid, *folders) as watch:
        first, second = put(server, source), put(server, good)
        end = follow(server, first, until=ENDS, seconds=600)[-1]
        check_plays(finish(server, second, seconds=300)["files"][0])
    print(watch, f"server {processes.memory(server.pid)[1] >> 20} MiB")  # for who wants to know
    assert watch.memory < MEMORY, watch
    assert processes.memory(server.pid)[1] < OWN_MEMORY
    assert watch.seconds < SECONDS, watch
    assert watch.disk - before < DISK + 2 * source.stat().st_size, watch
    return end


def check_plays(file: dict[str, Any]) -> None:
    """Everything was made of it."""
    assert (file["status"], file["playable"]) == ("completed", True), file
    assert all(file[key] for key in ("poster_url", "mp4_url", "hls_url", "storyboard_url")), file
    assert {step["status"] for step in file["steps"]} <= {"completed", "skipped"}, file["steps"]


def check_failed(server: ServerProcess, end: dict[str, Any], code: str) -> None:
    """It says why, in both languages, and shows nothing."""
    assert end["status"] == "error", end
    (file,) = end["files"]
    assert file["error"]["code"] == code
    address = f"{server.url}/api/task/status/{end['task_id']}"
    said = [server.http.get(address, headers={"Accept-Language": tongue}).json() for tongue in ("zh", "en")]
    for answer in said:
        assert answer["files"][0]["error"]["message"] in answer["message"]
        assert "?" not in answer["message"]
    assert said[0]["message"] != said[1]["message"]
    assert not any(file[key] for key in ("playable", "poster_url", "mp4_url", "hls_url", "storyboard_url"))
    assert used(server.data_dir / "results" / end["task_id"]) == 0


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "make",
    [
        bad_videos.truncated,
        bad_videos.no_frames,
        bad_videos.no_fragments,
        bad_videos.huge_pictures,
        bad_videos.many_frames,
        bad_videos.many_times,
        bad_videos.many_runs,
    ],
)
def test_a_file_that_only_begins_like_a_video_fails(
    make: Make, server: ServerProcess, good: Path, tmp_path: Path
) -> None:
    """A task whose file begins like a video and is none ends as an error that says so."""
    check_failed(server, process(server, make(tmp_path), good), "not_playable")


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (bad_videos.huge_header, {"width": 64, "height": 48}),
        (bad_videos.an_hour_of_black, {"duration": 3600.0}),
        (bad_videos.eight_k, {"width": 7680, "height": 4320}),
        (bad_videos.a_hundred_sounds, {"audio_tracks": 100}),
        pytest.param(bad_videos.ten_hours_of_black, {"duration": 36000.0}, marks=pytest.mark.soak),
        pytest.param(bad_videos.many_sounds, {"audio_tracks": 1000}, marks=pytest.mark.soak),
    ],
)
def test_odd_but_playable_videos_are_processed(
    make: Make, expected: dict[str, object], server: ServerProcess, good: Path, tmp_path: Path
) -> None:
    """Odd as it is, everything is made of it."""
    end = process(server, make(tmp_path), good)
    assert end["status"] == "completed", end
    check_plays(end["files"][0])
    assert end["files"][0].items() >= expected.items()


def disguises(folder: Path, listener: str) -> list[Path]:
    """Playlists that point at a file and at an address, as they are and behind the first bytes of a video."""
    texts = [
        f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{place}\n#EXT-X-ENDLIST\n"
        for place in ("/etc/passwd", f"{listener}/a.mp4")
    ]
    texts += [f"ffconcat version 1.0\nfile '{place}'\n" for place in ("/etc/passwd", f"{listener}/a.mp4")]
    made = []
    for number, text in enumerate(texts):
        for as_video in (False, True):
            place = folder / f"{number}-{as_video}"
            place.mkdir(parents=True)
            made.append(bad_videos.playlist(place, text, as_video=as_video))
    return made


def check_no_secret(server: ServerProcess) -> None:
    """Nothing of /etc/passwd is in a result or in the log."""
    assert "root:" not in server.log()
    for path in (server.data_dir / "results").rglob("*"):
        assert not path.is_file() or b"root:" not in path.read_bytes()


def test_a_file_that_does_not_begin_like_a_video_is_refused(
    server: ServerProcess, tmp_path: Path, listener: str
) -> None:
    """One byte, an archive and playlists do not get in, and are told so in both languages."""
    bare = [source for source in disguises(tmp_path, listener) if not source.read_bytes().startswith(bad_videos.FTYP)]
    assert len(bare) == 4
    for source in (bad_videos.one_byte(tmp_path), bad_videos.archive(tmp_path), *bare):
        refusals = [send(server, source, source.name, language) for language in ("zh", "en")]
        assert all(status == 415 and text.startswith("media_type_mismatch: ") for status, text in refusals), refusals
        assert refusals[0] != refusals[1]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("number", range(4))
def test_disguised_playlists_read_no_other_file_and_no_network(
    number: int, server: ServerProcess, good: Path, tmp_path: Path, listener: str
) -> None:
    """They fail; nobody is called, and no other file is shown."""
    sources = [source for source in disguises(tmp_path, listener) if source.read_bytes().startswith(bad_videos.FTYP)]
    assert len(sources) == 4
    check_failed(server, process(server, sources[number], good), "not_playable")
    check_no_secret(server)


def test_accept_any_keeps_other_files_unprocessed(
    careless: ServerProcess, request: pytest.FixtureRequest, tmp_path: Path, listener: str
) -> None:
    """With `accept=any` what is no video is kept as it is: no result, no call, no other file."""
    request.node.stash[SERVERS] = [careless]
    made = [bad_videos.one_byte(tmp_path), bad_videos.archive(tmp_path), *disguises(tmp_path, listener)[::2]]
    for task_id in [put(careless, source) for source in made]:
        (file,) = finish(careless, task_id)["files"]
        assert not any(file[key] for key in ("playable", "poster_url", "mp4_url", "hls_url", "storyboard_url"))
    check_no_secret(careless)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["-i.mp4", "-y.mp4", "a;rm -rf.mp4", "%d.mp4", "a\nb.mp4", "$(id).mp4"])
def test_file_names_are_never_options_or_commands(name: str, server: ServerProcess, good: Path) -> None:
    """Options, commands and patterns as names are processed like any other; without an extension they are refused."""
    status, text = send(server, good, "-i")
    assert (status, text.partition(":")[0]) == (415, "media_type_unsupported")
    check_plays(finish(server, put(server, good, name), seconds=90)["files"][0])


def test_place_and_device_of_a_recording_are_shown_nowhere(server: ServerProcess, good: Path, tmp_path: Path) -> None:
    """Neither the place nor the device is in the status, an event, the log or a result; also of a broken video."""
    source = samples.make(tmp_path, "a.mov", size="64x48", extra=bad_videos.PRIVATE)
    data = source.read_bytes()
    assert all(word.encode() in data for word in bad_videos.PRIVATE_WORDS)
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    broken = tmp_path / "broken.mov"
    broken.write_bytes(data[:start] + bytes(end - start) + data[end:])
    whole, failed = process(server, source, good), process(server, broken, good)
    check_plays(whole["files"][0])
    check_failed(server, failed, "not_playable")
    tables = ("tasks", "task_files", "task_steps", "task_events")
    shown = f"{whole}{failed}{server.log()}"
    shown += "".join(str(query(server.database_url, f"SELECT * FROM {table}")) for table in tables)
    assert not [word for word in bad_videos.PRIVATE_WORDS if word in shown]
    results = [path for path in (server.data_dir / "results" / whole["task_id"]).rglob("*") if path.is_file()]
    assert len(results) > 5
    for path in results:
        content = path.read_bytes()
        assert not [word for word in bad_videos.PRIVATE_WORDS if word.encode() in content], path
