"""RabbitMQ and Redis of our own, from Debian's packages: started for a test session, gone with it.

Rule: on the loopback address, on free ports, in a folder of their own, and ended by their own process ids: neither
another broker of this machine nor another Erlang node notices them.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue
from kombu.exceptions import OperationalError

from server.worker.celery_app import QUEUE, TASK
from tests.harness import processes
from tests.harness.ports import free_port, let_go
from tests.harness.postgres import PostgresServer
from tests.harness.waiting import PATIENCE, until

PASSWORD = "pass-word-of-the-broker"
_RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class Broker(ABC):
    """One broker. `halt` and `resume` stop and start it with what it holds."""

    def __init__(self, name: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=f"videodock-{name}-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    @abstractmethod
    def url(self) -> str:
        """For the setting `broker_url`."""

    @abstractmethod
    def _command(self) -> tuple[list[str], dict[str, str]]:
        """The command and what it needs in its environment."""

    @property
    def log(self) -> str:
        """What it printed."""
        path = self._folder / "out"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def resume(self) -> None:
        """Start it, unless it runs, and wait until it answers."""
        if self.running:
            return
        command, environment = self._command()
        with (self._folder / "out").open("ab") as out:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env={"PATH": os.environ["PATH"], "HOME": str(self._folder), "LANG": "C.UTF-8"} | environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        until(self._answers, seconds=300, every=0.1, what=f"{type(self).__name__} answers")

    def halt(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop it, or with SIGKILL crash it; its files stay, for `resume`."""
        if self._process is None:
            return
        family = processes.descendants(self._process.pid)
        if how is signal.SIGKILL:
            for process in family:
                process.kill()
        self._process.send_signal(how)
        try:
            self._process.wait(PATIENCE)
        finally:
            for process in family:
                process.kill()
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Stop it and remove its files."""
        self.halt()
        shutil.rmtree(self._folder, ignore_errors=True)
        let_go(self.port)

    def connect(self) -> Connection:
        """A connection; not one yet, but to be used as a context manager."""
        return Connection(self.url, connect_timeout=2)

    def held(self) -> int:
        """Number of messages that wait for a worker."""
        with self.connect() as connection:
            queue = self._queue(connection)
            queue.declare()
            number: int = queue.queue_declare().message_count
            return number

    def purge(self) -> None:
        """Lose every message."""
        self.held()
        with self.connect() as connection:
            self._queue(connection).purge()

    def _queue(self, connection: Connection) -> Any:
        return Queue(QUEUE, Exchange(QUEUE, type="direct"), routing_key=QUEUE)(connection.default_channel)

    def send(self, task_ids: Sequence[object]) -> None:
        """Messages as the dispatcher's, whatever the table says."""
        from celery import Celery

        app = Celery(broker=self.url, set_as_current=False)
        for task_id in task_ids:
            app.send_task(TASK, args=[task_id], queue=QUEUE)
        app.close()

    def _answers(self) -> bool:
        assert self.running, f"{type(self).__name__} ended at its start:\n{self.log[-4000:]}"
        try:
            with self.connect() as connection:
                self._queue(connection).declare()
        except (OSError, OperationalError, *connection.connection_errors, *connection.channel_errors):
            return False
        return True


class RedisBroker(Broker):
    """Redis, with a password."""

    def __init__(self) -> None:
        super().__init__("redis")

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    def _command(self) -> tuple[list[str], dict[str, str]]:
        program = shutil.which("redis-server")
        assert program, "Redis is not installed; `make test` installs it, or apt-get install redis-server"
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self._folder,
            "requirepass": PASSWORD,
            "appendonly": "yes",
        }
        return [program, *(word for name, value in options.items() for word in (f"--{name}", str(value)))], {}


class RabbitBroker(Broker):
    """RabbitMQ with an epmd of its own."""

    def __init__(self) -> None:
        super().__init__("rabbitmq")
        self._epmd: subprocess.Popen[bytes] | None = None
        self._epmd_port, self._node_port = free_port(), free_port()

    @property
    def url(self) -> str:
        return f"amqp://tester:{PASSWORD}@127.0.0.1:{self.port}//"

    def resume(self) -> None:
        if self._epmd is None:
            program = shutil.which("epmd")
            assert program, "RabbitMQ is not installed; `make test` installs it, or apt-get install rabbitmq-server"
            command = [program, "-port", str(self._epmd_port), "-address", "127.0.0.1"]
            self._epmd = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
            until(self._epmd_listens, seconds=10, what="epmd listens")
        super().resume()

    def stop(self) -> None:
        super().stop()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
        let_go(self._epmd_port)
        let_go(self._node_port)

    def _epmd_listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._epmd_port)) == 0

    def _command(self) -> tuple[list[str], dict[str, str]]:
        configuration = self._folder / "rabbitmq.conf"
        configuration.write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            f"default_user = tester\ndefault_pass = {PASSWORD}\n"
            "default_permissions.configure = .*\ndefault_permissions.read = .*\ndefault_permissions.write = .*\n"
            "disk_free_limit.absolute = 1MB\nvm_memory_high_watermark.absolute = 400MB\nlog.console = true\n"
        )
        plugins = self._folder / "enabled_plugins"
        plugins.write_text("[].\n")
        return [str(_RABBITMQ)], {
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"videodock{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_CONFIG_FILE": str(configuration),
            "RABBITMQ_CONF_ENV_FILE": str(self._folder / "none"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self._folder / "none.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self._folder / "generated"),
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
            # One scheduler that sleeps when there is nothing to do: it shares two cores with the tests.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none "
            "-kernel inet_dist_use_interface {127,0,0,1}",
        }


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[Broker]:
    """A RabbitMQ for this session."""
    yield from _session(RabbitBroker())


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Broker]:
    """A Redis for this session."""
    yield from _session(RedisBroker())


def _session(broker: Broker) -> Iterator[Broker]:
    try:
        broker.resume()
        yield broker
    finally:
        broker.stop()


@pytest.fixture(params=["rabbitmq", "redis"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """A broker that runs and holds no message; a test that uses it runs once for each kind."""
    found: Broker = request.getfixturevalue(f"{request.param}_server")
    found.resume()
    found.purge()
    return found


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """SQLAlchemy URL of a new, empty PostgreSQL database."""
    url = postgres_server.create_database()
    try:
        yield url
    finally:
        postgres_server.drop_database(url)
