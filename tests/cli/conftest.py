"""Fixtures of the tests that run the commands in this process."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from server.bootstrap import Services
from server.cli.tasks import add_to
from server.settings import Settings
from server.worker import attempt as attempt_module
from tests.cli.operator import Operator, SetSteps
from tests.harness.migrated import migrate


@pytest.fixture
def operator(tmp_path: Path, database_url: str) -> Iterator[Operator]:
    migrate(database_url)
    settings = Settings(data_dir=tmp_path / "data", database_url=database_url, task_max_attempts=2, fsync="never")
    group = click.Group("videodock")
    add_to(group, lambda command: command, lambda _: settings)
    with Services.open(settings) as services:
        services.claim_store()
        yield Operator(services, group)


@pytest.fixture
def set_steps(monkeypatch: pytest.MonkeyPatch) -> SetSteps:
    """The steps of this test, in place of the real ones."""
    return lambda *steps: monkeypatch.setattr(attempt_module, "STEPS", steps)
