"""The counts of a sweep; and one sweep's access to the uploads.

Rule: a sweep that only reports (`dry_run`) takes the same decisions, under the same locks, and changes nothing.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

import structlog
from sqlalchemy import ColumnElement, and_, or_, select

from server.database.models import Upload
from server.database.session import AWAY, Database
from server.storage.base import UploadStore
from server.storage.locks import UploadLocks

_BATCH = 500
_log = structlog.stdlib.get_logger("videodock.maintenance")


class SweepKind(StrEnum):
    """What a sweep counts; each kind with a description of its number, for an operator."""

    text: str

    def __new__(cls, name: str, text: str) -> Self:
        """A member; its value is the name."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.text = text
        return member

    EXPIRED = "expired", "unfinished uploads whose time is over"
    FINISHED = "finished", "uploads that are whole, and were not completed"
    ABANDONED = "abandoned", "uploads that a process left which died"
    REMOVED = "removed", "removals that were cut short, and partial uploads that are no longer needed"
    REMOVED_RESULTS = "removed_results", "deleted files of which something was left"
    QUARANTINED = "quarantined", "infected files that go into quarantine"
    MISSING = "missing", "open uploads whose bytes are gone; left as they are"
    DROPPED = "dropped", "originals that are not kept once they can be played (`originals`)"
    ANSWERS = "answers", "answers to forms (`form_answer_expiry`)"
    SESSIONS = "sessions", "sign-ins on the page that have ended (`session_idle`, `session_lifetime`)"
    LATE = "late", "groups whose last upload never came"
    LEFTOVERS = "leftovers", "folders and FIFOs that a process left which died"
    FAILED_ORIGINALS = "failed_originals", "originals that failed or were cancelled (`failed_retention`)"
    OLD_ORIGINALS = "old_originals", "other originals (`original_retention`)"
    HIDDEN_RESULTS = "hidden_results", "tasks whose results are hidden"
    OLD_RESULTS = "old_results", "tasks with old results (`result_retention`)"
    OLD_QUARANTINE = "old_quarantine", "files in quarantine (`quarantine_retention`)"
    OLD_EVENTS = "old_events", "events of tasks (`event_retention`)"
    OLD_DELIVERIES = "old_deliveries", "deliveries of webhooks that have ended (`event_retention`)"
    OLD_TASKS = "old_tasks", "tasks with their rows (`row_retention`)"
    OLD_UPLOADS = "old_uploads", "rows of uploads without a task (`row_retention`)"
    OLD_AUDIT = "old_audit", "entries of the audit log (`audit_retention`)"
    FAILED = "failed", "failures; the log says more"


@dataclass
class SweepReport:
    """What a sweep did, or would do: how many of each kind, and the bytes that each kind takes off the disk."""

    counts: Counter[SweepKind] = field(default_factory=Counter)
    sizes: Counter[SweepKind] = field(default_factory=Counter, compare=False)

    def add(self, kind: SweepKind, number: int = 1, size: int = 0) -> None:
        """Count something, and the bytes that it frees on the disk."""
        self.counts[kind] += number
        self.sizes[kind] += size

    @property
    def numbers(self) -> Mapping[str, int]:
        """All counts, by name, also those that are 0."""
        return {kind.value: self.counts[kind] for kind in SweepKind}

    @property
    def freed(self) -> int:
        """All freed bytes."""
        return sum(self.sizes.values())


@dataclass(kw_only=True, repr=False)
class SweepRound:
    """One sweep that is under way."""

    database: Database
    store: UploadStore
    locks: UploadLocks
    report: SweepReport
    dry_run: bool = False

    @contextmanager
    def one(self, upload_id: str, lock: str) -> Iterator[bool]:
        """The lock of one upload or task, if it is free; an error there does not stop the sweep of others."""
        try:
            with self.locks.try_hold(lock) as held:
                yield held
        except AWAY:
            raise  # the error is not about this upload
        except Exception:
            _log.exception("sweep_failed_for", upload=upload_id)
            self.report.add(SweepKind.FAILED)

    def rows(self, condition: ColumnElement[bool]) -> Iterator[Upload]:
        """Uploads, a batch at a time."""
        return (row[0] for row in self.columns(condition, (Upload,)))

    def columns(self, condition: ColumnElement[bool], columns: Sequence[Any]) -> Iterator[Any]:
        """The same, with these columns of each upload and its id last."""
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
