"""The endpoints that this process delivers to, and its leases on them.

Rules:

- One process at a time delivers to an endpoint: the one with its lease, by the clock of the database. A process that
  could not extend its lease sends nothing more before the lease ends.
- The number of failures in a row opens the circuit of an endpoint (`deliveries.OPEN_AFTER`): then one message at a time
  is sent, after a pause that grows to half an hour, until one arrives.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

import structlog
from sqlalchemy import ColumnElement, Connection, Table, or_, select, update

from server.database.event_models import WebhookEndpoint, WebhookSecret
from server.database.types import database_time
from server.events import deliveries
from server.events.deliveries import OPEN_AFTER, Outcome

LEASE_SECONDS = 45.0
RENEW_SECONDS = 10.0
MARGIN_SECONDS = 20.0
"""A message takes less: so none is on its way when the lease ends."""

_endpoints = cast("Table", WebhookEndpoint.__table__)
_secrets = cast("Table", WebhookSecret.__table__)
_log = structlog.stdlib.get_logger("videodock.webhooks")


@dataclass(repr=False)
class Endpoint:
    """An endpoint of this process. `position` is the last event that it has handled; `failures` are in a row."""

    id: str
    owner: str | None
    url: str
    types: Sequence[str]
    event_id: int
    failures: int
    position: int = 0
    keys: Sequence[str] = field(default=())
    asked_until: datetime | None = None
    """Until when its receiver wants nothing."""

    @property
    def is_open(self) -> bool:
        """Whether its circuit is open."""
        return self.failures >= OPEN_AFTER


class OwnedEndpoints:
    """The endpoints of one process, refreshed from their rows. For one thread; everything here blocks."""

    def __init__(self, worker: str, clock: Callable[[], datetime]) -> None:
        self.worker = worker
        self._clock = clock
        self._extended = float("-inf")
        self.by_id: dict[str, Endpoint] = {}

    @property
    def may_send(self) -> bool:
        """Whether the leases last for one more message."""
        return time.monotonic() < self._extended + LEASE_SECONDS - MARGIN_SECONDS

    @property
    def is_extension_due(self) -> bool:
        """Whether it is time to claim endpoints, and to extend the leases."""
        return time.monotonic() >= self._extended + RENEW_SECONDS

    def claim(self, connection: Connection) -> None:
        """Claim endpoints that no other process has, and extend the leases."""
        before = time.monotonic()  # before the statement: the lease begins later than this
        of = (_endpoints.c.disabled_at.is_(None), or_(_endpoints.c.worker == self.worker, _is_free()))
        values = {"worker": self.worker, "lease_expires_at": database_time(LEASE_SECONDS)}
        connection.execute(update(_endpoints).where(*of).values(**values))
        self._extended = before

    def is_one_free(self, connection: Connection) -> bool:
        """Whether an endpoint has no process, such as a new one."""
        query = select(_endpoints.c.id).where(_endpoints.c.disabled_at.is_(None), _is_free())
        return connection.scalar(query.limit(1)) is not None

    def refresh(self, connection: Connection) -> bool:
        """Read the rows again; whether one begins before what was read of the events already."""
        of = (_endpoints.c.worker == self.worker, _endpoints.c.disabled_at.is_(None))
        rows = connection.execute(select(_endpoints).where(*of)).mappings().all()
        keys = self._keys(connection)
        found: dict[str, Endpoint] = {}
        is_new = False
        for row in rows:
            known = self.by_id.get(row["id"])
            if known is not None and known.types != row["types"]:
                known = None  # what was read since the change was judged by the old types
            is_new = is_new or known is None
            found[row["id"]] = Endpoint(
                id=row["id"],
                owner=row["owner"],
                url=row["url"],
                types=row["types"],
                event_id=row["event_id"],
                failures=row["failures"] if known is None else known.failures,
                position=row["event_id"] if known is None else max(known.position, row["event_id"]),
                keys=keys.get(row["id"], ()),
                asked_until=None if known is None else known.asked_until,
            )
        self.by_id = found
        return is_new

    def _keys(self, connection: Connection) -> Mapping[str, list[str]]:
        """The secrets that sign now, the newest first."""
        mine = _secrets.c.endpoint_id.in_(select(_endpoints.c.id).where(_endpoints.c.worker == self.worker))
        valid = or_(_secrets.c.expires_at.is_(None), _secrets.c.expires_at > self._clock())
        columns = (_secrets.c.endpoint_id, _secrets.c.secret)
        found: dict[str, list[str]] = {}
        for row in connection.execute(select(*columns).where(mine, valid).order_by(_secrets.c.id.desc())):
            found.setdefault(row.endpoint_id, []).append(row.secret)
        return found

    def record(
        self, connection: Connection, outcomes: Sequence[Outcome], now: datetime
    ) -> tuple[Mapping[str, int], Counter[str]]:
        """Write the results; returns failures in a row by endpoint, and how many other deliveries are `dead` now."""
        ended: Counter[str] = Counter()
        failures: dict[str, int] = {}
        asked: dict[str, float] = {}
        for outcome in outcomes:
            one = self.by_id.get(outcome.delivery.endpoint_id)
            if one is None:
                continue
            before = failures.get(one.id, one.failures)
            failures[one.id] = 0 if outcome.sent.is_delivered else before + 1
            asked[one.id] = max(asked.get(one.id, 0.0), outcome.sent.retry_after)
            if outcome.sent.is_gone:
                self._write(connection, one.id, disabled_at=now, disabled_code="webhook_gone")
                _log.warning("webhook_disabled", webhook=one.id, code="webhook_gone")
        for endpoint_id, count in failures.items():
            one = self.by_id[endpoint_id]
            if count == one.failures == 0:
                continue
            self._write(connection, endpoint_id, failures=count, retry_at=_until(one, count, asked[endpoint_id], now))
            if one.is_open and count == 0:
                deliveries.all_due(connection, endpoint_id, now)
            if count >= OPEN_AFTER:
                given_up = deliveries.give_up_old(connection, endpoint_id, now)
                if given_up:
                    ended[deliveries.DEAD] += given_up
                    _log.warning("webhook_deliveries_given_up", webhook=endpoint_id, count=given_up)
        return failures, ended

    def note(self, failures: Mapping[str, int]) -> None:
        """What `record` has written is committed."""
        for endpoint_id, count in failures.items():
            one = self.by_id[endpoint_id]
            if count >= OPEN_AFTER > one.failures:
                _log.warning("webhook_fails", webhook=endpoint_id, failures=count)
            elif one.is_open and count == 0:
                _log.info("webhook_is_back", webhook=endpoint_id)
            one.failures = count

    def flush(self, connection: Connection) -> None:
        """Write the position of endpoints that received none of the last events."""
        for one in self.by_id.values():
            move = one.position > one.event_id
            if move and deliveries.move_cursor(connection, one.id, self.worker, one.position, one.types):
                one.event_id = one.position

    def release(self, connection: Connection) -> None:
        """Give up the leases, so that other processes can claim the endpoints at once."""
        self._write(connection, None, worker=None, lease_expires_at=None)

    def _write(self, connection: Connection, endpoint_id: str | None, **values: object) -> None:
        mine = _endpoints.c.worker == self.worker
        of = mine if endpoint_id is None else mine & (_endpoints.c.id == endpoint_id)
        connection.execute(update(_endpoints).where(of).values(**values))


def _until(one: Endpoint, count: int, asked: float, now: datetime) -> datetime | None:
    """Until when an endpoint gets nothing, after so many failures in a row."""
    pause = deliveries.pause_of_endpoint(count, asked) if count else timedelta(0)
    if asked:
        one.asked_until = now + pause
    if not count and not one.is_open and one.asked_until is not None and one.asked_until > now:
        return one.asked_until  # what arrives now was sent before the receiver asked
    return now + pause if pause else None


def _is_free() -> ColumnElement[bool]:
    return or_(_endpoints.c.lease_expires_at.is_(None), _endpoints.c.lease_expires_at < database_time())


def expire_leases(connection: Connection, worker_prefix: str) -> None:
    """Free the endpoints of processes that are known to be dead: their names begin like this."""
    of = _endpoints.c.worker.startswith(worker_prefix, autoescape=True)
    connection.execute(update(_endpoints).where(of).values(worker=None, lease_expires_at=None))
