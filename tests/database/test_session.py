"""Opening a database that others open or write at the same moment."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from sqlalchemy import text

from server.database.session import make_engine


def test_a_new_sqlite_file_that_is_written_is_opened_when_it_is_free(tmp_path: Path) -> None:
    """SQLite changes to the write-ahead log at once or not at all; the second of two processes waits for the first."""
    path = tmp_path / "new.db"
    engine = make_engine(f"sqlite:///{path}", 1)
    modes: list[object] = []

    def open_it() -> None:
        with engine.connect() as connection:
            modes.append(connection.execute(text("PRAGMA journal_mode")).scalar())

    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        opening = threading.Thread(target=open_it)
        opening.start()
        opening.join(0.3)
        assert opening.is_alive(), "it does not wait"
        other.execute("COMMIT")
        opening.join()
    assert modes == ["wal"]
    engine.dispose()
