"""Pages of keys, grants and the audit log, the newest first, for an administrator.

Rule: a page costs what it shows, however many rows there are. Filters of the audit log that no index has are applied to
at most `MOST_EXAMINED` entries for one page; such a page may be short, and still have another one after it.
Everything here blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import func, literal, or_, select, tuple_
from sqlalchemy.orm import Session

from server.database.access_models import ApiKey, AuditEntry, Grant, GrantPlace

MOST_EXAMINED = 10_000
"""Entries of the audit log that one page may read."""


class Place(NamedTuple):
    """The place of a key or a grant."""

    at: datetime
    id: str


@dataclass(frozen=True, kw_only=True)
class AuditFilter:
    """Which entries are wanted: of an owner or on what is this owner's, of an action, from `since` on, before
    `until`."""

    owner: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def keys(session: Session, owner: str | None, after: Place | None, limit: int) -> Sequence[ApiKey]:
    """At most `limit` keys of an owner, or of all."""
    return _newest(session, ApiKey, owner, after, limit)


def grants(session: Session, owner: str | None, after: Place | None, limit: int) -> Sequence[tuple[Grant, int]]:
    """At most `limit` grants, each with how many of its places are taken."""
    found: Sequence[Grant] = _newest(session, Grant, owner, after, limit)
    counted = select(GrantPlace.grant_id, func.count(GrantPlace.fingerprint)).group_by(GrantPlace.grant_id)
    rows = session.execute(counted.where(GrantPlace.grant_id.in_([grant.id for grant in found])))
    taken = {row[0]: int(row[1]) for row in rows}
    return [(grant, taken.get(grant.id, 0)) for grant in found]


def _newest(session: Session, of: Any, owner: str | None, after: Place | None, limit: int) -> Sequence[Any]:
    query = select(of).order_by(of.created_at.desc(), of.id.desc()).limit(limit)
    if owner is not None:
        query = query.where(of.owner == owner)
    if after is not None:
        place = tuple_(literal(after.at, of.created_at.type), literal(after.id))
        query = query.where(tuple_(of.created_at, of.id) < place)
    return session.scalars(query).all()


def audit(
    session: Session, wanted: AuditFilter, before: int | None, limit: int
) -> tuple[Sequence[AuditEntry], int | None]:
    """At most `limit` entries whose number is below `before`, and the number to go on from; None after the last."""
    seen = select(AuditEntry.id, AuditEntry.at).order_by(AuditEntry.id.desc()).limit(MOST_EXAMINED)
    before = _earlier(before, _first_after(session, wanted.until))
    if before is not None:
        seen = seen.where(AuditEntry.id < before)
    window = seen.subquery()
    count, lowest, oldest = session.execute(
        select(func.count(), func.min(window.c.id), func.min(window.c.at)).select_from(window)
    ).one()
    if not count:
        return [], None
    query = select(AuditEntry).where(AuditEntry.id >= lowest).order_by(AuditEntry.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    if wanted.owner is not None:
        query = query.where(or_(AuditEntry.owner == wanted.owner, AuditEntry.object_owner == wanted.owner))
    if wanted.action is not None:
        query = query.where(AuditEntry.action == wanted.action)
    if wanted.since is not None:
        query = query.where(AuditEntry.at >= wanted.since)
    found = session.scalars(query).all()
    if len(found) > limit:
        return found[:limit], found[limit - 1].id
    is_over = count < MOST_EXAMINED or (wanted.since is not None and oldest < wanted.since)
    return found, None if is_over else int(lowest)


def _first_after(session: Session, until: datetime | None) -> int | None:
    """The number of the first entry that is too late, if there is one."""
    if until is None:
        return None
    query = select(AuditEntry.id).where(AuditEntry.at >= until).order_by(AuditEntry.at, AuditEntry.id).limit(1)
    return session.scalar(query)


def _earlier(one: int | None, other: int | None) -> int | None:
    return min((number for number in (one, other) if number is not None), default=None)
