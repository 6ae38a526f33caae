"""Videos for a soak: small, playable, and no two alike.

Rule: FFmpeg makes a few at the start; each upload gets one with a box of noise behind it that players pass over, so
that a byte of another upload, or at a wrong offset, shows in its digest.
"""

import random
from pathlib import Path

from tests import samples

NOT_VIDEO = b"%PDF-1.7 this is no video\n"


class Videos:
    """The samples. MP4 and MOV are remuxed by the server, MKV and AVI are encoded."""

    def __init__(self, folder: Path) -> None:
        self._bases = {
            extension: samples.make(folder, f"soak.{extension}", seconds=1, size="160x120").read_bytes()
            for extension in ("mp4", "mov", "mkv", "avi")
        }

    def make(self, dice: random.Random, size: int, extension: str = "") -> tuple[bytes, str]:
        """A video of about `size` bytes, and its extension."""
        extension = extension or dice.choices(("mp4", "mov", "mkv", "avi"), (12, 4, 1, 1))[0]
        base = self._bases[extension]
        noise = dice.randbytes(max(16, size - len(base) - 16))
        return base + _box(extension, noise), extension


def broken(dice: random.Random, size: int) -> bytes:
    """Begins like an MP4 and is none: it is taken, and cannot be played."""
    return b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + dice.randbytes(max(16, size))


def no_video(dice: random.Random, size: int) -> bytes:
    """Is refused for its first bytes."""
    return NOT_VIDEO + dice.randbytes(size)


def _box(extension: str, noise: bytes) -> bytes:
    if extension in ("mp4", "mov"):
        return (len(noise) + 8).to_bytes(4, "big") + b"free" + noise
    if extension == "mkv":
        return b"\xec\x01" + len(noise).to_bytes(7, "big") + noise
    return b"JUNK" + len(noise).to_bytes(4, "little") + noise
