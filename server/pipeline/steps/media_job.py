"""What the steps with a look inside a video share: one job in a child, and the arguments that all jobs take.

Rule: a full disk is never the video's fault. FFmpeg does not distinguish it from a broken video, and a child that could
not write has crashed.
"""

import errno
import shutil
from collections.abc import Mapping

from server.errors import StepError
from server.messages import REMARKS
from server.pipeline.sandbox import child, fallback
from server.pipeline.step import MAX_PIXELS, MAX_STREAMS, Limits, StepContext, require_source


def run(
    context: StepContext,
    job: str,
    arguments: Mapping[str, object],
    *,
    limits: Limits | None = None,
    has_program: bool = True,
) -> Mapping[str, object]:
    """Call `job` (`module:function`) in a child and return what it found. Raises as `child.run`.

    It may read the original, and write into `output` where `arguments` name it. `limits` default to those of the step;
    without `has_program` there is no fallback when the library crashes.
    """
    common = {
        "path": require_source(context),
        "demuxer": context.demuxer,
        "max_pixels": MAX_PIXELS,
        "max_streams": MAX_STREAMS,
        "ffmpeg": context.ffmpeg,
    }
    return (fallback.run if has_program else child.run)(
        job,
        common | dict(arguments),
        limits=limits or context.limits,
        cancelled=context.cancelled,
        report=context.report,
        spares=context.spares,
    )


def make(
    context: StepContext,
    job: str,
    arguments: Mapping[str, object],
    *,
    room: int,
    limits: Limits | None = None,
    has_program: bool = True,
) -> Mapping[str, object]:
    """As `run`, for a job that writes into the output directory, in the seconds of the step.

    When it fails and fewer than `room` bytes are free, `OSError` ENOSPC is raised.
    """
    output = {"output": str(context.output.absolute()), "seconds": context.limits.seconds}
    try:
        return run(context, job, output | dict(arguments), limits=limits, has_program=has_program)
    except StepError:
        if shutil.disk_usage(context.output).free < room:
            raise OSError(errno.ENOSPC, "no room for what the step makes") from None
        raise


def remarks(found: Mapping[str, object]) -> dict[str, object]:
    """The column `remarks`, from the codes that we know: a compromised child may send anything."""
    listed = found.get("remarks")
    codes = [code for code in listed if isinstance(code, str) and code in REMARKS] if isinstance(listed, list) else []
    return {"remarks": codes} if codes else {}
