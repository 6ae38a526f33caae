"""What lies in a data folder is for the server's user only, whatever the umask and the mode of the folder."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from server.database import migration
from server.database.session import Database
from tests.acceptance.test_playable import by_form, by_tus
from tests.conftest import StartServer
from tests.harness.tasks import finish
from tests.samples import make

pytestmark = pytest.mark.acceptance


@pytest.fixture
def no_umask() -> Iterator[None]:
    """Whatever is made with the usual mode is for everybody."""
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> list[str]:
    """What others may read, write or enter, of what the server made."""
    found: list[str] = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # the server removes what it needs no more
            mode = path.lstat().st_mode
            if mode & 0o077 and not path.is_symlink():
                found.append(f"{path.relative_to(folder)} {mode:o}")
    return sorted(found)


def test_every_file_of_a_server_is_private(no_umask: None, start_server: StartServer, tmp_path: Path) -> None:
    """In a folder that others may enter, with all that a server makes of two videos: the database, its journals,
    originals, pictures, playlists, locks and FIFOs, while it runs and afterwards."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    server = start_server(data_dir=folder, transcode="both", storyboard="on", transcode_preset="ultrafast")
    source = make(tmp_path, "a.mp4", seconds=2)
    for send in (by_tus, by_form):
        finish(server, send(server, source))
    assert (folder / "videodock.db-wal").exists()
    assert list((folder / "results").rglob("*.m3u8"))
    assert open_to_others(folder) == []
    server.stop()
    assert open_to_others(folder) == []


def test_a_readable_database_of_an_earlier_version_is_made_private(no_umask: None, tmp_path: Path) -> None:
    """One that others could read is closed to them, with its journals, and nothing in it changes."""
    path = tmp_path / "test.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE kept (value)")
        connection.execute("INSERT INTO kept VALUES (1)")
        connection.commit()
        assert len(open_to_others(tmp_path)) == 3
        database = Database(f"sqlite:///{path}", 2)
        with database.look() as look:
            assert look.exec_driver_sql("SELECT value FROM kept").scalar_one() == 1
        assert open_to_others(tmp_path) == []
        database.close()


def test_a_new_database_is_private_from_its_first_byte(no_umask: None, tmp_path: Path) -> None:
    """Its file is private from its first byte."""
    migration.upgrade(f"sqlite:///{tmp_path / 'new.db'}")
    assert open_to_others(tmp_path) == []
