"""The ledger of the store in S3, in SQL.

Rules:

- Every change is one transaction that begins with an UPDATE under the writer's version, and the guard if there is one.
  Where that changes no row, nothing else is changed.
- It reads on connections of their own (`aside.py`): the store is asked for sizes within other transactions.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from server.database.models import Upload
from server.database.part_models import S3Part, S3Upload
from server.database.session import Database
from server.storage.s3.ledger import Change, LedgerLostError, Part, Piece, StoredUpload

Guard = Callable[[str], ColumnElement[bool] | None]
"""For an upload's id: a condition under which this host may change it, such as a lease's epoch; None without one."""

_uploads = cast("Table", S3Upload.__table__)
_parts = cast("Table", S3Part.__table__)
_needed = cast("Table", Upload.__table__)
_BATCH = 1000
_FIND = select(_uploads).where(_uploads.c.upload_id == bindparam("id"))
_FIND_PARTS = select(_parts).where(_parts.c.upload_id == bindparam("id")).order_by(_parts.c.start)
_DELETE_PART = delete(_parts).where(
    and_(
        _parts.c.upload_id == bindparam("of"), _parts.c.start == bindparam("first"), _parts.c.name == bindparam("named")
    )
)
# Must match the texts of the indexes.
_QUARANTINED: ColumnElement[bool] = literal_column("is_quarantined")
_UNFINISHED: ColumnElement[bool] = literal_column("multipart_id IS NOT NULL AND object_key IS NULL")


class SqlPartLedger:
    """The ledger in a database, once it has been connected to it."""

    def __init__(self, clock: Callable[[], datetime], guard: Guard | None = None) -> None:
        self._clock = clock
        self.guard = guard

    def connect(self, database: Database) -> None:
        """Use this database; connects to nothing yet."""
        self._database = database

    def create(self, upload_id: str, *, part_size: int, length: int | None, on_disk: bool = False) -> None:
        values = {"upload_id": upload_id, "part_size": part_size, "length": length, "on_disk": on_disk}
        try:
            with self._database.change(lazy=True) as connection:
                connection.execute(insert(_uploads).values(version=0, modified_at=self._clock(), **values))
        except IntegrityError:
            raise FileExistsError(17, "there is an upload of that id") from None

    def find(self, upload_id: str) -> StoredUpload | None:
        with self._database.aside.look() as connection:
            return _load(connection, upload_id)

    def begin(self, upload_id: str) -> StoredUpload:
        with self._database.change(lazy=True) as connection:
            moved = connection.execute(
                update(_uploads).where(*self._mine(upload_id)).values(version=_uploads.c.version + 1)
            ).rowcount
            found = _load(connection, upload_id)
        if found is None:
            raise FileNotFoundError(2, "there is no upload of that id")
        if not moved:
            raise LedgerLostError
        return found

    def set_multipart(self, upload_id: str, version: int, multipart_id: str | None) -> None:
        with self._database.change(lazy=True) as connection:
            self._move(connection, upload_id, version, {"multipart_id": multipart_id})

    def change(self, upload_id: str, version: int, change: Change) -> None:
        values: dict[str, object] = {}
        if change.parts or change.pieces:
            values["modified_at"] = self._clock()
        if change.head is not None:
            values["head"] = change.head
        gone = [*_keys(upload_id, change.without_parts), *_keys(upload_id, change.without_pieces)]
        added = [*_rows(upload_id, change.parts), *_rows(upload_id, change.pieces)]
        with self._database.change(lazy=True) as connection:
            self._move(connection, upload_id, version, values)
            if gone:
                connection.execute(_DELETE_PART, gone)
            if added:
                connection.execute(insert(_parts), added)

    def finish(self, upload_id: str, version: int, object_key: str, size: int) -> None:
        with self._database.change() as connection:
            self._move(connection, upload_id, version, {"object_key": object_key, "object_size": size})

    def set_on_disk(self, upload_id: str, version: int, *, on_disk: bool) -> None:
        with self._database.change() as connection:
            self._move(connection, upload_id, version, {"on_disk": on_disk})

    def set_quarantined(self, upload_id: str) -> None:
        with self._database.change() as connection:
            connection.execute(update(_uploads).where(_uploads.c.upload_id == upload_id).values(is_quarantined=True))

    def remove(self, upload_id: str) -> None:
        with self._database.change(lazy=True) as connection:
            connection.execute(delete(_parts).where(_parts.c.upload_id == upload_id))
            connection.execute(delete(_uploads).where(_uploads.c.upload_id == upload_id))

    def quarantined(self) -> Iterator[str]:
        return self._column(_uploads.c.upload_id, _QUARANTINED)

    def multiparts(self) -> Iterator[str]:
        return self._column(_uploads.c.multipart_id, _UNFINISHED)

    def forgotten(self) -> Iterator[str]:
        of = _needed.c.id == _uploads.c.upload_id
        needed = exists().where(of, or_(_needed.c.has_bytes, _needed.c.in_quarantine))
        return self._column(_uploads.c.upload_id, ~needed)

    def _mine(self, upload_id: str) -> list[ColumnElement[bool]]:
        condition = None if self.guard is None else self.guard(upload_id)
        return [_uploads.c.upload_id == upload_id, *([] if condition is None else [condition])]

    def _move(self, connection: Connection, upload_id: str, version: int, values: Mapping[str, object]) -> None:
        """The compare-and-set that comes first in each transaction. Raises `LedgerLostError`."""
        mine = (*self._mine(upload_id), _uploads.c.version == version)
        if not connection.execute(update(_uploads).where(*mine).values(version=version, **values)).rowcount:
            raise LedgerLostError

    def _column(self, column: Column[Any], condition: ColumnElement[bool]) -> Iterator[str]:
        last = ""
        while True:
            query = select(column).where(condition, column > last).order_by(column).limit(_BATCH)
            with self._database.aside.look() as connection:
                found = connection.scalars(query).all()
            yield from found
            if len(found) < _BATCH:
                return
            last = found[-1]


def _load(connection: Connection, upload_id: str) -> StoredUpload | None:
    row = connection.execute(_FIND, {"id": upload_id}).one_or_none()
    if row is None:
        return None
    found = connection.execute(_FIND_PARTS, {"id": upload_id}).all()
    return StoredUpload(
        id=row.upload_id,
        version=row.version,
        part_size=row.part_size,
        length=row.length,
        multipart_id=row.multipart_id,
        object_key=row.object_key,
        object_size=row.object_size or 0,
        modified_at=row.modified_at,
        is_quarantined=row.is_quarantined,
        on_disk=row.on_disk,
        head=row.head or b"",
        parts=tuple(_part(part) for part in found if part.number is not None),
        pieces=tuple(_piece(part) for part in found if part.number is None),
    )


def _part(row: Row[Any]) -> Part:
    return Part(start=row.start, size=row.size, number=row.number, etag=row.etag, crc32c=row.crc32c)


def _piece(row: Row[Any]) -> Piece:
    return Piece(start=row.start, size=row.size, key=row.name, crc32c=row.crc32c)


def _keys(upload_id: str, which: Sequence[Part] | Sequence[Piece]) -> list[dict[str, object]]:
    return [{"of": upload_id, "first": one.start, "named": one.key if isinstance(one, Piece) else ""} for one in which]


def _rows(upload_id: str, which: Sequence[Part] | Sequence[Piece]) -> list[dict[str, object]]:
    return [
        {
            "upload_id": upload_id,
            "start": one.start,
            "name": one.key if isinstance(one, Piece) else "",
            "size": one.size,
            "number": one.number if isinstance(one, Part) else None,
            "etag": one.etag if isinstance(one, Part) else None,
            "crc32c": one.crc32c,
        }
        for one in which
    ]
