"""The composition root: everything that web and worker share, built from the settings in one place.

Rule: nothing is built at import, and nobody else builds an engine, a store or a lock.
"""

import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import structlog
from sqlalchemy import func, select

from server.database.models import Task, Upload
from server.database.session import Database
from server.errors import StartError
from server.hooks import Hooks
from server.lifecycle import TaskStatus, UploadStatus
from server.observability import Metrics
from server.progress import Progress
from server.settings import Settings
from server.storage.base import UploadStore
from server.storage.disk import DiskStore
from server.storage.locks import UploadLocks
from server.storage.results import Results
from server.sweep import SweepReport, drop_originals, sweep
from server.tasks.wake import Wake
from server.transport.intake import Intake
from server.uploads import UploadService

_log = structlog.stdlib.get_logger("videodock.services")


def utc_now() -> datetime:
    """The clock that everybody gets."""
    return datetime.now(UTC)


def new_id() -> str:
    """An identifier as all are: a lowercase UUID, version 4, with hyphens."""
    return str(uuid.uuid4())


@dataclass(frozen=True)
class Services:
    """What there is to work with. Close it, or use it as a context manager."""

    settings: Settings
    database: Database
    store: UploadStore
    locks: UploadLocks
    results: Results
    wake: Wake
    uploads: UploadService
    metrics: Metrics
    intake: Intake
    node: str

    @classmethod
    def open(cls, settings: Settings, store: UploadStore | None = None) -> "Services":
        """Build everything; connects to nothing yet. Raises `StartError` when the data folder cannot be used.

        `store` is where bytes live, if not on the disk below the data folder; it stays its giver's to close.
        """
        folder = settings.data_dir
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            store = DiskStore(folder / "uploads", settings.fsync) if store is None else store
            locks = UploadLocks(folder / "locks")
            results = Results(folder, syncs=settings.fsync != "never")
            wake = Wake(folder)
            node = _node(folder / "node")
        except OSError as error:
            raise StartError(f"The data folder {folder} cannot be used: {error.strerror}.") from None
        database = Database(settings.sqlalchemy_url, settings.database_pool_size, settings.fsync)
        hooks = Hooks(settings, node, new_id)
        uploads = UploadService(settings, database, store, locks, hooks, wake, Progress(database), utc_now, new_id)
        metrics = Metrics(lambda: _counts(database))
        intake = Intake(settings.body_idle_timeout, settings.body_min_rate, settings.max_bodies)
        return cls(settings, database, store, locks, results, wake, uploads, metrics, intake, node)

    def claim_store(self) -> None:
        """Make sure that the store is the one that the database speaks of. Raises `StartError`. Blocking.

        A store that is away (a disk that is not mounted) looks like one that is empty, and a sweep would believe
        that every upload had lost its bytes.
        """
        if self.store.is_claimed():
            return
        with self.database.read() as session:
            known = session.scalar(select(func.count()).where(Upload.has_bytes)) or 0
        if known:
            raise StartError(f"The database knows {known} uploads, and {self.store.unclaimed}")
        self.store.claim()

    def quarantine(self, upload_id: str) -> None:
        """Put an upload aside whose row says that it is infected; if that cannot be done now, a sweep will. Blocking.

        Raises nothing.
        """
        try:
            with self.uploads.locks.try_hold(upload_id) as held:
                if held:
                    self.uploads.quarantine(upload_id)
        except Exception:
            _log.exception("quarantine_failed", upload=upload_id)

    def drop_originals(self, task_id: str) -> None:
        """Remove what a task that has ended needs no more, by the setting; what cannot be done now, a sweep will do.

        Raises nothing. Blocking.
        """
        try:
            drop_originals(self.uploads, SweepReport(), task_id)
        except Exception:
            _log.exception("drop_failed", task=task_id)

    def sweep(self) -> SweepReport:
        """One sweep. Blocking."""
        return sweep(self.uploads)

    def close(self) -> None:
        """Let go of everything."""
        with ExitStack() as stack:
            stack.callback(self.database.close)
            stack.callback(self.locks.close)

    def __enter__(self) -> "Services":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _node(path: Path) -> str:
    """The name of this data folder, made once: whoever starts on it again knows the tasks it left."""
    unborn = path.with_name(f".node-{uuid.uuid4()}")
    unborn.write_text(new_id())
    try:
        # A link, not a rename: of two processes that start at once, one name stays.
        path.hardlink_to(unborn)
    except FileExistsError:
        pass
    finally:
        unborn.unlink()
    return path.read_text().strip()


def _counts(database: Database) -> tuple[int, Mapping[str, int]]:
    """Open uploads, and tasks by status, for the metrics. Blocking."""
    with database.read() as session:
        uploads = session.scalar(select(func.count()).where(Upload.status == UploadStatus.OPEN)) or 0
        tasks = session.execute(select(Task.status, func.count()).group_by(Task.status)).all()
    found = {status.value: 0 for status in TaskStatus}
    return uploads, found | {status.value: count for status, count in tasks}
