"""Transactions of one attempt.

Rule: a write counts only while the claim stands. A database that is away is waited for as long as the lease lasts, and
a write that may have been committed is not made twice.
"""

import itertools
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy.orm import Session

from server.database.session import AWAY, Database
from server.tasks import queue
from server.tasks.queue import Claim

_RETRY_SECONDS = 0.5

R = TypeVar("R")
_log = structlog.stdlib.get_logger("videodock.worker")


class LostError(Exception):
    """The claim is lost, or this process stops; nothing more of this attempt counts."""


class ClaimedWrites:
    """The writes of a claim. After `lost` is set, each of them raises `LostError`."""

    def __init__(self, claim: Claim, database: Database, *, lease: float) -> None:
        """`lease` is in seconds."""
        self._claim = claim
        self._database = database
        self._lease = lease
        self.lost = threading.Event()

    def check(self) -> None:
        """Raise `LostError` once the claim is lost."""
        if self.lost.is_set():
            raise LostError

    def move(self, move: Callable[[Session], bool]) -> None:
        """Make a move that matches no row after the claim is lost; then raise `LostError`.

        A transaction whose commit was not acknowledged is tried again. If it was committed all the same, the move is
        no longer possible, but the claim stands.
        """
        tries = itertools.count()

        def work(session: Session) -> bool:
            is_again = next(tries) > 0
            return move(session) or (is_again and queue.update_claimed(session, self._claim, {}))

        if not self.transact(work):
            raise LostError

    def transact(self, work: Callable[[Session], R]) -> R:
        """One transaction, tried again while the database is away, at most as long as a lease lasts."""
        deadline = time.monotonic() + self._lease
        while True:
            self.check()
            try:
                with self._database.write() as session:
                    return work(session)
            except AWAY:
                if time.monotonic() > deadline:
                    raise
                _log.warning("database_away", task=self._claim.task_id)
                self.lost.wait(_RETRY_SECONDS)
