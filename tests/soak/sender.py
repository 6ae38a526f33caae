"""A tus client that notes what it is told, goes on through whatever happens, and finds out what must never be.

Rule: it believes nothing but answers. An offset below one that was acknowledged before is a violation, and so is an
upload that is gone before its time, or that cannot be brought to an end in spite of all patience.
"""

import base64
import hashlib
import random
import time
from collections.abc import Callable, Iterable, Mapping

from tests.soak.side import Side
from tests.soak.upload_records import End, Entry
from tests.soak.wire import BUSY, LostError, Reply, Wire
from tests.tus.client import MOUNT, OCTETS, VERSION, metadata

_GONE = {404, 410}
TRUTH = -1
FINAL = -2


class RefusedError(Exception):
    """The server does not take it; `code` says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"{reply.status} {reply.code}")
        self.status = reply.status
        self.code = reply.code


class GoneError(Exception):
    """The upload is no longer there."""


class StuckError(Exception):
    """All patience was in vain."""


class Sender:
    """One upload of one client; `more` is metadata besides its name.

    `is_doomed` tells whether it may be gone at any time: a member of a group, say, of which another has gone.
    """

    def __init__(self, side: Side, entry: Entry, data: bytes, dice: random.Random, **more: str) -> None:
        self.side = side
        self.entry = entry
        self.data = data
        self.dice = dice
        self.id = ""
        self.is_doomed: Callable[[], bool] = lambda: False
        self._metadata = metadata(filename=entry.name, **more)
        self._wire = Wire(side.origin(dice), side.records)
        self._moved = time.monotonic()

    def close(self) -> None:
        """Hang up."""
        self._wire.close()

    @property
    def path(self) -> str:
        """Where the upload is."""
        return f"{MOUNT}/{self.id}"

    # Requests

    def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | Iterable[bytes] | None = None
    ) -> Reply:
        """One request, perhaps by another way than the last one. Raises `LostError`."""
        if self.dice.random() < 0.2:
            self._wire.close()
            self._wire = Wire(self.side.origin(self.dice), self.side.records)
        return self._wire.ask(method, path, {**VERSION, **headers}, body)

    def insist(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        """The same until there is an answer that is not about the server's own state."""
        while True:
            try:
                reply = self.ask(method, path, headers or {})
            except LostError:
                self.wait()
                continue
            if reply.status not in BUSY or reply.status == 409:
                return reply
            self.wait()

    def wait(self) -> None:
        """A moment; raises `StuckError` when nothing has moved for too long."""
        if time.monotonic() - self._moved > self.side.patience:
            raise StuckError(f"at {self.entry.low} of {self.entry.size} bytes of {self.id or 'no upload'}")
        time.sleep(self.dice.uniform(0.1, 0.8))

    # The protocol

    def create(self, *, body: int = 0, length: int | None = TRUTH, headers: Mapping[str, str] | None = None) -> None:
        """POST, with the first `body` bytes; `length` is told, later if None, or never (`FINAL`)."""
        said = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        if length in (TRUTH, FINAL):
            said = {"Upload-Length": str(self.entry.size)} if length == TRUTH else {}
        fields = {**said, "Upload-Metadata": self._metadata, **(headers or {})}
        if body:
            fields["Content-Type"] = OCTETS
        while True:
            try:
                reply = self.ask("POST", MOUNT, fields, self.data[:body])
            except LostError:
                self.entry.lost_posts += 1
                self.entry.may_double |= body == self.entry.size
                self.wait()
                continue
            location = reply.headers.get("location", "")
            if reply.status == 201 or (reply.status in BUSY and location):
                break
            # Perhaps it was created before it was refused, and nobody is told its name.
            self.entry.lost_posts += bool(body) or reply.status >= 500
            if reply.status not in BUSY or reply.status == 409:
                raise RefusedError(reply)
            self.wait()
        self.id = location.rpartition("/")[2]
        self.entry.ids.add(self.id)
        self._acknowledge(int(reply.headers.get("upload-offset", "0")))

    def send(self, end: int, *, checksum: str = "", length: int | None = None, pieces: int = 0) -> Reply | None:
        """PATCH of the bytes from what was acknowledged to `end`; the answer, None if none came.

        `checksum` is `right` or `wrong`; `length` is told with it; the body comes in `pieces` bytes at a time.
        """
        start = self.entry.low
        body = self.data[start:end]
        fields = {"Upload-Offset": str(start), "Content-Type": OCTETS, "Content-Length": str(len(body))}
        if length is not None:
            fields["Upload-Length"] = str(length)
        if checksum:
            digest = hashlib.sha1(body if checksum == "right" else b"wrong", usedforsecurity=False).digest()
            fields["Upload-Checksum"] = f"sha1 {base64.b64encode(digest).decode()}"
        slowly = (self._slow(body[at : at + pieces]) for at in range(0, len(body), pieces)) if pieces else None
        try:
            reply = self.ask("PATCH", self.path, fields, slowly or body)
        except LostError:
            return None
        if reply.status == 204:
            offset = int(reply.headers["upload-offset"])
            if offset != start + len(body):
                self._wrong(f"PATCH of {len(body)} bytes at {start} was acknowledged with {offset}")
            self._acknowledge(offset)
            self._note_task(reply)
        return reply

    def look(self) -> int:
        """HEAD, until it is answered; the offset. Raises `GoneError`."""
        reply = self.insist("HEAD", self.path)
        if reply.status in _GONE or reply.status == 415:
            if reply.status in _GONE and not self.side.may_be_gone(self.entry.touched) and not self.is_doomed():
                self._wrong(f"it is gone ({reply.status}) {time.monotonic() - self.entry.touched:.0f} s after its byte")
            raise GoneError
        if reply.status != 200:
            raise RefusedError(reply)
        offset = int(reply.headers["upload-offset"])
        if offset < self.entry.low:
            self._wrong(f"{self.entry.low} bytes were acknowledged, and HEAD tells {offset}")
        if offset > self.entry.size:
            self._wrong(f"it has {self.entry.size} bytes, and HEAD tells {offset}")
        if offset != self.entry.low:
            self._acknowledge(offset)
        self._note_task(reply)
        return offset

    def fill(
        self, *, chunk: int, checksum: str = "", pieces: int = 0, until: int | None = None, pause: float = 0
    ) -> None:
        """PATCH after PATCH to the end, or until `until` bytes, with so many seconds between them.

        Raises `GoneError`, `RefusedError`, `StuckError`.
        """
        target = self.entry.size if until is None else until
        while self.entry.low < target:
            end = min(target, self.entry.low + chunk)
            reply = self.send(end, checksum=checksum, pieces=pieces)
            if reply is not None and reply.status == 204:
                time.sleep(pause)
                continue
            if reply is None or reply.status in BUSY | _GONE | {403}:
                self.wait()
                self.look()
            elif reply.status == 460:
                self._wrong("right bytes were said not to have their checksum")
            else:
                raise RefusedError(reply)

    def delete(self) -> Reply:
        """DELETE until it is answered; after an answer that was lost it is gone."""
        return self.insist("DELETE", self.path)

    def complete(self) -> None:
        """The client knows that all bytes are there."""
        self.entry.end = End.COMPLETE

    def _acknowledge(self, offset: int) -> None:
        self.entry.acknowledge(offset)
        self._moved = time.monotonic()

    def _note_task(self, reply: Reply) -> None:
        if "upload-task" in reply.headers:
            self.entry.tasks.add(reply.headers["upload-task"])

    def _wrong(self, text: str) -> None:
        self.side.records.violation(f"{self.entry.kind} {self.entry.key} ({self.id}): {text}")

    def _slow(self, piece: bytes) -> bytes:
        time.sleep(self.dice.uniform(0.02, 0.15))
        return piece
