"""What is a video: extension and first bytes, alone and together."""

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import media_types
from server.errors import MediaTypeMismatchError, MediaTypeUnsupportedError
from tests import samples

ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
EBML = b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01"


def ftyp(brand: bytes, size: int = 32) -> bytes:
    return size.to_bytes(4, "big") + b"ftyp" + brand + b"\0\0\2\0isomiso2avc1mp41"


def box(kind: bytes, size: int) -> bytes:
    return size.to_bytes(4, "big") + kind + b"\0" * 56


@pytest.mark.parametrize("extension", samples.FORMATS)
def test_real_files_of_each_accepted_type_are_recognised(extension: str, tmp_path: Path) -> None:
    """Each accepted kind, made by FFmpeg, is verified by name and content, and by content alone."""
    head = samples.make(tmp_path, f"a.{extension}", seconds=0.2).read_bytes()[: media_types.SNIFF_BYTES]
    assert media_types.verify(f"A.{extension.upper()}", head).name == extension
    assert media_types.verify(None, head).name == extension


@pytest.mark.parametrize("extension", samples.MORE_FORMATS)
def test_real_files_of_additional_types_need_the_setting(extension: str, tmp_path: Path) -> None:
    """Each kind that a setting adds, made by FFmpeg, is verified by name and content; without the setting it is not."""
    head = samples.make(tmp_path, f"a.{extension}", seconds=0.2).read_bytes()[: media_types.SNIFF_BYTES]
    kind = media_types.by_name(f"a.{extension}")
    assert kind is not None
    every = media_types.accepted(["all"], by_form=True)
    assert media_types.verify(f"A.{extension.upper()}", head, every) is kind
    nameless = media_types.verify(None, head, every)
    assert nameless.demuxer == kind.demuxer
    with pytest.raises(MediaTypeUnsupportedError):
        media_types.verify(f"a.{extension}", head)


TS = bytes.fromhex("474000100000b00d0001c100000001f0002ab104b2") + b"\xff" * 43
M2TS = b"\0\x01\x02\x03" + TS[:60]
PACK = bytes.fromhex("000001ba4400040004010000") + bytes(52)


@pytest.mark.parametrize(
    ("filename", "head", "name"),
    [
        ("a.ts", TS, "ts"),
        ("a.MTS", M2TS, "ts"),
        ("a.m2ts", M2TS, "ts"),
        ("a.m2t", TS, "ts"),
        ("a.mpg", TS, "ts"),  # what camcorders of HDV call it
        ("a.mpeg", PACK, "mpg"),
        ("a.mpg", bytes.fromhex("000001ba2100010001800001") + bytes(52), "mpg"),  # MPEG-1
        ("a.webm", EBML, "webm"),
        ("a.mkv", EBML, "mkv"),
        (None, EBML[:4] + b"\x9f\x42\x86\x81\x01\x42\x82\x84webm" + bytes(40), "webm"),
        (None, ftyp(b"M4V "), "m4v"),
        ("a.m4v", ftyp(b"isom"), "m4v"),
        ("a.mp4", ftyp(b"M4V "), "mp4"),
        (None, TS, "ts"),
        (None, M2TS, "ts"),
        (None, PACK, "mpg"),
    ],
)
def test_additional_types_are_recognised_by_their_first_bytes(filename: str | None, head: bytes, name: str) -> None:
    """Families and first bytes of what a setting adds."""
    assert media_types.verify(filename, head, media_types.accepted(["all"], by_form=False)).name == name


@pytest.mark.parametrize(
    ("filename", "head"),
    [
        ("a.ts", b"GIF89a" + bytes(58)),
        ("a.ts", b"G" * 64),
        ("a.ts", b"Good morning, this is a text and no video at all, of 64 bytes...."),
        ("a.ts", b"import { x } from 'y'; // TypeScript has this extension, too ....."),
        ("a.ts", TS[:8]),
        ("a.ts", EBML),
        ("a.ts", b"\x47\xc0\x00\x10" + TS[4:]),  # a packet that says it is damaged
        ("a.ts", b"\x47\x40\x00\x00" + TS[4:]),  # neither fields nor content
        ("a.mpg", b"\0\0\1\xba\0" + bytes(59)),
        ("a.mpg", b"\0\0\1\xb3" + bytes(60)),
        ("a.ogv", b"OggS\0\0" + bytes(58)),
        ("a.webm", ftyp(b"isom")),
        ("a.mxf", TS),
    ],
)
def test_an_additional_type_with_other_content_is_refused(filename: str, head: bytes) -> None:
    """A name that is accepted does not let anything else in."""
    with pytest.raises(MediaTypeMismatchError):
        media_types.verify(filename, head, media_types.accepted(["all"], by_form=False))


@pytest.mark.parametrize(
    ("names", "by_form", "listed"),
    [
        (["default"], True, "mp4, mov, avi, mkv, wmv, flv, 3gp"),
        (["default"], False, "mp4, mov, avi, mkv, wmv, flv, 3gp, webm, m4v"),
        (["default", "mts"], True, "mp4, mov, avi, mkv, wmv, flv, 3gp, ts, mts, m2ts, m2t"),
        (["mp4", "mp4"], False, "mp4"),
        (["all"], True, media_types.KNOWN),
    ],
)
def test_the_setting_decides_which_types_are_accepted(names: list[str], by_form: bool, listed: str) -> None:
    """The documented seven are the form's default; tus has two more; a list holds for both."""
    assert media_types.listed(media_types.accepted(names, by_form=by_form)) == listed


def test_the_table_has_the_seven_documented_types() -> None:
    """Names, media types and demuxers of exactly the seven kinds; each is found by its stored name."""
    found = [media_types.by_name(f"x.{name}") for name in media_types.ACCEPTED.split(", ")]
    assert [(kind.name, kind.media_type, kind.demuxer) for kind in found if kind] == [
        ("mp4", "video/mp4", "mov"),
        ("mov", "video/quicktime", "mov"),
        ("avi", "video/x-msvideo", "avi"),
        ("mkv", "video/x-matroska", "matroska"),
        ("wmv", "video/x-ms-wmv", "asf"),
        ("flv", "video/x-flv", "flv"),
        ("3gp", "video/3gpp", "mov"),
    ]
    assert all(kind is not None and media_types.get(kind.name) is kind for kind in found)
    with pytest.raises(KeyError):
        media_types.get("exe")


@pytest.mark.parametrize(
    ("filename", "head", "name"),
    [
        # One family: the extension names it.
        ("a.mp4", ftyp(b"qt  "), "mp4"),
        ("a.mov", ftyp(b"isom"), "mov"),
        ("a.3gp", ftyp(b"mp42"), "3gp"),
        ("a.b.MP4", ftyp(b"3gp4"), "mp4"),
        ("视频.Mov", ftyp(b"qt  "), "mov"),
        (".mp4", ftyp(b"isom"), "mp4"),
        # QuickTime from before ftyp.
        ("a.mov", box(b"moov", 100_000), "mov"),
        ("a.mov", box(b"mdat", 0), "mov"),
        ("a.mov", box(b"mdat", 1), "mov"),
        ("a.mov", box(b"mdat", 0xFFFFFFFF), "mov"),
        ("a.mp4", box(b"wide", 8), "mp4"),
        ("a.mov", box(b"free", 8), "mov"),
        ("a.mov", box(b"skip", 5000), "mov"),
        ("a.mov", box(b"pnot", 20), "mov"),
        # No name: the content decides.
        (None, ftyp(b"isom"), "mp4"),
        ("", ftyp(b"M4V "), "mp4"),
        (None, ftyp(b"qt  "), "mov"),
        (None, ftyp(b"3gp6"), "3gp"),
        (None, box(b"moov", 100), "mov"),
        (None, EBML, "mkv"),
        (None, b"RIFF\x10\0\0\0AVI LIST", "avi"),
        (None, ASF, "wmv"),
        (None, b"FLV\x01\x05\0\0\0\x09", "flv"),
    ],
)
def test_a_file_is_accepted_when_name_and_bytes_agree(filename: str | None, head: bytes, name: str) -> None:
    """Extension and bytes agree, or there is no name and the bytes suffice."""
    assert media_types.verify(filename, head).name == name


@pytest.mark.parametrize("filename", ["a.txt", "a", "mp4", "a.mp4.exe", "a.mp4/b", "a.", ".", "a.webm", "a.m4a"])
def test_an_unknown_extension_is_refused_with_the_accepted_ones(filename: str) -> None:
    """Whatever the content is, the sentence lists what would be accepted."""
    with pytest.raises(MediaTypeUnsupportedError) as caught:
        media_types.verify(filename, ftyp(b"isom"))
    assert caught.value.code == "media_type_unsupported"
    assert caught.value.params == {"accepted": "mp4, mov, avi, mkv, wmv, flv, 3gp"}


@pytest.mark.parametrize(
    ("filename", "head"),
    [
        ("a.mp4", b""),
        ("a.mp4", b"\0"),
        ("a.mp4", b"just text, and a lot of it, that somebody renamed"),
        ("a.mp4", b"\0\0\0\x20ftyp"),
        ("a.mp4", b"#EXTM3U\n#EXT-X-VERSION:3\n"),
        ("a.mkv", b"ffconcat version 1.0\nfile /etc/passwd\n"),
        ("a.mp4", b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n"),
        ("a.mp4", b"ID3\x04\0\0\0\0\0\0"),
        ("a.mp4", b"\xff\xd8\xff\xe0\0\x10JFIF"),
        # Text that happens to have a box's name in the right place.
        *((("a.mp4"), b"free" + kind + b" letters") for kind in (b"ftyp", b"moov", b"wide", b"free", b"pnot")),
        # Sizes that no such box has.
        ("a.mov", box(b"wide", 9)),
        ("a.mov", box(b"moov", 0)),
        ("a.mov", box(b"free", 7)),
        ("a.mov", box(b"mdat", 2)),
        ("a.mp4", ftyp(b"isom", 8)),
        # Other families.
        ("a.mp4", EBML),
        ("a.mkv", ftyp(b"isom")),
        ("a.avi", b"RIFF\x10\0\0\0WAVEfmt "),
        ("a.avi", b"RIFF\x10\0\0\0WEBPVP8 "),
        ("a.wmv", ASF[:15]),
        ("a.flv", b"FLV\x02"),
        ("a.flv", ASF),
        # Pictures and sound in the same kind of file.
        *(("a.mp4", ftyp(brand)) for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")),
        *(("a.mov", ftyp(brand)) for brand in (b"mif1", b"msf1", b"avif", b"avis", b"crx ")),
        *((None, ftyp(brand)) for brand in (b"M4A ", b"M4B ", b"M4P ", b"heic")),
        (None, b"no name either"),
    ],
)
def test_content_that_differs_from_its_extension_is_refused(filename: str | None, head: bytes) -> None:
    """The extension is fine (or absent), the bytes are not."""
    with pytest.raises(MediaTypeMismatchError) as caught:
        media_types.verify(filename, head)
    assert (caught.value.code, caught.value.status_hint) == ("media_type_mismatch", 415)


@given(st.text(string.printable, max_size=100))
def test_text_is_never_accepted_as_a_video(text: str) -> None:
    """No printable text passes for a video, with or without a name, except that mdat may be of any size."""
    head = text.encode()
    if head[4:8] != b"mdat" and not head.startswith(b"FLV\x01"):
        for filename in (None, *(f"a.{extension}" for extension in samples.FORMATS)):
            with pytest.raises(MediaTypeMismatchError):
                media_types.verify(filename, head)


@given(st.binary(max_size=100), st.one_of(st.none(), st.text(max_size=20)))
def test_any_name_and_bytes_give_a_type_or_a_known_refusal(head: bytes, filename: str | None) -> None:
    """Any name with any bytes is a type of the table or one of the two refusals."""
    try:
        kind = media_types.verify(filename, head)
    except MediaTypeUnsupportedError:
        return
    assert media_types.get(kind.name) is kind
