"""A process that dies anywhere in the life of a group leaves what one sweep and its clients can end."""

import json
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from server.bootstrap import Services
from server.database.session import Database
from server.errors import ClientError, GroupEndedError, MediaTypeUnsupportedError, UploadGoneError
from server.settings import Settings
from server.storage.disk import DiskStore
from server.tus.group_metadata import Group
from server.tus.protocol import Append, Create, Facts, check_upload
from server.uploads.deletion import UploadDeletion
from server.uploads.repository import UploadRepository
from tests.harness import seed
from tests.harness.kill_points import NEVER, KilledError, KillPoint, sample
from tests.harness.migrated import migrate
from tests.harness.rows import query
from tests.transport.scripted import scripted, whole
from tests.tus.client import metadata, video

OWNER = "default"
LENGTH = 500
DATA = video(LENGTH)
TEXT = (b"text, and no video at all. " * 20)[:LENGTH]
FILES = 3


class Bench:
    """A data folder whose process dies and starts again, and one group."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'test.db'}"
        self.settings = Settings(data_dir=folder / "data", database_url=self.url, fsync="never")
        migrate(self.url)
        self.task = str(uuid.uuid4())

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

    async def create(self, services: Services, place: int) -> str:
        """What a client sends again as long as it has no answer."""
        group = Group(self.task, FILES, place)
        raw = metadata(filename=f"{place}.mp4", task=self.task, task_file=str(place))
        return (await services.uploads.create(OWNER, Create(LENGTH, raw, f"{place}.mp4", False, group=group))).id

    async def upload(self, services: Services, place: int, data: bytes = DATA) -> None:
        """A client that is patient: it creates, asks and goes on until all is there."""
        upload = await self.create(services, place)
        facts = await services.uploads.inspect(upload, OWNER)
        check_upload(facts)
        body = scripted(whole([data[facts.offset :]]))
        try:
            await services.uploads.append(upload, OWNER, _rest, body)
        finally:
            await body.close()

    def facts(self) -> tuple[Any, ...]:
        """What can be known of the group, but for ids and times."""
        tasks = query(self.url, "SELECT status, error_code, error_params, gather_until FROM tasks")
        files = query(
            self.url,
            "SELECT f.position, f.name, f.size, f.media_type, f.status, f.error_code, u.status AS upload, u.has_bytes "
            "FROM task_files f JOIN uploads u ON u.id = f.upload_id ORDER BY f.position",
        )
        told = [(task["status"], task["error_code"], task["gather_until"] is None) for task in tasks]
        return told, [tuple(file.values()) for file in files], len(self.stored())

    def stored(self) -> set[str]:
        return {path.name for path in (self.settings.data_dir / "uploads").rglob("[!.]*") if path.is_file()}

    def check(self) -> None:
        """Rows and files agree, and no open upload is part of a group that waits for nothing."""
        rows = query(self.url, "SELECT id, status, task_id, has_bytes FROM uploads")
        assert self.stored() == {row["id"] for row in rows if row["has_bytes"]}
        assert all(row["status"] in ("open", "complete") for row in rows if row["has_bytes"])
        gathering = {row["id"] for row in query(self.url, "SELECT id FROM tasks WHERE gather_until IS NOT NULL")}
        for row in rows:
            if row["status"] == "open":
                assert row["task_id"] in gathering, row
        seated = {row["upload_id"] for row in query(self.url, "SELECT upload_id FROM task_files")}
        assert seated == {row["id"] for row in rows if row["task_id"] != row["id"]}

    def empty(self) -> None:
        with Services.open(self.settings) as services:
            services.store.claim()
            for table in ("task_events", "task_files", "tasks", "uploads"):
                with services.database.write() as session:
                    session.connection().exec_driver_sql(f"DELETE FROM {table}")
            for name in self.stored():
                services.store.delete(name)


def _rest(facts: Facts) -> Append:
    check_upload(facts)
    return Append(facts.offset, LENGTH - facts.offset, exact=True)


@pytest.fixture
def bench() -> Iterator[Bench]:
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as made:
        yield Bench(Path(made))


async def all_whole(bench: Bench, services: Services) -> None:
    """Three files come."""
    for place in (2, 1, 3):
        await bench.upload(services, place)


async def one_refused(bench: Bench, services: Services) -> None:
    """The last of three files is no video."""
    await bench.upload(services, 1)
    await bench.upload(services, 3)
    with _refused():
        await bench.upload(services, 2, TEXT)


async def all_refused(bench: Bench, services: Services) -> None:
    """None is a video."""
    for place in (1, 2, 3):
        with _refused():
            await bench.upload(services, place, TEXT)


async def removed(bench: Bench, services: Services) -> None:
    """One is whole, one is removed, and the third, which had no bytes, goes with it."""
    with _over():
        await bench.upload(services, 1)
        await bench.create(services, 3)
        await services.removal.terminate(await bench.create(services, 2), OWNER, check_upload)


async def cancelled(bench: Bench, services: Services) -> None:
    """One is whole, two are open, and the task is cancelled."""
    with _over():
        await bench.upload(services, 1)
        await bench.create(services, 2)
        await bench.create(services, 3)
    await services.database.run(services.deletion.cancel, bench.task, OWNER)


class _refused:  # noqa: N801
    """A file that was refused once is refused again, or its place is taken."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        return isinstance(error, MediaTypeUnsupportedError) or (
            isinstance(error, ClientError) and error.code in ("group_place_taken", "group_ended")
        )


class _over:  # noqa: N801
    """What was done before the server died is not done again."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        return isinstance(error, (GroupEndedError, UploadGoneError))


LIVES = {work.__name__: work for work in (all_whole, one_refused, all_refused, removed, cancelled)}
STEPS: Sequence[tuple[type, str]] = [
    (DiskStore, "create"),
    (DiskStore, "finish"),
    (DiskStore, "delete"),
    (Database, "write"),
    (Database, "change"),
    (UploadRepository, "_register_complete"),
    (UploadDeletion, "remove"),
]


@pytest.mark.parametrize("most", [8, pytest.param(NEVER, marks=pytest.mark.soak)], ids=["sample", "all"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("name", LIVES)
def test_killed_at_every_step(bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str, after: bool, most: int) -> None:
    """Killed before or behind a step; the clients do again what was not answered: the same as without.

    They come back before the next sweep, or after it.
    """
    work = LIVES[name]

    async def run(services: Services) -> None:
        await work(bench, services)

    def live(point: KillPoint) -> bool:
        with monkeypatch.context() as patched:
            for owner, method in STEPS:
                # Behind a transaction's begin nothing has happened in it.
                behind = after and method not in ("write", "change")
                patched.setattr(owner, method, point.step(getattr(owner, method), after=behind))
            return bench.life(run)

    whole = KillPoint(NEVER, after=after)
    assert live(whole)
    bench.sweep()
    bench.check()
    expected = bench.facts()
    assert expected[0], "there is a task"
    assert whole.reached > 7
    for at in sample(whole.reached, most, seed.dice(name, after)):
        bench.empty()
        ended = live(KillPoint(at, after=after))
        if (at + after) % 2:
            bench.sweep()
            bench.check()
        bench.life(run)
        bench.sweep()
        bench.check()
        assert bench.facts() == expected, f"killed at step {at}: {json.dumps(bench.facts(), default=str)}"
        assert ended == (at > whole.reached), at
