"""The job of the step `mp4`, run in a child process.

Rule: pictures and sound are copied where they can be, which takes seconds. What came of it is opened and looked at; a
copy that cannot be played is made anew by encoding.
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


def make(arguments: Mapping[str, Any], report: Callable[[int], None]) -> Mapping[str, object]:
    """Write `video.mp4` into `output`. `how` it was made is `copied` or `encoded`; or `disk_is_full`.

    Raises `StepError` transcode_failed, transcode_too_large, and as `source.read` does.
    """
    work = Work(arguments, report)
    try:
        # What must be known for a copy is found out with the library.
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
    """Copy the pictures, and the sound if it can stay; what could be done, None if the result does not play.

    The result says nothing of where the video was made.
    """
    scan = CopyScan(work.input.path, work.input.demuxer, work.source.index, work.max_pixels)
    scan.start()
    made = _copied_with_sound(work, has_remarks=False)
    scan.join()
    if made and scan.can_copy and not scan.has_remarks:
        return made
    (work.output / _NAME).unlink(missing_ok=True)
    return _copied_with_sound(work, has_remarks=True) if scan.can_copy else None


def _copied_with_sound(work: Work, *, has_remarks: bool) -> Source | None:
    audio = work.source.audio
    sounds = [audio] if audio is None or renditions.can_copy_audio(audio) else work.sounds()
    for sound in sounds:
        source = replace(work.source, audio=sound)
        if _made(work, source, _copying(work, source, has_remarks=has_remarks), is_copy=True):
            return source
    return None


def _copying(work: Work, source: Source, *, has_remarks: bool) -> list[str]:
    index = None
    if source.audio is None or renditions.can_copy_audio(source.audio):
        sound = command.copied_audio(source)
        # Without the remarks the number of packets may be another, and then haste is not the point.
        index = None if has_remarks else renditions.index_bytes(source, work.size)
    else:
        sound = command.encoded_audio(source)
    pictures = command.copied_video(source, remarks=not has_remarks)
    return [*command.beginning(work.input), *pictures, *sound, *command.mp4_output(_NAME, index)]


def _encode(work: Work) -> Source | None:
    """Encode the pictures; what could be done at last, None if nothing could."""
    one = renditions.single(work.source, work.max_edge)
    for tried, tones in work.tries():
        source = track_spans.with_ends(tried, work.spans)
        pictures = command.encoded_video(source, one, 0, preset=work.preset, threads=work.threads)
        graph, sound = command.graph(source, (one,), tones), command.encoded_audio(source)
        line = [*command.beginning(work.input), *graph, *pictures, *sound, *command.mp4_output(_NAME)]
        if _made(work, source, line, is_copy=False):
            return source
    return None


def _made(work: Work, source: Source, line: list[str], *, is_copy: bool) -> bool:
    """Whether this command makes an MP4 that plays; otherwise nothing of it is left."""
    one = renditions.single(work.source, work.max_edge)
    most = renditions.encoded_bytes((one,), source.duration, work.size)
    target = work.output / _NAME
    outcome = work.ffmpeg(line, renditions.copied_bytes(work.size) if is_copy else most)
    if outcome.succeeded and verification.plays(target, source, is_copy=is_copy):
        return True
    target.unlink(missing_ok=True)
    return False
