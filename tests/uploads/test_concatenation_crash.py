"""Joining partial uploads, killed before and behind each of its steps: the parts or the final, never less."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from server.bootstrap import Services
from server.database.session import Database
from server.settings import Settings
from server.storage import disk
from server.storage.disk import DiskStore
from server.tus.protocol import PARTIAL, Create, check_upload
from server.uploads.new_upload import NO_TERMS, NewUpload
from tests.harness.kill_points import KilledError, KillPoint
from tests.harness.migrated import migrate
from tests.harness.rows import query
from tests.tus.client import video

pytestmark = pytest.mark.turns(2)  # moments of a kill

OWNER = "default"
DATA = video(5000)
PIECES = (DATA[:2000], DATA[2000:2001], DATA[2001:])


class JoinCrashScenario:
    """A data folder whose process dies and starts again."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'test.db'}"
        self.settings = Settings(data_dir=folder / "data", database_url=self.url)
        migrate(self.url)

    def open(self) -> Services:
        services = Services.open(self.settings)
        services.claim_store()
        return services

    def parts(self, pieces: Sequence[bytes] = PIECES) -> list[str]:
        """Three partial uploads with all their bytes."""
        made = []
        with self.open() as services:
            for piece in pieces:
                upload = services.new_id()
                services.repository.insert(
                    NewUpload(id=upload, owner=OWNER, protocol="tus", task_id=upload, length=len(piece), concat=PARTIAL)
                )
                services.store.local_path(upload).write_bytes(piece)
                services.completion.complete_verified({upload: None}, upload)
                made.append(upload)
        return made

    def join(self, parts: list[str]) -> bool:
        """One process that asks for the final upload; whether it lived to the end."""
        decision = Create(None, None, "clip.mp4", has_body=False, concat="final;…", parts=tuple(parts))
        with self.open() as services:
            try:
                anyio.run(services.finals.create, OWNER, decision)
            except KilledError:
                return False
        return True

    def delete(self, final: str) -> bool:
        """One process that removes the final upload; whether it lived to the end."""
        with self.open() as services:
            try:
                anyio.run(services.removal.terminate, final, OWNER, check_upload)
            except KilledError:
                return False
        return True

    def settle(self) -> None:
        """One sweep."""
        with self.open() as services:
            assert services.sweep().numbers["failed"] == 0

    def check_parts(self, parts: list[str]) -> None:
        """After one sweep: the final is gone, and each part has its bytes and no others."""
        self.settle()
        with self.open() as services:
            path = services.store.local_path
            assert [path(part).read_bytes() for part in parts] == list(PIECES)
            stored = {found.name for found in (self.settings.data_dir / "uploads").rglob("[!.]*") if found.is_file()}
        assert stored == {row["id"] for row in query(self.url, "SELECT id FROM uploads WHERE has_bytes")}

    def check(self, parts: list[str]) -> None:
        """After one sweep: the final with every byte and its one task, or the parts with theirs."""
        with self.open() as services:
            report = services.sweep()
            assert report.numbers["failed"] == 0
            path = services.store.local_path
            finals = query(self.url, "SELECT final_id FROM upload_parts WHERE part_id = :part", part=parts[0])
            rows = {row["id"]: row for row in query(self.url, "SELECT * FROM uploads")}
            if not finals:
                assert [path(part).read_bytes() for part in parts] == list(PIECES)
            else:
                final = finals[0]["final_id"]
                assert (rows[final]["status"], rows[final]["length"]) == ("complete", len(DATA))
                assert path(final).read_bytes() == DATA
                assert query(self.url, "SELECT status FROM tasks WHERE id = :id", id=final) == [{"status": "uploaded"}]
                assert [rows[part]["status"] for part in parts] == ["terminated"] * len(parts)
            stored = {found.name for found in (self.settings.data_dir / "uploads").rglob("[!.]*") if found.is_file()}
            assert stored == {upload for upload, row in rows.items() if row["has_bytes"]}


_STEPS: list[tuple[Any, str]] = [
    *((DiskStore, name) for name in ("finish", "delete", "concatenate", "undo_concatenate", "_join")),
    (disk, "copy_range"),
    (Path, "hardlink_to"),
]


def kill(patched: pytest.MonkeyPatch, at: int, *, after: bool) -> None:
    """Die at the step of this number."""
    point = KillPoint(at, after=after)
    for owner, name in _STEPS:
        patched.setattr(owner, name, point.step(getattr(owner, name)))
    # A transaction is a context manager: killed before it begins.
    for name in ("write", "change"):
        patched.setattr(Database, name, point.step(getattr(Database, name), after=False))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_join_killed_at_any_step_is_completed(monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    """Before or behind every transaction and every move of bytes; a restart and one sweep bring it to an end."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        scenario = JoinCrashScenario(Path(folder))
        for at in range(1, 60):
            parts = scenario.parts()
            with monkeypatch.context() as patched:
                kill(patched, at, after=after)
                lived = scenario.join(parts)
            scenario.check(parts)
            if lived:
                assert at > 8, "fewer steps were killed than there are"
                return
        pytest.fail("it never came to its end")


@pytest.mark.sampled(1)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_killed_join_whose_final_is_removed_loses_no_part(monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    """Cut anywhere in the join, then the final is removed, and that is cut anywhere too: no part loses a byte."""
    cut = 0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        scenario = JoinCrashScenario(Path(folder))
        for at in range(1, 60):
            parts = scenario.parts()
            with monkeypatch.context() as patched:
                kill(patched, at, after=after)
                lived = scenario.join(parts)
            if lived:
                assert cut > 4, "fewer steps were killed than there are"
                return
            sql = "SELECT id FROM uploads WHERE concat LIKE 'final%' AND status = 'open'"
            for row in query(scenario.url, sql):
                cut += 1
                with monkeypatch.context() as patched:
                    kill(patched, 1 + at % 5, after=after)
                    scenario.delete(row["id"])
                if not query(scenario.url, sql):  # else it died before it had begun, and the final is joined by a sweep
                    scenario.check_parts(parts)
            scenario.settle()
        pytest.fail("it never came to its end")


def test_a_half_copied_part_is_copied_to_its_end(tmp_path: Path) -> None:
    """Killed in the middle of a part: the store says how far it was, and the rest follows."""
    scenario = JoinCrashScenario(tmp_path)
    parts = scenario.parts()
    with scenario.open() as services:
        decision = Create(None, None, "clip.mp4", has_body=False, concat="final;…", parts=tuple(parts))
        finals = services.finals
        upload = services.new_id()
        finals._insert(upload, OWNER, decision, NO_TERMS)
        target = services.store.local_path(upload)
        target.parent.mkdir(exist_ok=True)
        target.hardlink_to(services.store.local_path(parts[0]))
        with target.open("ab") as file:
            file.write(PIECES[1] + PIECES[2][:1000])
    scenario.check(parts)


def test_the_type_check_sees_each_byte_of_a_copied_part_once(tmp_path: Path) -> None:
    """Killed after a first part of 7 bytes was copied, not taken: the type check sees each byte once."""
    scenario = JoinCrashScenario(tmp_path)
    parts = scenario.parts((DATA[:7], DATA[7:20], DATA[20:]))
    with scenario.open() as services:
        decision = Create(None, None, "clip.mp4", has_body=False, concat="final;…", parts=tuple(parts))
        upload = services.new_id()
        services.finals._insert(upload, OWNER, decision, NO_TERMS)
        target = services.store.local_path(upload)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(DATA[:7])
    scenario.check(parts)
