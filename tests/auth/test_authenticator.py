"""Which credential of a request counts, and which requests have none."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from server.auth.audit import AuditLog
from server.auth.authenticator import FROM_PROXY, Authenticator
from server.auth.grants import Grants
from server.auth.keys import ApiKeys
from server.auth.principal import ANYBODY, Principal, Scope
from server.auth.rate_limits import RateLimits
from server.bootstrap import new_id, utc_now
from server.database.session import Database
from server.errors import AuthenticationRequiredError, CredentialInvalidError
from server.settings import Settings
from tests.harness.migrated import migrate

TOKEN = "a.b.c"


async def token(text: str) -> Principal | None:
    return Principal("by-token", frozenset(), "jwt:x") if text == TOKEN else None


async def session(cookie: str) -> Principal | None:
    return Principal("by-cookie", frozenset(), "session") if cookie == "good" else None


class Asked:
    """An authenticator with one key."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        url = f"sqlite:///{folder / 'test.db'}"
        migrate(url)
        self.database = Database(url, 5)
        keys = ApiKeys.open(self.database, utc_now)
        _, self.key = keys.create("by-key", [Scope.UPLOAD], None)
        self.authenticator = Authenticator(
            settings=Settings(data_dir=folder, **{"auth": "on", **settings}),
            keys=keys,
            grants=Grants.open(self.database, utc_now, new_id),
            audit=AuditLog(database=self.database, clock=utc_now),
            rates=RateLimits.open(Settings(data_dir=folder, rate_failures="")),
            token=token,
            session=session,
        )

    def who(self, *headers: tuple[str, str], from_proxy: bool = False) -> str:
        """The owner that a request with these headers has, or the code of its refusal."""
        raw: Sequence[tuple[bytes, bytes]] = [(name.lower().encode(), value.encode()) for name, value in headers]
        state = {FROM_PROXY: True} if from_proxy else {}
        scope: dict[str, Any] = {"type": "http", "method": "GET", "scheme": "http", "headers": raw, "state": state}
        try:
            return asyncio.run(self.authenticator.principal(scope)).owner
        except AuthenticationRequiredError as error:
            return error.code
        except CredentialInvalidError as error:
            return str(error.params["reason"])


Make = Callable[..., Asked]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Authenticators with these settings, each on a database of its own."""
    made: list[Asked] = []

    def one(**settings: Any) -> Asked:
        made.append(Asked(tmp_path / str(len(made)), **settings))
        return made[-1]

    yield one
    for each in made:
        each.database.close()


@pytest.fixture
def asked(make: Make) -> Asked:
    return make()


def test_without_authentication_everybody_is_one(make: Make) -> None:
    """No header is looked at, and nobody is an admin."""
    assert make(auth="off").who(("Authorization", "Bearer nonsense")) == "default"
    assert not ANYBODY.is_admin


def test_the_form_of_authorization(asked: Asked) -> None:
    """Bearer in any case, one header, one space; anything else is refused and says why."""
    for value, expected in (
        (f"Bearer {asked.key}", "by-key"),
        (f"bearer  {asked.key} ", "by-key"),
        (f"Bearer {TOKEN}", "by-token"),
        (asked.key, "credential_form"),
        ("Bearer", "credential_form"),
        ("", "credential_form"),
        (f"Basic {asked.key}", "credential_form"),
        (f"Bearer {asked.key},{asked.key}", "credential_unknown"),
        ("Bearer a.b.d", "credential_unknown"),
        ("Bearer x", "credential_unknown"),
    ):
        assert asked.who(("Authorization", value)) == expected, value
    twice = ("Authorization", f"Bearer {asked.key}")
    assert asked.who(twice, twice) == "credential_repeated"


def test_an_invalid_credential_is_not_replaced_by_another(asked: Asked) -> None:
    """A wrong key is refused although the cookie is good; without Authorization the cookie counts."""
    assert asked.who(("Authorization", "Bearer x"), ("Cookie", "videodock_session=good")) == "credential_unknown"
    assert asked.who(("Cookie", "a=b; videodock_session=good")) == "by-cookie"
    assert asked.who(("Cookie", "videodock_session=bad")) == "authentication_required"
    assert (
        asked.who(("Cookie", "videodock_session=good"), ("Cookie", "videodock_session=bad"))
        == "authentication_required"
    )
    assert asked.who() == "authentication_required"


def test_only_a_trusted_proxy_names_an_owner(make: Make) -> None:
    """From another peer the header is nothing; twice, empty or unprintable it names nobody."""
    asked = make(auth_proxy_header="X-Forwarded-User")
    alice = ("X-Forwarded-User", "alice")
    assert asked.who(alice, from_proxy=True) == "alice"
    assert asked.who(alice) == "authentication_required"
    assert asked.who(alice, ("X-Forwarded-User", "bob"), from_proxy=True) == "authentication_required"
    for name in ("", " ", "a\x01", "x" * 257):
        assert asked.who(("X-Forwarded-User", name), from_proxy=True) == "authentication_required", name
    assert make().who(alice, from_proxy=True) == "authentication_required"


def test_a_foreign_authorization_is_left_to_the_backend(make: Make) -> None:
    """With `auth_url` a scheme that is not ours counts as none here; a key of ours is still judged here."""
    asked = make(auth_url="http://127.0.0.1:1/")
    assert asked.who(("Authorization", "Basic abc")) == "authentication_required"
    assert asked.who(("Authorization", f"Bearer {asked.key}")) == "by-key"
    assert asked.who(("Authorization", f"Bearer {asked.key[:-1]}{'A' if asked.key[-1] != 'A' else 'B'}")) == (
        "credential_unknown"
    )
