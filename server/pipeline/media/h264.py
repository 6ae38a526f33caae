"""Reading H.264 as far as a copy needs it: units, kinds of slices, parameter sets (ITU-T H.264 sections 7.3 and 7.4).

Rule: pure; bytes come in, facts go out. Bytes that are not H.264 raise `ValueError`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

IDR = 5
"""Type of a unit that starts anew: nothing after it refers to anything before it (table 7-1)."""

SETS = frozenset({7, 8})
"""Types of parameter sets: of a sequence, of a picture."""

_SLICES = frozenset({1, IDR})
# Delimiters, remarks, ends, fill, extensions for other layers, which a decoder of the base layer skips. Data
# partitions (2 to 4), alpha planes (19) and undefined types are not among them.
_KNOWN = _SLICES | SETS | {6, 9, 10, 11, 12, 13, 14, 15, 20}
_B_SLICES = frozenset({1, 6})  # table 7-6
_MOST_SLICE_TYPE = 9


@dataclass(frozen=True)
class Description:
    """How the stream is written: `width` bytes are the length before each unit, 0 with start codes (annex B)."""

    width: int
    sets: frozenset[bytes]


@dataclass(frozen=True)
class Picture:
    """One access unit: whether it is an IDR picture, whether it has B slices, and its parameter sets."""

    is_idr: bool
    has_b: bool
    sets: Sequence[bytes]


def describe(extradata: bytes) -> Description:
    """What stands beside a stream (ISO/IEC 14496-15 section 5.3.3.1), or at its start with annex B."""
    if extradata[:1] != b"\x01":
        return Description(0, frozenset(unit for unit in _annex_b(extradata) if unit[0] & 31 in SETS))
    if len(extradata) < 7:
        raise ValueError("the description is too short")
    sets, at = [], 5
    for mask in (31, 255):
        count, at = extradata[at] & mask, at + 1
        for _ in range(count):
            length = int.from_bytes(extradata[at : at + 2], "big")
            sets.append(extradata[at + 2 : at + 2 + length])
            at += 2 + length
        if at >= len(extradata):
            break
    return Description((extradata[4] & 3) + 1, frozenset(sets))


def read(data: bytes, width: int) -> Picture:
    """Read one access unit. Raises `ValueError` for damage, for data partitions, and when there is no picture."""
    slices, sets = [], []
    for unit in _annex_b(data) if width == 0 else _with_lengths(data, width):
        kind = unit[0] & 31
        if unit[0] & 128 or kind not in _KNOWN:
            raise ValueError("no unit of H.264 begins like this")
        if kind in _SLICES:
            slices.append((kind, _slice_type(unit)))
        elif kind in SETS:
            sets.append(unit)
    if not slices:
        raise ValueError("there is no picture")
    kinds = {kind for kind, _ in slices}
    if len(kinds) > 1:  # section 7.4.1.2.4: all of a picture or none
        raise ValueError("half of a picture begins anew")
    return Picture(kinds == {IDR}, any(kind in _B_SLICES for _, kind in slices), sets)


def _with_lengths(data: bytes, width: int) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        start = at + width
        end = start + int.from_bytes(data[at:start], "big")
        if end > len(data) or end <= start:
            raise ValueError("the lengths do not fit")
        yield data[start:end]
        at = end


def _annex_b(data: bytes) -> Iterator[bytes]:
    start = data.find(b"\0\0\1")
    while start >= 0:
        end = data.find(b"\0\0\1", start + 3)
        unit = data[start + 3 : end if end >= 0 else len(data)].rstrip(b"\0")
        if unit:
            yield unit
        start = end


def _slice_type(unit: bytes) -> int:
    """The second number of a slice's header (section 7.3.3)."""
    head = unit[1:13].replace(b"\0\0\3", b"\0\0")
    bits, left = int.from_bytes(head, "big"), 8 * len(head)
    _, left = _exp_golomb(bits, left)
    kind, _ = _exp_golomb(bits, left)
    if kind > _MOST_SLICE_TYPE:
        raise ValueError("there is no such kind of slice")
    return kind


def _exp_golomb(bits: int, left: int) -> tuple[int, int]:
    """A number (section 9.1) at the highest of `left` bits, and how many bits are left then."""
    rest = bits & ((1 << left) - 1)
    zeros = left - rest.bit_length()
    used = 2 * zeros + 1
    if used > left:
        raise ValueError("a number does not end")
    return (rest >> (left - used)) - 1, left - used
