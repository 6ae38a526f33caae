"""The accepted videos: their extensions, the first bytes that prove them, and the demuxer for each.

Rule: a file is a video when its extension *and* its first bytes are known and agree. The demuxer that later
opens the file is chosen here, from what was verified, and never by FFmpeg from the content: content that may
choose its demuxer may also choose one that reads other files or the network (playlists, concat scripts).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from server.errors import MediaTypeMismatchError, MediaTypeUnsupportedError

SNIFF_BYTES = 64
"""As many first bytes of a file as decide its type; a shorter file is decided by all its bytes."""


@dataclass(frozen=True)
class MediaType:
    """A type of video file.

    `name` is stored in the database, `extensions` have no dot and are in lower case, `media_type` is the
    IANA (or commonly used) type, `demuxer` is FFmpeg's name for the one demuxer that may open it.
    """

    name: str
    extensions: tuple[str, ...]
    media_type: str
    demuxer: str


_ALL = (
    MediaType("mp4", ("mp4",), "video/mp4", "mov"),
    MediaType("mov", ("mov",), "video/quicktime", "mov"),
    MediaType("avi", ("avi",), "video/x-msvideo", "avi"),
    MediaType("mkv", ("mkv",), "video/x-matroska", "matroska"),
    MediaType("wmv", ("wmv",), "video/x-ms-wmv", "asf"),
    MediaType("flv", ("flv",), "video/x-flv", "flv"),
    MediaType("3gp", ("3gp",), "video/3gpp", "mov"),
    MediaType("webm", ("webm",), "video/webm", "matroska"),
    MediaType("m4v", ("m4v",), "video/x-m4v", "mov"),
    MediaType("ts", ("ts", "mts", "m2ts", "m2t"), "video/mp2t", "mpegts"),
    MediaType("mpg", ("mpg", "mpeg"), "video/mpeg", "mpeg"),
    MediaType("ogv", ("ogv",), "video/ogg", "ogg"),
    MediaType("mxf", ("mxf",), "application/mxf", "mxf"),
)
_BY_NAME = {kind.name: kind for kind in _ALL}
_BY_EXTENSION = {extension: kind for kind in _ALL for extension in kind.extensions}

_BY_MEDIA_TYPE = {kind.media_type: kind for kind in _ALL}
# Other names for the same types, as browsers, phones and libraries declare them.
_OTHER_MEDIA_TYPES = {
    "video/avi": "video/x-msvideo",
    "video/msvideo": "video/x-msvideo",
    "video/vnd.avi": "video/x-msvideo",
    "video/matroska": "video/x-matroska",
    "application/x-matroska": "video/x-matroska",
    "video/x-ms-asf": "video/x-ms-wmv",
    "video/flv": "video/x-flv",
    "video/x-quicktime": "video/quicktime",
    "application/mp4": "video/mp4",
    "video/3gp": "video/3gpp",
}

Types = tuple[MediaType, ...]

DOCUMENTED: Types = _ALL[:7]
"""The types of the documented API."""

_TUS = _ALL[:9]
# One family whose names are mixed freely: camcorders call transport streams `.mpg`.
_MPEG = ("mpegts", "mpeg")


@cache
def listed(types: Types) -> str:
    """The extensions of these types, as a sentence lists them."""
    return ", ".join(extension for kind in types for extension in kind.extensions)


def accepted(names: Sequence[str], *, by_form: bool) -> Types:
    """The types that the setting `accept_types` names: extensions, `default` or `all`. Raises `KeyError` for others."""
    return _accepted(tuple(names), by_form)


@cache  # as below
def listed_of(names: tuple[str, ...]) -> str:
    """The extensions of the types that `accept_types` names, for tus uploads, as a sentence lists them."""
    return listed(accepted(names, by_form=False))


@cache  # every request asks, and names come from settings
def _accepted(names: tuple[str, ...], by_form: bool) -> Types:
    sets = {"default": DOCUMENTED if by_form else _TUS, "all": _ALL}
    chosen = [kind for name in names for kind in sets.get(name) or (_BY_EXTENSION[name],)]
    return tuple(kind for kind in _ALL if kind in chosen)


KNOWN: str = listed(_ALL)
"""Every extension that may be accepted, as a sentence lists them."""

ACCEPTED: str = listed(DOCUMENTED)
"""The extensions of the documented API, as a sentence lists them."""

ACCEPTED_BY_TUS: str = listed(_TUS)
"""The same for tus, while the setting `accept_types` is `default`."""

# ISO-BMFF brands (ISO/IEC 14496-12 and 23008-12, registered at mp4ra.org) of files that are not videos: still
# images and image sequences (HEIF, AVIF, Canon raw), then audio.
_IMAGE_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
    | {b"mif1", b"mif2", b"msf1", b"miaf", b"avif", b"avis", b"avci", b"avcs", b"crx "}
)
_AUDIO_BRANDS = frozenset({b"M4A ", b"M4B ", b"M4P "})

# QuickTime files older than `ftyp` start with any of these boxes. The greatest size of each keeps text out:
# four letters read as a size are more than 500 MB. Only media data may really be that large.
_OLD_QUICKTIME = {
    b"moov": 1 << 28,
    b"mdat": 1 << 32,
    b"wide": 8,
    b"free": 1 << 28,
    b"skip": 1 << 28,
    b"pnot": 64,
}
_EBML = b"\x1a\x45\xdf\xa3"  # RFC 8794 section 11.2.1
_PACK = b"\0\0\1\xba"  # of a program stream (ITU-T H.222.0 section 2.5.3.3)
_MAGIC = (
    (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "wmv"),
    (b"FLV\x01", "flv"),
    (b"OggS\0\x02", "ogv"),  # the first page of a logical stream (RFC 3533 section 6)
    (bytes.fromhex("060e2b34020501010d01020101"), "mxf"),  # a partition pack (SMPTE ST 377-1)
)


def by_name(filename: str) -> MediaType | None:
    """The type that the extension of `filename` stands for, in any case; None if it is not known."""
    _, dot, extension = filename.rpartition(".")
    return _BY_EXTENSION.get(extension.lower()) if dot else None


def by_media_type(media_type: str) -> MediaType | None:
    """The type that a declared `media_type` stands for, in lower case and without parameters; None if unknown."""
    return _BY_MEDIA_TYPE.get(_OTHER_MEDIA_TYPES.get(media_type, media_type))


def get(name: str) -> MediaType:
    """The type of a stored `name` (`MediaType.name`); raises `KeyError` for a name that was never stored."""
    return _BY_NAME[name]


def verify(filename: str | None, head: bytes, types: Types = DOCUMENTED) -> MediaType:
    """The type of a file of that name which starts with `head` (its first `SNIFF_BYTES`, or all it has), of `types`.

    The extension names the type and the bytes must be of the same family: mp4, mov, m4v and 3gp are one family, since
    cameras and editors mix their names freely; so are mkv and webm, and the two streams of MPEG. Without a file name
    the bytes alone decide.

    Raises `MediaTypeUnsupportedError` when the extension is not accepted, and `MediaTypeMismatchError` when
    the bytes are not a video's or another family's.
    """
    claimed = by_name(filename) if filename else None
    if filename and claimed not in types:
        raise MediaTypeUnsupportedError(accepted=listed(types))
    found = _accepted_kind(_sniff(head[:SNIFF_BYTES]), types)
    if found is None or (claimed is not None and not _are_relatives(claimed, found)):
        raise MediaTypeMismatchError(accepted=listed(types))
    return claimed if claimed is not None and claimed.demuxer == found.demuxer else found


def _accepted_kind(found: MediaType | None, types: Types) -> MediaType | None:
    """The type that the bytes prove, else the first accepted one that the same demuxer opens."""
    if found is None or found in types:
        return found
    return next((kind for kind in types if kind.demuxer == found.demuxer), None)


def _are_relatives(claimed: MediaType, found: MediaType) -> bool:
    return claimed.demuxer == found.demuxer or (claimed.demuxer in _MPEG and found.demuxer in _MPEG)


def _sniff(head: bytes) -> MediaType | None:
    """The type that the first bytes alone stand for."""
    for start, name in _MAGIC:
        if head.startswith(start):
            return _BY_NAME[name]
    if head.startswith(_EBML):
        return _BY_NAME["webm" if b"\x42\x82\x84webm" in head else "mkv"]
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return _BY_NAME["avi"]
    if head.startswith(_PACK) and len(head) > 4 and (head[4] & 0xF0 == 0x20 or head[4] & 0xC0 == 0x40):
        return _BY_NAME["mpg"]
    # In the files of camcorders (.m2ts) four bytes of time come before each packet.
    if _is_transport_packet(head) or _is_transport_packet(head[4:]):
        return _BY_NAME["ts"]
    return _sniff_boxes(head)


def _is_transport_packet(head: bytes) -> bool:
    """Whether a packet of a transport stream may begin here (ITU-T H.222.0 section 2.4.3.2).

    The beginning of the next packet is not among the first bytes, so this one's fields must be valid; text, which has
    only printable bytes, is not taken for a packet, nor is a GIF.
    """
    if len(head) < 12 or head[0] != 0x47 or head.startswith(b"GIF8") or head[1] & 0x80 or not head[3] & 0x30:
        return False
    adaptation = head[4] if head[3] & 0x20 else 0
    return adaptation <= 183 and not all(0x20 <= byte < 0x7F or byte in b"\t\r\n" for byte in head[:12])


def _sniff_boxes(head: bytes) -> MediaType | None:
    """The type of a file made of ISO-BMFF or QuickTime boxes: a size of four bytes, then a name of four."""
    size, kind = int.from_bytes(head[:4], "big"), head[4:8]
    if kind == b"ftyp":
        return _by_brand(head[8:12]) if 16 <= size <= 4096 else None
    most = _OLD_QUICKTIME.get(kind)
    # Size 1 stands for a 64-bit size after the name, size 0 for "up to the end of the file".
    if most is not None and (8 <= size <= most or (kind == b"mdat" and size in (0, 1))):
        return _BY_NAME["mov"]
    return None


def _by_brand(brand: bytes) -> MediaType | None:
    if len(brand) < 4 or brand in _IMAGE_BRANDS or brand in _AUDIO_BRANDS:
        return None
    if brand == b"qt  ":
        return _BY_NAME["mov"]
    if brand.startswith(b"M4V"):
        return _BY_NAME["m4v"]
    return _BY_NAME["3gp" if brand.startswith(b"3g") else "mp4"]
