"""A folder of one whole run of the tests, for what all of its processes need and one of them makes.

Rule: the process that pytest was started in makes it and removes it; the processes of xdist find it by a variable.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

_VARIABLE = "TEST_RUN_FOLDER"
_MINE = pytest.StashKey[Path]()


def find() -> Path | None:
    """The folder; None outside of pytest."""
    found = os.environ.get(_VARIABLE)
    return Path(found) if found else None


def begin(config: pytest.Config) -> None:
    """Make it, unless the process that started us has made it."""
    if find() is None:
        made = Path(tempfile.mkdtemp(prefix="videodock-tests-", dir="/tmp"))
        os.environ[_VARIABLE] = str(made)
        config.stash[_MINE] = made


def end(config: pytest.Config) -> None:
    """Remove it, if it was made here."""
    made = config.stash.get(_MINE, None)
    if made is not None:
        os.environ.pop(_VARIABLE, None)
        shutil.rmtree(made, ignore_errors=True)
