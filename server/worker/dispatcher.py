"""The dispatcher: sends the ids of waiting tasks to Celery's workers, and sweeps.

Rules:

- It sends what it reads from the table, so nothing is sent before it is committed, and the registration of a task
  never needs a broker. A broker that is away only costs time: each look tries it again.
- It remembers what it has sent only until the task is claimed. A task that still waits after a while is sent again if
  the queue holds fewer messages than it should, which means that one was lost. Sending too often is harmless, since
  only one claim succeeds, and it is bounded, since the dispatcher counts the messages in the broker.
"""

import time
from typing import Any, Unpack

import structlog
from kombu import Connection

from server.bootstrap import Services
from server.messages.phrases import Phrase
from server.tasks import outbox
from server.tasks.outbox import Sending
from server.worker.celery_app import QUEUE, TASK, make_app
from server.worker.leader import Leader, LeaderParts, leader_parts

OUTSTANDING = 100
"""Messages that wait in the broker at most. The rest stays in the table, which has the fair order: an owner's first
task waits for at most this many tasks of other owners."""

AGAIN_SECONDS = 5.0
_ANSWER_SECONDS = 5.0  # for a broker to take a message, or to return its number of messages

_log = structlog.stdlib.get_logger("videodock.worker")


class Dispatcher(Leader):
    """Runs until it is stopped. It works on no task itself."""

    def __init__(self, **parts: Unpack[LeaderParts]) -> None:
        super().__init__(**parts)
        self._app: Any = None
        self._connection: Connection | None = None
        self._sent: dict[Sending, float] = {}
        self._away = False

    def status(self) -> str:
        """The leader's status, or that the broker is away."""
        status = super().status()
        return Phrase.of("broker_unreachable") if status == "running" and self._away else status

    def trouble(self) -> str | None:
        """The leader's problem only: without a broker, uploads are received all the same."""
        return None if super().status() in self.WELL else super().status()

    @property
    def _description(self) -> dict[str, object]:
        return {"engine": "celery"}

    def _prepare(self) -> None:
        self._app = make_app(self._settings)
        options = {"write_timeout": _ANSWER_SECONDS, "read_timeout": _ANSWER_SECONDS, "confirm_publish": True}
        if self._settings.broker_url.startswith("redis"):
            options = {"socket_timeout": _ANSWER_SECONDS, "socket_connect_timeout": _ANSWER_SECONDS}
        # The connection is silent for hours when nothing comes in, and would not answer the broker's heartbeats.
        self._app.conf.update(broker_transport_options=options, broker_heartbeat=0)

    def _take_tasks(self) -> None:
        settings = self._settings
        with self._database.read() as session:
            due = outbox.due(
                session,
                node=self._node,
                lease=settings.task_lease,
                owner_limit=settings.owner_limit,
                limit=OUTSTANDING,
            )
        self._sent = {sending: self._sent[sending] for sending in due if sending in self._sent}
        long_ago = time.monotonic() - AGAIN_SECONDS
        if all(self._sent.get(sending, 0) > long_ago for sending in due):
            return
        try:
            self._send(due, long_ago)
        except Exception as error:  # whatever a broker's client raises means that the broker is away
            self._disconnect()
            if not self._away:
                self._away = True
                _log.warning("broker_away", reason=f"{type(error).__name__}: {error}", tasks=len(due))
            return
        if self._away:
            self._away = False
            _log.info("broker_back")

    def _send(self, due: list[Sending], long_ago: float) -> None:
        """Send what was not sent yet, and send again what seems to be lost."""
        if self._connection is None:
            self._connection = self._app.connection_for_write()
            self._connection.ensure_connection(max_retries=1, interval_start=0, timeout=_ANSWER_SECONDS)
        channel = self._connection.default_channel
        queue = self._app.amqp.queues[QUEUE](channel)
        queue.declare()  # each time: emptying the broker removes the queue
        held = queue.queue_declare().message_count
        missing = len(self._sent) - held
        producer = self._app.amqp.Producer(channel, auto_declare=False)
        for sending in due:
            if held >= OUTSTANDING:
                return
            if sending in self._sent:
                if self._sent[sending] > long_ago or missing <= 0:
                    continue
                missing -= 1
                _log.info("sent_again", task=sending[0])
            options = {"producer": producer, "retry": False, "confirm_timeout": _ANSWER_SECONDS}
            self._app.send_task(TASK, args=[sending[0]], queue=QUEUE, ignore_result=True, **options)
            self._sent[sending] = time.monotonic()
            held += 1

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.release()
        except Exception:
            _log.debug("broker_close", exc_info=True)

    def _finish(self) -> None:
        with self._looking:
            self._disconnect()


def dispatcher_of(services: Services) -> Dispatcher:
    """The dispatcher of an installation."""
    return Dispatcher(**leader_parts(services))
