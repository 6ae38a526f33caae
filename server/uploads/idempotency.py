"""The stored answers of forms with an `Idempotency-Key`: the same form gets the same answer again.

Rules:

- A key belongs to the request that holds the lock of the task in its row, until that request is answered: then it
  belongs to the answer, until that expires. A row without an answer whose lock is free was left by a process that
  died, and the next request takes it over.
- The answer is written in the transaction that creates the task. A kill leaves both or neither.
- An answer is codes and parameters, never a sentence, and no part of it is read from rows that may be gone by then.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, Row, and_, delete, func, insert, null, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from server.database.models import FormAnswer
from server.database.session import Database, changed
from server.errors import HeaderInvalidError, IdempotencyRunningError
from server.settings import Settings
from server.storage.locks import UploadLocks

HEADER = "Idempotency-Key"
Answer = Mapping[str, Any]
"""A JSON value."""

_BATCH = 500
_TRIES = 5  # each retry means that another request was quicker
_KEY = re.compile(r"[!-~]{1,255}")
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_COLUMNS = (FormAnswer.task_id, FormAnswer.fingerprint, FormAnswer.answer, FormAnswer.expires_at)


def parse_key(raw: str) -> str:
    """The key in a header: a string as RFC 9651 has it, in quotes, or bare as many clients send it; both are one key.

    Raises `HeaderInvalidError`.
    """
    quoted = _QUOTED.fullmatch(raw)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else raw
    if not _KEY.fullmatch(key) or (raw.startswith('"') and quoted is None):
        raise HeaderInvalidError(name=HEADER, reason="idempotency_key")
    return key


class Content:
    """A sink that hashes one file and keeps none of it; `see` does the same for a caller with another sink."""

    def __init__(self) -> None:
        self._sum = hashlib.sha256()
        self.size = 0

    def __call__(self, view: memoryview) -> int:
        self.update(view)
        return len(view)

    def update(self, data: bytes | memoryview) -> None:
        """Add more bytes."""
        self._sum.update(data)
        self.size += len(data)

    def digest(self) -> bytes:
        """SHA-256 of all bytes so far."""
        return self._sum.digest()


class Fingerprint:
    """The identity of a form: names, sizes and contents of all its files, in order.

    Refused files count too, with all their bytes: so it depends on the request alone and not on the settings. The
    boundary, other fields and headers of parts do not count, since they do not change the answer.
    """

    def __init__(self) -> None:
        self._sum = hashlib.sha256()

    def add(self, filename: str, content: Content) -> None:
        """Begin the next file."""
        name = filename.encode()
        # Each piece includes its length, so that two different lists of files never give the same bytes.
        self._sum.update(b"%d:%s%d:%s" % (len(name), name, content.size, content.digest()))

    def hexdigest(self) -> str:
        """The digest of all files so far."""
        return self._sum.hexdigest()


@dataclass(frozen=True)
class StoredAnswer:
    """The fingerprint and the answer of a key's first form."""

    fingerprint: str
    answer: Answer


@dataclass(kw_only=True, repr=False)
class KeyClaim:
    """A request's claim on a key. The lock of `task_id` is held for as long. Every method blocks."""

    database: Database
    locks: UploadLocks
    clock: Callable[[], datetime]
    lifetime: timedelta
    owner: str
    key: str
    task_id: str
    held: bool = False

    def acquire(self) -> StoredAnswer | None:
        """Take the key for this request; None when it is ours now, otherwise its stored answer.

        Raises `IdempotencyRunningError` while another request has it.
        """
        for _ in range(_TRIES):
            row = self._find()
            if row is None:
                self.held = self._insert()
            elif row.fingerprint is not None and row.expires_at > self.clock():
                return StoredAnswer(row.fingerprint, row.answer)
            elif row.fingerprint is not None:
                self.held = self._take_over(row)
            else:
                with self.locks.try_hold(row.task_id) as is_abandoned:
                    self.held = is_abandoned and self._take_over(row)
                if not is_abandoned:
                    raise IdempotencyRunningError
            if self.held:
                return None
        raise IdempotencyRunningError

    def store_answer(self, fingerprint: str, answer: Answer, session: Session) -> None:
        """Store this answer for the key, in the transaction of `session`.

        Raises `IdempotencyRunningError` when another request has taken the row, so that nothing happens without it.
        """
        now = self.clock()
        values = {"fingerprint": fingerprint, "answer": dict(answer), "expires_at": now + self.lifetime}
        if not changed(session, update(FormAnswer).where(self._is_mine()).values(**values)):
            raise IdempotencyRunningError

    def store_answer_without_task(self, fingerprint: str, answer: Answer) -> None:
        """The same for a form that creates no task."""
        with self.database.write() as session:
            self.store_answer(fingerprint, answer, session)

    def release(self) -> int:
        """Give up the key, unless it has an answer: the next request is a first one. The number of removed rows."""
        return _delete(self.database, self._is_mine())

    def _of_key(self) -> ColumnElement[bool]:
        return and_(FormAnswer.owner == self.owner, FormAnswer.key == self.key)

    def _is_mine(self) -> ColumnElement[bool]:
        return and_(self._of_key(), FormAnswer.task_id == self.task_id, FormAnswer.fingerprint.is_(None))

    def _find(self) -> Row[Any] | None:
        with self.database.look() as connection:
            return connection.execute(select(*_COLUMNS).where(self._of_key())).one_or_none()

    def _values(self) -> dict[str, Any]:
        # Expired: a sweep removes what a dead process left. A running request is recognised by the lock it holds.
        now = self.clock()
        return {"task_id": self.task_id, "created_at": now, "expires_at": now}

    def _insert(self) -> bool:
        try:
            with self.database.change(lazy=True) as connection:
                connection.execute(insert(FormAnswer).values(owner=self.owner, key=self.key, **self._values()))
        except IntegrityError:
            return False
        return True

    def _take_over(self, row: Row[Any]) -> bool:
        same = and_(FormAnswer.task_id == row.task_id, FormAnswer.fingerprint.is_not_distinct_from(row.fingerprint))
        anew = {**self._values(), "fingerprint": None, "answer": null()}
        with self.database.change(lazy=True) as connection:
            done: CursorResult[Any] = connection.execute(update(FormAnswer).where(self._of_key(), same).values(**anew))
            return done.rowcount == 1


@dataclass(frozen=True, kw_only=True, repr=False)
class IdempotencyKeys:
    """The keys of a database, and their answers. Every method blocks."""

    settings: Settings
    database: Database
    locks: UploadLocks
    clock: Callable[[], datetime]

    def claim(self, owner: str, key: str, task_id: str) -> KeyClaim:
        """A claim of this key for the form that holds the lock of `task_id`; `acquire` makes it."""
        return KeyClaim(
            database=self.database,
            locks=self.locks,
            clock=self.clock,
            lifetime=timedelta(seconds=self.settings.form_answer_expiry),
            owner=owner,
            key=key,
            task_id=task_id,
        )

    def drop_expired(self, *, dry_run: bool = False) -> int:
        """Remove expired answers, and rows that dead processes left; returns how many there were. Blocking.

        In batches; it may run twice, and beside forms that are being received.
        """
        is_over = FormAnswer.expires_at <= self.clock()
        answered = and_(is_over, FormAnswer.fingerprint.is_not(None))
        return (self._count if dry_run else self._drop)(answered) + self._drop_abandoned(is_over, dry_run=dry_run)

    def _count(self, answered: ColumnElement[bool]) -> int:
        with self.database.read() as session:
            return session.scalar(select(func.count()).select_from(FormAnswer).where(answered)) or 0

    def _drop(self, answered: ColumnElement[bool]) -> int:
        some = select(FormAnswer.owner, FormAnswer.key).where(answered).limit(_BATCH)
        # Both conditions: a key may be taken again between the two reads.
        batch = and_(answered, tuple_(FormAnswer.owner, FormAnswer.key).in_(some))
        gone = 0
        while count := _delete(self.database, batch):
            gone += count
        return gone

    def _drop_abandoned(self, is_over: ColumnElement[bool], *, dry_run: bool) -> int:
        """Rows without an answer: no more than there are forms at once, plus those that a kill left."""
        gone = 0
        with self.database.read() as session:
            query = select(FormAnswer.owner, FormAnswer.key, FormAnswer.task_id)
            running = session.execute(query.where(is_over, FormAnswer.fingerprint.is_(None))).all()
        for owner, key, task_id in running:
            with self.locks.try_hold(task_id) as is_abandoned:
                if is_abandoned:
                    gone += 1 if dry_run else self.claim(owner, key, task_id).release()
        return gone


def _delete(database: Database, condition: ColumnElement[bool]) -> int:
    with database.change(lazy=True) as connection:
        return connection.execute(delete(FormAnswer).where(condition)).rowcount
