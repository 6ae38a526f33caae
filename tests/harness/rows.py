"""Looking into the database and the files beside the server, to check what it says against what is there."""

import hashlib
from pathlib import Path
from typing import Any

from sqlalchemy import NullPool, create_engine, text

from tests.harness.waiting import until


def query(url: str, sql: str, **parameters: object) -> list[dict[str, Any]]:
    """The rows of a statement, as dictionaries."""
    engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            return [dict(row) for row in connection.execute(text(sql), parameters).mappings()]
    finally:
        engine.dispose()


def execute(url: str, sql: str, **parameters: object) -> None:
    """Change something, and commit."""
    engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.begin() as connection:
            connection.execute(text(sql), parameters)
    finally:
        engine.dispose()


def wait_until_received(url: str, upload_id: str, received: int) -> None:
    """Wait until the row of an open upload tells so many bytes: it hears of them once a second."""
    sql = "SELECT received FROM uploads WHERE id = :id"
    until(lambda: query(url, sql, id=upload_id) == [{"received": received}], what=f"the row tells {received} bytes")


def sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
