"""Room on the disk is promised once: what `server/uploads/reservations.py` grants, and never more than there is."""

import contextlib
import random
import struct
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, update
from structlog.testing import capture_logs

from server.database.models import Upload
from server.database.session import Database, changed
from server.errors import NoRoomError
from server.lifecycle import UploadStatus
from server.messages import sentence
from server.storage.memory import MemoryStore
from server.uploads import reservations
from server.uploads.reservations import DiskReservations, DiskSpace, reserve_bytes
from tests.harness.migrated import migrate
from tests.harness.rows import query
from tests.harness.waiting import PATIENCE

pytestmark = pytest.mark.turns(2)  # ways to reserve

GIB = 1 << 30
NOW = datetime(2026, 11, 22, tzinfo=UTC)


class Disk(MemoryStore):
    """A store on a disk of which so much is free."""

    def __init__(self, free: int) -> None:
        super().__init__()
        self.free = free

    def room(self) -> int:
        return self.free


class ReservationScenario:
    """Uploads without bytes: rows, and numbers for the space on the disk."""

    def __init__(self, database: Database, folder: Path, free: int, reserve: int = 0) -> None:
        self.database = database
        self.disk = Disk(free)
        self.reserve = reserve
        self.path = folder / "space.lock"
        self.space = self.another()

    def another(self) -> DiskReservations:
        """What another process would have."""
        return DiskReservations(self.database, self.disk, self.reserve, self.path)

    def create(self, need: int, by: DiskReservations | None = None) -> str:
        """An upload that is promised `need` bytes."""
        with (by or self.space).reserve(need), self.database.change(lazy=True) as connection:
            upload_id = str(uuid.uuid4())
            connection.execute(insert(Upload), row(upload_id, need))
        return upload_id

    def receive(self, upload_id: str, received: int, count: int) -> None:
        """It has so many bytes now, `count` of them new."""
        self.disk.free -= count
        self.change(upload_id, received=received)

    def change(self, upload_id: str, **values: object) -> None:
        """Change its row."""
        with self.database.write(lazy=True) as session:
            changed(session, update(Upload).where(Upload.id == upload_id).values(**values))


def row(upload_id: str, reserved: int) -> dict[str, object]:
    """A row of an open upload."""
    return {
        "id": upload_id,
        "owner": "default",
        "status": UploadStatus.OPEN,
        "protocol": "tus",
        "length": reserved,
        "received": 0,
        "reserved": reserved,
        "has_bytes": True,
        "task_id": upload_id,
        "created_at": NOW,
        "updated_at": NOW,
        "expires_at": NOW,
    }


@pytest.fixture
def make(database_url: str, tmp_path: Path) -> Iterator[Callable[..., ReservationScenario]]:
    """Makes a scenario with so many bytes free."""
    migrate(database_url)
    database = Database(database_url, 10, "never")
    yield lambda free, reserve=0: ReservationScenario(database, tmp_path, free, reserve)
    database.close()


@pytest.mark.parametrize(
    ("setting", "capacity", "reserve"),
    [
        ("auto", 10 * GIB, GIB // 2),
        ("auto", 40 * GIB, 2 * GIB),
        ("auto", 4000 * GIB, 2 * GIB),
        ("auto", 0, 0),
        ("0", 40 * GIB, 0),
        ("1000", 40 * GIB, 1000),
        ("10GiB", 40 * GIB, 10 * GIB),
    ],
)
def test_the_reserve_is_five_percent_or_the_setting(setting: str, capacity: int, reserve: int) -> None:
    """5% of the disk, 2 GiB at most; or what the setting says."""
    assert reserve_bytes(setting, capacity) == reserve


def test_space_is_reserved_once(make: Callable[..., ReservationScenario]) -> None:
    """What one upload was promised is not promised to another, to the last byte; the reserve is nobody's."""
    scenario = make(1000, 100)
    scenario.create(500)
    with pytest.raises(NoRoomError) as caught:
        scenario.create(401)
    assert caught.value.params == {"needed": 401, "room": 400}
    assert "400 B is left for uploads" in sentence(caught.value.code, caught.value.params, "en")
    scenario.create(400)
    scenario.create(0)  # an upload without bytes takes nothing
    with pytest.raises(NoRoomError):
        scenario.create(1)
    assert scenario.space.measure() == DiskSpace(1000, 900, 100)


def test_space_reserved_at_once_counts_like_any_other(make: Callable[..., ReservationScenario]) -> None:
    """Where there is room: the next sum has it, and so has every process."""
    scenario = make(1000, 100)
    scenario.create(100)  # from now on there is a sum
    promise = scenario.space.reserve_at_once(600)
    assert promise is not None
    with promise, scenario.database.change(lazy=True) as connection:
        upload_id = str(uuid.uuid4())
        connection.execute(insert(Upload), row(upload_id, 600))
    with pytest.raises(NoRoomError) as caught:
        scenario.create(201, by=scenario.another())
    assert caught.value.params == {"needed": 201, "room": 200}
    scenario.create(200)


def test_space_is_reserved_at_once_or_left_to_a_thread(make: Callable[..., ReservationScenario]) -> None:
    """Without a sum, without room, or while another holds the lock, nothing is reserved and nothing waits."""
    scenario = make(1000)
    assert scenario.space.reserve_at_once(1) is None  # nobody has summed up yet
    scenario.create(100)
    assert scenario.space.reserve_at_once(901) is None
    with scenario.another()._file():
        assert scenario.space.reserve_at_once(1) is None
    promise = scenario.space.reserve_at_once(900)
    assert promise is not None
    with promise:
        again = scenario.space.reserve_at_once(0)
        assert again is not None
        with again:
            pass
        assert scenario.space.reserve_at_once(1) is None
    scenario.create(900)  # the promise ended without a row: a new sum does not have it


def test_a_reservation_shrinks_with_received_bytes_and_ends_with_its_upload(
    make: Callable[..., ReservationScenario],
) -> None:
    """Bytes that are on the disk are not promised any more; those of an upload that is over are free again."""
    scenario = make(1000)
    first, second = scenario.create(600), scenario.create(400)
    scenario.receive(first, 150, 150)
    assert scenario.space.measure() == DiskSpace(850, 850, 0)
    scenario.change(second, status=UploadStatus.TERMINATED)
    assert scenario.space.measure() == DiskSpace(850, 450, 0)
    scenario.receive(first, 600, 450)
    scenario.change(first, status=UploadStatus.COMPLETE)
    assert scenario.space.measure() == DiskSpace(400, 0, 0)
    scenario.create(400)


def test_unreserved_bytes_do_not_reduce_other_reservations(make: Callable[..., ReservationScenario]) -> None:
    """An upload of unknown length that has more than it was promised does not make the promises of others smaller."""
    scenario = make(1000)
    scenario.create(300)
    unknown = scenario.create(0)
    scenario.receive(unknown, 500, 500)
    assert scenario.space.measure().left == 200


def test_no_space_is_granted_on_a_disk_that_others_filled(make: Callable[..., ReservationScenario]) -> None:
    """With less free than is promised nothing is granted, not even an upload of unknown length."""
    scenario = make(GIB)
    scenario.create(1000)
    scenario.disk.free = 999
    for need in (0, 1):
        with pytest.raises(NoRoomError) as caught:
            scenario.create(need)
        assert caught.value.params["room"] == 0
    with pytest.raises(NoRoomError):
        scenario.space.check(0)
    scenario.disk.free = 1000
    scenario.create(0)


def test_one_sum_of_the_rows_serves_many_creations(
    make: Callable[..., ReservationScenario], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sum is enough for many uploads of several processes; who would be refused by it adds up anew."""
    scenario = make(1000_000)
    other = scenario.another()
    sums: list[DiskSpace] = []
    real = DiskReservations.measure

    def look(self: DiskReservations) -> DiskSpace:
        sums.append(real(self))
        return sums[-1]

    monkeypatch.setattr(DiskReservations, "measure", look)
    monkeypatch.setattr(reservations, "_SUM_SECONDS", 60.0)
    made = [scenario.create(1000, by) for by in (scenario.space, other) * 25]
    assert len(sums) == 1
    scenario.create(900_000)
    assert len(sums) == 1
    with pytest.raises(NoRoomError):
        scenario.create(100_000)
    assert len(sums) == 2
    for upload_id in made:
        scenario.change(upload_id, status=UploadStatus.TERMINATED)
    scenario.create(100_000)
    assert len(sums) == 3
    monkeypatch.setattr(reservations, "_SUM_SECONDS", 0.0)
    scenario.create(0)
    assert len(sums) == 4


def test_a_sum_from_before_a_reboot_is_not_used(make: Callable[..., ReservationScenario]) -> None:
    """The clock by which sums are old starts anew with the machine."""
    scenario = make(1000)
    scenario.path.write_bytes(struct.pack("qq", 1 << 62, 1000))
    scenario.create(1000)


def test_an_uncommitted_reservation_is_counted(make: Callable[..., ReservationScenario]) -> None:
    """Whoever adds up waits for the rows of those who were granted something."""
    scenario = make(1000)
    made: list[str] = []
    refused: list[NoRoomError] = []

    def second() -> None:
        try:
            made.append(scenario.create(600, scenario.another()))
        except NoRoomError as error:
            refused.append(error)

    thread = threading.Thread(target=second)
    with scenario.space.reserve(600):
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        with scenario.database.change() as connection:
            connection.execute(insert(Upload), row(str(uuid.uuid4()), 600))
    thread.join(PATIENCE)
    assert (made, len(refused)) == ([], 1)


def test_free_space_is_measured_each_time(make: Callable[..., ReservationScenario]) -> None:
    """What is free is asked each time."""
    scenario = make(GIB)
    scenario.create(1000)
    scenario.disk.free = 1500
    with pytest.raises(NoRoomError):
        scenario.create(501)


def test_a_failed_creation_leaves_no_reservation(make: Callable[..., ReservationScenario]) -> None:
    """A creation that fails after it was granted leaves no promise, and no lock."""
    scenario = make(1000)
    with pytest.raises(RuntimeError), scenario.space.reserve(900):
        raise RuntimeError
    scenario.create(1000)


def test_the_log_reports_begin_and_end_of_refusals_once(
    make: Callable[..., ReservationScenario], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line when it begins to refuse, and one when there is room again for what was refused."""
    monkeypatch.setattr(reservations, "_SUM_SECONDS", 0.0)
    scenario = make(1000)
    first = scenario.create(600)
    with capture_logs() as logs:
        for need in (900, 500, 700):
            with pytest.raises(NoRoomError):
                scenario.create(need)
        scenario.create(10)
        assert [line["event"] for line in logs] == ["uploads_refused"]
        scenario.change(first, status=UploadStatus.TERMINATED)
        scenario.create(10)
        scenario.create(10)
    assert [line["event"] for line in logs] == ["uploads_refused", "uploads_accepted_again"]
    assert scenario.space.problem() is None


STEPS = st.lists(
    st.tuples(st.sampled_from(["create", "receive", "tell", "complete", "remove", "fill"]), st.integers(0, 400)),
    max_size=40,
)


@given(steps=STEPS, seed=st.integers(0, 100))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_reservations_never_exceed_the_free_space(steps: list[tuple[str, int]], seed: int, tmp_path: Path) -> None:
    """Whatever happens: all that was promised and has not come yet fits beside the reserve, when it was promised."""
    url = f"sqlite:///{tmp_path / f'{uuid.uuid4()}.db'}"
    migrate(url)
    database = Database(url, 3, "never")
    scenario = ReservationScenario(database, tmp_path, 2000, 100)
    processes = [scenario.space, scenario.another(), scenario.another()]
    chance = random.Random(seed)
    lacking: dict[str, int] = {}  # the truth
    received: dict[str, int] = {}
    lengths: dict[str, int] = {}
    try:
        for what, number in steps:
            chosen = chance.choice(sorted(lacking)) if lacking else None
            if what == "create":
                with contextlib.suppress(NoRoomError):
                    made = scenario.create(number, chance.choice(processes))
                    lacking[made], received[made], lengths[made] = number, 0, number
                    assert sum(lacking.values()) + scenario.reserve <= scenario.disk.free
            elif what == "fill":
                scenario.disk.free = max(0, scenario.disk.free - number // 10)
            elif chosen is None:
                continue
            elif what == "receive":  # bytes come, and the row hears of them later
                count = min(number, lacking[chosen])
                scenario.disk.free -= count
                lacking[chosen] -= count
            elif what == "tell":
                received[chosen] = lengths[chosen] - lacking[chosen]
                scenario.change(chosen, received=received[chosen])
            elif what == "complete":
                scenario.disk.free -= lacking.pop(chosen)
                scenario.change(chosen, status=UploadStatus.COMPLETE)
            else:
                scenario.change(chosen, status=UploadStatus.TERMINATED)
                scenario.disk.free += lengths[chosen] - lacking.pop(chosen)
    finally:
        database.close()


CREATOR = """
import sys, uuid
from pathlib import Path
from sqlalchemy import insert
from server.database.models import Upload
from server.database.session import Database
from server.errors import NoRoomError
from tests.uploads.test_reservations import ReservationScenario, row

url, folder, free, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
scenario = ReservationScenario(Database(url, 4, "never"), folder, free)
sizes = [1, 7, 2000, 90_000, 13, 400, 30_000]
print("ready", flush=True)
sys.stdin.readline()
granted, refused = 0, 0
for number in range(150):
    need = sizes[(number + seed) % len(sizes)]
    try:
        scenario.create(need)
        granted += need
    except NoRoomError:
        refused += 1
print(granted, refused, flush=True)
"""


@pytest.mark.sampled(1)
def test_several_processes_never_reserve_more_than_there_is(
    make: Callable[..., ReservationScenario], database_url: str, tmp_path: Path
) -> None:
    """Four processes ask for far more than there is: what they were granted fits, and little is left."""
    free = 1_000_000
    scenario = make(free)
    command = [sys.executable, "-c", CREATOR, database_url, str(tmp_path), str(free)]
    started = [
        subprocess.Popen([*command, str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for seed in range(4)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [process.communicate(timeout=PATIENCE)[0].split()[-2:] for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    granted, refused = sum(int(one[0]) for one in said), sum(int(one[1]) for one in said)
    assert refused > 0
    assert 0.99 * free < granted <= free
    assert scenario.space.measure().promised == granted
    assert query(database_url, "SELECT sum(reserved) AS all_of_it FROM uploads")[0]["all_of_it"] == granted
