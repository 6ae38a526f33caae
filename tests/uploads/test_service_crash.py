"""A process that dies between any two steps of an upload leaves what one sweep, or the next request, can end."""

import tempfile
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from server.bootstrap import Services
from server.database.session import Database
from server.errors import UploadGoneError
from server.settings import Settings
from server.storage.disk import DiskStore
from server.tus.protocol import Append, Create, Facts
from server.uploads.completion import UploadCompletion
from server.uploads.deletion import UploadDeletion
from server.uploads.repository import UploadRepository
from server.uploads.service import ClientGoneError, UploadService
from tests.harness.crash_scenario import CrashScenario
from tests.harness.kill_points import KillPoint, kill
from tests.harness.rows import execute, query
from tests.transport.scripted import GONE, Message, chunk, scripted, whole
from tests.tus.client import video

LENGTH = 100_000
DATA = video(LENGTH)
OWNER = "default"


class UploadCrashScenario(CrashScenario):
    """Uploads by tus and by form."""

    def __init__(self, folder: Path, database_url: str) -> None:
        super().__init__(Settings(data_dir=folder, database_url=database_url))

    def rows(self) -> list[dict[str, Any]]:
        return query(self.url, "SELECT * FROM uploads ORDER BY created_at, id")

    def files(self) -> dict[str, bytes]:
        return {name: path.read_bytes() for name, path in self.stored().items()}

    def tasks(self) -> tuple[int, int, int]:
        """How many tasks, files of tasks and events of tasks there are."""
        tables = ("tasks", "task_files", "task_events WHERE upload_id IS NULL")
        tasks, files, events = (query(self.url, f"SELECT count(*) AS n FROM {table}")[0]["n"] for table in tables)
        return tasks, files, events

    def check(self) -> None:
        """Files and rows agree, and no task is without its uploads or the other way round."""
        rows = self.rows()
        assert set(self.files()) == {row["id"] for row in rows if row["has_bytes"]}
        assert all(row["status"] in ("open", "complete") for row in rows if row["has_bytes"])
        complete = [row for row in rows if row["status"] == "complete"]
        assert len(query(self.url, "SELECT id FROM task_files")) == len(complete)
        assert [path.name for path in (self.settings.data_dir / "locks").iterdir()] == [".held"]


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory: what commits thousands of times would wait for the disk, and no power is cut here."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as made:
        yield Path(made)


@pytest.fixture
def scenario(tmp_path: Path, database_url: str) -> UploadCrashScenario:
    return UploadCrashScenario(tmp_path / "data", database_url)


@pytest.fixture
def in_memory(memory: Path) -> UploadCrashScenario:
    return UploadCrashScenario(memory / "data", f"sqlite:///{memory / 'test.db'}")


async def make(services: Services) -> Facts:
    return await services.uploads.create(OWNER, Create(LENGTH, None, "clip.mp4", has_body=False))


def to_the_end(facts: Facts) -> Append:
    return Append(facts.offset, LENGTH - facts.offset, exact=True)


async def fill(services: Services, upload: str, messages: list[Message]) -> None:
    body = scripted(messages)
    try:
        await services.uploads.append(upload, OWNER, to_the_end, body)
    finally:
        await body.close()


def pieces(data: bytes = DATA) -> list[Message]:
    return whole([data[at : at + 30_000] for at in range(0, len(data), 30_000)])


async def all_of_it(services: Services) -> None:
    """The life of an upload: made, filled, complete."""
    await fill(services, (await make(services)).id, pieces())


async def made_and_removed(services: Services) -> None:
    """Made, filled in part, removed."""
    upload = (await make(services)).id
    with pytest.raises(ClientGoneError):
        await fill(services, upload, [chunk(DATA[:50_000]), GONE])
    await services.removal.terminate(upload, OWNER, lambda _: None)


async def rejected(services: Services) -> None:
    """Made, and refused for its first bytes."""
    with pytest.raises(Exception, match="media_type_mismatch"):
        await fill(services, (await make(services)).id, pieces(b"text " * 20_000))


async def a_form(services: Services) -> None:
    """Two files of a form."""
    async with services.forms.receive(OWNER) as form:
        for name in ("one.mp4", "two.mp4"):
            body = scripted(pieces())
            try:
                await form.receive_file(name, body)
            finally:
                await body.close()
        await form.finish()


SCENARIOS: dict[str, tuple[Callable[[Services], Awaitable[None]], set[tuple[str, int]], list[tuple[str, int]]]] = {
    "filled": (
        all_of_it,
        {("terminated", 0), ("open", 0), ("complete", LENGTH)},
        [("complete", LENGTH)],
    ),
    "removed": (made_and_removed, {("terminated", 0), ("open", 0), ("open", 50_000)}, [("terminated", 0)]),
    "rejected": (rejected, {("terminated", 0), ("open", 0), ("rejected", 0)}, [("rejected", 0)]),
    "form": (a_form, {("complete", LENGTH)}, [("complete", LENGTH)] * 2),
}
STEPS: list[tuple[type, str]] = [
    (DiskStore, "create"),
    (DiskStore, "size"),
    (DiskStore, "state"),
    (DiskStore, "head"),
    (DiskStore, "finish"),
    (DiskStore, "delete"),
    (Database, "write"),
    (Database, "_begin_common"),
    (UploadCompletion, "_register_complete"),
    (UploadDeletion, "delete_bytes"),
]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_an_upload_that_is_killed_at_any_step_is_completed_or_removed(
    in_memory: UploadCrashScenario, monkeypatch: pytest.MonkeyPatch, name: str, after: bool
) -> None:
    """Killed before or after each step in turn: one sweep, and rows, files and tasks agree; a second is harmless."""
    work, allowed, whole_end = SCENARIOS[name]
    seen: set[tuple[str, int]] = set()
    for at in range(1, 100):
        with monkeypatch.context() as patched:
            point = KillPoint(at, after=after)
            for owner, method in STEPS:
                # After `write` would be before the transaction has begun.
                dies_after = after and method not in ("write", "_begin_common")
                patched.setattr(owner, method, point.step(getattr(owner, method), after=dies_after))
            # What a dead process would do on its way out does not happen.
            patched.setattr(UploadRepository, "discard", point.step(UploadRepository.discard, after=False))
            ended = in_memory.run(work)
        in_memory.sweep()
        in_memory.check()
        files = in_memory.files()
        found = [(row["status"], len(files.get(row["id"], b""))) for row in in_memory.rows()]
        assert set(found) <= allowed, (at, found)
        assert all(content in (DATA, DATA[:50_000], b"") for content in files.values())
        seen |= set(found)
        before = in_memory.rows(), files, in_memory.tasks()
        in_memory.sweep()
        assert (in_memory.rows(), in_memory.files(), in_memory.tasks()) == before
        if ended:
            assert found == whole_end
            break
        in_memory.empty()
    assert ended, "there are more steps than were tried"
    assert at > 5
    assert seen >= set(whole_end)


@pytest.mark.parametrize("first", [1, 40, 64, 50_000, LENGTH - 1])
def test_bytes_without_a_recorded_offset_are_kept(
    in_memory: UploadCrashScenario, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    """The process died between the write and the row: the offset comes from the store, and the client resumes."""
    with monkeypatch.context() as patched:
        patched.setattr(UploadService, "_record_progress", kill)

        async def killed(services: Services) -> None:
            await fill(services, (await make(services)).id, [chunk(DATA[:first]), GONE])

        assert not in_memory.run(killed)
    (row,) = in_memory.rows()
    assert (row["received"], row["status"]) == (0, "open")
    assert in_memory.files() == {row["id"]: DATA[:first]}
    in_memory.sweep()
    in_memory.check()

    async def go_on(services: Services) -> None:
        facts = await services.uploads.inspect(row["id"], OWNER)
        assert facts.offset == first
        await fill(services, row["id"], pieces(DATA[first:]))

    assert in_memory.run(go_on)
    in_memory.check()
    assert in_memory.files() == {row["id"]: DATA}
    assert in_memory.tasks() == (1, 1, 1)


def test_completing_an_upload_twice_changes_nothing(scenario: UploadCrashScenario) -> None:
    """`complete` again, after it happened, changes nothing; for an upload that was removed it is refused."""

    async def twice(services: Services) -> None:
        upload = (await make(services)).id
        await fill(services, upload, pieces())
        before = scenario.rows()
        for _ in range(2):
            await services.completion.complete_verified_from_loop({upload: "mp4"}, upload)
        assert scenario.rows() == before
        gone = (await make(services)).id
        await services.removal.terminate(gone, OWNER, lambda _: None)
        register = partial(services.completion._register, {gone: "mp4"}, gone, None, None)
        with pytest.raises(UploadGoneError):
            await services.database.write_together(register)

    assert scenario.run(twice)
    assert scenario.tasks() == (1, 1, 1)


def test_a_form_without_one_of_its_files_gives_no_task(scenario: UploadCrashScenario) -> None:
    """Where one file of a form was removed meanwhile, no file of it becomes part of a task."""

    async def broken(services: Services) -> None:
        async with services.forms.receive(OWNER) as form:
            for name in ("one.mp4", "two.mp4"):
                body = scripted(pieces())
                await form.receive_file(name, body)
                await body.close()
            execute(scenario.url, "UPDATE uploads SET status = 'expired' WHERE id = :id", id=list(form.taken)[1])
            with pytest.raises(UploadGoneError):
                await form.finish()
            assert scenario.tasks() == (0, 0, 0)
            assert sorted(row["status"] for row in scenario.rows()) == ["expired", "open"]

    assert scenario.run(broken)
    assert scenario.tasks() == (0, 0, 0)
    assert scenario.files() == {}
    assert scenario.rows() == []


def test_a_sweep_leaves_a_form_that_is_being_received(in_memory: UploadCrashScenario) -> None:
    """A sweep of another process takes nothing of a form that is still being received."""

    async def slow(services: Services) -> None:
        async with services.forms.receive(OWNER) as form:
            body = scripted(pieces())
            await form.receive_file("one.mp4", body)
            await body.close()
            await anyio.to_thread.run_sync(in_memory.sweep)
            assert list(in_memory.files().values()) == [DATA]
            await form.finish()

    assert in_memory.run(slow)
    in_memory.check()
    assert in_memory.tasks() == (1, 1, 1)
