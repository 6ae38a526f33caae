"""Steps that run side by side: what each found out appears when it has ended, and what stops what."""

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from server.bootstrap import Services, new_id
from server.database.models import DEFAULT_OWNER
from server.errors import StepError
from server.pipeline.order import STEPS, groups
from server.pipeline.step import Cancelled, StepContext, TryLaterError
from server.settings import Settings
from server.uploads.new_upload import NewUpload
from server.worker import attempt as attempt_module
from server.worker.attempt import Attempt
from server.worker.runner import runner_of
from tests.harness.migrated import migrate
from tests.harness.rows import query
from tests.harness.steps import FakeStep, Work
from tests.harness.waiting import until

BOTH = ("mp4", "poster")


@pytest.fixture
def services(tmp_path: Path, database_url: str) -> Iterator[Services]:
    migrate(database_url)
    settings = Settings(data_dir=tmp_path / "data", database_url=database_url, task_max_attempts=3, fsync="never")
    with Services.open(settings) as opened:
        opened.claim_store()
        yield opened


@pytest.fixture
def begin(services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator["Run"]:
    started = Run(services, monkeypatch)
    yield started
    started.stop()
    started.join()


class Run:
    """One attempt at a task whose steps are `mp4`, `poster` beside it, and `storyboard`."""

    def __init__(self, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
        self._services, self._monkeypatch = services, monkeypatch
        self._thread: threading.Thread | None = None
        self._attempt: Attempt | None = None

    def __call__(self, mp4: Work, poster: Work) -> FakeStep:
        last = FakeStep("storyboard")
        self.start(FakeStep("mp4", mp4, seconds=60), FakeStep("poster", poster, beside="mp4"), last)
        return last

    def start(self, *steps: FakeStep) -> None:
        """Begin an attempt with these steps."""
        self._monkeypatch.setattr(attempt_module, "STEPS", steps)
        repository, upload_id, task_id = self._services.repository, new_id(), new_id()
        repository.insert(
            NewUpload(
                id=upload_id, owner=DEFAULT_OWNER, filename="a.mp4", protocol="multipart", task_id=task_id, length=5
            )
        )
        self._services.store.local_path(upload_id).write_bytes(b"12345")
        self._services.store.finish(upload_id)
        self._services.completion.complete_verified({upload_id: "mp4"}, task_id)
        claimed = runner_of(self._services).claim_next("test/1")
        assert claimed
        self._attempt = runner_of(self._services).attempt(claimed, "")
        self._thread = threading.Thread(target=self._attempt.run)
        self._thread.start()

    def stop(self) -> None:
        if self._attempt:
            self._attempt.stop()

    def join(self) -> None:
        if self._thread:
            self._thread.join(30)
            assert not self._thread.is_alive()

    def steps(self) -> dict[str, str]:
        rows = query(self._services.settings.sqlalchemy_url, "SELECT name, status FROM task_steps")
        return {row["name"]: row["status"] for row in rows}

    def row(self, table: str) -> dict[str, object]:
        return query(self._services.settings.sqlalchemy_url, f"SELECT * FROM {table}")[0]


def after(gate: threading.Event, found: Mapping[str, object]) -> Work:
    """Work that ends well when the gate is opened, and as a child does when it is stopped."""

    def work(context: StepContext) -> Mapping[str, object]:
        while not gate.wait(0.01):
            if context.cancelled.is_set():
                raise Cancelled
        return found

    return work


def raising(error: Exception) -> Work:
    def work(_context: StepContext) -> Mapping[str, object]:
        raise error

    return work


def test_the_mp4_is_made_first_and_the_poster_in_parallel() -> None:
    """Scan and probe come first, small pictures last; without an MP4 the poster comes before HLS."""
    assert [[step.name for step in group] for group in groups(STEPS)] == [
        ["scan"],
        ["probe"],
        ["mp4", "poster"],
        ["hls"],
        ["storyboard"],
    ]
    without = [step for step in STEPS if step.name != "mp4"]
    assert [[step.name for step in group] for group in groups(without)][2:] == [["poster"], ["hls"], ["storyboard"]]


@pytest.mark.parametrize("first", BOTH)
def test_each_result_appears_when_its_step_ends(begin: Run, first: str) -> None:
    """Whichever is quicker: its step is completed and its column there while the other still runs."""
    gates = {name: threading.Event() for name in BOTH}
    found = {"mp4": {"has_mp4": True, "playable": True}, "poster": {"has_poster": True}}
    last = begin(*(after(gates[name], found[name]) for name in BOTH))
    until(
        lambda: begin.steps() == {"mp4": "processing", "poster": "processing", "storyboard": "waiting"},
        what="the steps are so far",
    )
    assert begin.row("tasks")["step"] == "mp4"
    gates[first].set()
    until(lambda: begin.steps().get(first) == "completed", what="the steps are so far")
    other = next(name for name in BOTH if name != first)
    assert begin.steps()[other] == "processing"
    assert (bool(begin.row("task_files")["playable"]), not last.calls) == (first == "mp4", True)
    gates[other].set()
    begin.join()
    assert set(begin.steps().values()) == {"completed"}
    assert last.calls[0]["has_poster"]
    assert last.calls[0]["has_mp4"]


@pytest.mark.parametrize("blamed", BOTH)
def test_a_step_that_blames_the_file_stops_the_other(begin: Run, blamed: str) -> None:
    """The other may take hours and is for nothing: the file is an error, with the reason of the first."""
    never = after(threading.Event(), {})
    begin(*(raising(StepError("not_playable")) if name == blamed else never for name in BOTH))
    begin.join()
    assert (begin.row("task_files")["status"], begin.row("task_files")["error_code"]) == ("error", "not_playable")
    other = next(name for name in BOTH if name != blamed)
    assert begin.steps() == {blamed: "error", other: "skipped", "storyboard": "skipped"}


def test_a_step_that_must_wait_does_not_discard_a_parallel_result(begin: Run) -> None:
    """The task is set aside when the other has ended, and what the other made stays."""
    gate = threading.Event()
    begin(after(gate, {"has_mp4": True, "playable": True}), raising(TryLaterError("storage_full", counts=False)))
    until(lambda: begin.steps().get("mp4") == "processing", what="the steps are so far")
    assert begin.row("tasks")["waiting_code"] is None
    gate.set()
    begin.join()
    assert begin.steps() == {"mp4": "completed", "poster": "processing", "storyboard": "waiting"}
    assert begin.row("tasks")["waiting_code"] == "storage_full"


def test_a_stopped_worker_stops_all_parallel_steps(begin: Run) -> None:
    """Both steps end, and the task is given back."""
    never = threading.Event()
    begin(after(never, {}), after(never, {}))
    until(
        lambda: begin.steps() == {"mp4": "processing", "poster": "processing", "storyboard": "waiting"},
        what="the steps are so far",
    )
    begin.stop()
    begin.join()
    assert begin.row("tasks")["worker"] is None


def test_the_time_limit_of_a_step_follows_the_video(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the probe it is the setting's; afterwards two minutes and what the pixels and bytes are worth."""
    seen: dict[str, float] = {}

    def probe(context: StepContext) -> Mapping[str, object]:
        seen["probe"] = context.limits.seconds
        return {"width": 100, "height": 100, "duration": 60.0, "frame_rate": 50.0}

    def mp4(context: StepContext) -> Mapping[str, object]:
        seen["mp4"] = context.limits.seconds
        return {}

    run = Run(services, monkeypatch)
    run.start(FakeStep("probe", probe), FakeStep("mp4", mp4))
    run.join()
    assert seen == {"probe": 600, "mp4": 130}
