"""Groups: the metadata by which a client joins several uploads into one task. Our own extension, not a part of tus.

Rule: it is parsed completely or refused; incomplete metadata is refused too, since an upload that was meant for a group
and became a task of its own would leave the others waiting.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from server.errors import MetadataInvalidError
from server.tus.headers import is_id

TASK, FILES, FILE = "task", "task_files", "task_file"
_NUMBER = re.compile(rb"[0-9]{1,6}")


@dataclass(frozen=True)
class Group:
    """Which task an upload is to be part of, of how many files, and its place there from 1; None where it is free."""

    task_id: str
    files: int
    place: int | None


def parse_group(metadata: Mapping[str, bytes], most: int) -> Group | None:
    """The group in Upload-Metadata, of at most `most` files; None without. Raises `MetadataInvalidError`."""
    if not {TASK, FILES, FILE} & metadata.keys():
        return None
    for key, other in ((TASK, FILES), (FILES, TASK)):
        if key not in metadata:
            present = other if other in metadata else FILE
            raise MetadataInvalidError(reason="group_key_missing", present=present, key=key)
    # RFC 9562 section 4: upper case must be accepted too, and Apple's UUIDs use it.
    task_id = metadata[TASK].decode("latin-1").lower()
    if not is_id(task_id):
        raise MetadataInvalidError(reason="group_task", key=TASK)
    files = _number(metadata, FILES, most)
    return Group(task_id, files, _number(metadata, FILE, files) if FILE in metadata else None)


def _number(metadata: Mapping[str, bytes], key: str, most: int) -> int:
    value = metadata[key]
    if not _NUMBER.fullmatch(value) or not 1 <= int(value) <= most:
        raise MetadataInvalidError(reason="group_number", key=key, most=most)
    return int(value)
