"""The objects of one upload: their keys, and the bytes of its pieces.

Rule: a key that was written is never written again with other bytes, so what is known under a key stays true. The one
exception is the object that a multipart upload becomes.
"""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from server.errors import UnavailableError
from server.storage.s3.bucket import Bucket, Bytes
from server.storage.s3.checksum import crc32c
from server.storage.s3.ledger import Piece, StoredUpload

UPLOADS = "uploads/"
MARKER = ".videodock"
HEAD_BYTES = 512
"""First bytes that the ledger keeps of an upload with parts."""


def folder_of(upload_id: str) -> str:
    """What all keys of an upload begin with."""
    return f"{UPLOADS}{upload_id}/"


def key_of(upload_id: str) -> str:
    """The key of the object that a multipart upload becomes."""
    return f"{folder_of(upload_id)}whole"


def new_key(upload_id: str, start: int) -> str:
    """A key for bytes from `start` that was never used."""
    return f"{folder_of(upload_id)}{start}-{secrets.token_hex(8)}"


class Objects:
    """Pieces, written and read; those that this process wrote last are kept in memory, at most `kept` bytes."""

    def __init__(self, bucket: Bucket, kept: int) -> None:
        self.bucket = bucket
        self._kept = kept
        self._lock = threading.Lock()
        self._known: OrderedDict[str, bytes] = OrderedDict()
        self._known_bytes = 0

    def put_piece(self, upload_id: str, start: int, data: Bytes) -> Piece:
        """Write bytes as a piece, which does not count before the ledger has it. Blocking."""
        piece = Piece(start=start, size=len(data), key=new_key(upload_id, start), crc32c=crc32c(memoryview(data)))
        self.bucket.put(piece.key, data, piece.crc32c)
        self._keep(piece.key, data)
        return piece

    def read_pieces(self, pieces: Sequence[Piece]) -> bytes:
        """The bytes of pieces, one after the other. Raises `UnavailableError` where they are not what was written.
        Blocking."""
        return b"".join(self._read(piece) for piece in pieces)

    def delete_pieces(self, pieces: Sequence[Piece]) -> None:
        """Delete their objects. Idempotent. Blocking."""
        with self._lock:
            for piece in pieces:
                self._known_bytes -= len(self._known.pop(piece.key, b""))
        self.bucket.delete([piece.key for piece in pieces])

    def stream(self, upload: StoredUpload, start: int, stop: int) -> Iterator[bytes]:
        """Bytes of an upload in pieces of at most a MiB. Blocking.

        Raises `OSError` for bytes of parts that are not an object yet: S3 shows none of them.
        """
        if upload.object_key is not None:
            yield from self.bucket.stream(upload.object_key, start, stop)
            return
        if start < min(stop, upload.parts_end):
            raise OSError(0, "the bytes of an unfinished multipart upload cannot be read")
        for piece in upload.current_pieces:
            first, last = max(start, piece.start), min(stop, piece.end)
            if first < last:
                yield self._read(piece)[first - piece.start : last - piece.start]

    def _read(self, piece: Piece) -> bytes:
        with self._lock:
            if piece.key in self._known:
                self._known.move_to_end(piece.key)
                return self._known[piece.key]
        data = self.bucket.get(piece.key, 0, piece.size)
        if crc32c(data) != piece.crc32c:
            raise UnavailableError(part="store")
        return data

    def _keep(self, key: str, data: Bytes) -> None:
        if len(data) > self._kept:
            return
        with self._lock:
            self._known[key] = bytes(data)
            self._known_bytes += len(data)
            while self._known_bytes > self._kept:
                _, gone = self._known.popitem(last=False)
                self._known_bytes -= len(gone)
