"""One append: the bytes of a body become parts, several at once, and a piece.

Rules:

- Parts and pieces are counted in the order of their bytes, and only when the bucket has them. After an error, those
  before it count, and nothing after it.
- The memory of a part is free as soon as the bucket has the part.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from server import threads
from server.storage.s3.checksum import crc32c
from server.storage.s3.ledger import Change, Part, PartLedger, Piece, StoredUpload
from server.storage.s3.memory import QUICK_SECONDS, Filling, PartMemory
from server.storage.s3.objects import HEAD_BYTES, Objects, key_of
from server.transport.body import Body, End, Moved, Permit, Tap

_T = TypeVar("_T")

_MANY_PIECES = 16
"""So many pieces become one: otherwise a client of tiny bodies would leave thousands for one part."""


@dataclass(frozen=True, kw_only=True, repr=False)
class AppendTools:
    """What all appends of a store share. `parallel` is how many parts of one upload are sent at once."""

    objects: Objects
    ledger: PartLedger
    memory: PartMemory
    pool: ThreadPoolExecutor
    parallel: int
    composing: threading.Semaphore
    """For parts that begin with earlier pieces: the memory for these is not counted, so they are few."""


class Appending:
    """An append to an upload that was begun, so that `upload.version` is this writer's."""

    def __init__(self, tools: AppendTools, upload: StoredUpload, permit: Permit | None = None) -> None:
        self._tools = tools
        self._permit = permit
        self._upload = upload
        self._multipart_id = upload.multipart_id
        self._pieces = upload.current_pieces
        self._position = upload.size
        self._running: deque[tuple[asyncio.Future[Part], Filling]] = deque()
        self._filling: Filling | None = None
        self._head: bytes | None = None
        self._is_quick = False

    @property
    def arrived(self) -> int:
        """Bytes that the upload has, or will have when they have reached the bucket."""
        filling = self._filling
        return self._position + (0 if filling is None else filling.count)

    async def run(self, body: Body, limit: int, see: Tap | None) -> Moved:
        """Store at most `limit` bytes of the body. Raises `UnavailableError`, `StorageFullError`, `LedgerLostError`."""
        moved, end, wanted = 0, End.LIMIT, 0
        try:
            while moved < limit and end is End.LIMIT:
                filling = self._filling = self._filling or await self._next(limit - moved)
                fed = await body.feed(_seen(filling, see), min(limit - moved, filling.room))
                moved, end = moved + fed.count, fed.end
                if not filling.room:
                    await self._begin_part(filling)
                elif filling.starved and self._running:
                    await self._count(least=len(self._running) - 1)  # which frees the memory of a part
                elif filling.starved and filling.count:
                    wanted = 2 * filling.count  # a slow body gets little, and a fast one a whole part
                    await self._park(filling)
                elif filling.starved:
                    await filling.wait(wanted)
            await self._end()
        finally:
            await self._give_up()
        return Moved(moved, end)

    async def _next(self, left: int) -> Filling:
        """The next part, of which `left` bytes may come. The bytes of a quick body wait for memory for all of them:
        part of it would have to be parked, and be sent again."""
        size = self._upload.part_size
        filling = Filling(self._tools.memory, size, self._position % size)
        if self._is_quick:
            await filling.wait(left)
        return filling

    async def _end(self) -> None:
        """The body is over: the rest becomes the last part of an upload of known length, else a piece."""
        filling = self._filling
        if filling is not None and filling.count:
            has_parts = self._upload.parts or self._running or self._position >= self._upload.part_size
            if has_parts and self._position + filling.count == self._upload.length:
                await self._begin_part(filling)
            else:
                await self._park(filling)
        await self._count(least=0)

    async def _begin_part(self, filling: Filling) -> None:
        """Send a part while the next one is filled."""
        if self._multipart_id is None:
            self._multipart_id = await self._do(self._begin_multipart)
        start = self._position - filling.before
        pieces, self._pieces, self._filling = (self._pieces if filling.before else []), [], None
        self._position += filling.count
        self._is_quick = filling.age < QUICK_SECONDS
        work = asyncio.ensure_future(self._do(self._send, filling, start, pieces))
        self._running.append((work, filling))
        await self._count(least=self._tools.parallel - 1)

    def _begin_multipart(self) -> str:
        upload = self._upload
        multipart_id = self._tools.objects.bucket.begin(key_of(upload.id), is_checked=True)
        self._tools.ledger.set_multipart(upload.id, upload.version, multipart_id)
        return multipart_id

    def _send(self, filling: Filling, start: int, pieces: list[Piece]) -> Part:
        try:
            if not pieces:
                return self._put(filling.whole(), start)
            with self._tools.composing:
                return self._put(filling.whole(self._tools.objects.read_pieces(pieces)), start)
        finally:
            filling.close()

    def _put(self, data: bytearray, start: int) -> Part:
        self._check_permit()
        number = start // self._upload.part_size + 1
        checksum = crc32c(memoryview(data))
        key, multipart_id = key_of(self._upload.id), self._multipart_id or ""
        etag = self._tools.objects.bucket.put_part(key, multipart_id, number, data, checksum)
        if start == 0:
            self._head = bytes(memoryview(data)[:HEAD_BYTES])
        return Part(start=start, size=len(data), number=number, etag=etag, crc32c=checksum)

    async def _count(self, *, least: int) -> None:
        """Wait until no more than `least` parts are on their way, and count those that have arrived."""
        arrived: list[Part] = []
        try:
            while self._running and (len(self._running) > least or self._running[0][0].done()):
                arrived.append(await self._running[0][0])
                self._running.popleft()
        finally:
            if arrived:
                head = self._head if arrived[0].start == 0 else None
                await self._do(self._change, Change(parts=arrived, head=head))

    async def _park(self, filling: Filling) -> None:
        """Store what has come as a piece, after all parts before it."""
        await self._count(least=0)
        start, count = self._position, filling.count
        try:
            piece = await self._do(self._put_piece, filling, start)
            await self._do(self._change, Change(pieces=[piece]))
        finally:
            filling.close()
        self._pieces = [piece] if piece.start < start else [*self._pieces, piece]
        self._position, self._filling = start + count, None

    def _put_piece(self, filling: Filling, start: int) -> Piece:
        self._check_permit()
        objects, data = self._tools.objects, filling.whole()
        if len(self._pieces) < _MANY_PIECES:
            return objects.put_piece(self._upload.id, start, data)
        with self._tools.composing:
            data[:0] = objects.read_pieces(self._pieces)
            return objects.put_piece(self._upload.id, self._pieces[0].start, data)

    def _check_permit(self) -> None:
        """Before each write. Raises `UploadLockedError` once the lock is no longer this writer's."""
        if self._permit is not None:
            self._permit()

    def _change(self, change: Change) -> None:
        self._tools.ledger.change(self._upload.id, self._upload.version, change)

    async def _give_up(self) -> None:
        """After an error: wait for what is on its way, which does not count, and give the memory back."""
        while self._running:
            work, filling = self._running.popleft()
            await asyncio.wait({work})
            if not work.cancelled():
                work.exception()
            filling.close()
        if self._filling is not None:
            self._filling.close()

    async def _do(self, work: Callable[..., _T], *args: object) -> _T:
        return await threads.run(work, *args, pool=self._tools.pool)


def _seen(filling: Filling, see: Tap | None) -> Callable[[memoryview], int]:
    if see is None:
        return filling

    def take(view: memoryview) -> int:
        count = filling(view)
        if count:
            see(view[:count])
        return count

    return take
