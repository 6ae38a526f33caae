"""Videos that cannot be shown: encrypted ones, in every way that is written, and codecs that FFmpeg lacks."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from server.pipeline.media import ffmpeg
from server.pipeline.steps.probe import Probe
from tests import samples
from tests.bad_videos import box
from tests.pipeline.conftest import Contexts
from tests.pipeline.films import SMALL, film, refusal


def ebml(kind: str, *content: bytes) -> bytes:
    """An element of Matroska with a size of eight bytes."""
    data = b"".join(content)
    return bytes.fromhex(kind) + (0x0100000000000000 | len(data)).to_bytes(8, "big") + data


def in_track(source: Path, target: Path, added: bytes) -> Path:
    """A Matroska file with one more element at the end of its first track; what held its places is now wrong."""
    data = source.read_bytes()
    tracks = bytes.fromhex("1654ae6b")
    at = data.index(tracks, data.index(tracks) + 1) + 4  # the first one is in the table of contents
    size, length = _coded(data, at)
    checksum = 6 if data[at + length] == 0xBF else 0  # it goes; it may hold any byte
    track = at + length + checksum + 1
    assert data[track - 1] == 0xAE, "the first track comes first"
    track_size, track_length = _coded(data, track)
    end = track + track_length + track_size
    inner = data[track + track_length : end] + added
    rest = data[end : at + length + size]
    made = ebml("1654ae6b", ebml("ae", inner), rest)
    changed = bytearray(data[: at - 4] + made + data[at + length + size :])
    segment = data.index(bytes.fromhex("18538067")) + 4
    assert data[segment] == 1, "FFmpeg writes this size in eight bytes"
    whole = int.from_bytes(data[segment + 1 : segment + 8], "big") + len(changed) - len(data)
    changed[segment + 1 : segment + 8] = whole.to_bytes(7, "big")
    target.write_bytes(changed)
    return target


def _coded(data: bytes, at: int) -> tuple[int, int]:
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length], "big") & ((1 << (7 * length)) - 1)
    return value, length


KEY = ("-encryption_key", "00112233445566778899aabbccddeeff", "-encryption_kid", "00112233445566778899aabbccddeeff")


def encrypted_mp4(folder: Path) -> Path:
    return film(folder / "a.mp4", "-encryption_scheme", "cenc-aes-ctr", *KEY, seconds=1)


def encrypted_scheme(folder: Path) -> Path:
    """Another scheme, by its four letters."""
    source = encrypted_mp4(folder)
    source.write_bytes(source.read_bytes().replace(b"cenc", b"cbcs"))
    return source


def encrypted_by_itunes(folder: Path) -> Path:
    source = film(folder / "a.mov", seconds=1)
    source.write_bytes(source.read_bytes().replace(b"avc1\0\0\0\0\0\0\0\1", b"drmi\0\0\0\0\0\0\0\1"))
    return source


def encrypted_mkv(folder: Path) -> Path:
    plain = film(folder / "plain.mkv", seconds=1)
    encryption = ebml("5035", ebml("47e1", b"\5"), ebml("47e2", bytes(16)))
    encoding = ebml("6240", ebml("5031", b"\0"), ebml("5032", b"\1"), ebml("5033", b"\1"), encryption)
    return in_track(plain, folder / "a.mkv", ebml("6d80", encoding))


def encrypted_wmv(folder: Path) -> Path:
    """The codec list gives its place to an object that stands for DRM."""
    source = samples.make(folder, "plain.wmv", seconds=1)
    codecs = bytes.fromhex("4052d1861d31d011a3a400a0c90348f6")
    data = source.read_bytes()
    assert codecs in data
    target = folder / "a.wmv"
    target.write_bytes(data.replace(codecs, bytes.fromhex("fbb31122 23bdd211b4b700a0c955fc6e".replace(" ", ""))))
    return target


def scrambled_stream(folder: Path) -> Path:
    source = film(folder / "plain.ts", seconds=1)
    data = bytearray(source.read_bytes())
    for at in range(0, len(data), 188):
        pid = int.from_bytes(data[at + 1 : at + 3], "big") & 0x1FFF
        data[at + 3] |= 0xC0 if pid >= 0x100 and pid != 0x1000 else 0
    target = folder / "a.ts"
    target.write_bytes(data)
    return target


def sample_aes_stream(folder: Path) -> Path:
    """HTTP Live Streaming's own way: another type of stream in the table."""
    source = film(folder / "plain.ts", seconds=1, sound=False)
    target = folder / "a.ts"
    target.write_bytes(source.read_bytes().replace(b"\x1b\xe1\x00\xf0", b"\xdb\xe1\x00\xf0"))
    return target


def filtered_flv(folder: Path) -> Path:
    source = film(folder / "plain.flv", seconds=1)
    data = bytearray(source.read_bytes())
    at = 13
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        data[at] |= 0x20 if data[at] == 9 else 0
        at += 15 + size
    target = folder / "a.flv"
    target.write_bytes(data)
    return target


def scrambled_program_stream(folder: Path) -> Path:
    """As on a DVD: each packet of video is marked, and the head of its PES packet is in the clear."""
    source = film(folder / "plain.mpg", "-c:v", "mpeg2video", "-c:a", "mp2", "-f", "vob", seconds=1)
    data, at, marked = bytearray(source.read_bytes()), 0, 0
    while (at := data.find(b"\0\0\1\xe0", at)) >= 0:
        data[at + 6] |= 0x10
        at, marked = at + 6 + int.from_bytes(data[at + 4 : at + 6], "big"), marked + 1
    assert marked
    target = folder / "a.mpg"
    target.write_bytes(data)
    return target


def encrypted_mxf(folder: Path) -> Path:
    """As in digital cinema: the essence of the pictures is in encrypted triplets."""
    source = film(folder / "plain.mxf", "-c:v", "mpeg2video", "-c:a", "pcm_s16le", "-ar", "48000", seconds=1)
    data = source.read_bytes()
    picture = bytes.fromhex("060e2b34 01020101 0d010301 15010500")  # SMPTE ST 381: frames of MPEG
    assert data.count(picture) > 1
    target = folder / "a.mxf"
    target.write_bytes(data.replace(picture, bytes.fromhex("060e2b34 02040107 0d010301 027e0100")))
    return target


ENCRYPTED: dict[str, Callable[[Path], Path]] = {
    "cenc": encrypted_mp4,
    "cbcs": encrypted_scheme,
    "iTunes": encrypted_by_itunes,
    "Matroska": encrypted_mkv,
    "Windows Media": encrypted_wmv,
    "scrambled": scrambled_stream,
    "SAMPLE-AES": sample_aes_stream,
    "Flash": filtered_flv,
    "DVD": scrambled_program_stream,
    "digital cinema": encrypted_mxf,
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("how", ENCRYPTED)
def test_a_protected_video_is_refused_as_protected(how: str, tmp_path: Path, context: Contexts) -> None:
    """The sentence says that it is protected, however that is written, and no picture is made of noise."""
    assert refusal(Probe(), context, ENCRYPTED[how](tmp_path)) == ("protected", {})


def test_a_clear_track_that_is_marked_as_encrypted_is_processed(tmp_path: Path, context: Contexts) -> None:
    """A track that may be encrypted and whose default is not to be so can be shown."""
    source = film(tmp_path / "a.mov", seconds=1, sound=False)
    data = bytearray(source.read_bytes())
    # The same sample entry under another name, with a description of its encryption in the place of its colours.
    at = data.index(b"avc1\0\0\0\0\0\0\0\1")
    start, size = at - 4, int.from_bytes(data[at - 4 : at], "big")
    schi = box(b"schi", box(b"tenc", bytes(8), bytes(16)))
    sinf = box(b"sinf", box(b"frma", b"avc1"), box(b"schm", bytes(4), b"cenc", b"\0\1\0\0"), schi)
    entry = box(b"encv", bytes(data[start + 8 : start + size]), sinf)
    grown = len(entry) - size
    data[start : start + size] = entry
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"):
        place = data.index(kind) - 4
        data[place : place + 4] = (int.from_bytes(data[place : place + 4], "big") + grown).to_bytes(4, "big")
    source.write_bytes(data)
    assert Probe().run(context(source))["width"] == 64


def dolby_box(profile: int, compatibility: int, *, has_base: bool = True) -> bytes:
    return bytes([1, 0, profile << 1, 4 << 3 | 4 | has_base, compatibility << 4]) + bytes(19)


@pytest.mark.parametrize(
    ("profile", "compatibility", "has_base", "is_shown"),
    [(5, 0, True, False), (8, 1, True, True), (8, 4, True, True), (4, 0, False, False), (7, 6, True, True)],
)
def test_dolby_vision_is_processed_by_its_base_layer(
    profile: int, compatibility: int, has_base: bool, is_shown: bool, tmp_path: Path, context: Contexts
) -> None:
    """A base layer that usual decoders show is what counts; without one the sentence names the codec."""
    plain = film(tmp_path / "plain.mkv", seconds=1)
    record = dolby_box(profile, compatibility, has_base=has_base)
    source = in_track(plain, tmp_path / "a.mkv", ebml("41e4", ebml("41e7", b"dvcC"), ebml("41ed", record)))
    if is_shown:
        assert Probe().run(context(source))["video_codec"] == "h264"
    else:
        expected = ("codec_unsupported", {"codec": f"Dolby Vision {profile}"})
        assert refusal(Probe(), context, source) == expected


def test_a_codec_that_ffmpeg_lacks_is_named(tmp_path: Path, context: Contexts) -> None:
    """VVC: the library may decode it, and the program that makes the results does not."""
    source = tmp_path / "a.mp4"
    bundled = ffmpeg.find("bundled")
    command = [bundled, "-v", "error", "-f", "lavfi", "-i", f"{SMALL}=0.2", "-c:v", "libvvenc", str(source)]
    if subprocess.run(command, capture_output=True, check=False, timeout=120).returncode:
        pytest.skip("this FFmpeg makes no VVC")
    code, params = refusal(Probe(), context, source)
    assert (code, params["codec"]) == ("codec_unsupported", "vvc")
