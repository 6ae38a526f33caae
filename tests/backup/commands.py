"""Runs backups and restores, and reads every row of a database and every byte of a data folder, to compare them."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import NullPool, create_engine, select

from server.bootstrap import Services
from server.database.models import Base
from server.settings import Settings
from tests.harness import forkserver
from tests.harness.rows import sha256
from tests.harness.server_process import ROOT

Rows = dict[str, list[dict[str, Any]]]
TREES = ("uploads", "results", "quarantine")


class File(NamedTuple):
    """The facts of a file that are compared."""

    size: int
    sha256: str
    mtime_ns: int


def rows(url: str) -> Rows:
    """Every row of every table, in the order of its key."""
    engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            return {
                name: sorted((dict(row) for row in connection.execute(select(table)).mappings()), key=repr)
                for name, table in Base.metadata.tables.items()
            }
    finally:
        engine.dispose()


def files(data_dir: Path) -> dict[str, File]:
    """Every file of uploads, results and the quarantine, by its path below the data folder; not the store's mark."""
    return {
        str(path.relative_to(data_dir)): File(path.stat().st_size, sha256(path), path.stat().st_mtime_ns)
        for tree in TREES
        for path in (data_dir / tree).rglob("*")
        if path.is_file() and path.name != ".videodock"
    }


def check_modes(folder: Path) -> None:
    """Only the owner may look at anything of it."""
    for path in (folder, *folder.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def sqlite_url(data_dir: Path) -> str:
    """The default database of a data folder."""
    return f"sqlite:///{data_dir / 'videodock.db'}"


def command(
    *arguments: str,
    data_dir: Path,
    database_url: str = "",
    main: str = "server.cli.main:main",
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `videodock` to its end."""
    place = ["--data-dir", str(data_dir), *(["--database-url", database_url] if database_url else [])]
    given = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "VIDEODOCK_FSYNC": "never", **(environment or {})}
    return forkserver.run(main, [*arguments, *place], given, seconds=120)


def back_up(folder: Path, *, data_dir: Path, database_url: str = "") -> dict[str, Any]:
    """A backup that must succeed; its summary."""
    done = command("backup", str(folder), "--json", data_dir=data_dir, database_url=database_url)
    assert (done.returncode, done.stderr) == (0, ""), (done.returncode, done.stderr)
    summary: dict[str, Any] = json.loads(done.stdout)
    check_modes(folder)
    assert not any((data_dir / tree / ".backup").exists() for tree in TREES), "a hold is left"
    return summary


def restore(folder: Path, *, data_dir: Path, database_url: str = "") -> dict[str, Any]:
    """A restore that must succeed; its summary."""
    done = command("restore", str(folder), "--json", data_dir=data_dir, database_url=database_url)
    assert (done.returncode, done.stderr) == (0, ""), (done.returncode, done.stderr)
    summary: dict[str, Any] = json.loads(done.stdout)
    check_modes(data_dir)
    return summary


def findings(data_dir: Path, database_url: str) -> list[str]:
    """What an inventory finds after one sweep."""

    with Services.open(Settings(data_dir=data_dir, database_url=database_url)) as services:
        services.claim_store()
        services.sweep()
        return [f"{finding.kind} {finding.subject}" for finding in services.checker.find_mismatches()]
