"""Never lost, never twice: hundreds of tasks, workers killed at any moment, frozen, a database restarted under them."""

import os
import random
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from server.bootstrap import Services
from server.database.models import Task
from server.settings import Settings
from tests.harness.chaos import ChaosScenario, Plan, worker_starter
from tests.harness.chaos_check import figures, findings
from tests.harness.migrated import migrate
from tests.harness.postgres import PostgresServer
from tests.harness.waiting import until

pytestmark = pytest.mark.acceptance

PLANS = {
    "sqlite": Plan(tasks=150, schedulers=2, workers=2, seconds=12),
    "postgresql": Plan(tasks=200, schedulers=2, workers=18, seconds=14, restarts=2),
}
SHORT = {
    "sqlite": Plan(tasks=60, schedulers=2, workers=2, seconds=5),
    "postgresql": Plan(tasks=90, schedulers=2, workers=8, seconds=6, restarts=1),
}
ROUNDS = int(os.environ.get("SOAK_ROUNDS") or 20)
TO_THE_END = 240.0  # seconds at most, once nobody disturbs any more; on a machine of its own it takes ten


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresServer]:
    """A PostgreSQL of its own: it is restarted under its clients."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which database."""
    name: str = request.param
    return name


@pytest.fixture
def new_url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[], str]:
    """Each call an empty database."""
    if kind == "sqlite":
        return lambda: f"sqlite:///{tmp_path / str(uuid.uuid4())}.db"
    made: PostgresServer = request.getfixturevalue("cluster")
    return made.create_database


@pytest.fixture
def restart(kind: str, request: pytest.FixtureRequest) -> Callable[[], None] | None:
    """Stop the database and start it again."""
    if kind == "sqlite":
        return None
    made: PostgresServer = request.getfixturevalue("cluster")

    def again() -> None:
        made.halt()
        time.sleep(0.3)
        made.resume()

    return again


def run_chaos(folder: Path, url: str, plan: Plan, seed: int, restart: Callable[[], None] | None) -> str:
    """One round; what happened. Fails for anything that is not as it must be."""
    migrate(url)
    settings = Settings(
        data_dir=folder / "data",
        database_url=url,
        fsync="never",
        encode_limit=4,
        task_lease=3,
        task_max_attempts=6,
        task_retry_pause=0.1,
        owner_limit=8,
        sweep_interval=1,
        database_pool_size=6,
    )
    with Services.open(settings) as services:
        services.claim_store()
        scenario = ChaosScenario(services, folder, plan, random.Random(seed), restart)
        scenario.fill()
        with worker_starter(folder, settings) as start_worker:
            roles = ["scheduler"] * plan.schedulers + ["worker"] * plan.workers
            scenario.workers = [start_worker(role) for role in roles]
            scenario.disturb(start_worker)
            scenario.wait_until_thawed()

            def all_ended() -> bool:
                scenario.replace_dead_workers(start_worker)  # poison kills on
                return not scenario.retry_while_away(lambda: waiting(services))

            until(all_ended, seconds=TO_THE_END, what=f"seed {seed}: all tasks end", every=0.2)
            until(lambda: not services.results.attempts(), seconds=20, what=f"seed {seed}: no work folder is left")
        assert findings(scenario) == [], f"seed {seed}: {figures(scenario)}"
        return figures(scenario)


def waiting(services: Services) -> int:
    """How many tasks have not ended."""
    with services.database.read() as session:
        return session.scalar(select(func.count()).where(Task.finished_at.is_(None)).select_from(Task)) or 0


@pytest.mark.sampled(1)
def test_every_task_ends_exactly_once(
    kind: str, new_url: Callable[[], str], restart: Callable[[], None] | None, tmp_path: Path
) -> None:
    """One end each, as the events say; results for all that completed; no lease, step or folder left over."""
    print(run_chaos(tmp_path, new_url(), SHORT[kind], 5, restart))


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_every_task_ends_exactly_once_for_hours(
    kind: str,
    new_url: Callable[[], str],
    restart: Callable[[], None] | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """SOAK_ROUNDS times, with another seed and an empty database each time."""
    begin = time.time_ns() % 1_000_000
    for seed in range(begin, begin + ROUNDS):
        summary = run_chaos(tmp_path / str(seed), new_url(), PLANS[kind], seed, restart)
        with capsys.disabled():
            print(f"\n{kind}, seed {seed}: {summary}")
