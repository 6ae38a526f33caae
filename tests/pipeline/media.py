"""What a made video is, judged by ffprobe and FFmpeg from Debian: other programs than those that made it, mostly."""

import json
import subprocess
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.harness.waiting import PATIENCE


@dataclass(frozen=True)
class ProbedVideo:
    """What ffprobe tells of one video."""

    format: dict[str, Any]
    video: dict[str, Any]
    audio: list[dict[str, Any]]

    @property
    def size(self) -> tuple[int, int]:
        """Pixels as shown."""
        width, height = int(self.video["width"]), int(self.video["height"])
        return (height, width) if self.rotation % 180 else (width, height)

    @property
    def rotation(self) -> int:
        """Degrees that a player turns it."""
        return int(next((d["rotation"] for d in self.video.get("side_data_list", ()) if "rotation" in d), 0))

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.format["duration"])


def judge(path: Path) -> ProbedVideo:
    """One video stream, perhaps sound, and nothing else."""
    found = _ffprobe("-show_format", "-show_streams", str(path))
    (video,) = [one for one in found["streams"] if one["codec_type"] == "video"]
    audio = [one for one in found["streams"] if one["codec_type"] == "audio"]
    assert len(audio) + 1 == len(found["streams"]), "there is something besides pictures and sound"
    return ProbedVideo(found["format"], video, audio)


def packets(path: Path, stream: str = "v:0") -> list[dict[str, Any]]:
    """The packets of a stream: pts_time, dts_time, flags, size."""
    return list(_ffprobe("-select_streams", stream, "-show_packets", str(path))["packets"])


def frame_times(path: Path) -> list[float]:
    """When each frame is shown, in seconds."""
    frames = _ffprobe("-select_streams", "v:0", "-show_entries", "frame=pts_time", str(path))["frames"]
    return [float(frame["pts_time"]) for frame in frames]


def key_times(path: Path) -> list[float]:
    """When each key frame is shown, in seconds."""
    return [float(one["pts_time"]) for one in packets(path) if "K" in one["flags"]]


def check_plays(path: Path) -> None:
    """From start to end without a word of complaint."""
    done = subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error", "-xerror", "-i", str(path), "-f", "null", "-"],
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")


def atoms(path: Path) -> list[str]:
    """The names of the top boxes of an MP4, in order."""
    names, data, start = [], path.read_bytes(), 0
    while start < len(data):
        length = int.from_bytes(data[start : start + 4], "big")
        names.append(data[start + 4 : start + 8].decode())
        assert length >= 8, "no box of more than 4 GiB is expected here"
        start += length
    return names


def loudest(path: Path) -> int:
    """Hz: how often the sound swings around zero in a second, which is right for one pure tone."""
    raw = subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error", "-i", str(path), "-vn", "-ac", "1", "-ar", "8000", "-f", "s16le", "-"],
        capture_output=True,
        check=True,
        timeout=PATIENCE,
    ).stdout
    samples = [int.from_bytes(raw[at : at + 2], "little", signed=True) for at in range(0, len(raw), 2)][4000:8000]
    return sum(a < 0 <= b for a, b in pairwise(samples)) * 2


def colour(path: Path, x: float, y: float) -> tuple[int, int, int]:
    """Red, green, blue of the first frame at shares (0 to 1) of width and height."""
    return colours(path, (x, y))[0]


def colours(path: Path, *places: tuple[float, float]) -> list[tuple[int, int, int]]:
    """The same at several places of one frame."""
    shown = judge(path).size
    raw = subprocess.run(
        [
            *("ffmpeg", "-nostdin", "-v", "error", "-i", str(path), "-frames:v", "1"),
            *("-pix_fmt", "rgb24", "-f", "rawvideo", "-"),
        ],
        capture_output=True,
        check=True,
        timeout=PATIENCE,
    ).stdout
    starts = [3 * (int(y * (shown[1] - 1)) * shown[0] + int(x * (shown[0] - 1))) for x, y in places]
    return [(raw[start], raw[start + 1], raw[start + 2]) for start in starts]


def _ffprobe(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        ["ffprobe", "-v", "error", "-of", "json", *arguments], capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr.decode()) == (0, ""), arguments
    found: dict[str, Any] = json.loads(done.stdout)
    return found
