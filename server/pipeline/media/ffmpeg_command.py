"""The pieces of FFmpeg's command line.

Rule: pure. FFmpeg gets the demuxer by option, opens files only, sees no name that it could mistake for anything else,
and gets no information about a video's origin that it could write into a result.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from server.pipeline.media import tone_mapping
from server.pipeline.media.decoders import DECODERS
from server.pipeline.media.orientation import Orientation
from server.pipeline.media.renditions import (
    AUDIO_RATE,
    KEY_FRAME_SECONDS,
    MAX_FRAME_RATE,
    SEGMENT_SECONDS,
    Rendition,
    Source,
)

Tones = Literal["kept", "mapped", "cut"]
"""How colours are treated: `kept` as they are, `mapped` from a high dynamic range, `cut` off where FFmpeg cannot."""

AUDIO_FOLDER = "audio"
PLAYLIST = "index.m3u8"
INIT = "init.mp4"

_CRF = "23"
_RATE = 30  # frames a second where a source does not declare it
_AUDIO_HZ = "48000"
_LARGE, _LARGE_THREADS, _LARGE_LOOKAHEAD = 2560 * 1600, 3, "10"  # pixels, and what larger ones may have
_BUFFER = 2  # seconds of the highest rate that may be spent at once
_MAX_STREAMS = "1200"  # as MAX_STREAMS in step.py
_QUEUED_PACKETS = 8192  # while FFmpeg waits for a stream that begins later

# Formats that have no luma: their pictures get colours as of HD video.
_RGB = ("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal8", "x2rgb", "x2bgr")

_BT709 = "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"


@dataclass(frozen=True)
class Input:
    """The input file and its decoder: `path` absolute, `max_pixels` of a frame, `threads` for decoding."""

    ffmpeg: str
    path: str
    demuxer: str
    max_pixels: int
    threads: int


def beginning(given: Input) -> list[str]:
    """The program, its global options, and the input."""
    return [
        given.ffmpeg,
        *("-hide_banner", "-nostdin", "-loglevel", "error", "-y"),
        *("-progress", "pipe:1", "-stats_period", "0.5"),
        *("-filter_threads", str(given.threads), "-filter_complex_threads", str(given.threads)),
        *("-protocol_whitelist", "file", "-f", given.demuxer, "-format_whitelist", given.demuxer),
        *("-codec_whitelist", DECODERS),
        # Tracks of QuickTime files may refer to other files; off by default, and set here so that it stays off.
        *(("-enable_drefs", "0", "-use_absolute_path", "0") if given.demuxer == "mov" else ()),
        *("-threads", str(given.threads), "-max_pixels", str(given.max_pixels)),
        # Frames are turned by filters (`upright`): versions differ about other matrices than quarter turns.
        *("-max_streams", _MAX_STREAMS, "-noautorotate", "-i", f"file:{given.path}"),
    ]


def upright(orientation: Orientation) -> list[str]:
    """Filters that make the frame as it is shown, without rotation in its metadata."""
    return ["sidedata=mode=delete:type=DISPLAYMATRIX", *orientation.filters]


def copied_video(source: Source, *, remarks: bool) -> list[str]:
    """Copy the pictures; without `remarks`, except what a camera may have written into the stream (SEI)."""
    stripped = () if remarks else ("-bsf:v", "filter_units=remove_types=6")
    return ["-map", f"0:{source.index}", "-c:v", "copy", "-tag:v", "avc1", *stripped]


def copied_audio(source: Source) -> list[str]:
    """Copy the sound."""
    return ["-map", f"0:{source.audio.index}", "-c:a", "copy"] if source.audio else []


def encoded_audio(source: Source, *, until: float | None = None) -> list[str]:
    """The sound as AAC in stereo, from time 0 on and without gaps, then silence `until` that second."""
    if source.audio is None:
        return []
    filters = [_mix(source.audio.channels)] if source.audio.is_mixed else []
    filters.append("aresample=async=1:first_pts=0")
    if until:
        filters.append(f"apad=whole_dur={until:.6f}")
    return [
        *("-map", f"0:{source.audio.index}", "-c:a", "aac", "-b:a", str(AUDIO_RATE), "-ac", "2"),
        *("-ar", _AUDIO_HZ, "-af", ",".join(filters)),
    ]


def _mix(channels: int) -> str:
    """Odd channels to the left and even ones to the right, as recorders number them; none is lost, none is too loud."""
    sides = (range(0, channels, 2), range(1, channels, 2))
    return "pan=stereo|" + "|".join(
        f"c{side}<{'+'.join(f'c{number}' for number in numbers)}" for side, numbers in enumerate(sides)
    )


def graph(source: Source, made: Sequence[Rendition], tones: Tones) -> list[str]:
    """One decoding for all sizes: the filters and their outputs, `[v0]` and so on."""
    largest = max(made, key=lambda one: one.width * one.height)
    chain = [*_timing(source), *upright(source.orientation), *_scale(source, largest, tones)]
    if len(made) == 1:
        return ["-filter_complex", f"[0:{source.index}]{','.join(chain)}[v0]"]
    names = "".join(f"[s{number}]" for number in range(len(made)))
    chain.append(f"split={len(made)}{names}")
    branches = [
        f"[s{number}]scale={one.width}:{one.height}:flags=bicubic,setsar=1[v{number}]"
        for number, one in enumerate(made)
    ]
    return ["-filter_complex", ";".join([f"[0:{source.index}]{','.join(chain)}", *branches])]


def encoded_video(
    source: Source, one: Rendition, number: int, *, preset: str, threads: int, reordered: bool = True
) -> list[str]:
    """The pictures of output `[v<number>]` as H.264; not `reordered`, each is shown when it is decoded."""
    return [
        *("-map", f"[v{number}]", "-c:v", "libx264", "-preset", preset, "-profile:v", "high"),
        *("-level:v", f"{one.level // 10}.{one.level % 10}", "-pix_fmt", "yuv420p"),
        *("-threads", str(min(threads, _LARGE_THREADS) if one.width * one.height > _LARGE else threads)),
        *(() if reordered else ("-bf", "0")),
        # Frames in the lookahead queue take most of the memory.
        *(("-rc-lookahead", _LARGE_LOOKAHEAD) if one.width * one.height > _LARGE else ()),
        *("-crf", _CRF, "-maxrate", str(one.max_rate), "-bufsize", str(one.max_rate * _BUFFER)),
        # Key frames by time and nowhere else, so that all sizes have theirs at the same frames. Floating point makes
        # 2 s of 25 frames 1.9999.
        *("-g", "100000", "-keyint_min", "1", "-sc_threshold", "0"),
        "-force_key_frames",
        f"expr:if(isnan(prev_forced_t),1,gte(t,prev_forced_t+{KEY_FRAME_SECONDS}-0.001))",
        *("-fps_mode", "vfr"),
        # By default times are rounded to the average frame rate, which is wrong when frames come unevenly.
        *(("-enc_time_base:v", "1:90000") if source.is_variable or source.held else ()),
    ]


def mp4_output(name: str, index_bytes: int | None = None) -> list[str]:
    """One MP4 with its index at the beginning, in `index_bytes` of reserved space, where that number is known."""
    # Otherwise FFmpeg moves the whole output when it knows the length of the index, which writes the file twice.
    place = ("-moov_size", str(index_bytes)) if index_bytes else ("-movflags", "+faststart")
    return [*_anonymous(), *place, "-max_muxing_queue_size", str(_QUEUED_PACKETS), "-f", "mp4", name]


def hls_output(folder: str) -> list[str]:
    """One media playlist with its segments below `folder`, a path relative to the working directory."""
    return [
        *_anonymous(),
        *("-max_muxing_queue_size", str(_QUEUED_PACKETS)),
        *("-f", "hls", "-hls_segment_type", "fmp4", "-hls_time", str(SEGMENT_SECONDS), "-hls_playlist_type", "vod"),
        *("-hls_list_size", "0", "-hls_flags", "independent_segments", "-start_number", "1"),
        # Otherwise each playlist would be moved by another time: pictures, as they are decoded before they are shown,
        # by two or three frames, sound by none. So an edit list declares the start, as for any MP4.
        *("-avoid_negative_ts", "disabled"),
        # FFmpeg's own index of a segment is wrong after a pause, and players go by the segment's times anyhow.
        *("-hls_segment_options", "movflags=+skip_sidx"),
        *("-hls_fmp4_init_filename", INIT, "-hls_segment_filename", f"{folder}/segment-%05d.m4s"),
        f"{folder}/{PLAYLIST}",
    ]


def _anonymous() -> tuple[str, ...]:
    return ("-sn", "-dn", "-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact")


def _timing(source: Source) -> list[str]:
    filters = []
    if source.is_interlaced:
        filters.append("bwdif=mode=send_frame:parity=auto:deint=interlaced")
    rate = source.made_rate or _RATE
    if source.is_late or source.is_filled or (source.held and source.is_variable):
        # The first picture is shown from the start: a playlist of segments cannot declare that there is none yet.
        filters.append(f"fps={rate}:start_time=0")
    if source.held:
        filters.append(f"tpad=stop_mode=clone:stop_duration={source.held:.6f},trim=end={source.until or 0:.6f}")
    if source.is_variable or source.made_rate != source.frame_rate:
        # Whole frames are left out; a frame a little early still counts.
        filters.append(f"select='isnan(prev_selected_t)+gte(t-prev_selected_t,1/({MAX_FRAME_RATE}*1.02))'")
    if source.is_moved:
        # Moving only the first picture would leave a gap in an even rate, so all are moved, by a fraction of a second.
        filters.append("setpts='if(eq(N,0),0,PTS)'" if source.is_variable else "setpts=PTS-STARTPTS")
    return filters


def _scale(source: Source, one: Rendition, tones: Tones) -> list[str]:
    """Filters to the size, square pixels, and 8 bits with the usual colours. The frame is upright before."""
    size = f"scale={one.width}:{one.height}:flags=bicubic"
    if tones == "mapped":
        # Scaled first: floating point colours of a whole 4K frame are 100 MB.
        return [
            f"{size},setsar=1,format=yuv420p10le",
            *tone_mapping.filters(source.hdr or "pq"),
            _BT709,
        ]
    if tones == "cut" or source.pixel_format.startswith(_RGB):
        return [f"{size}:out_color_matrix=bt709:out_range=tv,setsar=1,format=yuv420p,{_BT709}"]
    colours = [f"setparams={source.untold_colours}"] if source.untold_colours else []
    return [f"{size}:out_range=tv,setsar=1,format=yuv420p", *colours]
