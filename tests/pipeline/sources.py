"""Videos as people have them: one of each kind that a transcode must cope with, and what must come of it.

Rule: each is as small as its point allows. `SOURCES` is the matrix of `test_mp4.py` and `test_hls.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests import samples

_SOUND = ("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100:duration=2")
_X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
_X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none", "-tag:v", "hvc1")
_BT2020 = ("-pix_fmt", "yuv420p10le", "-color_primaries", "bt2020", "-colorspace", "bt2020nc")
_AS_IT_COMES = ("-fps_mode", "passthrough")
_AAC = ("-c:a", "aac")


@dataclass(frozen=True)
class Made:
    """How FFmpeg makes it (`arguments`, without the name of the file), and what must come of it.

    `size` is as shown, `seconds` the duration. `rotate` is written into the track afterwards.
    """

    name: str
    arguments: tuple[str, ...]
    how: Literal["copied", "encoded"]
    size: tuple[int, int] = (320, 240)
    seconds: float = 2.0
    audio: bool = True
    rotate: int = 0
    frame_rate: float | None = 25.0
    facts: Mapping[str, object] | None = None

    def make(self, folder: Path) -> Path:
        """The file, made once for each folder."""
        target = folder / self.name
        if not target.exists():
            made = target.with_name(f"made-{self.name}")
            samples.run(*self.arguments, str(made))
            if self.rotate:
                samples._turn(made, self.rotate)
            made.replace(target)
        return target


def _video(size: str = "320x240", rate: str = "25", seconds: float = 2, then: str = "") -> tuple[str, ...]:
    return "-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds}{then}"


_V = _video()
_JITTER = ",settb=1/1000,setpts='PTS+mod(N*7,5)*6'"  # frames up to 24 ms late, in no order that repeats soon
_SPARSE = ",select='not(mod(n,5))+lt(n,10)'"  # a telephone in the dark: 25 frames a second, then 5

SOURCES: tuple[Made, ...] = (
    Made("h264.mp4", (*_V, *_SOUND, *_X264, *_AAC), "copied"),
    Made("h264.mov", (*_V, *_SOUND, *_X264, *_AAC), "copied"),
    Made("h264.mkv", (*_V, *_SOUND, *_X264, *_AAC), "copied"),
    Made("h264.flv", (*_V, *_SOUND, *_X264, *_AAC), "copied"),
    Made("b-frames.mkv", (*_V, *_SOUND, *_X264, "-bf", "3", *_AAC), "copied"),
    Made("full-range.mp4", (*_V, *_X264, "-pix_fmt", "yuvj420p"), "copied", audio=False),
    Made("mp3.mkv", (*_V, *_SOUND, *_X264, "-c:a", "libmp3lame"), "copied"),
    Made("silent.mp4", (*_V, *_X264), "copied", audio=False),
    Made("turned.mp4", (*_V, *_SOUND, *_X264, *_AAC), "copied", (240, 320), rotate=90),
    Made("in-avi.avi", (*_V, *_SOUND, *_X264, "-bf", "0", "-c:a", "libmp3lame"), "copied"),
    Made("hevc.mp4", (*_V, *_SOUND, *_X265, *_AAC), "encoded"),
    Made("hevc-90.mov", (*_V, *_SOUND, *_X265, *_AAC), "encoded", (240, 320), rotate=90),
    Made("hevc-270.mov", (*_V, *_SOUND, *_X265, *_AAC), "encoded", (240, 320), rotate=270),
    Made(
        "vp9.mkv",
        (*_V, *_SOUND, "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"),
        "encoded",
    ),
    Made("av1.mkv", (*_V, *_SOUND, "-c:v", "libsvtav1", "-preset", "12", "-c:a", "libopus"), "encoded"),
    Made("mpeg4.avi", (*_V, *_SOUND, "-c:v", "mpeg4", "-bf", "2", "-c:a", "libmp3lame"), "encoded"),
    Made("wmv.wmv", (*_V, *_SOUND, "-c:v", "wmv2", "-c:a", "wmav2"), "encoded"),
    Made("phone.3gp", (*_V, *_SOUND, "-c:v", "h263", "-s", "352x288", *_AAC), "encoded", (384, 288), frame_rate=None),
    Made("prores.mov", (*_V, *_SOUND, "-c:v", "prores_ks", "-pix_fmt", "yuv422p10le", "-c:a", "pcm_s16le"), "encoded"),
    Made("high10.mkv", (*_V, *_X264, "-pix_fmt", "yuv420p10le"), "encoded", audio=False),
    Made("rgb.mkv", (*_V, "-c:v", "ffv1", "-pix_fmt", "bgr0"), "encoded", audio=False),
    Made("odd.mp4", (*_video("321x241"), "-c:v", "mpeg4"), "encoded", (320, 240), audio=False),
    Made("wide-pixels.mp4", (*_video("360x288", then=",setsar=64/45"), *_X265), "encoded", (512, 288), audio=False),
    Made("tiny.mkv", (*_video("3x5"), "-c:v", "ffv1"), "encoded", (2, 4), audio=False),
    Made(
        "interlaced.mkv",
        (*_video(rate="50", then=",tinterlace=interleave_top"), "-c:v", "mpeg2video", "-flags", "+ildct+ilme"),
        "encoded",
        audio=False,
    ),
    Made("one-frame.mp4", (*_video(seconds=0.04), *_X264), "copied", seconds=0.04, audio=False),
    Made("one-frame.mkv", (*_video(seconds=0.04), "-c:v", "ffv1"), "encoded", seconds=0.04, audio=False),
    Made("fast.mp4", (*_video(rate="120"), *_X264), "encoded", audio=False, frame_rate=60.0),
    Made("jitter.mkv", (*_video(then=_JITTER), *_X265, *_AS_IT_COMES), "encoded", audio=False, frame_rate=None),
    Made(
        "sparse.mkv",
        (*_video(then=_SPARSE), *_X265, *_AS_IT_COMES),
        "encoded",
        seconds=1.84,
        audio=False,
        frame_rate=None,
    ),
    Made("pq.mov", (*_V, *_X265, *_BT2020, "-color_trc", "smpte2084"), "encoded", audio=False),
    Made(
        "hlg.mov",
        (*_V, *_SOUND, *_X265, *_BT2020, "-color_trc", "arib-std-b67", *_AAC),
        "encoded",
        (240, 320),
        rotate=90,
    ),
    Made("long-sound.mkv", (*_video(seconds=1), *_SOUND, *_X265, *_AAC), "encoded", frame_rate=None),
    Made("short-sound.mp4", (*_video(seconds=3), *_SOUND, *_X265, *_AAC), "encoded", seconds=3),
    Made("late-sound.mkv", (*_video(seconds=3), "-itsoffset", "1", *_SOUND, *_X265, *_AAC), "encoded", seconds=3),
    Made("late-video.mkv", ("-itsoffset", "1", *_V, *_SOUND, *_X265, *_AAC), "encoded", seconds=3, frame_rate=None),
    Made(
        "not-from-0.mkv",
        (*_V, *_SOUND, *_X264, *_AAC, "-output_ts_offset", "100"),
        "copied",
        facts={"duration": None},
    ),
    Made("5-1.mkv", (*_V, *_SOUND, *_X265, "-ac", "6", "-c:a", "ac3"), "encoded"),
)
