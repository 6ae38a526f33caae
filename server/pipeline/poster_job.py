"""The job of the poster step, run in a child process: FFmpeg takes single frames, the most telling one stays.

Rule: FFmpeg is told the demuxer, may open files only, and sees names it cannot mistake for anything else.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from server.errors import StepError
from server.pipeline import programs

_SHARES = (0.10, 0.25, 0.50, 0.75)  # of the duration
_TIME_SHARE = 1 / 3  # of the step's time for one frame; if all hang, the step runs out of time before they do
_EARLY = (0.0, 1.0, 3.0, 10.0)  # seconds; where to look when the duration is not known


def take(arguments: Mapping[str, Any], report: Callable[[int], None]) -> Mapping[str, object]:
    """Write the poster `name` into `output`. Raises `StepError` poster_failed if there is no frame anywhere."""
    output = Path(arguments["output"])
    duration = arguments["duration"]
    times = [share * duration for share in _SHARES] if duration else list(_EARLY)
    candidates = []
    for number, seconds in enumerate(times):
        candidates.append(_frame(arguments, seconds, output / f"candidate-{number}.jpg"))
        report(100 * (number + 1) // len(times))
    if not any(candidates) and duration:
        # A duration that is far off, or a video of one frame: any time but the start may be behind its end.
        candidates.append(_frame(arguments, 0.0, output / "candidate-start.jpg"))
    best = max((found for found in candidates if found), key=lambda path: path.stat().st_size, default=None)
    if best is None:
        raise StepError("poster_failed")
    best.replace(output / arguments["name"])
    return {}


def _frame(arguments: Mapping[str, Any], seconds: float, target: Path) -> Path | None:
    """The frame at so many seconds as a JPEG, or None.

    At one quality a JPEG is the larger the more there is to see: black and blurred frames are the smallest.
    """
    # One spot that cannot be decoded does not cost the others their time.
    done = programs.run(_command(arguments, seconds, target), arguments["seconds"] * _TIME_SHARE)
    return target if done and _is_jpeg(target) else None


def _is_jpeg(path: Path) -> bool:
    """Whether a whole JPEG is there: behind the end of a video FFmpeg succeeds and writes nothing."""
    data = path.read_bytes() if path.is_file() else b""
    return data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9")


def _command(arguments: Mapping[str, Any], seconds: float, target: Path) -> list[str]:
    return [
        arguments["ffmpeg"],
        *("-hide_banner", "-nostdin", "-loglevel", "error", "-y"),
        # The input: one file, one demuxer, one thread, no bomb. Seeking before -i decodes from a key frame on.
        *("-protocol_whitelist", "file", "-f", arguments["demuxer"]),
        *("-threads", "1", "-max_pixels", str(arguments["max_pixels"])),
        *("-max_streams", str(arguments["max_streams"])),
        *("-ss", f"{seconds:.3f}", "-i", f"file:{arguments['path']}"),
        # The output: the first real video stream (`V` leaves cover art out; probe_job.py picks the same).
        *("-map", "0:V:0", "-an", "-sn", "-dn", "-map_metadata", "-1", "-frames:v", "1"),
        *("-filter_threads", "1", "-vf", _filter(arguments["edge"])),
        # mjpeg takes the name as it is, image2 would expand a `%` in it.
        *("-threads", "1", "-c:v", "mjpeg", "-q:v", "3", "-flags", "+bitexact", "-f", "mjpeg"),
        f"file:{target}",
    ]


def _filter(edge: int) -> str:
    """Scale to square pixels with the longest edge at most `edge`, never up. FFmpeg has rotated before."""
    factor = f"min(1,{edge}/max(iw*sar,ih))"
    width, height = f"max(1,round(iw*sar*{factor}))", f"max(1,round(ih*{factor}))"
    return f"scale=w='{width}':h='{height}',setsar=1,format=yuvj420p"
