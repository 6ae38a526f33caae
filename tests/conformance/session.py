"""What a case does with a server: requests with the headers that tus wants, uploads, and expectations.

Rule: an expectation that does not hold raises `FailedError` with one line that says what was expected and what
came; it names no address and no time, so that two runs say the same.
"""

import base64
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from re import Pattern
from urllib.parse import urljoin, urlsplit

from tests.conformance.wire import Answer, Connection, Deadline, Headers, Origin, request

VERSION = "1.0.0"
OCTETS = "application/offset+octet-stream"
# A real `ftyp` box: servers that look what a video is find one.
FTYP = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"
LENGTH = 1000

Expected = int | Collection[int]
Fields = Mapping[str, str | None]


class FailedError(Exception):
    """The server does not do what the case demands."""


class NotOfferedError(Exception):
    """The server does not offer what the case is about."""


def video(size: int) -> bytes:
    """So many bytes that begin like an MP4 file; what follows is noise, no two stretches alike."""
    return (FTYP + random.Random(1).randbytes(max(0, size - len(FTYP))))[:size]


def metadata(**pairs: str) -> str:
    """Upload-Metadata."""
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())


DATA = video(LENGTH)
NAMED = metadata(filename="x.mp4", filetype="video/mp4")


@dataclass(frozen=True)
class Target:
    """The server under test: the URL of its mount, headers for every request, and what it offers."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    offers: frozenset[str] = frozenset()
    options: Mapping[str, str] | None = None

    @property
    def origin(self) -> Origin:
        """Where it listens."""
        return Origin.of(self.url)


class Session:
    """One run of one case."""

    def __init__(self, target: Target, seconds: float) -> None:
        self.target = target
        self.mount = target.url
        self.upload = ""
        self.deadline = Deadline(seconds)
        self._connections: list[Connection] = []

    def close(self) -> None:
        """Close every connection of the case."""
        for connection in self._connections:
            connection.close()

    # Requests

    def connect(self) -> Connection:
        """A new connection, closed at the end of the case at the latest."""
        made = Connection(self.target.origin, self.deadline)
        self._connections.append(made)
        return made

    def request(self, method: str, url: str, headers: Fields | None = None, body: bytes | None = None) -> bytes:
        """The bytes of a request with the headers that tus wants; None in `headers` leaves one out."""
        return self.raw(method, url, list(self.fields(method, headers or {}).items()), body)

    def raw(self, method: str, url: str, headers: Headers, body: bytes | None = None) -> bytes:
        """The bytes of a request with exactly these headers, Host and those of the command line."""
        fields = list(headers.items() if isinstance(headers, Mapping) else headers)
        names = {name.lower() for name, _ in fields}
        parts = urlsplit(url)
        common = [("Host", parts.netloc.rpartition("@")[2]), *self.target.headers]
        fields = [*((name, value) for name, value in common if name.lower() not in names), *fields]
        return request(method, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), fields, body)

    def fields(self, method: str, headers: Fields) -> dict[str, str]:
        """The headers that tus wants with a method, and these."""
        wanted: dict[str, str | None] = {} if method in ("OPTIONS", "GET") else {"Tus-Resumable": VERSION}
        if method == "POST" and "X-HTTP-Method-Override" not in headers:
            wanted["Upload-Metadata"] = NAMED
        if method == "PATCH":
            wanted["Content-Type"] = OCTETS
        given = {name.lower() for name in headers}
        wanted = {name: value for name, value in wanted.items() if name.lower() not in given} | dict(headers)
        return {name: value for name, value in wanted.items() if value is not None}

    def ask(self, method: str, url: str, headers: Fields | None = None, body: bytes | None = None) -> Answer:
        """One request on a connection of its own."""
        connection = self.connect()
        try:
            # A server may refuse before it has read a body, and close: then its answer is what counts.
            connection.offer(self.request(method, url, headers, body))
            return connection.answer(head=method == "HEAD")
        finally:
            connection.close()

    # Uploads

    def begin(self, length: int | None, have: int = 0, concat: str | None = None) -> None:
        """Create the upload of the case, and bring its first `have` bytes."""
        size = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        self.upload = self.create(size | ({"Upload-Concat": concat} if concat else {}))
        if have:
            self.append(self.upload, 0, video(length or LENGTH)[:have])

    def create(self, headers: Fields | None = None, body: bytes | None = None) -> str:
        """A new upload of 1000 bytes, or as `headers` say; its URL."""
        answer = self.ask("POST", self.mount, {"Upload-Length": str(LENGTH)} if headers is None else headers, body)
        return self.created(answer)

    def created(self, answer: Answer) -> str:
        """The URL of the upload that this answer made."""
        self.expect(answer, "POST", 201)
        if not answer.headers.get("location"):
            raise FailedError("POST: no Location came")
        return urljoin(self.mount, answer.headers["location"])

    def patch(self, url: str, offset: int, body: bytes | None, headers: Fields | None = None) -> Answer:
        """PATCH; a body of None is none."""
        length = {"Content-Length": "0"} if body is None else {}
        return self.ask("PATCH", url, {"Upload-Offset": str(offset), **length, **(headers or {})}, body)

    def append(self, url: str, offset: int, body: bytes, headers: Fields | None = None) -> Answer:
        """PATCH that must succeed and tell the new offset."""
        answer = self.patch(url, offset, body, headers)
        self.expect(answer, "PATCH", 204, {"Upload-Offset": str(offset + len(body))})
        return answer

    def head(self, url: str) -> Answer:
        """HEAD that must find the upload."""
        answer = self.ask("HEAD", url)
        self.expect(answer, "HEAD", (200, 204))
        return answer

    def offset(self, url: str) -> int:
        """The offset that HEAD tells."""
        value = self.head(url).headers.get("upload-offset")
        if value is None or not value.isdigit():
            raise FailedError("HEAD: no number came as Upload-Offset")
        return int(value)

    def poll(self, wanted: Callable[[], bool], seconds: float) -> bool:
        """Ask until it is so, at most for so many seconds."""
        until = Deadline(min(seconds, self.deadline.left()))
        while not wanted():
            try:
                until.pause(0.05)
            except TimeoutError:
                return False
        return True

    def read(self, url: str) -> bytes:
        """The bytes of a complete upload, by GET."""
        answer = self.ask("GET", url)
        self.expect(answer, "GET", 200)
        return answer.body

    # Expectations

    def expect(
        self,
        answer: Answer,
        what: str,
        status: Expected,
        has: Mapping[str, str | Pattern[str]] | None = None,
        lacks: Collection[str] = (),
    ) -> None:
        """Compare an answer with what must come."""
        if not (answer.status == status if isinstance(status, int) else answer.status in status):
            raise FailedError(f"{what}: {shown(status)} expected, {answer.status} came")
        for name, value in (has or {}).items():
            expect_header(answer, what, name, value)
        for name in lacks:
            if name.lower() in answer.headers:
                raise FailedError(f"{what}: {name} came with {answer.status}")

    def expect_offset(self, url: str, offset: int, when: str = "") -> None:
        """HEAD must tell this offset."""
        found = self.offset(url)
        if found != offset:
            raise FailedError(f"HEAD{when and ' ' + when}: Upload-Offset {offset} expected, {found} came")


def expect_header(answer: Answer, what: str, name: str, value: str | Pattern[str]) -> None:
    """A header of the answer must be this text, or match this pattern as a whole."""
    found = answer.headers.get(name.lower())
    if found is None:
        raise FailedError(f"{what}: no {name} came")
    if found != value if isinstance(value, str) else not value.fullmatch(found):
        wanted = value if isinstance(value, str) else f"/{value.pattern}/"
        raise FailedError(f"{what}: {name} {wanted!r} expected, {found!r} came")


def shown(status: Expected) -> str:
    """A choice of statuses, to be read."""
    if isinstance(status, int):
        return str(status)
    if isinstance(status, range):
        return f"{status.start} to {status.stop - 1}"
    return " or ".join(map(str, status))
