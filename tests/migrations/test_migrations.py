"""The migrations make exactly the models' schema, go down and up on a filled database, and exclude each other."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, NullPool, create_engine, inspect

from server.database import migration
from server.database.models import Base
from server.errors import StartError
from tests.harness.rows import execute, query
from tests.harness.server_process import ROOT
from tests.harness.waiting import PATIENCE, until
from tests.migrations.filler import ROWS, VERSION_TABLE, fill, reflect, rows

# From the newest to the oldest: where each of them is left by going down from it.
REVISIONS = [
    (script.revision, str(script.down_revision or "base"))
    for script in ScriptDirectory(str(ROOT / "migrations")).walk_revisions()
]


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The database at head."""
    migration.upgrade(database_url)
    made = create_engine(database_url, poolclass=NullPool)
    yield made
    made.dispose()


def differences(engine: Engine) -> list[object]:
    """What alembic would have to change for the database to be as the models say."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Base.metadata))


@pytest.mark.every_backend
def test_migrations_make_the_models_schema(engine: Engine) -> None:
    """Alembic finds no difference between the migrated database and the models."""
    assert differences(engine) == []
    assert {table.name for table in reflect(engine)} == set(Base.metadata.tables)


def test_the_schema_comparison_finds_differences(engine: Engine, database_url: str) -> None:
    """The comparison is no formality: a column too many and a missing index are found."""
    execute(database_url, "ALTER TABLE tasks ADD COLUMN surprise INTEGER")
    index = inspect(engine).get_indexes("task_files")[0]["name"]
    execute(database_url, f'DROP INDEX "{index}"')
    assert len(differences(engine)) >= 2


@pytest.mark.sampled(8)
@pytest.mark.parametrize(("revision", "target"), REVISIONS)
@pytest.mark.every_backend
def test_a_revision_goes_down_and_up_with_rows_in_every_table(
    engine: Engine, database_url: str, revision: str, target: str
) -> None:
    """Down to before it and up again: the same schema, and every row whose table outlived the way down."""
    fill(engine)
    before = rows(engine)
    assert {name: len(found) for name, found in before.items()} == dict.fromkeys(before, ROWS)
    views = set(inspect(engine).get_view_names())

    migration.downgrade(database_url, target)
    assert migration.current(database_url) == (None if target == "base" else target)
    survivors = {table.name: set(table.columns.keys()) for table in reflect(engine)}
    if target == "base":
        assert set(inspect(engine).get_table_names()) <= {VERSION_TABLE, "sqlite_sequence"}
        assert inspect(engine).get_view_names() == []

    migration.upgrade(database_url)
    assert migration.current(database_url) == migration.head()
    assert differences(engine) == []
    assert set(inspect(engine).get_view_names()) == views
    after = rows(engine)
    for table, found in before.items():
        columns = survivors.get(table, set())
        expected = [{name: row[name] for name in row if name in columns} for row in found] if columns else []
        kept = [{name: row[name] for name in row if name in columns} for row in after[table]] if columns else []
        assert kept == expected, table


def test_an_upgrade_of_a_database_at_head_changes_nothing(engine: Engine, database_url: str) -> None:
    """A second upgrade leaves every row."""
    fill(engine)
    before = rows(engine)
    migration.upgrade(database_url)
    assert rows(engine) == before


def test_a_newer_database_is_refused(engine: Engine, database_url: str) -> None:
    """A revision that this version does not know raises a sentence, up and down, and changes nothing."""
    fill(engine)
    before = rows(engine)
    execute(database_url, "UPDATE alembic_version SET version_num = 'ffffffff', works_from = NULL")
    with pytest.raises(StartError, match="newer version"):
        migration.upgrade(database_url)
    with pytest.raises(StartError, match="newer version"):
        migration.downgrade(database_url, "base")
    with pytest.raises(StartError, match="newer version"):
        migration.check_fits(engine)
    assert query(database_url, "SELECT version_num FROM alembic_version") == [{"version_num": "ffffffff"}]
    assert rows(engine) == before


def test_a_newer_database_that_works_with_this_version_is_used(engine: Engine, database_url: str) -> None:
    """A newer version only added to the schema: this one starts, is ready, and leaves the revision as it is."""
    execute(database_url, "UPDATE alembic_version SET version_num = '9999'")
    migration.upgrade(database_url)
    migration.check_fits(engine)
    assert migration.fits(engine)
    assert query(database_url, "SELECT version_num FROM alembic_version") == [{"version_num": "9999"}]


def test_a_newer_database_that_took_something_away_is_refused(engine: Engine, database_url: str) -> None:
    """The floor is a revision that this version does not know: neither a start nor `/readyz` says that it fits."""
    execute(database_url, "UPDATE alembic_version SET version_num = '9999', works_from = '9998'")
    assert not migration.fits(engine)
    with pytest.raises(StartError, match="newer version"):
        migration.check_fits(engine)
    with pytest.raises(StartError, match="newer version"):
        migration.upgrade(database_url)


def test_an_older_database_never_fits(engine: Engine, database_url: str) -> None:
    """The floor is about newer schemas only: this version may use what an older schema lacks."""
    execute(database_url, "UPDATE alembic_version SET version_num = '0016'")
    assert not migration.fits(engine)
    with pytest.raises(StartError, match="videodock migrate"):
        migration.check_fits(engine)


def test_the_check_refuses_an_unmigrated_database(database_url: str) -> None:
    """`check_fits` says what to do, and does not do it."""
    engine = create_engine(database_url, poolclass=NullPool)
    with pytest.raises(StartError, match="videodock migrate"):
        migration.check_fits(engine)
    assert inspect(engine).get_table_names() == []
    engine.dispose()


UPGRADE = """
import pathlib, sys, time
from server.database.migration import upgrade
url, ready, go = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
ready.touch()
while not go.exists():
    time.sleep(0.001)
upgrade(url)
"""


def test_servers_that_start_together_migrate_once(database_url: str, tmp_path: Path) -> None:
    """Four processes upgrade one empty database at the same moment; all succeed, the schema is whole."""
    go = tmp_path / "go"
    signs = [tmp_path / f"ready-{number}" for number in range(4)]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", UPGRADE, database_url, str(sign), str(go)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for sign in signs
    ]
    try:
        until(lambda: all(sign.exists() for sign in signs), seconds=30, what="all are ready to upgrade")
        go.touch()
        ends = [(process.communicate(timeout=PATIENCE)[0], process.returncode) for process in started]
    finally:
        for process in started:
            process.kill()
    assert [code for _, code in ends] == [0, 0, 0, 0], "\n".join(output for output, _ in ends)
    assert migration.current(database_url) == migration.head()
    engine = create_engine(database_url, poolclass=NullPool)
    assert differences(engine) == []
    engine.dispose()
