"""What the tus mount must answer to any sequence of requests: a model in plain Python.

Rule: it is written from the specification and from the rules that clients need, imports nothing of the server, and
knows no file, no SQL, no lock and no time. Whoever drives it tells what arrived when a connection was cut, and when
an upload is old; ids are the server's to choose.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

MAX_SIZE = 310_000
MAX_WAITING = 8  # finals, for one part
SNIFFED = 64
ANY = "(any)"
OWN_ID = "(its id)"
ACCEPTED = (None, "clip.mp4", "clip.mov")


class Status(StrEnum):
    """Where an upload stands, in the words of its row."""

    OPEN = "open"
    COMPLETE = "complete"
    REJECTED = "rejected"
    EXPIRED = "expired"
    TERMINATED = "terminated"


class Check(StrEnum):
    """What a request says about the checksum of its body."""

    NONE = "none"
    RIGHT = "right"
    WRONG = "wrong"
    UNKNOWN = "an unknown algorithm"
    TRAILER_RIGHT = "right, in a trailer"
    TRAILER_WRONG = "wrong, in a trailer"
    TRAILER_MISSING = "announced, and no trailer"

    @property
    def is_trailing(self) -> bool:
        """Whether it comes behind the body."""
        return self in (Check.TRAILER_RIGHT, Check.TRAILER_WRONG, Check.TRAILER_MISSING)

    @property
    def is_right(self) -> bool:
        """Whether the bytes are what it says."""
        return self in (Check.NONE, Check.RIGHT, Check.TRAILER_RIGHT)


@dataclass(frozen=True)
class ObservedAnswer:
    """What an answer says: its status, error code (empty where there is none), headers that matter, and bytes."""

    status: int
    code: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(eq=False)
class Upload:
    """One upload. `data` is what the store has, None where it has no file."""

    length: int | None
    metadata: str | None
    name: str | None
    concat: str | None = None
    parts: tuple["Upload", ...] = ()
    id: str = ""
    status: Status = Status.OPEN
    data: bytes | None = b""
    is_old: bool = False
    task: str | None = None
    was_cancelled: bool = False  # before its task was removed
    was_deleted_as_task: bool = False
    may_be_terminated: bool = False  # two orders of work are allowed, and only the row tells which one it was

    @property
    def offset(self) -> int:
        """Bytes that count."""
        return len(self.data or b"")

    @property
    def is_partial(self) -> bool:
        """Whether it is a part of another to come."""
        return self.concat == "partial"

    @property
    def is_final(self) -> bool:
        """Whether it is made of parts."""
        return bool(self.parts)

    def end(self, status: Status) -> None:
        """It is over, and its bytes are gone."""
        self.status, self.data = status, None


@dataclass(frozen=True)
class Append:
    """A PATCH, or the body of a POST. `length` is Upload-Length, where a PATCH tells it."""

    offset: int | None
    body: bytes
    chunked: bool = False
    length: int | None = None
    check: Check = Check.NONE
    right_version: bool = True
    right_type: bool = True


@dataclass(frozen=True)
class Create:
    """A POST on the collection; `length` None is deferred. A `first` without bytes is no body, chunked or not."""

    length: int | None
    metadata: str | None = None
    name: str | None = None
    is_partial: bool = False
    first: Append = Append(0, b"")

    @property
    def has_body(self) -> bool:
        """Whether the request brings a byte; its framing says nothing of that."""
        return bool(self.first.body)


def judge(name: str | None, head: bytes) -> str:
    """The code with which an upload of this name and these first bytes is refused; empty when it is a video."""
    if not head:
        return "file_empty"
    is_video = head.startswith(b"\x00\x00\x00\x18ftypmp42") and name in ACCEPTED
    return "" if is_video else "media_type_mismatch"


class Model:
    """All uploads, and what each request must be answered with. Each method is one request, or one event."""

    def __init__(self, *, has_trailers: bool) -> None:
        self.uploads: list[Upload] = []
        self._has_trailers = has_trailers

    # Requests

    def create(self, create: Create, arrived: int | None = None) -> tuple[ObservedAnswer, Upload | None]:
        """POST; `arrived` is how many bytes of its body came before the connection was cut."""
        refused = self.refusal_of(create)
        if refused:
            return refused, None
        concat = "partial" if create.is_partial else None
        upload = Upload(create.length, create.metadata, create.name, concat)
        self.uploads.append(upload)
        said = None
        if create.length == 0:
            # Every byte is there already: it is complete before anybody looks at a body.
            said = self._receive(upload, Append(0, b""), None)
            if said is None and create.has_body:
                said = ObservedAnswer(409, "upload_complete", {"upload-offset": "0"})
        elif create.has_body:
            said = self._receive(upload, create.first, arrived)
        if said is not None and said.status >= 400:
            # The client must learn where its upload is, unless there is none any more.
            where = {} if said.status == 415 else {"location": ANY}
            return ObservedAnswer(said.status, said.code, {**said.headers, **where}), upload
        return ObservedAnswer(201, headers={**self._progress(upload), "location": ANY}), upload

    def create_final(
        self, parts: list[Upload], metadata: str | None, name: str | None, concat: str
    ) -> tuple[ObservedAnswer, Upload | None]:
        """POST with `Upload-Concat: final;…`. The same one again, while the first is open or complete, is that one."""
        if len(set(parts)) < len(parts):
            return ObservedAnswer(400, "part_repeated"), None
        if name == "notes.txt":
            return ObservedAnswer(415, "media_type_unsupported"), None
        again = next((it for it in self.uploads if _is_same_final(it, parts, metadata)), None)
        if again is not None:
            return ObservedAnswer(201, headers={"upload-offset": "0", **self._progress(again), "location": ANY}), again
        if not all(part.is_partial and part.status in (Status.OPEN, Status.COMPLETE) for part in parts):
            return ObservedAnswer(400, "part_invalid"), None
        lengths = [part.length for part in parts]
        known = [length for length in lengths if length is not None]
        if sum(known) > MAX_SIZE:
            return ObservedAnswer(413, "upload_too_large"), None
        if any(len(self._finals(part, Status.OPEN)) >= MAX_WAITING for part in parts):
            return ObservedAnswer(409, "too_many_finals"), None
        length = sum(known) if len(known) == len(lengths) else None
        upload = Upload(length, metadata, name, concat, tuple(parts), data=None)
        self.uploads.append(upload)
        code = self._join(upload)
        if code:
            return ObservedAnswer(415, code), upload
        return ObservedAnswer(201, headers={"upload-offset": "0", **self._progress(upload), "location": ANY}), upload

    def append(self, upload: Upload, append: Append, arrived: int | None = None) -> ObservedAnswer:
        """PATCH; `arrived` is how many bytes of its body came before the connection was cut."""
        refused = self.refusal(upload, append)
        if refused:
            return refused
        if upload.status is Status.OPEN:
            refused = self._receive(upload, append, arrived)
        said = refused or ObservedAnswer(204, headers=self._progress(upload))
        self._join_waiting(upload)  # afterwards: a part may be given up by that
        return said

    def head(self, upload: Upload) -> ObservedAnswer:
        """HEAD."""
        refused = _gone(upload)
        if refused:
            return ObservedAnswer(refused.status)
        headers = self._progress(upload)
        if upload.length is not None:
            headers["upload-length"] = str(upload.length)
        elif not upload.is_final:
            headers["upload-defer-length"] = "1"
        for header, value in (("upload-metadata", upload.metadata), ("upload-concat", upload.concat)):
            if value is not None:
                headers[header] = value
        return ObservedAnswer(200, headers=headers)

    def get(self, upload: Upload) -> ObservedAnswer:
        """GET, where originals are handed out."""
        if _gone(upload):
            return ObservedAnswer(410, "upload_gone")
        if upload.is_partial:
            return ObservedAnswer(403, "upload_partial")
        if upload.status is not Status.COMPLETE:
            return ObservedAnswer(404, "upload_incomplete")
        return ObservedAnswer(200, body=upload.data)

    def delete(self, upload: Upload) -> ObservedAnswer:
        """DELETE."""
        refused = _gone(upload)
        if refused:
            return refused
        upload.end(Status.TERMINATED)
        self.remove_task(upload)
        self._end_finals(upload)
        return ObservedAnswer(204)

    def remove_task(self, upload: Upload) -> None:
        """The task of a complete upload is removed with it."""
        if upload.task and upload.task != "removed":
            upload.was_cancelled = upload.task == "cancelled"
            upload.task = "removed"

    def refusal(self, upload: Upload, append: Append) -> ObservedAnswer | None:
        """Why a PATCH is refused before a byte of its body is read; None where it is not."""
        return next(self._refuse_append(upload, append), None)

    # Events

    def sweep(self) -> tuple[int, int]:
        """What a sweep removes: uploads that expired unfinished, and parts that nobody needs or wants any more."""
        expired = 0
        for is_final in (False, True):
            for upload in self.uploads:
                if upload.status is Status.OPEN and upload.is_old and upload.is_final == is_final:
                    upload.end(Status.EXPIRED)
                    self._end_finals(upload)
                    expired += 1
        parts = [upload for upload in self.uploads if upload.status is Status.COMPLETE and upload.is_partial]
        joined = [part for part in parts if self._was_joined(part) and not self._finals(part, Status.OPEN)]
        stale = [part for part in parts if part.is_old and part not in joined]
        for part in joined:
            part.end(Status.TERMINATED)
        for part in stale:
            part.end(Status.EXPIRED)
            self._end_finals(part)
        return expired, len(joined) + len(stale)

    # How it comes to that

    def refusal_of(self, create: Create) -> ObservedAnswer | None:
        """Why a POST is refused before there is an upload; None where it is not."""
        first = create.first
        room = MAX_SIZE if create.length is None else create.length
        refusals = (
            (not first.right_version, ObservedAnswer(412, "version_unsupported")),
            (room > MAX_SIZE, ObservedAnswer(413, "upload_too_large")),
            (create.has_body and not first.right_type, ObservedAnswer(415, "content_type_unsupported")),
            (not first.chunked and len(first.body) > room, ObservedAnswer(413, "body_too_large")),
            (create.has_body and first.check is Check.UNKNOWN, ObservedAnswer(400, "checksum_unsupported")),
            (create.has_body and self._is_trailer_refused(first), ObservedAnswer(400, "extension_unsupported")),
            (not create.is_partial and create.name == "notes.txt", ObservedAnswer(415, "media_type_unsupported")),
        )
        return next((said for is_refused, said in refusals if is_refused), None)

    def _refuse_append(self, upload: Upload, append: Append) -> Iterator[ObservedAnswer]:
        """Every reason to refuse a PATCH before a byte of it is read, in the order in which they count."""
        yield from _refuse_head(append)
        gone = _gone(upload)
        if gone:
            yield gone
        if upload.is_final:
            yield ObservedAnswer(403, "upload_final")
        truth = {"upload-offset": str(upload.offset)}
        if append.offset != upload.offset:
            yield ObservedAnswer(409, "offset_mismatch", truth)
        yield from self._refuse_length(upload, append)
        room = _room(upload, append)
        is_whole = upload.status is Status.COMPLETE
        if is_whole and append.body and not append.chunked:
            yield ObservedAnswer(409, "upload_complete", truth)
        if not append.chunked and len(append.body) > room:
            yield ObservedAnswer(413, "body_too_large")
        if self._is_trailer_refused(append):
            yield ObservedAnswer(400, "extension_unsupported")
        if is_whole and append.body:  # only its first byte tells of a chunked one that it is not empty
            yield ObservedAnswer(409, "upload_complete", truth)

    def _refuse_length(self, upload: Upload, append: Append) -> Iterator[ObservedAnswer]:
        if append.length is None:
            return
        if upload.length is not None:
            if append.length != upload.length:
                yield ObservedAnswer(400, "header_invalid")
            return
        if append.length > MAX_SIZE:
            yield ObservedAnswer(413, "upload_too_large")
        if append.length < upload.offset:
            yield ObservedAnswer(400, "header_invalid")

    def _is_trailer_refused(self, append: Append) -> bool:
        return append.check.is_trailing and not self._has_trailers

    def _receive(self, upload: Upload, append: Append, arrived: int | None) -> ObservedAnswer | None:
        """Take in a body that was not refused; the refusal that its bytes earn, if they do."""
        got = append.body[:arrived]
        room = _room(upload, append)
        whole = append.length if upload.length is None else upload.length
        limit = room if append.chunked else len(append.body)
        head = ((upload.data or b"") + got[:limit])[:SNIFFED]
        is_due = len(head) == SNIFFED or upload.offset + min(len(got), limit) == whole
        if is_due and not upload.is_partial and upload.offset < SNIFFED:
            code = judge(upload.name, head)
            if code:
                upload.end(Status.REJECTED)
                return ObservedAnswer(415, code)
        if len(got) > limit:
            return ObservedAnswer(413, "body_too_large")  # nothing stays of a chunked body that does not fit
        is_whole = arrived is None or (not append.chunked and arrived >= len(append.body))
        if is_whole and not append.check.is_right:
            return ObservedAnswer(460, "checksum_mismatch")
        upload.length = whole  # what a head said counts, also when its body is cut off; but not when it is refused
        if is_whole or append.check is Check.NONE:
            upload.data = (upload.data or b"") + got
        if upload.offset == upload.length:
            self._complete(upload)
        return None

    def _complete(self, upload: Upload) -> None:
        upload.status = Status.COMPLETE
        if not upload.is_partial:
            upload.task = "uploaded"

    def _join_waiting(self, part: Upload) -> None:
        """Join the finals that waited for this part, if it is complete."""
        waiting = self._finals(part, Status.OPEN)
        for final in waiting:
            self._join(final)
        # Which of them was first is nobody's business; but it may leave a part to the next sweep.
        joined = {part for final in waiting if final.status is Status.COMPLETE for part in final.parts}
        refused = {part for final in waiting if final.status is Status.REJECTED for part in final.parts}
        for part in joined & refused:
            part.may_be_terminated = True

    def _join(self, final: Upload) -> str:
        """Join the parts when all are there; the code when what comes of it is refused."""
        if any(part.status is not Status.COMPLETE for part in final.parts):
            return ""
        data = b"".join(part.data or b"" for part in final.parts)
        code = judge(final.name, data[:SNIFFED])
        if code:
            final.end(Status.REJECTED)
            return code
        final.status, final.data, final.length, final.task = Status.COMPLETE, data, len(data), "uploaded"
        for part in final.parts:
            if part.status is Status.COMPLETE and not self._finals(part, Status.OPEN):
                part.end(Status.TERMINATED)
        return ""

    def _was_joined(self, part: Upload) -> bool:
        # Also into one that was deleted since.
        return any(upload.task for upload in self.uploads if part in upload.parts)

    def _end_finals(self, part: Upload) -> None:
        """A part is gone: what waits for it can never be joined."""
        for final in self._finals(part, Status.OPEN):
            final.end(Status.TERMINATED)

    def _finals(self, part: Upload, status: Status) -> list[Upload]:
        return [upload for upload in self.uploads if part in upload.parts and upload.status is status]

    def _progress(self, upload: Upload) -> dict[str, str]:
        is_complete = upload.status is Status.COMPLETE
        headers = {}
        if is_complete or not upload.is_final:
            headers["upload-offset"] = str(upload.offset)
        if is_complete and not upload.is_partial:
            headers["upload-task"] = OWN_ID
        else:
            headers["upload-expires"] = ANY
        return headers


def _refuse_head(append: Append) -> Iterator[ObservedAnswer]:
    if not append.right_version:
        yield ObservedAnswer(412, "version_unsupported")
    if not append.right_type:
        yield ObservedAnswer(415, "content_type_unsupported")
    if append.check is Check.UNKNOWN:
        yield ObservedAnswer(400, "checksum_unsupported")
    if append.offset is None:
        yield ObservedAnswer(400, "header_missing")


def _gone(upload: Upload) -> ObservedAnswer | None:
    if upload.status is Status.REJECTED:
        return ObservedAnswer(415, "media_type_unsupported")
    is_ended = upload.status in (Status.EXPIRED, Status.TERMINATED)
    if is_ended or (upload.status is Status.OPEN and upload.is_old):
        return ObservedAnswer(410, "upload_gone")
    return None


def _is_same_final(upload: Upload, parts: list[Upload], metadata: str | None) -> bool:
    is_alive = upload.status is Status.COMPLETE or (upload.status is Status.OPEN and not upload.is_old)
    return is_alive and upload.parts == tuple(parts) and upload.metadata == metadata


def _room(upload: Upload, append: Append) -> int:
    whole = append.length if upload.length is None else upload.length
    return (MAX_SIZE if whole is None else whole) - upload.offset
