"""Metadata that a grant or a backend adds to a creation.

Rule: an added value replaces the client's, and everything that is read from metadata is read again.
"""

import base64
from collections.abc import Mapping
from dataclasses import replace

from server.tus.group_metadata import parse_group
from server.tus.headers import file_name, parse_metadata
from server.tus.passthrough import parse_passthrough
from server.tus.records import Create


def with_metadata(create: Create, added: Mapping[str, str], most_files: int) -> Create:
    """The creation with these values in its metadata, whatever its client sent for them.

    Raises `MetadataInvalidError`. A group has at most `most_files`.
    """
    pairs = [pair.strip(" \t") for pair in (create.metadata_raw or "").split(",")]
    kept = [pair for pair in pairs if pair and pair.partition(" ")[0] not in added]
    new = [f"{key} {base64.b64encode(value.encode()).decode()}" if value else key for key, value in added.items()]
    raw = ",".join([*kept, *new])
    metadata = parse_metadata(raw)
    return replace(
        create,
        metadata_raw=raw,
        filename=file_name(metadata),
        group=parse_group(metadata, most_files),
        passthrough=parse_passthrough(metadata),
    )
