"""Syncing files and folders to the disk.

Rule: to make a name durable, sync the folders that lead to it too: a file without its folder's entry is lost.
"""

import os
from pathlib import Path


def sync(*paths: str | Path) -> None:
    """`fsync` of each, in this order. Blocking. Raises `OSError`."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
