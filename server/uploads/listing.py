"""Lists of uploads: pages of an owner's uploads, or of all.

Rule: the offset of an open upload is the store's, as in every answer; where this server's store does not have the
upload, because another data folder does, it is the number in the row, which is about a second old.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from sqlalchemy import select

from server.database import keyset
from server.database.keyset import Key, Span
from server.database.models import Upload
from server.lifecycle import UploadStatus
from server.uploads.facts import UploadFacts

GONE = frozenset({UploadStatus.EXPIRED, UploadStatus.TERMINATED})
"""Uploads that are listed only where their state is asked for."""


@dataclass(frozen=True)
class ListedUpload:
    """An upload, the bytes that it has, and when it expires; None unless it is open."""

    row: Upload
    offset: int
    expires_at: datetime | None


@dataclass(frozen=True)
class UploadPage:
    """The uploads of a page, and the place of the last one; None where no other page follows."""

    uploads: Sequence[ListedUpload]
    last: Key | None


def statuses(words: Iterable[UploadStatus]) -> frozenset[UploadStatus]:
    """The states for a word of the filter; without a word, those of all uploads that are not gone."""
    return frozenset(words) or frozenset(UploadStatus) - GONE


def page(facts: UploadFacts, span: Span, after: Key | None, limit: int) -> UploadPage:
    """At most `limit` uploads after a place. Blocking."""
    with facts.database.snapshot() as session:
        keys = list(islice(keyset.newest(session, Upload, span, after, limit + 1), limit + 1))
        ids = keyset.ids(keys[:limit])
        rows = {row.id: row for row in session.scalars(select(Upload).where(Upload.id.in_(ids)))}
        session.expunge_all()
    # The store is asked after the transaction: it may be slow.
    listed = [_listed(facts, rows[one]) for one in ids]
    return UploadPage(listed, keys[limit - 1] if len(keys) > limit else None)


def _listed(facts: UploadFacts, row: Upload) -> ListedUpload:
    if row.status is not UploadStatus.OPEN:
        return ListedUpload(row, row.received, None)
    size = facts.size(row)
    return ListedUpload(row, row.received if size is None else size, facts.expiry_of(row))
