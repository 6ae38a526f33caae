"""The input and output of a decision: the offer, the facts about an upload, and the records of what to do.

Rule: frozen records without decisions; `protocol.py` makes these. Sections in the comments are those of
tus.io/protocols/resumable-upload.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import NamedTuple

from server.errors import ChecksumUnsupportedError
from server.tus.group_metadata import Group
from server.tus.headers import Checksum, parse_checksum

PARTIAL = "partial"


def is_partial(concat: str | None) -> bool:
    """Whether an upload with this Upload-Concat is a partial one (section Concatenation)."""
    return concat == PARTIAL


def is_final(concat: str | None) -> bool:
    """Whether an upload with this Upload-Concat is made of partial uploads."""
    return concat is not None and concat != PARTIAL


@dataclass(frozen=True)
class Offer:
    """The server's offer: the extensions, the checksum algorithms, the largest upload in bytes, and the most
    files of one task."""

    extensions: tuple[str, ...]
    algorithms: tuple[str, ...]
    max_size: int
    max_files: int = 50


class State(Enum):
    """What the protocol distinguishes about an upload."""

    OPEN = "open"  # bytes may be appended until it expires
    COMPLETE = "complete"  # every byte is stored for good
    REJECTED = "rejected"  # its first bytes are not those of an accepted video
    GONE = "gone"  # expired or terminated


class Facts(NamedTuple):
    """What the server knows about an upload when it judges a request. `offset` is the store's, in bytes."""

    id: str
    state: State
    offset: int
    length: int | None
    metadata_raw: str | None
    filename: str | None
    media_type: str | None
    expires_at: datetime
    now: datetime
    accepted: str = ""
    concat: str | None = None
    group: str | None = None
    """The task that it shares with other uploads."""
    owner: str = ""
    grant_id: str | None = None
    max_size: int | None = None
    """The most bytes of this upload, where that is less than the offer says."""
    first_byte_at: datetime | None = None
    """When its first byte came, for reports."""

    @property
    def is_open(self) -> bool:
        """Whether bytes may be appended until it expires."""
        return self.state is State.OPEN

    @property
    def is_complete(self) -> bool:
        """Whether every byte is stored for good."""
        return self.state is State.COMPLETE

    @property
    def is_rejected(self) -> bool:
        """Whether its first bytes are not those of an accepted video."""
        return self.state is State.REJECTED

    @property
    def is_partial(self) -> bool:
        """Whether it is a partial upload (section Concatenation)."""
        return is_partial(self.concat)

    @property
    def is_final(self) -> bool:
        """Whether it is made of partial uploads."""
        return is_final(self.concat)

    @property
    def has_task(self) -> bool:
        """Whether its task is registered; a partial upload never has one."""
        return self.is_complete and not self.is_partial


@dataclass(frozen=True)
class Create:
    """Create an upload; then append the body, if there is one, to it.

    `length` is in bytes, None while it is deferred. `concat` is Upload-Concat as it came; `parts` are the ids that
    a final upload is made of, and `signatures` what follows each of them in its URL. `group` is the task that it is to
    share with other uploads, `passthrough` the text by which its client's backend knows it.
    """

    length: int | None
    metadata_raw: str | None
    filename: str | None
    has_body: bool
    body_length: int | None = 0
    checksum: Checksum | None = None
    trailing: bool = False
    concat: str | None = None
    parts: tuple[str, ...] = ()
    signatures: tuple[str, ...] = ()
    group: Group | None = None
    client: str | None = None
    """The kind of client, for reports."""
    passthrough: str | None = None

    @property
    def is_checked(self) -> bool:
        """Whether the bytes of the body count only after they were checked."""
        return self.trailing or self.checksum is not None

    @property
    def is_partial(self) -> bool:
        """Whether it is a partial upload."""
        return is_partial(self.concat)


class Append(NamedTuple):
    """Add at most `limit` bytes at `offset`.

    `exact` means that the body cannot be longer, by its declared length. `length` is set when this request declares
    the deferred length. `checksum` is what the bytes must hash to; with `trailing` that comes after the body, in an
    algorithm of `algorithms`.
    """

    offset: int
    limit: int
    exact: bool
    length: int | None = None
    checksum: Checksum | None = None
    trailing: bool = False
    algorithms: tuple[str, ...] = ()

    @property
    def is_checked(self) -> bool:
        """Whether the bytes count only after they were checked."""
        return self.trailing or self.checksum is not None

    def trailing_checksum(self, trailers: Mapping[str, str]) -> Checksum | None:
        """Upload-Checksum that came after the body (section Checksum, checksum-trailer); None if none did."""
        raw = trailers.get("upload-checksum")
        return None if raw is None else check_algorithm(parse_checksum(raw), self.algorithms)


def check_algorithm(checksum: Checksum, algorithms: tuple[str, ...]) -> Checksum:
    """The checksum, if its algorithm is one of these."""
    if checksum.algorithm not in algorithms:
        raise ChecksumUnsupportedError(algorithm=checksum.algorithm[:32], offered=", ".join(algorithms))
    return checksum
