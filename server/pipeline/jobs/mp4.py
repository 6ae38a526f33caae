"""The job of the step `mp4`, run in a child process.

Rule: pictures and sound are copied where they can be, which takes seconds. The result is opened and verified; a copy
that cannot be played is replaced by an encode.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from server.errors import StepError
from server.pipeline.jobs.encoding import DiskFullError, Work
from server.pipeline.media import ffmpeg_command as command
from server.pipeline.media import renditions, track_spans, verification
from server.pipeline.media.copy_scan import CopyScan
from server.pipeline.media.renditions import Source

_NAME = "video.mp4"
_SLOW = 5.0  # pictures a second; with fewer, each stands for long


def make(arguments: Mapping[str, Any], report: Callable[[int], None]) -> Mapping[str, object]:
    """Write `video.mp4` into `output`. The answer has `how`: `copied` or `encoded`; or `disk_is_full`.

    Raises `StepError` transcode_failed, transcode_too_large, and as `source.read` does.
    """
    work = Work(arguments, report)
    try:
        # The facts that a copy needs come from the library.
        may_copy = renditions.can_copy_video(work.source, work.max_edge) and not work.avoids_library
        made = _copy(work) if may_copy else None
        if made is not None:
            return {"how": "copied", "remarks": work.remarks(made)}
        made = _encode(work)
        if made is not None:
            return {"how": "encoded", "remarks": work.remarks(made)}
    except DiskFullError:
        return {"disk_is_full": True}
    raise StepError("transcode_failed")


def _copy(work: Work) -> Source | None:
    """Copy the pictures, and the sound if it can stay; returns how, or None if the result does not play.

    The result contains no place where the video was made.
    """
    source, audio = work.source, work.source.audio
    sound = audio.index if audio is not None and renditions.can_copy_audio(audio) else None
    scan = CopyScan(work.input.path, work.input.demuxer, source.index, work.max_pixels, sound=sound)
    scan.start()
    made = _copied(work, has_remarks=False, copies_sound=sound is not None)
    scan.join()
    has_bad_sound = sound is not None and not scan.can_copy_sound
    if scan.can_copy and not scan.has_remarks and not has_bad_sound:
        return made
    (work.output / _NAME).unlink(missing_ok=True)
    if not scan.can_copy:
        return None
    return _copied(work, has_remarks=scan.has_remarks, copies_sound=sound is not None and not has_bad_sound)


def _copied(work: Work, *, has_remarks: bool, copies_sound: bool) -> Source | None:
    for sound in [work.source.audio] if copies_sound or work.source.audio is None else work.sounds():
        source = replace(work.source, audio=sound)
        line = _copying(work, source, has_remarks=has_remarks, copies_sound=copies_sound)
        if _made(work, source, line, is_copy=True):
            return source
    return None


def _copying(work: Work, source: Source, *, has_remarks: bool, copies_sound: bool) -> list[str]:
    index = None
    if source.audio is None or copies_sound:
        sound = command.copied_audio(source)
        # Without the remarks the number of packets may change, so no room is kept for the index.
        index = None if has_remarks else renditions.index_bytes(source, work.size)
    else:
        sound = command.encoded_audio(source)
    pictures = command.copied_video(source, remarks=not has_remarks)
    return [*command.beginning(work.input), *pictures, *sound, *command.mp4_output(_NAME, index)]


def _encode(work: Work) -> Source | None:
    """Encode the pictures; returns how, or None if every choice failed."""
    one = renditions.single(work.source, work.max_edge)
    for tried, tones in work.tries():
        source = track_spans.with_ends(tried, work.spans)
        # FFmpeg 5 does not read how long a picture stands where pictures are out of order, and loses the last one.
        reordered = (source.made_rate or _SLOW) >= _SLOW
        pictures = command.encoded_video(source, one, 0, preset=work.preset, threads=work.threads, reordered=reordered)
        graph, sound = command.graph(source, (one,), tones), command.encoded_audio(source)
        line = [*command.beginning(work.input), *graph, *pictures, *sound, *command.mp4_output(_NAME)]
        if _made(work, source, line, is_copy=False):
            return source
    return None


def _made(work: Work, source: Source, line: list[str], *, is_copy: bool) -> bool:
    """Whether this command makes an MP4 that plays; otherwise its output is removed."""
    one = renditions.single(work.source, work.max_edge)
    most = renditions.encoded_bytes((one,), source.duration, work.size)
    target = work.output / _NAME
    outcome = work.ffmpeg(line, renditions.copied_bytes(work.size) if is_copy else most)
    if outcome.succeeded and verification.plays(target, source, is_copy=is_copy):
        return True
    target.unlink(missing_ok=True)
    return False
