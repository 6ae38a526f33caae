"""The ledger in SQL says what the protocol demands, on both databases."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import false

from server.database.part_ledger import SqlPartLedger
from server.database.session import Database
from server.storage.s3.ledger import Change, LedgerLostError, Part, Piece
from tests.harness.migrated import migrate

ID = "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"
NOW = datetime(2026, 12, 1, 1, 2, 3, tzinfo=UTC)


@pytest.fixture
def ledger(database_url: str) -> Iterator[SqlPartLedger]:
    migrate(database_url)
    database = Database(database_url, 2)
    made = SqlPartLedger(lambda: NOW)
    made.connect(database)
    yield made
    database.close()


def part(start: int, size: int) -> Part:
    return Part(start=start, size=size, number=start // 10 + 1, etag=f'"{start}"', crc32c="AAAA")


def piece(start: int, size: int) -> Piece:
    return Piece(start=start, size=size, key=f"uploads/{start}-{size}", crc32c="BBBB")


def test_parts_and_pieces_count_in_the_order_of_their_bytes(ledger: SqlPartLedger) -> None:
    """Pieces follow the parts; a longer piece replaces shorter ones; taken back, these count again."""
    ledger.create(ID, part_size=10, length=None)
    with pytest.raises(FileExistsError):
        ledger.create(ID, part_size=10, length=None)
    version = ledger.begin(ID).version
    ledger.set_multipart(ID, version, "m1")
    ledger.change(ID, version, Change(parts=[part(0, 10), part(10, 10)], head=b"0123456789"))
    ledger.change(ID, version, Change(pieces=[piece(20, 3), piece(23, 2)]))
    ledger.change(ID, version, Change(pieces=[piece(20, 7)]))
    found = ledger.find(ID)
    assert found is not None
    assert (found.size, found.parts_end, found.head, found.multipart_id) == (27, 20, b"0123456789", "m1")
    assert found.current_pieces == [piece(20, 7)]
    ledger.change(ID, version, Change(without_pieces=[piece(20, 7)]))
    found = ledger.find(ID)
    assert found is not None
    assert (found.size, list(found.parts)) == (25, [part(0, 10), part(10, 10)])
    assert list(ledger.multiparts()) == ["m1"]
    ledger.finish(ID, version, "uploads/whole", 25)
    ledger.change(ID, version, Change(without_pieces=[piece(20, 3), piece(23, 2)]))
    found = ledger.find(ID)
    assert found is not None
    assert (found.size, found.object_key, found.modified_at) == (25, "uploads/whole", NOW)
    assert list(ledger.multiparts()) == []


def test_an_old_version_changes_nothing(ledger: SqlPartLedger) -> None:
    """Each change of a writer whose upload another one has taken over is refused whole."""
    with pytest.raises(FileNotFoundError):
        ledger.begin(ID)
    ledger.create(ID, part_size=10, length=25)
    old, new = ledger.begin(ID).version, ledger.begin(ID).version
    with pytest.raises(LedgerLostError):
        ledger.set_multipart(ID, old, "m1")
    with pytest.raises(LedgerLostError):
        ledger.change(ID, old, Change(parts=[part(0, 10)]))
    with pytest.raises(LedgerLostError):
        ledger.finish(ID, old, "key", 10)
    found = ledger.find(ID)
    assert found is not None
    assert (found.size, found.version, found.multipart_id, found.is_whole) == (0, new, None, False)


def test_a_guard_is_part_of_each_change(ledger: SqlPartLedger) -> None:
    """A host whose lease is over changes nothing, and takes nothing over."""
    ledger.create(ID, part_size=10, length=25)
    version = ledger.begin(ID).version
    ledger.guard = lambda _: false()
    with pytest.raises(LedgerLostError):
        ledger.begin(ID)
    with pytest.raises(LedgerLostError):
        ledger.change(ID, version, Change(pieces=[piece(0, 5)]))
    ledger.guard = lambda _: None
    ledger.change(ID, version, Change(pieces=[piece(0, 5)]))


def test_quarantine_and_removal(ledger: SqlPartLedger) -> None:
    """An upload in quarantine is listed; a removed one leaves no row of a part."""
    ledger.create(ID, part_size=10, length=25)
    version = ledger.begin(ID).version
    ledger.change(ID, version, Change(pieces=[piece(0, 5)]))
    ledger.set_quarantined(ID)
    assert list(ledger.quarantined()) == [ID]
    for _ in range(2):
        ledger.remove(ID)
    ledger.create(ID, part_size=10, length=25)
    found = ledger.find(ID)
    assert found is not None
    assert (found.size, found.is_quarantined) == (0, False)
