"""Facts in a file's header that FFmpeg ignores without a warning: that its tracks are encrypted, or that their colours
cannot be shown.

Rule: only headers are read, in bounds. A protected video decodes to grey pictures or noise, so frames prove nothing.
"""

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from server.errors import StepError
from server.pipeline.media import boxes
from server.pipeline.media.boxes import Element

# Sample entries of encrypted tracks: Common Encryption (ISO/IEC 23001-7), and Apple's before it.
_ENCRYPTED = (b"encv", b"enca", b"drmi", b"drms")
_VIDEO_ENTRY, _SOUND_ENTRY = 78, 28  # bytes of the fields before the boxes of a sample entry (ISO/IEC 14496-12)
_TENC_IS_PROTECTED = 6  # where `tenc` has its default_isProtected

_SEGMENT, _TRACKS, _TRACK = b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xae"
_ENCODINGS, _ENCODING, _ENCRYPTION = b"\x6d\x80", b"\x62\x40", b"\x50\x35"
_TRACK_TYPE = b"\x83"
_BLOCK_ADDITION, _ADDITION_TYPE, _ADDITION_DATA = b"\x41\xe4", b"\x41\xe7", b"\x41\xed"

_DOLBY_BOXES = (b"dvcC", b"dvvC", b"dvwC")

# ASF objects (Advanced Systems Format specification, sections 3.14 to 3.16 and 3.4), each of which means DRM.
_ASF_DRM = frozenset(
    uuid.UUID(name).bytes_le
    for name in (
        "2211B3FB-BD23-11D2-B4B7-00A0C955FC6E",
        "298AE614-2622-4C17-B935-DAE07EE9289C",
        "43058533-6981-49E6-9B74-AD12CB86D58C",
    )
)
_ASF_HEADER, _ASF_OBJECTS = 30, 24  # bytes of the header object's own fields, and of those of each object in it
_ASF_MOST = 1 << 20

_TS_SYNC, _TS_PACKET = 0x47, 188
_TS_LOOKED_AT = 4 << 20  # bytes
_TS_SHARE = 0.5  # of the packets with content
_SAMPLE_AES = (0xDB, 0xCF, 0xC1, 0xC2)  # stream types of encrypted H.264 and sound (HTTP Live Streaming)

_FLV_FILTER = 0x20  # of the type of a tag: its content went through an encryption filter (FLV 10.1 annex E.4.1)
_FLV_TAGS = 64

_PES_VIDEO = range(0xE0, 0xF0)

# SMPTE ST 429-6: the key of an encrypted triplet. Its eighth byte is the version of the register, which writers differ
# in and readers ignore (ST 298).
_MXF_ENCRYPTED = re.compile(rb"\x06\x0e\x2b\x34\x02\x04\x01.\x0d\x01\x03\x01\x02\x7e\x01\x00", re.DOTALL)
_MXF_LOOKED_AT = 4 << 20  # bytes


def check(path: str, demuxer: str) -> None:
    """Raise `StepError` protected, or codec_unsupported, when the header declares it."""
    look = _LOOKS.get(demuxer)
    if look is None:
        return
    with Path(path).open("rb") as file:
        look(file)


def _isobmff(file: BinaryIO) -> None:
    whole = Element(b"", 0, None, is_whole=True)
    strange: list[int | None] = []
    for track in boxes.box(file, whole, b"moov", b"trak", b"mdia"):
        records = []
        for table in boxes.box(file, track, b"minf", b"stbl", b"stsd"):
            for entry in boxes.boxes(file, table.start + 8, table.end):
                if entry.kind in _ENCRYPTED and _is_protected(file, entry):
                    raise StepError("protected")
                inside = boxes.boxes(file, entry.start + _VIDEO_ENTRY, entry.end)
                records += [boxes.content(file, one, 8) for one in inside if one.kind in _DOLBY_BOXES]
        if any(boxes.content(file, one, 12)[8:] == b"vide" for one in boxes.box(file, track, b"hdlr")):
            strange.append(_strange_profile(records))
    _require_shown(strange)


def _is_protected(file: BinaryIO, entry: Element) -> bool:
    """Whether an entry that is marked as encrypted really is: it may declare its samples as clear."""
    skipped = _SOUND_ENTRY if entry.kind == b"enca" else _VIDEO_ENTRY
    inside = Element(entry.kind, entry.start + skipped, entry.end, entry.is_whole)
    found = [boxes.content(file, one, 8) for one in boxes.box(file, inside, b"sinf", b"schi", b"tenc")]
    return not found or any(len(data) <= _TENC_IS_PROTECTED or data[_TENC_IS_PROTECTED] for data in found)


def _strange_profile(records: Sequence[bytes]) -> int | None:
    """The Dolby Vision profile of a track whose base layer a usual decoder shows in green and purple, or that has none;
    None for all other tracks. `records` are its configuration records (version 1.0)."""
    for record in records:
        if len(record) < 5:
            continue
        profile = record[2] >> 1
        has_base_layer, compatibility = record[3] & 1, record[4] >> 4
        # Profile 4 declares no compatibility and has one; 5 and 10 without compatibility have a base layer in IPT.
        if not has_base_layer or (profile in (5, 10) and not compatibility):
            return profile
    return None


def _require_shown(strange: Sequence[int | None]) -> None:
    """One of all picture tracks must be for usual decoders: an enhancement layer may have a track of its own."""
    if strange and strange[0] is not None and None not in strange:
        raise StepError("codec_unsupported", codec=f"Dolby Vision {strange[0]}")


def _matroska(file: BinaryIO) -> None:
    whole = Element(b"", 0, None, is_whole=True)
    strange: list[int | None] = []
    for track in boxes.element(file, whole, _SEGMENT, _TRACKS, _TRACK):
        if any(boxes.element(file, track, _ENCODINGS, _ENCODING, _ENCRYPTION)):
            raise StepError("protected")
        records = []
        for addition in boxes.element(file, track, _BLOCK_ADDITION):
            kinds = [boxes.content(file, one, 8) for one in boxes.element(file, addition, _ADDITION_TYPE)]
            if any(kind[-4:] in _DOLBY_BOXES for kind in kinds):
                records += [boxes.content(file, one, 8) for one in boxes.element(file, addition, _ADDITION_DATA)]
        if any(boxes.content(file, one, 1) == b"\1" for one in boxes.element(file, track, _TRACK_TYPE)):
            strange.append(_strange_profile(records))
    _require_shown(strange)


def _asf(file: BinaryIO) -> None:
    head = file.read(_ASF_MOST)
    end = min(boxes.little(head, 16), len(head))
    at = _ASF_HEADER
    while at + _ASF_OBJECTS <= end:
        size = boxes.little(head, at + 16)
        # The advanced object is inside the header extension, so its id is searched for in the whole object.
        if any(name in head[at : min(at + size, end)] for name in _ASF_DRM):
            raise StepError("protected")
        if size < _ASF_OBJECTS:
            return
        at += size


def _flv(file: BinaryIO) -> None:
    at = boxes.number(boxes.content(file, Element(b"", 5, 9, is_whole=True))) + 4
    for _ in range(_FLV_TAGS):
        file.seek(at)
        tag = file.read(11)
        if len(tag) < 11:
            return
        if tag[0] & _FLV_FILTER:
            raise StepError("protected")
        at += 11 + boxes.number(tag[1:4]) + 4


def _transport_stream(file: BinaryIO) -> None:
    """Whether packets are marked as scrambled, or a table of tracks has one of Apple's encrypted kinds."""
    seen = scrambled = 0
    for packet in ts_packets(file.read(_TS_LOOKED_AT)):
        has_content = packet[3] & 0x10
        seen += bool(has_content)
        scrambled += bool(has_content and packet[3] & 0xC0)
        if any(kind in _SAMPLE_AES for kind in _stream_types(packet)):
            raise StepError("protected")
    if seen and scrambled > seen * _TS_SHARE:
        raise StepError("protected")


def ts_packets(data: bytes) -> Iterator[bytes]:
    """The packets of a transport stream (ITU-T H.222.0 section 2.4.3), with or without a time code before each."""
    for stride in (_TS_PACKET, 192, 204):
        for start in range(stride):
            if all(data[at] == _TS_SYNC for at in range(start, min(len(data), start + 5 * stride), stride)):
                for at in range(start, len(data) - _TS_PACKET + 1, stride):
                    yield data[at : at + _TS_PACKET]
                return


def _stream_types(packet: bytes) -> list[int]:
    """The stream types in a program map table that fits into this packet; none if there is no such table in it."""
    if not packet[1] & 0x40 or packet[3] & 0x30 == 0x20:
        return []
    at = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
    if at + 1 >= len(packet):
        return []
    at += 1 + packet[at]  # the pointer field
    if at + 12 >= len(packet) or packet[at] != 2:
        return []
    end = min(at + 3 + (boxes.number(packet[at + 1 : at + 3]) & 0xFFF) - 4, len(packet) - 5)
    at += 12 + (boxes.number(packet[at + 10 : at + 12]) & 0xFFF)
    kinds = []
    while at < end:
        kinds.append(packet[at])
        at += 5 + (boxes.number(packet[at + 3 : at + 5]) & 0xFFF)
    return kinds


def _program_stream(file: BinaryIO) -> None:
    """Whether video packets are marked as scrambled (PES_scrambling_control), as those of a DVD are."""
    data, at = file.read(_TS_LOOKED_AT), 0
    seen = scrambled = 0
    while (at := data.find(b"\0\0\1", at)) >= 0 and at + 7 <= len(data):
        # MPEG-2 marks the byte of flags by the bits 10.
        if data[at + 3] in _PES_VIDEO and data[at + 6] & 0xC0 == 0x80:
            seen += 1
            scrambled += bool(data[at + 6] & 0x30)
            at += 6 + boxes.number(data[at + 4 : at + 6])
        else:
            at += 3
    if seen and scrambled > seen * _TS_SHARE:
        raise StepError("protected")


def _mxf(file: BinaryIO) -> None:
    if _MXF_ENCRYPTED.search(file.read(_MXF_LOOKED_AT)):
        raise StepError("protected")


_LOOKS: Mapping[str, Callable[[BinaryIO], None]] = {
    "mov": _isobmff,
    "matroska": _matroska,
    "asf": _asf,
    "flv": _flv,
    "mpegts": _transport_stream,
    "mpeg": _program_stream,
    "mxf": _mxf,
}
