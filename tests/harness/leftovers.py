"""No leftovers ever: what an acceptance test's servers leave behind is looked through when they have stopped.

Rule: one sweep, as the next server would do it at its start, and then nothing may be there of which no row tells, and
no row may tell of what is not there. A test that breaks things on purpose says so: `@pytest.mark.leaves("why")`.
"""

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from server.bootstrap import Services
from server.settings import Settings

# What lies in a data folder besides, in every installation.
_KNOWN = {
    "uploads",
    "results",
    "work",
    "quarantine",
    "locks",
    "node",
    "spare",
    "space.lock",
    "scheduler.lock",
    "wake.fifo",
    "videodock.db",
    "videodock.db-wal",
    "videodock.db-shm",
}

_excused: list[str] = []


def excuse(item: pytest.Item) -> None:
    """Remember whether the test that runs now leaves something on purpose."""
    marker = item.get_closest_marker("leaves")
    assert marker is None or marker.args, "say why"
    _excused[:] = [] if marker is None else [str(marker.args[0])]


def check(data_dir: Path, database_url: str) -> None:
    """Sweep a data folder, and fail when something does not fit then. Only within an acceptance test."""
    if _excused or "acceptance/" not in os.environ.get("PYTEST_CURRENT_TEST", ""):
        return
    if not (data_dir / "uploads" / ".videodock").exists():
        return  # no server ever came so far
    settings = Settings(data_dir=data_dir, database_url=database_url, fsync="never", disk_reserve="0")
    with capture_logs() as logs, Services.open(settings) as services:
        report = services.sweep()
        findings = services.checker.find_mismatches()
    assert report.numbers["failed"] == report.numbers["missing"] == 0, (report, logs)
    assert findings == [], f"left in {data_dir}: {[(finding.kind, finding.subject) for finding in findings]}"
    unknown = {path.name for path in data_dir.iterdir()} - _KNOWN
    assert not unknown, f"left in {data_dir}: {sorted(unknown)}"
