"""The remaining time and the percent over mixed videos, from records of real runs.

The clock is that of the records (`python -m bench.eta`), so the machine that runs the tests does not matter.
"""

import threading
from pathlib import Path

import pytest

from bench import eta
from bench.eta import Record, replay
from server.pipeline import costs
from server.pipeline.costs import Cost
from server.settings import Settings
from server.worker.learned_costs import LearnedCosts, Observation
from server.worker.progress import TaskProgress
from server.worker.remaining import Run

RECORDS = eta.read(Path(__file__).with_name("eta_records.json"))
LOADS = (1.2, 0.85, 1.05)
"""How much slower the machine was when it did the same before."""


class Clock:
    """A clock that a test moves; `cell` is what `replay` moves."""

    def __init__(self) -> None:
        self.cell = [0.0]

    def __call__(self) -> float:
        return self.cell[0]


def slower(record: Record, factor: float) -> Record:
    """The same on a machine with more to do."""
    files = [
        eta.FileRecord(
            one.size, one.container, one.facts, [(at * factor, step, percent) for at, step, percent in one.reports]
        )
        for one in record.files
    ]
    return Record(record.name, record.transcode, files)


def told(record: Record, history: list[Record]) -> list[eta.Sample]:
    """What is told while this task runs, on a machine with this history."""
    clock = Clock()
    learned = LearnedCosts(clock)
    for one in history:
        replay(one, learned, Settings(transcode=one.transcode), clock.cell, looks=False)
    return replay(record, learned, Settings(transcode=record.transcode), clock.cell)


@pytest.mark.parametrize(("knows_it", "share", "nine_of_ten"), [(True, 0.8, 0.35), (False, 0.75, 0.45)])
def test_remaining_time_is_within_a_quarter_for_mixed_videos(knows_it: bool, share: float, nine_of_ten: float) -> None:
    """Copies, encodes small and larger, sound alone, upright, HLS, several files: of the times that are told from a
    fifth of the work on, so many are within 25 %, and nine of ten within the last number. The machine has seen such a
    video before, or other ones only."""
    errors: list[float] = []
    for record in RECORDS:
        known = [one for one in RECORDS if knows_it or one is not record]
        errors += eta.judge(told(record, [slower(one, load) for load in LOADS for one in known]))[0]
    assert len(errors) > 200
    assert sum(error <= eta.GOAL for error in errors) >= share * len(errors)
    assert eta.quantile(errors, 0.9) <= nine_of_ten


@pytest.mark.parametrize("record", RECORDS, ids=[record.name for record in RECORDS])
def test_percent_is_linear_in_time_and_never_falls(record: Record) -> None:
    """On a machine that knows such videos the percent is the share of the time that is over, within 15 points; a video
    of three seconds has no time to show more than a few numbers."""
    samples = told(record, [slower(one, load) for load in LOADS for one in RECORDS])
    percents = [one.percent for one in samples]
    assert percents == sorted(percents)
    assert percents[-1] <= 99
    if record.seconds > 3:
        assert max(abs(one.percent / 100 - one.at / record.seconds) for one in samples) <= 0.15


@pytest.mark.parametrize("record", RECORDS, ids=[record.name for record in RECORDS])
def test_no_time_is_told_before_there_is_ground_for_it(record: Record) -> None:
    """A machine that has never run a step tells no time before the file was looked at and a step reports its speed."""
    samples = told(record, [])
    first = next(at for at, step, percent in record.files[0].reports if (step, percent) == ("probe", eta.END))
    assert all(one.eta is None for one in samples if one.at < first)
    # Later a first time may be for another kind of work; then it is corrected by the speed that is seen.
    assert all(one.eta >= 1 for one in samples if one.eta is not None)


def test_a_step_that_is_slower_than_usual_corrects_the_expectation() -> None:
    """Expected were 10 s; at 10 % a second it would be so, at 1 % a second it is 100 s."""
    run = Run(0.0)
    for second in range(21):
        run.report(1.0 + second, second)
    left = run.left(21.0, expected=10.0, doubt=0.2)
    assert left.seconds == pytest.approx(80, rel=0.1)


def test_a_step_without_reports_is_overdue_and_in_doubt() -> None:
    """Longer than expected, and not a word of it: some seconds are left, and all of them are in doubt."""
    left = Run(0.0).left(40.0, expected=10.0, doubt=0.2)
    assert left.seconds > 0
    assert left.doubt == left.seconds


def test_the_median_of_the_nearest_decides_and_one_odd_step_does_not() -> None:
    """Nine copies took twice as long as measured, and one a hundred times: that was another kind of work."""
    learned = LearnedCosts()
    for number in range(9):
        learned.learn(Observation(Cost("mp4 copied", 1.0 + number), 2.0 * (1.0 + number)))
    learned.learn(Observation(Cost("mp4 copied", 1.0), 100.0))
    expected = learned.expect(Cost("mp4 copied", 3.0))
    assert expected.seconds == pytest.approx(6.0)
    assert expected.doubt < 0.3


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_kind_with_few_steps_is_in_doubt(count: int) -> None:
    """Fewer than three steps are no ground for a time."""
    learned = LearnedCosts()
    for _ in range(count):
        learned.learn(Observation(Cost("hls", 10.0, is_heavy=True), 20.0))
    assert learned.expect(Cost("hls", 10.0)).doubt == 1.0


def test_a_kind_that_was_never_seen_is_as_slow_as_the_others() -> None:
    """On a machine of which two kinds of steps take four times as long, the third is expected to, in doubt."""
    learned = LearnedCosts()
    learned.learn(Observation(Cost("probe", 1.0), 4.0))
    learned.learn(Observation(Cost("poster", 2.0), 8.0))
    expected = learned.expect(Cost("storyboard", 3.0))
    assert expected.seconds == pytest.approx(12.0)
    assert expected.doubt == 1.0


def test_history_is_read_once_and_after_a_failure_again() -> None:
    """A database that is away is asked again by the next task, and not after it has answered."""
    learned, asked = LearnedCosts(), []

    def away() -> list[Observation]:
        raise OSError

    def there() -> list[Observation]:
        asked.append(threading.get_ident())
        return [Observation(Cost("probe", 1.0), 3.0)]

    with pytest.raises(OSError):
        learned.load(away)
    learned.load(there)
    learned.load(there)
    assert len(asked) == 1
    assert learned.expect(Cost("probe", 1.0)).seconds == pytest.approx(3.0)


def test_an_encode_beside_another_takes_twice_as_long() -> None:
    """Two encodes share the processors: what one of them took counts as half, and the next one is told as twice."""
    clock = Clock()
    learned = LearnedCosts(clock)
    cost = Cost("mp4 encoded", 10.0, is_heavy=True)
    one, other = learned.begin(cost), learned.begin(cost)
    clock.cell[0] = 20.0
    beside = learned.end(one)
    assert beside == pytest.approx(2.0)
    for _ in range(3):
        learned.learn(Observation(cost, 20.0, beside))
    assert learned.expect(cost).seconds == pytest.approx(10.0)
    progress = TaskProgress(learned, clock)
    progress.plan("1", 1, [[("mp4", cost)]], Cost("file mp4", 10.0), is_guess=False)
    assert progress.look().eta_seconds == 20
    learned.end(other)
    assert progress.look().eta_seconds == 10


def test_steps_that_an_earlier_attempt_has_ended_count_as_done() -> None:
    """A task that is taken over after its encode begins far beyond 0 %."""
    clock = Clock()
    progress = TaskProgress(LearnedCosts(clock), clock)
    plan = [[("mp4", Cost("mp4 encoded", 90.0))], [("storyboard", Cost("storyboard", 10.0))]]
    progress.plan("1", 1, plan, Cost("file mp4", 100.0), is_guess=False, ended={"mp4"})
    progress.begin_file("1")
    assert progress.look().percent >= 80


def test_an_attempt_that_is_stopped_leaves_no_step_behind() -> None:
    """A step that was stopped no longer counts as one that shares the processors."""
    learned = LearnedCosts()
    progress = TaskProgress(learned)
    progress.plan("1", 1, [[("hls", Cost("hls", 9.0, is_heavy=True))]], Cost("file mp4", 9.0), is_guess=False)
    progress.begin_file("1")
    progress.begin("1", "hls")
    assert learned.crowd == 1
    progress.close()
    assert learned.crowd == 0


def test_costs_tell_a_copy_from_an_encode() -> None:
    """The settings and the facts decide what the MP4 takes."""
    phone = {"width": 1920, "height": 1080, "duration": 60.0, "frame_rate": 30.0, "video_codec": "h264"}
    cases: list[tuple[dict[str, object], str, int]] = [
        ({"audio_codec": "aac"}, "mp4", 1080),
        ({"audio_codec": "mp3"}, "mkv", 1080),
        ({"video_codec": "hevc"}, "mov", 1080),
        ({}, "mp4", 720),
    ]
    kinds = [
        costs.mp4(costs.material(phone | facts, 60_000_000, container), max_edge=edge, preset="veryfast").kind
        for facts, container, edge in cases
    ]
    assert kinds == ["mp4 copied", "mp4 sound", "mp4 encoded", "mp4 encoded"]
    slow = costs.mp4(costs.material(phone, 1, "avi"), max_edge=1080, preset="slow")
    quick = costs.mp4(costs.material(phone, 1, "avi"), max_edge=1080, preset="ultrafast")
    assert slow.seconds > 3 * quick.seconds
