"""The composition root: everything that web and worker share, built from the settings in one place.

Rules:

- Nothing is built at import, and no other module builds an engine, a store or a lock.
- Parts are dataclasses without a `repr`: a traceback with local variables would print each part with all others in it.
"""

import fcntl
import os
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType

import structlog
from sqlalchemy import func, select
from sqlalchemy.engine import make_url

from server.auth.parts import AuthParts
from server.database.models import Upload
from server.database.session import Database
from server.errors import StartError
from server.events import counts as event_counts
from server.events.parts import EventParts
from server.maintenance.checker import Checker
from server.maintenance.removal import Removal
from server.maintenance.retention import Retention
from server.maintenance.sweep import Sweeper
from server.maintenance.sweep_report import SweepReport
from server.observability import Metrics
from server.settings import Settings
from server.storage import pins
from server.storage.ballast import Ballast
from server.storage.base import UploadStore
from server.storage.locks import UploadLocks
from server.storage.result_store import ResultStore
from server.tasks.wake import Wake
from server.tracing import Tracing, open_tracing
from server.transport.admission import Admission
from server.uploads import places, reservations, stores
from server.uploads.completion import UploadCompletion
from server.uploads.concatenation import FinalService
from server.uploads.deletion import UploadDeletion
from server.uploads.facts import UploadFacts
from server.uploads.forms import FormService
from server.uploads.idempotency import IdempotencyKeys
from server.uploads.parts import UploadParts
from server.uploads.policy import UploadPolicy
from server.uploads.progress import ProgressWriter
from server.uploads.quotas import OwnerQuotas
from server.uploads.repository import UploadRepository
from server.uploads.reservations import DiskReservations
from server.uploads.service import UploadService
from server.uploads.upload_locks import open_locks

_log = structlog.stdlib.get_logger("videodock.bootstrap")

UNFINISHED = ".restore"
"""Exists in a data folder while it is being restored, and after an interrupted restore."""


def utc_now() -> datetime:
    """The clock of all parts."""
    return datetime.now(UTC)


def new_id() -> str:
    """A new id: a lowercase UUID, version 4, with hyphens."""
    return str(uuid.uuid4())


@dataclass(frozen=True, kw_only=True, repr=False)
class Services:
    """All parts. Close it, or use it as a context manager."""

    settings: Settings
    host: str
    """The name of this data folder, for what runs in it."""
    node: str
    """Where the results of tasks are: this folder, or the bucket of all hosts. Workers take tasks of their node."""
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    database: Database
    store: UploadStore
    locks: UploadLocks
    results: ResultStore
    wake: Wake
    metrics: Metrics
    intake: Admission
    keep_spare: Callable[[], None]
    auth: AuthParts
    events: EventParts
    tracing: Tracing
    reservations: DiskReservations
    quotas: OwnerQuotas
    policy: UploadPolicy
    progress: ProgressWriter
    facts: UploadFacts
    repository: UploadRepository
    completion: UploadCompletion
    deletion: UploadDeletion
    uploads: UploadService
    finals: FinalService
    form_keys: IdempotencyKeys
    forms: FormService
    removal: Removal
    retention: Retention
    sweeper: Sweeper
    checker: Checker

    @classmethod
    def open(cls, settings: Settings, store: UploadStore | None = None) -> "Services":
        """Build everything; connects to nothing yet. Raises `StartError` when the data folder cannot be used.

        `store` has the bytes, if they are not on the disk below the data folder; the caller closes it.
        """
        folder = settings.data_dir
        os.umask(0o077)  # only the user may read files of this process and its children, whatever the folder's mode
        if (folder / UNFINISHED).exists():
            raise StartError(
                f"The data folder {folder} is only half restored. Run `videodock restore` again, to its end."
            )
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            store = stores.open_store(settings, utc_now) if store is None else store
            reserve = reservations.reserve_bytes(settings.disk_reserve, store.capacity)
            spare = Ballast(folder, reserve // 4 if _is_here(settings) else 0)
            spare.release_if_needed()
            results = stores.open_results(settings, store, utc_now)
            wake = Wake(folder)
            host = _node(folder / "node")
        except OSError as error:
            raise StartError(f"The data folder {folder} cannot be used: {error.strerror}.") from None
        database = Database(settings.sqlalchemy_url, settings.database_pool_size, settings.fsync, spare)
        locks = open_locks(settings, database, store)
        stores.connect(store, results, database, locks)
        room = DiskReservations(database, store, reserve, folder / "space.lock")
        return cls._assemble(
            settings=settings,
            host=host,
            node=stores.node_of(host, results),
            database=database,
            store=store,
            locks=locks,
            results=results,
            wake=wake,
            room=room,
            keep_spare=partial(spare.maintain, reserve),
        )

    @classmethod
    def _assemble(
        cls,
        *,
        settings: Settings,
        host: str,
        node: str,
        database: Database,
        store: UploadStore,
        locks: UploadLocks,
        results: ResultStore,
        wake: Wake,
        room: DiskReservations,
        keep_spare: Callable[[], None],
    ) -> "Services":
        """The parts that have no files or connections of their own, each with what it uses."""
        parts = UploadParts.open(
            settings=settings,
            database=database,
            store=store,
            locks=locks,
            wake=wake,
            reservations=room,
            node=node,
            clock=utc_now,
            new_id=new_id,
        )
        removal = Removal(
            database=database,
            store=store,
            locks=locks,
            wake=wake,
            results=results,
            facts=parts.facts,
            deletion=parts.deletion,
            node=node,
            clock=utc_now,
        )
        retention = Retention(
            settings=settings,
            database=database,
            store=store,
            results=results,
            deletion=parts.deletion,
            node=node,
            clock=utc_now,
        )
        sweeper = Sweeper(
            settings=settings,
            database=database,
            store=store,
            locks=locks,
            repository=parts.repository,
            completion=parts.completion,
            facts=parts.facts,
            deletion=parts.deletion,
            finals=parts.finals,
            keys=parts.form_keys,
            retention=retention,
            removal=removal,
            results=results,
            node=node,
            clock=utc_now,
        )
        auth = AuthParts.open(settings=settings, database=database, clock=utc_now, new_id=new_id)
        tracing = open_tracing(settings.otel_endpoint, settings.otel_sample / 100)
        metrics = event_counts.metrics(database, settings, room, utc_now)
        checker = Checker(settings=settings, database=database, store=store, locks=locks, results=results, node=node)
        return cls(
            settings=settings,
            host=host,
            node=node,
            clock=utc_now,
            new_id=new_id,
            database=database,
            store=store,
            locks=locks,
            results=results,
            wake=wake,
            metrics=metrics,
            intake=Admission(settings.body_idle_timeout, settings.body_min_rate, settings.max_bodies),
            keep_spare=keep_spare,
            auth=auth,
            events=EventParts.open(
                settings=settings,
                database=database,
                auth=auth,
                host=host,
                clock=utc_now,
                tracing=tracing,
                metrics=metrics,
            ),
            tracing=tracing,
            reservations=room,
            quotas=parts.quotas,
            policy=parts.policy,
            progress=parts.progress,
            facts=parts.facts,
            repository=parts.repository,
            completion=parts.completion,
            deletion=parts.deletion,
            uploads=parts.uploads,
            finals=parts.finals,
            form_keys=parts.form_keys,
            forms=parts.forms,
            removal=removal,
            retention=retention,
            sweeper=sweeper,
            checker=checker,
        )

    def claim_store(self) -> None:
        """Check that the store is the one that the database belongs to. Raises `StartError`. Blocking.

        A store that is away (a disk that is not mounted) looks like an empty one, and a sweep would conclude
        that every upload had lost its bytes.
        """
        try:
            places.check_places(self.settings, self.database, self.store)
            places.adopt_tasks(self.settings, self.database, self.host, self.node)
            if self.store.is_claimed():
                return
            with self.database.read() as session:
                known = session.scalar(select(func.count()).where(Upload.has_bytes)) or 0
            if known:
                raise StartError(f"The database knows {known} uploads, and {self.store.unclaimed}")
            self.store.claim()
        except OSError as error:
            raise StartError(f"The store of uploads cannot be used: {error.strerror}.") from None

    def quarantine(self, upload_id: str) -> None:
        """Quarantine an upload whose row says that it is infected; if that is impossible now, a sweep will. Blocking.

        Raises nothing.
        """
        try:
            with self.locks.try_hold(upload_id) as held:
                if held:
                    self.deletion.quarantine(upload_id)
        except Exception:
            _log.exception("quarantine_failed", upload=upload_id)

    def drop_originals(self, task_id: str) -> None:
        """Remove files that an ended task no longer needs, by the setting; a sweep does what is impossible now.

        Raises nothing. Blocking.
        """
        try:
            self.sweeper.drop_originals(task_id)
        except Exception:
            _log.exception("drop_failed", task=task_id)

    def sweep(self, *, dry_run: bool = False, everything: bool = True) -> SweepReport:
        """One sweep; with `dry_run` it reports what it would do, and changes nothing. Blocking.

        Without `everything` it costs what is due, and not what is open.
        """
        if not dry_run:
            self.keep_spare()
            pins.clean(self.settings.data_dir)
        return self.sweeper.sweep(dry_run=dry_run, everything=everything)

    def close(self) -> None:
        """Release all resources."""
        with ExitStack() as stack:
            stack.callback(self.database.close)
            stack.callback(self.locks.close)
            stack.callback(self.auth.close)
            stack.callback(self.events.close)
            stack.callback(self.tracing.close)

    def __enter__(self) -> "Services":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _is_here(settings: Settings) -> bool:
    """Whether the database is a file on the disk of the data folder."""
    url = make_url(settings.sqlalchemy_url)
    if url.get_backend_name() != "sqlite" or not url.database:
        return False
    folder = Path(url.database).parent
    return folder.is_dir() and folder.stat().st_dev == settings.data_dir.stat().st_dev


def _node(path: Path) -> str:
    """The name of this data folder, created once, so that the next start recognises the tasks of this folder."""
    with open(path, "a+b", opener=_privately) as file:
        # Of two processes that start at once, the second one reads what the first one wrote. One that dies in between
        # leaves an empty file, and nothing else.
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        name = file.read().decode().strip("\0 \n")
        if not name:
            name = new_id()
            file.truncate(0)
            file.write(name.encode())
            file.flush()
            os.fsync(file.fileno())
        for leftover in path.parent.glob(".node-*"):  # left by versions that created it in another way
            leftover.unlink(missing_ok=True)
        return name


def _privately(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
