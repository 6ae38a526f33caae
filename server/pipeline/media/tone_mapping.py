"""From a high dynamic range to the usual one: the same mapping for renditions, posters and storyboards.

Rule: pure except for `can_map` and `draw`, which run the installed FFmpeg: not every build has the filters. Without
them colours are kept as they are coded, which looks pale; a picture is made all the same.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from server.pipeline.media import programs

Range = Literal["pq", "hlg"]
"""How bright tones are coded: SMPTE ST 2084 or ARIB STD-B67."""

TRANSFERS: Mapping[int, Range] = {16: "pq", 18: "hlg"}
"""By their numbers in ITU-T H.273 table 3."""

_NAMES: Mapping[Range, str] = {"pq": "smpte2084", "hlg": "arib-std-b67"}
_SECONDS = 30.0  # for one small picture


def of_frame(stream: VideoStream, frame: VideoFrame) -> Range | None:
    """How the tones of a frame are coded; None for the usual range."""
    return TRANSFERS.get(int(frame.color_trc)) or TRANSFERS.get(int(stream.codec_context.color_trc or 0))


def filters(coded: Range, *, for_jpeg: bool = False) -> list[str]:
    """Filters that bring a frame to BT.709 in 8 bits, or to the colours of a JPEG (JFIF: BT.601, all 256 values).

    Scale before: floating point colours of a whole 4K frame are 100 MB.
    """
    end = "zscale=t=bt709:m=470bg:r=pc,format=yuvj420p" if for_jpeg else "zscale=t=bt709:m=bt709:r=tv,format=yuv420p"
    return [
        # Set on the frame, not only on the input: zscale finds no conversion from undeclared colours.
        f"setparams=color_primaries=bt2020:color_trc={_NAMES[coded]}:colorspace=bt2020nc",
        f"zscale=tin={_NAMES[coded]}:min=bt2020nc:pin=bt2020:t=linear:npl=100",
        "format=gbrpf32le,zscale=p=bt709,tonemap=tonemap=hable:desat=0",
        end,
    ]


def can_map(ffmpeg: str) -> bool:
    """Whether this FFmpeg has the filters. Raises `KilledError`."""
    source = ("-f", "lavfi", "-i", "color=size=16x16:duration=0.04,format=yuv420p10le")
    chain = ",".join(filters("pq"))
    return programs.run([ffmpeg, "-nostdin", "-loglevel", "quiet", *source, "-vf", chain, "-f", "null", "-"], _SECONDS)


def for_jpeg(ffmpeg: str, coded: Range | None) -> list[str]:
    """Filters after scaling for a JPEG; none for the usual range, or where FFmpeg lacks them. Raises `KilledError`."""
    if coded is None or not can_map(ffmpeg):
        return []
    return ["format=yuv420p10le", *filters(coded, for_jpeg=True)]


def draw(ffmpeg: str, frame: VideoFrame, coded: Range, target: Path) -> bool:
    """Write a frame of the format yuv444p as a JPEG with its tones mapped; False when FFmpeg cannot.

    Raises `KilledError`, and `OSError` if there is no room.
    """
    raw = target.with_suffix(".raw")
    try:
        raw.write_bytes(b"".join(_packed(frame, number) for number in range(3)))
        return programs.run(
            [
                *(ffmpeg, "-hide_banner", "-nostdin", "-loglevel", "error", "-y", "-protocol_whitelist", "file"),
                *("-f", "rawvideo", "-pixel_format", "yuv444p", "-video_size", f"{frame.width}x{frame.height}"),
                *("-i", f"file:{raw}", "-frames:v", "1", "-filter_threads", "1", "-threads", "1"),
                *("-vf", ",".join(["setparams=range=tv", *filters(coded, for_jpeg=True)])),
                *("-c:v", "mjpeg", "-q:v", "4", "-flags", "+bitexact", "-f", "mjpeg", f"file:{target}"),
            ],
            _SECONDS,
        )
    finally:
        raw.unlink(missing_ok=True)


def _packed(frame: VideoFrame, number: int) -> bytes:
    """A plane without the padding at the end of its rows."""
    plane = frame.planes[number]
    data, stride = bytes(plane), plane.line_size
    return b"".join(data[row * stride : row * stride + frame.width] for row in range(frame.height))
