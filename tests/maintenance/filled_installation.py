"""An installation that has everything that a retention can remove."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from server.bootstrap import Services, new_id
from server.maintenance.retention import Retention
from server.maintenance.sweep_report import SweepReport
from server.settings import Settings
from tests.harness.installation import DATA, QUICK, Installation

DAY = 86400

NEVER: dict[str, Any] = {
    f"{kind}_retention": 0 for kind in ("failed", "original", "result", "quarantine", "event", "row")
}


def each(seconds: int) -> dict[str, Any]:
    """Every retention, of so many seconds."""
    return dict.fromkeys(NEVER, seconds)


ENDS = ("completed", "partial", "error", "cancelled", "infected")
"""Tasks of `FilledInstallation.fill` that have ended, by what they are."""

TABLES = ("uploads", "upload_parts", "tasks", "task_files", "task_steps", "task_events", "form_answers")


class FilledInstallation(Installation):
    """An installation in which everything was kept that can be kept."""

    def fill(self, ago: float) -> dict[str, str]:
        """Tasks of every end, so many seconds ago; their ids, by what they are."""
        made = {
            "completed": self.task("completed", ago, has_poster=True),
            "partial": self.partial(ago),
            "error": self.task("error", ago, has_poster=True),
            "cancelled": self.task("cancelled", ago, has_poster=True),
            "infected": self.task("error", ago, scan="infected"),
        }
        self.services.deletion.quarantine(made["infected"])
        made["open"] = self.open(DATA[:10])
        self.execute("UPDATE uploads SET received = 10 WHERE id = :id", id=made["open"])
        made["waiting"] = self.complete()
        return made

    def task(self, status: str, ago: float, **values: object) -> str:
        """A task of one file that ended so."""
        task = self.ended(status, **values)  # type: ignore[arg-type]
        self.end(task, status, ago)
        if values.get("has_poster"):
            self.result(task)
        return task

    def partial(self, ago: float) -> str:
        """A task of two files, the first of which failed. Both have results."""
        task, uploads = new_id(), [self.open(DATA, protocol="multipart", length=None) for _ in range(2)]
        for upload in uploads:
            self.execute("UPDATE uploads SET task_id = :task WHERE id = :id", task=task, id=upload)
        self.services.completion.complete_verified(dict.fromkeys(uploads, "mp4"), task)
        self.end(task, "completed", ago)
        files = [row["id"] for row in self.query("SELECT id FROM task_files WHERE task_id = :id ORDER BY 1", id=task)]
        self.execute("UPDATE tasks SET partial = true WHERE id = :id", id=task)
        for file, status in zip(sorted(files, key=self._position), ("error", "completed"), strict=True):
            self.execute(
                "UPDATE task_files SET status = :status, has_poster = true WHERE id = :id", status=status, id=file
            )
            place = self.settings.data_dir / "results" / task / file / "poster.jpg"
            place.parent.mkdir(parents=True)
            place.write_bytes(b"a picture")
        return task

    def _position(self, file: str) -> int:
        return int(self.query("SELECT position FROM task_files WHERE id = :id", id=file)[0]["position"])

    def with_settings(self, **settings: Any) -> Services:
        """Other services on the same folder and database."""
        place = {"data_dir": self.settings.data_dir, "database_url": self.settings.database_url, **QUICK}
        return Services.open(Settings(**{**place, **NEVER, **settings}))

    def sweep(self, *, dry_run: bool = False, **settings: Any) -> dict[str, int]:
        """One sweep of a process of its own; what is not nothing."""
        return numbers(self.report(dry_run=dry_run, **settings))

    def report(self, *, dry_run: bool = False, **settings: Any) -> SweepReport:
        with self.with_settings(**settings) as services:
            return services.sweep(dry_run=dry_run)

    def originals(self) -> set[str]:
        """The ids of uploads whose bytes are there; fails when a row says otherwise."""
        there = {path.name for path in (self.settings.data_dir / "uploads").rglob("[!.]*") if path.is_file()}
        assert {row["id"] for row in self.query("SELECT id FROM uploads WHERE has_bytes")} == there
        return there

    def posters(self) -> set[str]:
        """The tasks of which a row tells of results, and results are there."""
        rows = {row["task_id"] for row in self.query("SELECT task_id FROM task_files WHERE has_poster")}
        there = {path.parts[-3] for path in (self.settings.data_dir / "results").rglob("poster.jpg")}
        assert rows == there
        return there

    def quarantined_ids(self) -> set[str]:
        folder = self.settings.data_dir / "quarantine"
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    def state(self) -> object:
        """All rows and all files."""
        rows = {table: sorted(map(str, self.query(f"SELECT * FROM {table}"))) for table in TABLES}
        folder = self.settings.data_dir
        return rows, {
            str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
            for path in folder.rglob("*")
            if path.name not in (".held", "videodock.db", "videodock.db-wal", "videodock.db-shm")
        }

    def upload_of(self, task: str, status: str) -> str:
        """The upload of the file of a task that ended so."""
        sql = "SELECT upload_id FROM task_files WHERE task_id = :id AND status = :status"
        return str(self.query(sql, id=task, status=status)[0]["upload_id"])


def fresh_retention(services: Services, clock: Callable[[], datetime] | None = None) -> Retention:
    """Retention of a process that has just started: it remembers no look."""
    return Retention(
        settings=services.settings,
        database=services.database,
        store=services.store,
        results=services.results,
        deletion=services.deletion,
        node=services.node,
        clock=clock or services.clock,
    )


def numbers(report: SweepReport) -> dict[str, int]:
    return {name: number for name, number in report.numbers.items() if number}
