"""`python -m tests PROCESSES [ARGUMENTS OF PYTEST]`: most tests side by side, then those that need the machine alone.

Rule: every test runs once; a file's tests stay together in one process, with its database and its brokers.
"""

import os
import subprocess
import sys
from pathlib import Path

_NOTHING_CHOSEN = 5  # pytest's exit code when no test was selected


def main() -> int:
    """The worst exit code of both; choosing tests of one kind only is no failure."""
    processes, *arguments = sys.argv[1:]
    many = ["-n", processes, "--dist", "loadfile", "--no-loadscope-reorder", "-m", "not soak and not alone"]
    # Each process of tests needs all of their modules; without the bytecode it rewrites and compiles them again.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    codes = [
        subprocess.run([sys.executable, "-m", "pytest", *how, *arguments], check=False, env=environment).returncode
        for how in (many, ["-m", "alone and not soak", *_files_with_alone(arguments)])
    ]
    if all(code == _NOTHING_CHOSEN for code in codes):
        return _NOTHING_CHOSEN
    return max(code for code in codes if code != _NOTHING_CHOSEN)


def _files_with_alone(arguments: list[str]) -> list[str]:
    """Where such tests are, unless somebody has named files: to import all of them takes longer than some tests."""
    if any(Path(argument.partition("::")[0]).exists() for argument in arguments):
        return []
    files = sorted(Path(__file__).parent.rglob("test_*.py"))
    return [str(path) for path in files if "mark.alone" in path.read_text()]


if __name__ == "__main__":
    sys.exit(main())
