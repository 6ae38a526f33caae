"""What is a video: the accepted extensions, the first bytes that prove them, and the demuxer for each.

Rule: a file is a video when its extension *and* its first bytes say so and agree. The demuxer that later
opens the file is chosen here, from what was verified, and never by FFmpeg from the content: content that may
choose its demuxer may also choose one that reads other files or the network (playlists, concat scripts).
"""

from dataclasses import dataclass

from server.errors import MediaTypeMismatchError, MediaTypeUnsupportedError

SNIFF_BYTES = 64
"""As many first bytes of a file as decide what it is; a shorter file is decided by all it has."""


@dataclass(frozen=True)
class MediaType:
    """A kind of video file.

    `name` is what the database keeps, `extensions` have no dot and are in lower case, `media_type` is the
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

ACCEPTED: str = ", ".join(_BY_EXTENSION)
"""The accepted extensions, as a sentence lists them."""

# ISO-BMFF brands (ISO/IEC 14496-12 and 23008-12, registered at mp4ra.org) of files that are no video: still
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
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")


def by_name(filename: str) -> MediaType | None:
    """The type that the extension of `filename` stands for, in any case; None if it is not accepted."""
    _, dot, extension = filename.rpartition(".")
    return _BY_EXTENSION.get(extension.lower()) if dot else None


def by_media_type(media_type: str) -> MediaType | None:
    """The type that a declared `media_type` stands for, in lower case and without parameters; None if unknown."""
    return _BY_MEDIA_TYPE.get(_OTHER_MEDIA_TYPES.get(media_type, media_type))


def get(name: str) -> MediaType:
    """The type of a stored `name` (`MediaType.name`); raises `KeyError` for a name that was never stored."""
    return _BY_NAME[name]


def verify(filename: str | None, head: bytes) -> MediaType:
    """The type of a file of that name which starts with `head` (its first `SNIFF_BYTES`, or all it has).

    The extension names the type and the bytes must be of the same family: mp4, mov and 3gp are one family,
    since cameras and editors mix their names freely. Without a file name the bytes alone decide.

    Raises `MediaTypeUnsupportedError` when the extension is not accepted, and `MediaTypeMismatchError` when
    the bytes are no video or another family's.
    """
    claimed = by_name(filename) if filename else None
    if filename and claimed is None:
        raise MediaTypeUnsupportedError(accepted=ACCEPTED)
    found = _sniff(head[:SNIFF_BYTES])
    if found is None or (claimed is not None and claimed.demuxer != found.demuxer):
        raise MediaTypeMismatchError(accepted=ACCEPTED)
    return claimed or found


def _sniff(head: bytes) -> MediaType | None:
    """The type that the first bytes alone stand for."""
    if head.startswith(b"\x1a\x45\xdf\xa3"):  # EBML, RFC 8794 section 11.2.1
        return _BY_NAME["mkv"]
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return _BY_NAME["avi"]
    if head.startswith(_ASF_HEADER):
        return _BY_NAME["wmv"]
    if head.startswith(b"FLV\x01"):
        return _BY_NAME["flv"]
    return _sniff_boxes(head)


def _sniff_boxes(head: bytes) -> MediaType | None:
    """The type of a file made of ISO-BMFF or QuickTime boxes: a size of four bytes, then a name of four."""
    size, kind = int.from_bytes(head[:4], "big"), head[4:8]
    if kind == b"ftyp":
        return _by_brand(head[8:12]) if 16 <= size <= 4096 else None
    most = _OLD_QUICKTIME.get(kind)
    # Size 1 stands for a 64-bit size behind the name, size 0 for "up to the end of the file".
    if most is not None and (8 <= size <= most or (kind == b"mdat" and size in (0, 1))):
        return _BY_NAME["mov"]
    return None


def _by_brand(brand: bytes) -> MediaType | None:
    if len(brand) < 4 or brand in _IMAGE_BRANDS or brand in _AUDIO_BRANDS:
        return None
    if brand == b"qt  ":
        return _BY_NAME["mov"]
    return _BY_NAME["3gp" if brand.startswith(b"3g") else "mp4"]
