"""The first step: is there a virus in the file?

Rule: only a file that the scanner has scanned whole is clean. A file that it does not take is refused, or by setting
marked as not scanned; while the scanner is away, the task waits. A scanner that breaks off during the file has failed
on it: that counts, since there are files that end a scanner each time.
"""

from collections.abc import Mapping

import structlog

from server.errors import Param, StepError
from server.media_types import MediaType
from server.messages import size
from server.pipeline import clamd, costs
from server.pipeline.clamd import AwayError, Finding
from server.pipeline.costs import Cost, Material
from server.pipeline.step import Step, StepContext, TryLaterError, require_source
from server.settings import Settings

_log = structlog.stdlib.get_logger("videodock.pipeline")

_PING_SECONDS = 30.0  # a scanner that is busy with other files takes longer


class Scan(Step):
    """Has clamd scan every byte; `scan` is its column."""

    name = "scan"

    def applies_to(self, media_type: MediaType | None) -> bool:  # noqa: ARG002  # any type may carry a virus
        """True for every file."""
        return True

    def is_wanted(self, settings: Settings) -> bool:
        """True where a scanner is set."""
        return bool(settings.clamd)

    def cost(self, material: Material, settings: Settings) -> Cost:  # noqa: ARG002  # others ask the settings
        """As `costs.py` says."""
        return costs.scan(material)

    def run(self, context: StepContext) -> Mapping[str, object]:
        """`clean`, or `too_large` where that is only marked. `StepError` infected, too_large_to_scan, scan_limit;
        `TryLaterError` scanner_away, for as long as it takes, and scanner_failed, which counts."""
        source = require_source(context)
        settings = context.settings
        if context.size > settings.scan_max_size:
            return _unscanned(settings, "too_large_to_scan", limit=size(int(settings.scan_max_size)))
        verdict = _ask(context, source)
        if verdict.finding is Finding.INFECTED:
            raise StepError("infected", signature=verdict.signature)
        if verdict.finding is Finding.BEYOND_LIMITS:
            _log.warning("scan_limit_reached", limit=verdict.signature, see="docs/scanning.md")
            return _unscanned(settings, "scan_limit")
        context.report(100)
        return {"scan": "clean"}


def _ask(context: StepContext, path: str) -> clamd.Verdict:
    sent = 0

    def report_sent(count: int) -> None:
        nonlocal sent
        sent = count
        context.report(min(99, 100 * count // max(1, context.size)))

    address, seconds, cancelled = context.settings.clamd, context.limits.seconds, context.cancelled
    try:
        clamd.ping(address, seconds=min(_PING_SECONDS, seconds), cancelled=cancelled)
    except AwayError as error:
        _log.warning("scan_postponed", reason=str(error))
        raise TryLaterError("scanner_away", counts=False) from error
    with open(path, "rb", buffering=0) as source:  # noqa: PTH123  # a Path's open() cannot promise what it returns
        try:
            verdict = clamd.scan(address, source, seconds=seconds, cancelled=cancelled, report_sent=report_sent)
        except AwayError as error:
            _log.warning("scan_failed", reason=str(error))
            raise TryLaterError("scanner_failed") from error
    if verdict.finding is Finding.CLEAN and sent != context.size:
        raise OSError(f"the file has {sent} bytes, and its row says {context.size}")
    return verdict


def _unscanned(settings: Settings, code: str, **params: Param) -> Mapping[str, object]:
    """The outcome for a file that the scanner does not take."""
    if settings.scan_too_large == "refuse":
        raise StepError(code, **params)
    return {"scan": "too_large"}
