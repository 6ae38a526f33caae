"""A job that can be done in two ways: with the library (PyAV), and, when that crashes, with FFmpeg's program alone.

Rule: one crash of a library does not fail a video. The second way finds out less, so it is only taken after a crash,
never after a verdict on the file.
"""

import threading
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from server.errors import StepError
from server.pipeline.jobs import LIBRARY, PROGRAM
from server.pipeline.sandbox import child
from server.pipeline.sandbox.spare_children import SpareChildren
from server.pipeline.step import Limits

_log = structlog.stdlib.get_logger("videodock.pipeline")


def run(
    job: str,
    arguments: Mapping[str, object],
    *,
    limits: Limits,
    cancelled: threading.Event,
    report: Callable[[int], None],
    spares: SpareChildren,
) -> Mapping[str, object]:
    """`child.run` with the argument `by`: "library", then, if that child crashed, "program". Raises as `child.run`."""
    run = partial(child.run, limits=limits, cancelled=cancelled, report=report, spares=spares)
    try:
        return run(job, {**arguments, "by": LIBRARY})
    except StepError as error:
        if error.code != "step_crashed":
            raise
    _log.warning("library_crashed", job=job, retry_with=PROGRAM)
    return run(job, {**arguments, "by": PROGRAM})
