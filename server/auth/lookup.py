"""Rows of credentials, from memory for a moment and else from the database.

Rule: what is remembered is never older than `_SECONDS`, so a revoked credential is refused after that in every process.
A row that is not there is remembered, too, so that a flood of invalid credentials asks the database seldom. When the
database is away, its error is raised: a credential that cannot be checked is not accepted.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from server.database.prepared import Prepared, Row
from server.database.session import Database

_SECONDS = 3.0
_MOST = 10_000


class ShortMemory:
    """Looks up rows by one key. For the event loop."""

    def __init__(
        self, database: Database, statement: Prepared, clock: Callable[[], float] = time.monotonic, most: int = _MOST
    ) -> None:
        """`statement` has one parameter, `key`, and gives one row or none."""
        self._database = database
        self._statement = statement
        self._clock = clock
        self._most = most
        self._rows: OrderedDict[str, tuple[float, Row | None]] = OrderedDict()

    async def find(self, key: str) -> Row | None:
        """The row, or None. Raises the errors of the database."""
        now = self._clock()
        known = self._rows.get(key)
        if known is not None and now - known[0] < _SECONDS:
            return known[1]
        parameters = {"key": key}
        try:
            row = self._database.find_at_once(self._statement, parameters)
        except BlockingIOError:
            row = await self._database.run(self._look, parameters)
        self._rows[key] = now, row
        self._rows.move_to_end(key)
        while len(self._rows) > self._most:
            self._rows.popitem(last=False)
        return row

    def forget(self, key: str) -> None:
        """Ask the database the next time."""
        self._rows.pop(key, None)

    def _look(self, parameters: dict[str, Any]) -> Row | None:
        with self._database.look() as connection:
            return self._statement.one_or_none(connection, parameters)
