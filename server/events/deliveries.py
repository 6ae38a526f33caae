"""Rows of deliveries: made from events, found when they are due, and ended.

Rules:

- A delivery and the cursor of its endpoint are written in one transaction, so that an event becomes a delivery exactly
  once. The id of its message is made of endpoint and event, so it is the same however often it is made or sent.
- Messages of one task go in the order of its events: a later one is not due before the earlier one has ended.
- Only the process that has the endpoint's lease writes here, except for what an operator asks for.
"""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Connection, String, Table, bindparam, delete, exists, func, insert, or_, select, update
from sqlalchemy import cast as cast_sql
from sqlalchemy.dialects import postgresql, sqlite

from server.database.event_models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from server.database.session import Database
from server.events.bodies import Origin
from server.events.feed import Event
from server.events.sender import Sent
from server.events.types import WEBHOOK_NAMES

PENDING, DELIVERED, DEAD = "pending", "delivered", "dead"
FAILED = "failed"
"""The outcome of an attempt after which the delivery is still pending."""
GIVEN_UP_AFTER = timedelta(days=3)
OPEN_AFTER = 3
"""Failures of an endpoint in a row after which one message at a time tries whether it is back."""
PAGE = 200

_PAUSES = (5, 30, 120, 600, 1800, 3600, 2 * 3600, 4 * 3600, 8 * 3600)  # seconds, by the number of attempts
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 1800.0  # of an endpoint
_JITTER = 0.2
_BATCH = 1000

_deliveries = cast("Table", WebhookDelivery.__table__)
_attempts = cast("Table", WebhookAttempt.__table__)
_endpoints = cast("Table", WebhookEndpoint.__table__)
_is_pending = _deliveries.c.status == PENDING


@dataclass(frozen=True)
class Delivery:
    """One message that is due."""

    id: int
    endpoint_id: str
    message_id: str
    task_id: str | None
    type: str
    attempts: int
    created_at: datetime
    data: Mapping[str, Any]

    @property
    def line(self) -> str:
        """What waits for what: messages with the same line go one after the other."""
        return self.task_id or self.message_id


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt that began at `at`."""

    delivery: Delivery
    at: datetime
    sent: Sent


def message_id(endpoint_id: str, event_id: int) -> str:
    """The `webhook-id` of an event for an endpoint."""
    return f"msg_{endpoint_id}_{event_id}"


def pause(attempts: int, asked: float = 0.0) -> timedelta:
    """How long a message waits after so many failed attempts, with jitter. The receiver `asked` for so many seconds:
    it gets them, up to the longest pause."""
    seconds = _PAUSES[min(attempts, len(_PAUSES)) - 1]
    return timedelta(seconds=max(_with_jitter(seconds), min(asked, _PAUSES[-1])))


def pause_of_endpoint(failures: int, asked: float = 0.0) -> timedelta:
    """How long an endpoint gets nothing after so many failures in a row: what its receiver `asked` for, up to the
    longest pause, and nothing else before the circuit opens."""
    asked = min(asked, _LONGEST_PAUSE)
    if failures < OPEN_AFTER:
        return timedelta(seconds=asked)
    doubled = _FIRST_PAUSE * 2 ** min(failures - OPEN_AFTER, 20)
    return timedelta(seconds=max(_with_jitter(min(doubled, _LONGEST_PAUSE)), asked))


def _with_jitter(seconds: float) -> float:
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  # spreads load, hides nothing


def _row(endpoint_id: str, event: Event, now: datetime) -> dict[str, Any]:
    return {
        "message_id": message_id(endpoint_id, event.id),
        "endpoint_id": endpoint_id,
        "event_id": event.id,
        "task_id": event.task_id,
        "type": WEBHOOK_NAMES[event.type],
        "status": PENDING,
        "created_at": now,
        "next_attempt_at": now,
        "data": Origin.of(event).as_row(),
    }


def add(connection: Connection, endpoint_id: str, events: Sequence[Event], *, now: datetime) -> None:
    """A delivery for each of these events, unless there is one."""
    rows = [_row(endpoint_id, event, now) for event in events]
    made: Any = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    connection.execute(made(_deliveries).on_conflict_do_nothing(), rows)


def anew(now: datetime) -> dict[str, Any]:
    """Values of a delivery that is sent again: it has three days again."""
    return {"status": PENDING, "attempts": 0, "created_at": now, "next_attempt_at": now, "ended_at": None}


def add_again(connection: Connection, endpoint_id: str, events: Sequence[Event], *, now: datetime) -> int:
    """Send these events again, or for the first time; how many of them were not pending."""
    ids = [message_id(endpoint_id, event.id) for event in events]
    of = _deliveries.c.message_id.in_(ids)
    waiting = connection.scalar(select(func.count()).where(of, _is_pending)) or 0
    connection.execute(update(_deliveries).where(of, ~_is_pending).values(**anew(now)))
    add(connection, endpoint_id, events, now=now)
    return len(events) - waiting


def move_cursor(connection: Connection, endpoint_id: str, worker: str, event_id: int, types: Sequence[str]) -> bool:
    """The endpoint is done with events up to this one; False when this process no longer has it, when somebody moved
    it further, or chose other types than these."""
    mine = (_endpoints.c.id == endpoint_id, _endpoints.c.worker == worker)
    same = cast_sql(_endpoints.c.types, String) == json.dumps(types)  # as the column has them
    of = (*mine, same, _endpoints.c.event_id <= event_id)
    return bool(connection.execute(update(_endpoints).where(*of).values(event_id=event_id)).rowcount)


def ready(connection: Connection, worker: str, now: datetime) -> Sequence[str]:
    """The endpoints of this process that a message is due for. One whose circuit is open tries one that is not due."""
    mine = (_endpoints.c.worker == worker, _endpoints.c.disabled_at.is_(None))
    pending = (_deliveries.c.endpoint_id == _endpoints.c.id, _is_pending)
    closed = (_endpoints.c.failures < OPEN_AFTER) & exists().where(*pending, _deliveries.c.next_attempt_at <= now)
    probing = (_endpoints.c.failures >= OPEN_AFTER) & exists().where(*pending)
    is_over = or_(_endpoints.c.retry_at.is_(None), _endpoints.c.retry_at <= now)
    return connection.scalars(select(_endpoints.c.id).where(*mine, is_over, or_(closed, probing))).all()


@dataclass(frozen=True)
class Due:
    """What can be sent now, in order. `late` waits for earlier messages: the number of each, and when those are due."""

    found: Sequence[Delivery]
    late: Sequence[Mapping[str, Any]]
    is_full: bool


def due(connection: Connection, endpoint_id: str, now: datetime | None) -> Due:
    """Messages of an endpoint that are due; with `now` None those that are due next. At most `PAGE`."""
    columns = [_deliveries.c[name] for name in Delivery.__dataclass_fields__]
    query = select(*columns, _deliveries.c.next_attempt_at).where(_deliveries.c.endpoint_id == endpoint_id, _is_pending)
    if now is not None:
        query = query.where(_deliveries.c.next_attempt_at <= now)
    rows = connection.execute(query.order_by(_deliveries.c.next_attempt_at, _deliveries.c.id).limit(PAGE)).all()
    first = _first_of_tasks(connection, endpoint_id, {row.task_id for row in rows if row.task_id is not None})
    listed = {row.id for row in rows}
    found, late = [], []
    for row in sorted(rows, key=lambda row: row.id):
        head = first.get(row.task_id)
        if head is None or head[0] in listed:
            found.append(Delivery(*row[:-1]))
        elif head[1] > row.next_attempt_at:
            late.append({"of": row.id, "at": head[1]})
    return Due(found, late, len(rows) == PAGE)


def put_off(connection: Connection, late: Sequence[Mapping[str, Any]]) -> None:
    """Look at these again when the earlier ones are due."""
    change = update(_deliveries).where(_deliveries.c.id == bindparam("of"), _is_pending)
    connection.execute(change.values(next_attempt_at=bindparam("at")), late)


def _first_of_tasks(
    connection: Connection, endpoint_id: str, tasks: set[str]
) -> Mapping[str | None, tuple[int, datetime]]:
    """The first pending delivery of each task, and when it is due."""
    if not tasks:
        return {}
    of = (_deliveries.c.endpoint_id == endpoint_id, _is_pending, _deliveries.c.task_id.in_(tasks))
    first = select(func.min(_deliveries.c.id)).where(*of).group_by(_deliveries.c.task_id)
    columns = (_deliveries.c.task_id, _deliveries.c.id, _deliveries.c.next_attempt_at)
    rows = connection.execute(select(*columns).where(_deliveries.c.id.in_(first)))
    return {row.task_id: (row.id, row.next_attempt_at) for row in rows}


def record(connection: Connection, outcomes: Sequence[Outcome], now: datetime) -> Counter[str]:
    """Write what came of attempts: delivered, due again later, or given up. Deliveries that are gone are left out.

    Returns how many were `delivered`, `failed` or `dead`.
    """
    by_id = {outcome.delivery.id: outcome for outcome in outcomes}
    known = _deliver(connection, [one for one, outcome in by_id.items() if outcome.sent.is_delivered], now)
    missed = [one for one, outcome in by_id.items() if not outcome.sent.is_delivered]
    again: Mapping[int, datetime | None] = _miss(connection, [by_id[one] for one in missed], now) if missed else {}
    written = [by_id[one] for one in (*known, *again)]
    if written:
        connection.execute(insert(_attempts), [_logged(outcome) for outcome in written])
    for outcome in written:
        at = again.get(outcome.delivery.id)
        if outcome.delivery.task_id is not None and (outcome.delivery.attempts or at):
            _move_followers(connection, outcome.delivery, at or now)
    failed = Counter(DEAD if at is None else FAILED for at in again.values())
    return Counter({DELIVERED: len(known)}) + failed


def _deliver(connection: Connection, ids: Sequence[int], now: datetime) -> Sequence[int]:
    """These are delivered; those of them that are there. One statement: nearly all messages end by it."""
    if not ids:
        return ()
    values = {"status": DELIVERED, "attempts": _deliveries.c.attempts + 1, "next_attempt_at": None, "ended_at": now}
    change = update(_deliveries).where(_deliveries.c.id.in_(ids), _is_pending).values(**values)
    return connection.scalars(change.returning(_deliveries.c.id)).all()


def _miss(connection: Connection, outcomes: Sequence[Outcome], now: datetime) -> Mapping[int, datetime | None]:
    """These failed; when each that is there is due again, None for one that is given up."""
    of = select(_deliveries.c.id).where(_deliveries.c.id.in_([one.delivery.id for one in outcomes]), _is_pending)
    there = set(connection.scalars(of))
    values = [_ended(outcome, now) for outcome in outcomes if outcome.delivery.id in there]
    if values:
        change = (
            update(_deliveries)
            .where(_deliveries.c.id == bindparam("of"))
            .values(
                status=bindparam("new_status"),
                attempts=bindparam("count"),
                next_attempt_at=bindparam("again_at"),
                ended_at=bindparam("end"),
            )
        )
        connection.execute(change, values)
    return {row["of"]: row["again_at"] for row in values}


def _ended(outcome: Outcome, now: datetime) -> dict[str, Any]:
    delivery = outcome.delivery
    count = delivery.attempts + 1
    values: dict[str, Any] = {"of": delivery.id, "count": count, "again_at": None, "end": now}
    if now - delivery.created_at >= GIVEN_UP_AFTER:
        return values | {"new_status": DEAD}
    return values | {"new_status": PENDING, "again_at": now + pause(count, outcome.sent.retry_after), "end": None}


def _logged(outcome: Outcome) -> dict[str, Any]:
    sent = outcome.sent
    return {
        "delivery_id": outcome.delivery.id,
        "at": outcome.at,
        "seconds": round(sent.seconds, 3),
        "answer_status": sent.status,
        "answer": sent.answer,
        "error_code": sent.error_code,
    }


def _move_followers(connection: Connection, delivery: Delivery, at: datetime) -> None:
    """The later messages of its task are due when it is."""
    of = (
        _deliveries.c.task_id == delivery.task_id,
        _deliveries.c.endpoint_id == delivery.endpoint_id,
        _deliveries.c.id > delivery.id,
        _is_pending,
    )
    connection.execute(update(_deliveries).where(*of).values(next_attempt_at=at))


def give_up_old(connection: Connection, endpoint_id: str, now: datetime) -> int:
    """End what is older than three days, for an endpoint that has failed again and again; how many."""
    of = (_deliveries.c.endpoint_id == endpoint_id, _is_pending, _deliveries.c.created_at <= now - GIVEN_UP_AFTER)
    values = {"status": DEAD, "next_attempt_at": None, "ended_at": now}
    return connection.execute(update(_deliveries).where(*of).values(**values)).rowcount


def all_due(connection: Connection, endpoint_id: str, now: datetime) -> None:
    """Everything that waits is due: the endpoint is back."""
    of = (_deliveries.c.endpoint_id == endpoint_id, _is_pending, _deliveries.c.next_attempt_at > now)
    connection.execute(update(_deliveries).where(*of).values(next_attempt_at=now))


def purge(database: Database, until: datetime, *, dry_run: bool = False) -> int:
    """Delete deliveries that have ended and were made by then, with their log, in batches; how many. Blocking."""
    is_old = (~_is_pending, _deliveries.c.created_at <= until)
    if dry_run:
        with database.look() as connection:
            return connection.scalar(select(func.count()).where(*is_old)) or 0
    gone = 0
    some = select(_deliveries.c.id).where(*is_old).order_by(_deliveries.c.created_at, _deliveries.c.id).limit(_BATCH)
    while True:
        with database.change(lazy=True) as connection:
            count = connection.execute(delete(_deliveries).where(_deliveries.c.id.in_(some))).rowcount
        gone += count
        if count < _BATCH:
            return gone
