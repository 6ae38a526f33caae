"""Looks of a thread that may be within a transaction already.

Rule: they have connections of their own. With those of the pool, threads that hold one each would wait for a second one
until the time is up.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property

from sqlalchemy import Connection, Engine


class Aside:
    """Connections of an engine that `make` makes with the first look."""

    def __init__(self, make: Callable[[], Engine]) -> None:
        self._make = make

    @contextmanager
    def look(self) -> Iterator[Connection]:
        """Single read-only statements. Blocking."""
        with self._single.connect() as connection:
            yield connection

    def close(self) -> None:
        """Close the connections."""
        if "_single" in self.__dict__:
            self._single.dispose()

    @cached_property
    def _single(self) -> Engine:
        return self._make().execution_options(videodock_single=True, isolation_level="AUTOCOMMIT")
