"""A data folder with its database, and uploads, tasks and results in it in whatever state a test wants.

Rule: what can be made by the program is made by it; only ends and times are written into rows.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import text, update

from server.bootstrap import Services, new_id
from server.database.models import Task, TaskEvent
from server.lifecycle import TaskStatus
from server.settings import Settings
from server.uploads.new_upload import NewUpload
from tests.harness.migrated import migrate
from tests.tus.client import video

DATA = video(500)

# No power is cut here, and no disk is full.
QUICK: dict[str, Any] = {"fsync": "never", "disk_reserve": "0"}


class Installation:
    """Services over a data folder, and uploads and tasks in it."""

    def __init__(self, folder: Path, url: str, **settings: Any) -> None:
        self.settings = Settings(data_dir=folder, database_url=url, **{**QUICK, **settings})
        folder.mkdir(parents=True, exist_ok=True)
        migrate(self.settings.sqlalchemy_url)
        self.services = Services.open(self.settings)
        self.services.claim_store()

    def execute(self, sql: str, **parameters: object) -> None:
        """Change rows."""
        with self.services.database.write() as session:
            session.execute(text(sql), parameters)

    def query(self, sql: str, **parameters: object) -> list[dict[str, Any]]:
        """Rows."""
        with self.services.database.read() as session:
            return [dict(row) for row in session.execute(text(sql), parameters).mappings()]

    def open(self, data: bytes = b"", *, protocol: str = "tus", length: int | None = len(DATA)) -> str:
        """An open upload with these bytes."""
        upload = new_id()
        self.services.repository.insert(
            NewUpload(
                id=upload,
                owner="default",
                protocol=protocol,
                task_id=upload if protocol == "tus" else new_id(),
                length=length,
                filename="clip.mp4",
            )
        )
        self.path(upload).write_bytes(data)
        return upload

    def complete(self) -> str:
        """An upload with its task."""
        upload = self.open(DATA)
        self.services.completion.complete_verified({upload: "mp4"}, upload)
        return upload

    def ended(self, status: str = "completed", **flags: bool) -> str:
        """A task that has ended, whose row tells of these results."""
        upload = self.complete()
        self.end(upload, status)
        self.execute(f"UPDATE task_files SET status = '{status}' WHERE task_id = :id", id=upload)
        for flag, value in flags.items():
            self.execute(f"UPDATE task_files SET {flag} = :value WHERE task_id = :id", value=value, id=upload)
        return upload

    def end(self, task: str, status: str, ago: float = 0) -> None:
        """Let a task have ended, so many seconds ago."""
        at = datetime.now(UTC) - timedelta(seconds=ago)
        with self.services.database.write() as session:
            values = {"status": TaskStatus(status), "finished_at": at, "attempt": 1, "progress": 100}
            session.execute(update(Task).where(Task.id == task).values(**values))
            session.execute(update(TaskEvent).where(TaskEvent.task_id == task).values(at=at))

    def file_of(self, task: str) -> str:
        """The id of the first file of a task."""
        with self.services.database.read() as session:
            return str(
                session.execute(
                    text("SELECT id FROM task_files WHERE task_id = :id ORDER BY position"), {"id": task}
                ).scalar()
            )

    def result(self, task: str, name: str = "poster.jpg") -> Path:
        """A result of a task, on the disk."""
        place = self.settings.data_dir / "results" / task / self.file_of(task) / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"a picture")
        return place

    def path(self, upload: str) -> Path:
        """Where the bytes of an upload lie; its folder is there."""
        path = self.services.store.local_path(upload)
        path.parent.mkdir(exist_ok=True)
        return path

    def aside(self, upload: str) -> Path:
        """Where they lie in quarantine, likewise."""
        path = self.settings.data_dir / "quarantine" / upload
        path.parent.mkdir(exist_ok=True)
        return path

    def found(self) -> list[tuple[str, str]]:
        """What the inventory finds."""
        return [(finding.kind, finding.subject) for finding in self.services.checker.find_mismatches()]
