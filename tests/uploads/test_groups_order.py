"""Whatever the order in which the clients of a group do things, and wherever a process dies, the task is the same."""

import os
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.bootstrap import Services
from server.errors import (
    FileEmptyError,
    GroupEndedError,
    MediaTypeUnsupportedError,
    TaskEndedError,
    TaskNotFoundError,
    UploadGoneError,
)
from server.settings import Settings
from server.storage.disk import DiskStore
from server.tus.group_metadata import Group
from server.tus.protocol import PARTIAL, Append, Create, Facts, check_upload
from server.uploads.service import ClientGoneError
from tests.harness.kill_points import KilledError
from tests.harness.migrated import migrate
from tests.harness.postgres import PostgresServer
from tests.harness.rows import execute, query
from tests.transport.scripted import GONE, chunk, scripted, whole
from tests.tus.client import PAST, metadata, video

pytestmark = pytest.mark.turns(2)  # two kinds of random stories

OWNER = "default"
LENGTH = 300
DATA = video(LENGTH)
TEXT = b"text, and no video" * 20
# A soak looks further, and elsewhere each time.
MORE = int(os.environ.get("SOAK_EXAMPLES", "0"))
EXAMPLES = {"sqlite": MORE or 60, "postgresql": MORE or 25}
EVENTS = ("terminate", "expire", "cancel", "late")


@dataclass(frozen=True)
class Plan:
    """What the client of one file does."""

    way: str = "plain"  # or `deferred`, `final`
    is_video: bool = True
    pieces: int = 1
    dies: bool = False  # the server, between the row and the file of the creation
    repeats: bool = False  # the answer to the creation is lost

    @property
    def steps(self) -> int:
        return 1 + self.repeats + self.pieces


PLANS = st.builds(
    Plan,
    way=st.sampled_from(["plain", "plain", "deferred", "final"]),
    is_video=st.sampled_from([True, True, True, False]),
    pieces=st.integers(1, 3),
    dies=st.booleans(),
    repeats=st.booleans(),
)


@dataclass
class GroupSchedule:
    """Files of a group, and who does his next step when; -1 is a sweep, -2 what ends the group early."""

    plans: list[Plan]
    order: list[int]
    event: str
    victim: int
    placed: bool


@st.composite
def stories(draw: st.DrawFn, *, ends_early: bool) -> GroupSchedule:
    plans = draw(st.lists(PLANS, min_size=1, max_size=4))
    steps = [number for number, plan in enumerate(plans) for _ in range(plan.steps)]
    others = [-1] * draw(st.integers(0, 2)) + [-2] * ends_early
    order = draw(st.permutations(steps + others))
    event = draw(st.sampled_from(EVENTS)) if ends_early else ""
    return GroupSchedule(plans, order, event, draw(st.integers(0, len(plans) - 1)), draw(st.booleans()))


@dataclass
class Expected:
    """What a story must come to: a file's place, and what became of it."""

    status: str = "uploaded"
    code: str | None = None
    created: list[int] = field(default_factory=list)
    whole: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    removed: set[int] = field(default_factory=set)  # of those that were whole

    def ended(self, count: int) -> bool:
        return self.status != "uploaded" or len(self.whole | self.refused | self.removed) == count


class GroupInstallation:
    """A data folder with its database, for many groups in turn."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self.settings = Settings(data_dir=folder, database_url=url, fsync="never")
        migrate(url)
        self.services = Services.open(self.settings)
        self.services.claim_store()

    def close(self) -> None:
        self.services.close()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def installation(request: pytest.FixtureRequest) -> Iterator[GroupInstallation]:
    shared = Path("/dev/shm")  # nobody cuts the power here
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        url = f"sqlite:///{folder}/test.db"
        cluster: PostgresServer | None = None
        if request.param == "postgresql":
            cluster = request.getfixturevalue("postgres_server")
            url = cluster.create_database()
        made = GroupInstallation(Path(folder) / "data", url)
        yield made
        made.close()
        if cluster is not None:
            cluster.drop_database(url)


class GroupRun:
    """A story as it is played, and what it must come to."""

    def __init__(self, services: Services, url: str, story: GroupSchedule) -> None:
        self.services = services
        self.url = url
        self.story = story
        self.task = str(uuid.uuid4())
        self.expected = Expected()
        self.uploads: dict[int, str] = {}
        self.parts: dict[int, str] = {}
        self.done = dict.fromkeys(range(len(story.plans)), 0)

    async def run(self) -> None:
        for who in self.story.order:
            if who == -1:
                await anyio.to_thread.run_sync(self.services.sweep)
            elif who == -2:
                await self.end_early()
            else:
                await self.step(who)

    # Members

    async def step(self, who: int) -> None:
        plan, at = self.story.plans[who], self.done[who]
        self.done[who] += 1
        if at == 0:
            await self.refusing(who, self.create)
        elif plan.repeats and at == 1:
            await self.refusing(who, self.repeat)
        else:
            await self.refusing(who, self.append)

    async def refusing(self, who: int, work: Callable[[int], Awaitable[None]]) -> None:
        """What comes after the end is refused; before it, nothing is but text."""
        is_over = self.expected.status != "uploaded"
        try:
            await work(who)
        except (UploadGoneError, GroupEndedError) as error:
            if not is_over:
                raise AssertionError(f"{who} was refused, and the group waits") from error
        except MediaTypeUnsupportedError:
            assert not self.story.plans[who].is_video

    async def create(self, who: int) -> None:
        plan = self.story.plans[who]
        if plan.way == "final":
            part = await self.services.uploads.create(OWNER, Create(LENGTH, None, None, False, concat=PARTIAL))
            self.parts[who] = part.id
        elif plan.dies:
            dies = mock.patch.object(DiskStore, "create", side_effect=KilledError)
            with dies, pytest.raises((KilledError, GroupEndedError)):
                await self.made(who)
            if not self.story.placed:
                # Without a place nobody can tell whose it is, until it is swept away.
                await anyio.to_thread.run_sync(self.services.sweep)
        facts = await self.made(who)
        assert facts.group == self.task
        self.uploads[who] = facts.id
        if who not in self.expected.created:
            self.expected.created.append(who)

    async def repeat(self, who: int) -> None:
        if who in self.uploads and self.story.placed and who not in self.expected.removed:
            assert (await self.made(who)).id == self.uploads[who]

    async def made(self, who: int) -> Facts:
        plan = self.story.plans[who]
        place = who + 1 if self.story.placed else None
        raw = metadata(filename=f"{who}.mp4", task=self.task, at=str(place))
        group = Group(self.task, len(self.story.plans), place)
        length = None if plan.way == "deferred" else LENGTH
        create = Create(length, raw, f"{who}.mp4", has_body=False, group=group)
        if plan.way != "final":
            return await self.services.uploads.create(OWNER, create)
        part = self.parts[who]
        final = Create(None, raw, f"{who}.mp4", False, concat=f"final;/files/{part}", parts=(part,), group=group)
        return await self.services.finals.create(OWNER, final)

    async def append(self, who: int) -> None:
        plan = self.story.plans[who]
        upload = self.parts.get(who, self.uploads.get(who))
        if upload is None or who in self.expected.refused | self.expected.whole | self.expected.removed:
            return
        pieces_left = plan.steps - self.done[who]
        data = (DATA if plan.is_video else TEXT)[:LENGTH]

        def decide(facts: Facts) -> Append:
            check_upload(facts)
            room = LENGTH - facts.offset
            limit = room if not pieces_left else min(70, room)
            return Append(facts.offset, limit, exact=True, length=LENGTH if facts.length is None else None)

        offset = (await self.services.uploads.inspect(upload, OWNER)).offset
        end = LENGTH if not pieces_left else min(offset + 70, LENGTH)
        sent = data[offset:end]
        body = scripted(whole([sent]) if end == LENGTH else [chunk(sent), GONE])
        is_over = self.expected.ended(len(self.story.plans))
        try:
            facts = await self.services.uploads.append(upload, OWNER, decide, body)
            await self.services.finals.join_waiting(facts)
        except ClientGoneError:
            return
        except MediaTypeUnsupportedError:
            self.expected.refused.add(who)
            self.settle()
            raise
        finally:
            await body.close()
        if end < LENGTH or (is_over and who in self.parts):
            return
        # A final is judged when it is joined.
        (self.expected.whole if plan.is_video else self.expected.refused).add(who)
        self.settle()

    def settle(self) -> None:
        if len(self.expected.refused) == len(self.story.plans):
            self.expected.status, self.expected.code = "error", "media_type_mismatch"

    # What ends it early

    async def end_early(self) -> None:
        await getattr(self, self.story.event)()

    async def cancel(self) -> None:
        try:
            await self.services.database.run(self.services.deletion.cancel, self.task, OWNER)
        except TaskNotFoundError:
            assert not self.expected.created
        except TaskEndedError:
            assert self.expected.status == "error"
        else:
            self.expected.status = "cancelled"

    async def terminate(self) -> None:
        who = self.story.victim
        if who not in self.uploads:
            return
        try:
            await self.services.removal.terminate(self.uploads[who], OWNER, check_upload)
        except (UploadGoneError, MediaTypeUnsupportedError, FileEmptyError) as refused:
            if not self.expected.ended(len(self.story.plans)) and who not in self.expected.refused:
                raise AssertionError("a member of a group that waits may go") from refused
        else:
            waits = not self.expected.ended(len(self.story.plans))
            if who in self.expected.whole:
                self.expected.removed.add(who)
                self.expected.whole.discard(who)
            if waits:
                self.fail("group_member_removed")
            elif self.expected.removed == set(self.expected.created):
                self.expected.status = "removed"

    async def expire(self) -> None:
        who = self.story.victim
        if who not in self.uploads or who in self.expected.whole | self.expected.refused:
            return
        execute(self.url, "UPDATE uploads SET expires_at = :past WHERE id = :id", past=PAST, id=self.uploads[who])
        path = self.services.store.local_path(self.uploads[who])
        if path.exists():
            os.utime(path, (0, 0))
        await anyio.to_thread.run_sync(self.services.sweep)
        self.fail("group_member_expired")

    async def late(self) -> None:
        execute(
            self.url,
            "UPDATE tasks SET gather_until = :past WHERE id = :id AND gather_until IS NOT NULL",
            past=PAST,
            id=self.task,
        )
        await anyio.to_thread.run_sync(self.services.sweep)
        if self.expected.created and len(self.expected.created) < len(self.story.plans):
            self.fail("group_late")

    def fail(self, code: str) -> None:
        if self.expected.status == "uploaded":
            self.expected.status, self.expected.code = "error", code

    # The end

    def check(self) -> None:
        self.services.sweep()
        rows = query(self.url, "SELECT * FROM tasks WHERE id = :id", id=self.task)
        if not self.expected.created:
            assert rows == [], "a task of nothing"
            return
        (task,) = rows
        assert (task["status"], task["error_code"]) == (self.expected.status, self.expected.code)
        assert (task["gather_until"] is None) == self.expected.ended(len(self.story.plans))
        uploads = query(self.url, "SELECT id, status, has_bytes FROM uploads WHERE task_id = :id", id=self.task)
        assert {row["id"] for row in uploads if row["status"] == "complete"} == {
            self.uploads[who] for who in self.expected.whole if who in self.uploads
        }
        if self.expected.ended(len(self.story.plans)):
            assert not [row for row in uploads if row["status"] == "open"], "a group that ended has an open member"
        stored = {row["id"] for row in uploads if self.services.store.size(row["id"]) is not None}
        assert stored == {row["id"] for row in uploads if row["has_bytes"]} - self.waiting(uploads)
        self.check_files()

    def waiting(self, uploads: list[dict[str, object]]) -> set[object]:
        """Finals without a file yet."""
        finals = {self.uploads.get(who) for who in self.parts}
        return {row["id"] for row in uploads if row["status"] == "open" and row["id"] in finals}

    def check_files(self) -> None:
        files = query(self.url, "SELECT * FROM task_files WHERE task_id = :id ORDER BY position", id=self.task)
        names = [
            f"{who}.mp4" for who in (sorted(self.expected.created) if self.story.placed else self.expected.created)
        ]
        assert [file["name"] for file in files] == names
        for file in files:
            who = int(file["name"].partition(".")[0])
            assert file["upload_id"] == self.uploads[who]
            if who in self.expected.removed:
                assert (file["status"], bool(file["removing"])) == ("removed", False)
            elif who in self.expected.refused:
                assert (file["status"], file["error_code"]) == ("error", "media_type_mismatch")
            elif self.expected.status == "uploaded":
                assert file["status"] == "waiting"
            else:
                assert (file["status"], file["error_code"]) == (self.expected.status, self.expected.code)
            if who in self.expected.whole:
                assert (file["size"], file["media_type"]) == (LENGTH, "mp4")


def play(installation: GroupInstallation, story: GroupSchedule) -> GroupRun:
    made = GroupRun(installation.services, installation.url, story)
    anyio.run(made.run)
    made.check()
    return made


def how(installation: GroupInstallation) -> settings:
    count = EXAMPLES[installation.services.database.engine.dialect.name]
    quiet = list(HealthCheck)
    return settings(max_examples=count, deadline=None, suppress_health_check=quiet, derandomize=not MORE, database=None)


@pytest.mark.sampled(1)
def test_any_order_of_events_gives_the_same_task(installation: GroupInstallation) -> None:
    """Creations, bytes, repetitions, sweeps and deaths in any order: the task has the same files in the same places."""

    @how(installation)
    @given(stories(ends_early=False))
    def run(story: GroupSchedule) -> None:
        made = play(installation, story)
        assert made.expected.ended(len(story.plans)), "a story that has ended leaves no client waiting"

    run()


@pytest.mark.sampled(1)
def test_any_end_of_a_group_ends_all_its_members(installation: GroupInstallation) -> None:
    """Wherever a member is removed or expires, the time is over or the task is cancelled: that is the end of all."""

    @how(installation)
    @given(stories(ends_early=True))
    def run(story: GroupSchedule) -> None:
        play(installation, story)

    run()
