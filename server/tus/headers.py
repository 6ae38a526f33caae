"""Parse and format every protocol header.

Rule: a header is parsed completely or refused; a header that came twice is refused, since two readers could
take different ones. Numbers are ASCII digits, at most 2^63 - 1.
"""

import base64
import binascii
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import NamedTuple

from server.errors import HeaderInvalidError, HeaderMissingError, MetadataInvalidError, PartRepeatedError

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
MAX_LENGTH = (1 << 63) - 1
_MAX_METADATA = 1 << 14
MAX_PARTS = 1000
_DIGITS = re.compile(r"[0-9]{1,19}")
# RFC 9110 token would be narrower than what the specification allows in a key: not empty, no space, no comma.
_KEY = re.compile(r"[!-+\--~]+")
# A URL of a list, which blanks alone separate: otherwise two with a comma between them would lose the first.
_URL = re.compile(r"[!-+\--:<-~]+")
# The part that a refusal quotes is bounded.
_METHOD = re.compile(r"[A-Za-z]{1,16}")
_SIGNATURE = re.compile(r"~[^ \t]*")
_ALGORITHM = re.compile(r"[!-~]{1,64}")
# RFC 9110 section 5.6.3. `strip()` alone removes what other readers keep: no-break spaces and controls.
_BLANKS = " \t"

# The headers that every request of an upload has, or is asked for. Known, they need not be made lower case each time.
_NAMES = (
    "Host", "User-Agent", "Accept", "Authorization", "Content-Type", "Content-Length", "Content-Encoding",
    "Transfer-Encoding", "Trailer", "Tus-Resumable", "Upload-Offset", "Upload-Length", "Upload-Metadata",
    "Upload-Defer-Length", "Upload-Concat", "Upload-Checksum", "X-HTTP-Method-Override",
)  # fmt: skip
_LOWER = {name: name.lower() for name in _NAMES}
_KEYS = {key.encode(): key for key in _LOWER.values()}


@dataclass(frozen=True)
class Head:
    """The head of a request, as far as a protocol needs it. Header names are lower case."""

    method: str
    headers: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, method: str, raw: Iterable[tuple[bytes, bytes]]) -> "Head":
        """From the method and the headers as an ASGI scope has them; X-HTTP-Method-Override counts on every method."""
        headers: dict[str, tuple[str, ...]] = {}
        repeated: dict[str, list[str]] = {}  # not tuples that grow: of 100,000 headers, those took 20 s
        for name, value in raw:
            key = _KEYS.get(name) or name.decode("latin-1").lower()
            text = value.decode("latin-1").strip(_BLANKS)
            if key in headers:
                repeated.setdefault(key, [*headers[key]]).append(text)
            else:
                headers[key] = (text,)
        headers |= {key: tuple(texts) for key, texts in repeated.items()}
        head = cls(method.upper(), headers)
        if "x-http-method-override" not in headers:
            return head
        # Protocol 1.0.0, X-HTTP-Method-Override: the actual method MUST be ignored.
        override = head.get("X-HTTP-Method-Override")
        if override and not _METHOD.fullmatch(override):
            raise HeaderInvalidError(name="X-HTTP-Method-Override", reason="header_method")
        return cls(override.upper(), headers) if override else head

    def get(self, name: str) -> str | None:
        """The header's value, or None; raises `HeaderInvalidError` when it came twice."""
        values = self.headers.get(_LOWER.get(name) or name.lower())
        if values is None:
            return None
        if len(values) > 1:
            raise HeaderInvalidError(name=name, reason="header_repeated")
        return values[0]

    def number(self, name: str) -> int | None:
        """A header that is a whole number of bytes, or None where it is absent."""
        value = self.get(name)
        if value is None:
            return None
        if not _DIGITS.fullmatch(value) or (number := int(value)) > MAX_LENGTH:
            raise HeaderInvalidError(name=name, reason="header_number", most=MAX_LENGTH)
        return number

    def needed_number(self, name: str) -> int:
        """The same, where the protocol requires the header."""
        number = self.number(name)
        if number is None:
            raise HeaderMissingError(name=name)
        return number

    @property
    def body_length(self) -> int | None:
        """Bytes of the body; None for a chunked one, which may be empty: only its end shows the length."""
        if "transfer-encoding" in self.headers:
            return None
        return self.number("Content-Length") or 0

    def without_body(self) -> "Head":
        """The head of the same request with an empty body."""
        framing = ("transfer-encoding", "content-length", "trailer")
        return Head(self.method, {name: values for name, values in self.headers.items() if name not in framing})

    @property
    def content_codings(self) -> tuple[str, ...]:
        """Content-Encoding (RFC 9110 section 8.4) in lower case, without `identity`, which codes nothing."""
        values = self.headers.get("content-encoding")
        if values is None:
            return ()
        listed = ",".join(values).split(",")
        return tuple(coding for name in listed if (coding := name.strip(_BLANKS).lower()) not in ("", "identity"))

    @property
    def content_type(self) -> str:
        """The media type of the body without parameters, in lower case; empty where there is none."""
        return (self.get("Content-Type") or "").partition(";")[0].strip(_BLANKS).lower()


def parse_metadata(raw: str | None) -> dict[str, bytes]:
    """Upload-Metadata (protocol 1.0.0, Creation): pairs of key and base64 value; a value may be missing."""
    if not raw:
        return {}
    if len(raw) > _MAX_METADATA:
        raise MetadataInvalidError(reason="metadata_size", most=_MAX_METADATA)
    found: dict[str, bytes] = {}
    for pair in raw.split(","):
        key, _, encoded = pair.strip(_BLANKS).partition(" ")
        if not _KEY.fullmatch(key):
            raise MetadataInvalidError(reason="metadata_key")
        if key in found:
            raise MetadataInvalidError(reason="metadata_repeated", key=key[:64])
        try:
            found[key] = base64.b64decode(encoded.strip(_BLANKS), validate=True)
        except (binascii.Error, ValueError):
            raise MetadataInvalidError(reason="metadata_base64", key=key[:64]) from None
    return found


def is_id(text: str) -> bool:
    """Whether this is an id of an upload, task or file: a lowercase UUID, version 4."""
    return _ID.fullmatch(text) is not None


class Part(NamedTuple):
    """A part of a final upload, as its URL names it."""

    id: str
    signature: str


@dataclass(frozen=True)
class Checksum:
    """Upload-Checksum: what the bytes of a request must hash to."""

    algorithm: str
    digest: bytes


def parse_checksum(raw: str, name: str = "Upload-Checksum") -> Checksum:
    """Upload-Checksum (protocol 1.0.0, Checksum): the algorithm's name, a space, the digest in base64."""
    algorithm, _, encoded = raw.partition(" ")
    try:
        digest = base64.b64decode(encoded.strip(_BLANKS), validate=True)
    except (binascii.Error, ValueError):
        raise HeaderInvalidError(name=name, reason="checksum_digest") from None
    if not _ALGORITHM.fullmatch(algorithm) or not digest:
        raise HeaderInvalidError(name=name, reason="checksum_form")
    return Checksum(algorithm.lower(), digest)


def split_segment(segment: str) -> Part:
    """The last segment of an upload's URL, `<id>` or `<id>~<signature>`, taken apart."""
    upload_id, _, signature = segment.partition("~")
    return Part(upload_id, signature)


def unsigned(concat: str | None) -> str | None:
    """Upload-Concat without the signatures of its URLs: a reader of the final upload needs no more than the ids."""
    return None if concat is None else _SIGNATURE.sub("", concat)


def parse_concat(raw: str) -> tuple[Part, ...] | None:
    """Upload-Concat (protocol 1.0.0, Concatenation): None for `partial`, else the parts of a final upload.

    The parts of `final;…` are absolute URLs (tus-js-client) or paths (aiotus); their last segment is the id, after
    which a signature may follow, and nothing else. Raises `HeaderInvalidError`, and `PartRepeatedError` for a part that
    is named twice: a few kilobytes of header would make the server write a part's bytes 1,000 times.
    """
    if raw == "partial":
        return None
    kind, semicolon, urls = raw.partition(";")
    if kind.strip(_BLANKS) != "final" or not semicolon:
        raise HeaderInvalidError(name="Upload-Concat", reason="concat_form")
    each = [url for url in urls.replace("\t", " ").split(" ") if url]
    parts = tuple(split_segment(url.rpartition("/")[2] if _URL.fullmatch(url) else "") for url in each)
    ids = [part.id for part in parts]
    if not ids or len(ids) > MAX_PARTS:
        raise HeaderInvalidError(name="Upload-Concat", reason="concat_count", most=MAX_PARTS)
    for part_id in ids:
        if not is_id(part_id):
            raise HeaderInvalidError(name="Upload-Concat", reason="concat_url")
    repeated = next((part_id for part_id, count in Counter(ids).items() if count > 1), None)
    if repeated is not None:
        raise PartRepeatedError(part=repeated)
    return parts


def file_name(metadata: Mapping[str, bytes]) -> str | None:
    """The name a client gave: `filename` (TUSKit, tus-js-client's samples), else `name` (Uppy); None without."""
    value = metadata.get("filename") or metadata.get("name")
    return value.decode("utf-8", errors="replace") if value else None


def format_expires(moment: datetime) -> str:
    """Upload-Expires (protocol 1.0.0, Expiration): an RFC 9110 IMF-fixdate."""
    return _format_second(int(moment.timestamp()))


@lru_cache(1024)  # uploads of one time expire at one time
def _format_second(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC), usegmt=True)
