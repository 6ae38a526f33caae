"""The job of the probe step, run in a child process: open the file with PyAV, decode one frame, read the times of
some.

Rule: FFmpeg opens exactly one file with exactly one demuxer, both given to it. Nothing in the content can make
it open a second file or a connection. Metadata (places, devices, people) is not read.
"""

import math
import re
import statistics
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import av
import av.error
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from server.errors import StepError
from server.pipeline.jobs import PROGRAM
from server.pipeline.media import durations, encryption, ffmpeg_facts, orientation, programs, pyav, track_choice
from server.pipeline.media.decoders import DECODERS

_Packet: TypeAlias = "Packet[VideoStream]"  # generic in PyAV's annotations only

# A recording that was cut may begin up to a few seconds before its first key frame.
_MAX_PACKETS = 1000

# Codecs that every FFmpeg decodes; other codecs are tried.
_EVERYWHERE = frozenset({"h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video", "vp8", "vp9", "h263", "mjpeg", "wmv2"})
_NO_DECODER = re.compile(rb"[Dd]ecoder \(codec \S+\) not found|no decoder found|Unknown decoder")
_DECODER_SECONDS = 20.0

_HDR_TRANSFERS = (16, 18)  # PQ (SMPTE ST 2084) and HLG (ARIB STD-B67) in ITU-T H.273 table 3
_DOLBY_VISION = ("dvh1", "dvhe", "dvav", "dva1")  # sample entries of streams that need not say their transfer

# How many frames show whether they come evenly, how many bytes they may cost, and how many are too few.
_TIMED_PACKETS, _TIMED_BYTES, _FEWEST_TIMES = 300, 32 << 20, 8
_TIMED_SOUNDS = 4  # tracks of sound whose ends count
_REORDERED = 16  # packets; H.264 and HEVC put a frame at most so far from where it is shown
_UNEVEN = 0.1  # of the usual time between two frames
_DRIFT = 0.05  # of the rate: with more than that, the frames that were not read come at another rate


def probe(arguments: Mapping[str, Any], report: Callable[[int], None]) -> Mapping[str, object]:
    """Facts about the video at `path`, opened with `demuxer`, frames of at most `max_pixels`, at most `max_streams`.

    `remarks` may say truncated. Raises `StepError` not_playable, no_video_stream, only_pictures, codec_unsupported,
    protected or original_missing, `MemoryError`, and `OSError` if the file cannot be read at all.
    """
    path, demuxer = str(arguments["path"]), str(arguments["demuxer"])
    _require_readable(path)
    if arguments.get("by") == PROGRAM:
        encryption.check(path, demuxer)
        return ffmpeg_facts.columns(arguments)
    options = {
        "protocol_whitelist": "file",
        # Decoders that run while streams are analysed obey these too.
        "threads": "1",
        "max_pixels": str(arguments["max_pixels"]),
        "max_streams": str(arguments["max_streams"]),
        "format_whitelist": str(arguments["demuxer"]),
        "codec_whitelist": DECODERS,
    }

    def reopen() -> InputContainer:
        return _open(path, demuxer, options)

    try:
        encryption.check(path, demuxer)
        with _open(path, demuxer, options) as container:
            report(30)
            _require_bytes_for_frames(container, Path(path).stat().st_size)
            stream = track_choice.video(container, reopen)
            found = _describe(container, stream, options["max_pixels"])
            _require_decoder(arguments, stream)
            timed = [stream.index, *(other.index for other in list(container.streams.audio)[:_TIMED_SOUNDS])]
            header = durations.Declared(
                (container.start_time or 0) / av.time_base, (container.duration or 0) / av.time_base
            )
        report(60)
        # Only now, since two open containers with an index of a million frames each would take too much memory.
        length = durations.length(path, demuxer, timed, header, reopen)
    except MemoryError:  # PyAV's is both, and it is the limit, not the file
        raise
    except av.error.FFmpegError as error:  # any other error is the library's, and FFmpeg's program is used instead
        raise StepError("not_playable") from error
    seconds = round(length.seconds, 3) if length.seconds is not None else None
    return {**found, "duration": seconds, "remarks": ["truncated"] if length.is_truncated else []}


def _require_readable(path: str) -> None:
    """Raise when the disk fails: FFmpeg reports that like a broken file."""
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except FileNotFoundError:
        raise StepError("original_missing") from None


def _open(path: str, demuxer: str, options: dict[str, str]) -> InputContainer:
    if demuxer == "mov":
        # Tracks of QuickTime files may refer to other files; off by default, and set here so that it stays off.
        options = options | {"enable_drefs": "0", "use_absolute_path": "0"}
    # "file:" in front, since a name may contain a colon. Metadata in any encoding must not be an error.
    container = av.open(f"file:{path}", "r", format=demuxer, options=options, metadata_errors="replace")
    pyav.invent_no_times(container)
    return container


def _require_bytes_for_frames(container: InputContainer, size: int) -> None:
    """An index of a few bytes can stand for a billion frames, and would cost every step gigabytes."""
    frames = max((stream.frames for stream in container.streams.video), default=0)
    entries = max((len(stream.index_entries) for stream in container.streams), default=0)
    if max(frames, entries) > size:
        raise StepError("not_playable")


def _require_decoder(arguments: Mapping[str, Any], stream: VideoStream) -> None:
    """FFmpeg makes all results, and its program may lack a decoder that the library has (VVC)."""
    codec = pyav.decoder(stream) or "?"
    if codec in _EVERYWHERE:
        return
    line = [
        *(arguments["ffmpeg"], "-hide_banner", "-nostdin", "-loglevel", "error", "-protocol_whitelist", "file"),
        *("-threads", "1", "-max_pixels", str(arguments["max_pixels"]), "-max_streams", str(arguments["max_streams"])),
        *("-f", arguments["demuxer"], "-i", f"file:{arguments['path']}"),
        *("-map", f"0:{stream.index}", "-frames:v", "1", "-f", "null", "-"),
    ]
    outcome = programs.follow(line, _DECODER_SECONDS, folder="/", look=lambda _: None)
    if _NO_DECODER.search(outcome.errors):
        raise StepError("codec_unsupported", codec=codec)


def _describe(container: InputContainer, stream: VideoStream, max_pixels: str) -> Mapping[str, object]:
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all  # a thousand sound tracks need not be read
    packets = container.demux(stream)
    read: list[_Packet] = []
    frame = _first_frame(packets, stream, max_pixels, read)
    width, height = frame.width, frame.height
    if orientation.of_matrix(pyav.display_matrix(frame)).swaps:
        width, height = height, width
    return {
        "width": width,
        "height": height,
        "frame_rate": _frame_rate(stream),
        "frames": max(stream.frames, len(stream.index_entries)),  # by the file's index, for the budget
        "video_codec": pyav.decoder(stream),
        "audio_codec": next(map(pyav.decoder, container.streams.audio), None),
        "audio_tracks": len(container.streams.audio),
        "hdr": _is_hdr(stream, frame),
        "variable_frame_rate": _is_uneven(stream, _times(packets, read)),
        "key_seconds": _key_seconds(stream, read),  # after `_times`, which reads on
    }


def _first_frame(packets: Iterator[_Packet], stream: VideoStream, max_pixels: str, read: list[_Packet]) -> VideoFrame:
    """The first frame that can be decoded; damaged packets before it are skipped. `read` gets all packets."""
    decoder = stream.codec_context
    decoder.thread_count = 1
    decoder.options = {"max_pixels": max_pixels, "codec_whitelist": DECODERS}
    for packet in packets:
        read.append(packet)
        try:
            for frame in packet.decode():
                if isinstance(frame, VideoFrame):
                    return frame
        except av.error.InvalidDataError:
            continue
        if len(read) > _MAX_PACKETS:
            break
    raise StepError("not_playable")


def _frame_rate(stream: VideoStream) -> float | None:
    rate: Fraction | None = stream.average_rate or stream.guessed_rate
    value = float(rate) if rate else 0.0
    return round(value, 3) if math.isfinite(value) and value > 0 else None


def _is_hdr(stream: VideoStream, frame: VideoFrame) -> bool:
    """Whether a screen of the usual range would show wrong colours."""
    return int(frame.color_trc) in _HDR_TRANSFERS or pyav.tag(stream) in _DOLBY_VISION


def _times(packets: Iterator[_Packet], read: list[_Packet]) -> list[int]:
    """When the first frames are shown, in the stream's time base, ascending."""
    size = sum(packet.size for packet in read)
    whole = False
    try:
        while len(read) < _TIMED_PACKETS and size < _TIMED_BYTES:
            read.append(next(packets))
            size += read[-1].size
    except StopIteration:
        whole = True
    except av.error.FFmpegError:  # it has a frame, so it is a video, wherever it ends
        pass
    # AVI has decoding times only, which are as even as presentation times.
    shown = [packet.pts if packet.pts is not None else packet.dts for packet in read if packet.size]
    shown_at = sorted({time for time in shown if time is not None})
    # Of the last frames, some that are shown between them may not have been read yet.
    return shown_at if whole else shown_at[:-_REORDERED]


def _key_seconds(stream: VideoStream, read: list[_Packet]) -> float | None:
    """The usual time between two key frames; where only one was read, the time that was read, at least."""
    if not stream.time_base:
        return None
    shown = [(packet.pts if packet.pts is not None else packet.dts, packet.is_keyframe) for packet in read]
    keys = [at for at, is_key in shown if is_key and at is not None]
    ends = [at for at, _ in shown if at is not None]
    gaps = [later - earlier for earlier, later in pairwise(keys)] or ([max(ends) - min(ends)] if ends else [])
    seconds = float(statistics.median(gaps) * stream.time_base) if gaps else 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def _is_uneven(stream: VideoStream, times: list[int]) -> bool | None:
    if len(times) < _FEWEST_TIMES or not stream.time_base:
        return None
    # The first gap often differs, where an encoder had to begin.
    gaps = [later - earlier for earlier, later in pairwise(times[1:])]
    usual = statistics.median(gaps)
    # Times are rounded to ticks, so two equal gaps may differ by one tick; but where a tick is a frame, nothing is
    # rounded.
    tolerance = max(1.5 if usual >= 4 else 0.5, _UNEVEN * usual)
    if any(abs(gap - usual) > tolerance for gap in gaps):
        return True
    # The index of an MP4 has the number of all frames.
    if not stream.frames or not stream.duration:
        return False
    average, mean = stream.duration / stream.frames, statistics.fmean(gaps)
    return abs(average - mean) > _DRIFT * mean
