"""Real videos, made by FFmpeg when a test asks for them.

Rule: a sample is encoded once in a run of the tests for each set of arguments, and copied into each folder that asks
for it. Whatever FFmpeg is found makes them, so nothing here may depend on its version.
"""

import hashlib
import random
import shutil
import subprocess
import uuid
from functools import cache
from pathlib import Path
from typing import Literal

from server.pipeline.media import ffmpeg
from tests.harness import run_folder
from tests.harness.waiting import PATIENCE

Pattern = Literal["test", "halves"]

# Of each extension: the video codec, the audio codec, and the muxer where the extension does not say it.
_CODECS = {
    "mp4": ("libx264", "aac"),
    "mov": ("libx264", "aac"),
    "mkv": ("libx264", "aac"),
    "flv": ("libx264", "aac"),
    "avi": ("mpeg4", "libmp3lame"),
    "wmv": ("wmv2", "wmav2"),
    "3gp": ("mpeg4", "aac"),
}
FORMATS = tuple(_CODECS)
"""Every extension of the documented API."""

_MORE_CODECS = {
    "webm": ("libvpx-vp9", "libopus"),
    "m4v": ("libx264", "aac"),
    "ts": ("libx264", "aac"),
    "m2ts": ("libx264", "ac3"),
    "mpg": ("mpeg2video", "mp2"),
    "ogv": ("libtheora", "libvorbis"),
    "mxf": ("mpeg2video", "pcm_s16le"),
}
MORE_FORMATS = tuple(_MORE_CODECS)
"""Extensions that the setting `accept_types` may add."""

# The matrix of a track header for a clockwise turn when shown (ISO/IEC 14496-12 section 8.3.2.3), 16.16.
_TURNS = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


@cache
def _ffmpeg() -> str:
    return ffmpeg.find("auto")


def make(
    folder: Path,
    name: str,
    *,
    seconds: float = 2,
    size: str = "320x240",
    rotate: int = 0,
    audio: bool = True,
    codec: str | None = None,
    black_intro: float = 0.0,
    pattern: Pattern = "test",
    extra: tuple[str, ...] = (),
    loops: int = 1,
) -> Path:
    """A playable video at 25 frames a second; its extension decides what it is.

    `rotate` (mp4, mov, 3gp) is clockwise degrees that a player has to turn it, as telephones write it.
    `black_intro` is in seconds. The pattern `halves` is red above blue, before any rotation. `extra` are
    FFmpeg's output options. `loops` repeats the whole so many times without encoding it again, for a long video.
    """
    key = repr((seconds, size, rotate, audio, codec, black_intro, pattern, extra, loops))
    target = folder / hashlib.sha256(key.encode()).hexdigest()[:12] / name
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    extension = name.rpartition(".")[2].lower()
    known = run_folder.find()
    encoded = known and known / "samples" / f"{hashlib.sha256((_ffmpeg() + key).encode()).hexdigest()}.{extension}"
    if encoded and encoded.exists():
        shutil.copyfile(encoded, target)
        return target
    video_codec, audio_codec = (_CODECS | _MORE_CODECS)[extension]
    rate = 48000 if extension == "mxf" else 44100  # MXF has no other
    sound = ("-f", "lavfi", "-i", f"sine=frequency=440:sample_rate={rate}:duration={seconds}") if audio else ()
    made = target.with_name(f"made.{extension}")
    run(
        *("-f", "lavfi", "-i", _picture(pattern, size, seconds, black_intro), *sound),
        *("-c:v", codec or video_codec, "-pix_fmt", "yuv420p", "-q:v", "4", "-threads", "1"),
        *(("-c:a", audio_codec, "-shortest") if audio else ()),
        *extra,
        str(made),
    )
    if loops > 1:
        once = made.replace(target.with_name(f"once.{extension}"))
        run("-stream_loop", str(loops - 1), "-i", str(once), "-c", "copy", str(made))
        once.unlink()
    if rotate:
        _turn(made, rotate)
    if encoded:
        _keep(made, encoded)
    made.replace(target)
    return target


def _keep(made: Path, encoded: Path) -> None:
    """Put a copy aside for the next who asks; two who ask at once make the same."""
    encoded.parent.mkdir(exist_ok=True)
    copy = encoded.with_name(f"{uuid.uuid4()}")
    shutil.copyfile(made, copy)
    copy.replace(encoded)


def big(folder: Path, name: str, min_bytes: int) -> Path:
    """A playable MP4 (or MOV) of at least so many bytes: a short video and a `free` box of noise behind it.

    No two stretches of the noise are alike, so a byte at a wrong offset shows in a hash.
    """
    target = folder / f"big-{min_bytes}" / name
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    video = make(folder, f"start.{name.rpartition('.')[2]}").read_bytes()
    rest = max(0, min_bytes - len(video) - 16)
    noise = random.Random(min_bytes)
    made = target.with_name("made")
    with made.open("wb") as file:
        file.write(video)
        file.write((1).to_bytes(4, "big") + b"free" + (16 + rest).to_bytes(8, "big"))
        while rest > 0:
            rest -= file.write(noise.randbytes(min(rest, 1 << 20)))
    made.replace(target)
    return target


def run(*arguments: str) -> None:
    """FFmpeg with these arguments; fails the test with what FFmpeg said."""
    done = subprocess.run(
        [_ffmpeg(), "-hide_banner", "-nostdin", "-loglevel", "error", "-y", *arguments],
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    if done.returncode:
        raise AssertionError(done.stderr.decode(errors="replace"))


def _picture(pattern: Pattern, size: str, seconds: float, black_intro: float) -> str:
    if pattern == "halves":
        graph = f"color=red:size={size}:rate=25:duration={seconds},drawbox=y=ih/2:h=ih/2:color=blue:t=fill"
    else:
        graph = f"testsrc2=size={size}:rate=25:duration={seconds}"
    if black_intro:
        graph += f",drawbox=color=black:t=fill:enable='lt(t,{black_intro})'"
    return graph


def _turn(path: Path, degrees: int) -> None:
    """Write a rotation into the first track: FFmpeg's own option for it differs from version to version."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40  # version 0: 40 bytes of fields come first
    a, b, c, d = (value * 0x10000 for value in _TURNS[degrees])
    for position, value in enumerate((a, b, 0, c, d, 0, 0, 0, 0x40000000)):
        data[matrix + 4 * position : matrix + 4 * position + 4] = value.to_bytes(4, "big", signed=True)
    path.write_bytes(data)
