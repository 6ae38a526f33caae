"""Copies bytes from one file to another without taking them into this process.

Rule: what is missing at the source is an error, never a shorter copy.
"""

import errno
import os

_MOST = 1 << 28  # bytes between two checks for a signal; the kernel may move less


def copy_range(source: int, source_offset: int, target: int, target_offset: int, count: int) -> None:
    """Copy inside the kernel: shared blocks where the file system can (XFS, Btrfs), never through our memory."""
    while count:
        moved = os.copy_file_range(source, target, min(count, _MOST), source_offset, target_offset)
        if not moved:
            raise FileNotFoundError(errno.ENOENT, "a part is shorter than it was")
        source_offset, target_offset, count = source_offset + moved, target_offset + moved, count - moved
