"""Webhook endpoints: added, listed, changed and removed, for commands and for the API.

Rules:

- An endpoint has an owner, or none: then it gets the events of every owner. A user who acts for one owner sees no other
  endpoint; `owner` None acts for all.
- A secret is shown when it is made, and never again.
- Everything here blocks.
"""

import secrets
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, select, update
from sqlalchemy.orm import Session

from server.database.event_models import WebhookAttempt, WebhookDelivery, WebhookEndpoint, WebhookSecret
from server.database.models import TaskEvent
from server.database.session import Database, changed
from server.errors import DeliveryNotFoundError, FieldInvalidError, TooManyWebhooksError, WebhookNotFoundError
from server.events import deliveries, signing
from server.events.feed import Event, EventFeed, span
from server.events.sender import Sender
from server.events.types import WEBHOOK_NAMES, WEBHOOKS
from server.settings import Settings

MOST_OF_OWNER = 20
OVERLAP = timedelta(hours=24)
"""How long an old secret signs besides a new one."""
TEST = "webhook.test"
"""The type of a test message."""
_ID_LENGTH = 10
_ID_CHARACTERS = string.ascii_lowercase + string.digits
_MOST_REPLAYED = 100_000
_REPLAY_PAGE = 500


@dataclass(frozen=True)
class Attempt:
    """One attempt of a delivery, as the log has it."""

    at: datetime
    seconds: float
    answer_status: int | None
    answer: str | None
    error_code: str | None


@dataclass(frozen=True)
class Logged:
    """A delivery with its attempts, the oldest first."""

    row: WebhookDelivery
    attempts: Sequence[Attempt]


@dataclass(frozen=True, kw_only=True, repr=False)
class Webhooks:
    """The endpoints of all owners."""

    settings: Settings
    database: Database
    sender: Sender
    clock: Callable[[], datetime]

    def warnings(self, url: str) -> list[str]:
        """Codes of what its owner should know."""
        plain = url.startswith("http:") and not self.sender.allow_private
        return ["webhook_plain"] * plain + ["webhook_paths"] * (not self.settings.public_url)

    def add(self, url: str, types: Sequence[str], owner: str | None) -> tuple[WebhookEndpoint, str]:
        """Add an endpoint, which gets later events; returns it with its secret.

        Raises `FieldInvalidError`, `TooManyWebhooksError`, and `UnavailableError` as `EventFeed.place_now`.
        """
        self.sender.check_url(url)
        chosen = check_types(types)
        place = EventFeed.place_now(self.database)
        now, secret = self.clock(), signing.new_secret()
        made = "".join(secrets.choice(_ID_CHARACTERS) for _ in range(_ID_LENGTH))
        row = WebhookEndpoint(id=made, owner=owner, url=url, types=chosen, created_at=now, event_id=place, failures=0)
        with self.database.write() as session:
            count = session.scalar(select(func.count()).where(WebhookEndpoint.owner == owner)) or 0
            if owner is not None and count >= MOST_OF_OWNER:
                raise TooManyWebhooksError(limit=MOST_OF_OWNER)
            session.add(row)
            session.flush()
            session.add(WebhookSecret(endpoint_id=made, secret=secret, created_at=now))
        return row, secret

    def list(self, owner: str | None) -> Sequence[WebhookEndpoint]:
        """The endpoints of an owner, or all; the newest first."""
        query = select(WebhookEndpoint).order_by(WebhookEndpoint.created_at.desc(), WebhookEndpoint.id)
        if owner is not None:
            query = query.where(WebhookEndpoint.owner == owner)
        with self.database.read() as session:
            return session.scalars(query).all()

    def find(self, endpoint_id: str, owner: str | None) -> WebhookEndpoint:
        """One endpoint. Raises `WebhookNotFoundError`, also for one of another owner."""
        with self.database.read() as session:
            return _find(session, endpoint_id, owner)

    def counts(self, endpoint_ids: Sequence[str]) -> dict[str, dict[str, int]]:
        """How many deliveries of each endpoint are pending, and how many were given up."""
        shown: dict[str, dict[str, int]] = {one: {"pending": 0, "dead": 0} for one in endpoint_ids}
        query = (
            select(WebhookDelivery.endpoint_id, WebhookDelivery.status, func.count())
            .where(WebhookDelivery.endpoint_id.in_(endpoint_ids), WebhookDelivery.status != deliveries.DELIVERED)
            .group_by(WebhookDelivery.endpoint_id, WebhookDelivery.status)
        )
        with self.database.read() as session:
            for endpoint_id, status, count in session.execute(query):
                shown[endpoint_id][status] = count
        return shown

    def change(
        self, endpoint_id: str, owner: str | None, *, types: Sequence[str] | None = None, enabled: bool | None = None
    ) -> WebhookEndpoint:
        """Choose other events; disable or enable.

        A disabled endpoint gets nothing. Once it is enabled, it gets later events and what was pending. A new choice of
        events also applies to later events only. Raises `WebhookNotFoundError`, `FieldInvalidError`, and
        `UnavailableError` as `EventFeed.place_now`.
        """
        values: dict[str, Any] = {} if types is None else {"types": check_types(types)}
        self.find(endpoint_id, owner)
        place = EventFeed.place_now(self.database)
        if types is not None:
            self._catch_up(endpoint_id, owner, place)
        with self.database.write() as session:
            row = _find(session, endpoint_id, owner)
            if enabled is False and row.disabled_at is None:
                values |= {"disabled_at": self.clock(), "disabled_code": None}
            if enabled and row.disabled_at is not None:
                values |= {"disabled_at": None, "disabled_code": None, "failures": 0, "retry_at": None}
                # The process that had it may still have an older number in memory, and would count as its deliverer.
                values |= {"event_id": place, "worker": None, "lease_expires_at": None}
            if values:
                changed(session, update(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id).values(**values))
                session.expire_all()
                row = _find(session, endpoint_id, owner)
            return row

    def remove(self, endpoint_id: str, owner: str | None) -> None:
        """Remove an endpoint with its deliveries and their log. Raises `WebhookNotFoundError`."""
        with self.database.write() as session:
            _find(session, endpoint_id, owner)
            changed(session, delete(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id))

    def rotate(self, endpoint_id: str, owner: str | None) -> tuple[str, datetime]:
        """Make a new secret; returns it, and until when older ones also sign. Raises `WebhookNotFoundError`."""
        now, secret = self.clock(), signing.new_secret()
        until = now + OVERLAP
        with self.database.write() as session:
            _find(session, endpoint_id, owner)
            of = WebhookSecret.endpoint_id == endpoint_id
            changed(session, delete(WebhookSecret).where(of, WebhookSecret.expires_at <= now))
            changed(
                session, update(WebhookSecret).where(of, WebhookSecret.expires_at.is_(None)).values(expires_at=until)
            )
            session.add(WebhookSecret(endpoint_id=endpoint_id, secret=secret, created_at=now))
        return secret, until

    def test(self, endpoint_id: str, owner: str | None) -> str:
        """Queue a test message; returns its `webhook-id`. Raises `WebhookNotFoundError`."""
        message_id, now = f"msg_{endpoint_id}_t{secrets.token_hex(6)}", self.clock()
        with self.database.write() as session:
            row = _find(session, endpoint_id, owner)
            session.add(
                WebhookDelivery(
                    message_id=message_id,
                    endpoint_id=endpoint_id,
                    type=TEST,
                    status=deliveries.PENDING,
                    created_at=now,
                    next_attempt_at=now,
                    attempts=0,
                    data={"owner": row.owner, "at": now.isoformat()},
                )
            )
            _try_soon(session, endpoint_id)
        return message_id

    def replay(self, endpoint_id: str, owner: str | None, message_id: str) -> None:
        """Send one message again, under the same id. Raises `WebhookNotFoundError`, `DeliveryNotFoundError`."""
        of = (WebhookDelivery.endpoint_id == endpoint_id, WebhookDelivery.message_id == message_id)
        with self.database.write() as session:
            _find(session, endpoint_id, owner)
            if not changed(session, update(WebhookDelivery).where(*of).values(**deliveries.anew(self.clock()))):
                raise DeliveryNotFoundError
            _try_soon(session, endpoint_id)

    def replay_range(self, endpoint_id: str, owner: str | None, since: datetime, until: datetime) -> int:
        """Send again what happened in this time, also what the endpoint missed while it was disabled; how many
        messages, at most 100,000. Those that are pending are not counted.

        Raises `WebhookNotFoundError`, and `UnavailableError` as `EventFeed.place_now`.
        """
        self.find(endpoint_id, owner)
        place = EventFeed.place_now(self.database)
        self._catch_up(endpoint_id, owner, place)
        with self.database.read() as session:
            after, most = span(session.connection(), since, until)
        total, in_time = 0, (TaskEvent.at >= since, TaskEvent.at <= until)
        while total < _MOST_REPLAYED:
            # Pages are read outside the transaction that writes: a long range must not delay uploads.
            with self.database.read() as session:
                row = _find(session, endpoint_id, owner)
                # Events after the place of an endpoint will be delivered anyway, but not to one that is disabled.
                last = min(most, row.event_id if row.disabled_at is None else place)
                page = session.execute(_wanted(row, after, last, *in_time)).mappings().all()
            if page:
                events = [Event(**found) for found in page]
                with self.database.write() as session:
                    _find(session, endpoint_id, owner)
                    total += deliveries.add_again(session.connection(), endpoint_id, events, now=self.clock())
                    _try_soon(session, endpoint_id)
                after = events[-1].id
            if len(page) < _REPLAY_PAGE:
                break
        return total

    def _catch_up(self, endpoint_id: str, owner: str | None, place: int) -> None:
        """Make the deliveries of events up to `place` that the deliverer has not made yet, as it would make them.

        The deliverer writes how far an endpoint is once a minute when it wants none of the events, and its place in the
        row may be as old. So a caller that needs the true place moves it here. Does nothing for a disabled endpoint.
        """
        for _ in range(_MOST_REPLAYED // _REPLAY_PAGE):
            with self.database.read() as session:
                row = _find(session, endpoint_id, owner)
                if row.disabled_at is not None or row.event_id >= place:
                    return
                page = session.execute(_wanted(row, row.event_id, place)).mappings().all()
            events = [Event(**found) for found in page]
            moved = events[-1].id if len(page) == _REPLAY_PAGE else place
            # Unless the deliverer has moved it meanwhile: then look again.
            of = (WebhookEndpoint.id == endpoint_id, WebhookEndpoint.event_id == row.event_id)
            with self.database.write() as session:
                is_moved = changed(session, update(WebhookEndpoint).where(*of).values(event_id=moved))
                if is_moved and events:
                    deliveries.add(session.connection(), endpoint_id, events, now=self.clock())

    def log(
        self,
        endpoint_id: str,
        owner: str | None,
        *,
        status: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> Sequence[Logged]:
        """Deliveries with their attempts, the newest first; `before` is the number of the last one of the page before.

        Raises `WebhookNotFoundError`.
        """
        query = select(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint_id)
        if status is not None:
            query = query.where(WebhookDelivery.status == status)
        if before is not None:
            query = query.where(WebhookDelivery.id < before)
        with self.database.read() as session:
            _find(session, endpoint_id, owner)
            rows = session.scalars(query.order_by(WebhookDelivery.id.desc()).limit(limit)).all()
            tries: dict[int, list[Attempt]] = {row.id: [] for row in rows}
            of = WebhookAttempt.delivery_id.in_(list(tries))
            for one in session.scalars(select(WebhookAttempt).where(of).order_by(WebhookAttempt.id)):
                tries[one.delivery_id].append(
                    Attempt(one.at, one.seconds, one.answer_status, one.answer, one.error_code)
                )
        return [Logged(row, tries[row.id]) for row in rows]


def check_types(types: Sequence[str]) -> list[str]:
    """The types in their order, each once. Raises `FieldInvalidError`."""
    if not types or any(name not in WEBHOOKS for name in types):
        raise FieldInvalidError(field="events", reason="field_type", expected=", ".join(WEBHOOKS))
    return [name for name in WEBHOOKS if name in types]


def _find(session: Session, endpoint_id: str, owner: str | None) -> WebhookEndpoint:
    row = session.get(WebhookEndpoint, endpoint_id)
    if row is None or owner not in (None, row.owner):
        raise WebhookNotFoundError
    return row


def _try_soon(session: Session, endpoint_id: str) -> None:
    """Do not wait for the end of a pause: a person asked."""
    changed(session, update(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id).values(retry_at=None))


def _wanted(row: WebhookEndpoint, after: int, last: int, *also: ColumnElement[bool]) -> Select[Any]:
    """The events after one and up to another that an endpoint wants; a page of them."""
    wanted = [kind for kind, name in WEBHOOK_NAMES.items() if name in row.types]
    of = (TaskEvent.id > after, TaskEvent.id <= last, TaskEvent.type.in_(wanted))
    query = select(TaskEvent.__table__).where(*of, *also)
    if row.owner is not None:
        query = query.where(TaskEvent.owner == row.owner)
    return query.order_by(TaskEvent.id).limit(_REPLAY_PAGE)
