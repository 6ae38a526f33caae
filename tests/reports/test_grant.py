"""`reports grant` and `reports revoke`: what a role of PostgreSQL may read, and the sentence for SQLite."""

from collections.abc import Iterator
from pathlib import Path

import click
import psycopg
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import make_url

from server.cli.tasks import add_to
from server.database.personal_data import SECRET_COLUMNS, SECRET_TABLES
from server.database.report_views import VIEWS
from server.settings import Settings
from tests.harness.migrated import migrate
from tests.harness.postgres import PostgresServer

ROLE = 'ana "lyst" 100%'


@pytest.fixture
def url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database at head, and a role without rights."""
    made = postgres_server.create_database()
    migrate(made)
    quoted = ROLE.replace('"', '""')
    with psycopg.connect(_place(made), autocommit=True) as connection:
        connection.execute(f'CREATE ROLE "{quoted}" LOGIN'.encode())
    yield made
    with psycopg.connect(_place(made), autocommit=True) as connection:
        connection.execute(f'DROP OWNED BY "{quoted}"'.encode())
        connection.execute(f'DROP ROLE "{quoted}"'.encode())
    postgres_server.drop_database(made)


def _place(url: str, user: str = "postgres") -> str:
    place = make_url(url)
    quoted = user.replace("\\", "\\\\").replace("'", "\\'")
    return f"host={place.host} port={place.port} dbname={place.database} user='{quoted}'"


def run(url: str, folder: Path, *arguments: str) -> Result:
    group = click.Group("videodock")
    add_to(group, lambda command: command, lambda _: Settings(data_dir=folder, database_url=url))
    return CliRunner().invoke(group, ["reports", *arguments])


def test_a_role_reads_reports_and_no_secret(url: str, tmp_path: Path) -> None:
    """Every view, every table without secrets; it cannot read a hash or a key, and change nothing."""
    done = run(url, tmp_path, "grant", ROLE)
    assert done.exit_code == 0, done.output
    with psycopg.connect(_place(url, ROLE), autocommit=True) as connection:
        for view in VIEWS:
            connection.execute(f'SELECT * FROM "{view}"'.encode())
        connection.execute("SELECT id, owner FROM api_keys")
        assert connection.execute("SHOW jit").fetchone() == ("off",)
        connection.execute("SELECT * FROM uploads")
        refused = [f"SELECT * FROM {table}" for table in SECRET_TABLES]
        refused += [f"SELECT {column} FROM {table}" for table, some in SECRET_COLUMNS.items() for column in some]
        refused += ["UPDATE uploads SET owner = 'x'", "DELETE FROM tasks", "INSERT INTO owners VALUES ('x')"]
        for statement in refused:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
    assert run(url, tmp_path, "grant", ROLE).exit_code == 0  # again, after an upgrade
    assert run(url, tmp_path, "revoke", ROLE).output == "Revoked.\n"
    with psycopg.connect(_place(url, ROLE), autocommit=True) as connection:
        assert connection.execute("SHOW jit").fetchone() == ("on",)
        for name in (*VIEWS, "uploads", "api_keys"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f'SELECT count(*) FROM "{name}"'.encode())


def test_an_unknown_role_is_a_sentence(url: str, tmp_path: Path) -> None:
    """With exit code 3, and what to do."""
    done = run(url, tmp_path, "grant", "nobody")
    assert (done.exit_code, "CREATE ROLE nobody" in done.output) == (3, True)


@pytest.mark.parametrize("command", ["grant", "revoke"])
def test_sqlite_has_no_roles(tmp_path: Path, command: str) -> None:
    """With exit code 4, and what to do instead."""
    made = f"sqlite:///{tmp_path / 'test.db'}"
    migrate(made)
    done = run(made, tmp_path, command, "ann")
    assert (done.exit_code, "SQLite has no roles" in done.output) == (4, True)
