"""Signing keys in several processes: what one signs, the others verify at once."""

import asyncio
from datetime import UTC, datetime, timedelta

from server.auth.signatures import Signatures
from server.database.session import Database
from tests.harness.migrated import migrate

UPLOAD = "8b1f6d52-4f0e-4c56-9c3c-0a4f2f6d1e11"


class Time:
    """What both clocks tell."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def clock(self) -> datetime:
        """UTC."""
        return self.now

    def monotonic(self) -> float:
        """Seconds."""
        return self.now.timestamp()


def test_a_key_signs_only_once_every_process_knows_it(database_url: str) -> None:
    """A process that has read the keys just before a new one was made verifies all that is signed from then on."""
    migrate(database_url)
    time = Time()
    database = Database(database_url, 5)
    one, other = (Signatures(database, time.clock, time.monotonic) for _ in range(2))

    async def check() -> set[str]:
        await one.prepare()
        signed = set()
        for _ in range(20):
            time.now += timedelta(seconds=0.5)
            made = await other.sign_upload(UPLOAD)
            assert await one.is_of_upload(UPLOAD, made), "the first process does not know the key yet"
            signed.add(made)
        return signed

    try:
        first = asyncio.run(check())
        assert len(first) == 1
        other.rotate(5)
        assert len(asyncio.run(check()) - first) == 1
    finally:
        database.close()


def test_of_two_first_keys_all_processes_take_the_older(database_url: str) -> None:
    """Two processes may start at once with an empty table."""
    migrate(database_url)
    time = Time()
    database = Database(database_url, 5)
    one, other = (Signatures(database, time.clock, time.monotonic) for _ in range(2))

    async def check() -> None:
        await one.prepare()
        other.rotate(5)
        await other.prepare()
        assert await one.is_of_upload(UPLOAD, await other.sign_upload(UPLOAD))
        assert await other.is_of_upload(UPLOAD, await one.sign_upload(UPLOAD))

    try:
        asyncio.run(check())
    finally:
        database.close()
