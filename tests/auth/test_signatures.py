"""Signatures in URLs: for one purpose, one subject and one time; and the keys that make them."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import OperationalError

from server.auth.signatures import Signatures
from server.database.session import Database
from tests.harness.rows import query

ONE, OTHER = str(uuid.uuid4()), str(uuid.uuid4())


class Clocks:
    """Both clocks of a process, moved by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 30, 12, tzinfo=UTC)
        self.seconds = 0.0

    def move(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.now += timedelta(seconds=seconds)
        self.seconds += seconds


def open_signatures(database: Database, clocks: Clocks) -> Signatures:
    return Signatures(database, lambda: clocks.now, lambda: clocks.seconds)


def test_a_signature_is_of_one_upload_and_purpose(database: Database) -> None:
    """It verifies in another process, too; for another id, purpose or form it does not."""

    async def run() -> None:
        clocks = Clocks()
        signatures, elsewhere = open_signatures(database, clocks), open_signatures(database, clocks)
        signed = await signatures.sign_upload(ONE)
        assert await elsewhere.is_of_upload(ONE, signed)
        assert not await elsewhere.is_of_upload(OTHER, signed)
        until = await signatures.sign_until("results", ONE, 3600)
        assert await elsewhere.seconds_left("results", ONE, until)
        for purpose, subject, given in (
            ("original", ONE, until),
            ("results", OTHER, until),
            ("results", ONE, signed),
            ("results", ONE, "0" + until),
            ("results", ONE, until + "A"),
            ("results", ONE, until.replace(until.partition(".")[0], "7fffffff")),
        ):
            assert await elsewhere.seconds_left(purpose, subject, given) is None
        assert not await elsewhere.is_of_upload(ONE, until)

    asyncio.run(run())


@pytest.mark.parametrize("seconds", [60, 6 * 3600])
def test_urls_repeat_and_live_long_enough(database: Database, seconds: int) -> None:
    """Within a sixth of its life the same signature comes again; each is valid for at least the asked time."""

    async def run() -> None:
        clocks = Clocks()
        signatures = open_signatures(database, clocks)
        seen = set()
        for _ in range(60):
            made = await signatures.sign_until("results", ONE, seconds)
            left = await signatures.seconds_left("results", ONE, made)
            assert left is not None
            assert seconds <= left <= seconds + max(10, seconds // 6)
            seen.add(made)
            clocks.move(max(10, seconds // 6) / 30)
        assert len(seen) <= 3
        clocks.move(2 * seconds)
        assert all([(await signatures.seconds_left("results", ONE, made) or 0) <= 0 for made in seen])

    asyncio.run(run())


def test_older_keys_verify_until_they_are_removed(database: Database) -> None:
    """After a rotation new URLs have the new key within seconds; a removed key verifies nothing any more."""

    async def run() -> None:
        clocks = Clocks()
        signatures = open_signatures(database, clocks)
        first = await signatures.sign_upload(ONE)
        made, gone = await database.run(signatures.rotate, 2)
        assert gone == 0
        clocks.move(6.1)  # by then every process has read it
        elsewhere = open_signatures(database, clocks)
        second = await elsewhere.sign_upload(ONE)
        assert second.startswith(made)
        assert await signatures.is_of_upload(ONE, second)
        assert await signatures.is_of_upload(ONE, first)
        assert (await signatures.sign_upload(ONE)).startswith(made)
        _, gone = await database.run(signatures.rotate, 2)
        assert gone == 1
        clocks.move(3.1)
        await signatures.sign_upload(OTHER)
        assert not await signatures.is_of_upload(ONE, first)
        assert await signatures.is_of_upload(ONE, second)

    asyncio.run(run())


def test_a_clock_that_was_set_back_does_not_bring_an_old_key_back(database: Database) -> None:
    """The newest key is the one that was made last."""

    async def run() -> None:
        clocks = Clocks()
        signatures = open_signatures(database, clocks)
        await signatures.sign_upload(ONE)
        clocks.now -= timedelta(days=1)
        made, _ = await database.run(signatures.rotate, 3)
        clocks.now += timedelta(days=1, seconds=7)
        clocks.seconds += 6.1
        assert (await signatures.sign_upload(ONE)).startswith(made)

    asyncio.run(run())


def test_an_upload_goes_on_while_the_database_is_away(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A known key verifies and signs without the database; for an unknown one its error is raised."""

    async def run() -> None:
        clocks = Clocks()
        signatures = open_signatures(database, clocks)
        signed = await signatures.sign_upload(ONE)

        def away(*_: object) -> None:
            raise OperationalError("SELECT", {}, Exception("away"))

        monkeypatch.setattr(signatures, "_load", away)
        clocks.move(60)
        assert await signatures.is_of_upload(ONE, signed)
        assert await signatures.sign_upload(ONE) == signed
        with pytest.raises(OperationalError):
            await signatures.is_of_upload(ONE, "zzzz" + signed[4:])

    asyncio.run(run())


def test_processes_that_start_together_agree(database: Database, database_url: str) -> None:
    """Each verifies what the other signs, however many keys they made."""

    async def run() -> None:
        clocks = Clocks()
        all_of_them = [open_signatures(database, clocks) for _ in range(4)]
        await asyncio.gather(*(each.prepare() for each in all_of_them))
        signed = [await each.sign_upload(ONE) for each in all_of_them]
        clocks.move(0.3)
        for each in all_of_them:
            assert all([await each.is_of_upload(ONE, signature) for signature in signed])
        assert query(database_url, "SELECT count(*) AS keys FROM signing_keys")[0]["keys"] >= 1

    asyncio.run(run())
