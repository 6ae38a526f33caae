"""Random sequences of requests, each answer and all rows compared with the model.

Rule: what a step does depends on the model and on hypothesis alone, never on an id, a time or an answer: else a
failure could not be shrunk and shown again.
"""

import copy
from collections.abc import Iterable
from functools import partial

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, initialize, multiple, precondition, rule

from tests.harness.http import request
from tests.stateful.draws import CHECKS, CONTENTS, HOW_CUT, LENGTHS, METADATA, NAMED, SIZES, TRUE_MOSTLY
from tests.stateful.driver import Added, Driver, differs, nothing
from tests.stateful.model import MAX_SIZE, Append, Check, Create, ObservedAnswer, Status
from tests.stateful.server_under_test import Content, stream, written
from tests.tus.client import MOUNT, VERSION, target

# How often, in one sequence. What may be done next must not depend on what was answered.
MOST_CREATIONS = 12
MOST_ENDS = 5  # with no upload left alive, nothing more would be found out
MOST_RESTARTS = 2  # the slowest of all steps


class TusMachine(Driver):
    """Everything that can happen to an upload."""

    uploads: Bundle[int] = Bundle("uploads")

    # Creation

    @initialize(target=uploads)
    def begin(self) -> Added:
        """Two parts and an upload; how long two of them are nobody knows yet."""
        named = ("clip.mp4", METADATA["clip.mp4"][0])
        made = [
            self.create(length, named, is_partial, 0, "video", False, Check.NONE, True, True, None, "FIN")
            for length, is_partial in ((200, True), (None, True), (None, False))
        ]
        return multiple(*(number for number in made if isinstance(number, int)))

    @precondition(lambda self: self.creations < MOST_CREATIONS)
    @rule(
        target=uploads,
        length=LENGTHS,
        named=NAMED,
        is_partial=st.booleans(),
        size=st.sampled_from([0, 0, 0, 30, 64, 200, 5_000]),
        content=CONTENTS,
        chunked=st.booleans(),
        check=CHECKS,
        right_version=TRUE_MOSTLY,
        right_type=TRUE_MOSTLY,
        cut=st.sampled_from([None, None, None, 0, 1, 64]),
        how=HOW_CUT,
    )
    def create(  # one parameter for each thing that a creation may say
        self,
        length: int | None,
        named: tuple[str | None, str | None],
        is_partial: bool,
        size: int,
        content: Content,
        chunked: bool,
        check: Check,
        right_version: bool,
        right_type: bool,
        cut: int | None,
        how: str,
    ) -> Added:
        """POST, also with a first body, also cut off."""
        self.creations += 1
        body = stream(content, 0)[:size]
        if not body and not chunked:
            check = Check.NONE  # there is nothing that could be checked
        check = self.possible(check, chunked=chunked)
        first = Append(0, body, chunked, None, check, right_version, right_type)
        create = Create(length, named[1], named[0], is_partial, first)
        if cut is not None and cut < len(body):
            return self._create_cut(create, cut, how)
        said, upload = self.model.create(create)
        answer = self.say(self.creation_bytes(create), f"POST {create.length} {first.check} {len(body)}")
        return self.created(said, upload, answer)

    def _create_cut(self, create: Create, cut: int, how: str) -> Added:
        refused = self.model.refusal_of(create)
        known = {upload.id for upload in self.model.uploads}
        ready = None if refused else partial(self.wait_for_one_more, known)
        self.break_off(self.creation_bytes(create, cut=cut), how, f"POST {create.length}, {how} after {cut}", ready)
        if refused:
            return nothing()
        (upload_id,) = set(self.server.rows()) - known
        answer = self.ask_head(upload_id)
        for arrived in range(cut + 1):
            trial = copy.deepcopy(self.model)
            upload = trial.create(create, arrived)[1]
            assert upload is not None
            upload.id = upload_id
            if differs(trial.head(upload), answer, upload_id, is_head=True) is None:
                self.model = trial
                return trial.uploads.index(upload)
        raise AssertionError(f"no number of bytes that came explains {answer}")

    @precondition(lambda self: self.creations < MOST_CREATIONS)
    @rule(
        target=uploads,
        parts=st.lists(uploads, min_size=1, max_size=3),
        named=NAMED,
        as_urls=st.booleans(),
        is_legal=TRUE_MOSTLY,
    )
    def concatenate(
        self, parts: list[int], named: tuple[str | None, str | None], as_urls: bool, is_legal: bool
    ) -> Added:
        """POST of a final upload, mostly of those of the uploads that are parts."""
        self.creations += 1
        of = [self.model.uploads[part] for part in parts]
        if is_legal:
            of = [part for part in of if part.is_partial and part.status in (Status.OPEN, Status.COMPLETE)] or of
        origin = self.server.live.url if as_urls else ""
        concat = "final;" + " ".join(f"{origin}{target(part.id)}" for part in of)
        headers = {"Upload-Concat": concat} | ({} if named[1] is None else {"Upload-Metadata": named[1]})
        said, upload = self.model.create_final(of, named[1], named[0], concat)
        answer = self.say(written("POST", MOUNT, headers, Append(0, b"")), f"POST final of {parts}")
        made = self.created(said, upload, answer)
        # One of them where there is no new one: how many there are to choose from must not depend on an answer.
        return made if isinstance(made, int) else parts[0]

    # Bytes

    @rule(
        upload=uploads,
        size=st.one_of(st.none(), SIZES),
        content=CONTENTS,
        chunked=st.booleans(),
        check=CHECKS,
        tell=st.sampled_from([None, None, 0, 100, -1, -MAX_SIZE]),
        override=st.booleans(),
    )
    def append(
        self,
        upload: int,
        size: int | None,
        content: Content,
        chunked: bool,
        check: Check,
        tell: int | None,
        override: bool,
    ) -> None:
        """PATCH at the right offset, of what there is room for; `tell` a deferred length, so much more than that."""
        upload = self.open_one(upload)
        append = self.next_append(upload, size, content, chunked, check, tell)
        self.patch(upload, append, override=override)

    @rule(
        upload=uploads,
        size=st.sampled_from([0, 1, 65, 200]),
        chunked=st.booleans(),
        check=st.sampled_from([Check.NONE, Check.NONE, Check.WRONG]),
        tell=st.sampled_from([0, 100, -1, -MAX_SIZE]),
    )
    def tell_length(self, upload: int, size: int, chunked: bool, check: Check, tell: int) -> None:
        """PATCH that tells a deferred length: more than its body needs, just that, or too little."""
        upload = self.open_one(upload, deferred=True)
        self.patch(upload, self.next_append(upload, size, "video", chunked, check, tell))

    @rule(upload=uploads)
    def fill(self, upload: int) -> None:
        """PATCH of all that is missing, where it is known how much that is."""
        if self.model.uploads[upload].length is None:
            return
        self.patch(upload, self.next_append(upload, None, "video", False, Check.NONE, 0))

    @rule(
        upload=uploads,
        by=st.sampled_from([None, None, -1, 1, 64, -(10**9)]),
        size=SIZES,
        content=CONTENTS,
        chunked=st.booleans(),
        check=CHECKS,
        length=st.sampled_from([None, None, None, 0, 1, 64, 300_000, 400_000]),
        right_version=TRUE_MOSTLY,
        right_type=TRUE_MOSTLY,
    )
    def append_anything(
        self,
        upload: int,
        by: int | None,
        size: int,
        content: Content,
        chunked: bool,
        check: Check,
        length: int | None,
        right_version: bool,
        right_type: bool,
    ) -> None:
        """PATCH with an offset, a length and a body that may or may not fit."""
        truth = self.model.uploads[upload].offset
        check = self.possible(check, chunked=chunked)
        at = truth if by is None else max(0, truth + by)
        body = stream(content, 0)[at : at + size]
        self.patch(upload, Append(at, body, chunked, length, check, right_version, right_type))

    @rule(upload=uploads, empty=st.booleans(), chunked=st.booleans())
    def replay(self, upload: int, empty: bool, chunked: bool) -> None:
        """The last PATCH again, as one does whose answer was lost: with its bytes, or behind them without any."""
        offset = self.model.uploads[upload].offset
        start = offset if empty else max(0, offset - 50)
        self.patch(upload, Append(start, stream("video", 0)[start:offset], chunked))

    @rule(
        upload=uploads,
        size=st.one_of(st.none(), SIZES),
        cut=st.sampled_from([0, 1, 63, 64, 65, 150, 200, 260_000]),
        content=CONTENTS,
        chunked=st.booleans(),
        check=st.sampled_from([Check.NONE, Check.NONE, Check.RIGHT, Check.WRONG, Check.TRAILER_RIGHT]),
        tell=st.sampled_from([None, 0, 100]),
        how=HOW_CUT,
        is_stored=st.booleans(),
        goes_on=st.sampled_from([None, "video", "noise"]),
    )
    def cut(
        self,
        upload: int,
        size: int | None,
        cut: int,
        content: Content,
        chunked: bool,
        check: Check,
        tell: int | None,
        how: str,
        is_stored: bool,
        goes_on: Content | None,
    ) -> None:
        """A PATCH whose connection is cut after some bytes, before or after the store has them; perhaps another."""
        upload = self.open_one(upload)
        append = self.next_append(upload, size, content, chunked, check, tell)
        cut = min(cut, len(append.body))
        it = self.model.uploads[upload]
        is_sure = is_stored and self.is_stored(it, append, cut)
        ready = partial(self.wait_stored, it, it.offset + cut) if is_sure else None
        sent = self.patch_bytes(upload, append, cut=cut)
        what = f"PATCH {upload} at {append.offset}, {how} after {cut} of {len(append.body)}"
        self.break_off(sent, how, what, ready)
        at = append.offset or 0
        answer = self.ask_head(it.id)
        came = int(answer.headers.get("upload-offset", at)) - at
        tries: Iterable[int | None] = (cut,) if is_sure else (cut, came, 0, None)
        for arrived in tries:
            trial = copy.deepcopy(self.model)
            copied = trial.uploads[upload]
            if arrived is not None:
                trial.append(copied, append, max(0, min(arrived, cut)))
            if differs(trial.head(copied), answer, copied.id, is_head=True) is None:
                self.model = trial
                if goes_on:
                    self.patch(upload, self.next_append(upload, 100, goes_on, False, Check.NONE, None))
                return
        raise AssertionError(f"no number of bytes that came explains {answer}")

    @rule(
        upload=uploads,
        size=st.sampled_from([2, 65, 200, 5_000]),
        first=st.sampled_from([1, 64, 150]),
        check=st.sampled_from([Check.NONE, Check.NONE, Check.RIGHT]),
        newcomer=st.sampled_from(["HEAD", "PATCH", "PATCH", "stale PATCH", "DELETE", "GET", "wrong version", "sweep"]),
        content=st.sampled_from(["video", "noise"]),
    )
    def two_at_once(self, upload: int, size: int, first: int, check: Check, newcomer: str, content: Content) -> None:
        """Somebody comes while a slow PATCH is being received: he gets his turn, or is refused and disturbs nobody."""
        upload = self.open_one(upload)
        it = self.model.uploads[upload]
        append = self.next_append(upload, size, "video", False, check, None, writer=1)
        first = min(first, len(append.body) - 1)
        if it.status is not Status.OPEN or it.is_old or not self.is_stored(it, append, first):
            return
        with self.server.live.connect() as connection:
            connection.send(self.patch_bytes(upload, append, cut=first))
            self.wait_stored(it, it.offset + first)
            if not self.server.counts_at_once and "PATCH" in newcomer:
                # The bytes of a running body count once they are in the bucket: a PATCH that comes meanwhile gets 409
                # with the offset of before it. A HEAD, which clients send first, ends the body and counts its bytes.
                newcomer = "HEAD"
            if newcomer in ("HEAD", "PATCH", "DELETE"):
                self._evict(upload, append, first, newcomer, content)
                self.expect(ObservedAnswer(423, "upload_locked"), connection.answer(), it, "the first")
            else:
                self._pass_by(upload, append, first, newcomer)
                connection.send(append.body[first:])
                self.expect(self.model.append(it, append), connection.answer(), it, "the first")

    def _evict(self, upload: int, append: Append, first: int, newcomer: str, content: Content) -> None:
        self.model.append(self.model.uploads[upload], append, first)
        match newcomer:
            case "HEAD":
                self.head(upload)
            case "DELETE":
                self._delete(upload)
            case _:
                self.patch(upload, self.next_append(upload, 100, content, False, Check.NONE, None))

    def _pass_by(self, upload: int, append: Append, first: int, newcomer: str) -> None:
        it = self.model.uploads[upload]
        truth = it.offset + (first if append.check is Check.NONE else 0)
        match newcomer:
            case "stale PATCH":
                said = ObservedAnswer(409, "offset_mismatch", {"upload-offset": str(truth)})
                self.expect(said, self.say(self.patch_bytes(upload, Append(truth + 1, b"?")), newcomer), it, newcomer)
            case "GET":
                self.get(upload)
            case "sweep":
                self.sweep()
            case _:
                self.patch(upload, Append(truth, b"?", right_version=False))

    # Looking and removing

    @rule(upload=uploads)
    def head(self, upload: int) -> None:
        """HEAD."""
        it = self.model.uploads[upload]
        said = self.model.head(it)
        self.expect(said, self.ask_head(it.id), it, "HEAD", is_head=True)

    @rule(upload=uploads)
    def get(self, upload: int) -> None:
        """GET of the original."""
        it = self.model.uploads[upload]
        answer = self.say(request("GET", target(it.id)), f"GET {upload}")
        self.expect(self.model.get(it), answer, it, "GET")

    @precondition(lambda self: self.ends < MOST_ENDS)
    @rule(upload=uploads)
    def delete(self, upload: int) -> None:
        """DELETE."""
        self.ends += 1
        self._delete(upload)

    def _delete(self, upload: int) -> None:
        it = self.model.uploads[upload]
        answer = self.say(request("DELETE", target(it.id), VERSION), f"DELETE {upload}")
        self.expect(self.model.delete(it), answer, it, "DELETE")

    @rule(
        method=st.sampled_from(["HEAD", "GET", "PATCH", "DELETE"]),
        name=st.sampled_from(["00000000-0000-4000-8000-000000000000", "../../etc/passwd", "00000000"]),
    )
    def ask_for_what_is_not_there(self, method: str, name: str) -> None:
        """Any request for an upload that nobody created."""
        sent = written(method, target(name), {"Upload-Offset": "0"}, Append(0, b"abc" if method == "PATCH" else b""))
        answer = self.say(sent, f"{method} of nothing", head=method == "HEAD")
        assert (answer.status, answer.code) == (404, "" if method == "HEAD" else "upload_not_found"), answer

    @rule(upload=uploads)
    def cancel_task(self, upload: int) -> None:
        """The task ends; a removed one has ended, too."""
        it = self.model.uploads[upload]
        answer = self.say(request("POST", f"/api/task/cancel/{it.id}"), f"cancel {upload}")
        status = {None: 404, "removed": 409}.get(it.task, 200)  # to cancel again is no error
        assert answer.status == status, answer
        if status == 200:
            it.task = "cancelled"

    @precondition(lambda self: self.ends < MOST_ENDS)
    @rule(upload=uploads)
    def delete_task(self, upload: int) -> None:
        """The task is removed with its upload, whatever it does; to do it again is no error."""
        self.ends += 1
        it = self.model.uploads[upload]
        answer = self.say(request("DELETE", f"/api/task/{it.id}?cancel=1"), f"delete task {upload}")
        assert answer.status == (200 if it.task else 404), answer
        if it.task and it.task != "removed":
            it.was_deleted_as_task = True
            it.end(Status.TERMINATED)
            self.model.remove_task(it)

    # Time and restarts

    @precondition(lambda self: self.ends < MOST_ENDS)
    @rule(upload=uploads)
    def grow_old(self, upload: int) -> None:
        """The last byte of an unfinished upload, or of a part that nobody joined, came long ago."""
        self.ends += 1
        it = self.model.uploads[upload]
        if it.status is Status.OPEN or (it.status is Status.COMPLETE and it.is_partial):
            it.is_old = True
            self.server.age(it.id)

    @rule()
    def sweep(self) -> None:
        """One sweep."""
        expired, removed = self.model.sweep()
        report = self.server.sweep()
        note(f"sweep: {report}")
        found = (
            report.numbers["expired"],
            report.numbers["removed"],
            report.numbers["finished"],
            report.numbers["abandoned"],
            report.numbers["missing"],
            report.numbers["failed"],
        )
        assert found == (expired, removed, 0, 0, 0, 0), report

    @precondition(lambda self: self.restarts < MOST_RESTARTS)
    @rule()
    def restart(self) -> None:
        """Stop the server, and start it again."""
        self.restarts += 1
        self.server.restart()
