"""How the machine speaks to the server, and compares what it hears with what the model says.

Rule: it draws nothing, and changes the model only by asking it. After every step all rows are compared with the
model, and at the end all bytes.
"""

import sys
from collections.abc import Callable

from hypothesis import note
from hypothesis.stateful import MultipleResults, RuleBasedStateMachine, invariant, multiple

from tests.harness.http import Answer, Connection, request
from tests.harness.waiting import until
from tests.stateful.model import (
    ANY,
    OWN_ID,
    SNIFFED,
    Append,
    Check,
    Create,
    Model,
    ObservedAnswer,
    Status,
    Upload,
    judge,
)
from tests.stateful.server_under_test import Content, ServerUnderTest, stream, written
from tests.tus.client import MOUNT, VERSION, target

Added = int | MultipleResults[int]

COMPARED = (
    *("location", "upload-offset", "upload-length", "upload-defer-length", "upload-metadata", "upload-concat"),
    *("upload-task", "upload-expires"),
)


class Driver(RuleBasedStateMachine):
    """Uploads are known by their place in the model: a model that is tried out is another one."""

    def __init__(self, server: ServerUnderTest) -> None:
        super().__init__()
        self.server = server
        self.model = Model(has_trailers=server.has_trailers)
        self.creations = self.ends = self.restarts = 0
        server.wipe()

    def open_one(self, upload: int, *, deferred: bool = False) -> int:
        """This upload, or the next one to which bytes can be added, and whose length is not known; this one if there
        is none.
        """
        number = len(self.model.uploads)
        for other in (at % number for at in range(upload, upload + number)):
            it = self.model.uploads[other]
            fits = not deferred or it.length is None
            if fits and it.status is Status.OPEN and not it.is_final and not it.is_old:
                return other
        return upload

    def next_append(
        self,
        upload: int,
        size: int | None,
        content: Content,
        chunked: bool,
        check: Check,
        tell: int | None,
        writer: int = 0,
    ) -> Append:
        """An append at the true offset; all that is missing where `size` is None."""
        it = self.model.uploads[upload]
        room = 100 if it.length is None and size is None else (it.length or 300_000) - it.offset
        count = max(0, room if size is None else min(size, room))
        length = None if tell is None or it.length is not None else max(it.offset, it.offset + count + tell)
        check = self.possible(check, chunked=chunked)
        body = stream(content, writer)[it.offset : it.offset + count]
        return Append(it.offset, body, chunked, length, check)

    def possible(self, check: Check, *, chunked: bool) -> Check:
        """Only a chunked body has trailers."""
        if not check.is_trailing or (chunked and self.server.has_trailers):
            return check
        # Stock uvicorn takes a trailer for a header, if it comes together with the head: nobody can tell which it was.
        return Check.TRAILER_MISSING if chunked else Check.RIGHT

    # Requests

    def patch(self, upload: int, append: Append, *, override: bool = False) -> None:
        """PATCH, and compare the answer."""
        it = self.model.uploads[upload]
        said = self.model.append(it, append)
        what = f"PATCH {upload} at {append.offset}: {len(append.body)}, {append.check}, length {append.length}"
        answer = self.say(self.patch_bytes(upload, append, override=override), what)
        self.expect(said, answer, it, what)

    def patch_bytes(self, upload: int, append: Append, *, cut: int | None = None, override: bool = False) -> bytes:
        """The bytes of a PATCH; `cut` is after how many bytes of its body it breaks off."""
        headers = {"Upload-Offset": str(append.offset), "Content-Type": "application/offset+octet-stream"}
        if not append.right_type:
            headers["Content-Type"] = "text/plain"
        if append.length is not None:
            headers["Upload-Length"] = str(append.length)
        if override:
            headers["X-HTTP-Method-Override"] = "PATCH"
        return written("POST" if override else "PATCH", target(self.model.uploads[upload].id), headers, append, cut=cut)

    def creation_bytes(self, create: Create, *, cut: int | None = None) -> bytes:
        """The bytes of a POST."""
        headers = {"Upload-Defer-Length": "1"} if create.length is None else {"Upload-Length": str(create.length)}
        if create.metadata is not None:
            headers["Upload-Metadata"] = create.metadata
        if create.is_partial:
            headers["Upload-Concat"] = "partial"
        return written("POST", MOUNT, headers, create.first, cut=cut)

    def break_off(self, sent: bytes, how: str, what: str, ready: Callable[[], object] | None) -> None:
        """Send this and cut the connection, when `ready` says so or at once."""
        with self.server.live.connect() as connection:
            # An answer first: it tells that the server has taken the connection over, so that it will see its end.
            assert connection.ask("OPTIONS", MOUNT).status == 204
            connection.send(sent)
            if ready is not None:
                ready()
            {"FIN": Connection.close, "RST": Connection.reset, "half-close": Connection.half_close}[how](connection)
            self.server.live.quiet()
        note(f"{what}: cut")

    def is_stored(self, upload: Upload, append: Append, first: int) -> bool:
        """Whether the store will have the first bytes of an append before others come, and keep them for a while."""
        if self.model.refusal(upload, append) or upload.status is not Status.OPEN:
            return False
        if not 0 < first < len(append.body):
            return False
        if upload.is_partial or upload.offset >= SNIFFED:
            return True
        head = (upload.data or b"") + append.body[:first]
        return len(head) >= SNIFFED and not judge(upload.name, head[:SNIFFED])

    def wait_for_one_more(self, known: set[str]) -> None:
        """Wait until there is an upload that was not known."""
        until(lambda: set(self.server.rows()) - known, seconds=10, what="an upload is created")

    def wait_stored(self, upload: Upload, size: int) -> None:
        """Wait until the store has so many bytes of an upload."""
        until(lambda: self.server.arrived(upload.id) == size, seconds=10, what=f"{size} bytes are stored")

    def ask_head(self, upload_id: str) -> Answer:
        """HEAD."""
        return self.say(request("HEAD", target(upload_id), VERSION), f"HEAD {upload_id}", head=True)

    def say(self, sent: bytes, what: str, *, head: bool = False) -> Answer:
        """Send a request, and tell whoever reads of a failure what was answered."""
        answer = self.server.ask(sent, head=head)
        shown = {name: value for name, value in answer.headers.items() if name in COMPARED}
        note(f"{what}: {answer.status} {'' if head or answer.status < 400 else answer.code} {shown}")
        return answer

    def created(self, said: ObservedAnswer, upload: Upload | None, answer: Answer) -> Added:
        """Compare the answer to a POST, and let the model know the id."""
        if upload is None:
            self.expect(said, answer, None, "POST")
            return nothing()
        # One that was refused has no address to tell: it is the row that nobody knows.
        known = {known.id for known in self.model.uploads}
        new = set(self.server.rows()) - known
        assert len(new) == (0 if upload.id else 1), f"{len(new)} new uploads after {answer}"
        upload.id = upload.id or new.pop()
        self.expect(said, answer, upload, "POST")
        if "location" in said.headers:
            assert answer.headers["location"] == f"http://videodock.test{target(upload.id)}"
        return self.model.uploads.index(upload)

    def expect(
        self, said: ObservedAnswer, answer: Answer, upload: Upload | None, what: str, *, is_head: bool = False
    ) -> None:
        """Fail if the answer is another than the model's."""
        difference = differs(said, answer, upload.id if upload else "", is_head=is_head)
        assert difference is None, f"{what}: {difference}"

    # What must be so at any time

    @invariant()
    def rows_are_the_model(self) -> None:
        """Rows, tasks and sizes are those of the model, after every step."""
        rows = self.server.rows()
        assert set(rows) == {upload.id for upload in self.model.uploads}
        for upload in self.model.uploads:
            row = rows[upload.id]
            if upload.may_be_terminated and row["status"] == Status.TERMINATED:
                upload.end(Status.TERMINATED)
            upload.may_be_terminated = False
            is_alive = upload.status in (Status.OPEN, Status.COMPLETE)
            assert (row["status"], row["length"]) == (upload.status.value, upload.length), row
            assert (row["metadata_raw"], row["concat"]) == (upload.metadata, upload.concat), row
            assert (bool(row["has_bytes"]), row["checked_from"]) == (is_alive, None), row
            # A removal is one event; that of an upload is told of its file, too.
            events = {None: 0, "uploaded": 1, "cancelled": 2, "removed": 2 + upload.was_cancelled}[upload.task]
            events += upload.task == "removed" and not upload.was_deleted_as_task
            size = upload.length if upload.task else None
            assert (row["task_status"], row["task_size"], row["events"]) == (upload.task, size, events), row
            expected = None if upload.data is None else len(upload.data)
            size = self.server.store.size(upload.id)
            # A complete part may lend its file to a final, which adds to it.
            is_lent = upload.is_partial and upload.status is Status.COMPLETE and expected is not None
            assert size == expected or (is_lent and size is not None and size > (expected or 0)), row

    def teardown(self) -> None:
        """At the end the store has the model's bytes, and nothing else; nobody left a lock."""
        if sys.exc_info()[0] is not None:
            return  # a step has failed, and tells more than what follows from it
        self.server.live.quiet()
        for upload in self.model.uploads:
            if upload.data is not None:
                stored = self.server.live.stored(upload.id) or b""
                is_part = upload.is_partial and upload.status is Status.COMPLETE
                stored = stored[: len(upload.data)] if is_part else stored
                assert stored == upload.data, f"other bytes in {upload.id}"
        assert self.server.ids() == {upload.id for upload in self.model.uploads if upload.data is not None}
        assert self.server.live.locks() == []


def nothing() -> MultipleResults[int]:
    """No upload that later steps could use."""
    return multiple()


def differs(said: ObservedAnswer, answer: Answer, upload_id: str, *, is_head: bool = False) -> str | None:
    """What an answer says that it should not; None when it is as expected."""
    code = "" if is_head or answer.status < 400 else answer.code
    if (answer.status, code) != (said.status, said.code):
        return f"it is {answer.status} {code} and should be {said.status} {said.code}"
    for name in COMPARED:
        found, expected = answer.headers.get(name), said.headers.get(name)
        if expected == ANY and found is not None:
            continue
        if found != (upload_id if expected == OWN_ID else expected):
            return f"{name} is {found!r} and should be {expected!r}"
    if said.body is not None and said.body != answer.body:
        return f"the body has {len(answer.body)} bytes, and not the {len(said.body)} that were uploaded"
    return None
