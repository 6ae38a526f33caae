"""Odd videos, 150 and more: codecs x containers x times x layouts x damage, each made by FFmpeg when it is asked for.

Rule: an entry is data. `sample` draws some by a seed; `make soak` takes all (`test_corpus.py`).
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from tests import samples

Damage = Literal["", "cut", "zeros", "noise", "head"]

_VIDEO: dict[str, tuple[str, ...]] = {
    "h264": ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"),
    "h264-b": ("-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-g", "30", "-pix_fmt", "yuv420p"),
    "h264-open": (
        *("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"),
        *("-x264-params", "open-gop=1:keyint=20:bframes=3:scenecut=0"),
    ),
    "h264-refresh": ("-c:v", "libx264", "-x264-params", "intra-refresh=1:keyint=25", "-pix_fmt", "yuv420p"),
    "h264-422": ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv422p10le"),
    "hevc": ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none", "-pix_fmt", "yuv420p"),
    "mpeg4": ("-c:v", "mpeg4", "-bf", "2", "-q:v", "4"),
    "mpeg2": ("-c:v", "mpeg2video", "-q:v", "4", "-bf", "2"),
    "mjpeg": ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-q:v", "4"),
    "vp8": ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "600k"),
    "vp9": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "600k"),
    "ffv1": ("-c:v", "ffv1", "-pix_fmt", "yuv444p"),
    "prores": ("-c:v", "prores_ks", "-pix_fmt", "yuv422p10le"),
    "wmv2": ("-c:v", "wmv2", "-q:v", "4"),
    "flv1": ("-c:v", "flv", "-q:v", "4"),
}
_AUDIO: dict[str, tuple[str, ...]] = {
    "aac": ("-c:a", "aac"),
    "mp3": ("-c:a", "libmp3lame"),
    "opus": ("-c:a", "libopus"),
    "ac3": ("-c:a", "ac3", "-ac", "6"),
    "pcm": ("-c:a", "pcm_s16le"),
    "flac": ("-c:a", "flac"),
    "wma": ("-c:a", "wmav2"),
    "none": ("-an",),
}
_CONTAINERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "mp4": (
        ("h264", "h264-b", "h264-open", "h264-refresh", "h264-422", "hevc", "mpeg4", "vp9"),
        ("aac", "mp3", "none"),
    ),
    "mov": (("h264-b", "h264-open", "hevc", "prores", "mjpeg"), ("aac", "pcm", "none")),
    "mkv": (("h264-b", "h264-open", "hevc", "vp8", "vp9", "ffv1", "mpeg2"), ("opus", "flac", "ac3")),
    "avi": (("h264", "h264-b", "mpeg4", "mjpeg", "mpeg2"), ("mp3", "pcm", "none")),
    "flv": (("h264", "h264-b", "h264-open", "flv1"), ("aac", "mp3")),
    "wmv": (("wmv2",), ("wma", "none")),
}
_RATES = ("1/5", "1", "7", "24000/1001", "60", "120")
_LAYOUTS = (1, 2, 4, 6, 8, 9, 11, 12, 16)
_DAMAGES: tuple[Damage, ...] = ("cut", "zeros", "noise", "head")


@dataclass(frozen=True)
class OddFile:
    """One file. `seconds` is how long pictures and sound go on, `sound_seconds` the sound; `may_fail` if there is no
    promise that anything can be made of it, but a reason."""

    name: str
    video: str
    audio: str
    rate: str = "25"
    seconds: float = 3
    sound_seconds: float | None = None
    size: str = "160x120"
    shape: str = "1"
    channels: int = 2
    offset: float = 0
    damage: Damage = ""

    @property
    def may_fail(self) -> bool:
        """Whether a failure with a fitting reason is an answer."""
        return self.damage == "head"

    @property
    def has_sound(self) -> bool:
        """Whether something must be heard."""
        return self.audio != "none"

    @property
    def whole(self) -> float:
        """Seconds until the end of all."""
        return max(self.seconds, self.sound_seconds or 0.0) if self.has_sound else self.seconds

    def make(self, folder: Path) -> Path:
        """The file below `folder`."""
        target = folder / self.name
        picture = f"testsrc2=size={self.size}:rate={self.rate}:duration={self.seconds},setsar={self.shape}"
        tones = "|".join(["0.3*sin(440*2*PI*t)"] * self.channels)
        sound = ("-f", "lavfi", "-i", f"aevalsrc={tones}:duration={self.sound_seconds or self.seconds}")
        coded = _AUDIO[self.audio]
        samples.run(
            *("-f", "lavfi", "-i", picture, *(sound if self.has_sound else ()), *_VIDEO[self.video], *coded),
            *(("-ac", str(self.channels)) if self.audio == "aac" and self.channels < 3 else ()),
            *(("-output_ts_offset", str(self.offset)) if self.offset else ()),
            *("-threads", "1", str(target)),
        )
        if self.damage:
            target.write_bytes(_damaged(target.read_bytes(), self.damage, self.name))
        return target


def _damaged(data: bytes, damage: Damage, name: str) -> bytes:
    dice = random.Random(name)
    middle, length = len(data) // 2, min(400, len(data) // 20)
    if damage == "cut":
        return data[: len(data) * 2 // 3]
    if damage == "head":
        return data[:64] + dice.randbytes(min(2000, len(data) // 2)) + data[64 + min(2000, len(data) // 2) :]
    filling = bytes(length) if damage == "zeros" else dice.randbytes(length)
    return data[:middle] + filling + data[middle + length :]


def _codecs_and_containers() -> Iterator[OddFile]:
    for container, (videos, audios) in _CONTAINERS.items():
        for video, audio in product(videos, audios):
            yield OddFile(f"{video}-{audio}.{container}", video, audio)


def _times_and_layouts() -> Iterator[OddFile]:
    for rate, (video, audio, container) in product(_RATES, (("h264-b", "aac", "mp4"), ("vp9", "opus", "mkv"))):
        seconds = 15.0 if rate == "1/5" else 4.0
        yield OddFile(f"rate-{rate.replace('/', '_')}-{video}.{container}", video, audio, rate, seconds)
    for count, container in product(_LAYOUTS, ("mov", "mkv")):
        yield OddFile(f"channels-{count}.{container}", "h264", "pcm", channels=count)
    for pictures, sound, container in ((1, 6, "mkv"), (6, 1, "mkv"), (1, 4, "mp4"), (4, 1, "mp4"), (0.04, 5, "mp4")):
        video, audio = ("vp9", "opus") if container == "mkv" else ("hevc", "aac")
        yield OddFile(f"lengths-{pictures}-{sound}.{container}", video, audio, "25", pictures, sound)
    for shape, video in product(("64/45", "1/2", "3/1"), ("mpeg4", "h264", "hevc")):
        yield OddFile(f"shape-{shape.replace('/', '_')}-{video}.mkv", video, "mp3", shape=shape)
    for size, video in product(("161x121", "2x2", "17x300", "1280x16"), ("ffv1", "mjpeg")):
        yield OddFile(f"size-{size}-{video}.mkv", video, "flac", size=size)
    for offset, container in product((5, 9000), ("mkv", "mp4", "flv")):
        yield OddFile(f"offset-{offset}.{container}", "h264-b", "aac", offset=offset)


def _damages() -> Iterator[OddFile]:
    kinds = (("h264-b", "aac", "mp4"), ("h264-b", "opus", "mkv"), ("mpeg4", "mp3", "avi"), ("h264", "aac", "flv"))
    for damage, (video, audio, container) in product(_DAMAGES, kinds):
        # An MP4 whose end is missing has no index, and nothing can be made of it.
        if (damage, container) != ("cut", "mp4"):
            yield OddFile(f"{damage}-{video}.{container}", video, audio, seconds=4, damage=damage)


CORPUS: tuple[OddFile, ...] = (*_codecs_and_containers(), *_times_and_layouts(), *_damages())


def sample(seed: int, count: int) -> list[OddFile]:
    """Some of them."""
    return random.Random(seed).sample(CORPUS, count)
