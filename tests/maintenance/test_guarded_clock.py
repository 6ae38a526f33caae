"""A clock that jumps ahead makes no retention due."""

from datetime import UTC, datetime, timedelta

import pytest

from server.maintenance.guarded_clock import GuardedClock
from tests.maintenance.filled_installation import DAY, FilledInstallation, fresh_retention, numbers


def test_a_forward_jump_of_the_clock_counts_after_a_day() -> None:
    """Up to an hour ahead counts at once; more counts after a day; backwards always does."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    wall, passed = [start], [1000.0]
    steady = GuardedClock(lambda: wall[0], lambda: passed[0])

    def at(days: float, leap: float = 0) -> float:
        """What it says so many days later, in days, when the wall clock is wrong by `leap` days."""
        passed[0] = 1000 + days * DAY
        wall[0] = start + timedelta(days=days + leap)
        return (steady.now() - start) / timedelta(days=1)

    hour = 1 / 24
    assert at(0) == 0
    assert at(30) == 30
    assert at(31, 0.04) == pytest.approx(31.04)
    assert at(32, 400) == pytest.approx(32 + hour)
    assert at(32.5, 400) == pytest.approx(32.5 + hour)
    assert at(33, 0) == 33  # it was set right again
    assert at(34, 400) == pytest.approx(34 + hour)
    assert at(35.1, 400) == pytest.approx(435.1)
    assert at(36, 0) == 36


def test_a_jump_of_the_clock_removes_nothing(in_memory: FilledInstallation) -> None:
    """A server whose clock jumps by a year keeps what it would remove in a year."""
    in_memory.fill(0)
    in_memory.sweep()
    before = in_memory.originals()
    now = [datetime.now(UTC)]
    with in_memory.with_settings(failed_retention=DAY, original_retention=DAY) as services:
        object.__setattr__(services.sweeper, "retention", fresh_retention(services, lambda: now[0]))
        now[0] += timedelta(days=365)
        assert numbers(services.sweep()) == {}
        assert in_memory.originals() == before
