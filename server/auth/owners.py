"""The owners that the database knows: their names, their limits, and how one is renamed.

Rule: each change is one transaction, so that a request sees all of it or nothing. The audit log keeps the names that
were true at the time. Everything here blocks.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import CTE, ColumnElement, delete, exists, func, literal, select, text, union, union_all, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from server.database import owner_sums
from server.database.access_models import ApiKey, BrowserSession, Grant, OwnerLimits, Share
from server.database.event_models import WebhookEndpoint
from server.database.models import FormAnswer, Task, TaskEvent, Upload
from server.database.session import Database, changed

_TRIES = 50
_PAUSE_SECONDS = 0.1
_WAITED = ("55P03", "40P01")  # PostgreSQL: lock_not_available, deadlock_detected
_MOVED: Mapping[str, type[Any]] = {
    "tasks": Task,
    "uploads": Upload,
    "form_answers": FormAnswer,
    "api_keys": ApiKey,
    "grants": Grant,
    "shares": Share,
    "browser_sessions": BrowserSession,
    "owners": OwnerLimits,
    "task_events": TaskEvent,
    "webhook_endpoints": WebhookEndpoint,
}

_HAVING: tuple[type[Any], ...] = (Upload, Task, ApiKey, Grant, OwnerLimits)


class OwnerUnknownError(Exception):
    """No row has that owner."""


class OwnerBusyError(Exception):
    """Requests held rows of the owner again and again."""


class OwnerExistsError(Exception):
    """Rows of the new name exist already."""


def names(session: Session) -> Sequence[str]:
    """Every owner that has an upload, a task, a key, a grant or limits; sorted."""
    return sorted(session.scalars(union(*(select(model.owner).distinct() for model in _HAVING))))


def page(session: Session, after: str | None, limit: int) -> Sequence[str]:
    """At most `limit` of these names, those that follow `after` in the database's order.

    Each name is a look-up along an index of each table, however many rows an owner has and however many owners there
    are.
    """
    if limit < 1:
        return []
    first = select(_least(after).label("owner"), literal(1).label("place")).cte("found", recursive=True)
    following = select(_least(first.c.owner, first), first.c.place + 1)
    found = first.union_all(following.where(first.c.owner.is_not(None), first.c.place < limit))
    return session.scalars(select(found.c.owner).where(found.c.owner.is_not(None)).order_by(found.c.place)).all()


def _least(after: Any, outer: CTE | None = None) -> ColumnElement[Any]:
    """The first name after this one, which may be a column of `outer`; without it, the first of all."""
    each = [select(func.min(model.owner).label("owner")) for model in _HAVING]
    if after is not None:
        each = [query.where(model.owner > after) for query, model in zip(each, _HAVING, strict=True)]
    if outer is not None:
        each = [query.correlate(outer) for query in each]
    return select(func.min(union_all(*each).subquery().c.owner)).scalar_subquery()


def is_known(session: Session, owner: str) -> bool:
    """Whether any row has this owner."""
    has_rows = any(session.scalar(select(exists().where(model.owner == owner))) for model in _MOVED.values())
    return has_rows or owner_sums.are_there(session, owner)


def set_limits(session: Session, owner: str, limits: Mapping[str, int | None], now: datetime) -> None:
    """Set these limits of an owner, whom the database need not know yet; None is the setting's, 0 is no limit.

    Without any limit of its own, the owner has no row.
    """
    row = session.get(OwnerLimits, owner, with_for_update=True)
    if row is None:
        row = OwnerLimits(owner=owner)
        session.add(row)
    for name, limit in limits.items():
        setattr(row, name, limit)
    row.updated_at = now
    session.flush()
    columns = [column.name for column in OwnerLimits.__table__.columns if column.name not in ("owner", "updated_at")]
    if all(getattr(row, name) is None for name in columns):
        session.delete(row)


def rename(
    database: Database, old: str, new: str, *, merge: bool = False, also: Callable[[Session], None] | None = None
) -> Mapping[str, int]:
    """Give everything of `old` to `new`; the number of moved rows by table. `also` works in the same transaction.

    A form that is being received keeps its Idempotency-Key under the old name; its task belongs to the new one. What a
    request creates meanwhile under the old name stays there. Where `new` is there already, its limits count, and its
    answers to the same Idempotency-Keys stay. Raises `OwnerUnknownError`, `OwnerBusyError`, and without `merge`
    `OwnerExistsError`.
    """
    for _ in range(_TRIES):
        try:
            with database.write() as session:
                moved = _rename(session, old, new, merge=merge)
                if also is not None:
                    also(session)
                return moved
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) not in _WAITED:
                raise
            time.sleep(_PAUSE_SECONDS)
    raise OwnerBusyError


def _rename(session: Session, old: str, new: str, *, merge: bool) -> Mapping[str, int]:
    if session.connection().dialect.name == "postgresql":
        # Requests lock the same rows in other orders. This ends before PostgreSQL looks for deadlocks, after a second,
        # so that never a request is the victim.
        session.execute(text("SET LOCAL lock_timeout = '300ms'"))
    if not is_known(session, old):
        raise OwnerUnknownError
    if is_known(session, new) and not merge:
        raise OwnerExistsError
    if is_known(session, new):
        changed(session, delete(OwnerLimits).where(OwnerLimits.owner == old))
    same_key = select(FormAnswer.key).where(FormAnswer.owner == new)
    changed(session, delete(FormAnswer).where(FormAnswer.owner == old, FormAnswer.key.in_(same_key)))
    moved = {}
    for name, model in _MOVED.items():
        statement = update(model).where(model.owner == old).values(owner=new)
        if model is FormAnswer:
            statement = statement.where(FormAnswer.fingerprint.is_not(None))
        moved[name] = changed(session, statement)
    moved["report_owners"] = owner_sums.rename(session, old, new)
    return moved
