"""The ledger of results in a bucket, in SQL.

Rules:

- Each move of a set names the state that it moves from, so of two processes one makes it.
- What is published appears in the transaction of the row that refers to it, and with it.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Table,
    and_,
    bindparam,
    delete,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.orm import Session

from server.database.result_models import ResultObjectRow, ResultSetRow
from server.database.session import Database
from server.storage.s3.result_ledger import ResultObject, ResultSet, SetStatus

_sets = cast("Table", ResultSetRow.__table__)
_objects = cast("Table", ResultObjectRow.__table__)
_BATCH = 500
_ROWS = 1000  # objects that are inserted at once: HLS of a long video has thousands
_UNPUBLISHED: ColumnElement[bool] = literal_column("status <> 'published'")  # must match the text of an index
_FIND = (
    select(_sets, _objects.c.name, _objects.c.size.label("bytes"), _objects.c.crc32c)
    .join(_objects, _objects.c.set_id == _sets.c.id)
    .where(
        _sets.c.file_id == bindparam("file_id"),
        _sets.c.task_id == bindparam("task_id"),
        _sets.c.status == SetStatus.PUBLISHED,
        _objects.c.name == bindparam("name"),
    )
    .order_by(_sets.c.changed_at.desc())
    .limit(1)
)
_GIVEN_UP = {SetStatus.WRITING: SetStatus.ABANDONED, SetStatus.WRITTEN: SetStatus.LEAVING}


class SqlResultLedger:
    """The ledger in a database, once it has been connected to it."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock

    def connect(self, database: Database) -> None:
        """Use this database; connects to nothing yet."""
        self._database = database

    def begin(self, task_id: str, attempt: int, file_id: str, step: str) -> ResultSet:
        made = ResultSet(
            id=secrets.token_hex(8),
            task_id=task_id,
            file_id=file_id,
            attempt=attempt,
            step=step,
            status=SetStatus.WRITING,
            changed_at=self._clock(),
        )
        # Not lazily: after a power cut its objects would be there, and no row would show them.
        with self._database.change() as connection:
            connection.execute(insert(_sets).values(**vars(made)))
        return made

    def seal(self, made: ResultSet, objects: Sequence[ResultObject]) -> bool:
        rows = [{"set_id": made.id, **vars(one)} for one in objects]
        size = sum(one.size for one in objects)
        with self._database.change() as connection:
            moved = self._move(connection, made, SetStatus.WRITING, SetStatus.WRITTEN, size=size)
            for first in range(0, len(rows) if moved else 0, _ROWS):
                connection.execute(insert(_objects), rows[first : first + _ROWS])
        return moved

    def publish(self, made: ResultSet, transaction: Any) -> bool:
        with self._within(transaction) as connection:
            if not self._move(connection, made, SetStatus.WRITTEN, SetStatus.PUBLISHED):
                # A transaction that is tried again after it was committed.
                status = connection.scalar(select(_sets.c.status).where(_sets.c.id == made.id))
                return status == SetStatus.PUBLISHED
            former = (_sets.c.file_id == made.file_id, _sets.c.step == made.step, _sets.c.id != made.id)
            self._leave(connection, *former, _sets.c.status == SetStatus.PUBLISHED)
        return True

    def hide(self, task_id: str, file_id: str, transaction: Any) -> None:
        with self._within(transaction) as connection:
            of = (_sets.c.file_id == file_id, _sets.c.task_id == task_id)
            self._leave(connection, *of, _sets.c.status == SetStatus.PUBLISHED)

    def hide_step(self, task_id: str, file_id: str, step: str, transaction: Any) -> None:
        with self._within(transaction) as connection:
            of = (_sets.c.file_id == file_id, _sets.c.task_id == task_id, _sets.c.step == step)
            self._leave(connection, *of, _sets.c.status == SetStatus.PUBLISHED)

    def give_up(self, made: ResultSet, *, may_write: bool) -> bool:
        with self._database.change() as connection:
            return any(
                self._move(connection, made, before, after if may_write else SetStatus.LEAVING)
                for before, after in _GIVEN_UP.items()
            )

    def forget(self, made: ResultSet) -> None:
        with self._database.change(lazy=True) as connection:
            connection.execute(delete(_objects).where(_objects.c.set_id == made.id))
            connection.execute(delete(_sets).where(_sets.c.id == made.id))

    def find(self, task_id: str, file_id: str, name: str) -> tuple[ResultSet, ResultObject] | None:
        with self._database.aside.look() as connection:
            row = connection.execute(_FIND, {"task_id": task_id, "file_id": file_id, "name": name}).one_or_none()
        return None if row is None else (_set(row), ResultObject(name=row.name, size=row.bytes, crc32c=row.crc32c))

    def objects(self, made: ResultSet) -> Sequence[ResultObject]:
        query = select(_objects).where(_objects.c.set_id == made.id).order_by(_objects.c.name)
        with self._database.aside.look() as connection:
            found = connection.execute(query).all()
        return [ResultObject(name=row.name, size=row.size, crc32c=row.crc32c) for row in found]

    def sets(self, task_id: str, file_id: str | None = None, transaction: Any = None) -> Sequence[ResultSet]:
        query = select(_sets).where(_sets.c.task_id == task_id).order_by(_sets.c.id)
        if file_id is not None:
            query = query.where(_sets.c.file_id == file_id)
        with self._looking(transaction) as connection:
            return [_set(row) for row in connection.execute(query)]

    def unpublished(self) -> Iterator[ResultSet]:
        last = ""
        while True:
            query = select(_sets).where(_UNPUBLISHED, _sets.c.id > last).order_by(_sets.c.id).limit(_BATCH)
            with self._database.aside.look() as connection:
                found = [_set(row) for row in connection.execute(query)]
            yield from found
            if len(found) < _BATCH:
                return
            last = found[-1].id

    def tasks(self) -> Iterator[str]:
        last, column = "", _sets.c.task_id
        stored = _sets.c.status.in_((SetStatus.PUBLISHED, SetStatus.LEAVING))
        while True:
            query = select(column).where(stored, column > last).distinct().order_by(column).limit(_BATCH)
            with self._database.aside.look() as connection:
                found = connection.scalars(query).all()
            yield from found
            if len(found) < _BATCH:
                return
            last = found[-1]

    def known(self, ids: Iterable[str]) -> set[str]:
        with self._database.aside.look() as connection:
            return set(connection.scalars(select(_sets.c.id).where(_sets.c.id.in_(list(ids)))))

    def _move(
        self, connection: Connection, made: ResultSet, before: SetStatus, after: SetStatus, **values: object
    ) -> bool:
        mine = and_(_sets.c.id == made.id, _sets.c.status == before)
        values |= {"status": after, "changed_at": self._clock()}
        return bool(connection.execute(update(_sets).where(mine).values(**values)).rowcount)

    def _leave(self, connection: Connection, *of: ColumnElement[bool]) -> None:
        values = {"status": SetStatus.LEAVING, "changed_at": self._clock()}
        connection.execute(update(_sets).where(*of).values(**values))

    def _within(self, transaction: Any) -> AbstractContextManager[Connection]:
        if isinstance(transaction, Session):
            return nullcontext(transaction.connection())
        return self._database.change()

    def _looking(self, transaction: Any) -> AbstractContextManager[Connection]:
        if isinstance(transaction, Session):
            return nullcontext(transaction.connection())
        return self._database.aside.look()


def _set(row: Row[Any]) -> ResultSet:
    return ResultSet(
        id=row.id,
        task_id=row.task_id,
        file_id=row.file_id,
        attempt=row.attempt,
        step=row.step,
        status=row.status,
        changed_at=row.changed_at,
        size=row.size,
    )
