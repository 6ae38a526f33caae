"""GET on an upload: the bytes of a complete one, whole or in ranges (RFC 9110).

Rule: only whoever `downloads` lets in learns anything, and only complete uploads are shown, never their parts.
Nothing here moves a byte or takes a lock: `FileResponse` reads the store's file, which is complete and so never
changes, and whose id is never used twice. It may be deleted while it is read; who has it open reads it to its end.

What FileResponse takes badly is settled before it sees the request: it answers a Range that it cannot read with
400, where RFC 9110 section 14.2 has it ignored, refuses all ranges for the sake of one, and begins an answer before
it has opened the file.
"""

import os
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import quote

from sqlalchemy import select
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from server import filenames, media_types, threads
from server.database.models import DEFAULT_OWNER, Upload
from server.errors import (
    DownloadsOffError,
    PreconditionFailedError,
    RangeUnsatisfiableError,
    UploadGoneError,
    UploadIncompleteError,
    UploadPartialError,
)
from server.lifecycle import UploadStatus
from server.services import Services
from server.tus.headers import Head
from server.tus.protocol import Facts, check_upload
from server.web.endpoint import Call
from server.web.errors import known, tus_response

_BYTES = re.compile(r"(?i:bytes)=(.*)")
_RANGE = re.compile(r"([0-9]{0,999})-([0-9]{0,999})")
_TAG = re.compile(r'(W/)?"([^"]*)"')
_DATE = re.compile(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT")
_DATE_FORMAT = "%a, %d %b %Y %H:%M:%S GMT"

Finish = Callable[[Response, Scope], Response]


class Downloads:
    """Originals, for those who may see them."""

    def __init__(self, services: Services, finish: Finish) -> None:
        """`finish` gives a refusal the headers of its mount."""
        self._settings = services.settings
        self._database = services.database
        self._store = services.store
        self._uploads = services.uploads
        self._finish = finish

    async def get(self, call: Call) -> Response:
        """Answer GET on an upload. Raises `DownloadsOffError`, `UploadNotFoundError`, `UploadGoneError`,
        `UploadPartialError`, `UploadIncompleteError` and `PreconditionFailedError`.
        """
        if self._settings.downloads == "off":
            raise DownloadsOffError  # before anything is looked up: it must not tell which uploads there are
        facts, completed = await self._database.run(self._find, call.request.path_params["upload_id"])
        path = self._store.local_path(facts.id)
        try:
            stat = await threads.run(os.stat, path)
        except FileNotFoundError:
            raise UploadGoneError from None
        if stat.st_size != facts.length:
            raise RuntimeError(f"upload {facts.id} is complete with {facts.length} bytes and has {stat.st_size}")

        tag = f'"{facts.id}-{stat.st_size:x}-{int(completed.timestamp() * 1e6):x}"'
        headers = {
            "ETag": tag,
            "Last-Modified": format_datetime(completed, usegmt=True),
            # A copy may be kept, but not shown without asking: who may see it, and whether it exists, can change.
            "Cache-Control": "private, no-cache",
        }
        if _is_unchanged(call.head, tag, completed):
            return Response(status_code=304, headers=headers)
        ranges = _ranges(call.head, stat.st_size, tag, headers["Last-Modified"])
        if ranges is not None and not ranges:
            refusal = tus_response(RangeUnsatisfiableError(size=stat.st_size), call.scope)
            refusal.headers["Content-Range"] = f"bytes */{stat.st_size}"
            return refusal
        headers["Content-Disposition"] = disposition(_name(facts))
        headers["X-Content-Type-Options"] = "nosniff"
        return _Original(path, stat, _media_type(facts), headers, ranges, self._refuse)

    def _find(self, upload_id: str) -> tuple[Facts, datetime]:
        """An upload that may be downloaded, and when it became complete. Blocking."""
        facts = self._uploads.facts(upload_id, DEFAULT_OWNER)
        if facts.status is UploadStatus.REJECTED:
            raise UploadGoneError  # 415 would be about the type of what a GET brings, and that brings nothing
        check_upload(facts)
        if facts.is_partial:
            raise UploadPartialError
        with self._database.read() as session:
            completed = session.scalar(select(Upload.completed_at).where(Upload.id == upload_id))
        if not facts.is_complete or completed is None:
            raise UploadIncompleteError
        return facts, completed

    def _refuse(self, error: OSError, scope: Scope) -> Response:
        why = UploadGoneError() if isinstance(error, FileNotFoundError) else known(error, scope)
        return self._finish(tus_response(why, scope), scope)


class _Original(FileResponse):
    """The file, in the ranges that were found good; it says nothing before the file is open."""

    def __init__(
        self,
        path: os.PathLike[str],
        stat: os.stat_result,
        media_type: str,
        headers: dict[str, str],
        ranges: Sequence[str] | None,
        refuse: Callable[[OSError, Scope], Response],
    ) -> None:
        super().__init__(path, headers=headers, media_type=media_type, stat_result=stat)
        self._ranges = ranges
        self._refuse_open = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Another method may have stood in the request (X-HTTP-Method-Override), and conditions were judged already.
        others = [(name, value) for name, value in scope["headers"] if name not in (b"range", b"if-range")]
        if self._ranges:
            others.append((b"range", f"bytes={','.join(self._ranges)}".encode()))
        held: list[Message] = []
        is_open = False

        async def send_when_open(message: Message) -> None:
            nonlocal is_open
            if message["type"] == "http.response.start":
                held.append(message)
                return
            is_open = True
            while held:
                await send(held.pop())
            await send(message)

        try:
            await super().__call__({**scope, "method": "GET", "headers": others}, receive, send_when_open)
        except OSError as error:
            if is_open:
                raise  # half an answer cannot be taken back
            await self._refuse_open(error, scope)(scope, receive, send)


def disposition(name: str) -> str:
    """Content-Disposition (RFC 6266) for a name that `filenames.safe` made: it has no quote and no backslash."""
    plain = re.sub(r"[^ -$&-~]", "_", name)  # some browsers decode a `%` here
    if plain == name:
        return f'attachment; filename="{name}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _name(facts: Facts) -> str:
    if facts.filename:
        return filenames.safe(facts.filename)
    return filenames.FALLBACK + (f".{media_types.get(facts.media_type).extensions[0]}" if facts.media_type else "")


def _media_type(facts: Facts) -> str:
    return media_types.get(facts.media_type).media_type if facts.media_type else "application/octet-stream"


def _is_unchanged(head: Head, tag: str, completed: datetime) -> bool:
    """Whether the client has these bytes already (RFC 9110 section 13.2.2, in its order).

    Raises `PreconditionFailedError` when it wants others than these.
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
    """Entity tags of a list header, as they came; None where there is none. They are a list: it may come twice."""
    values = head.headers.get(name)
    if values is None:
        return None
    text = ",".join(values)
    return {"*"} if text.strip() == "*" else {found[0] for found in _TAG.finditer(text)}


def _date(head: Head, name: str) -> datetime | None:
    """An IMF-fixdate; None for what is none, which a condition must ignore."""
    values = head.headers.get(name, ())
    if len(values) != 1 or not _DATE.fullmatch(values[0]):
        return None
    try:
        return datetime.strptime(values[0], _DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None


def _ranges(head: Head, size: int, tag: str, modified: str) -> list[str] | None:
    """The ranges that can be sent, out of those asked for; None for everything (RFC 9110 section 14).

    None can be sent: an empty list. A Range that cannot be understood, of other units or of too many parts, or one
    whose If-Range is for other bytes, asks for everything.
    """
    values = head.headers.get("range", ())
    conditions = head.headers.get("if-range", ())
    asked = _BYTES.fullmatch(values[0]) if len(values) == 1 else None
    if asked is None or size == 0 or (conditions and conditions not in ((tag,), (modified,))):
        return None
    specs = [spec.strip(" \t") for spec in asked[1].split(",")]
    specs = [spec for spec in specs if spec]  # a list may have empty elements (section 5.6.1)
    if not specs or len(specs) > FileResponse.max_ranges:
        return None
    good = []
    for spec in specs:
        found = _RANGE.fullmatch(spec)
        if found is None or spec == "-" or (found[1] and found[2] and int(found[2]) < int(found[1])):
            return None
        if int(found[1]) < size if found[1] else int(found[2]) > 0:
            good.append(spec)
    return good
