"""Pages of rows by keyset: the newest first, each page after the last row of the one before.

Rules:

- Rows of several states are merged from the newest of each state, along an index that ends in (created_at, id). So a
  page costs what it shows, however many rows the table has.
- The states are read one after the other, in a `snapshot`: otherwise a row that changes its state meanwhile would be
  listed twice, or not at all.
- A cursor is a place in one list. It is bound to the owner and the filters of that list, and is refused with others.
  It gives no right to anything.
"""

import base64
import binascii
import hashlib
import heapq
import json
import struct
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import Select, literal, select, tuple_
from sqlalchemy.orm import Session

from server.database.models import Task, Upload
from server.errors import CursorInvalidError

LARGEST_BATCH, GROWTH = 1000, 4
"""How many rows of a state are read at once, and by how much a batch is larger than the one before it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = struct.Struct(">q16s8s")
_CHARACTERS = 43  # of its 32 bytes in base64url, without padding


class Key(NamedTuple):
    """The place of a row."""

    at: datetime
    id: str


@dataclass(frozen=True, kw_only=True)
class Span:
    """What a list may have: rows of this owner, of all where it is None, in these states; created from `since` on and
    before `until`."""

    owner: str | None
    statuses: frozenset[StrEnum]
    since: datetime | None = None
    until: datetime | None = None


def newest(session: Session, of: type[Task] | type[Upload], span: Span, after: Key | None, batch: int) -> Iterator[Key]:
    """The places of these rows, the newest first, after `after`. Blocking.

    They are read in batches, of so many of each state at first; who goes on reading gets larger ones.
    """
    streams = (_of_status(session, of, span, status, after, batch) for status in sorted(span.statuses))
    return heapq.merge(*streams, reverse=True)


def _of_status(
    session: Session, of: type[Task] | type[Upload], span: Span, status: StrEnum, after: Key | None, batch: int
) -> Iterator[Key]:
    columns: tuple[Any, Any] = (of.created_at, of.id)
    query = select(*columns).where(of.status == status)
    if span.owner is not None:
        query = query.where(of.owner == span.owner)
    if span.since is not None:
        query = query.where(of.created_at >= span.since)
    query = query.order_by(of.created_at.desc(), of.id.desc())
    while True:
        found = [Key(row[0], row[1]) for row in session.execute(_before(query, of, span, after).limit(batch))]
        yield from found
        if len(found) < batch:
            return
        after, batch = found[-1], max(batch, min(GROWTH * batch, LARGEST_BATCH))


def _before(query: Select[Any], of: type[Task] | type[Upload], span: Span, after: Key | None) -> Select[Any]:
    """One upper bound only: of two, SQLite would enter the index at whichever it likes."""
    if after is not None:
        place = tuple_(literal(after.at, of.created_at.type), literal(after.id))
        return query.where(tuple_(of.created_at, of.id) < place)
    return query if span.until is None else query.where(of.created_at < span.until)


# Cursors


def mark(span: Span, *more: str) -> bytes:
    """What binds a cursor to a list; `more` are filters that the span lacks."""
    times = [None if at is None else at.isoformat() for at in (span.since, span.until)]
    text = json.dumps([span.owner, sorted(span.statuses), times, more])
    return hashlib.blake2s(text.encode(), digest_size=8).digest()


def write_cursor(key: Key, mark: bytes) -> str:
    """The cursor of the page that follows this row."""
    packed = _CURSOR.pack((key.at - _EPOCH) // timedelta(microseconds=1), uuid.UUID(key.id).bytes, mark)
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def read_cursor(text: str, mark: bytes) -> Key:
    """The place that a cursor of this list names. Raises `CursorInvalidError`."""
    try:
        if len(text) != _CHARACTERS:
            raise CursorInvalidError
        micros, its_id, bound = _CURSOR.unpack(base64.b64decode(text.encode("ascii") + b"=", b"-_", validate=True))
        key = Key(_EPOCH + timedelta(microseconds=micros), str(uuid.UUID(bytes=its_id)))
    except (ValueError, OverflowError, binascii.Error, struct.error):
        raise CursorInvalidError from None
    if bound != mark:
        raise CursorInvalidError
    return key


def ids(keys: Iterable[Key]) -> list[str]:
    """Their ids, in order."""
    return [key.id for key in keys]
