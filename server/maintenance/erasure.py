"""Removes what the database and the disk have of one person, and leaves the numbers.

Rules:

- First credentials, so that nothing new comes; then videos and open uploads; then names and addresses; the owner's own
  name last, in one transaction with the entry of the audit log. Until then the name finds what is left: an erasure that
  was interrupted is completed by repeating it.
- Rows stay for reports, under a random name that tells nothing (`erased-…`).
- Bytes leave the disk as on any removal on request (`removal.py`); what is locked is left for a sweep. Beside running
  servers or without.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, and_, case, delete, func, null, or_, select, update
from sqlalchemy.orm import Session

from server.auth import owners
from server.auth.audit import clean
from server.database.access_models import ApiKey, AuditEntry, BrowserSession, Grant, OwnerLimits, Share
from server.database.event_models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from server.database.models import FormAnswer, Task, TaskEvent, TaskFile, Upload
from server.database.session import Database, changed
from server.lifecycle import TaskStatus, UploadStatus
from server.maintenance.removal import Removal
from server.storage.base import UploadStore
from server.storage.locks import UploadLocks

PREFIX = "erased-"
ERASED = "erased"
"""The name of a file whose name was erased."""

_BATCH = 500
_PATIENCE_SECONDS = 15.0
_RETRY_SECONDS = 0.1
_REMEMBERED_SECONDS = 4.0  # a little longer than `auth/lookup.py` remembers a credential
# What an event may say that tells nothing of a person.
_HARMLESS = frozenset({"files", "file", "code", "seconds", "worker", "partial", "gathers", "signature", "reason"})
_OF_MESSAGES = frozenset({"at", "upload_id", "code"})
_CREDENTIALS: Mapping[str, type[Any]] = {
    "api_keys": ApiKey,
    "grants": Grant,
    "shares": Share,
    "browser_sessions": BrowserSession,
    "webhook_endpoints": WebhookEndpoint,
}


class ElsewhereError(Exception):
    """The owner has videos in another data folder; everything in this one was removed. Nothing is renamed."""


class StillBusyError(Exception):
    """Requests go on sending bytes; what could be removed was."""


@dataclass
class Erased:
    """What an erasure did. `name` is the owner's new one; `left` are tasks of which a sweep removes the rest."""

    name: str
    tasks: int = 0
    uploads: int = 0
    left: int = 0
    rows: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, repr=False)
class Erasure:
    """Erases owners of one data folder. `pause` sleeps for seconds; tests replace it."""

    database: Database
    removal: Removal
    locks: UploadLocks
    store: UploadStore
    node: str
    pause: Callable[[float], None] = time.sleep
    new_name: Callable[[], str] = lambda: PREFIX + secrets.token_hex(8)

    def erase(self, owner: str, record: Callable[[Session, Erased], None]) -> Erased:
        """Erase an owner; `record` writes the entry of the audit log into the last transaction. Blocking.

        Raises `OwnerUnknownError`, `OwnerBusyError`, `StillBusyError`, and `ElsewhereError`: then the same has to be
        done with the other data folder too, and the last one ends it.
        """
        with self.database.read() as session:
            if not owners.is_known(session, owner):
                raise owners.OwnerUnknownError
        done = Erased(self.new_name())
        done.rows |= self._revoke(owner)
        if any(done.rows.values()):
            self.pause(_REMEMBERED_SECONDS)  # until every process has forgotten them
        self._remove_videos(owner, done)
        self._check_elsewhere(owner)
        with self.database.read() as session:
            newest = session.scalar(select(func.max(WebhookDelivery.id))) or 0
        self._empty(owner)

        def also(session: Session) -> None:
            # A server has made messages of the last events meanwhile, under the old name.
            _empty_deliveries(session, WebhookDelivery.id > newest, owner)
            _rename_in_audit(session, owner, done.name)
            record(session, done)

        done.rows |= {name: n for name, n in owners.rename(self.database, owner, done.name, also=also).items() if n}
        self.database.empty_log()
        return done

    def _revoke(self, owner: str) -> dict[str, int]:
        with self.database.write() as session:
            answers = delete(FormAnswer).where(FormAnswer.owner == owner, FormAnswer.fingerprint.is_not(None))
            changed(session, answers)
            changed(session, delete(OwnerLimits).where(OwnerLimits.owner == owner))
            return {
                name: changed(session, delete(model).where(model.owner == owner))
                for name, model in _CREDENTIALS.items()
            }

    # Videos

    def _remove_videos(self, owner: str, done: Erased) -> None:
        """Tasks, and uploads that are in none: open ones, parts, and those of a form that is being received."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        in_task = select(TaskFile.upload_id).where(TaskFile.upload_id == Upload.id)
        alive = Upload.status.in_((UploadStatus.OPEN, UploadStatus.COMPLETE))
        tasks = (Task.owner == owner, Task.node == self.node, Task.status != TaskStatus.REMOVED)
        uploads = (Upload.owner == owner, alive, ~in_task.exists())
        while True:
            for task_id in self._ids(Task, *tasks):
                done.left += not self.removal.remove_task(task_id, None, even_running=True)
                done.tasks += 1
            held = [upload_id for upload_id in self._ids(Upload, *uploads) if not self._try_remove(upload_id, done)]
            # An upload whose lock is free again may have become a task meanwhile.
            if not held and next(self._ids(Task, *tasks), None) is None:
                return
            if time.monotonic() > deadline:
                raise StillBusyError
            self.pause(_RETRY_SECONDS)

    def _try_remove(self, upload_id: str, done: Erased) -> bool:
        with self.database.read() as session:
            row = session.get(Upload, upload_id)
        if row is None or self._is_elsewhere(row):
            return True
        with self.locks.try_hold(row.lock) as held:
            if held:
                done.uploads += self.removal.remove_upload(upload_id)
        if not held:
            self.locks.request_release(row.lock)
        return held

    def _is_elsewhere(self, row: Upload) -> bool:
        """Whether another data folder has its bytes. A final upload that waits for its parts has none."""
        waits = row.is_final and row.status is UploadStatus.OPEN
        return row.has_bytes and row.received > 0 and not waits and self.store.size(row.id) is None

    def _check_elsewhere(self, owner: str) -> None:
        others = select(Task.id).where(Task.owner == owner, Task.node != self.node, Task.status != TaskStatus.REMOVED)
        alive = Upload.status.in_((UploadStatus.OPEN, UploadStatus.COMPLETE))
        uploads = select(Upload.id).where(Upload.owner == owner, alive, Upload.has_bytes)
        with self.database.read() as session:
            if session.scalar(others.limit(1)) or session.scalar(uploads.limit(1)):
                raise ElsewhereError

    def _ids(self, model: type[Any], *of: Any) -> Iterator[str]:
        """The ids of rows, in batches by id."""
        last = ""
        while True:
            with self.database.read() as session:
                query = select(model.id).where(model.id > last, *of).order_by(model.id).limit(_BATCH)
                found = session.scalars(query).all()
            yield from found
            if len(found) < _BATCH:
                return
            last = found[-1]

    # Names

    def _empty(self, owner: str) -> None:
        self._in_batches(Upload, Upload.owner == owner, _empty_uploads)
        self._in_batches(Task, Task.owner == owner, _empty_tasks)
        last = 0
        while True:
            with self.database.write(lazy=True) as session:
                of = (TaskEvent.owner == owner, TaskEvent.id > last)
                found = session.execute(
                    select(TaskEvent.id, TaskEvent.data).where(*of).order_by(TaskEvent.id).limit(_BATCH)
                ).all()
                for event in found:
                    left = _harmless(event.data)
                    if left != event.data:
                        changed(session, update(TaskEvent).where(TaskEvent.id == event.id).values(data=left))
            if len(found) < _BATCH:
                return
            last = found[-1].id

    def _in_batches(self, model: type[Any], of: Any, work: Callable[[Session, Sequence[str]], None]) -> None:
        some: list[str] = []
        for one in self._ids(model, of):
            some.append(one)
            if len(some) == _BATCH:
                self._work(work, some)
                some = []
        if some:
            self._work(work, some)

    def _work(self, work: Callable[[Session, Sequence[str]], None], ids: Sequence[str]) -> None:
        with self.database.write(lazy=True) as session:
            work(session, ids)


def _empty_uploads(session: Session, ids: Sequence[str]) -> None:
    nothing = {"filename": None, "metadata_raw": None, "passthrough": None}
    changed(session, update(Upload).where(Upload.id.in_(ids)).values(**nothing))
    tasks = session.scalars(select(Upload.task_id).where(Upload.id.in_(ids))).all()
    _empty_deliveries(session, WebhookDelivery.task_id.in_(tasks))


def _empty_tasks(session: Session, ids: Sequence[str]) -> None:
    nothing = {"title": None, "passthrough": None}
    changed(session, update(Task).where(Task.id.in_(ids)).values(**nothing))
    changed(session, update(TaskFile).where(TaskFile.task_id.in_(ids)).values(name=ERASED, safe_name=ERASED))
    for model, its, columns in (
        (Task, Task.id, ("error_params", "waiting_params")),
        (TaskFile, TaskFile.task_id, ("error_params",)),
    ):
        for column in columns:
            params = getattr(model, column)
            found = session.execute(select(model.id, params).where(its.in_(ids), params.is_not(None))).all()
            for row in found:
                if isinstance(row[1], dict) and "name" in row[1]:
                    changed(
                        session, update(model).where(model.id == row[0]).values({column: row[1] | {"name": ERASED}})
                    )
    _empty_deliveries(session, WebhookDelivery.task_id.in_(ids))


def _empty_deliveries(session: Session, of: ColumnElement[bool], owner: str | None = None) -> None:
    """Messages to endpoints of all owners, and their answers; of this owner only, if there is one.

    What a message needs stays: one that waits is still delivered, without a name.
    """
    found = session.execute(select(WebhookDelivery.id, WebhookDelivery.data).where(of)).all()
    ids = []
    for row in found:
        data = row.data or {}
        if owner not in (None, data.get("owner")):
            continue
        ids.append(row.id)
        left = {key: value for key, value in data.items() if key in _OF_MESSAGES}
        if left != data:
            changed(session, update(WebhookDelivery).where(WebhookDelivery.id == row.id).values(data=left))
    changed(session, update(WebhookAttempt).where(WebhookAttempt.delivery_id.in_(ids)).values(answer=None))


def _harmless(data: Any) -> Any:
    return {key: value for key, value in data.items() if key in _HARMLESS} if isinstance(data, dict) else data


def _rename_in_audit(session: Session, old: str, new: str) -> None:
    """In the audit log too, which otherwise keeps the names of its time; without addresses and details."""
    for name in map(clean, (old, *_earlier_names(session, old))):
        by_owner = {
            "owner": new,
            "actor": case((AuditEntry.actor.like("jwt:%"), f"jwt:{new}"), else_=AuditEntry.actor),
            "address": None,
            "details": null(),
        }
        changed(session, update(AuditEntry).where(AuditEntry.owner == name).values(**by_owner))
        is_object = and_(AuditEntry.object_kind == "owner", AuditEntry.object_id == name)
        about = {
            "object_owner": case((AuditEntry.object_owner == name, new), else_=AuditEntry.object_owner),
            "object_id": case((is_object, new), else_=AuditEntry.object_id),
            "details": null(),
        }
        changed(session, update(AuditEntry).where(or_(AuditEntry.object_owner == name, is_object)).values(**about))


def _earlier_names(session: Session, name: str) -> Sequence[str]:
    """Names that were renamed to this one, as the audit log has it, unless somebody uses them now."""
    found: list[str] = []
    asked = [name]
    while asked:
        this = asked.pop()
        renames = (AuditEntry.action == "owner_renamed", AuditEntry.object_id == clean(this))
        for details in session.scalars(select(AuditEntry.details).where(*renames)):
            before = (details or {}).get("before")
            if isinstance(before, str) and before not in (name, *found) and not owners.is_known(session, before):
                found.append(before)
                asked.append(before)
    return found
