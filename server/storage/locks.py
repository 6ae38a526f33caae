"""The contract of the locks of uploads: one request at a time works on an upload, and a newer request can get the lock.

Rules:

- A lock that cannot be taken in time is `UploadLockedError`, never an upload without a lock.
- Only a request that came later may ask a holder to release. Without this order a dead request that still waits would
  evict the one that came to replace it.
- A holder for long (a body that is being received) can be asked to release the lock; a holder for a moment
  (the sweep) is waited for.
- A holder may lose a lock that ends by time (`fence`, `HeldLock.permit`): then it writes neither a row nor a byte.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from server.transport.body import Body, Permit

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

_permits: ContextVar[tuple[Permit, ...]] = ContextVar("permits", default=())


def permitted() -> None:
    """Between opening a file and changing it: raise `UploadLockedError` when a lock of this task or thread is lost."""
    for permit in _permits.get():
        permit()


@contextmanager
def permit_of(permit: Permit) -> Iterator[None]:
    """`permitted` asks `permit` too, in this task or thread and in the threads that work for it."""
    token = _permits.set((*_permits.get(), permit))
    try:
        yield
    finally:
        _permits.reset(token)


BeforeAsking = Callable[[], Awaitable[object]]
IsNeedless = Callable[[], Awaitable[bool]]


class HeldLock:
    """A lock that is held. Attached callbacks are called when another request wants the lock."""

    permit: Permit | None = None
    """Raises `UploadLockedError` once the lock is lost, on any thread; None where locks cannot be lost."""

    def __init__(self, upload_id: str) -> None:
        self.upload_id = upload_id
        self.wanted = False
        self._callbacks: list[Callable[[], None]] = []

    def attach(self, let_go: Callable[[], None]) -> None:
        """Have `let_go` called, on the event loop, when another request wants the lock; at once if one already does."""
        self._callbacks.append(let_go)
        if self.wanted:
            let_go()

    def attach_body(self, body: Body) -> None:
        """Have `body` stopped when another request wants the lock, and before its next write when the lock is lost."""
        body.permit = self.permit
        self.attach(body.stop)

    def want(self) -> None:
        """Ask the holder to release the lock."""
        self.wanted = True
        for let_go in self._callbacks:
            let_go()


class UploadLocks(ABC):
    """All locks of an installation, as one process sees them."""

    is_quick: bool
    """Whether `try_hold` takes microseconds, so that the event loop may call it."""

    @abstractmethod
    def listen(self) -> None:
        """Let other processes ask this one's holders for a release; call it on the event loop."""

    @abstractmethod
    def close(self) -> None:
        """Stop listening. Byte ranges that are held stay so until they are released; leases end."""

    @abstractmethod
    def hold(self, upload_id: str, before_asking: BeforeAsking | None = None) -> AbstractAsyncContextManager[HeldLock]:
        """Hold the lock, and ask its holder to release it.

        When it is held, `before_asking` is called first: if it raises, the holder is left alone, since a request
        that will be refused anyway must not disturb another.
        Raises `UploadLockedError` when the holder did not release it within 10 s (a lease: until a dead holder's has
        ended), or a later request held it for 2 s.
        """

    @abstractmethod
    def hold_unless(self, upload_id: str, is_needless: IsNeedless) -> AbstractAsyncContextManager[HeldLock | None]:
        """The same, but enters with None, without the lock, when that is held and `is_needless` returns true.

        It is called once, before the holder is asked. Raises what it raises, and as `hold`.
        """

    @abstractmethod
    def request_release(self, upload_id: str) -> None:
        """Ask the holder to release the lock, without waiting. Blocking."""

    @abstractmethod
    def try_hold(self, upload_id: str) -> AbstractContextManager[bool]:
        """Hold the lock if it is free, and ask no holder. Yields whether it is held. Blocking."""

    @abstractmethod
    def clean(self) -> int:
        """Remove what dead processes left; returns how much there was. Blocking."""

    @abstractmethod
    def stale_fifos(self) -> list[Path]:
        """The FIFOs without a living process that listens, or is about to. Blocking."""

    def fence(self, connection: object, upload_id: str, *, may_be_free: bool = False) -> None:  # noqa: B027
        """In a transaction that changes rows: no other request gets the lock before its end. Blocking.

        Raises `UploadLockedError` when this holder has lost the lock, or never had it; with `may_be_free` only the
        first. Locks of one host are never lost, so that nothing is to be done for them.
        """

    def guard(self, upload_id: str) -> "ColumnElement[bool] | None":  # noqa: ARG002  # as above
        """The same as a condition, for a statement of its own; None where locks are never lost."""
        return None
