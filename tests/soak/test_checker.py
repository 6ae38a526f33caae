"""The account of a soak finds what is wrong: each rule is broken on purpose, and told."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.soak.checker import check
from tests.soak.history import History
from tests.soak.sampler import MIB, Sample, ServerRun, check_flat, check_lives, check_sizes
from tests.soak.upload_records import End, Entry, UploadRecords, key_of

DATA = b"the bytes of a video"
KEPT = timedelta(seconds=100)


@dataclass
class Account:
    """One client that was told that its upload is complete, and a server that has it so."""

    records: UploadRecords = field(default_factory=UploadRecords)
    history: History = field(default_factory=History)

    def __post_init__(self) -> None:
        self.entry = self.records.open("tus", DATA)
        self.entry.end, self.entry.ids, self.entry.tasks = End.COMPLETE, {"u1"}, {"u1"}
        self.entry.acknowledge(len(DATA))
        self.add("u1", self.entry, digest=self.entry.digest)

    def add(self, upload: str, entry: Entry, *, digest: str = "", **more: object) -> None:
        """A complete upload with its task."""
        self.history.uploads[upload] = upload_row(upload, entry, **more)
        self.history.tasks[upload] = task_row(upload)
        self.history.files[f"f-{upload}"] = {
            "id": f"f-{upload}",
            "task_id": upload,
            "upload_id": upload,
            "status": "completed",
            "error_code": None,
        }
        if digest:
            self.history.digests[upload] = digest

    def findings(self) -> list[str]:
        """What the checker says."""
        return check(self.records.entries, self.history)


def upload_row(upload: str, entry: Entry, **more: object) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": upload,
        "status": "complete",
        "protocol": "tus",
        "concat": None,
        "filename": entry.name,
        "length": entry.size,
        "received": entry.size,
        "has_bytes": True,
        "completed_at": datetime.now(UTC),
        "updated_at": datetime.now(UTC),
    }
    return row | more


def task_row(task: str, **more: object) -> dict[str, Any]:
    now = datetime.now(UTC)
    row = {"id": task, "status": "completed", "progress": 100, "finished_at": now, "gather_until": None}
    return row | more


def lose_bytes(account: Account) -> None:
    account.history.uploads["u1"] = dict(account.history.uploads["u1"]) | {"length": len(DATA) - 1}


def change_bytes(account: Account) -> None:
    account.history.digests["u1"] = "0" * 64


def see_nothing(account: Account) -> None:
    del account.history.digests["u1"]


def lose_row(account: Account) -> None:
    for rows in (account.history.uploads, account.history.tasks, account.history.files):
        rows.clear()


def lose_task(account: Account) -> None:
    account.history.files.clear()
    account.history.tasks.clear()


def double_task(account: Account) -> None:
    account.history.files["f-2"] = dict(account.history.files["f-u1"]) | {"id": "f-2", "task_id": "t2"}
    account.history.tasks["t2"] = task_row("t2")


def double_upload(account: Account) -> None:
    account.entry.lost_posts = 1
    account.add("u2", account.entry, digest=account.entry.digest)


def stay_open(account: Account) -> None:
    account.entry.lost_posts = 1
    account.history.uploads["u2"] = upload_row("u2", account.entry, status="open", completed_at=None)


def invent_upload(account: Account) -> None:
    account.history.uploads["u2"] = upload_row("u2", account.entry, status="expired", completed_at=None)


def leave_stranger(account: Account) -> None:
    row = upload_row("u2", account.entry, filename="holiday.mp4", status="expired", completed_at=None)
    account.history.uploads["u2"] = row


def run_for_ever(account: Account) -> None:
    account.history.tasks["u1"] = task_row("u1", status="processing", progress=40)


def fail(account: Account) -> None:
    account.history.files["f-u1"] = dict(account.history.files["f-u1"]) | {"status": "error", "error_code": "x"}


def ignore_cancel(account: Account) -> None:
    account.entry.is_cancelled = True


def take_refused(account: Account) -> None:
    account.entry.end = End.REFUSED


def keep_abandoned(account: Account) -> None:
    account.entry.end = End.ABANDONED
    account.history.uploads["u1"] = upload_row("u1", account.entry, status="open", completed_at=None)
    account.history.tasks.clear()
    account.history.files.clear()


def tell_another_task(account: Account) -> None:
    account.entry.tasks = {"another"}


def never_end(account: Account) -> None:
    account.entry.end = None


def test_a_correct_history_has_no_findings() -> None:
    """A complete upload with its task and content is accounted for, and so are refused, removed and expired ones."""
    account = Account()
    ends = {End.REFUSED: "rejected", End.TERMINATED: "terminated", End.ABANDONED: "expired", End.UNKNOWN: "expired"}
    for number, (end, status) in enumerate(ends.items()):
        entry = account.records.open("tus", DATA)
        entry.end, entry.ids = end, {f"e{number}"}
        row = upload_row(f"e{number}", entry, status=status, completed_at=None)
        account.history.uploads[f"e{number}"] = row
    lost = account.records.open("form", DATA)
    lost.end = End.UNKNOWN
    assert account.findings() == []


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lose_bytes, "bytes instead of"),
        (change_bytes, "differs from what was sent"),
        (see_nothing, "nobody has seen the content"),
        (lose_row, "of which there was never a row"),
        (lose_task, "part of 0 tasks"),
        (double_task, "part of 2 tasks"),
        (double_upload, "became complete 2 times"),
        (stay_open, "ended open"),
        (invent_upload, "of which no client was told"),
        (leave_stranger, "is nobody's"),
        (run_for_ever, "has not ended"),
        (fail, "its file is error by x"),
        (ignore_cancel, "its cancel was accepted"),
        (take_refused, "it became complete"),
        (keep_abandoned, "ended open"),
        (tell_another_task, "the client was told of the tasks"),
        (never_end, "never came to an end"),
    ],
)
def test_each_violation_is_found(spoil: Callable[[Account], None], sentence: str) -> None:
    """One thing that must never be is made so, and the account says it."""
    account = Account()
    spoil(account)
    assert any(sentence in finding for finding in account.findings()), account.findings()


def test_rows_removed_before_their_retention_are_found() -> None:
    """A row may go once it has ended and was kept for its time; an open upload, or one that has just ended, may not."""
    entry = UploadRecords().open("tus", DATA)
    old = datetime.now(UTC) - 2 * KEPT
    kinds = {
        "fine": upload_row("fine", entry, status="expired", updated_at=old),
        "early": upload_row("early", entry, status="expired"),
        "open": upload_row("open", entry, status="open", updated_at=old),
        "form": upload_row("form", entry, status="open", protocol="multipart"),
    }
    history = History()
    assert history.note(kinds, {"t": task_row("t"), "r": task_row("r", status="processing")}, {}, KEPT) == []
    notes = "\n".join(history.note({}, {}, {}, KEPT))
    for name in ("early", "open", "t", "r"):
        assert f" {name} " in notes
    assert "fine" not in notes
    assert "form" not in notes
    assert history.removed_rows == 6


def test_a_status_that_leaves_an_end_state_is_found() -> None:
    """What has expired stays so, and a task that is over is over."""
    entry = UploadRecords().open("tus", DATA)
    history = History()
    history.note({"u": upload_row("u", entry, status="expired")}, {"t": task_row("t", status="cancelled")}, {}, KEPT)
    notes = history.note({"u": upload_row("u", entry)}, {"t": task_row("t")}, {}, KEPT)
    assert notes == ["upload u was expired and is complete now", "task t was cancelled and is completed now"]


def test_growth_of_descriptors_threads_or_memory_is_found() -> None:
    """More descriptors, threads or memory at rest than after the warming up are told; less is not."""
    first = Sample(0, 100 * MIB, 30, 20)
    lean, fat = (
        ServerRun(1, idle=[first, Sample(9, 120 * MIB, 30, 19)]),
        ServerRun(2, idle=[first, Sample(9, 140 * MIB, 31, 40)]),
    )
    assert check_flat([lean, ServerRun(3, idle=[first])]) == []
    pool = ServerRun(4, idle=[first, Sample(9, 100 * MIB, 36, 20, database=6)])
    assert check_flat([pool]) == []
    growth = check_flat([fat], lambda: ["a leaked file"])
    assert [sentence.split()[0] for sentence in growth] == ["descriptors", "threads", "memory"]
    assert "a leaked file" in growth[0]


def test_growth_between_server_runs_is_found() -> None:
    """Lives whose peaks rise are told, and short ones do not count."""

    def life(seconds: float, memory: int) -> ServerRun:
        return ServerRun(1, samples=[Sample(0, 90 * MIB, 30, 20), Sample(seconds, memory * MIB, 30, 20)])

    level = [life(100, 100), life(100, 110), life(100, 120), life(5, 300)]
    assert check_lives(level) == check_lives([]) == []
    assert len(check_lives([*level, life(100, 140), life(100, 141), life(100, 131)])) == 1


def test_growth_of_the_database_file_is_found() -> None:
    """A database that goes on growing in the last third of a run is told, one that stays level is not."""
    level = [(float(at), {"database": 20 * MIB, "WAL": 4 * MIB}) for at in range(0, 1800, 10)]
    growing = [(at, sizes | {"database": int(at) * MIB // 10}) for at, sizes in level]
    assert check_sizes(level) == []
    assert [sentence.split()[0] for sentence in check_sizes(growing)] == ["database"]
    assert check_sizes(growing[:30]) == []


def test_the_key_is_found_in_any_clients_file_name() -> None:
    """The key of an entry stands in the names that clients send, also behind TUSKit's own."""
    entry = UploadRecords().open("TUSKit", DATA, "mov")
    assert key_of(f"11111111-2222-4333-8444-555555555555{entry.name}") == entry.key
    assert key_of(entry.name) == entry.key
    assert key_of(None) is key_of("holiday.mp4") is None
