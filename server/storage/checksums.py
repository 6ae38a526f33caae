"""The checksum algorithms that clients may use.

Rule: an algorithm is offered only when its implementation is installed; sha1 is offered because clients use it, and
without any claim of trust: it finds broken bytes, not forged ones.
"""

import hashlib
import importlib.util
from typing import Any, Protocol


class Hash(Protocol):
    """What a store needs of a hash."""

    def update(self, data: bytes | memoryview, /) -> object:
        """Add more bytes."""

    def digest(self) -> bytes:
        """The digest of all bytes so far."""


_HASHLIB = ("sha1", "sha256", "sha512", "md5")
_CRC32C = "crc32c"

ALGORITHMS: tuple[str, ...] = (*_HASHLIB, *([_CRC32C] if importlib.util.find_spec("google_crc32c") else []))
"""What this installation offers; `crc32c` needs the extra of that name."""


def new(algorithm: str) -> Hash:
    """A hash of an offered algorithm."""
    if algorithm == _CRC32C:
        return _Crc32c()
    return hashlib.new(algorithm, usedforsecurity=False)


class EveryHash:
    """All offered algorithms at once, for bytes that cannot be read again when their algorithm becomes known."""

    def __init__(self) -> None:
        self._hashes = {algorithm: new(algorithm) for algorithm in ALGORITHMS}

    def update(self, data: bytes | memoryview, /) -> object:
        """Add more bytes."""
        for one in self._hashes.values():
            one.update(data)
        return None

    def of(self, algorithm: str) -> Hash:
        """The hash of an offered algorithm."""
        return self._hashes[algorithm]


class _Crc32c:
    def __init__(self) -> None:
        import google_crc32c

        self._crc: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]

    def update(self, data: bytes | memoryview, /) -> object:
        return self._crc.update(bytes(data))  # it takes no buffer that could change meanwhile

    def digest(self) -> bytes:
        digest: bytes = self._crc.digest()
        return digest
