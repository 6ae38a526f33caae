"""Results appear whole or not at all, and an attempt that was only slow does no harm."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from server.storage.result_store import ResultStore
from server.storage.results import Results
from tests.harness.bucket_results import content, result_bucket
from tests.harness.object_store import object_store  # noqa: F401  # a fixture

TASK = "11111111-1111-4111-8111-111111111111"
FILE = "22222222-2222-4222-8222-222222222222"
STEP = "poster"
NAME = "poster.jpg"


@pytest.fixture(params=["disk", "bucket"])
def results(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ResultStore]:
    """A store of results whose work folders are below `tmp_path`."""
    if request.param == "disk":
        yield Results(tmp_path)
        return
    server = request.getfixturevalue("object_store")
    with result_bucket(server, tmp_path, f"sqlite:///{tmp_path / 'test.db'}") as bucket:
        yield bucket.host("")


def publish(results: ResultStore, attempt: int, file: str = FILE, step: str = STEP) -> None:
    """Seal and publish what a step has made."""
    results.seal(TASK, attempt, file, step)
    results.publish(TASK, attempt, file, step)


def make(results: ResultStore, attempt: int, content: bytes, file: str = FILE) -> Path:
    folder = results.begin(TASK, attempt, file, STEP)
    (folder / NAME).write_bytes(content)
    return folder


def found(results: ResultStore, name: str = NAME) -> bytes | None:
    return content(results.look_up(TASK, FILE, name))


def test_only_published_results_are_found(results: ResultStore, tmp_path: Path) -> None:
    """What is in the making is not found; what is published is, and by its public name only."""
    folder = make(results, 1, b"one")
    (folder / "notes.txt").write_text("private")
    assert found(results) is None
    publish(results, 1)
    assert found(results) == b"one"
    assert results.look_up(TASK, FILE, "notes.txt") is None
    assert results.look_up(TASK, FILE, f"../{FILE}/{NAME}") is None
    assert results.attempts() == [(TASK, 1)]
    results.discard(TASK, 1)
    assert results.attempts() == []
    assert found(results) == b"one"
    assert list((tmp_path / "work").iterdir()) == []


def test_a_later_attempt_replaces_published_results(results: ResultStore, tmp_path: Path) -> None:
    """A later attempt replaces what an earlier one, cut short behind its rename, had put there."""
    make(results, 1, b"one")
    publish(results, 1)
    make(results, 2, b"two")
    publish(results, 2)
    assert found(results) == b"two"
    for attempt in (1, 2):
        results.discard(TASK, attempt)
    assert list((tmp_path / "work").iterdir()) == []


def test_publishing_nothing_keeps_earlier_results(results: ResultStore) -> None:
    """A file of which nothing was to be made has no results, and an earlier one is not lost by it."""
    results.begin(TASK, 1, FILE, STEP)
    publish(results, 1)
    assert found(results) is None
    make(results, 2, b"two")
    publish(results, 2)
    results.begin(TASK, 3, FILE, STEP)
    publish(results, 3)
    assert found(results) == b"two"


def test_an_attempt_begins_with_an_empty_folder(results: ResultStore) -> None:
    """What an attempt of that number left is not taken for its own."""
    make(results, 1, b"old")
    assert list(results.begin(TASK, 1, FILE, STEP).iterdir()) == []


def test_attempts_write_to_separate_folders(results: ResultStore) -> None:
    """Two attempts at the same time write to different folders; discarding one leaves the other."""
    assert make(results, 1, b"one") != make(results, 2, b"two")
    results.discard(TASK, 1)
    results.discard(TASK, 1)
    publish(results, 2)
    assert found(results) == b"two"


def test_files_of_a_task_are_published_separately(results: ResultStore) -> None:
    """The files of a task are published one by one."""
    other = FILE.replace("2", "3")
    make(results, 1, b"one")
    make(results, 1, b"other", other)
    publish(results, 1, other)
    assert found(results) is None
    assert results.look_up(TASK, other, NAME) is not None


def test_steps_of_a_file_add_to_its_results(results: ResultStore) -> None:
    """Each step of a file adds what it made, and takes nothing of the others' away."""
    make(results, 1, b"poster")
    made = results.begin(TASK, 1, FILE, "mp4")
    (made / "video.mp4").write_bytes(b"video")
    publish(results, 1)
    assert results.look_up(TASK, FILE, "video.mp4") is None
    publish(results, 1, step="mp4")
    assert results.look_up(TASK, FILE, "video.mp4") is not None
    assert found(results) == b"poster"


def test_a_folder_is_published_and_replaced_as_a_whole(results: ResultStore, tmp_path: Path) -> None:
    """A playlist and its segments appear together; a later attempt's replace all of an earlier one's."""
    for attempt, names in ((1, ("index.m3u8", "240p/a.m4s", "240p/old.m4s")), (2, ("index.m3u8", "240p/a.m4s"))):
        made = results.begin(TASK, attempt, FILE, "hls")
        for name in names:
            (made / "hls" / name).parent.mkdir(parents=True, exist_ok=True)
            (made / "hls" / name).write_text(str(attempt))
        publish(results, attempt, step="hls")
        shown = [found(results, f"hls/{name}") for name in names]
        assert shown == [str(attempt).encode()] * len(names)
    assert results.look_up(TASK, FILE, "hls/240p/old.m4s") is None
    for name in ("hls", "hls/240p", "hls/../poster.jpg", "hls/240p/../../x.jpg", "hls/.a.m4s", "/hls/index.m3u8"):
        assert results.look_up(TASK, FILE, name) is None
    for attempt in (1, 2):
        results.discard(TASK, attempt)
    assert list((tmp_path / "work").iterdir()) == []


def test_unknown_names_in_the_work_folder_are_ignored(results: ResultStore, tmp_path: Path) -> None:
    """Names that are no attempt are passed over."""
    for name in ("lost+found", ".hidden", "x.y"):
        (tmp_path / "work" / name).mkdir()
    make(results, 12, b"x")
    assert results.attempts() == [(TASK, 12)]
