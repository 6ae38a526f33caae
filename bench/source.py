"""The bytes that are sent: random ones in memory, and the comparison with what a server has stored.

Rule: no two stretches are alike, so that a block that is lost, doubled or in another's file is seen; and each mebibyte
begins like an MP4 file, so that an upload may begin at any of them and be taken for a video.
"""

import base64
import hashlib
import mmap
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

MIB = 1 << 20
_FTYP = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"


class WrongBytesError(Exception):
    """What a server has stored is not what was sent."""


class Source:
    """At least `size` random bytes in a file below `folder`, which should be in memory (tmpfs)."""

    def __init__(self, folder: Path, size: int) -> None:
        self.size = max(1, -(-size // MIB)) * MIB
        self._path = folder / "source"
        with self._path.open("wb") as file:
            for _ in range(self.size // MIB):
                file.write(_FTYP + os.urandom(MIB - len(_FTYP)))
        self._file = self._path.open("rb")
        self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        self._sums: dict[tuple[int, int], str] = {}
        self.hash_seconds: dict[tuple[int, int], float] = {}
        """What `hashlib` alone took for the SHA-1 of a stretch."""

    def slices(self, count: int, length: int) -> list["Slice"]:
        """So many stretches of `length` bytes; they differ, and do not overlap as long as there is room."""
        step = -(-length // MIB) * MIB
        return [Slice(self, number * step % self.size, length) for number in range(count)]

    def pieces(self, start: int, length: int) -> Iterator[memoryview]:
        """The bytes from `start` on, from the beginning again when the end is reached."""
        view = memoryview(self._map)
        while length:
            start %= self.size
            piece = view[start : start + min(length, self.size - start)]
            yield piece
            start, length = start + len(piece), length - len(piece)

    def send(self, connection: socket.socket, start: int, length: int) -> None:
        """Send bytes by `sendfile`; the socket is a blocking one."""
        while length:
            start %= self.size
            sent = os.sendfile(connection.fileno(), self._file.fileno(), start, min(length, self.size - start))
            start, length = start + sent, length - sent

    def open(self) -> BinaryIO:
        """The bytes as a file."""
        return self._path.open("rb")

    def sha1(self, start: int, length: int) -> str:
        """The SHA-1 of a stretch in base64; reckoned once, so that it costs a client nothing while time is taken."""
        known = self._sums.get((start, length))
        if known is None:
            began = time.perf_counter()
            hashed = hashlib.sha1(usedforsecurity=False)
            for piece in self.pieces(start, length):
                hashed.update(piece)
            known = self._sums[start, length] = base64.b64encode(hashed.digest()).decode()
            self.hash_seconds[start, length] = time.perf_counter() - began
        return known

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # The map goes with the process: views of it may still be about.
        self._file.close()
        self._path.unlink()


@dataclass(frozen=True)
class Slice:
    """The content of one upload: `length` bytes of a source from `start` on."""

    source: Source
    start: int
    length: int

    def send(self, connection: socket.socket, offset: int, length: int) -> None:
        """Send bytes `offset` to `offset + length` of this upload."""
        self.source.send(connection, self.start + offset, length)

    def read(self, offset: int, length: int) -> bytes:
        """The same bytes, as bytes."""
        return b"".join(self.source.pieces(self.start + offset, length))

    def sha1(self, offset: int, length: int) -> str:
        """The SHA-1 of these bytes in base64."""
        return self.source.sha1(self.start + offset, length)

    def compare(self, stored: Path, length: int | None = None) -> None:
        """Raise `WrongBytesError` unless `stored` has exactly the first `length` bytes (None: all)."""
        expected = self.length if length is None else length
        try:
            with stored.open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                if size != expected:
                    raise WrongBytesError(f"{size} bytes are stored instead of {expected}")
                self._compare(file.fileno(), expected)
        except FileNotFoundError:
            raise WrongBytesError("the file is not there") from None

    def _compare(self, descriptor: int, length: int) -> None:
        offset = 0
        while offset < length:
            found = os.read(descriptor, min(MIB, length - offset))
            if found != self.read(offset, len(found)) or not found:
                raise WrongBytesError(f"the bytes from {offset} on are not those that were sent")
            offset += len(found)
