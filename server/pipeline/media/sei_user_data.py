"""Does a stream of H.264 carry remarks of the camera (SEI, "user data"), which may contain a place?

Rule: every access unit is read, and data that cannot be parsed counts as a remark. It costs a fifth of a second a
gigabyte and runs beside the FFmpeg that copies; removing all remarks takes FFmpeg longer than copying.
"""

_SEI = 6  # ITU-T H.264 table 7-1
_REGISTERED, _UNREGISTERED = 4, 5  # its annex D: user data
_CAPTIONS = b"\xb5"  # ITU-T T.35: the country code of subtitles and the like
_X264 = bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef")  # x264's encoding parameters, and nothing of person or place


def has_remark(unit: memoryview, width: int) -> bool:
    """Whether an access unit has one; `width` bytes are the length of each part.

    Messages belong before the picture, and not every encoder keeps to that, FFmpeg included.
    """
    at = 0
    while at + width < len(unit):
        length = int.from_bytes(unit[at : at + width], "big")
        start = at + width
        if unit[start] & 31 == _SEI and _is_remark(bytes(unit[start + 1 : start + length])):
            return True
        at = start + length
    return False


def _is_remark(message: bytes) -> bool:
    """Whether one of the messages in a part is user data that we do not know."""
    data, at = message.replace(b"\0\0\3", b"\0\0").rstrip(b"\0"), 0
    while at < len(data) - 1:
        kind, at = _number(data, at)
        length, at = _number(data, at)
        content = data[at : at + length]
        if kind == _UNREGISTERED and not content.startswith(_X264):
            return True
        if kind == _REGISTERED and not content.startswith(_CAPTIONS):
            return True
        at += length
    return at != len(data) - 1  # after the last comes one bit and no more


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number as messages write theirs: 255 stands for "and more"; and where it ends. Raises `IndexError`."""
    number = 0
    while data[at] == 255:
        number, at = number + 255, at + 1
    return number + data[at], at + 1
