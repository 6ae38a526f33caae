"""Numbers of webhooks and hooks for the metrics.

Rule: gauges come from the rows, so they are the same from every server; what was tried is counted by the process that
tried it.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import ColumnElement, and_, case, func, select

from server.database.event_models import WebhookDelivery, WebhookEndpoint
from server.database.session import Database
from server.events.deliveries import OPEN_AFTER, PENDING
from server.observability import Gauge, Metrics
from server.settings import Settings
from server.tasks import counts
from server.uploads.reservations import DiskReservations

Count = Callable[[str, int], object]
"""Counts so many deliveries with this outcome: `delivered`, `failed` (it is tried again) or `dead` (it is not)."""
CountCall = Callable[[str, str], object]
"""Counts one call of a hook, by the hook's name: `ok`, `refused`, `failed` or `timeout`."""

STATES = ("healthy", "failing", "paused", "disabled")


def uncounted(*_: object) -> None:
    """Counts nothing."""


def state(row: WebhookEndpoint, now: datetime) -> str:
    """How an endpoint does: one of `STATES`, as the view `webhook_health` has it."""
    if row.disabled_at is not None:
        return "disabled"
    if row.retry_at is not None and row.retry_at > now:
        return "paused"
    return "failing" if row.failures else "healthy"


def metrics(database: Database, settings: Settings, room: DiskReservations, clock: Callable[[], datetime]) -> Metrics:
    """The metrics of a server, which reads these numbers at each scrape."""
    return Metrics(
        lambda: counts.by_status(database),
        lambda: asdict(room.measure()),
        lambda: [*counts.queue(database, clock(), settings.task_lease), *gauges(database, clock())],
    )


def gauges(database: Database, now: datetime) -> Sequence[Gauge]:
    """How webhooks do, and what waits for those that are not disabled. Blocking."""
    is_enabled = WebhookEndpoint.disabled_at.is_(None)
    is_open: ColumnElement[bool] = and_(is_enabled, WebhookEndpoint.failures >= OPEN_AFTER)
    as_state = case(
        (WebhookEndpoint.disabled_at.is_not(None), "disabled"),
        (WebhookEndpoint.retry_at > now, "paused"),
        (WebhookEndpoint.failures > 0, "failing"),
        else_="healthy",
    )
    enabled = select(WebhookEndpoint.id).where(is_enabled)
    of = (WebhookDelivery.status == PENDING, WebhookDelivery.endpoint_id.in_(enabled))
    with database.read() as session:
        states = dict.fromkeys(STATES, 0)
        for name, count in session.execute(select(as_state, func.count()).group_by(as_state)):
            states[name] = count
        opened = session.scalar(select(func.count()).where(is_open)) or 0
        pending = session.scalar(select(func.count()).where(*of)) or 0
        oldest: datetime | None = session.scalar(select(func.min(WebhookDelivery.created_at)).where(*of))
    age = 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
    return [
        Gauge("videodock_webhooks", "Webhooks by state.", states, "state"),
        Gauge("videodock_webhook_circuits_open", "Webhooks that fail again and again.", opened),
        Gauge("videodock_webhook_pending", "Messages that wait for enabled webhooks.", pending),
        Gauge("videodock_oldest_webhook_message_seconds", "Age of the oldest of these messages.", age),
    ]
