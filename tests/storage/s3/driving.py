"""What the tests of the store in S3 share: appends, contents, and a client that fails where a test wants."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from botocore.exceptions import ClientError

from server.storage.base import UploadStore
from server.storage.s3.dialect import MIB
from server.transport.body import Moved
from tests.transport.scripted import GONE, Message, chunk, scripted, whole

PART = 5 * MIB
_BLOCK = hashlib.sha256(b"videodock").digest() * 2048


def noise(size: int, seed: int = 0) -> bytes:
    """So many bytes, no two megabytes alike."""
    blocks = -(-size // len(_BLOCK))
    return b"".join((seed * 1_000_003 + number).to_bytes(8, "big") + _BLOCK[8:] for number in range(blocks))[:size]


def messages(data: bytes, *, cut: bool = False) -> list[Message]:
    """A body of these bytes in pieces, complete or cut at its end."""
    pieces = [data[first : first + 262_144] for first in range(0, len(data), 262_144)]
    return [*map(chunk, pieces), GONE] if cut else whole(pieces)


def append(store: UploadStore, upload_id: str, offset: int, data: bytes, *, cut: bool = False) -> Moved:
    """Append bytes. Raises what the store raises."""

    async def work() -> Moved:
        body = scripted(messages(data, cut=cut), 5)
        try:
            return await store.append(upload_id, offset, body, 1 << 40)
        finally:
            await body.close()

    return asyncio.run(work())


def content(store: UploadStore, upload_id: str) -> bytes:
    """All bytes of a finished upload."""
    seen: list[bytes] = []
    store.show(upload_id, 0, lambda view: seen.append(bytes(view)))
    return b"".join(seen)


def refusal(code: str, status: int = 400) -> ClientError:
    """An answer of S3 that refuses."""
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "Call")


Fault = Callable[[str, str, int], None]
"""Is asked "before" and "after" each call, with its name and its number."""


def no_fault(_when: str, _name: str, _number: int) -> None:
    """Nothing goes wrong."""


class Crash(BaseException):
    """The process dies here: nothing handles it."""


class FaultyClient:
    """A client that asks `fault` before and after each call; what it raises is raised. `calls` are their names."""

    def __init__(self, client: Any, fault: Fault) -> None:
        self._client = client
        self._fault = fault
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(**params: object) -> Any:
            number = len(self.calls)
            self.calls.append(name)
            self._fault("before", name, number)
            found = getattr(self._client, name)(**params)
            self._fault("after", name, number)
            return found

        return call


def failing(name: str, *errors: Exception) -> Fault:
    """The first calls of this name raise these, one each, before they reach the server."""
    left = list(errors)

    def fault(when: str, called: str, _: int) -> None:
        if when == "before" and called == name and left:
            raise left.pop(0)

    return fault


def after(name: str, *errors: Exception) -> Fault:
    """The same, after the server has done them: their answers are lost."""
    left = list(errors)

    def fault(when: str, called: str, _: int) -> None:
        if when == "after" and called == name and left:
            raise left.pop(0)

    return fault


def sizes(parts: Sequence[Any]) -> list[int]:
    """The sizes of parts or pieces."""
    return [part.size for part in parts]
