"""What a client was told, and whether it is true after a crash, a restart and one sweep.

Rule: a claim is widened before a request is sent (what may be there) and narrowed when its answer is read (what
must be there). The checker compares bytes and rows; it asks the server nothing.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from tests.crash.restarted_server import RestartedServer

Row = dict[str, Any]


class Fate(Enum):
    """Whether something has happened to an upload."""

    NO = "no"
    MAYBE = "maybe"  # it was asked for, and no answer came
    YES = "yes"


@dataclass
class Claim:
    """What a client knows about one upload. Offsets are bytes."""

    name: str
    """Its file name: by it the row is found, also when no answer told the id."""
    data: bytes
    id: str | None = None
    low: int = 0
    """The acknowledged offset: so much must be there."""
    high: int = 0
    """So much may be there."""
    checked: bool = False
    """Whether what is between `low` and `high` counts as a whole only."""
    gone: Fate = Fate.NO
    ends: frozenset[str] = frozenset({"terminated"})
    """The statuses that mean gone."""
    parts: list["Claim"] = field(default_factory=list)
    final: "Claim | None" = None
    partial: bool = False
    form: "FormClaim | None" = None

    @property
    def whole(self) -> bool:
        """Whether the server has acknowledged the last byte."""
        return self.low == len(self.data)


@dataclass
class FormClaim:
    """The files of one form: all of them one task, or nothing of them."""

    files: list[Claim]
    task: str | None = None


def check(server: RestartedServer, claims: Sequence[Claim]) -> dict[str, Row]:
    """Everything at once; the rows of these claims by name."""
    rows = server.query("SELECT * FROM uploads")
    check_files(server, rows)
    check_tasks(server, rows)
    check_locks(server)
    mine: dict[str, Row] = {}
    for claim in claims:
        found = [row for row in rows if row["filename"] == claim.name]
        assert len(found) <= 1, f"{claim.name} has {len(found)} rows"
        if found:
            mine[claim.name] = found[0]
    for claim in claims:
        if claim.form is None:
            check_claim(server, claim, mine)
    for form in {id(claim.form): claim.form for claim in claims if claim.form is not None}.values():
        check_form(server, form, mine)
    return mine


def check_files(server: RestartedServer, rows: Iterable[Row]) -> None:
    """No file without a row, no row without its file, and no bytes of what is gone."""
    files = {path.name for path in server.files()}
    # A final upload gets its file when it is joined.
    waiting = {row["id"] for row in rows if row["status"] == "open" and row["concat"] not in (None, "partial")}
    having = {row["id"] for row in rows if row["has_bytes"]} - (waiting - files)
    assert files - having == set(), "files without a row"
    assert having - files == set(), "rows without their file"
    assert all(row["status"] in ("open", "complete") for row in rows if row["has_bytes"]), "bytes of what is gone"
    aside = {row["id"] for row in rows if row["in_quarantine"]}
    alive = [row for row in rows if row["status"] in ("open", "complete") and row["id"] not in aside]
    assert all(row["has_bytes"] for row in alive), "no bytes of what is there"
    quarantine = server.data_dir / "quarantine"
    assert {path.name for path in (quarantine.iterdir() if quarantine.exists() else ())} == aside, "quarantine"
    assert aside <= {row["id"] for row in rows if row["status"] == "complete"}, "a deleted file is in quarantine"
    assert not [row["id"] for row in rows if row["status"] == "open" and row["protocol"] != "tus"], "half a form"
    assert not [row["id"] for row in rows if row["checked_from"] is not None], "unchecked bytes that nobody took back"


def check_tasks(server: RestartedServer, rows: Iterable[Row]) -> None:
    """Each complete upload that is no part has one file of one task, as long as it is, and nobody else has one.

    The task of one that was deleted says so, and nothing that was made of it is left.
    """
    found = server.query("SELECT id, file_count FROM tasks")
    files = server.query("SELECT task_id, upload_id, size FROM task_files")
    events = server.query("SELECT task_id, type FROM task_events WHERE upload_id IS NULL")
    whole = [row for row in rows if row["completed_at"] is not None and row["concat"] != "partial"]
    complete = [row for row in whole if row["status"] == "complete"]
    deleted = {row["task_id"] for row in whole if row["status"] == "terminated"}
    expected = sorted((row["task_id"], row["id"], row["length"]) for row in whole)
    having = sorted((file["task_id"], file["upload_id"], file["size"]) for file in files)
    assert having == expected, f"files of tasks {having} for complete uploads {expected}"
    counts = {task["id"]: task["file_count"] for task in found}
    assert counts == Counter(task for task, _, _ in expected), f"tasks {counts} for complete uploads {expected}"
    recorded = sorted((event["task_id"], event["type"]) for event in events if event["type"] != "file_removed")
    expected_events = [(task, "uploaded") for task in counts] + [(task, "removed") for task in deleted]
    assert recorded == sorted(expected_events), f"events {recorded} for tasks {counts}, of which {deleted} were deleted"
    removed = server.query("SELECT id, status, playable, has_results FROM tasks WHERE status = 'removed'")
    assert {task["id"] for task in removed} == deleted
    assert not [task for task in removed if task["playable"] or task["has_results"]], "results of a deleted task"
    files = server.query("SELECT task_id, status, removing, has_mp4 FROM task_files")
    assert {file["task_id"] for file in files if file["status"] == "removed"} == deleted
    assert not [file for file in files if file["removing"]], "a deletion that no sweep has ended"
    there = {path.name for path in (server.data_dir / "results").iterdir()}
    assert there == {file["task_id"] for file in files if file["has_mp4"]}, f"results {there}"
    for row in complete:
        size = _path(server, row).stat().st_size
        assert size == row["length"] == row["received"], f"{size} bytes of {row}"


def _path(server: RestartedServer, row: Row) -> Path:
    return server.data_dir / "quarantine" / row["id"] if row["in_quarantine"] else server.path(row["id"])


def check_locks(server: RestartedServer) -> None:
    """Nothing in the folder of locks but what the living server listens on."""
    left = sorted(path.name for path in (server.data_dir / "locks").iterdir() if path.name != ".held")
    assert len(left) == server.running, f"locks {left}"
    assert all(name.endswith(".fifo") and not name.startswith(".") for name in left), f"locks {left}"


def check_claim(server: RestartedServer, claim: Claim, rows: dict[str, Row]) -> None:
    """One upload by tus."""
    row = rows.get(claim.name)
    if row is None:
        assert claim.id is None, f"{claim.name} was acknowledged and has no row"
        return
    assert claim.id in (None, row["id"]), f"{claim.name} has another id"
    status = row["status"]
    if status in ("open", "complete"):
        assert claim.gone is not Fate.YES, f"{claim.name} was removed and is {status}"
        size = _check_bytes(server, claim, row)
        if status == "complete":
            assert size == len(claim.data), f"{claim.name} is complete with {size} bytes"
        else:
            assert size < len(claim.data), f"{claim.name} has every byte and is open after a sweep"
            waits = [part.name for part in claim.parts if rows[part.name]["status"] != "complete"]
            assert waits or not claim.parts, f"{claim.name} has all its parts and is open after a sweep"
        return
    final = rows.get(claim.final.name) if claim.final else None
    taken = final is not None and final["status"] == "complete"
    # A creation that nobody heard of may be taken back when its file was not made yet.
    allowed = claim.gone is not Fate.NO or taken or (claim.id is None and row["received"] == 0)
    assert allowed, f"{claim.name} is {status}, and nobody wanted that"
    assert status in ({"terminated"} if claim.gone is Fate.NO else claim.ends), f"{claim.name} is {status}"


_WAITING = (
    "SELECT 1 FROM upload_parts p JOIN uploads u ON u.id = p.final_id WHERE u.status = 'open' AND p.part_id = :id"
)


def _check_bytes(server: RestartedServer, claim: Claim, row: Row) -> int:
    path = _path(server, row)
    stored = b"" if claim.parts and row["status"] == "open" and not path.exists() else path.read_bytes()
    if claim.partial and row["status"] == "complete" and server.query(_WAITING, id=row["id"]):
        stored = stored[: row["length"]]  # the final adds to the file of its first part
    size = len(stored)
    assert stored == claim.data[:size], f"the bytes of {claim.name} are not those that were sent"
    assert claim.low <= size <= claim.high, f"{claim.name} has {size} bytes, {claim.low} to {claim.high} were expected"
    assert not claim.checked or size in (claim.low, claim.high), (
        f"{claim.name} has {size} bytes, not checked as a whole"
    )
    return size


def check_form(server: RestartedServer, form: FormClaim, rows: dict[str, Row]) -> None:
    """All files of a form as one task, or none."""
    found = [rows[file.name] for file in form.files if file.name in rows]
    if form.task is None and not found:
        return
    assert len(found) == len(form.files), f"{len(found)} of {len(form.files)} files of a form are left"
    for file in form.files:
        row = rows[file.name]
        assert row["status"] == "complete", f"{file.name} is {row['status']}"
        assert server.path(row["id"]).read_bytes() == file.data, f"the bytes of {file.name}"
    tasks = {row["task_id"] for row in found}
    assert len(tasks) == 1, f"one form, and the tasks {tasks}"
    assert form.task in (None, *tasks), f"{form.task} was told, and it is {tasks}"
