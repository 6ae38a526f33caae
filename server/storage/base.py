"""The contract of a store of upload bytes.

Rule: the store is the truth for how many bytes an upload has. It knows ids and bytes; it knows no owners, states,
protocols or SQL, and never decides whether something may be done.
"""

import errno
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from enum import Enum
from pathlib import Path

from server.errors import StorageFullError
from server.storage.stored_file import Sign
from server.transport.body import Body, Moved, Tap

_STREAMED_BYTES = 1 << 20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Capability(Enum):
    """What a store can do beyond holding bytes; tus extensions are advertised from these, never from a list."""

    APPEND = "append"  # bytes may be added in any number of requests
    DELETE = "delete"  # bytes can be removed
    TRUNCATE = "truncate"  # what was appended can be taken back
    CONCATENATE = "concatenate"  # uploads can be joined without moving their bytes through us
    READ_BACK = "read_back"  # all bytes of an unfinished upload can be read, and not only its first ones


class UploadStore(ABC):
    """The contract. Blocking methods run on a thread; none is called twice at once for the same upload."""

    capabilities: AbstractSet[Capability]
    is_quick: bool = False
    """Whether `create`, `size`, `modified` and `delete` take microseconds, so that the event loop may call `size` and
    `modified`, and the thread that writes for many the others."""

    origins: Sequence[str] = ()
    """Where the addresses lead that it signs, for the policies of pages."""

    is_local: bool = True
    """Whether `local_path` is where the bytes are, and not a copy that takes time to make. A store that is not local
    has rows of its own, so it is never changed within a transaction of the database."""

    @abstractmethod
    def create(self, upload_id: str, length: int | None = None) -> None:
        """Create an empty upload, which will have `length` bytes where that is known.

        Raises `FileExistsError` if it exists: an id is never used twice.
        """

    @abstractmethod
    def size(self, upload_id: str) -> int | None:
        """Bytes that the upload has, which is its offset; None if the store does not have it."""

    @abstractmethod
    def modified(self, upload_id: str) -> datetime | None:
        """When its last byte came; None if the store does not have it."""

    @abstractmethod
    async def append(self, upload_id: str, offset: int, body: Body, limit: int, see: Tap | None = None) -> Moved:
        """Add at most `limit` bytes of `body` after the first `offset` ones, showing them to `see`.

        What arrived stays, however the body ends, and `size` returns it afterwards. Raises `StorageFullError`
        when the store takes no more, `FileNotFoundError` when it does not have the upload.
        """

    @abstractmethod
    def truncate(self, upload_id: str, size: int) -> None:
        """Cut the file to its first `size` bytes."""

    def seize(self, upload_id: str) -> None:  # noqa: B027  # a store may need nothing
        """A new holder of the upload's lock took it over from one whose lease had ended: from now on nothing that
        the former one still writes may reach the upload. Raises `StorageFullError`."""

    @abstractmethod
    def concatenate(self, upload_id: str, parts: Sequence[tuple[str, int]], *, may_share: bool) -> None:
        """Join `upload_id` from its parts, each an id and its size in bytes, in order.

        No part loses a byte. With `may_share`, the upload may share the bytes of its first part instead of copying
        them, if no other upload shares them already. The part is longer than its size then, and bytes after its size
        belong to the upload. After an interruption, a call with the same parts continues. Raises `FileNotFoundError`
        when bytes of a part are gone, `StorageFullError`.
        """

    @abstractmethod
    def undo_concatenate(self, upload_id: str, first: str, size: int) -> None:
        """Before the removal of an upload that was not joined to its end: give its first part its own `size` bytes, and
        nothing after them. Idempotent.
        """

    @abstractmethod
    def head(self, upload_id: str, count: int) -> bytes:
        """The first bytes, at most `count`."""

    @abstractmethod
    def show(self, upload_id: str, offset: int, see: Tap) -> None:
        """Show everything after the first `offset` bytes to `see`, in pieces of bounded size.

        Without `READ_BACK` this is for finished uploads.
        """

    def stream(self, upload_id: str, start: int, stop: int) -> Iterator[bytes]:
        """Bytes of a finished upload in pieces of at most a MiB, from `start` up to and without `stop`.

        Each step blocks. Raises `FileNotFoundError`, `UnavailableError`.
        """
        with self.local_path(upload_id).open("rb", buffering=0) as file:
            file.seek(start)
            while start < stop and (piece := file.read(min(_STREAMED_BYTES, stop - start))):
                start += len(piece)
                yield piece

    def signer_of(self, upload_id: str) -> Sign | None:  # noqa: ARG002  # most have no addresses
        """Makes addresses at which a client gets the bytes of a finished upload itself; None without such. Blocking."""
        return None

    @abstractmethod
    def finish(self, upload_id: str) -> None:
        """Make the bytes survive a power cut. Idempotent: an interrupted finish is repeated."""

    def state(self, upload_id: str) -> tuple[int, datetime] | None:
        """`size` and `modified` by one look."""
        size, modified = self.size(upload_id), self.modified(upload_id)
        return None if size is None or modified is None else (size, modified)

    def begin_finish(self, upload_ids: Sequence[str]) -> None:  # noqa: B027  # a store may have nothing to begin
        """Have the writing of these begin, each of which `finish` is called for next. A hint, which may do nothing."""

    @abstractmethod
    def delete(self, upload_id: str) -> None:
        """Remove the upload. Idempotent."""

    @abstractmethod
    def quarantine(self, upload_id: str) -> None:
        """Move the bytes into quarantine, for an operator: from then on the store does not have the upload.

        Idempotent: an interrupted move is repeated. Nothing happens without such an upload.
        """

    @abstractmethod
    def size_in_quarantine(self, upload_id: str) -> int | None:
        """Bytes in quarantine under this id; None if there are none."""

    @abstractmethod
    def delete_from_quarantine(self, upload_id: str) -> None:
        """Remove the bytes in quarantine, and what an unfinished `quarantine` left. Idempotent."""

    @abstractmethod
    def ids(self) -> Iterable[str]:
        """Everything in the store, by id, in no order; a file that is not an upload by its path below the store. For
        comparing it with the rows: it may be long, and files that come or go meanwhile may be in it or not.
        """

    def has_anything(self, upload_id: str) -> bool:
        """Whether the place of the bytes has something of this upload, whatever is known of it."""
        return self.size(upload_id) is not None

    def is_intact(self, upload_id: str) -> bool:  # noqa: ARG002  # `size` asks the place itself
        """Whether the place of the bytes has as many as `size` says. It may ask the place for each object."""
        return True

    def forgotten(self) -> Iterable[str]:
        """Uploads that this store still has, although no row of an upload says so; a sweep deletes them."""
        return ()

    def sweep(self, *, dry_run: bool) -> int:  # noqa: ARG002  # most have nothing of the kind
        """Remove what died processes left and no id shows; returns how much that was. Blocking."""
        return 0

    @abstractmethod
    def ids_in_quarantine(self) -> Iterable[str]:
        """Everything in quarantine, likewise."""

    @abstractmethod
    def local_path(self, upload_id: str) -> Path:
        """A local file with the upload's bytes, for reading, by this process and its children; or a path without a
        file when the store does not have it. It never leads to the bytes of another upload, even after `delete`.

        Blocking: a store elsewhere copies the bytes first. Raises `UnavailableError`.
        """

    @abstractmethod
    def check(self) -> None:
        """Raise `OSError` when the store cannot be reached, or is not claimed.

        Then nothing may be concluded from missing uploads.
        """

    @property
    @abstractmethod
    def unclaimed(self) -> str:
        """For the operator of a store that should have uploads and is not claimed: where it was looked for, and
        what to do. It ends the sentence "The database knows 3 uploads, and …".
        """

    @abstractmethod
    def is_claimed(self) -> bool:
        """Whether this store was used before, and is not an empty folder in place of one."""

    @abstractmethod
    def claim(self) -> None:
        """Mark the store as ours, from now on. Idempotent."""

    @abstractmethod
    def room(self) -> int:
        """Bytes that it could still take."""

    @property
    @abstractmethod
    def capacity(self) -> int:
        """Bytes that it could take when empty."""


class UploadPair(UploadStore):
    """Two stores while uploads move from one to the other."""

    @property
    @abstractmethod
    def new(self) -> UploadStore:
        """Where new uploads begin."""

    @property
    @abstractmethod
    def former(self) -> UploadStore:
        """What is emptied."""


def translated(error: OSError) -> Exception:
    """The error that the contract requires: a place that takes no more bytes is `StorageFullError`."""
    return StorageFullError() if error.errno in _FULL else error
