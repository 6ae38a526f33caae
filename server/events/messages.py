"""Messages of webhooks: made of their rows, sent, and what came of it.

Rules:

- The rows of all messages that are sent together are read in one look, at the moment of sending.
- Nothing here raises because of one message: what goes wrong with it is its result.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from server.database.session import AWAY, reason
from server.events.bodies import Bodies, Facts, Origin, moment
from server.events.deliveries import Delivery, Outcome
from server.events.sender import Sender, Sent
from server.tracing import NO_TRACING, Attribute, Span, Tracing

_UNPLANNED = Sent(0.0, error_code="webhook_internal")

_log = structlog.stdlib.get_logger("videodock.webhooks")


@dataclass(frozen=True, kw_only=True, repr=False)
class Messages:
    """Makes and sends them; everything here blocks."""

    bodies: Bodies
    sender: Sender
    clock: Callable[[], datetime]
    tracing: Tracing = NO_TRACING

    def look(self, rows: Sequence[Delivery]) -> Mapping[int, Facts]:
        """What the rows of their tasks say now, by the number of the delivery; none for a test message.

        Raises the errors of the database.
        """
        origins = [(row.id, origin) for row in rows if (origin := _origin(row)) is not None]
        found = self.bodies.look([origin for _, origin in origins]) if origins else ()
        return {number: facts for (number, _), facts in zip(origins, found, strict=True)}

    def send(self, url: str, keys: Sequence[str], row: Delivery, facts: Facts | None) -> Outcome | None:
        """Make and send one message; None when our database was away, so that it is sent later."""
        at, began = self.clock(), time.time_ns()
        try:
            parent = None if row.task_id is None else self.tracing.traceparent(row.task_id)
            sent = self.sender.post(url, row.message_id, int(at.timestamp()), self._body(row, facts), keys, parent)
            if parent is not None and row.task_id is not None:
                self.tracing.record(row.task_id, _span(row, sent, began))
        except AWAY as error:  # not the receiver's failure
            _log.warning("database_away", reason=reason(error))
            return None
        except Exception:
            _log.exception("webhook_failed", webhook=row.endpoint_id, message=row.message_id)
            return Outcome(row, at, _UNPLANNED)
        return Outcome(row, at, sent)

    def _body(self, row: Delivery, facts: Facts | None) -> bytes:
        message = {"type": row.type, "timestamp": row.data["at"], "owner": row.data.get("owner")}
        origin = _origin(row)
        if origin is None or facts is None:
            message |= {"timestamp": moment(row.created_at), "data": {"webhook_id": row.endpoint_id}}
        else:
            message["data"] = self.bodies.content(origin, facts)
        return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def _origin(row: Delivery) -> Origin | None:
    """What its event says; None for a test message."""
    return None if row.task_id is None else Origin.of_row(row.task_id, row.data)


def _span(row: Delivery, sent: Sent, began: int) -> Span:
    """One try to deliver, in the trace of its task. It has no address: that may have a secret of the receiver."""
    attributes: dict[str, Attribute] = {"videodock.webhook": row.endpoint_id, "videodock.event": row.type}
    if sent.status is not None:
        attributes["http.response.status_code"] = sent.status
    error = "" if sent.is_delivered else sent.error_code or str(sent.status)
    return Span(name="webhook", started=began, ended=time.time_ns(), attributes=attributes, error=error, kind="client")
