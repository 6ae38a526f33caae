"""A visit: one client before the public address, and the one upload that it makes there.

Rule: whatever happens, the upload is removed at the end, and it never has all its bytes: it never becomes a task.
"""

import base64
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit

from server.doctor.findings import Report
from server.doctor.sample import piece, sample
from server.doctor.wire import SECONDS, Address, Answer, Connection, NoAnswerError

TUS = {"Tus-Resumable": "1.0.0"}
PATCH = {**TUS, "Content-Type": "application/offset+octet-stream"}
AGENT = "videodock-doctor"
OVERRIDE = "X-HTTP-Method-Override"

_BUSY = (423, 409, 429, 503)
_PATIENCE_SECONDS = 5.0
_IS_SEGMENT = re.compile(r"[\x21-\x7e]+").fullmatch


@dataclass(kw_only=True)
class Visit:
    """What is known so far. `prefix` is the path of the public address, without a slash at its end."""

    address: Address
    prefix: str
    key: str | None
    report: Report
    accepted: str = "*"
    """Extensions that may be uploaded, as `Upload-Extensions` lists them."""
    max_size: int = 1 << 30
    told_chunk: int = 0
    """Bytes that the server advises for a PATCH; 0: none."""
    segment: str | None = None
    """The last segment of the upload's URL; None before there is one."""
    length: int = 0
    offset: int = 0
    mark: str = field(default_factory=partial(secrets.token_hex, 6))
    """In the name of its file, by which the operator finds the upload."""
    name: str = ""
    is_unknown: bool = False
    """Whether an upload was created, perhaps, whose URL did not arrive."""
    metadata: str = ""
    head: bytes = b""
    body_limit: int | None = None
    """Bytes of the largest body that passes; None without a limit."""
    lost: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        """The public address."""
        return f"{self.address.scheme}://{self.address.authority}{self.prefix}"

    @property
    def upload(self) -> str:
        """The path of the upload, at the public address whatever `Location` says."""
        return f"{self.prefix}/files/{self.segment}"

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """One request on a connection of its own; `path` is complete. Raises `OSError`."""
        given = self.headers(headers or {})
        if body:
            given["Content-Length"] = str(len(body))
        with Connection(self.address) as connection:
            connection.head(method, path, given)
            connection.data(body)
            if body or method not in ("PATCH", "POST"):
                connection.end()
            answer = connection.answer(SECONDS)
        self._recognise(answer)
        return answer

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """These, the credential, and the name by which reports leave the upload out."""
        return {"User-Agent": AGENT, **({"Authorization": f"Bearer {self.key}"} if self.key else {}), **headers}

    def _recognise(self, answer: Answer) -> None:
        """Learn which proxy stands in front; HAProxy has no name in its answers."""
        names = " ".join([*answer.all("Server"), *answer.all("Via")]).lower()
        for proxy in ("nginx", "caddy"):
            if proxy in names:
                self.report.proxy = proxy

    # The upload

    @property
    def left(self) -> int:
        """Bytes that may still be sent without completing the upload."""
        return max(0, self.length - self.offset - 1)

    def create(self, length: int) -> Answer:
        """Create the upload of `length` bytes; it becomes the one of this visit when that succeeds."""
        self.name, self.head = sample(self.accepted, self.mark)
        self.metadata = f"filename {base64.b64encode(self.name.encode()).decode()}"
        headers = {**TUS, "Upload-Length": str(length), "Upload-Metadata": self.metadata}
        self.is_unknown = True
        answer = self.ask("POST", f"{self.prefix}/files", headers)
        segment = _last_segment(answer.get("Location") or "")
        self.is_unknown = not segment and (answer.status == 201 or not answer.is_ours)
        if answer.status == 201 and segment:
            self.segment, self.length, self.offset = segment, length, 0
        return answer

    def look(self) -> int | None:
        """The offset of the upload now, by whichever method passes; None when none does."""
        for method, more in (("HEAD", {}), ("POST", {OVERRIDE: "HEAD"})):
            answer = self.when_free(method, more)
            if answer is not None and answer.status == 200:
                offset = answer.number("Upload-Offset")
                if offset is not None:
                    return offset
        return None

    def when_free(self, method: str, more: Mapping[str, str]) -> Answer | None:
        """The answer of the upload, once a request that was cut no longer holds it; None without one."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                answer = self.ask(method, self.upload, {**TUS, **more})
            except OSError:
                return None
            if answer.status not in _BUSY or time.monotonic() > deadline:
                return answer
            time.sleep(0.1)

    def send(self, count: int, more: Mapping[str, str] | None = None) -> Answer:
        """PATCH of the next `count` bytes. The offset moves when it succeeds. Raises `OSError`."""
        body = piece(self.offset, count, self.head)
        answer = self.ask("PATCH", self.upload, {**self.patch_headers(), **(more or {})}, body)
        if answer.status == 204:
            self.offset += count
        return answer

    def patch_headers(self) -> dict[str, str]:
        """The headers of a PATCH at the offset."""
        return {**PATCH, "Upload-Offset": str(self.offset)}

    def has_upload(self) -> bool:
        """Whether there is an upload that has to be removed."""
        return self.segment is not None

    def remove(self, method: str = "DELETE") -> Answer | None:
        """Ask to remove the upload, by DELETE or as a POST that means it; the answer, if there is one."""
        more = {} if method == "DELETE" else {OVERRIDE: "DELETE"}
        answer = self.when_free(method, more)
        if answer is not None and answer.is_ours and answer.status in (204, 404, 410):
            self.segment = None
        return answer


def _last_segment(location: str) -> str:
    """Of the path of a URL; empty where it is none that can be asked for."""
    try:
        segment = urlsplit(location).path.rstrip("/").rpartition("/")[2]
    except ValueError:
        return ""
    return segment if _IS_SEGMENT(segment) else ""


def ends_badly(error: OSError) -> str:
    """The reason for a sentence."""
    if isinstance(error, NoAnswerError):
        return str(error)
    return error.strerror or str(error)
