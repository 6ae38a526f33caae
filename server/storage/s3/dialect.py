"""In what the servers that speak S3 differ.

Rule: nothing else in this room asks which server it is; each difference is a switch here, and each server a preset.
"""

from dataclasses import dataclass, replace

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """The switches of one kind of server; sizes are bytes."""

    name: str
    is_path_style: bool = True
    """Whether the bucket is in the path of a URL and not in its host name."""
    has_crc32c: bool = True
    """Whether the server verifies the CRC32C that comes with an object."""
    has_part_crc32c: bool = True
    """The same for parts, whose checksums `CompleteMultipartUpload` compares once more."""
    has_equal_parts: bool = False
    """Whether all parts but the last must have the same size."""
    copies_parts: bool = True
    """Whether it has UploadPartCopy."""
    least_part: int = 5 * MIB
    most_parts: int = 10_000
    largest_copy: int = 5 * GIB
    parallel: int = 64
    """Parts of one upload that may be sent at once."""


_PRESETS = (
    Dialect(name="aws", is_path_style=False),
    # Cloudflare documents equal parts, and three at once.
    Dialect(name="r2", has_equal_parts=True, has_part_crc32c=False, parallel=3),
    Dialect(name="b2", has_crc32c=False, has_part_crc32c=False),
    Dialect(name="ceph", has_part_crc32c=False),
    Dialect(name="minio"),
    Dialect(name="seaweedfs", has_crc32c=False, has_part_crc32c=False),
    Dialect(name="versitygw"),
    # Nothing that a server could lack.
    Dialect(name="plain", has_crc32c=False, has_part_crc32c=False, has_equal_parts=True, copies_parts=False),
)
PRESETS = {dialect.name: dialect for dialect in _PRESETS}


def part_size(dialect: Dialect, length: int, least: int) -> int:
    """The size of the parts of an upload of at most `length` bytes: `least` where the number of parts allows it."""
    needed = -(-length // dialect.most_parts)
    wanted = max(least, dialect.least_part, needed)
    return -(-wanted // MIB) * MIB


def changed(dialect: Dialect, *, path_style: bool | None) -> Dialect:
    """The preset with what the URL of the store says."""
    return dialect if path_style is None else replace(dialect, is_path_style=path_style)
