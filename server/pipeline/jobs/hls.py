"""The job of the step `hls`, run in a child process.

Rule: one FFmpeg decodes the video once and makes all sizes and the sound; the master is written from the results, after
each size was opened.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from server.errors import StepError
from server.pipeline.jobs.encoding import DiskFullError, Work
from server.pipeline.media import ffmpeg_command as command
from server.pipeline.media import hls_playlist, renditions, track_spans, verification
from server.pipeline.media.ffmpeg_command import AUDIO_FOLDER, INIT, PLAYLIST, Tones
from server.pipeline.media.hls_playlist import Media, Variant
from server.pipeline.media.renditions import Rendition, Source

_FOLDER = "hls"


def make(arguments: Mapping[str, Any], report: Callable[[int], None]) -> Mapping[str, object]:
    """Write the folder `hls` below `output`. The answer has the names of the `sizes`, or `disk_is_full`.

    Raises `StepError` transcode_failed, transcode_too_large, and as `source.read` does.
    """
    work = Work(arguments, report)
    made = renditions.ladder(track_spans.with_even_tracks(work.source, work.spans), work.max_edge)
    most = renditions.encoded_bytes(made, work.source.duration, work.size)
    folder = work.output / _FOLDER
    try:
        for tried, tones in work.tries():
            source = track_spans.with_even_tracks(tried, work.spans)
            for name in [*(one.name for one in made), *([AUDIO_FOLDER] if source.audio else [])]:
                (folder / name).mkdir(parents=True)
            if work.ffmpeg(_command(work, source, made, tones), most).succeeded and _finish(source, folder, made):
                return {"sizes": [one.name for one in made], "remarks": work.remarks(source)}
            shutil.rmtree(folder)
    except DiskFullError:
        return {"disk_is_full": True}
    raise StepError("transcode_failed")


def _command(work: Work, source: Source, made: tuple[Rendition, ...], tones: Tones) -> list[str]:
    line = [*command.beginning(work.input), *command.graph(source, made, tones)]
    for number, one in enumerate(made):
        # The largest takes about as long as all the others.
        threads = work.threads if one is made[-1] else max(1, work.threads // 2)
        line += command.encoded_video(source, one, number, preset=work.preset, threads=threads, reordered=False)
        line += command.hls_output(f"{_FOLDER}/{one.name}")
    if source.audio:
        # Once for all sizes, in a playlist of its own.
        line += [*command.encoded_audio(source, until=source.until), *command.hls_output(f"{_FOLDER}/{AUDIO_FOLDER}")]
    return line


def _finish(source: Source, folder: Path, made: tuple[Rendition, ...]) -> bool:
    """Open each size and write the master; returns whether all can be played."""
    try:
        audio = _measure(folder / AUDIO_FOLDER) if source.audio else None
        variants = [_variant(source, folder / one.name, one) for one in made]
    except (ValueError, FileNotFoundError):
        return False
    (folder / PLAYLIST).write_text(hls_playlist.master(variants, audio))
    return True


def _measure(folder: Path) -> Media:
    return hls_playlist.measure(folder, lambda segment: verification.length(folder / INIT, segment))


def _variant(source: Source, folder: Path, one: Rendition) -> Variant:
    media, init = _measure(folder), folder / INIT
    if not verification.starts(init, folder / media.segments[0]):
        raise ValueError("the first segment cannot be shown")
    codec = hls_playlist.avc_codec(init.read_bytes())
    return Variant(one.name, one.width, one.height, codec, source.made_rate, media)
