"""API keys: what is stored of them, and when they are refused."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from server.auth import credentials
from server.auth.credentials import Credential
from server.auth.keys import ApiKeys
from server.auth.lookup import ShortMemory
from server.auth.principal import Scope
from server.database.session import Database
from server.errors import CredentialInvalidError
from tests.harness.rows import query

NOW = datetime(2026, 11, 30, 12, 34, 56, tzinfo=UTC)


class Keys:
    """Keys with clocks that are moved by hand."""

    def __init__(self, database: Database) -> None:
        self.now = NOW
        self.seconds = 0.0
        statement = ApiKeys.open(database, lambda: self.now).memory._statement
        memory = ShortMemory(database, statement, lambda: self.seconds, most=5)
        self.keys = ApiKeys(database=database, memory=memory, clock=lambda: self.now)

    def make(self, *scopes: Scope, expires_at: datetime | None = None) -> tuple[str, Credential]:
        """The text of a new key, and the key taken apart."""
        _, text = self.keys.create("alice", scopes, expires_at)
        given = credentials.parse(text)
        assert given is not None
        return text, given

    def refusal(self, given: Credential) -> object:
        """Why a key is refused; None when it is not."""
        try:
            asyncio.run(self.keys.verify(given))
        except CredentialInvalidError as error:
            return error.params["reason"]
        return None


@pytest.fixture
def keys(database: Database) -> Keys:
    return Keys(database)


def test_only_a_hash_is_stored(keys: Keys, database_url: str) -> None:
    """The database has nothing from which the key could be made, and who has it is its owner with its scopes."""
    text, given = keys.make(Scope.UPLOAD, Scope.READ)
    (row,) = query(database_url, "SELECT * FROM api_keys")
    secret = text.split("_", 2)[2]
    assert secret not in str(row)
    assert row["secret_hash"] == hashlib.sha256(secret.encode()).hexdigest()
    principal = asyncio.run(keys.keys.verify(given))
    assert (principal.owner, principal.scopes) == ("alice", frozenset({Scope.UPLOAD, Scope.READ}))
    assert principal.credential == f"key:{given.id}"
    assert not principal.allows(Scope.MANAGE)


def test_a_key_is_refused_for_a_reason(keys: Keys) -> None:
    """Unknown, wrong, expired and revoked ones; a wrong secret says no more than an unknown id."""
    _, given = keys.make(Scope.UPLOAD, expires_at=NOW + timedelta(hours=1))
    assert keys.refusal(given) is None
    assert keys.refusal(Credential("vdk", "0" * 12, given.secret_hash)) == "credential_unknown"
    assert keys.refusal(Credential("vdk", given.id, "0" * 64)) == "credential_unknown"
    keys.now += timedelta(hours=1)
    assert keys.refusal(given) == "credential_expired"
    assert keys.keys.revoke(given.id)
    keys.seconds += 3.1
    assert keys.refusal(given) == "credential_revoked"
    assert not keys.keys.revoke("0" * 12)


def test_a_revocation_is_known_within_five_seconds(keys: Keys) -> None:
    """A row is not remembered for longer; nor is it that a key does not exist."""
    _, given = keys.make(Scope.UPLOAD)
    assert keys.refusal(given) is None
    assert keys.refusal(given) is None  # the first use was written, and the row read again
    keys.keys.revoke(given.id)
    assert keys.refusal(given) is None
    keys.seconds += 5
    assert keys.refusal(given) == "credential_revoked"


def test_the_last_use_is_known_to_the_hour(keys: Keys, database_url: str) -> None:
    """One write an hour, however often the key is used."""
    _, given = keys.make(Scope.UPLOAD)
    for minutes, hour in ((0, 12), (20, 12), (10, 13)):
        keys.now += timedelta(minutes=minutes)
        keys.seconds += 60 * minutes
        assert keys.refusal(given) is None
        (row,) = query(database_url, "SELECT last_used_at FROM api_keys")
        assert f"{hour}:00:00" in str(row["last_used_at"])


def test_memory_is_bounded(keys: Keys) -> None:
    """A flood of keys that do not exist leaves as many rows in memory as there may be."""
    for number in range(20):
        assert keys.refusal(Credential("vdk", f"{number:012x}", "0" * 64)) == "credential_unknown"
    assert len(keys.keys.memory._rows) == 5


@pytest.mark.parametrize(
    "text", ["", "vdk_", "vdk_0123456789ab_", "vdk_0123456789AB_" + "A" * 43, "vdk_0123456789ab_" + "A" * 44, "vdx_0"]
)
def test_what_is_no_key_is_not_looked_up(text: str) -> None:
    """Another form is no credential of ours."""
    assert credentials.parse(text) is None
    assert credentials.parse("vdk_0123456789ab_" + "A" * 43) is not None
