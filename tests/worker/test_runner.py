"""A failed step is tried again after a pause, given up after its attempts, and never run twice."""

from typing import Any

import pytest

from server.bootstrap import Services
from server.database.models import DEFAULT_OWNER
from server.errors import StepError
from server.pipeline.step import TryLaterError
from server.settings import Settings
from server.storage.results import Results
from server.tasks import queue
from tests.harness.rows import query
from tests.harness.steps import FakeStep, failing
from tests.worker.attempts import ATTEMPTS, SetSteps, end_pauses, events, register_task, run_attempt, step, task


@pytest.mark.sampled(2)
@pytest.mark.parametrize("error", [TryLaterError("storage_full"), RuntimeError("a bug of ours")])
def test_a_failure_of_the_server_is_retried_and_then_given_up(
    services: Services, set_steps: SetSteps, error: Exception
) -> None:
    """The pauses grow, what waits says why, and after three failures the step, its file and the task are an error."""
    code = error.code if isinstance(error, TryLaterError) else "step_interrupted"
    last = error.code if isinstance(error, TryLaterError) else "step_failed"
    first, flaky, never = FakeStep("first"), FakeStep("flaky", failing(*[error] * 9)), FakeStep("never")
    set_steps(first, flaky, never)
    register_task(services)
    for failures in (1, 2):
        assert run_attempt(services)
        row = task(services)
        assert (row["status"], row["waiting_code"], row["worker"], row["eta_seconds"]) == (
            "processing",
            code,
            None,
            None,
        )
        assert (step(services, "flaky")["failures"], step(services, "flaky")["error_code"]) == (failures, code)
        assert not run_attempt(services), "it has a pause"
        end_pauses(services)
    assert run_attempt(services)
    assert not run_attempt(services)
    row = task(services)
    assert (row["status"], row["error_code"], row["waiting_code"], row["lease_expires_at"]) == (
        "error",
        last,
        None,
        None,
    )
    assert [step(services, name)["status"] for name in ("first", "flaky", "never")] == ["completed", "error", "skipped"]
    assert (len(first.calls), len(flaky.calls), len(never.calls)) == (1, 3, 0)
    assert [data["seconds"] for _, data in events(services, "waiting")] == [5, 10]
    assert [kind for kind, _ in events(services, "file_error", "error", "completed")] == ["file_error", "error"]
    assert row["failures"] == 0, "no worker has crashed"
    assert services.results.attempts() == []


@pytest.mark.sampled(1)
def test_a_pause_before_a_retry_is_at_most_five_minutes(settings: Settings, set_steps: SetSteps) -> None:
    """Pauses double after each failure until then."""
    set_steps(FakeStep("flaky", failing(*[TryLaterError("storage_full")] * 99)))
    with Services.open(settings.model_copy(update={"task_max_attempts": 12})) as services:
        services.claim_store()
        register_task(services)
        while task(services)["status"] != "error":
            assert run_attempt(services)
            end_pauses(services)
        pauses = [data["seconds"] for _, data in events(services, "waiting")]
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300, 300, 300]


@pytest.mark.sampled(1)
def test_a_wait_for_an_unavailable_part_has_no_limit(services: Services, set_steps: SetSteps) -> None:
    """Far more often than failures are tried again; afterwards no trace of the wait is left in the rows."""
    times = 4 * ATTEMPTS
    waiting = FakeStep("scan", failing(*[TryLaterError("storage_full", counts=False)] * times))
    set_steps(waiting, FakeStep("next"))
    register_task(services)
    for _ in range(times):
        assert run_attempt(services)
        assert (task(services)["status"], task(services)["waiting_code"]) == ("processing", "storage_full")
        end_pauses(services)
    assert step(services, "scan")["failures"] == 0
    assert all(1 <= data["seconds"] <= 60 for _, data in events(services, "waiting"))
    assert run_attempt(services)
    assert (task(services)["status"], task(services)["waiting_code"]) == ("completed", None)
    assert (step(services, "scan")["status"], step(services, "scan")["error_code"]) == ("completed", None)
    assert len(waiting.calls) == times + 1


@pytest.mark.sampled(1)
def test_a_completed_step_is_not_run_again_and_later_steps_have_its_facts(
    services: Services, set_steps: SetSteps
) -> None:
    """The second attempt begins where the first one failed, with the facts of the first."""
    probe = FakeStep("probe", lambda _: {"width": 320, "scan": "clean"})
    flaky = FakeStep("poster", failing(OSError("a disk of ours"), then=lambda _: {"has_poster": True}))
    last = FakeStep("mp4")
    set_steps(probe, flaky, last)
    register_task(services)
    assert run_attempt(services)
    end_pauses(services)
    assert run_attempt(services)
    assert task(services)["status"] == "completed"
    assert (len(probe.calls), len(flaky.calls), len(last.calls)) == (1, 2, 1)
    assert [(facts["width"], facts["scan"]) for facts in (*flaky.calls, *last.calls)] == [(320, "clean")] * 3
    assert (flaky.calls[1]["has_poster"], last.calls[0]["has_poster"]) == (False, True)


@pytest.mark.parametrize("error", [StepError("poster_failed"), TryLaterError("storage_full")])
def test_a_step_that_is_not_required_leaves_its_file_completed(
    services: Services, set_steps: SetSteps, error: Exception
) -> None:
    """By the file's fault at once, by ours after three tries: only its own result is missing, and its row says why."""
    set_steps(FakeStep("poster", failing(*[error] * 9), is_required=False), last := FakeStep("mp4"))
    register_task(services)
    while task(services)["status"] != "completed":
        assert run_attempt(services)
        end_pauses(services)
    assert not task(services)["partial"]
    assert (step(services, "poster")["status"], step(services, "poster")["error_code"]) == (
        "error",
        error.code,  # type: ignore[attr-defined]
    )
    assert len(last.calls) == 1
    assert len(events(services, "waiting")) == (0 if isinstance(error, StepError) else ATTEMPTS - 1)


def test_a_postponed_task_can_be_cancelled(services: Services, set_steps: SetSteps) -> None:
    """It waits, is cancelled, and is tried no more; its steps are cancelled with it."""
    set_steps(FakeStep("scan", failing(TryLaterError("storage_full"))), FakeStep("probe"))
    task_id = register_task(services)
    assert run_attempt(services)
    with services.database.write() as session:
        queue.cancel(session, task_id, DEFAULT_OWNER, now=services.clock())
    end_pauses(services)
    assert not run_attempt(services)
    row = task(services)
    assert (row["status"], row["waiting_code"], row["lease_expires_at"]) == ("cancelled", None, None)
    assert [step(services, name)["status"] for name in ("scan", "probe")] == ["cancelled"] * 2


def test_a_result_that_cannot_be_published_is_made_again(
    services: Services, set_steps: SetSteps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when a result is published: no row says that it exists, and the step is tried again."""
    real, calls = Results.publish, []

    def publish(*args: Any) -> None:
        calls.append(args)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        real(*args)

    monkeypatch.setattr(Results, "publish", publish)
    set_steps(FakeStep("poster", lambda _: {"has_poster": True}))
    register_task(services)
    assert run_attempt(services)
    assert (task(services)["waiting_code"], step(services, "poster")["status"]) == ("disk_full", "processing")
    assert not query(services.settings.sqlalchemy_url, "SELECT has_poster FROM task_files")[0]["has_poster"]
    end_pauses(services)
    assert run_attempt(services)
    assert (task(services)["status"], len(calls)) == ("completed", 2)


def test_a_task_whose_settings_changed_meanwhile_leaves_no_step_open(
    services: Services, set_steps: SetSteps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that waited is not wanted any more, another is gone from the pipeline: both are skipped at the end."""
    hls = FakeStep("hls")
    set_steps(FakeStep("scan", failing(TryLaterError("storage_full"))), hls, FakeStep("gone"))
    register_task(services)
    assert run_attempt(services)
    monkeypatch.setattr(FakeStep, "is_wanted", lambda self, _: self.name != "hls")
    set_steps(FakeStep("scan"), hls)
    end_pauses(services)
    assert run_attempt(services)
    assert task(services)["status"] == "completed"
    found = [step(services, name)["status"] for name in ("scan", "hls", "gone")]
    assert found == ["completed", "skipped", "skipped"]
