"""A migrated, empty database of each kind."""

from collections.abc import Iterator

import pytest

from server.database.session import Database
from tests.harness.migrated import migrate


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The database."""
    migrate(database_url)
    made = Database(database_url, 5)
    yield made
    made.close()
