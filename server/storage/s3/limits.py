"""What a store in S3 may use: memory, parts, time and disk.

Rule: numbers only; the settings say how many.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a store may use. Sizes are bytes, times seconds."""

    memory: int
    """For parts on their way, in all."""
    part_size: int
    """The least size of parts."""
    largest: int
    """The largest upload, for those whose length is not known at their creation."""
    parallel: int
    """Parts of one upload that are sent at once."""
    deadline: float
    """How long a call is repeated."""
    cache: int
    """For local copies, in all."""
