"""The checksum that S3 compares: CRC32C, as base64 of its big-endian bytes.

Rule: it is computed here, and never by botocore, which would read every part once more.
"""

import base64

_AT_ONCE = 1 << 17


class Crc32c:
    """The CRC32C of bytes that come one after the other."""

    def __init__(self) -> None:
        self._crc = 0

    def update(self, data: bytes | memoryview) -> None:
        """Add more bytes."""
        import google_crc32c  # of the extra `s3`

        if isinstance(data, bytes):
            self._crc = google_crc32c.extend(self._crc, data)
            return
        # It takes no bytes that could change meanwhile; a small copy stays in the cache of the processor.
        for first in range(0, len(data), _AT_ONCE):
            self._crc = google_crc32c.extend(self._crc, bytes(data[first : first + _AT_ONCE]))

    @property
    def text(self) -> str:
        """As S3 writes it."""
        return base64.b64encode(self._crc.to_bytes(4, "big")).decode()


def crc32c(data: bytes | memoryview) -> str:
    """The checksum of these bytes."""
    found = Crc32c()
    found.update(data)
    return found.text
