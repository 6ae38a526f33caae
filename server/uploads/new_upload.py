"""The parameters of a creation.

Rule: it has what the caller knows. The repository adds the id and the times of the row, the model its defaults.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from server import filenames
from server.tus.group_metadata import Group


@dataclass(frozen=True, kw_only=True)
class CreationTerms:
    """What a grant says of the uploads that it creates. Sizes are bytes; None is as for every upload.

    With `upload_id`, which the grant has reserved, an upload that exists already is the result of its creation.
    """

    grant_id: str | None = None
    upload_id: str | None = None
    max_size: int | None = None
    max_files: int | None = None
    types: tuple[str, ...] | None = None
    task: str | None = None
    """The task that the grant names: its client may join it, whichever other clients have."""


NO_TERMS = CreationTerms()


@dataclass(frozen=True, kw_only=True)
class NewUpload:
    """An upload to be created. Sizes are bytes; `length` is None while it is unknown.

    `parts` are the ids that a final upload is made of. With `group` the upload takes a place there. It reserves disk
    space for `reserved` bytes, or else for its length; from the upload `heir_of` it takes over the reservation instead.
    """

    COLUMNS: ClassVar = (
        "id", "owner", "protocol", "client", "grant_id", "length", "max_size", "metadata_raw", "filename",
        "passthrough", "media_type", "concat", "reserved", "task_id", "created_at", "updated_at", "expires_at",
    )  # fmt: skip
    """The columns of `row`."""

    id: str
    owner: str
    protocol: str
    task_id: str
    length: int | None = None
    client: str | None = None
    metadata_raw: str | None = None
    filename: str | None = None
    passthrough: str | None = None
    media_type: str | None = None
    concat: str | None = None
    parts: tuple[str, ...] = ()
    group: Group | None = None
    reserved: int | None = None
    heir_of: str | None = None
    terms: CreationTerms = NO_TERMS

    @property
    def shown_name(self) -> str | None:
        """The file's name for display and for the row."""
        return None if self.filename is None else filenames.display(self.filename)

    @property
    def room(self) -> int:
        """Bytes of disk space to reserve."""
        return (self.length or 0) if self.reserved is None else self.reserved

    def row(self, now: datetime, expires_at: datetime) -> Mapping[str, Any]:
        """Its columns in `uploads`, except those that the model fills in."""
        return {
            "id": self.id,
            "owner": self.owner,
            "protocol": self.protocol,
            "client": self.client,
            "grant_id": self.terms.grant_id,
            "length": self.length,
            "max_size": self.terms.max_size,
            "metadata_raw": self.metadata_raw,
            "filename": self.shown_name,
            "passthrough": self.passthrough,
            "media_type": self.media_type,
            "concat": self.concat,
            "reserved": self.room,
            "task_id": self.task_id,
            "created_at": now,
            "updated_at": now,
            "expires_at": expires_at,
        }

    def part_rows(self) -> list[Mapping[str, Any]]:
        """Its rows in `upload_parts`."""
        return [
            {"final_id": self.id, "position": position, "part_id": part_id}
            for position, part_id in enumerate(self.parts, 1)
        ]
