"""What the rows of open uploads are told of their bytes, a moment later."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from server.bootstrap import Services
from server.database.models import DEFAULT_OWNER
from server.settings import Settings
from server.uploads import progress as progress_module
from server.uploads.new_upload import NewUpload
from server.uploads.progress import ProgressUpdate, ProgressWriter
from tests.harness.migrated import migrate
from tests.harness.rows import query
from tests.harness.waiting import PATIENCE

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def services(tmp_path: Path, database_url: str) -> Iterator[Services]:
    migrate(database_url)
    with Services.open(Settings(data_dir=tmp_path / "data", database_url=database_url)) as opened:
        opened.claim_store()
        yield opened


@pytest.fixture
def upload(services: Services) -> str:
    """The id of an upload without a byte."""
    upload_id = services.new_id()
    values: dict[str, Any] = {"protocol": "tus", "task_id": upload_id, "length": 1000}
    services.repository.insert(NewUpload(id=upload_id, owner=DEFAULT_OWNER, filename="a.mp4", **values))
    return upload_id


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "_SECONDS", 0.01)


def received(services: Services, upload_id: str) -> int:
    (row,) = query(services.settings.sqlalchemy_url, "SELECT received FROM uploads WHERE id = :id", id=upload_id)
    return int(row["received"])


async def quiet(progress: ProgressWriter) -> None:
    """Wait until it has told everything."""
    async with asyncio.timeout(PATIENCE):
        while progress._telling is not None:
            await asyncio.sleep(0.01)


def test_an_older_offset_never_replaces_a_newer_one(
    services: Services, upload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first transaction is slow, there is news meanwhile: the row has the newest in the end, and so it stays."""
    begun, go_on, real = threading.Event(), threading.Event(), ProgressWriter._write_rows

    def slow(self: ProgressWriter, *update: Any) -> None:
        if not begun.is_set():
            begun.set()
            go_on.wait(PATIENCE)
        real(self, *update)

    monkeypatch.setattr(ProgressWriter, "_write_rows", slow)

    async def work() -> None:
        progress = ProgressWriter(services.database)
        progress.record(upload, ProgressUpdate(100, None, NOW))
        await asyncio.to_thread(begun.wait, PATIENCE)
        progress.record(upload, ProgressUpdate(700, None, NOW))
        await asyncio.sleep(0.3)
        go_on.set()
        await quiet(progress)
        await progress.flush()

    asyncio.run(work())
    assert received(services, upload) == 700


def test_an_offset_is_written_after_the_database_was_away(
    services: Services, upload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when there is no news any more."""
    calls: list[object] = []
    real = ProgressWriter._write_rows

    def away(self: ProgressWriter, *update: Any) -> None:
        calls.append(update)
        if len(calls) < 3:
            raise OperationalError("UPDATE", {}, Exception("the database is away"))
        real(self, *update)

    monkeypatch.setattr(ProgressWriter, "_write_rows", away)

    async def work() -> None:
        progress = ProgressWriter(services.database)
        progress.record(upload, ProgressUpdate(100, None, NOW))
        await quiet(progress)

    asyncio.run(work())
    assert (received(services, upload), len(calls)) == (100, 3)
