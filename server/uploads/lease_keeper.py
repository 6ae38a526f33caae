"""The thread that renews the leases of a process, and listens for requests of other hosts.

Rule: one statement a second, for all leases together, on a connection of its own: no body and no look-up waits for it,
and it waits for none. When the database is away it connects again; what was not renewed meanwhile, its holder loses.
"""

import contextlib
import os
import select
import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol, cast

import structlog
from sqlalchemy import Engine

from server.uploads import leases

_RENEW_SECONDS = 1.0
_AWAY_SECONDS = 0.5
_STATEMENT_SECONDS = 3
_END_SECONDS = 3.0

_log = structlog.stdlib.get_logger("videodock.locks")


def now() -> float:
    """Seconds of a clock of this host that never jumps, and goes on while the host is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Holder(Protocol):
    """The locks of a process, as the keeper sees them."""

    process: str

    def held(self) -> Sequence[Any]:
        """All leases of the process, each with `upload_id`."""

    def wanted(self, name: str, arrival: int) -> None:
        """A request of another process wants a lease."""

    def renewed(self, asked: Sequence[Any], found: Sequence[leases.Found], sent: float) -> list[str]:
        """What a renewal found; returns leases that the process does not know of."""


class LeaseKeeper(threading.Thread):
    """Runs from `start` to `end`."""

    def __init__(self, holder: Holder, engine: Engine, seconds: float) -> None:
        super().__init__(name="leases", daemon=True)
        self._holder = holder
        self._engine = engine
        self._seconds = seconds
        self._pause = min(_RENEW_SECONDS, seconds / 4)
        self._is_ending = threading.Event()
        self._wake_reader, self._wake_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def end(self) -> None:
        """Stop renewing, and end all leases that are left. Blocking, for a moment."""
        self._is_ending.set()
        os.write(self._wake_writer, b"\0")
        self.join(_END_SECONDS)
        if not self.is_alive():
            os.close(self._wake_reader)
            os.close(self._wake_writer)

    def run(self) -> None:
        import psycopg

        is_away = False
        while not self._is_ending.is_set():
            try:
                with contextlib.closing(self._connect()) as connection:
                    is_away = False
                    self._keep(connection)
            except psycopg.Error as error:
                if not is_away:
                    _log.warning("leases_not_renewed", reason=type(error).__name__)
                is_away = True
                self._is_ending.wait(_AWAY_SECONDS)
            except Exception:
                _log.exception("leases_not_renewed")
                self._is_ending.wait(_AWAY_SECONDS)

    def _connect(self) -> Any:
        import psycopg

        arguments, options = self._engine.dialect.create_connect_args(self._engine.url)
        silence = {"keepalives_idle": 5, "keepalives_interval": 1, "keepalives_count": 3, "connect_timeout": 3}
        silence |= {"tcp_user_timeout": 1000 * _STATEMENT_SECONDS}
        connection = cast("Any", psycopg.connect)(*arguments, **silence, **options, autocommit=True)
        connection.execute(f"SET statement_timeout = '{_STATEMENT_SECONDS}s'")
        connection.execute(f"LISTEN {leases.CHANNEL}")
        return connection

    def _keep(self, connection: Any) -> None:
        """Renew and listen until the end, or until the connection fails."""
        due = 0.0
        poll = select.poll()  # not `notifies` alone: nothing would wake it for the end
        poll.register(connection.fileno(), select.POLLIN)
        poll.register(self._wake_reader, select.POLLIN)
        while not self._is_ending.is_set():
            if now() >= due:
                due = now() + self._pause
                self._renew(connection)
            poll.poll(1000 * max(0.0, due - now()))
            for message in connection.notifies(timeout=0):
                self._hear(message.payload)
        self._give_up(connection, [lease.upload_id for lease in self._holder.held()])

    def _renew(self, connection: Any) -> None:
        sent, asked = now(), self._holder.held()
        values = {"process": self._holder.process, "names": [lease.upload_id for lease in asked]}
        # Without a lease too, since there may be one of a statement whose answer was lost: along an index, of an empty
        # table.
        found = connection.execute(leases.RENEW, {**values, "seconds": self._seconds}).fetchall()
        self._give_up(connection, self._holder.renewed(asked, found, sent))

    def _give_up(self, connection: Any, names: list[str]) -> None:
        if names:
            connection.execute(leases.GIVE_UP_ALL, (self._holder.process, names))

    def _hear(self, payload: str) -> None:
        process, _, rest = payload.partition(" ")
        name, _, arrival = rest.rpartition(" ")
        if process == self._holder.process and arrival.isdecimal():
            self._holder.wanted(name, int(arrival))
