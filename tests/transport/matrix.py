"""One request with a body, of every kind and framing, and what the server must have after it ended.

Rule: a body is judged by bytes: the offset that HEAD tells is the size of the file, and the file is the beginning of
what was sent.
"""

import base64
import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from server.transport import transfer
from server.transport.mover import mover
from tests.harness.http import Answer, Connection, LiveServer, chunked, request
from tests.harness.multipart import PATH, form_body
from tests.harness.waiting import until
from tests.tus.client import create, head, patch_headers, target, video

PIECE = 50_000
KINDS = ("plain", "checksum", "form")
FRAMINGS = ("length", "chunked")
CASES = [(kind, framing) for kind in KINDS for framing in FRAMINGS]


@dataclass
class Sending:
    """A request on its way: `size` bytes of a file, in the body of a PATCH or in a form."""

    live: LiveServer
    kind: str
    framing: str
    size: int
    more: int = 100  # so many bytes are left for a later PATCH
    upload: str = ""
    data: bytes = b""
    body: bytes = b""
    connection: Connection = field(init=False)
    before: set[Path] = field(init=False)

    def __post_init__(self) -> None:
        self.before = set(self.live.files())
        self.data = video(self.size + self.more, seed=self.size + 1)
        sent = self.data[: self.size]
        self.body = sent
        if self.kind == "form":
            self.body = form_body("aa", [("field", None, b"text"), ("videos", "clip.mp4", sent)])
        else:
            self.upload = create(self.live, len(self.data))
        self.connection = self.live.connect()

    @property
    def label(self) -> str:
        return f"{self.kind}, {self.framing}, {self.size} bytes"

    def begin(self, count: int | None = None) -> None:
        """Send the head and the first bytes of the body, all of them if `count` is None; a server may refuse more."""
        part = self.body[:count]
        with contextlib.suppress(OSError):
            self.connection.send(self._head())
            if self.framing == "length":
                self.connection.send(part)
            else:
                pieces = [part[at : at + PIECE] for at in range(0, len(part), PIECE)]
                self.connection.send(chunked(pieces, end=count is None))

    def _head(self) -> bytes:
        framing = (
            {"Content-Length": str(len(self.body))} if self.framing == "length" else {"Transfer-Encoding": "chunked"}
        )
        if self.kind == "form":
            return request("POST", PATH, {"Content-Type": "multipart/form-data; boundary=aa"} | framing)
        headers = patch_headers(0) | framing
        if self.kind == "checksum":
            digest = hashlib.sha256(self.body).digest()
            headers["Upload-Checksum"] = f"sha256 {base64.b64encode(digest).decode()}"
        return request("PATCH", target(self.upload), headers)

    def answer(self) -> Answer | None:
        """What the server answers; None when it closes instead. Then the connection, if it is still open, is asked."""
        try:
            answer = self.connection.answer()
        except OSError:
            return None
        if answer.headers.get("connection") == "close":
            assert self.connection.ended(), self.label
        else:
            assert self.connection.ask("GET", "/healthz").status == 200, self.label
        return answer

    def wait_stored(self, size: int | None = None) -> None:
        """Wait until the file is that long, or has a byte."""
        path = self.live.path(self.upload)
        until(lambda: path.stat().st_size in ((size,) if size else range(1, 1 << 40)), seconds=10, what=self.label)

    def stored(self) -> int:
        """Check what the server has; the size of it. A form has nothing but what it has whole."""
        assert self.kind != "form"
        answer = head(self.live, self.upload)
        assert answer.status == 200, self.label
        offset = int(answer.headers["upload-offset"])
        file = self.live.stored(self.upload)
        assert file is not None
        assert len(file) == offset, self.label
        assert file == self.data[:offset], self.label
        assert self.kind == "plain" or offset in (0, self.size), self.label
        assert offset <= self.size, self.label
        return offset

    def go_on(self) -> None:
        """Send what is missing: the upload is complete, and it is what was sent."""
        offset = self.stored()
        answer = self.live.ask("PATCH", target(self.upload), patch_headers(offset), self.data[offset:])
        assert (answer.status, answer.headers.get("upload-task")) == (204, self.upload), (self.label, answer)
        assert self.live.stored(self.upload) == self.data, self.label


@contextlib.contextmanager
def nothing_left(live: LiveServer) -> Iterator[None]:
    """After the block, no socket, no open file of an upload, no pipe out of the pool and no lock is left."""
    mover.start()  # it has descriptors of its own
    before = _open()
    yield
    until(lambda: not live.locks(), seconds=15, what="no lock is held")
    until(lambda: _open() <= before, seconds=15, what=f"only this is open: {before}")


def _open() -> set[str]:
    found, pipes = set(), 0
    kept = {one for pipe in transfer.pipes._free for one in (pipe.out, pipe.into)}
    for entry in list(Path("/proc/self/fd").iterdir()):
        try:
            link = str(entry.readlink())
        except FileNotFoundError:
            continue
        if link.startswith("pipe:"):
            pipes += int(entry.name) not in kept
        elif link.startswith("socket:") or "/uploads/" in link:
            found.add(link)
    return found | {f"pipe {number}" for number in range(pipes)}


def form_files(live: LiveServer, sendings: list[Sending]) -> list[Path]:
    """Files that are new, and no upload of these."""
    mine = {sending.upload for sending in sendings}
    return [path for path in live.files() if path.name not in mine and path not in sendings[0].before]
