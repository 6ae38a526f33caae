"""The first bytes of a video of each type: what the doctor uploads, and never to its end.

Rule: `server.media_types` takes them for that type.
"""

_BOXES = bytes.fromhex("00000018667479706d7034320000000069736f6d6d703432")
_EBML = bytes.fromhex("1a45dfa3a3428681014282847765626d")
# Not all zeros, which a proxy might treat in another way.
_PATTERN = bytes((7 * number + number // 251) % 256 for number in range(1 << 16))
_HEADS = {
    **dict.fromkeys(("mp4", "mov", "m4v", "3gp"), _BOXES),
    **dict.fromkeys(("mkv", "webm"), _EBML),
    "avi": b"RIFF\0\0\0\0AVI ",
    "wmv": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
    "flv": b"FLV\x01",
    "ts": bytes.fromhex("474000100000b00d0001c10000"),
    "mpg": bytes.fromhex("000001ba44000400040100"),
    "ogv": b"OggS\0\x02",
    "mxf": bytes.fromhex("060e2b34020501010d01020101"),
}


def sample(accepted: str, mark: str) -> tuple[str, bytes]:
    """A file name with `mark`, and the first bytes that fit it. `accepted` is a list of extensions, or `*` for all."""
    names = [name.strip() for name in accepted.split(",")]
    chosen = next((name for name in names if name in _HEADS), "mp4")
    return f"videodock-doctor-{mark}.{chosen}", _HEADS[chosen]


def piece(offset: int, length: int, head: bytes) -> bytes:
    """`length` bytes of the file from `offset` on: the same each time."""
    start = offset % len(_PATTERN)
    body = (_PATTERN[start:] + _PATTERN * (length // len(_PATTERN) + 1))[:length]
    return (head[offset:] + body[max(0, len(head) - offset) :])[:length]
