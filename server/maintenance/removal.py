"""Deleting on request: an upload with all its results, or a whole task.

Rules:

- First the rows change, in one transaction (`tasks/removal.py`): from then on no URL answers, and no worker publishes.
  Then the original, the file in quarantine and the results leave the disk, and then `removing` is cleared.
- After an interruption anywhere, the rows show what is left, and the next sweep removes it.
- Files leave the disk under the locks of the upload and of the task. What is locked is left for a sweep.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, literal_column, select, update

from server.database.models import Task, TaskFile
from server.database.session import Database, changed
from server.lifecycle import TASK_MOVES, UploadStatus, ends
from server.maintenance.sweep_report import SweepKind, SweepRound
from server.storage.base import UploadStore
from server.storage.locks import UploadLocks
from server.storage.result_store import ResultStore
from server.tasks import removal
from server.tasks.wake import Wake
from server.tus.protocol import Facts
from server.uploads.deletion import UploadDeletion
from server.uploads.facts import UploadFacts

_BATCH = 500
_PATIENCE_SECONDS = 0.5
_RETRY_SECONDS = 0.02

# Must match the text of an index.
_IS_REMOVING: ColumnElement[bool] = literal_column("task_files.removing")


@dataclass(frozen=True)
class _Leaving:
    """A file of a task of this data folder that is `removed`, and that may have left something on the disk."""

    id: str
    task_id: str
    upload_id: str

    @property
    def locks(self) -> frozenset[str]:
        """Both locks; for the task of a single tus upload they are the same."""
        return frozenset({self.task_id, self.upload_id})


@dataclass(frozen=True, kw_only=True, repr=False)
class Removal:
    """Deletes what a client or an operator wants deleted."""

    database: Database
    store: UploadStore
    locks: UploadLocks
    wake: Wake
    results: ResultStore
    facts: UploadFacts
    deletion: UploadDeletion
    node: str
    clock: Callable[[], datetime]

    async def terminate(self, upload_id: str, owner: str | None, check: Callable[[Facts], None]) -> None:
        """Remove a tus upload, open or complete (tus 1.0.0, section Termination). Raises what `check` raises."""

        def checked() -> None:
            facts = self.facts.of(upload_id, owner)
            check(facts)
            if facts.is_open and facts.group is None:
                # No task refers to it, and under its lock none will: there is nothing else to remove.
                self.deletion.remove(upload_id, UploadStatus.TERMINATED)
            else:
                self.remove_upload(upload_id)

        async with self.locks.hold(upload_id):
            facts = self.facts.at_once(upload_id, owner)
            if facts is not None and facts.is_open and facts.group is None and facts.concat is None:
                check(facts)
                if await self.deletion.terminate_open(facts):
                    return
            await self.database.run(checked)

    def remove_upload(self, upload_id: str) -> bool:
        """Remove an upload, and its file of a task with all results; False when it is gone already.

        Under the upload's lock. Blocking.
        """
        if not self.deletion.remove(upload_id, UploadStatus.TERMINATED):
            return False
        self._end_all(self._leaving(TaskFile.upload_id == upload_id), frozenset({upload_id}))
        return True

    def remove_task(self, task_id: str, owner: str | None, *, even_running: bool) -> bool:
        """Remove a task with its originals and results, whether it waits or has ended; one that runs if `even_running`.

        Returns whether all of it has left the disk; if not, a sweep ends it. A repetition succeeds. `owner` None is
        an operator. Raises `TaskNotFoundError`, `TaskRunningError`. Blocking.
        """
        with self.locks.try_hold(task_id) as held:
            with self.database.write() as session:
                removal.remove_task(session, task_id, owner, even_running=even_running, now=self.clock())
            self.wake.notify()  # its place is free for another task
            return self._end_all(self._leaving(TaskFile.task_id == task_id), frozenset({task_id} if held else ()))

    def sweep(self, this: SweepRound) -> None:
        """End interrupted removals. The sweep removes the originals among them by itself. Blocking."""
        last = ""
        while True:
            some = self._leaving(TaskFile.id > last, _BATCH)
            for file in some:
                with this.one(file.upload_id, file.upload_id) as held:
                    if held:
                        self._sweep(this, file)
            if len(some) < _BATCH:
                return
            last = some[-1].id

    def _sweep(self, this: SweepRound, file: _Leaving) -> None:
        with self._locked(file.locks - {file.upload_id}) as held:
            if held:
                size = self.results.bytes_of(file.task_id, file.id)
                size += self.store.size_in_quarantine(file.upload_id) or 0
                if not this.dry_run:
                    self._end(file)
                this.report.add(SweepKind.REMOVED_RESULTS, size=size)

    def _leaving(self, of: ColumnElement[bool], limit: int | None = None) -> Sequence[_Leaving]:
        mine = Task.node == self.node
        query = select(TaskFile.id, TaskFile.task_id, TaskFile.upload_id).join(Task, Task.id == TaskFile.task_id)
        with self.database.read() as session:
            found = session.execute(query.where(_IS_REMOVING, mine, of).order_by(TaskFile.id).limit(limit))
            return [_Leaving(*row) for row in found]

    def _end_all(self, files: Sequence[_Leaving], held: frozenset[str]) -> bool:
        """Delete these files, whose locks are held; returns whether all could be deleted within half a second."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            files = [file for file in files if not self._try_end(file, held)]
            if not files or time.monotonic() > deadline:
                return not files
            time.sleep(_RETRY_SECONDS)

    def _try_end(self, file: _Leaving, held: frozenset[str]) -> bool:
        with self._locked(file.locks - held) as is_mine:
            if is_mine:
                self.deletion.delete_bytes(file.upload_id)
                self._end(file)
        if not is_mine:
            self.locks.request_release(file.upload_id)
        return is_mine

    def _end(self, file: _Leaving) -> None:
        self.deletion.delete_from_quarantine(file.upload_id)
        self.results.delete(file.task_id, file.id)
        with self.database.write() as session:
            # A worker that publishes a result of another file locks this row too.
            held = select(Task.status).where(Task.id == file.task_id).with_for_update()
            has_ended = session.scalar(held) in ends(TASK_MOVES)
            changed(session, update(TaskFile).where(TaskFile.id == file.id).values(removing=False))
            if has_ended and self.results.remove_empty(file.task_id, session):
                changed(session, update(Task).where(Task.id == file.task_id).values(has_results=False))

    @contextmanager
    def _locked(self, names: Iterable[str]) -> Iterator[bool]:
        """Hold these locks, all of them or none; yields whether they are held."""
        with ExitStack() as stack:
            yield all(stack.enter_context(self.locks.try_hold(name)) for name in sorted(names))
