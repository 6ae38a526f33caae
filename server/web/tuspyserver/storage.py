"""tuspyserver's storage of uploads, which delegates to our service.

Rule: tuspyserver gets what was decided already and keeps nothing. Its storage answers from the facts of the one
request it works for (an `Errand`), and each byte that it appends goes on, as a `Body`, into `UploadService.append`.
So locks, type check, checksums, offsets, completion and tasks are the service's with this engine too.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from contextvars import ContextVar
from typing import Any

from tuspyserver.storage import TusStorage

from server.transport.body import Body, End
from server.tus.protocol import Append, Facts

# Chunks that tuspyserver may be ahead of the writer. A chunk is one read of the server, at most 64 KiB.
_AHEAD = 4

Run = Callable[[], Coroutine[Any, Any, None]]


class Errand:
    """One request that tuspyserver works on: what it may know of the upload, and what it may do to it."""

    def __init__(self, facts: Facts | None = None) -> None:
        self.facts = facts
        """None until the upload is created."""

    async def create(self) -> None:
        """Create the upload."""
        raise NotImplementedError

    async def append(self, chunk: bytes) -> None:
        """The next bytes of the request's body."""
        raise NotImplementedError

    async def flush(self) -> None:
        """There are no more; returns when those that came are stored and `facts` shows it."""

    async def remove(self) -> None:
        """Remove the upload."""
        raise NotImplementedError


class Creation(Errand):
    """POST. The upload gets an id of ours: tuspyserver's have no hyphens, and its own is dropped."""

    def __init__(self, make: Callable[[], Awaitable[Facts]]) -> None:
        super().__init__()
        self._make = make

    async def create(self) -> None:
        self.facts = await self._make()


class Termination(Errand):
    """DELETE."""

    def __init__(self, facts: Facts, take: Callable[[], Awaitable[None]]) -> None:
        super().__init__(facts)
        self._take = take

    async def remove(self) -> None:
        await self._take()


class Reception(Errand, Body):
    """PATCH: tuspyserver reads the request's body (`receive`) and appends it; the service takes it from there.

    tuspyserver starts when the service wants the first byte, so that every refusal of the request happens
    before tuspyserver has seen it. An early end of the source (the client went away, fell silent,
    or another request wants the upload) is `http.disconnect` for tuspyserver, and the service gets the true reason.
    """

    def __init__(self, source: Body, idle_seconds: float) -> None:
        Errand.__init__(self)
        Body.__init__(self, idle_seconds)
        self.trailers = source.trailers
        self._source = source
        self._run: Run = _unjudged
        self._task: asyncio.Task[None] | None = None
        self._chunks: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._settled = asyncio.Event()
        self._left = 0
        self._extra = b""
        self._source_end = End.COMPLETE
        self._end_of_it: End | None = None
        self._stopped = False

    # The service's side

    def judged(self, facts: Facts, decision: Append, run: Run) -> None:
        """The request is accepted: what tuspyserver may know, how much it may read, and how it is started."""
        self.facts, self._left, self._run = facts, decision.limit, run

    async def next_chunk(self, seconds: float) -> bytes | End | None:
        self._begin()
        while not self._chunks and not self._stopped and self._end_of_it is None:
            self._changed.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                return None
        if self._stopped:
            return End.STOPPED
        if self._chunks:
            self._room.set()
            return self._chunks.popleft()
        return self._end_of_it

    def stop(self) -> None:
        self._stopped = True
        self._changed.set()
        # Ends tuspyserver's wait too, by `http.disconnect`.
        self._source.stop()

    async def settle(self, facts: Facts) -> None:
        """Everything is stored; wait for tuspyserver's end. Raises when it does not agree."""
        self.facts = facts
        self._settled.set()
        await self._begin()

    def check(self) -> None:
        """Raise the error that made tuspyserver give up, if that is why the body ended."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def close(self) -> None:
        """End the asyncio task."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.exception()

    def _begin(self) -> asyncio.Task[None]:
        if self._task is None:
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(self._gave_up)
        return self._task

    def _gave_up(self, _: object) -> None:
        # After a flush this changes nothing; before one, tuspyserver has refused an accepted request.
        if self._end_of_it is None:
            self._end_of_it = End.GONE
            self._changed.set()

    # tuspyserver's side

    async def receive(self) -> MutableMapping[str, Any]:
        """The body for tuspyserver, never longer than what was accepted."""
        if self._extra:
            # tuspyserver would respond with 400 and keep the beginning; the service takes all of such a body back.
            await self._offer(self._extra)
            await asyncio.Event().wait()  # until the service, which refuses now, closes this
        more = await self._source.available(self._idle_seconds)  # its first bytes may have been peeked at
        if isinstance(more, bytes):
            more, self._extra = more[: self._left], more[self._left :]
            self._left -= len(more)
            return {"type": "http.request", "body": more, "more_body": True}
        self._source_end = more or End.IDLE
        if self._source_end is End.COMPLETE:
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.disconnect"}

    async def append(self, chunk: bytes) -> None:
        await self._offer(chunk)

    async def flush(self) -> None:
        self._end_of_it = self._source_end
        self._changed.set()
        await self._settled.wait()

    async def _offer(self, chunk: bytes) -> None:
        while len(self._chunks) >= _AHEAD:
            self._room.clear()
            await self._room.wait()
        self._chunks.append(chunk)
        self._changed.set()


errand: ContextVar[Errand] = ContextVar("videodock_errand")
"""The request that tuspyserver works on: its storage methods get an id only."""


class Storage(TusStorage):
    """tuspyserver's contract. It may create, append and delete; what it would remember comes from the row."""

    async def create(self, uid: str) -> None:  # noqa: ARG002  # the errand has it
        await errand.get().create()

    async def exists(self, uid: str) -> bool:  # noqa: ARG002
        return errand.get().facts is not None

    async def size(self, uid: str) -> int:  # noqa: ARG002
        facts = errand.get().facts
        return facts.offset if facts is not None else 0

    async def append(self, uid: str, chunk: bytes) -> None:  # noqa: ARG002
        await errand.get().append(chunk)

    async def flush(self, uid: str) -> None:  # noqa: ARG002
        await errand.get().flush()

    async def finalize(self, uid: str) -> None:
        """Nothing to do: the service has finished the upload, under its lock, before `flush` returned."""

    async def read(self, uid: str) -> bytes | None:  # noqa: ARG002
        return None  # a whole video is never read into memory

    async def delete(self, uid: str) -> None:  # noqa: ARG002
        await errand.get().remove()

    async def read_info(self, uid: str) -> dict[str, Any] | None:  # noqa: ARG002
        facts = errand.get().facts
        if facts is None:
            return None
        return {
            # tuspyserver refuses HEAD on an upload without both; it does not need the true metadata.
            "metadata": {"filename": "-", "filetype": "-"},
            "size": facts.length,
            "offset": facts.offset,
            "defer_length": facts.length is None,
            "created_at": "",
            "expires": None,
        }

    async def write_info(self, uid: str, data: dict[str, Any]) -> None:
        """Nothing is written: the store knows how many bytes there are, and the row everything else."""

    async def list_uids(self) -> list[str]:
        return []  # the sweep removes what has expired

    def location(self, uid: str) -> str:
        return uid

    def lock(self, uid: str) -> contextlib.AbstractAsyncContextManager[None]:  # type: ignore[override]  # noqa: ARG002
        """Nothing to take: the service holds the upload's lock before tuspyserver reads its first byte."""
        return contextlib.nullcontext()


async def _unjudged() -> None:
    raise RuntimeError("this request was not judged")
