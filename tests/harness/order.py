"""Which file of tests runs first when several processes run them, the one that takes longest; and which run together.

Rule: nothing depends on the order but how long a run takes. A long file that comes last leaves the other processor
without work. `tests/longest_files.txt` has the order. `make test ARGS=--write-order` measures it, and
`python -m tests.harness.order LOG` takes it from the log of a run with `--durations=0`. A file that it does not name
comes after those. Files that use the same dear part run in one process, so that it starts once.
"""

import os
import re
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

ORDER = Path(__file__).resolve().parents[1] / "longest_files.txt"
_OPTION = "--write-order"
TOGETHER = {"acceptance/test_celery.py": "brokers", "worker/test_celery.py": "brokers"}
"""Files that run in one process. A start of RabbitMQ takes a processor for longer than most files do."""
_SECONDS = 2.0  # a file that takes less is not named


def add_option(parser: pytest.Parser) -> None:
    """`--write-order`."""
    parser.addoption(_OPTION, action="store_true", help="write tests/longest_files.txt from what this run measures")


def begin(config: pytest.Config) -> None:
    """Measure, if that is asked for: where the reports of several processes arrive."""
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    if config.getoption(_OPTION, default=False) and config.getoption("numprocesses", default=None) and not is_worker:
        config.pluginmanager.register(_Measure())


def longest_first(items: list[pytest.Item]) -> None:
    """Sort tests by their files. A run in one process keeps its order: that of names is easier to read."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    names = [line.split()[1] for line in ORDER.read_text().splitlines() if line[:1].isdigit()]
    ranks = {name: rank for rank, name in enumerate(names)}
    items.sort(key=lambda item: ranks.get(_file(item.nodeid), len(ranks)))


class Scheduling(LoadFileScheduling):  # type: ignore[misc]  # the library has no types
    """The tests of a file in one process; and those of files that share something."""

    def _split_scope(self, nodeid: str) -> str:
        """The library's name: tests of one scope run in one process."""
        return scope(nodeid)


def scope(nodeid: str) -> str:
    """Tests with the same scope run in one process."""
    return TOGETHER.get(_file(nodeid), _file(nodeid))


class _Measure:
    def __init__(self) -> None:
        self._seconds: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[_file(report.nodeid)] += report.duration  # type: ignore[assignment]

    def pytest_sessionfinish(self) -> None:
        ORDER.write_text(_text(self._seconds))


def of_log(lines: Iterable[str]) -> str:
    """The text of `tests/longest_files.txt` by a log: `12.30s call  tests/web/test_a.py::test[b]`."""
    seconds: Counter[str] = Counter()
    for line in lines:
        if found := re.match(r"([0-9.]+)s (?:setup|call|teardown) +(\S+?)::", line):
            seconds[_file(found[2])] += float(found[1])  # type: ignore[assignment]
    return _text(seconds)


def _text(seconds: "Counter[str]") -> str:
    lines = [f"{spent:.0f} {name}" for name, spent in seconds.most_common() if spent >= _SECONDS]
    return "\n".join(["# Seconds of each file of tests; see tests/harness/order.py", *lines, ""])


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0].removeprefix("tests/")


if __name__ == "__main__":
    with Path(sys.argv[1]).open(errors="replace") as log:
        ORDER.write_text(of_log(log))
