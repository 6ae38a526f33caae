"""`python -m tests PROCESSES [ARGUMENTS OF PYTEST]`: most tests side by side, then those that need the machine alone.

Rule: every test runs once; a file's tests stay together in one process, with its database and its brokers. What failed
is named once more at the very end: of a long log, a reader has the last lines.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from tests.harness import bytecode, seed

_NOTHING_CHOSEN = 5  # pytest's exit code when no test was selected


def main() -> int:
    """The worst exit code of both; choosing tests of one kind only is no failure."""
    processes, *arguments = sys.argv[1:]
    if not any(argument.startswith("--seed") for argument in arguments):
        # The day of both runs, also when midnight is between them.
        arguments += [f"--seed={seed.today()}"]
    many = ["-n", processes, "--dist", "loadfile", "--no-loadscope-reorder", "-m", "not soak and not alone"]
    alone = ["-m", "alone and not soak", *_files_with_alone(arguments)]
    # Each process of tests needs all of their modules; without the bytecode it rewrites and compiles them again.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    if not _names_files(arguments):
        bytecode.prepare(Path(__file__).parent, environment)
    with tempfile.TemporaryDirectory(prefix="videodock-tests-") as folder:
        reports = [Path(folder, name) for name in ("many.xml", "alone.xml")]
        codes = [
            subprocess.run(
                [sys.executable, "-m", "pytest", *how, f"--junitxml={report}", *arguments], check=False, env=environment
            ).returncode
            for how, report in zip((many, alone), reports, strict=True)
        ]
        for name in [name for report in reports if report.exists() for name in _failed(report)]:
            print("failed:", name)
    if all(code == _NOTHING_CHOSEN for code in codes):
        return _NOTHING_CHOSEN
    return max(code for code in codes if code != _NOTHING_CHOSEN)


def _failed(report: Path) -> list[str]:
    """The tests that failed, by a report as JUnit writes it."""
    cases = ElementTree.parse(report).iter("testcase")  # pytest wrote it just now
    return [
        f"{case.get('classname')}::{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]


def _files_with_alone(arguments: list[str]) -> list[str]:
    """Where such tests are, unless somebody has named files: to import all of them takes longer than some tests."""
    if _names_files(arguments):
        return []
    files = sorted(Path(__file__).parent.rglob("test_*.py"))
    return [str(path) for path in files if "mark.alone" in path.read_text()]


def _names_files(arguments: list[str]) -> bool:
    return any(Path(argument.partition("::")[0]).exists() for argument in arguments)


if __name__ == "__main__":
    sys.exit(main())
