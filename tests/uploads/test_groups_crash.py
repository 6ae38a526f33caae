"""A process that dies anywhere in the life of a group leaves what one sweep and the clients of the group complete."""

import json
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from server.bootstrap import Services
from server.database.session import Database
from server.errors import ClientError, GroupEndedError, MediaTypeUnsupportedError, UploadGoneError
from server.settings import Settings
from server.storage.disk import DiskStore
from server.tus.group_metadata import Group
from server.tus.protocol import Append, Create, Facts, check_upload
from server.uploads.completion import UploadCompletion
from server.uploads.deletion import UploadDeletion
from tests.harness import seed
from tests.harness.crash_scenario import CrashScenario
from tests.harness.kill_points import NEVER, KillPoint, sample
from tests.harness.rows import query
from tests.transport.scripted import scripted, whole
from tests.tus.client import metadata, video

OWNER = "default"
LENGTH = 500
DATA = video(LENGTH)
TEXT = (b"text, and no video at all. " * 20)[:LENGTH]
FILES = 3


class GroupCrashScenario(CrashScenario):
    """One group, and clients that send again what got no answer."""

    def __init__(self, folder: Path) -> None:
        url = f"sqlite:///{folder / 'test.db'}"
        super().__init__(Settings(data_dir=folder / "data", database_url=url, fsync="never"))
        self.task = str(uuid.uuid4())

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
        states = [(task["status"], task["error_code"], task["gather_until"] is None) for task in tasks]
        return states, [tuple(file.values()) for file in files], len(self.stored())

    def check(self) -> None:
        """Rows and files agree, and no open upload is part of a group that waits for nothing."""
        rows = query(self.url, "SELECT id, status, task_id, has_bytes FROM uploads")
        assert set(self.stored()) == {row["id"] for row in rows if row["has_bytes"]}
        assert all(row["status"] in ("open", "complete") for row in rows if row["has_bytes"])
        gathering = {row["id"] for row in query(self.url, "SELECT id FROM tasks WHERE gather_until IS NOT NULL")}
        for row in rows:
            if row["status"] == "open":
                assert row["task_id"] in gathering, row
        members = {row["upload_id"] for row in query(self.url, "SELECT upload_id FROM task_files")}
        assert members == {row["id"] for row in rows if row["task_id"] != row["id"]}


def _rest(facts: Facts) -> Append:
    check_upload(facts)
    return Append(facts.offset, LENGTH - facts.offset, exact=True)


@pytest.fixture
def scenario() -> Iterator[GroupCrashScenario]:
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as made:
        yield GroupCrashScenario(Path(made))


async def all_whole(scenario: GroupCrashScenario, services: Services) -> None:
    """Three files come."""
    for place in (2, 1, 3):
        await scenario.upload(services, place)


async def one_refused(scenario: GroupCrashScenario, services: Services) -> None:
    """The last of three files is no video."""
    await scenario.upload(services, 1)
    await scenario.upload(services, 3)
    with AlreadyRefused():
        await scenario.upload(services, 2, TEXT)


async def all_refused(scenario: GroupCrashScenario, services: Services) -> None:
    """None is a video."""
    for place in (1, 2, 3):
        with AlreadyRefused():
            await scenario.upload(services, place, TEXT)


async def removed(scenario: GroupCrashScenario, services: Services) -> None:
    """One is whole, one is removed, and the third, which had no bytes, goes with it."""
    with AlreadyEnded():
        await scenario.upload(services, 1)
        await scenario.create(services, 3)
        await services.removal.terminate(await scenario.create(services, 2), OWNER, check_upload)


async def cancelled(scenario: GroupCrashScenario, services: Services) -> None:
    """One is whole, two are open, and the task is cancelled."""
    with AlreadyEnded():
        await scenario.upload(services, 1)
        await scenario.create(services, 2)
        await scenario.create(services, 3)
    await services.database.run(services.deletion.cancel, scenario.task, OWNER)


class AlreadyRefused:
    """A file that was refused once is refused again, or its place is taken."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        return isinstance(error, MediaTypeUnsupportedError) or (
            isinstance(error, ClientError) and error.code in ("group_place_taken", "group_ended")
        )


class AlreadyEnded:
    """What was done before the server died is not done again."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        return isinstance(error, (GroupEndedError, UploadGoneError))


SCENARIOS = {work.__name__: work for work in (all_whole, one_refused, all_refused, removed, cancelled)}
STEPS: Sequence[tuple[type, str]] = [
    (DiskStore, "create"),
    (DiskStore, "finish"),
    (DiskStore, "delete"),
    (Database, "write"),
    (Database, "change"),
    (Database, "_begin_common"),
    (UploadCompletion, "_register_complete"),
    (UploadDeletion, "remove"),
]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("most", [8, pytest.param(NEVER, marks=pytest.mark.soak)], ids=["sample", "all"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_group_killed_at_any_step_ends_as_without_a_kill(
    scenario: GroupCrashScenario, monkeypatch: pytest.MonkeyPatch, name: str, after: bool, most: int
) -> None:
    """Killed before or after a step; the clients do again what was not answered: the same as without.

    They come back before the next sweep, or after it.
    """
    work = SCENARIOS[name]

    async def run(services: Services) -> None:
        await work(scenario, services)

    def reach(point: KillPoint) -> bool:
        with monkeypatch.context() as patched:
            for owner, method in STEPS:
                # After the begin of a transaction nothing has happened in it.
                dies_after = after and method not in ("write", "change", "_begin_common")
                patched.setattr(owner, method, point.step(getattr(owner, method), after=dies_after))
            return scenario.run(run)

    whole = KillPoint(NEVER, after=after)
    assert reach(whole)
    scenario.sweep()
    scenario.check()
    expected = scenario.facts()
    assert expected[0], "there is a task"
    assert whole.reached > 7
    for at in sample(whole.reached, most, seed.dice(name, after)):
        scenario.empty()
        ended = reach(KillPoint(at, after=after))
        if (at + after) % 2:
            scenario.sweep()
            scenario.check()
        scenario.run(run)
        scenario.sweep()
        scenario.check()
        assert scenario.facts() == expected, f"killed at step {at}: {json.dumps(scenario.facts(), default=str)}"
        assert ended == (at > whole.reached), at
