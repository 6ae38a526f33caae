"""Services over an empty database of each kind, a receiver of webhooks, and a deliverer without its thread."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server.events.bodies import Bodies
from server.events.counts import Count, uncounted
from server.events.deliverer import Deliverer
from server.events.sender import Sender
from server.events.webhooks import Webhooks
from tests.harness.installation import Installation
from tests.harness.receiver import Receiver
from tests.harness.waiting import until


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **time: float) -> None:
        self.now += timedelta(**time)


class Post:
    """The webhooks of an installation, with a clock of their own and deliverers as a test needs them."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.clock = Clock()
        self.sender = Sender(allow_private=True, seconds=2)
        self.made: list[Deliverer] = []

    @property
    def webhooks(self) -> Webhooks:
        services = self.installation.services
        return Webhooks(
            settings=self.installation.settings, database=services.database, sender=self.sender, clock=self.clock
        )

    def deliverer(self, worker: str = "node/1", sender: Sender | None = None, count: Count = uncounted) -> Deliverer:
        """One that does nothing by itself."""
        services = self.installation.services
        bodies = Bodies(
            settings=self.installation.settings, database=services.database, signatures=services.auth.signatures
        )
        made = Deliverer(
            database=services.database,
            bodies=bodies,
            sender=sender or self.sender,
            worker=worker,
            clock=self.clock,
            count=count,
        )
        self.made.append(made)
        return made

    def run(self, deliverer: Deliverer) -> None:
        """Send all that is due, and record it."""
        while True:
            deliverer.refresh_soon()
            deliverer.look()
            if not deliverer.is_sending:
                return
            assert deliverer.settle(30)

    def run_until(self, deliverer: Deliverer, check: Callable[[], object], what: str) -> None:
        """The same until something is so."""

        def look() -> object:
            self.run(deliverer)
            return check()

        until(look, what=what)

    def rows(self, table: str = "webhook_deliveries", order: str = "id") -> list[dict[str, object]]:
        """All rows."""
        return self.installation.query(f"SELECT * FROM {table} ORDER BY {order}")

    def statuses(self) -> list[object]:
        """Of all deliveries, in their order."""
        return [row["status"] for row in self.rows()]


@pytest.fixture
def post(database_url: str, tmp_path: Path) -> Iterator[Post]:
    """Webhooks on each kind of database."""
    installation = Installation(tmp_path / "data", database_url, public_url="https://videos.example")
    made = Post(installation)
    yield made
    for deliverer in made.made:
        deliverer.close()
    installation.services.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that takes every message."""
    with Receiver() as made:
        yield made
