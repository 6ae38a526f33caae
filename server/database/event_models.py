"""The tables of notifications: webhooks with their deliveries, and how far each reader of the events is.

Rules:

- The events themselves are rows of `task_events`; a delivery refers to one, and is made from it.
- `webhook_secrets` are secrets: a reader of them could sign messages. Reports need the other tables.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from server.database.base import COUNTER, Base, index_of


class WebhookEndpoint(Base):
    """An address that gets events."""

    __tablename__ = "webhook_endpoints"
    __table_args__ = (Index(None, "owner"),)

    id: Mapped[str] = mapped_column(String(16), primary_key=True, doc="Its id")
    owner: Mapped[str | None] = mapped_column(doc="Whose events it gets; NULL: the events of every owner")
    url: Mapped[str] = mapped_column(doc="Where messages are sent")
    types: Mapped[list[str]] = mapped_column(JSON, doc="The types of event that it gets, such as `task.completed`")
    created_at: Mapped[datetime] = mapped_column(doc="When it was added (UTC)")
    disabled_at: Mapped[datetime | None] = mapped_column(doc="When it was disabled (UTC); it gets nothing since")
    disabled_code: Mapped[str | None] = mapped_column(String(64), doc="Why it was disabled, if the server did that")
    event_id: Mapped[int] = mapped_column(doc="Up to this event there is a delivery for each that it gets")
    failures: Mapped[int] = mapped_column(
        Integer, doc="Deliveries that failed since the last one that did not", default=0, server_default="0"
    )
    retry_at: Mapped[datetime | None] = mapped_column(doc="Nothing is sent before (UTC), after failures in a row")
    worker: Mapped[str | None] = mapped_column(doc="The process that delivers to it; NULL without one")
    lease_expires_at: Mapped[datetime | None] = mapped_column(doc="Until when that process has it (UTC)")


class WebhookSecret(Base):
    """A secret that signs messages. During a rotation an endpoint has two, and each message two signatures."""

    __tablename__ = "webhook_secrets"
    __table_args__ = (Index(None, "endpoint_id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(COUNTER, primary_key=True, doc="Rising number")
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("webhook_endpoints.id", ondelete="CASCADE"), doc="Its endpoint")
    secret: Mapped[str] = mapped_column(String(128), doc="`whsec_` and random bytes in base64; not for reports")
    created_at: Mapped[datetime] = mapped_column(doc="When it was made (UTC)")
    expires_at: Mapped[datetime | None] = mapped_column(doc="Until when it signs (UTC); NULL: no end is set")


class WebhookDelivery(Base):
    """One event for one endpoint, and how its delivery went."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("message_id"),
        Index(None, "endpoint_id", "id"),
        Index(None, "task_id"),
        index_of("ix_webhook_deliveries_pending", "status = 'pending'", "endpoint_id", "next_attempt_at", "id"),
        index_of("ix_webhook_deliveries_ended", "status <> 'pending'", "created_at", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(COUNTER, primary_key=True, doc="Rising number")
    message_id: Mapped[str] = mapped_column(
        String(40), doc="`webhook-id` of the message, the same for every attempt, also of a replay"
    )
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("webhook_endpoints.id", ondelete="CASCADE"), doc="Its endpoint")
    event_id: Mapped[int | None] = mapped_column(doc="The row of `task_events`; NULL for a test message")
    task_id: Mapped[str | None] = mapped_column(String(36), doc="The task; NULL for a test message")
    type: Mapped[str] = mapped_column(String(32), doc="Such as `task.completed`")
    status: Mapped[str] = mapped_column(String(16), doc="`pending`, `delivered` or `dead` (given up)")
    attempts: Mapped[int] = mapped_column(Integer, doc="How often it was sent", default=0, server_default="0")
    created_at: Mapped[datetime] = mapped_column(doc="When it was due first (UTC)")
    next_attempt_at: Mapped[datetime | None] = mapped_column(doc="When it is sent next (UTC); NULL once it ended")
    ended_at: Mapped[datetime | None] = mapped_column(doc="When it was delivered or given up (UTC)")
    data: Mapped[dict[str, Any] | None] = mapped_column(JSON, doc="What is sent where no row has it any more")


class WebhookAttempt(Base):
    """One try to deliver, with the answer of the endpoint."""

    __tablename__ = "webhook_attempts"
    __table_args__ = (Index(None, "delivery_id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(COUNTER, primary_key=True, doc="Rising number")
    delivery_id: Mapped[int] = mapped_column(
        BigInteger(), ForeignKey("webhook_deliveries.id", ondelete="CASCADE"), doc="Its delivery"
    )
    at: Mapped[datetime] = mapped_column(doc="When it began (UTC)")
    seconds: Mapped[float] = mapped_column(Float, doc="How long it took")
    answer_status: Mapped[int | None] = mapped_column(Integer, doc="HTTP status of the answer; NULL without one")
    answer: Mapped[str | None] = mapped_column(doc="The first KiB of the answer")
    error_code: Mapped[str | None] = mapped_column(String(64), doc="Why there was no answer")


class OutboxCursor(Base):
    """How far a reader of the events is, such as a Python hook."""

    __tablename__ = "outbox_cursors"

    name: Mapped[str] = mapped_column(String(128), primary_key=True, doc="The reader, such as `hook:<entry point>`")
    event_id: Mapped[int] = mapped_column(doc="The last event that it is done with")
    updated_at: Mapped[datetime] = mapped_column(doc="When that was written (UTC)")
    worker: Mapped[str | None] = mapped_column(doc="The process that reads; NULL without one")
    lease_expires_at: Mapped[datetime | None] = mapped_column(doc="Until when that process has it (UTC)")
