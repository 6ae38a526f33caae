"""How Celery's worker takes messages: one for each task that it can begin at once, and no other.

Rules:

- A message is acknowledged when its work begins, and no worker holds one that it cannot begin. Celery by itself keeps
  as many messages as there are threads for later: they would wait for an encode of hours while another machine
  is idle, and RabbitMQ closes a consumer that holds a message for half an hour.
- So a worker whose threads are all busy stops consuming, and begins again when one is free. All of that happens in the
  thread of Celery's event loop; the working threads only report that they are free.
"""

import threading
from collections.abc import Callable
from typing import Any

import structlog
from celery.bootsteps import RUN

_log = structlog.stdlib.get_logger("videodock.worker")


class Slots:
    """The threads of a worker, each free or at work. `work` gets the task id in a message, and does not raise."""

    def __init__(self, work: Callable[[object], None]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._busy = 0
        self._paused = False

    def strategy(self, task: object, app: object, consumer: Any) -> Callable[..., None]:  # noqa: ARG002  # Celery's
        """Called by Celery for each task after it has connected; returns the receiver of the task's messages."""
        consumer.initial_prefetch_count = 1  # used next, where Celery sends it to the broker
        self._paused = False  # it begins to consume in any case

        def on_message(message: Any, body: Any, *_: object, **__: object) -> None:
            self._receive(consumer, message, body)

        return on_message

    def _receive(self, consumer: Any, message: Any, body: Any) -> None:
        number = consumer.pool.num_processes
        with self._lock:
            is_room = self._busy < number
            self._busy += is_room
            is_full = self._busy >= number
        try:
            if is_full and not self._paused:
                # Before the acknowledgement: that lets the broker send the next message.
                self._paused = True
                consumer.task_consumer.cancel()
            if not is_room:
                message.requeue()
                return
            message.ack()
        except Exception:  # the connection is gone; Celery opens another, and the broker has its message back
            self._free(is_room)
            raise
        consumer.pool.apply_async(self._run, (consumer, _named(message, body)), callback=_nothing)

    def _free(self, number: int) -> None:
        with self._lock:
            self._busy -= number

    def _run(self, consumer: Any, named: object) -> None:
        try:
            self._work(named)
        except Exception:
            _log.exception("work_failed")
        finally:
            self._free(1)
            consumer.call_soon(self._resume, consumer)

    def _resume(self, consumer: Any) -> None:
        if self._paused and consumer.task_consumer is not None and consumer.blueprint.state == RUN:
            self._paused = False
            consumer.task_consumer.consume()


def _named(message: Any, body: Any) -> object:
    """The task id in a message, of any type; None when the message cannot be read."""
    try:
        arguments = body["args"] if body is not None else message.payload[0]
        return arguments[0]
    except Exception:
        _log.warning("message_not_understood")
        return None


def _nothing(*_: object) -> None: ...
