"""A worker that is killed anywhere while it finds a virus: the file ends in quarantine, and nothing is made of it."""

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.bootstrap import Services
from server.database.models import DEFAULT_OWNER
from server.settings import Settings
from server.uploads.new_upload import NewUpload
from tests.harness import seed
from tests.harness.clamd import EICAR, Clamd
from tests.harness.kill_points import NEVER
from tests.harness.migrated import migrate
from tests.harness.rows import query
from tests.harness.waiting import PATIENCE
from tests.samples import make

QUICK: dict[str, Any] = {"transcode": "none", "storyboard": "off", "fsync": "never"}


@pytest.fixture(scope="module")
def clamd() -> Iterator[Clamd]:
    with Clamd() as made:
        yield made


class QuarantineScenario:
    """A data folder with one task: a playable video that is infected."""

    def __init__(self, folder: Path, clamd: Clamd) -> None:
        self.folder = folder
        self.clamd = clamd
        self.data = make(folder.parent, "clip.mp4").read_bytes() + EICAR
        folder.mkdir()
        migrate(self.url)
        with Services.open(self.settings) as services:
            services.claim_store()
            self.upload = services.new_id()
            services.repository.insert(
                NewUpload(
                    id=self.upload,
                    owner=DEFAULT_OWNER,
                    protocol="tus",
                    task_id=self.upload,
                    length=len(self.data),
                    filename="clip.mp4",
                )
            )
            services.store.local_path(self.upload).write_bytes(self.data)
            services.completion.complete_verified({self.upload: "mp4"}, self.upload)

    @property
    def settings(self) -> Settings:
        return Settings(data_dir=self.folder, clamd=self.clamd.unix, **QUICK)

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder / 'videodock.db'}"

    def check(self, folder: Path, where: str) -> None:
        """In this copy of the folder the task ended as it does without a kill; `where` names the kill."""
        assert (folder / "quarantine" / self.upload).read_bytes() == self.data, where
        for place in ("uploads", "results", "work"):
            assert not [path for path in (folder / place).rglob("[!.]*") if path.is_file()], (where, place)
        url = f"sqlite:///{folder / 'videodock.db'}"
        assert query(url, "SELECT status, has_bytes FROM uploads") == [{"status": "complete", "has_bytes": 0}], where
        assert query(url, "SELECT status, error_code FROM tasks") == [{"status": "error", "error_code": "infected"}]
        assert query(url, "SELECT scan, status FROM task_files") == [{"scan": "infected", "status": "error"}], where
        types = [row["type"] for row in query(url, "SELECT type FROM task_events WHERE upload_id IS NULL ORDER BY id")]
        assert [types.count(kind) for kind in ("infected", "file_error", "error")] == [1, 1, 1], (where, types)
        steps = {row["name"]: row["status"] for row in query(url, "SELECT name, status FROM task_steps")}
        assert steps.pop("scan") == "error", where
        assert set(steps.values()) <= {"waiting", "skipped"}, (where, steps)


class Workers:
    """Workers on any folder, one at a time."""

    def __init__(self, clamd: Clamd, log: Path) -> None:
        self._log = log
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("VIDEODOCK_", "FAULT"))}
        settings = {f"VIDEODOCK_{name.upper()}": str(value) for name, value in (QUICK | {"clamd": clamd.unix}).items()}
        with log.with_suffix(".out").open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.harness.scan_once"],
                env=kept | settings | {"FAULT_LOG": str(log)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                text=True,
            )

    def run(self, folder: Path, fault: str = "") -> int:
        """How the worker ended: 0, or -9 where the fault was met."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{folder}\t{fault}\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline() or "1")
        assert code in (0, -signal.SIGKILL), self._log.with_suffix(".out").read_text()[-4000:]
        return code

    def points(self, folder: Path) -> list[str]:
        """What a worker that meets no fault passes by, each with its number."""
        assert self.run(folder, "record") == 0
        counted: Counter[str] = Counter()
        found = []
        for point in self._log.read_text().split():
            counted[point] += 1
            found.append(f"{point}:{counted[point]}")
        return found

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()


def copied(scenario: QuarantineScenario, folder: Path) -> Path:
    """A copy of the data folder, without the FIFO of the wakes: a start makes it."""
    return shutil.copytree(scenario.folder, folder, ignore=shutil.ignore_patterns("*.fifo"))


@pytest.fixture
def scenario(tmp_path: Path, clamd: Clamd) -> QuarantineScenario:
    return QuarantineScenario(tmp_path / "scenario", clamd)


@pytest.fixture
def workers(tmp_path: Path, clamd: Clamd) -> Iterator[Workers]:
    made = Workers(clamd, tmp_path / "points")
    yield made
    made.close()


@pytest.mark.parametrize("most", [12, pytest.param(NEVER, marks=pytest.mark.soak)], ids=["sample", "all"])
def test_a_quarantine_killed_at_any_point_is_completed(
    scenario: QuarantineScenario, workers: Workers, tmp_path: Path, most: int
) -> None:
    """At every point that moves a file or a row: whoever comes next ends it, once, and no step after the scan runs."""
    plain = copied(scenario, tmp_path / "plain")
    points = [point for point in workers.points(plain) if not point.startswith("lock.")]
    scenario.check(plain, "nobody was killed")
    assert {"store.quarantine.before:1", "file.rename.after:1"} <= set(points)
    points = seed.dice("points of a quarantine").sample(points, min(most, len(points)))
    missed = []
    for fault in points:
        folder = copied(scenario, tmp_path / fault.replace(":", "-"))
        if workers.run(folder, fault) != -signal.SIGKILL:
            missed.append(fault)
        workers.run(folder)
        scenario.check(folder, fault)
        shutil.rmtree(folder)
    # The transactions of a heartbeat come and go; no other point is missed.
    assert len(missed) <= 6, missed
    assert all(point.startswith("transaction.") for point in missed), missed


def test_a_failed_quarantine_is_completed_by_the_sweep(scenario: QuarantineScenario, workers: Workers) -> None:
    """A disk that takes no file now takes it later; meanwhile the row keeps the file from everybody."""
    aside = scenario.folder / "quarantine"
    aside.write_text("in the way")
    workers.run(scenario.folder)
    assert query(scenario.url, "SELECT has_bytes FROM uploads") == [{"has_bytes": 1}]
    assert query(scenario.url, "SELECT status, error_code FROM tasks") == [
        {"status": "error", "error_code": "infected"}
    ]
    aside.unlink()
    with Services.open(scenario.settings) as services:
        report = services.sweep()
        assert (report.numbers["quarantined"], report.numbers["failed"]) == (1, 0)
        assert services.sweep().numbers["quarantined"] == 0
    scenario.check(scenario.folder, "swept")
