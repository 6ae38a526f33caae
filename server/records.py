"""What the rows of uploads and the store must say together, and how each of their steps is taken.

Rules:

- Going in, the row comes before the file. Going out, the row says so first (`status`, with `has_bytes` still
  true), then the file goes, then `has_bytes`: wherever that is cut, a sweep can end it from the rows alone.
- Everything here blocks, and is a step that may be the last one of its process.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from sqlalchemy import Table, bindparam, delete, func, insert, select, update

from server import filenames, media_types
from server.database.models import Upload, UploadPart
from server.database.session import Database, changed
from server.errors import UploadGoneError, UploadNotFoundError
from server.hooks import Hooks
from server.lifecycle import UPLOAD_MOVES, UploadStatus, sources
from server.progress import Progress
from server.settings import Settings
from server.storage.base import UploadStore
from server.storage.locks import UploadLocks
from server.tasks.wake import Wake
from server.tus.protocol import PARTIAL, Append, Facts

# What every request needs, made once and without a session.
_uploads = cast("Table", Upload.__table__)
_FIND = select(_uploads).where(_uploads.c.id == bindparam("upload"))
_INSERT = insert(_uploads)
_INSERT_PARTS = insert(cast("Table", UploadPart.__table__))
_HAS_NO_BYTES = update(_uploads).where(_uploads.c.id == bindparam("upload")).values(has_bytes=False)

_REMOVE = {
    target: update(_uploads)
    .where(_uploads.c.id == bindparam("upload"), _uploads.c.status.in_(sources(UPLOAD_MOVES, target)))
    .values(status=target, updated_at=bindparam("now"), received=func.coalesce(bindparam("size"), _uploads.c.received))
    for target in UPLOAD_MOVES
}

_Row = Any
"""A row of `uploads`: as an object of the model, or as it came from a statement."""


@dataclass(frozen=True)
class Records:
    """The steps. Owners are text; sizes and offsets are bytes."""

    settings: Settings
    database: Database
    store: UploadStore
    locks: UploadLocks
    hooks: Hooks
    wake: Wake
    progress: Progress
    clock: Callable[[], datetime]
    new_id: Callable[[], str]

    # In

    def insert(
        self,
        upload_id: str,
        owner: str,
        *,
        protocol: str,
        task_id: str,
        length: int | None,
        metadata_raw: str | None,
        filename: str | None,
        media_type: str | None = None,
        concat: str | None = None,
        parts: Sequence[str] = (),
    ) -> Facts:
        """The row, then the file; a final upload gets its file when it is joined. Blocking."""
        now = self.clock()
        row = {
            "id": upload_id,
            "owner": owner,
            "status": UploadStatus.OPEN,
            "protocol": protocol,
            "length": length,
            "received": 0,
            "checked_from": None,
            "metadata_raw": metadata_raw,
            "filename": None if filename is None else filenames.display(filename),
            "media_type": media_type,
            "concat": concat,
            "has_bytes": True,
            "task_id": task_id,
            "created_at": now,
            "updated_at": now,
            "expires_at": self._expiry(now),
        }
        of_parts = [{"final_id": upload_id, "position": at, "part_id": part_id} for at, part_id in enumerate(parts, 1)]
        # Held, so that a sweep does not take the row without its file for a creation that was cut short.
        with self.locks.try_hold(upload_id):
            # A part's file may be renamed to be a final's: then that row must be there.
            with self.database.change(lazy=not of_parts) as connection:
                connection.execute(_INSERT, row)
                if of_parts:
                    connection.execute(_INSERT_PARTS, of_parts)
            if not parts:
                try:
                    self.store.create(upload_id)
                except Exception:
                    self.forget([upload_id])
                    raise
        return self._facts(SimpleNamespace(**row), 0, now)

    def _begin(self, upload_id: str, decision: Append) -> None:
        """Before the first byte: the length that was deferred, and where a checked append starts. Blocking."""
        values: dict[str, object] = {"checked_from": decision.offset if decision.is_checked else None}
        if decision.length is not None:
            values["length"] = decision.length
        with self.database.write() as session:
            changed(session, update(Upload).where(Upload.id == upload_id).values(**values))

    def _record(self, upload_id: str, media_type: str | None = None, untold: bool = False) -> Facts:
        """Tell the row what the store has now, and that all of it counts. Blocking.

        With `untold` the length is deferred again.
        """
        now = self.clock()
        size = self.store.size(upload_id)
        with self.database.write(lazy=True) as session:
            values: dict[str, object] = {"updated_at": now, "expires_at": self._expiry(now), "received": size or 0}
            values["checked_from"] = None  # what is there now was checked, or taken back
            if media_type is not None:
                values["media_type"] = media_type
            if untold:
                values["length"] = None
            still_open = (Upload.id == upload_id, Upload.status == UploadStatus.OPEN)
            changed(session, update(Upload).where(*still_open).values(**values))
            row = session.get_one(Upload, upload_id)
        return self._facts(row, size, now)

    def complete(self, upload_ids: Sequence[str], task_id: str, found: dict[str, str | None]) -> None:
        """One transaction: the uploads are complete and their task is registered. Idempotent. Blocking.

        The store must have finished them. Raises `UploadGoneError` if one was removed meanwhile.
        """
        now = self.clock()
        with self.database.write() as session:
            # A part that is whole has time again to be joined.
            times = {"updated_at": now, "completed_at": now, "expires_at": self._expiry(now)}
            values = {"status": UploadStatus.COMPLETE, **times}
            moved = 0
            for upload_id in upload_ids:
                size = self.store.size(upload_id)
                may_move = (Upload.id == upload_id, Upload.status.in_(sources(UPLOAD_MOVES, UploadStatus.COMPLETE)))
                whole = {**values, "length": size, "received": size, "media_type": found.get(upload_id)}
                moved += changed(session, update(Upload).where(*may_move).values(**whole))
            rows = session.scalars(select(Upload).where(Upload.id.in_(upload_ids))).all()
            if moved != len(upload_ids):
                if moved == 0 and rows and all(row.status is UploadStatus.COMPLETE for row in rows):
                    return
                raise UploadGoneError
            if all(row.concat == PARTIAL for row in rows):
                return  # a part of an upload to come is nothing that could be processed
            by_id = {row.id: row for row in rows}
            self.hooks.post_finish(session, task_id, [by_id[upload_id] for upload_id in upload_ids], now)
        self.wake.notify()

    # Out

    def remove(self, upload_id: str, target: UploadStatus) -> bool:
        """Take the bytes away and say why; tells whether the upload could make that move. Blocking."""
        told = {"upload": upload_id, "now": self.clock(), "size": self.store.size(upload_id)}
        with self.database.change(lazy=True) as connection:
            row = connection.execute(_FIND, {"upload": upload_id}).one_or_none()
            if row is not None and target is UploadStatus.TERMINATED and row.status is UploadStatus.COMPLETE:
                self.hooks.pre_terminate(connection, row.task_id)
            if not connection.execute(_REMOVE[target], told).rowcount:
                return False
        self.delete_bytes(upload_id)
        return True

    def delete_bytes(self, upload_id: str) -> None:
        """The file goes, then the row says that it is gone. Idempotent. Blocking."""
        self.store.delete(upload_id)
        with self.database.change(lazy=True) as connection:
            connection.execute(_HAS_NO_BYTES, {"upload": upload_id})

    def quarantine(self, upload_id: str) -> None:
        """The file goes where only an operator looks, then the row says that it is gone. Idempotent. Blocking.

        A row that says why must be there before, for a sweep to end this where it was cut.
        """
        self.store.quarantine(upload_id)
        with self.database.change(lazy=True) as connection:
            connection.execute(_HAS_NO_BYTES, {"upload": upload_id})

    def forget(self, upload_ids: Sequence[str]) -> None:
        """Remove open uploads without a trace: those of a request that never was one. Blocking.

        Those that were completed meanwhile (by a transaction whose answer was lost, say) are left as they are.
        """
        for upload_id in upload_ids:
            with self.database.write() as session:
                is_open = (Upload.id == upload_id, Upload.status == UploadStatus.OPEN)
                changed(session, update(Upload).where(*is_open).values(status=UploadStatus.TERMINATED))
                status = session.scalar(select(Upload.status).where(Upload.id == upload_id))
            if status is not None and status is not UploadStatus.COMPLETE:
                self.store.delete(upload_id)
                with self.database.write() as session:
                    changed(session, delete(Upload).where(Upload.id == upload_id))

    # Facts

    def facts(self, upload_id: str, owner: str) -> Facts:
        """Row and store as they are. Raises `UploadNotFoundError`, `UploadGoneError`. Blocking."""
        return self._known(self._find(upload_id), owner)

    def _known(self, row: _Row | None, owner: str) -> Facts:
        if row is None or row.owner != owner or row.protocol != "tus":
            raise UploadNotFoundError
        size = self._size(row)
        # Its bytes are lost, unless it is a final that waits for its parts. What is over is judged by its status.
        if size is None and row.status is UploadStatus.OPEN and row.concat in (None, PARTIAL):
            raise UploadGoneError
        return self._facts(row, size, self.clock())

    def _size(self, row: _Row) -> int | None:
        if row.status is not UploadStatus.OPEN:
            length: int | None = row.length
            return length
        size = self.store.size(row.id)
        checked_from: int | None = row.checked_from
        # What a checked append has brought so far does not count before it was checked.
        return size if size is None or checked_from is None else min(size, checked_from)

    def expiry_of(self, row: _Row) -> datetime:
        """When an open upload expires. Its row may lag behind a body that was cut off; its bytes tell better."""
        modified = self.store.modified(row.id) if row.status is UploadStatus.OPEN else None
        told: datetime = row.expires_at
        return told if modified is None else max(told, self._expiry(modified))

    def locked_facts(self, upload_id: str, owner: str) -> Facts:
        """The same under the upload's lock: what an append that was cut short left unchecked is taken back."""
        row = self._find(upload_id)
        if self._is_unchecked(row):
            self.reconcile(upload_id)
            row = self._find(upload_id)
        return self._known(row, owner)

    def _find(self, upload_id: str) -> _Row | None:
        with self.database.look() as connection:
            return connection.execute(_FIND, {"upload": upload_id}).one_or_none()

    def _is_unchecked(self, row: _Row | None) -> bool:
        return row is not None and row.checked_from is not None and row.status is UploadStatus.OPEN

    def reconcile(self, upload_id: str) -> None:
        """Forget the bytes of a checked append that its process did not live to check. Under the lock. Blocking."""
        row = self._find(upload_id)
        if row is None or not self._is_unchecked(row):
            return
        size = self.store.size(upload_id)
        if size is not None and size > row.checked_from:
            self.store.truncate(upload_id, row.checked_from)
        with self.database.write() as session:
            changed(session, update(Upload).where(Upload.id == upload_id).values(checked_from=None))

    def _facts(self, row: _Row, size: int | None, now: datetime) -> Facts:
        return Facts(
            id=row.id,
            status=row.status,
            offset=size or 0,
            length=row.length,
            metadata_raw=row.metadata_raw,
            filename=row.filename,
            media_type=row.media_type,
            concat=row.concat,
            expires_at=self.expiry_of(row),
            now=now,
            accepted=media_types.ACCEPTED,
        )

    def _expiry(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self.settings.upload_expiry)
