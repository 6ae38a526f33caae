"""The progress of a task and the time that is left: written by its steps, read by the heartbeat.

Rules:

- Both are one number: of the seconds that a task takes, so many are over. So a fifth of the progress is a fifth of the
  work, as well as it is known, and the percent never falls.
- What a step reports of itself counts more with every percent; before, what it costs usually (`learned_costs.py`).
- No seconds are shown while they are a guess: a file was not looked at yet, or this machine has hardly run such a step.

It belongs to one attempt. Steps report from threads of their own, and the heartbeat reads.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from server.pipeline.costs import Cost
from server.worker import remaining
from server.worker.learned_costs import LearnedCosts, Observation
from server.worker.remaining import Left, Run

Plan = Sequence[Sequence[tuple[str, Cost]]]
"""The steps of a file with their costs, in order; those of one group run side by side."""

# The remaining seconds are shown first while the doubt is at most this share, and then while it stays below that one.
_TOLD, _STILL_TOLD = 0.35, 0.6
_UNNOTICED = 1.5  # seconds, however few are left
_UNSEEN = 10.0  # seconds of doubt for a file of which nothing is known
# Doubt beyond this share makes the percent smaller: it must not fall when the work turns out to be more.
_TRUSTED = 0.3


@dataclass(frozen=True)
class Look:
    """How far a task is: percent of the task, of the running file and of its running steps, and seconds left."""

    percent: int
    eta_seconds: int | None
    position: int
    file_id: str | None
    file_percent: int
    steps: Mapping[str, int]


@dataclass
class _Step:
    """A step of a file; `run` is its running, `token` what `LearnedCosts.begin` gave."""

    name: str
    cost: Cost
    has_ended: bool = False
    run: Run | None = None
    token: object = None

    @property
    def percent(self) -> int:
        return min(99, self.run.percent) if self.run else 0


@dataclass
class _File:
    """A file of the task. `whole` is what it costs, judged by its size; that counts while `is_guess`."""

    position: int
    groups: list[list[_Step]]
    whole: Cost
    is_guess: bool
    began: float | None = None
    carried: float = 0.0
    has_ended: bool = False
    has_failures: bool = False
    percent: int = 0

    def steps(self) -> Iterator[_Step]:
        for group in self.groups:
            yield from group


@dataclass
class _Pace:
    """How slow this attempt is, compared with what was expected: other work on the machine."""

    took: float = remaining.PACE_SECONDS
    expected: float = remaining.PACE_SECONDS

    @property
    def factor(self) -> float:
        return min(remaining.SLOWEST, max(remaining.FASTEST, self.took / self.expected))


@dataclass
class TaskProgress:
    """The progress of one attempt at a task."""

    costs: LearnedCosts
    monotonic: Callable[[], float] = time.monotonic
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _files: dict[str, _File] = field(default_factory=dict)
    _pace: _Pace = field(default_factory=_Pace)
    _current: str | None = None
    _percent: int = 0
    _is_told: bool = False

    def __post_init__(self) -> None:
        self._began = self.monotonic()

    # What is to be done

    def plan(
        self,
        file_id: str,
        position: int,
        plan: Plan,
        whole: Cost,
        *,
        is_guess: bool,
        ended: AbstractSet[str] = frozenset(),
    ) -> None:
        """A file has these steps, of which earlier attempts have ended some. `whole` is what it costs by its size, and
        `is_guess` tells that nothing else is known. May be called again when more is: steps that have begun stay."""
        with self._lock:
            before = self._files.get(file_id)
            known = {step.name: step for step in before.steps()} if before else {}
            groups = [[known.get(name) or _Step(name, cost) for name, cost in group] for group in plan]
            for group, costs in zip(groups, plan, strict=True):
                for step, (_, cost) in zip(group, costs, strict=True):
                    if step.run is None and not step.has_ended:
                        step.cost, step.has_ended = cost, step.name in ended
            made = _File(position, groups, whole, is_guess)
            if before is not None:
                made.began, made.percent, made.carried = before.began, before.percent, before.carried
                made.has_failures = before.has_failures
            made.carried += sum(self.costs.expect(step.cost).seconds for step in made.steps() if step.name in ended)
            self._files[file_id] = made

    def begin_file(self, file_id: str) -> None:
        """This file is the running one."""
        with self._lock:
            self._current = file_id
            self._files[file_id].began = self.monotonic()

    def end_file(self, file_id: str) -> None:
        """The file has ended, now or in an earlier attempt."""
        with self._lock:
            file = self._files[file_id]
            self._stop(file)
            file.has_ended = True
            if file.began is None:
                file.carried = sum(self.costs.expect(step.cost).seconds for step in file.steps())
            elif not file.carried and not file.has_failures:
                self.costs.learn(Observation(file.whole, self.monotonic() - file.began))

    def close(self) -> None:
        """The attempt is over; steps that were stopped run no more."""
        with self._lock:
            for file in self._files.values():
                self._stop(file)

    def _stop(self, file: _File) -> None:
        for step in list(_running(file)):
            step.has_ended = file.has_failures = True
            self.costs.end(step.token)

    # What happens

    def begin(self, file_id: str, name: str) -> None:
        """A step starts to run."""
        with self._lock:
            step = self._step(file_id, name)
            step.token = self.costs.begin(step.cost)
            step.run = Run(self.monotonic())

    def report(self, file_id: str, name: str, percent: int) -> None:
        """A step is done to so many percent."""
        with self._lock:
            run = self._step(file_id, name).run
            if run is not None:
                run.report(self.monotonic(), percent)

    def end(self, file_id: str, name: str, *, is_success: bool) -> None:
        """A step has ended."""
        with self._lock:
            step = self._step(file_id, name)
            if step.run is None or step.has_ended:
                return
            step.has_ended = True
            self._files[file_id].has_failures |= not is_success
            beside = self.costs.end(step.token)
            seconds = self.monotonic() - step.run.began
            if is_success:
                self._pace_by(step, seconds, beside)
                # After the pace, which compares with what was expected.
                self.costs.learn(Observation(step.cost, seconds, beside))

    # What is shown

    def look(self) -> Look:
        """How far it is now."""
        with self._lock:
            now = self.monotonic()
            left = sum((self._left_of(file, now) for file in self._files.values()), Left())
            carried = sum(file.carried for file in self._files.values())
            if self._files:  # else nothing is planned yet
                self._percent = max(self._percent, _percent(now - self._began + carried, left))
                self._is_told = left.doubt <= _UNNOTICED + left.seconds * (_STILL_TOLD if self._is_told else _TOLD)
            file = self._files.get(self._current or "")
            return Look(
                percent=self._percent,
                eta_seconds=max(1, round(left.seconds)) if self._is_told else None,
                position=file.position if file else 0,
                file_id=self._current,
                file_percent=self._of_file(file, now) if file else 0,
                steps={step.name: step.percent for step in _running(file)} if file else {},
            )

    def _of_file(self, file: _File, now: float) -> int:
        done = file.carried + (now - file.began if file.began is not None else 0.0)
        file.percent = max(file.percent, _percent(done, self._left_of(file, now)))
        return file.percent

    def _left_of(self, file: _File, now: float) -> Left:
        if file.has_ended:
            return Left()
        if file.is_guess:
            left = self._not_begun(file.whole)
            return left if left.doubt < left.seconds else left + Left(0.0, _UNSEEN)
        return sum((self._of_group(group, now) for group in file.groups), Left())

    def _of_group(self, group: Sequence[_Step], now: float) -> Left:
        """The longest of the steps side by side decides."""
        lefts = [self._of_step(step, now) for step in group if not step.has_ended]
        return max(lefts, key=lambda left: left.seconds, default=Left())

    def _of_step(self, step: _Step, now: float) -> Left:
        if step.run is None:
            return self._not_begun(step.cost)
        expected = self.costs.expect(step.cost)
        crowd = max(1, self.costs.crowd) if step.cost.is_heavy else 1
        return step.run.left(now, expected.seconds * crowd * self._pace.factor, expected.doubt)

    def _not_begun(self, cost: Cost) -> Left:
        expected = self.costs.expect(cost)
        seconds = expected.seconds * self._pace.factor
        if cost.is_heavy:
            # Those that run now, of which one may be of this task, and then makes place for this step.
            mine = any(step.cost.is_heavy for file in self._files.values() for step in _running(file))
            seconds *= max(1, self.costs.crowd + (not mine))
        return Left(seconds, seconds * expected.doubt)

    def _pace_by(self, step: _Step, seconds: float, beside: float) -> None:
        expected = self.costs.expect(step.cost)
        should = expected.seconds * (beside if step.cost.is_heavy else 1.0)
        if expected.doubt < 1 and should / remaining.ODD < seconds < should * remaining.ODD:
            self._pace.took += seconds
            self._pace.expected += should

    def _step(self, file_id: str, name: str) -> _Step:
        return next(step for step in self._files[file_id].steps() if step.name == name)


def _running(file: _File) -> Iterator[_Step]:
    return (step for step in file.steps() if step.run is not None and not step.has_ended)


def _percent(done: float, left: Left) -> int:
    """Of the seconds that are over and those that are left; only the end is 100."""
    ahead = left.seconds + max(0.0, left.doubt - _TRUSTED * left.seconds)
    return min(99, int(100 * done / (done + ahead))) if done + ahead > 0 else 0
