"""GET on an upload: the bytes of a complete one, whole or in ranges (RFC 9110).

Rule: without the setting `downloads` a response reveals nothing. Only complete uploads are shown, never their parts;
where a virus scanner is set, only those that have passed it.
Nothing here moves a byte or takes a lock: `StoredFileResponse` sends the store's file, which is complete and so never
changes, and whose id is never used twice. It may be deleted while it is sent; an open file is sent to its end.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from pathlib import PurePath
from urllib.parse import quote

from sqlalchemy import select
from starlette.responses import Response
from starlette.types import Scope

from server import filenames, media_types, threads
from server.bootstrap import Services
from server.database.models import Task, TaskFile, Upload
from server.errors import (
    DownloadsOffError,
    PreconditionFailedError,
    RangeUnsatisfiableError,
    UploadGoneError,
    UploadIncompleteError,
    UploadInfectedError,
    UploadPartialError,
    UploadUnscannedError,
)
from server.storage.stored_file import StoredFile, file_at, stat_of
from server.tus.headers import Head
from server.tus.protocol import Facts, check_upload
from server.web.access import Access, Right
from server.web.endpoint import Call
from server.web.errors import known, tus_response
from server.web.file_response import ranges
from server.web.query import Query
from server.web.stored_response import respond

_TAG = re.compile(r'(W/)?"([^"]*)"')
_DATE = re.compile(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT")
_DATE_FORMAT = "%a, %d %b %Y %H:%M:%S GMT"

Finish = Callable[[Response, Scope], Response]


class Downloads:
    """Originals, for clients that may see them."""

    def __init__(self, services: Services, finish: Finish) -> None:
        """`finish` gives a refusal the headers of its mount."""
        self._settings = services.settings
        self._database = services.database
        self._store = services.store
        self._facts = services.facts
        self._finish = finish
        self._access = Access(services)

    async def get(self, call: Call) -> Response:
        """Answer GET on an upload. Raises `DownloadsOffError`, `UploadNotFoundError`, `UploadGoneError`,
        `UploadPartialError`, `UploadIncompleteError`, `UploadUnscannedError`, `UploadInfectedError` and
        `PreconditionFailedError`.
        """
        if self._settings.downloads == "off":
            raise DownloadsOffError  # before any lookup: the response must not reveal which uploads there are
        facts, completed, title = await self._database.run(self._find, call.right)
        asking = call.right.principal
        if asking is not None and facts.owner != asking.owner:
            await self._access.audit(call.scope, "foreign_original_read", call.right, "upload", facts.owner)
        file = await threads.run(self._stored, facts, completed)
        if file.size != facts.length:
            raise RuntimeError(f"upload {facts.id} is complete with {facts.length} bytes and has {file.size}")

        tag = file.tag
        headers = {
            "ETag": tag,
            "Last-Modified": format_datetime(completed, usegmt=True),
            # A copy may be stored, but only shown after revalidation: access, and whether it exists, can change.
            "Cache-Control": "private, no-cache",
        }
        if is_unchanged(call.head, tag, completed):
            return Response(status_code=304, headers=headers)
        found = ranges(call.head, file.size, tag, headers["Last-Modified"])
        if found is not None and not found:
            refusal = tus_response(RangeUnsatisfiableError(size=file.size), call.scope)
            refusal.headers["Content-Range"] = f"bytes */{file.size}"
            return refusal
        name = _name(facts)
        if title and Query(call.request).flag("download"):
            name = download_name(title, name, PurePath(name).suffix)
        headers["Content-Disposition"] = disposition(name)
        headers["X-Content-Type-Options"] = "nosniff"
        kind, method = _media_type(facts), call.head.method
        return await respond(file, kind, headers, found, self._refuse, self._settings, method=method)

    def _stored(self, facts: Facts, completed: datetime) -> StoredFile:
        """The upload's bytes. Blocking. Raises `UploadGoneError`."""
        if self._store.is_local:
            path = self._store.local_path(facts.id)
            file = file_at(path)
        else:
            size, read = self._store.size(facts.id), partial(self._store.stream, facts.id)
            sign = self._store.signer_of(facts.id)
            file = (
                None
                if size is None
                else StoredFile(stat=stat_of(size), tag="", modified=completed, read=read, sign=sign)
            )
        if file is None:
            raise UploadGoneError
        return replace(file, tag=f'"{facts.id}-{file.size:x}-{int(completed.timestamp() * 1e6):x}"', modified=completed)

    def _find(self, right: Right) -> tuple[Facts, datetime, str | None]:
        """An upload that may be downloaded, when it became complete, and its title if it is alone in its task.

        Blocking.
        """
        facts = self._facts.of(right.id, right.owner)
        if facts.is_rejected:
            raise UploadGoneError  # not 415, which would be about the type of a response that a GET cannot have
        check_upload(facts)
        if facts.is_partial:
            raise UploadPartialError
        with self._database.read() as session:
            completed = session.scalar(select(Upload.completed_at).where(Upload.id == right.id))
            of_task = select(TaskFile.scan, Task.title, Task.file_count).join(Task, Task.id == TaskFile.task_id)
            file = session.execute(of_task.where(TaskFile.upload_id == right.id)).one_or_none()
        if not facts.is_complete or completed is None:
            raise UploadIncompleteError
        self._check_scan(None if file is None else file.scan)
        return facts, completed, file.title if file is not None and file.file_count == 1 else None

    def _check_scan(self, scan: str | None) -> None:
        """Whether a file with this value of `task_files.scan` may be downloaded."""
        if scan == "infected":
            raise UploadInfectedError
        # `skipped` is not a pass: the file came in without a scanner.
        passed = {"clean", "too_large"} if self._settings.scan_too_large == "mark" else {"clean"}
        if self._settings.clamd and scan not in passed:
            raise UploadUnscannedError

    def _refuse(self, error: Exception, scope: Scope) -> Response:
        why = UploadGoneError() if isinstance(error, FileNotFoundError) else known(error, scope)
        return self._finish(tus_response(why, scope), scope)


def disposition(name: str) -> str:
    """Content-Disposition (RFC 6266) for a name that `filenames.safe` made: it has no quote and no backslash."""
    plain = re.sub(r"[^ -$&-~]", "_", name)  # some browsers decode a `%` here
    if plain == name:
        return f'attachment; filename="{name}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def download_name(title: str | None, name: str, suffix: str) -> str:
    """The name under which a file is saved: the title that its owner gave it, else its own, with this suffix."""
    stem = re.sub(r"[/\\]", "_", title) if title else PurePath(filenames.base(name)).stem
    return filenames.safe(stem + suffix)


def _name(facts: Facts) -> str:
    if facts.filename:
        return filenames.safe(facts.filename)
    return filenames.FALLBACK + (f".{media_types.get(facts.media_type).extensions[0]}" if facts.media_type else "")


def _media_type(facts: Facts) -> str:
    return media_types.get(facts.media_type).media_type if facts.media_type else "application/octet-stream"


def is_unchanged(head: Head, tag: str, completed: datetime) -> bool:
    """Whether the client has these bytes already (RFC 9110 section 13.2.2, in its order).

    Raises `PreconditionFailedError` when it wants another version.
    """
    modified = completed.replace(microsecond=0)
    match = _tags(head, "if-match")
    if match is not None:
        if not {"*", tag} & match:
            raise PreconditionFailedError
    elif (since := _date(head, "if-unmodified-since")) is not None and modified > since:
        raise PreconditionFailedError
    none_match = _tags(head, "if-none-match")
    if none_match is not None:
        return bool({"*", tag, f"W/{tag}"} & none_match)
    since = _date(head, "if-modified-since")
    return since is not None and modified <= since


def _tags(head: Head, name: str) -> set[str] | None:
    """Entity tags of a list header, as they came; None without the header. It is a list, so it may come twice."""
    values = head.headers.get(name)
    if values is None:
        return None
    text = ",".join(values)
    return {"*"} if text.strip() == "*" else {found[0] for found in _TAG.finditer(text)}


def _date(head: Head, name: str) -> datetime | None:
    """An IMF-fixdate; None for an invalid one, which a condition must ignore."""
    values = head.headers.get(name, ())
    if len(values) != 1 or not _DATE.fullmatch(values[0]):
        return None
    try:
        return datetime.strptime(values[0], _DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None
