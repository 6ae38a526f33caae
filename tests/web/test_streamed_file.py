"""A response from bytes elsewhere reads no more of them than its client takes."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from server.errors import UnavailableError
from server.settings import Settings
from server.storage.stored_file import Read, stat_of
from server.web.file_response import Range
from server.web.streamed_file import StreamedFileResponse

PIECE, COUNT = b"x" * 1000, 50


class Place:
    """Bytes elsewhere, in pieces; at the piece number `fails_at` reading fails."""

    def __init__(self, fails_at: int = COUNT, error: Exception | None = None) -> None:
        self.read_pieces = 0
        self.is_closed = False
        self._fails_at = fails_at
        self._error = error

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        try:
            for _ in range(start, stop, len(PIECE)):
                if self._error is not None and self.read_pieces == self._fails_at:
                    raise self._error
                self.read_pieces += 1
                yield PIECE
        finally:
            self.is_closed = True


class Client:
    """What a server sees of a client; it is gone, or takes nothing more, after so many messages with a body."""

    def __init__(self, *, gone_after: int = 1000, stuck_after: int = 1000) -> None:
        self.messages: list[dict[str, Any]] = []
        self._gone_after = gone_after
        self._stuck_after = stuck_after
        self._gone = asyncio.Event()
        self._asked = False

    async def receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.messages.append(message)
        if len(self.messages) > self._gone_after:
            self._gone.set()
        if len(self.messages) > self._stuck_after:
            await asyncio.Event().wait()
        await asyncio.sleep(0)

    @property
    def is_complete(self) -> bool:
        return self.messages[-1]["type"] == "http.response.body" and not self.messages[-1].get("more_body")

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)


def answer(read: Read, client: Client, folder: Path, method: str = "GET", ranges: list[Range] | None = None) -> None:
    """Answer this request for all, or for these ranges."""
    settings = Settings(data_dir=folder, body_idle_timeout=0.2)

    def refuse(error: Exception, _: object) -> Response:
        return Response(type(error).__name__, 503)

    made = StreamedFileResponse(read, stat_of(COUNT * len(PIECE)), "video/mp4", {}, ranges, refuse, settings)
    scope: dict[str, Any] = {"type": "http", "method": method, "headers": []}
    asyncio.run(asyncio.wait_for(made(scope, client.receive, client.send), 30))


def test_all_bytes_are_sent(tmp_path: Path) -> None:
    """Whole, and in a range; the reading is closed afterwards. HEAD reads nothing."""
    place, client = Place(), Client()
    answer(place.read, client, tmp_path)
    assert (client.is_complete, client.body, place.is_closed) == (True, PIECE * COUNT, True)
    place, client = Place(), Client()
    answer(place.read, client, tmp_path, ranges=[(1000, 3000)])
    assert (client.messages[0]["status"], client.body, place.read_pieces) == (206, PIECE * 2, 2)
    place, client = Place(), Client()
    answer(place.read, client, tmp_path, "HEAD")
    assert (client.is_complete, client.body, place.read_pieces) == (True, b"", 0)


def test_a_client_that_is_gone_ends_the_reading(tmp_path: Path) -> None:
    """A server drops what is sent to nobody: a player that seeks would have all the rest of a video read."""
    place, client = Place(), Client(gone_after=3)
    answer(place.read, client, tmp_path)
    assert place.read_pieces < 10
    assert (client.is_complete, place.is_closed) == (False, True)


def test_a_client_that_takes_nothing_ends_the_reading(tmp_path: Path) -> None:
    """After `body_idle_timeout`, without the end of the body, so that the server closes the connection."""
    place, client = Place(), Client(stuck_after=3)
    answer(place.read, client, tmp_path)
    assert (client.is_complete, place.is_closed) == (False, True)
    assert place.read_pieces < 10


def test_a_fault_before_the_first_byte_is_an_answer(tmp_path: Path) -> None:
    """And one after it cuts the connection: half a body is never told to be whole."""
    client = Client()
    answer(Place(0, UnavailableError(part="store")).read, client, tmp_path)
    assert (client.messages[0]["status"], client.body) == (503, b"UnavailableError")
    client = Client()
    with pytest.raises(UnavailableError):
        answer(Place(5, UnavailableError(part="store")).read, client, tmp_path)
    assert (client.messages[0]["status"], client.is_complete) == (200, False)
