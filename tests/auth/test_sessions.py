"""Sign-ins of browsers: made, found, used, ended and purged, on both databases."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from server.auth import sessions as module
from server.auth.principal import Principal, Scope, scopes_of
from server.auth.sessions import Sessions
from server.database.access_models import ApiKey, BrowserSession
from server.database.session import Database
from server.settings import Settings
from tests.harness.migrated import migrate

T = TypeVar("T")
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
IDLE, LIFETIME = 3600, 86400
ANN = Principal("ann", scopes_of(["upload", "read"]), "jwt:ann")
KEY_ID = "0123456789ab"


@dataclass
class Clock:
    """Both clocks, moved by hand."""

    now: datetime = START
    seconds: float = 100.0

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.seconds += seconds


@dataclass
class Signed:
    """Sessions on a database of their own."""

    database: Database
    settings: Settings
    clock: Clock = field(default_factory=Clock)

    def open(self, most: int = 100) -> Sessions:
        """Those of one process."""
        return Sessions(
            settings=self.settings,
            database=self.database,
            clock=lambda: self.clock.now,
            monotonic=lambda: self.clock.seconds,
            most_remembered=most,
        )

    def rows(self) -> list[BrowserSession]:
        with self.database.read() as session:
            return list(session.scalars(select(BrowserSession)))

    def change(self, statement: Any) -> None:
        with self.database.write() as session:
            session.execute(statement)

    def add_key(self, **values: Any) -> None:
        row = {"id": KEY_ID, "secret_hash": "0" * 64, "owner": "ann", "scopes": ["read"], "created_at": START}
        self.change(insert(ApiKey).values(**row, **values))


@pytest.fixture
def signed(database_url: str, tmp_path: Path) -> Iterator[Signed]:
    migrate(database_url)
    settings = Settings(data_dir=tmp_path, auth="on", session_idle=IDLE, session_lifetime=LIFETIME)
    database = Database(database_url, 2)
    try:
        yield Signed(database, settings)
    finally:
        database.close()


def wait(work: Awaitable[T]) -> T:
    async def awaited() -> T:
        return await work

    return asyncio.run(awaited())


def test_a_session_is_found_by_its_cookie_alone(signed: Signed) -> None:
    """The cookie has 256 bits, the row only its hash; the principal comes back without the limits of one creation."""
    sessions = signed.open()
    one, other = wait(sessions.create(ANN)), wait(sessions.create(ANN))
    assert one != other
    assert len(one) == 43
    (row,) = [row for row in signed.rows() if row.id_hash == hashlib.sha256(one.encode()).hexdigest()]
    assert one not in str(vars(row))
    for process in (sessions, signed.open()):
        assert wait(process.find(one)) == ANN
        assert wait(process.find(one)) == ANN, "from memory"
    for wrong in ("", "x", one[:-1], one + "A", one[:-1] + "!", "A" * 43, row.id_hash, f" {one}", f"{one}\n"):
        assert wait(sessions.find(wrong)) is None, wrong
    assert str(sessions).find(one) < 0


@pytest.mark.parametrize("scopes", [[], ["admin"], ["upload", "read", "manage", "admin"]])
def test_the_scopes_are_those_of_the_sign_in(signed: Signed, scopes: list[str]) -> None:
    """No scope is added, and none is lost."""
    principal = Principal("ann", frozenset(map(Scope, scopes)), "key:x")
    signed.add_key()
    signed.change(update(ApiKey).values(id="x"))
    sessions = signed.open()
    assert wait(sessions.find(wait(sessions.create(principal)))) == principal


@pytest.mark.parametrize(
    ("steps", "is_alive"),
    [
        ([IDLE - 1], True),
        ([IDLE], False),
        ([IDLE - 301] * 3, True),
        ([IDLE / 2] * 47, True),
        ([IDLE / 2] * 48, False),
    ],
    ids=["idle-1", "idle", "used", "lifetime-1", "lifetime"],
)
def test_a_session_ends_when_idle_and_in_any_case(signed: Signed, steps: list[float], is_alive: bool) -> None:
    """Requests extend it up to `session_lifetime`; without any it ends after `session_idle`."""
    sessions = signed.open()
    cookie = wait(sessions.create(ANN))
    found = None
    for seconds in steps:
        signed.clock.pass_by(seconds)
        found = wait(sessions.find(cookie))
    assert (found is not None) is is_alive


def test_a_session_ends_with_the_token_if_that_is_asked_for(signed: Signed) -> None:
    """`until` shortens the lifetime, and never makes it longer."""
    sessions = signed.open()
    short, long = (wait(sessions.create(ANN, until=START + timedelta(seconds=at))) for at in (60, 10 * LIFETIME))
    signed.clock.pass_by(59)
    assert wait(sessions.find(short)) == ANN
    signed.clock.pass_by(1)
    assert wait(sessions.find(short)) is None, "memory knows the end, too"
    assert max(row.expires_at for row in signed.rows()) == START + timedelta(seconds=LIFETIME)
    assert wait(sessions.find(long)) == ANN


@pytest.mark.parametrize(
    "end",
    [
        update(ApiKey).values(revoked_at=START),
        update(ApiKey).values(expires_at=START),
        delete(ApiKey),
        delete(BrowserSession),
    ],
    ids=["revoked", "expired", "deleted", "session deleted"],
)
def test_a_revoked_key_ends_its_sessions_in_every_process(signed: Signed, end: Any) -> None:
    """After the three seconds of memory at the latest."""
    signed.add_key()
    processes = [signed.open(), signed.open()]
    cookie = wait(processes[0].create(Principal("ann", ANN.scopes, f"key:{KEY_ID}")))
    assert all(wait(process.find(cookie)) for process in processes)
    signed.change(end)
    signed.clock.pass_by(3)
    assert [wait(process.find(cookie)) for process in processes] == [None, None]


def test_a_token_of_a_subject_like_a_key_is_no_key(signed: Signed) -> None:
    """The revoked key of that id has nothing to do with it."""
    signed.add_key(revoked_at=START)
    sessions = signed.open()
    assert wait(sessions.find(wait(sessions.create(Principal("ann", ANN.scopes, f"jwt:{KEY_ID}"))))) is not None


def test_signing_out_ends_this_session_alone(signed: Signed) -> None:
    """At once here, after three seconds elsewhere; a second time changes nothing."""
    here, there = signed.open(), signed.open()
    one, other = wait(here.create(ANN)), wait(here.create(ANN))
    assert wait(there.find(one)) == ANN
    assert wait(here.end(one)) is True
    assert wait(here.end(one)) is False
    assert wait(here.end("no cookie")) is False
    assert wait(here.find(one)) is None
    signed.clock.pass_by(3)
    assert wait(there.find(one)) is None
    assert wait(here.find(other)) == ANN


def test_the_database_is_asked_once_in_three_seconds_and_memory_is_bounded(signed: Signed) -> None:
    """A busy page costs a look-up every three seconds; unknown cookies fill no memory."""
    sessions = signed.open(most=3)
    cookies = [wait(sessions.create(ANN)) for _ in range(5)]
    for cookie in [*cookies, *("A" * 42 + letter for letter in "BCDE")]:
        wait(sessions.find(cookie))
    assert len(sessions._memory) == 3
    signed.change(delete(BrowserSession))
    assert [wait(sessions.find(cookie)) for cookie in cookies] == [None, None, ANN, ANN, ANN]
    signed.clock.pass_by(3)
    assert [wait(sessions.find(cookie)) for cookie in cookies] == [None] * 5


def test_use_is_written_every_few_minutes_only(signed: Signed) -> None:
    """Requests of five minutes cost one write."""
    sessions = signed.open()
    cookie = wait(sessions.create(ANN))
    seen = set()
    for _ in range(60):
        signed.clock.pass_by(10)
        assert wait(sessions.find(cookie)) == ANN
        seen.add(signed.rows()[0].used_at)
    assert sorted((at - START).total_seconds() for at in seen) == [0, 300, 600]


@pytest.mark.parametrize("broken", ["run", "write_together"])
def test_a_database_that_is_away_never_opens(signed: Signed, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """A session that cannot be checked is not accepted; a use that cannot be written is, and the log has no cookie."""
    sessions = signed.open()
    cookie = wait(sessions.create(ANN))
    signed.clock.pass_by(600)

    async def away(*_args: object, **_more: object) -> object:
        raise OperationalError("SELECT", {}, Exception("away"))

    monkeypatch.setattr(signed.database, broken, away)
    with capture_logs() as logs:
        if broken == "run":
            with pytest.raises(OperationalError):
                wait(sessions.find(cookie))
        else:
            assert wait(sessions.find(cookie)) == ANN
            assert [line["event"] for line in logs] == ["session_use_not_recorded"]
    assert cookie not in str(logs)


def test_the_sweep_purges_sessions_that_have_ended(signed: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    """By idle time and by lifetime, in batches; a dry run counts the same and changes nothing."""
    monkeypatch.setattr(module, "_BATCH", 2)
    sessions = signed.open()
    for _ in range(5):
        wait(sessions.create(ANN))
    signed.clock.pass_by(IDLE - 10)
    old = wait(sessions.create(ANN, until=signed.clock.now + timedelta(seconds=5)))
    alive = wait(sessions.create(ANN))
    signed.clock.pass_by(10)
    purge: Callable[..., int] = module.purge
    assert purge(signed.database, signed.settings, signed.clock.now, dry_run=True) == 6
    assert purge(signed.database, signed.settings, signed.clock.now) == 6
    assert len(signed.rows()) == 1
    assert purge(signed.database, signed.settings, signed.clock.now) == 0
    assert wait(sessions.find(old)) is None
    assert wait(sessions.find(alive)) == ANN
