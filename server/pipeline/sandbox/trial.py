"""Tries at the start which protections of `confinement.py` work, and keeps the answer for `/readyz`.

Rule: a missing protection is reported and does not stop the work; the others hold.
"""

import threading
from typing import ClassVar

import structlog

from server.errors import StepError
from server.messages.phrases import Phrase
from server.pipeline.sandbox import child
from server.pipeline.sandbox.confinement import PROTECTIONS
from server.pipeline.step import Cancelled, Limits, TryLaterError

_LIMITS = Limits(seconds=30, memory=1 << 30)
_log = structlog.stdlib.get_logger("videodock.pipeline")


class Trial:
    """One child process that only reports. `start` and `stop` once each."""

    BEING_TRIED: ClassVar = Phrase.of("confinement_tried")

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="confinement")
        self._refused: tuple[str, ...] | None = None

    def start(self) -> None:
        """Begin; the answer comes later."""
        self._thread.start()

    def stop(self) -> None:
        """End it, if it still runs. Blocking, for less than a second."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def trouble(self) -> str | None:
        """What is missing, in a sentence; None when all protections are in force."""
        if not self._done.is_set():
            return self.BEING_TRIED
        if self._refused is None:
            return Phrase.of("confinement_unknown")
        if self._refused:
            return Phrase.of("confinement_refused", names=", ".join(self._refused))
        return None

    def _run(self) -> None:
        try:
            found = child.run(
                "server.pipeline.sandbox.confinement:tell",
                {},
                limits=_LIMITS,
                cancelled=self._stopping,
                report=lambda _: None,
            )
        except Cancelled:
            return
        except (StepError, TryLaterError, OSError) as error:
            _log.warning("confinement_unknown", reason=str(error))
        else:
            standing = found.get("standing")
            known = standing if isinstance(standing, list) else []
            self._refused = tuple(name for name in PROTECTIONS if name not in known)
            if self._refused:
                _log.warning("confinement_incomplete", refused=list(self._refused))
            else:
                _log.info("confinement_complete")
        finally:
            self._done.set()
