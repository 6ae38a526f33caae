"""Shares: links by which anybody sees one video without a credential.

Rules:

- The last part of a link has 144 random bits, and only its SHA-256 is stored: the link is shown once, when it is made.
- A share ends when it is revoked, when it expires and with its video. What is remembered of its row is 3 seconds old at
  most, so it then ends in every process, for the page and for every URL of the video.
"""

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import ColumnElement, Select, Table, and_, bindparam, delete, func, or_, select, update
from sqlalchemy.orm import Session

from server.auth.credentials import hash_of
from server.auth.lookup import ShortMemory
from server.database.access_models import Share
from server.database.models import Task
from server.database.prepared import Prepared, Row
from server.database.session import Database, changed
from server.errors import (
    ShareExpiredError,
    ShareNotFoundError,
    ShareRevokedError,
    ShareVideoGoneError,
    TaskGoneError,
    TaskNotFoundError,
    TooManySharesError,
)
from server.lifecycle import TaskStatus

MOST = 100
"""Shares of one task that have not ended."""
TOKEN_CHARACTERS = 24

_TOKEN = re.compile(rf"[A-Za-z0-9_-]{{{TOKEN_CHARACTERS}}}")
_ID = re.compile(r"[0-9a-f]{12}")
_shares = cast("Table", Share.__table__)
_tasks = cast("Table", Task.__table__)
_FIND = Prepared(
    select(_shares, _tasks.c.status.label("task_status"))
    .join(_tasks, _tasks.c.id == _shares.c.task_id)
    .where(_shares.c.token_hash == bindparam("key"))
)


def is_token(text: str) -> bool:
    """Whether a text has the form of the last part of a link."""
    return _TOKEN.fullmatch(text) is not None


def state(row: Share, now: datetime) -> str:
    """`valid`, `expired` or `revoked`."""
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= now else "valid"


@dataclass(frozen=True, kw_only=True, repr=False)
class Shares:
    """The shares of all tasks."""

    database: Database
    memory: ShortMemory
    clock: Callable[[], datetime]

    @classmethod
    def open(cls, database: Database, clock: Callable[[], datetime]) -> "Shares":
        """The shares of a database."""
        return cls(database=database, memory=ShortMemory(database, _FIND), clock=clock)

    async def find(self, token: str) -> Row:
        """The row of the share that shows a video now.

        Raises `ShareNotFoundError`, `ShareRevokedError`, `ShareExpiredError`, `ShareVideoGoneError`, and the errors of
        the database.
        """
        row = await self.memory.find(hash_of(token)) if is_token(token) else None
        if row is None:
            raise ShareNotFoundError
        if row.revoked_at is not None:
            raise ShareRevokedError
        if row.expires_at is not None and row.expires_at <= self.clock():
            raise ShareExpiredError
        if row.task_status is TaskStatus.REMOVED:
            raise ShareVideoGoneError
        return row

    def create(self, task_id: str, owner: str | None, created_by: str, expires_in: int | None) -> tuple[Share, str]:
        """A new share of a task, and the last part of its link; it ends after `expires_in` seconds, if that is given.

        `owner` None may share any task. Raises `TaskNotFoundError`, `TaskGoneError`, `TooManySharesError`. Blocking.
        """
        token = secrets.token_urlsafe(3 * TOKEN_CHARACTERS // 4)
        now = self.clock()
        with self.database.write() as session:
            # Of two creations at once, the second one counts the first one's share.
            found = session.execute(_task(task_id).with_for_update()).one_or_none()
            if found is None or owner not in (None, found.owner):
                raise TaskNotFoundError
            if found.status is TaskStatus.REMOVED:
                raise TaskGoneError
            self._make_room(session, task_id, now)
            row = Share(
                id=secrets.token_hex(6),
                token_hash=hash_of(token),
                task_id=task_id,
                owner=found.owner,
                created_by=created_by,
                created_at=now,
                expires_at=None if expires_in is None else now + timedelta(seconds=expires_in),
                revoked_at=None,
            )
            session.add(row)
        return row, token

    def list(self, task_id: str, owner: str | None) -> Sequence[Share]:
        """The shares of a task, the newest first. Raises `TaskNotFoundError`. Blocking."""
        with self.database.read() as session:
            found = session.execute(_task(task_id)).one_or_none()
            if found is None or owner not in (None, found.owner):
                raise TaskNotFoundError
            query = select(Share).where(Share.task_id == task_id)
            return session.scalars(query.order_by(Share.created_at.desc(), Share.id)).all()

    def revoke(self, task_id: str, owner: str | None, share_id: str) -> str:
        """Revoke a share of a task, whose owner is returned; a repetition succeeds. Blocking.

        Every process refuses it within 3 seconds. Raises `TaskNotFoundError`, `ShareNotFoundError`.
        """
        with self.database.write() as session:
            found = session.execute(_task(task_id)).one_or_none()
            if found is None or owner not in (None, found.owner):
                raise TaskNotFoundError
            if not _ID.fullmatch(share_id):
                raise ShareNotFoundError
            this = (Share.id == share_id, Share.task_id == task_id)
            values = {"revoked_at": func.coalesce(Share.revoked_at, self.clock())}
            if not changed(session, update(Share).where(*this).values(values)):
                raise ShareNotFoundError
            token_hash = session.scalar(select(Share.token_hash).where(*this)) or ""
        self.memory.forget(token_hash)  # at once in this process
        return str(found.owner)

    def _make_room(self, session: Session, task_id: str, now: datetime) -> None:
        """Delete the shares that have ended once there are as many as there may be."""
        of_task = Share.task_id == task_id
        if (session.scalar(select(func.count()).where(of_task)) or 0) < MOST:
            return
        changed(session, delete(Share).where(of_task, _has_ended(now)))
        if (session.scalar(select(func.count()).where(of_task)) or 0) >= MOST:
            raise TooManySharesError(limit=MOST)


def _task(task_id: str) -> Select[str, TaskStatus]:
    return select(Task.owner, Task.status).where(Task.id == task_id)


def _has_ended(now: datetime) -> ColumnElement[bool]:
    return or_(Share.revoked_at.is_not(None), and_(Share.expires_at.is_not(None), Share.expires_at <= now))
