"""Results as objects of a bucket, which any host makes and any host serves.

Rules:

- The row of a set comes first, then its objects, then the row says that they are written; `publish` is a row in the
  caller's transaction. So a process may die anywhere: what it left has a row, is not seen, and is swept.
- Keys have the attempt and a random name, and are never used twice: a worker that is only slow writes beside.
- What an attempt makes lies in the local work folder until then. Results that an earlier version left in the data
  folder are found and removed there, too.
"""

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

import structlog

from server.errors import UnavailableError
from server.storage.result_store import CHOSEN_ATTEMPTS, Claims, ResultStore, is_public, no_check
from server.storage.results import Results
from server.storage.s3.bucket import Bucket
from server.storage.s3.cache import LocalCache
from server.storage.s3.checksum import Crc32c
from server.storage.s3.result_ledger import RESULTS, ResultLedger, ResultObject, ResultSet, SetStatus
from server.storage.s3.result_upload import ResultUpload, public_files
from server.storage.s3.signing import Signer
from server.storage.stored_file import StoredFile, stat_of

_MADE = (SetStatus.WRITING, SetStatus.WRITTEN)
_STORED = (SetStatus.PUBLISHED, SetStatus.LEAVING)
_LATE_WRITES = timedelta(hours=1)  # for so long a process that was only slow may still write
_BATCH = 500
_FOLDER = re.compile(rf"{RESULTS}([^/]+)/[^/]+/[^/]+\.([0-9a-f]{{16}})/")
_COPY = re.compile(r"([0-9a-f]{16})\.")
_log = structlog.stdlib.get_logger("videodock.storage")


class BucketResults(ResultStore):
    """Results in a bucket; `local` has the work folders, `cache` copies for programs that read files."""

    is_local = False

    def __init__(
        self,
        *,
        bucket: Bucket,
        ledger: ResultLedger,
        local: Results,
        cache: LocalCache,
        upload: ResultUpload,
        signer: Signer | None = None,
    ) -> None:
        self.ledger = ledger
        self._bucket = bucket
        self.local = local
        self._cache = cache
        self._upload = upload
        self._signer = signer
        # What this process has sealed: by task and attempt, and then by file and step.
        self._made: dict[tuple[str, int], dict[tuple[str, str], ResultSet]] = {}
        self._lock = threading.Lock()

    # What an attempt makes

    def begin(self, task_id: str, attempt: int, file_id: str, step: str) -> Path:
        return self.local.begin(task_id, attempt, file_id, step)

    def seal(self, task_id: str, attempt: int, file_id: str, step: str, check: Callable[[], None] = no_check) -> None:
        folder = self.local.work_folder(task_id, attempt, file_id, step)
        names = public_files(folder)
        if not names:
            return
        made = self.ledger.begin(task_id, attempt, file_id, step)
        with self._lock:
            former = self._made.setdefault((task_id, attempt), {}).pop((file_id, step), None)
            self._made[task_id, attempt][file_id, step] = made
        if former is not None:
            self._tidy([former])
        objects = self._upload.put_all(made.folder, folder, names, check)
        if not self.ledger.seal(made, objects):
            raise UnavailableError(part="store")  # a sweep took this attempt for dead

    def publish(self, task_id: str, attempt: int, file_id: str, step: str, transaction: Any = None) -> None:
        with self._lock:
            made = self._made.get((task_id, attempt), {}).get((file_id, step))
        if made is not None and not self.ledger.publish(made, transaction):
            raise UnavailableError(part="store")

    def replace(
        self,
        task_id: str,
        attempt: int,
        file_id: str,
        step: str,
        name: str,  # noqa: ARG002  # it is all that the step has
        transaction: Any = None,
    ) -> None:
        self.publish(task_id, attempt, file_id, step, transaction)

    def discard(self, task_id: str, attempt: int) -> None:
        self.local.discard(task_id, attempt)
        with self._lock:
            made = self._made.pop((task_id, attempt), {})
        self._tidy(made.values())

    def discard_file(self, task_id: str, attempt: int, file_id: str) -> None:
        self.local.discard_file(task_id, attempt, file_id)
        with self._lock:
            found = self._made.get((task_id, attempt), {})
            made = [found.pop(key) for key in list(found) if key[0] == file_id]
        self._tidy(made)

    def _tidy(self, made: Iterable[ResultSet]) -> None:
        """Delete what was not published, and what was replaced; a sweep does what is impossible now."""
        for one in made:
            try:
                if self.ledger.give_up(one, may_write=False):
                    self._delete(one)
                else:
                    self._delete_leaving(one.task_id, one.file_id)
            except Exception:
                _log.warning("results_left", task=one.task_id, attempt=one.attempt, step=one.step, exc_info=True)

    # What is published

    def look_up(self, task_id: str, file_id: str, name: str) -> StoredFile | None:
        found = self.ledger.find(task_id, file_id, name) if is_public(name) else None
        if found is None:
            return self.local.look_up(task_id, file_id, name)
        key = found[0].folder + name
        return StoredFile(
            stat=stat_of(found[1].size),
            tag=f'"{found[0].id}-{found[1].size:x}"',
            modified=found[0].changed_at,
            read=partial(self._bucket.stream, key),
            sign=None if self._signer is None else partial(self._signer.sign, key),
        )

    def local_path(self, task_id: str, file_id: str, name: str) -> Path | None:
        found = self.ledger.find(task_id, file_id, name) if is_public(name) else None
        if found is None:
            return self.local.local_path(task_id, file_id, name)
        made, one = found
        try:
            copy = f"{made.id}.{name.replace('/', '.')}"
            return self._cache.fetch(copy, one.size, partial(self.verified, made.folder + name, one))
        except FileNotFoundError:  # somebody has deleted the object
            return None

    def names(self, task_id: str, file_id: str) -> Sequence[str]:
        seen = [made for made in self.ledger.sets(task_id, file_id) if made.status is SetStatus.PUBLISHED]
        found = {one.name for made in seen for one in self.ledger.objects(made)}
        return sorted(found.union(self.local.names(task_id, file_id)))

    def has_any(self, task_id: str, file_id: str | None = None) -> bool:
        stored = any(made.status in _STORED for made in self.ledger.sets(task_id, file_id))
        return stored or self.local.has_any(task_id, file_id)

    def bytes_of(self, task_id: str, file_id: str) -> int:
        stored = sum(made.size for made in self.ledger.sets(task_id, file_id) if made.status in _STORED)
        return stored + self.local.bytes_of(task_id, file_id)

    # Removal

    def hide(self, task_id: str, file_id: str, transaction: Any = None) -> None:
        self.ledger.hide(task_id, file_id, transaction)
        self.local.hide(task_id, file_id)

    def remove(self, task_id: str, file_id: str) -> None:
        self._delete_leaving(task_id, file_id)
        self.local.remove(task_id, file_id)

    def remove_empty(self, task_id: str, transaction: Any = None) -> bool:
        is_empty = self.local.remove_empty(task_id)
        return is_empty and not any(made.status in _STORED for made in self.ledger.sets(task_id, None, transaction))

    def _delete_leaving(self, task_id: str, file_id: str) -> None:
        for made in self.ledger.sets(task_id, file_id):
            if made.status is SetStatus.LEAVING:
                self._delete(made)

    def _delete(self, made: ResultSet) -> None:
        """Delete the objects of a set that no process writes, and its rows."""
        objects = self.ledger.objects(made)
        if objects:
            self._bucket.delete([made.folder + one.name for one in objects])
        else:  # it was not written to its end
            self._empty(made)
        for one in objects:
            self._cache.drop(f"{made.id}.{one.name.replace('/', '.')}")
        self.ledger.forget(made)

    def _empty(self, made: ResultSet) -> int:
        """Delete what the bucket has of a set, known or not; returns how much that was."""
        left = list(self._bucket.multiparts(made.folder))
        for key, multipart_id, _ in left:
            self._bucket.abort(key, multipart_id)
        keys = [key for key, _ in self._bucket.keys(made.folder)]
        self._bucket.delete(keys)
        return len(left) + len(keys)

    # Leftovers

    def attempts(self) -> list[tuple[str, int]]:
        return self.local.attempts()

    def in_work(self) -> list[tuple[str, tuple[str, int] | None]]:
        return self.local.in_work()

    def drop_work(self, name: str) -> None:
        self.local.drop_work(name)

    def is_in_work(self, name: str) -> bool:
        return self.local.is_in_work(name)

    def sweep(self, claims: Claims, *, dry_run: bool) -> int:
        found = list(self.ledger.unpublished())  # first: a worker that begins later has claimed its task by then
        working = claims() if any(made.status in _MADE for made in found) else set()
        if not dry_run:
            self._sweep_cache()
        return sum(self._sweep(made, working, dry_run=dry_run) for made in found)

    def _sweep(self, made: ResultSet, working: set[tuple[str, int]], *, dry_run: bool) -> bool:
        """Remove a set, unless it may still be published; returns whether there was something of it."""
        is_late = datetime.now(UTC) - made.changed_at > _LATE_WRITES
        if made.status in _MADE:
            may_live = (made.task_id, made.attempt) in working
            if may_live or (made.attempt >= CHOSEN_ATTEMPTS and not is_late):
                return False
            if dry_run:
                return True
            if not self.ledger.give_up(made, may_write=True):
                return False
            is_written = made.status is SetStatus.WRITTEN
            made, is_late = replace(made, status=SetStatus.LEAVING if is_written else SetStatus.ABANDONED), False
        if made.status is SetStatus.LEAVING:
            if not dry_run:
                self._delete(made)
            return True
        if dry_run:
            return any(True for _ in self._bucket.keys(made.folder))
        number = self._empty(made)
        if is_late:
            self.ledger.forget(made)
        return number > 0

    def _sweep_cache(self) -> None:
        """Remove copies of results that are gone: another host may have deleted them."""
        copies = {name: found[1] for name in self._cache.names() if (found := _COPY.match(name))}
        for name, _ in self._without_row(copies.items()):
            self._cache.drop(name)

    # Inventory

    def tasks(self) -> Iterator[str]:
        return chain(self.local.tasks(), self.ledger.tasks())

    def lacks(self, task_id: str, file_id: str, names: Sequence[str]) -> bool:
        if not set(names) <= set(self.names(task_id, file_id)):
            return True
        there = dict(self._bucket.keys(f"{RESULTS}{task_id}/{file_id}/"))
        seen = [made for made in self.ledger.sets(task_id, file_id) if made.status is SetStatus.PUBLISHED]
        return any(there.get(made.folder + one.name) != one.size for made in seen for one in self.ledger.objects(made))

    def strays(self) -> Iterator[tuple[str, str]]:
        keys = (key for key, _ in self._bucket.keys(RESULTS))
        folders = (folder for folder, _ in groupby(keys, _folder_of))
        named = ((folder, found[2] if (found := _FOLDER.match(folder)) else "") for folder in folders)
        while batch := list(islice(named, _BATCH)):
            for folder, _ in self._without_row(batch):
                # Again: it may have been deleted meanwhile, and then its row.
                if any(True for _ in self._bucket.keys(folder)):
                    yield folder.split("/")[1], folder

    def _without_row(self, of: Iterable[tuple[str, str]]) -> Sequence[tuple[str, str]]:
        """The pairs whose second, the id of a set, is not in a row."""
        pairs = list(of)
        known = self.ledger.known({set_id for _, set_id in pairs}) if pairs else set()
        return [pair for pair in pairs if pair[1] not in known]

    def verified(self, key: str, one: ResultObject) -> Iterator[bytes]:
        """The bytes of an object. Raises `UnavailableError` where their checksum differs."""
        checksum = Crc32c()
        for piece in self._bucket.stream(key, 0, one.size):
            checksum.update(piece)
            yield piece
        if checksum.text != one.crc32c:
            _log.error("bucket_bytes_changed", key=key)
            raise UnavailableError(part="store")


def _folder_of(key: str) -> str:
    found = _FOLDER.match(key)
    return key if found is None else found[0]
