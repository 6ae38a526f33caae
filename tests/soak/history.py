"""Everything that a server's rows and files have said during a soak, for retention takes them away before its end.

Rule: it only reads, and beside the server. A row that goes must have ended, and long enough ago; content that is
complete is hashed once, while it is there.
"""

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from sqlalchemy import NullPool, Table, create_engine, select
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from server.database.models import FormAnswer, Task, TaskFile, Upload
from tests.harness.rows import sha256

Row = Mapping[str, Any]

_UPLOADS, _TASKS, _FILES, _ANSWERS = (cast("Table", model.__table__) for model in (Upload, Task, TaskFile, FormAnswer))
_ENDS = {"rejected", "expired", "terminated"}
_TASK_ENDS = {"completed", "error", "cancelled"}
_SLACK = timedelta(seconds=5)


class History:
    """The last that was seen of every row, by id, also of rows that are gone; `digests` are of complete uploads."""

    def __init__(self) -> None:
        self.uploads: dict[str, Row] = {}
        self.tasks: dict[str, Row] = {}
        self.files: dict[str, Row] = {}
        self.digests: dict[str, str] = {}
        self.removed_rows = 0
        self.largest = 0
        self._present: dict[str, set[str]] = {"uploads": set(), "tasks": set(), "files": set()}

    def note(
        self, uploads: Mapping[str, Row], tasks: Mapping[str, Row], files: Mapping[str, Row], kept: timedelta
    ) -> list[str]:
        """Take in what is there now; what is wrong about it. `kept` is for how long rows that ended must stay."""
        now = datetime.now(UTC)
        wrong = [*self._of_uploads(uploads, now - kept + _SLACK), *self._of_tasks(tasks, now - kept + _SLACK)]
        for name, known, found in (
            ("uploads", self.uploads, uploads),
            ("tasks", self.tasks, tasks),
            ("files", self.files, files),
        ):
            self.removed_rows += len(self._present[name] - found.keys())
            self._present[name] = set(found)
            known.update(found)
        self.largest = max(self.largest, len(uploads) + len(tasks) + len(files))
        return wrong

    def _of_uploads(self, found: Mapping[str, Row], earliest: datetime) -> list[str]:
        wrong = []
        for upload_id in self._present["uploads"] - found.keys():
            last = self.uploads[upload_id]
            # A form that broke off leaves nothing; a creation that could not make its file, neither.
            is_young = last["status"] == "open" or last["updated_at"] > earliest
            was_never_told = last["protocol"] == "multipart" or not last["received"]
            if last["status"] in ("open", "terminated") and is_young and was_never_told:
                del self.uploads[upload_id]
                continue
            if last["status"] == "open":
                wrong.append(f"the row of upload {upload_id} went while it was open at {last['received']} bytes")
            elif last["updated_at"] > earliest:
                wrong.append(f"the row of upload {upload_id} ({last['status']}) went too early")
        for upload_id, row in found.items():
            before = self.uploads.get(upload_id)
            if before is not None and before["status"] in _ENDS and row["status"] != before["status"]:
                wrong.append(f"upload {upload_id} was {before['status']} and is {row['status']} now")
        return wrong

    def _of_tasks(self, found: Mapping[str, Row], earliest: datetime) -> list[str]:
        wrong = []
        for task_id in self._present["tasks"] - found.keys():
            last = self.tasks[task_id]
            is_empty_group = last["gather_until"] is not None
            if last["status"] not in _TASK_ENDS and not is_empty_group:
                wrong.append(f"the row of task {task_id} went while it was {last['status']}")
            elif last["finished_at"] is not None and last["finished_at"] > earliest:
                wrong.append(f"the row of task {task_id} went too early")
        for task_id, row in found.items():
            before = self.tasks.get(task_id)
            if before is not None and before["status"] in _TASK_ENDS and row["status"] != before["status"]:
                wrong.append(f"task {task_id} was {before['status']} and is {row['status']} now")
        return wrong


class Auditor:
    """Looks every `every` seconds, in a thread of its own, until it is stopped; `violation` is told what is wrong."""

    def __init__(
        self, url: str, data_dir: Path, *, kept: float, every: float, violation: Callable[[str], None]
    ) -> None:
        self.history = History()
        self.open_ones = self.running = self.answers = self.present = 0
        self._engine = create_engine(url, poolclass=NullPool)
        self._data_dir = data_dir
        self._kept = timedelta(seconds=kept)
        self._every = every
        self._violation = violation
        self._over = threading.Event()
        self._looking = threading.Lock()
        self._missing: dict[str, int] = {}
        self._thread = threading.Thread(target=self._follow, name="auditor", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """End; a second time is none."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self._engine.dispose()

    def look(self) -> bool:
        """One look; whether the database could be read."""
        with self._looking:
            try:
                uploads, tasks, files = (self._rows(table) for table in (_UPLOADS, _TASKS, _FILES))
                with self._engine.connect() as connection:
                    self.answers = len(connection.execute(select(_ANSWERS.c.key)).all())
            except OperationalError:
                return False
            for sentence in self.history.note(uploads, tasks, files, self._kept):
                self._violation(sentence)
            self.open_ones = sum(row["status"] == "open" for row in uploads.values())
            self.running = sum(row["status"] not in _TASK_ENDS for row in tasks.values())
            self.present = len(uploads) + len(tasks) + len(files)
            for row in uploads.values():
                self._hash(row)
            return True

    def _follow(self) -> None:
        while not self._over.wait(self._every):
            try:
                self.look()
            except SQLAlchemyError as error:
                self._violation(f"the auditor cannot read: {type(error).__name__}: {error}")

    def _rows(self, table: Table) -> dict[str, Row]:
        with self._engine.connect() as connection:
            return {row["id"]: dict(row) for row in connection.execute(select(table)).mappings()}

    def _hash(self, row: Row) -> None:
        upload_id = row["id"]
        if upload_id in self.history.digests or row["status"] != "complete" or not row["has_bytes"]:
            return
        path = self._data_dir / "uploads" / upload_id[:2] / upload_id
        try:
            self.history.digests[upload_id] = sha256(path)
        except FileNotFoundError:
            self._look_again(upload_id)

    def _look_again(self, upload_id: str) -> None:
        """A file that is away: is it so because it was removed, and the row says so or is about to?"""
        with self._engine.connect() as connection:
            row = connection.execute(select(_UPLOADS).where(_UPLOADS.c.id == upload_id)).mappings().one_or_none()
        if row is None or row["status"] != "complete" or not row["has_bytes"] or row["concat"] == "partial":
            return
        self._missing[upload_id] = self._missing.get(upload_id, 0) + 1
        if self._missing[upload_id] == 3:  # a removal that was cut short is ended by the next sweep
            self._violation(f"upload {upload_id} is complete, and its file is not there")
