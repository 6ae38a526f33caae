"""What is told of the confinement of child processes: in the log, and by `/readyz`."""

from collections.abc import Mapping

import pytest
from structlog.testing import capture_logs

from server.errors import StepError
from server.pipeline.sandbox import child
from server.pipeline.sandbox.confinement import PROTECTIONS
from server.pipeline.sandbox.trial import Trial
from tests.harness.waiting import until


def tried(monkeypatch: pytest.MonkeyPatch, answer: Mapping[str, object] | Exception) -> tuple[str | None, str]:
    """The sentence, and the event of the log, when a child answers so."""

    def run(*_: object, **__: object) -> Mapping[str, object]:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(child, "run", run)
    with capture_logs() as logs:
        one = Trial()
        assert one.trouble() == "is being tried"
        one.start()
        one.stop()
    return one.trouble(), logs[0]["event"]


def test_missing_protections_are_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """All: nothing to tell. Some: their names, as a warning. No answer: that, and why in the log."""
    assert tried(monkeypatch, {"standing": list(PROTECTIONS)}) == (None, "confinement_complete")
    most = [name for name in PROTECTIONS if name not in ("files", "processes")]
    sentence, event = tried(monkeypatch, {"standing": most})
    assert sentence == "this machine refuses: processes, files; docs/sandbox.md says what helps"
    assert event == "confinement_incomplete"
    sentence, event = tried(monkeypatch, StepError("step_crashed"))
    assert (sentence, event) == ("could not be tried; the server's log says why", "confinement_unknown")
    assert tried(monkeypatch, {"standing": "all"})[1] == "confinement_incomplete"


def test_a_server_tries_the_protections_at_its_start() -> None:
    """A real child tells what stands, and a stop in the middle leaves nothing."""
    one = Trial()
    one.start()
    until(lambda: one.trouble() != "is being tried", what="the child has answered")
    one.stop()
    assert one.trouble() is None or str(one.trouble()).startswith("this machine refuses")
    stopped = Trial()
    stopped.start()
    stopped.stop()
    assert not stopped._thread.is_alive()
