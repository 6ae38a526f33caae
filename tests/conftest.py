"""Fixtures for every test: an empty database of each kind, and real servers that never outlive their test."""

import gc
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from tests.harness import (
    compiled_patterns,
    compiled_sql,
    description,
    leftovers,
    logging_state,
    order,
    run_folder,
    sampling,
    seed,
    trusted_certificates,
)
from tests.harness.brokers import broker, postgres_url, rabbitmq_server, redis_server  # noqa: F401  # fixtures
from tests.harness.gate import Gate
from tests.harness.postgres import PostgresServer
from tests.harness.server_process import ServerProcess

StartServer = Callable[..., ServerProcess]

SERVERS = pytest.StashKey[list[ServerProcess]]()
FAILED = pytest.StashKey[bool]()
LOG_TAIL = 12_000


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    with logging_state.unchanged():
        yield


@pytest.fixture(autouse=True)
def _answers_as_described() -> Iterator[None]:
    """Every answer that a test sees is one that `/openapi.json` describes."""
    yield
    different = description.take_different()
    assert not different, "`/openapi.json` does not describe these answers:\n" + "\n".join(different)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL for this session, from Debian's package."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """SQLAlchemy URL of a new, empty database; a test that uses it runs once for each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    cluster: PostgresServer = request.getfixturevalue("postgres_server")
    url = cluster.create_database()
    try:
        yield url
    finally:
        cluster.drop_database(url)


@pytest.fixture
def start_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StartServer]:
    """Start a server: `start_server(database_url=…, max_file_size=1000)`; SQLite when no database is named."""
    for database in ("database_url", "postgres_url", "cluster"):
        if database in request.fixturenames:
            request.getfixturevalue(database)  # so that the database goes after its servers, not before
    servers: list[ServerProcess] = []
    request.node.stash[SERVERS] = servers

    def start(**settings: object) -> ServerProcess:
        server = ServerProcess(tmp_path / f"server-{len(servers)}", **settings)  # type: ignore[arg-type]
        servers.append(server)
        server.start()
        return server

    try:
        yield start
    finally:
        errors = _close_all(servers)
    # A test that has failed says why; what follows from it at the end would only hide that.
    if errors and not request.node.stash.get(FAILED, False):
        raise errors[0]


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    """A server with default settings, on SQLite."""
    return start_server()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """FFmpeg behind a shut gate, for the setting `ffmpeg`."""
    made = Gate(tmp_path)
    yield made
    made.open()


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder that all processes of this run share; examples of hypothesis take as long as they take."""
    hypothesis_settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    hypothesis_settings.load_profile("patient")
    gc.disable()  # until all tests are collected: it would look through thousands of new objects, and find no garbage
    compiled_patterns.keep()
    compiled_sql.share()
    trusted_certificates.share()
    run_folder.begin(config)
    description.watch()
    order.begin(config)
    seed.begin(config)


def pytest_report_header(config: pytest.Config) -> str:
    """What a run needs to be repeated."""
    return seed.header(config)


def pytest_addoption(parser: pytest.Parser) -> None:
    """What these tests can be asked for besides."""
    order.add_option(parser)
    seed.add_option(parser)


@pytest.hookimpl(tryfirst=True)  # before pytest selects by markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave what is not drawn to a soak; the files that take longest go first, so that none comes last alone."""
    sampling.draw(items)
    order.longest_first(items)


@pytest.hookimpl(optionalhook=True)  # where xdist is
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> order.Scheduling | None:
    """How tests are given to processes, where a file's tests stay together."""
    return order.Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_finish() -> None:
    """What was collected stays to the end; garbage is looked for among the rest."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove it."""
    run_folder.end(config)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tell who looks for leftovers which test it is."""
    leftovers.excuse(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the servers of a failed test printed."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
        servers: list[ServerProcess] = item.stash.get(SERVERS, [])
        for number, server in enumerate(servers):
            report.sections.append((f"log of server {number}", server.log()[-LOG_TAIL:]))
    return report


def _close_all(servers: list[ServerProcess]) -> list[Exception]:
    errors: list[Exception] = []
    for server in servers:
        try:
            server.close()
        except Exception as error:  # the others must be closed too
            errors.append(error)
    return errors
