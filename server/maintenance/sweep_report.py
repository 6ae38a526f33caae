"""What a sweep does, counted; and one sweep's way to the uploads.

Rule: a sweep that only tells (`dry_run`) takes the same decisions, under the same locks, and changes nothing.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import ColumnElement, and_, or_, select

from server.database.models import Upload
from server.database.session import AWAY, Database
from server.storage.base import UploadStore
from server.storage.locks import UploadLocks

_BATCH = 500
_log = structlog.stdlib.get_logger("videodock.maintenance")


@dataclass
class SweepReport:
    """What a sweep did, or would do, in numbers; of uploads, where nothing else is said."""

    expired: int = 0  # unfinished for too long, removed
    finished: int = 0  # complete, but not yet announced: announced
    abandoned: int = 0  # left by a request or process that died, removed
    removed: int = 0  # removals that had been cut short, ended
    removed_results: int = 0  # files of tasks whose deletion had been cut short: what was made of them, removed
    quarantined: int = 0  # infected, and still among the others: put aside
    missing: int = 0  # open, but their bytes are gone from the store: reported, not touched
    dropped: int = 0  # originals that are not needed any more, removed
    answers: int = 0  # answers to forms whose time was over, removed
    late: int = 0  # groups whose last upload never came: failed
    leftovers: int = 0  # folders of attempts, FIFOs and the like, left by processes that died: removed
    failed_originals: int = 0  # originals that failed or were cancelled, removed
    old_originals: int = 0  # originals of whatever else, removed
    hidden_results: int = 0  # tasks whose results nobody can see any more: removed
    old_results: int = 0  # tasks whose results were removed for their age
    old_quarantine: int = 0  # files in quarantine, removed
    old_events: int = 0  # events of tasks, removed
    old_tasks: int = 0  # tasks whose rows were removed, with all that belongs to them
    old_uploads: int = 0  # uploads without a task whose rows were removed
    failed: int = 0  # could not be settled this time: logged, tried again by a later sweep

    def __post_init__(self) -> None:
        self.sizes: Counter[str] = Counter()

    def add(self, kind: str, number: int = 1, size: int = 0) -> None:
        """Count something, and the bytes that it takes off the disk."""
        setattr(self, kind, getattr(self, kind) + number)
        self.sizes[kind] += size

    @property
    def numbers(self) -> Mapping[str, int]:
        """All of them, by name."""
        return asdict(self)

    @property
    def freed(self) -> int:
        """Bytes in all."""
        return sum(self.sizes.values())


TELLS = {
    "expired": "unfinished uploads whose time is over",
    "finished": "uploads that are whole, and were not completed",
    "abandoned": "uploads that a process left which died",
    "removed": "removals that were cut short, and partial uploads that nobody needs",
    "removed_results": "deleted files of which something was left",
    "quarantined": "infected files that go into quarantine",
    "missing": "open uploads whose bytes are gone; left as they are",
    "dropped": "originals that are not kept once they can be played (`originals`)",
    "answers": "answers to forms (`form_answer_expiry`)",
    "late": "groups whose last upload never came",
    "leftovers": "folders and FIFOs that a process left which died",
    "failed_originals": "originals that failed or were cancelled (`failed_retention`)",
    "old_originals": "other originals (`original_retention`)",
    "hidden_results": "tasks with results that nobody can see",
    "old_results": "tasks with old results (`result_retention`)",
    "old_quarantine": "files in quarantine (`quarantine_retention`)",
    "old_events": "events of tasks (`event_retention`)",
    "old_tasks": "tasks with their rows (`row_retention`)",
    "old_uploads": "rows of uploads without a task (`row_retention`)",
    "failed": "failures; the log says more",
}
"""What each number is of, for an operator."""


@dataclass(kw_only=True)
class SweepRound:
    """One sweep that is under way."""

    database: Database
    store: UploadStore
    locks: UploadLocks
    report: SweepReport
    dry_run: bool = False

    @contextmanager
    def one(self, upload_id: str, lock: str) -> Iterator[bool]:
        """The lock of one upload or task, if it is free; what goes wrong with it does not stop the sweep of others."""
        try:
            with self.locks.try_hold(lock) as held:
                yield held
        except AWAY:
            raise  # it is nothing about this upload
        except Exception:
            _log.exception("sweep_failed_for", upload=upload_id)
            self.report.add("failed")

    def rows(self, condition: ColumnElement[bool]) -> Iterator[Upload]:
        """Uploads, a batch at a time."""
        return (row[0] for row in self.columns(condition, (Upload,)))

    def columns(self, condition: ColumnElement[bool], columns: Sequence[Any]) -> Iterator[Any]:
        """The same, of each upload what is asked for and its id last."""
        last = ""
        while True:
            with self.database.read() as session:
                query = select(*columns, Upload.id.label("at")).where(Upload.id > last, condition)
                rows = session.execute(query.order_by(Upload.id).limit(_BATCH)).all()
            yield from rows
            if len(rows) < _BATCH:
                return
            last = rows[-1].at

    def rows_until(self, condition: ColumnElement[bool], until: datetime) -> Iterator[Upload]:
        """Uploads that expire by then, a batch at a time and in that order."""
        last: Upload | None = None
        while True:
            query = select(Upload).where(condition, Upload.expires_at <= until)
            if last is not None:
                at, after = last.expires_at, last.id
                query = query.where(
                    Upload.expires_at >= at,
                    or_(Upload.expires_at > at, and_(Upload.expires_at == at, Upload.id > after)),
                )
            with self.database.read() as session:
                rows = session.scalars(query.order_by(Upload.expires_at, Upload.id).limit(_BATCH)).all()
            yield from rows
            if len(rows) < _BATCH:
                return
            last = rows[-1]

    def size(self, upload_id: str) -> int:
        """Bytes that the store has of an upload."""
        return self.store.size(upload_id) or 0
