"""The files of one form: together they become one task, or nothing of them stays.

Rule: nobody but the request that brings them knows these uploads, so they need no locks of their own. The form
holds the lock of its task instead; an open upload of a form whose lock is free was abandoned by a process that
died, and the sweep removes it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import anyio

from server import media_types, threads
from server.errors import FileEmptyError, FileTooLargeError, TooLargeToScanError, TooManyFilesError
from server.messages import size as shown
from server.transport.body import Body, End, Moved
from server.uploads import UploadService


@dataclass
class Form:
    """A form that is being received."""

    uploads: UploadService
    owner: str
    task_id: str
    taken: dict[str, str | None] = field(default_factory=dict)
    finished: bool = False

    async def take(self, filename: str, body: Body) -> Moved:
        """Store one file; tells how its body ended. The name and the first bytes are judged before it is stored.

        Raises `MediaTypeUnsupportedError`, `FileEmptyError`, `FileTooLargeError` (`TooLargeToScanError`),
        `TooManyFilesError`; then nothing of the file is kept and the rest of its body is the caller's to drain.
        """
        settings = self.uploads.settings
        self.uploads.hooks.pre_create(filename)
        if len(self.taken) >= settings.max_files:
            raise TooManyFilesError(limit=settings.max_files)
        head, end = await body.peek(media_types.SNIFF_BYTES)
        if end not in (End.LIMIT, End.COMPLETE):
            return Moved(0, end)
        if not head:
            raise FileEmptyError
        return await self._store(filename, self.uploads.hooks.check_content(filename, head), body)

    async def _store(self, filename: str, media_type: str | None, body: Body) -> Moved:
        upload_id = self.uploads.new_id()
        self.taken[upload_id] = media_type
        await self.uploads.database.run(
            partial(
                self.uploads.insert,
                upload_id,
                self.owner,
                protocol="multipart",
                task_id=self.task_id,
                length=None,
                metadata_raw=None,
                filename=filename,
                media_type=media_type,
            )
        )
        allowed, scanned = int(self.uploads.settings.max_file_size), self.uploads.hooks.scan_limit
        limit = allowed if scanned is None else min(allowed, scanned)
        moved = await self.uploads.store.append(upload_id, 0, body, limit)
        if moved.end is End.LIMIT:
            extra, end = await body.peek(1)
            if extra:
                del self.taken[upload_id]
                await self.uploads.database.run(self.uploads.forget, [upload_id])
                raise (TooLargeToScanError if limit == scanned else FileTooLargeError)(limit=shown(limit))
            moved = Moved(moved.count, end)
        return moved

    async def finish(self) -> None:
        """Every file is there: make it so for good, and register the task."""
        for upload_id in self.taken:
            await threads.run(self.uploads.store.finish, upload_id)
        await self.uploads.database.run(self.uploads.complete, list(self.taken), self.task_id, self.taken)
        self.finished = True


@asynccontextmanager
async def receive_form(uploads: UploadService, owner: str) -> AsyncIterator[Form]:
    """A form to put files into; unless it is finished, nothing of it stays."""
    task_id = uploads.new_id()
    async with uploads.locks.hold(task_id):
        form = Form(uploads, owner, task_id)
        try:
            yield form
        finally:
            if form.taken and not form.finished:
                # Also when the server stops and cancels this request.
                with anyio.CancelScope(shield=True):
                    await uploads.database.run(uploads.forget, list(form.taken))
