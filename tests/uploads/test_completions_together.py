"""Uploads that end together: few syncs in turn and few transactions, and each is registered once."""

import asyncio
from typing import Any

import pytest

from server.bootstrap import Services
from server.database.plain_transaction import PlainTransaction
from server.storage.disk import DiskStore
from server.tus.protocol import Create, Facts
from server.uploads.service import ClientGoneError
from tests.transport.scripted import GONE, chunk
from tests.uploads.test_service_crash import (
    DATA,
    LENGTH,
    OWNER,
    UploadCrashScenario,
    fill,
    in_memory,
    make,
    memory,
    scenario,
)

__all__ = ["in_memory", "memory", "scenario"]  # fixtures
MANY = 40


async def whole(services: Services) -> Facts:
    """An upload with all its bytes, of which the server does not know yet that it is complete."""
    upload = await make(services)
    path = services.store.local_path(upload.id)
    assert path is not None
    path.write_bytes(DATA)
    return upload


def test_a_burst_of_completions_shares_transactions(
    in_memory: UploadCrashScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """40 uploads that end in one turn of the event loop are registered by a few transactions, each one once."""
    entered: list[int] = []
    original = PlainTransaction.__enter__

    def counted(self: PlainTransaction) -> Any:
        entered.append(1)
        return original(self)

    async def burst(services: Services) -> None:
        uploads = [await whole(services) for _ in range(MANY)]
        monkeypatch.setattr(PlainTransaction, "__enter__", counted)
        facts = [services.facts.of(upload.id, OWNER)._replace(media_type="mp4") for upload in uploads]
        ended = await asyncio.gather(*(services.uploads.finish(one) for one in facts))
        assert all(one.is_complete for one in ended)

    assert in_memory.run(burst)
    assert len(entered) <= MANY // 4
    assert in_memory.tasks() == (MANY, MANY, MANY)
    in_memory.check()


def test_one_upload_that_cannot_be_synced_disturbs_no_other(
    in_memory: UploadCrashScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk refuses one of a batch: that one stays open, all others are complete."""
    original = DiskStore.finish

    async def burst(services: Services) -> None:
        uploads = [await whole(services) for _ in range(5)]
        facts = [services.facts.of(upload.id, OWNER)._replace(media_type="mp4") for upload in uploads]

        def failing(store: DiskStore, upload_id: str) -> None:
            if upload_id == facts[2].id:
                raise OSError("a broken disk")
            original(store, upload_id)

        monkeypatch.setattr(DiskStore, "finish", failing)
        ended = await asyncio.gather(*(services.uploads.finish(one) for one in facts), return_exceptions=True)
        assert [isinstance(one, OSError) for one in ended] == [False, False, True, False, False]

    assert in_memory.run(burst)
    assert sorted(row["status"] for row in in_memory.rows()) == ["complete"] * 4 + ["open"]
    assert in_memory.tasks() == (4, 4, 4)


def test_an_upload_at_rest_is_seen_at_once(in_memory: UploadCrashScenario) -> None:
    """`at_rest` tells the store's offset, and nothing where a request works on it, all bytes are there, or it is a
    part."""

    async def looks(services: Services) -> None:
        upload = (await make(services)).id
        with pytest.raises(ClientGoneError):
            await fill(services, upload, [chunk(DATA[:50_000]), GONE])
        found = services.uploads.at_rest(upload, OWNER)
        assert found is not None
        assert (found.offset, found.length) == (50_000, LENGTH)
        async with services.locks.hold(upload):
            assert services.uploads.at_rest(upload, OWNER) is None
        assert services.uploads.at_rest((await whole(services)).id, OWNER) is None
        part = await services.uploads.create(OWNER, Create(LENGTH, None, None, has_body=False, concat="partial"))
        assert services.uploads.at_rest(part.id, OWNER) is None
        # It has released the lock each time.
        async with services.locks.hold(upload):
            pass

    assert in_memory.run(looks)
