"""Services of a worker in this process, and the steps that it runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from server.bootstrap import Services
from server.settings import Settings
from server.worker import attempt as attempt_module
from tests.harness.migrated import migrate
from tests.worker.attempts import ATTEMPTS, SetSteps


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    migrate(database_url)
    return Settings(data_dir=tmp_path / "data", database_url=database_url, task_max_attempts=ATTEMPTS, fsync="never")


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    with Services.open(settings) as opened:
        opened.claim_store()
        yield opened


@pytest.fixture
def set_steps(monkeypatch: pytest.MonkeyPatch) -> SetSteps:
    """The steps of this test, in place of the real ones."""
    return lambda *steps: monkeypatch.setattr(attempt_module, "STEPS", steps)
