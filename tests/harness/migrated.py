"""Databases at head without running each migration: a copy of one that was migrated before.

Rule: what a test gets is what `migration.upgrade` makes, byte for byte on SQLite and by `TEMPLATE` on PostgreSQL. The
tests of the migrations and of the commands that run them do not use this. It takes a hundredth of the processor time
on SQLite and a fifth on PostgreSQL.
"""

import os
import shutil
from contextlib import suppress
from functools import cache
from pathlib import Path

import psycopg
from sqlalchemy import URL, make_url

from server.database import migration
from server.errors import StartError
from tests.harness import run_folder

_TEMPLATE = "migrated"


def migrate(url: str) -> None:
    """Bring a database to head, as `migration.upgrade` does; call it before anything is connected to it."""
    place = make_url(url)
    if place.get_backend_name() == "sqlite":
        if _copy_sqlite(place):
            return
    elif migration.current(url) is None:
        _copy_postgres(place)
        return
    migration.upgrade(url)


def prepare(url: str) -> None:
    """The same for a database that is empty; another one is left as it is, and so is one that is away."""
    place = make_url(url)
    if place.get_backend_name() == "sqlite":
        _copy_sqlite(place)
        return
    with suppress(StartError):
        if migration.current(url) is None:
            _copy_postgres(place)


def _copy_sqlite(url: URL) -> bool:
    """Make the file of an SQLite database at head, if there is none and this is a run of pytest; whether it did."""
    path, folder = Path(url.database or ""), run_folder.find()
    if path.exists() or folder is None:
        return False
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(0o600)
    shutil.copyfile(_sqlite(folder), path)
    return True


@cache
def _sqlite(folder: Path) -> Path:
    """The file to copy, made once in each process of the tests."""
    made = folder / f"migrated-{os.getpid()}.db"
    migration.upgrade(f"sqlite:///{made}")
    assert not made.with_name(f"{made.name}-wal").exists(), "the last connection leaves its log in another file"
    return made


def _copy_postgres(url: URL) -> None:
    """Make an empty database anew, as a copy."""
    with psycopg.connect(
        host=url.host, port=url.port, user=url.username, dbname="postgres", autocommit=True
    ) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [_TEMPLATE]).fetchone()
        if not found:
            connection.execute(f'CREATE DATABASE "{_TEMPLATE}"')
            migration.upgrade(url.set(database=_TEMPLATE).render_as_string(hide_password=False))
        connection.execute(f'DROP DATABASE "{url.database}"'.encode())
        connection.execute(f'CREATE DATABASE "{url.database}" TEMPLATE "{_TEMPLATE}"'.encode())
