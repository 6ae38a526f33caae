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
from server.uploads.deletion import UploadDeletion
from server.uploads.repository import UploadRepository
from server.uploads.service import ClientGoneError, UploadService
from tests.harness.kill_points import KilledError, KillPoint, kill
from tests.harness.migrated import migrate
from tests.harness.rows import execute, query
from tests.transport.scripted import GONE, Message, chunk, scripted, whole
from tests.tus.client import video

LENGTH = 100_000
DATA = video(LENGTH)
OWNER = "default"


class Bench:
    """A data folder whose process dies and starts again."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.settings = Settings(data_dir=folder, database_url=database_url)
        self.url = database_url
        migrate(database_url)

    def life(self, work: Callable[[Services], Awaitable[object]]) -> bool:
        """One process that does `work`; whether it came to its end."""
        with Services.open(self.settings) as services:
            services.store.claim()
            try:
                anyio.run(work, services)
            except KilledError:
                return False
            return True

    def sweep(self) -> None:
        with Services.open(self.settings) as services:
            services.store.claim()
            services.sweep()

    def rows(self) -> list[dict[str, Any]]:
        return query(self.url, "SELECT * FROM uploads ORDER BY created_at, id")

    def files(self) -> dict[str, bytes]:
        found = (path for path in (self.settings.data_dir / "uploads").rglob("[!.]*") if path.is_file())
        return {path.name: path.read_bytes() for path in found}

    def tasks(self) -> tuple[int, int, int]:
        """How many tasks, files of tasks and events there are."""
        tables = ("tasks", "task_files", "task_events")
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
def bench(tmp_path: Path, database_url: str) -> Bench:
    return Bench(tmp_path / "data", database_url)


@pytest.fixture
def light(memory: Path) -> Bench:
    return Bench(memory / "data", f"sqlite:///{memory / 'test.db'}")


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


LIVES: dict[str, tuple[Callable[[Services], Awaitable[None]], set[tuple[str, int]], list[tuple[str, int]]]] = {
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
    (DiskStore, "head"),
    (DiskStore, "finish"),
    (DiskStore, "delete"),
    (Database, "write"),
    (UploadRepository, "_register_complete"),
    (UploadDeletion, "delete_bytes"),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("name", LIVES)
def test_killed_at_every_step(light: Bench, monkeypatch: pytest.MonkeyPatch, name: str, after: bool) -> None:
    """Killed before or behind each step in turn: one sweep, and rows, files and tasks agree; a second is harmless."""
    work, allowed, whole_end = LIVES[name]
    seen: set[tuple[str, int]] = set()
    for at in range(1, 100):
        with monkeypatch.context() as patched:
            point = KillPoint(at, after=after)
            for owner, method in STEPS:
                # Behind `write` would be before the transaction has begun.
                behind = after and method != "write"
                patched.setattr(owner, method, point.step(getattr(owner, method), after=behind))
            # What a dead process would do on its way out does not happen.
            patched.setattr(UploadRepository, "discard", point.step(UploadRepository.discard, after=False))
            ended = light.life(work)
        light.sweep()
        light.check()
        files = light.files()
        found = [(row["status"], len(files.get(row["id"], b""))) for row in light.rows()]
        assert set(found) <= allowed, (at, found)
        assert all(content in (DATA, DATA[:50_000], b"") for content in files.values())
        seen |= set(found)
        before = light.rows(), files, light.tasks()
        light.sweep()
        assert (light.rows(), light.files(), light.tasks()) == before
        if ended:
            assert found == whole_end
            break
        _empty(light)
    assert ended, "there are more steps than were tried"
    assert at > 5
    assert seen >= set(whole_end)


def _empty(bench: Bench) -> None:
    with Services.open(bench.settings) as services:
        services.store.claim()
        for table in ("task_events", "task_files", "tasks", "uploads"):
            with services.database.write() as session:
                session.connection().exec_driver_sql(f"DELETE FROM {table}")
        for name in bench.files():
            services.store.delete(name)


@pytest.mark.parametrize("first", [1, 40, 64, 50_000, LENGTH - 1])
def test_killed_while_bytes_come(light: Bench, monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    """Bytes that were written but not told to the row are kept: the offset comes from the store, and it goes on."""
    with monkeypatch.context() as patched:
        patched.setattr(UploadService, "_record_progress", kill)

        async def killed(services: Services) -> None:
            await fill(services, (await make(services)).id, [chunk(DATA[:first]), GONE])

        assert not light.life(killed)
    (row,) = light.rows()
    assert (row["received"], row["status"]) == (0, "open")
    assert light.files() == {row["id"]: DATA[:first]}
    light.sweep()
    light.check()

    async def go_on(services: Services) -> None:
        facts = await services.uploads.inspect(row["id"], OWNER)
        assert facts.offset == first
        await fill(services, row["id"], pieces(DATA[first:]))

    assert light.life(go_on)
    light.check()
    assert light.files() == {row["id"]: DATA}
    assert light.tasks() == (1, 1, 1)


def test_completed_twice(bench: Bench) -> None:
    """`complete` again, after it happened, changes nothing; for an upload that was removed it is refused."""

    async def twice(services: Services) -> None:
        upload = (await make(services)).id
        await fill(services, upload, pieces())
        before = bench.rows()
        for _ in range(2):
            await services.repository.complete_verified_from_loop({upload: "mp4"}, upload)
        assert bench.rows() == before
        gone = (await make(services)).id
        await services.removal.terminate(gone, OWNER, lambda _: None)
        register = partial(services.repository._register_complete, {gone: "mp4"}, gone, None)
        with pytest.raises(UploadGoneError):
            await services.database.write_together(register)

    assert bench.life(twice)
    assert bench.tasks() == (1, 1, 1)


def test_a_form_is_all_or_nothing(bench: Bench) -> None:
    """Where one file of a form was removed meanwhile, no file of it becomes part of a task."""

    async def broken(services: Services) -> None:
        async with services.forms.receive(OWNER) as form:
            for name in ("one.mp4", "two.mp4"):
                body = scripted(pieces())
                await form.receive_file(name, body)
                await body.close()
            execute(bench.url, "UPDATE uploads SET status = 'expired' WHERE id = :id", id=list(form.taken)[1])
            with pytest.raises(UploadGoneError):
                await form.finish()
            assert bench.tasks() == (0, 0, 0)
            assert sorted(row["status"] for row in bench.rows()) == ["expired", "open"]

    assert bench.life(broken)
    assert bench.tasks() == (0, 0, 0)
    assert bench.files() == {}
    assert bench.rows() == []


def test_a_sweep_while_a_form_is_received(light: Bench) -> None:
    """A sweep of another process takes nothing of a form that is still being received."""

    async def slow(services: Services) -> None:
        async with services.forms.receive(OWNER) as form:
            body = scripted(pieces())
            await form.receive_file("one.mp4", body)
            await body.close()
            await anyio.to_thread.run_sync(light.sweep)
            assert list(light.files().values()) == [DATA]
            await form.finish()

    assert light.life(slow)
    light.check()
    assert light.tasks() == (1, 1, 1)
