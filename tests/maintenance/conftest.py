"""Fixtures of the tests of retention."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.maintenance.filled_installation import NEVER, FilledInstallation


@pytest.fixture
def installation(tmp_path: Path, database_url: str) -> Iterator[FilledInstallation]:
    made = FilledInstallation(tmp_path / "data", database_url, **NEVER)
    with made.services:
        yield made


@pytest.fixture
def in_memory() -> Iterator[FilledInstallation]:
    """On SQLite, in in_memory."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        made = FilledInstallation(Path(folder) / "data", "", **NEVER)
        with made.services:
            yield made
