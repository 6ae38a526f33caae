"""A client that records every answer, while its server dies."""

import base64
import hashlib
import itertools
import random
import uuid
from collections.abc import Mapping, Sequence

from tests.crash.claims import Claim, Fate, FormClaim, Row, check
from tests.crash.restarted_server import DiedError, RestartedServer
from tests.harness.http import Answer, request
from tests.harness.multipart import PATH, form_body
from tests.tus.client import FTYP, MOUNT, VERSION, creation, id_of, metadata, patch_headers, target

Headers = Mapping[str, str]


class RecordingClient:
    """One client of one server. `fault` is armed by the first request after `arm`."""

    def __init__(self, server: RestartedServer, fault: str = "", seed: object = 0) -> None:
        self.server = server
        self.claims: list[Claim] = []
        self.random = random.Random(repr(seed))
        self._fault = fault
        self._armed: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self._name = uuid.uuid4().hex
        self.only_the_sweep_died = False

    def arm(self) -> None:
        """From the next request on."""
        self._armed = {"X-Fault": self._fault} if self._fault else {}

    def video(self, size: int) -> bytes:
        """So many bytes of a video of its own."""
        return (FTYP + self.random.randbytes(max(0, size - len(FTYP))))[:size]

    def claim(self, data: bytes, *, partial: bool = False) -> Claim:
        """A new one, with a unique name."""
        made = Claim(f"{self._name}-{next(self._numbers)}.mp4", data, partial=partial)
        self.claims.append(made)
        return made

    # Requests

    def ask(
        self,
        method: str,
        path: str,
        headers: Headers,
        body: bytes | None = None,
        *,
        pause: int = 0,
        apart: bool = False,
    ) -> Answer:
        """One request; raises `DiedError` when no answer comes. The body is halted for a moment after `pause` bytes.

        `apart`: it is sent only once the server asks for it, so that it is the socket's and not the parser's.
        """
        armed, self._armed = self._armed, {}
        more = {"Expect": "100-continue"} if apart else {}
        raw = request(method, path, dict(headers) | armed | more, body)
        head = len(raw) - len(body or b"")
        cut = head + pause if pause or apart else len(raw)
        try:
            with self.server.connect() as connection:
                connection.send(raw[:head] if apart else raw[:cut])
                if apart:
                    connection.readable()
                    connection.send(raw[head:cut])
                if cut < len(raw):
                    connection.send(raw[cut:])
                return connection.answer(head=method == "HEAD")
        except ConnectionError:
            raise DiedError from None

    def create(self, data: bytes, *, partial: bool = False, body: bool = False) -> Claim:
        """POST, with all the bytes if `body`."""
        claim = self.claim(data, partial=partial)
        headers = creation(len(data), claim.name) | ({"Upload-Concat": "partial"} if partial else {})
        if body:
            headers["Content-Type"] = "application/offset+octet-stream"
            claim.high = len(data)
        answer = self.ask("POST", MOUNT, headers, data if body else None)
        assert answer.status == 201, answer
        claim.id = id_of(answer)
        claim.low = claim.high
        return claim

    def patch(self, claim: Claim, end: int, *, pause: int = 0) -> None:
        """PATCH with the bytes up to `end`."""
        assert claim.id is not None
        body, claim.high = claim.data[claim.low : end], end
        answer = self.ask("PATCH", target(claim.id), patch_headers(claim.low), body, pause=pause, apart=True)
        assert (answer.status, answer.headers["upload-offset"]) == (204, str(end)), answer
        claim.low = end

    def patch_checked(self, claim: Claim, end: int, *, right: bool = True) -> None:
        """The same with a checksum; with a wrong one nothing of it may ever count."""
        assert claim.id is not None
        body, claim.checked = claim.data[claim.low : end], True
        claim.high = end if right else claim.low
        digest = base64.b64encode(hashlib.sha1(body if right else b"", usedforsecurity=False).digest()).decode()
        headers = patch_headers(claim.low) | {"Upload-Checksum": f"sha1 {digest}"}
        answer = self.ask("PATCH", target(claim.id), headers, body)
        assert answer.status == (204 if right else 460), answer
        claim.low, claim.checked = claim.high, False

    def patch_too_long(self, claim: Claim) -> None:
        """A chunked body one byte longer than the upload: it is refused, so it must never complete it."""
        assert claim.id is not None
        before, claim.high = claim.low, len(claim.data) - 1
        body = claim.data[before:] + b"!"
        headers = patch_headers(before) | {"Transfer-Encoding": "chunked"}
        raw = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        answer = self.ask("PATCH", target(claim.id), headers, raw)
        assert answer.status == 413, answer
        claim.high = before

    def head(self, claim: Claim) -> Answer:
        """HEAD."""
        assert claim.id is not None
        return self.ask("HEAD", target(claim.id), VERSION)

    def join(self, parts: Sequence[Claim], final: Claim | None = None) -> Claim:
        """POST of the final upload of these parts, which are all there or still coming."""
        final = final or self.claim(b"".join(part.data for part in parts))
        final.parts, final.high = list(parts), len(final.data)
        for part in parts:
            part.final = final
        urls = " ".join(target(str(part.id)) for part in parts)
        headers = VERSION | {"Upload-Concat": f"final;{urls}", "Upload-Metadata": metadata(filename=final.name)}
        answer = self.ask("POST", MOUNT, headers)
        assert answer.status == 201, answer
        final.id = id_of(answer)
        if all(part.whole for part in parts):
            final.low = len(final.data)
        return final

    def delete(self, claim: Claim) -> None:
        """DELETE."""
        assert claim.id is not None
        claim.gone = Fate.MAYBE
        answer = self.ask("DELETE", target(claim.id), VERSION)
        assert answer.status == 204, answer
        claim.gone = Fate.YES

    def delete_task(self, claim: Claim) -> None:
        """DELETE of its task."""
        claim.gone = Fate.MAYBE
        answer = self.ask("DELETE", f"/api/task/{claim.id}?cancel=1", {})
        assert answer.status == 200, answer
        claim.gone = Fate.YES

    def send_form(self, videos: Sequence[bytes]) -> FormClaim:
        """The documented upload."""
        form = FormClaim([self.claim(data) for data in videos])
        for file in form.files:
            file.form = form
        boundary = uuid.uuid4().hex
        body = form_body(boundary, [("videos", file.name, file.data) for file in form.files])
        answer = self.ask("POST", PATH, {"Content-Type": f"multipart/form-data; boundary={boundary}"}, body)
        assert answer.status == 200, answer
        form.task = answer.text.partition('"task_id":"')[2][:36]
        return form

    def sweep(self) -> None:
        """A sweep, with the fault in it."""
        self.only_the_sweep_died = True
        self.server.sweep(self._fault)

    # Afterwards

    def verify(self) -> None:
        """Every answer is true; then every upload is completed, and all is true again."""
        rows = check(self.server, self.claims)
        # What was about to be deleted goes first: a part that gets its last byte would be joined into it.
        for claim in sorted(self.claims, key=lambda each: each.gone is not Fate.MAYBE):
            row = rows.get(claim.name)
            if row is not None and claim.form is None:
                claim.id = row["id"]
                self._go_on(claim, row)
        for claim in self.claims:
            if claim.id is not None and claim.gone is Fate.YES:
                assert self.head(claim).status in (404, 410, 415), "a removed upload answers"
        finals = {id(claim.final): claim.final for claim in self.claims if claim.final}
        for final in finals.values():
            if final.name not in rows:
                self.join(final.parts, final)
        rows = check(self.server, self.claims)
        for claim in self.claims:
            if claim.name in rows and claim.form is None:
                expected = {"terminated"} if claim.final else claim.ends if claim.gone is Fate.YES else {"complete"}
                assert rows[claim.name]["status"] in expected, f"{claim.name} did not come to its end"

    def _go_on(self, claim: Claim, row: Row) -> None:
        if row["status"] not in ("open", "complete"):
            claim.gone = Fate.YES
            return
        if claim.gone is Fate.MAYBE:
            self.delete(claim)
            return
        stored = (
            row["length"] if row["status"] == "complete" or claim.parts else self.server.path(row["id"]).stat().st_size
        )
        answer = self.head(claim)
        assert answer.status == 200, answer
        offset = int(answer.headers["upload-offset"])
        assert offset == stored, f"{offset} is the offset of {claim.name}, and {stored} bytes are there"
        claim.low, claim.checked = offset, False
        if offset < len(claim.data):
            self.patch(claim, len(claim.data))
        claim.high = len(claim.data)
