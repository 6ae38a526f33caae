"""The audit log: what an entry has, what it never has, and that it fails nothing."""

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from server.auth import audit as module
from server.auth.audit import SIGN_IN_FAILED, AuditLog, Entry, clean, network
from server.auth.principal import Principal, scopes_of
from server.database.access_models import AuditEntry, SigningKey
from server.database.session import Database
from server.observability import REQUEST_ID
from tests.harness.migrated import migrate

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY = "vdk_0123456789ab_" + "k" * 43
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ0b20ifQ.c2lnbmF0dXJl"  # of nobody
ANN = Principal("ann", scopes_of(["admin"]), "key:0123456789ab")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    migrate(database_url)
    made = Database(database_url, 2)
    try:
        yield made
    finally:
        made.close()


def log(database: Database, seconds: list[float] | None = None) -> AuditLog:
    """An audit log; its clock for floods stands still at the last of `seconds`."""
    ticks = [0.0] if seconds is None else seconds
    return AuditLog(database=database, clock=lambda: NOW, monotonic=lambda: ticks[-1])


def rows(database: Database) -> list[AuditEntry]:
    with database.read() as session:
        return list(session.scalars(select(AuditEntry).order_by(AuditEntry.id)))


def away(*_args: object, **_more: object) -> Any:
    raise OperationalError("INSERT", {}, Exception("no such disk"))


def test_an_entry_has_who_what_where_and_which_request(database: Database) -> None:
    """Every column is written; the owner of the object only where it is another one."""
    audit = log(database)
    found = REQUEST_ID.set("req-1")
    entry = Entry.by(
        ANN,
        "task_cancelled",
        object_kind="task",
        object_id="1",
        object_owner="bob",
        address="192.0.2.1",
        details={"files": 3, "reason": "asked", "playable": True, "names": ["a", "b"], "nothing": None, "rate": 0.5},
    )
    asyncio.run(audit.record(entry))
    REQUEST_ID.reset(found)
    audit.record_now(Entry.by(ANN, "task_cancelled", object_owner="ann", request_id="req-2"))
    audit.record_now(Entry(action="key_created", actor=module.OPERATOR, object_kind="key", object_id="x"))
    one, two, three = rows(database)
    assert (one.at, one.action, one.actor, one.owner) == (NOW, "task_cancelled", "key:0123456789ab", "ann")
    assert (one.object_kind, one.object_id, one.object_owner) == ("task", "1", "bob")
    assert (one.address, one.request_id) == ("192.0.2.1", "req-1")
    assert one.details == entry.details
    assert (two.object_owner, two.request_id, two.details) == (None, "req-2", None)
    with database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM audit_log WHERE details IS NULL")) == 2
    assert (three.actor, three.owner, three.address, three.request_id) == ("operator", None, None, None)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (KEY, "vdk_0123456789ab_…"),
        (f"the key {KEY}!", "the key vdk_0123456789ab_…!"),
        (KEY.replace("vdk", "vdg"), "vdg_0123456789ab_…"),
        (TOKEN, "…"),
        (f"Bearer {TOKEN}", "Bearer …"),
        ("Basic YW5uOnNlY3JldA==", "Basic …"),
        ("/files/0f1e~abcdefghijklmnopqrstuvwx", "/files/0f1e~…"),
        ("/files/g/" + KEY.replace("vdk", "vdg"), "/files/g/vdg_0123456789ab_…"),
        ("a\x00b\nc\x1b[31md\u202ee", "a�b�c�[31md�e"),
        ("\ud800", "�"),
        ("é" * 300, "é" * 254 + "…"),
        ("x" * 250 + KEY, "x" * 250 + "vdk_…"),
        ("x" * 100_000, "x" * 254 + "…"),
        ("holiday~1.mp4", "holiday~1.mp4"),
        ("假期视频.mp4", "假期视频.mp4"),
    ],
    ids=range(15),
)
def test_no_text_has_a_secret_or_a_control_character(given: str, kept: str) -> None:
    """Credentials lose their secret part wherever they stand; a text is bounded."""
    assert clean(given) == kept


def test_whatever_a_caller_passes_is_bounded_and_stored(database: Database) -> None:
    """Texts that fit no column, odd values and secrets in every place: written, short and clean."""
    audit = log(database)
    long = KEY + "\x00" * 5000
    details = {f"{number}{KEY}": long for number in range(100)}
    details |= {"list": [long] * 100, "nan": float("nan"), "bytes": b"\x00", "map": {"key": KEY}}  # type: ignore[dict-item]
    names = ("action", "actor", "owner", "object_kind", "object_id", "object_owner", "address", "request_id")
    audit.record_now(Entry(**dict.fromkeys(names, long), details=details))
    audit.record_now(Entry(action="a", actor="b", details=dict(list(details.items())[-4:])))
    found = [{name: getattr(row, name) for name in (*names, "details")} for row in rows(database)]
    stored = json.dumps(found, ensure_ascii=False)
    assert len(rows(database)) == 2
    assert "kkkk" not in stored
    assert "\\u0000" not in stored
    assert len(stored) < 40_000
    assert {len(rows(database)[0].details or {})} == {32}


def test_an_entry_shares_the_transaction_of_its_action(database: Database) -> None:
    """Both are there, or neither."""
    audit = log(database)

    def act(name: str, then: Callable[[], object]) -> None:
        with database.write() as session:
            session.add(SigningKey(id=name, secret="s", created_at=NOW))
            audit.write(session.connection(), Entry(action=f"key_{name}", actor="operator"))
            then()

    act("1", lambda: None)
    with pytest.raises(OperationalError):
        act("2", away)
    with database.read() as session:
        assert list(session.scalars(select(SigningKey.id))) == ["1"]
    assert [row.action for row in rows(database)] == ["key_1"]


def test_an_entry_that_cannot_be_written_fails_no_action(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The action is committed, nothing is raised, and the log has the entry, without secrets."""
    audit = log(database)
    entry = Entry(action="key_created", actor="operator", details={"key": KEY})
    with capture_logs() as logs:
        with monkeypatch.context() as patched:
            patched.setattr(module, "_insert", away)
            with database.write() as session:
                session.add(SigningKey(id="1", secret="s", created_at=NOW))
                audit.write(session.connection(), entry)
            audit.record_now(entry)
            asyncio.run(audit.record(entry))
        with monkeypatch.context() as patched:
            patched.setattr(database, "change", away)
            audit.record_now(entry)
        # What the database itself refuses ends in its savepoint: PostgreSQL would refuse the whole transaction.
        with database.write() as session:
            session.add(SigningKey(id="2", secret="s", created_at=NOW))
            session.flush()
            with monkeypatch.context() as patched:
                patched.setattr(AuditLog, "_values", lambda *_: {"at": None, "action": None, "actor": None})
                patched.setattr(module, "_tell", lambda values, error: None)
                audit.write(session.connection(), entry)
    with database.read() as session:
        assert set(session.scalars(select(SigningKey.id))) == {"1", "2"}
    assert rows(database) == []
    assert [line["event"] for line in logs] == ["audit_not_written"] * 4
    assert logs[0]["entry"] == {"action": "key_created", "actor": "operator", "details": {"key": "vdk_0123456789ab_…"}}
    assert "kkkk" not in str(logs)


def test_a_flood_of_failures_writes_few_rows(database: Database) -> None:
    """10,000 failures of one address in a minute are ten rows, and the next one tells how many were left out."""
    seconds = [0.0]
    audit = log(database, seconds)

    async def flood(address: str, count: int) -> None:
        for _ in range(count):
            await audit.record(Entry(action=SIGN_IN_FAILED, actor="none", address=address, details={"kind": "key"}))

    asyncio.run(flood("192.0.2.1", 10_000))
    asyncio.run(flood("192.0.2.2", 1))
    assert [row.address for row in rows(database)] == ["192.0.2.1"] * 10 + ["192.0.2.2"]
    audit.record_now(Entry(action="sign_in", actor="key:1", address="192.0.2.1"))
    assert rows(database)[-1].action == "sign_in", "what succeeds is never left out"
    seconds.append(60.0)
    asyncio.run(flood("192.0.2.1", 2))
    assert [row.details for row in rows(database)[-2:]] == [{"kind": "key", "left_out": 9990}, {"kind": "key"}]


def test_a_flood_from_many_networks_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """One network of IPv6 counts as one address, and all addresses together have a limit."""
    monkeypatch.setattr(module, "_MOST_REFUSALS_OF_ALL", 30)
    audit = log(database)

    async def flood() -> None:
        for number in range(100):
            await audit.record(Entry(action=SIGN_IN_FAILED, actor="none", address=f"2001:db8::{number:x}"))
        for number in range(5000):
            await audit.record(Entry(action=SIGN_IN_FAILED, actor="none", address=f"2001:db8:{number:x}::1"))

    asyncio.run(flood())
    assert len(rows(database)) == 30
    assert sum(row.address.startswith("2001:db8::") for row in rows(database) if row.address) <= 11
    assert len(audit._flood._left_out) <= 4096


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("no address", "no address"),
        (None, ""),
    ],
)
def test_an_ipv6_address_counts_by_its_network(address: str | None, counted: str) -> None:
    """A customer has a /64."""
    assert network(address) == counted


def test_old_entries_are_purged_in_batches(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is younger stays; a dry run counts the same."""
    monkeypatch.setattr(module, "_BATCH", 2)
    for days in range(6):
        made = AuditLog(database=database, clock=lambda days=days: NOW - timedelta(days=days))  # type: ignore[misc]
        made.record_now(Entry(action=f"a{days}", actor="operator"))
    until = NOW - timedelta(days=2)
    assert module.purge(database, until, dry_run=True) == 4
    assert len(rows(database)) == 6
    assert module.purge(database, until) == 4
    assert [row.action for row in rows(database)] == ["a0", "a1"]
    assert module.purge(database, until) == 0


def test_ids_are_never_used_again(database: Database) -> None:
    """After a purge the next entry has a higher number, so that a copy of the log can be continued."""
    audit = log(database)
    audit.record_now(Entry(action="a", actor="operator"))
    (first,) = rows(database)
    module.purge(database, NOW)
    audit.record_now(Entry(action="b", actor="operator"))
    assert rows(database)[0].id > first.id


def test_nothing_shows_a_secret_in_its_repr(tmp_path: Path) -> None:
    """Parts have no `repr` of their own."""
    database = Database(f"sqlite:///{tmp_path / 'x.db'}", 1)
    assert "Database" not in repr(log(database))
    database.close()
