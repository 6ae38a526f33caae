"""A reader of server-sent events that shows what a browser hides: ids, comments and the end of the stream."""

import json
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.harness.http import Headers, pairs
from tests.harness.waiting import PATIENCE


@dataclass(frozen=True)
class Heard:
    """One message."""

    id: int | None
    type: str
    data: dict[str, Any]


class EventClient:
    """One stream. Each wait ends with `TimeoutError` when it is in vain."""

    def __init__(self, port: int, path: str, headers: Headers = (), *, after: int | None = None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._raw = b""
        self._text = b""
        self.comments = 0
        self.first_id: int | None = None
        """The id that the stream begins with, without a message."""
        self.has_ended = False
        fields = [("Host", f"127.0.0.1:{port}"), *pairs(headers)]
        fields += [] if after is None else [("Last-Event-ID", str(after))]
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
        self._socket.sendall("\r\n".join(lines).encode())
        while b"\r\n\r\n" not in self._raw:
            self._more()
        head, _, self._raw = self._raw.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def begun(self) -> Self:
        """Wait until the stream has begun: what happens from now on comes."""
        while b"\n\n" not in self._text and not self.has_ended:
            self._read()
        return self

    def next(self) -> Heard | None:
        """The next message; None at the end of the stream."""
        while True:
            while b"\n\n" not in self._text:
                if self.has_ended:
                    return None
                self._read()
            block, _, self._text = self._text.partition(b"\n\n")
            found = self._message(block.decode())
            if found is not None:
                return found

    def until(self, kind: str) -> list[Heard]:
        """All messages up to the first of this type."""
        found: list[Heard] = []
        while not found or found[-1].type != kind:
            one = self.next()
            assert one is not None, f"the stream has ended without {kind}: {[heard.type for heard in found]}"
            found.append(one)
        return found

    def rest(self) -> list[Heard]:
        """All messages to the end of the stream."""
        found: list[Heard] = []
        while (one := self.next()) is not None:
            found.append(one)
        return found

    def wait_comment(self) -> None:
        """Wait for a heartbeat."""
        before = self.comments
        while self.comments == before:
            while b"\n\n" not in self._text:
                assert not self.has_ended, "the stream has ended"
                self._read()
            block, _, self._text = self._text.partition(b"\n\n")
            self._message(block.decode())

    def _message(self, block: str) -> Heard | None:
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(": ")
            self.comments += line.startswith(":")
            fields[name] = value
        number = int(fields["id"]) if "id" in fields else None
        if "data" not in fields:
            self.first_id = self.first_id if number is None else number
            return None
        data = json.loads(fields["data"])
        assert data["type"] == fields["event"]
        return Heard(number, fields["event"], data)

    def _read(self) -> None:
        """One chunk (RFC 9112 section 7.1)."""
        while b"\r\n" not in self._raw:
            self._more()
        line, _, self._raw = self._raw.partition(b"\r\n")
        size = int(line, 16)
        while len(self._raw) < size + 2:
            self._more()
        self._text, self._raw = self._text + self._raw[:size], self._raw[size + 2 :]
        self.has_ended = size == 0

    def _more(self) -> None:
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed the connection in the middle of a stream")
        self._raw += data


def names(heard: list[Heard]) -> list[str]:
    """The types of messages that have an id."""
    return [one.type for one in heard if one.id is not None]
