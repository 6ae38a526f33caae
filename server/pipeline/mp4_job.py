"""The job of the step `mp4`, run in a child process.

Rule: pictures and sound are copied where they can be, which takes seconds. What came of it is opened and looked at; a
copy that cannot be played is made anew by encoding.
"""

from collections.abc import Callable, Mapping
from typing import Any

from server.errors import StepError
from server.pipeline import ffmpeg_command as command
from server.pipeline import remarks, renditions, verification
from server.pipeline.encoding import DiskFullError, Work
from server.pipeline.renditions import Source

_NAME = "video.mp4"


def make(arguments: Mapping[str, Any], report: Callable[[int], None]) -> Mapping[str, object]:
    """Write `video.mp4` into `output`. `how` it was made is `copied` or `encoded`; or `disk_is_full`.

    Raises `StepError` transcode_failed, transcode_too_large, and as `source.read` does.
    """
    work = Work(arguments, report)
    try:
        if renditions.can_copy_video(work.source, work.max_edge) and _copy(work):
            return {"how": "copied"}
        if _encode(work):
            return {"how": "encoded"}
    except DiskFullError:
        return {"disk_is_full": True}
    raise StepError("transcode_failed")


def _copy(work: Work) -> bool:
    """Copy the pictures, and the sound if it can stay; whether it plays, and says nothing of where it was made."""
    source = work.source
    search = remarks.Search(work.input.path, work.input.demuxer, source.index, work.max_pixels)
    search.start()
    if _made(work, source, _copying(work, has_remarks=False), is_copy=True):
        search.join()
        if not search.found:
            return True
    (work.output / _NAME).unlink(missing_ok=True)
    return _made(work, source, _copying(work, has_remarks=True), is_copy=True)


def _copying(work: Work, *, has_remarks: bool) -> list[str]:
    source, index = work.source, None
    if source.audio is None or renditions.can_copy_audio(source.audio):
        sound = command.copied_audio(source)
        # Without the remarks the number of packets may be another, and then haste is not the point.
        index = None if has_remarks else renditions.index_bytes(source, work.size)
    else:
        sound = command.encoded_audio(source)
    pictures = command.copied_video(source, remarks=not has_remarks)
    return [*command.beginning(work.input), *pictures, *sound, *command.mp4_output(_NAME, index)]


def _encode(work: Work) -> bool:
    one = renditions.single(work.source, work.max_edge)
    pictures = command.encoded_video(work.source, one, 0, preset=work.preset, threads=work.threads)
    for source, tones in work.tries():
        graph, sound = command.graph(source, (one,), tones), command.encoded_audio(source)
        line = [*command.beginning(work.input), *graph, *pictures, *sound, *command.mp4_output(_NAME)]
        if _made(work, source, line, is_copy=False):
            return True
    return False


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
