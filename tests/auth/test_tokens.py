"""A token becomes a principal: whose, with which scopes, from which key, and until when."""

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import Key

from server.auth.jwks import Jwks
from server.auth.principal import Principal, Scope
from server.auth.tokens import JwtVerifier
from server.errors import CredentialInvalidError, StartError
from server.settings import Settings
from tests.harness.signed_tokens import EC, ED, OCT, OTHER_RSA, RSA, SECRET, by_secret, claims, signed, write_key_set

DEFAULT = frozenset({Scope.UPLOAD, Scope.READ, Scope.MANAGE})


def now() -> datetime:
    return datetime.now(UTC)


def verifier(clock: Callable[[], datetime] = now, jwks: Jwks | None = None, **settings: Any) -> JwtVerifier:
    return JwtVerifier(settings=Settings(**settings), clock=clock, jwks=jwks)


def verify(token: str, **settings: Any) -> Principal:
    return asyncio.run(verifier(**({"jwt_secret": SECRET} | settings)).verify(token))


@pytest.mark.parametrize(
    ("key", "algorithm"), [(RSA, "RS256"), (RSA, "PS256"), (EC, "ES256"), (ED, "Ed25519"), (ED, "EdDSA")]
)
@pytest.mark.parametrize("has_kid", [True, False])
def test_every_algorithm_verifies_by_a_key_set(key: Key, algorithm: str, has_kid: bool, tmp_path: Path) -> None:
    """A token of each algorithm is valid by its key of the set, named or not; EdDSA by both of its names."""
    path = write_key_set(tmp_path / "keys.json", OTHER_RSA, RSA, EC, ED)
    token = signed(key, "Ed25519" if algorithm == "EdDSA" else algorithm, kid=key.kid if has_kid else None)
    found = verify(token, jwt_secret="", jwt_jwks=str(path), jwt_algorithms="RS256,PS256,ES256,EdDSA")
    assert found == Principal("ann", DEFAULT, "jwt:ann")


def test_a_secret_and_a_key_set_are_used_side_by_side(tmp_path: Path) -> None:
    """With both, a token of either is valid."""
    path = str(write_key_set(tmp_path / "keys.json", RSA))
    assert verify(by_secret(), jwt_jwks=path).owner == "ann"
    assert verify(signed(RSA, "RS256"), jwt_jwks=path).owner == "ann"


def test_without_keys_nothing_is_configured() -> None:
    """Without a secret and a key set no token is valid, and the verifier says that it is not configured."""
    none = verifier()
    assert not none.is_configured
    with pytest.raises(CredentialInvalidError):
        asyncio.run(none.verify(by_secret()))
    assert verifier(jwt_secret=SECRET).is_configured
    assert verifier(jwt_jwks="keys.json").is_configured


SCOPES = [
    (None, DEFAULT),
    ("upload", {Scope.UPLOAD}),
    ("upload  read", {Scope.UPLOAD, Scope.READ}),
    (["upload", "manage"], {Scope.UPLOAD, Scope.MANAGE}),
    ("openid profile", set()),
    ("", set()),
    ([], set()),
    ("admin", {Scope.ADMIN}),
    ("UPLOAD read:all", set()),
]


@pytest.mark.parametrize(("value", "scopes"), SCOPES)
def test_scopes_come_from_the_claim(value: object, scopes: set[Scope]) -> None:
    """A list or words; unknown words give nothing; the default is only for tokens without the claim."""
    assert verify(by_secret(scope=value)).scopes == scopes


def test_settings_name_the_claims_and_the_default() -> None:
    """The claims of owner and scopes, and the default scopes, are those of the settings."""
    settings = {"jwt_owner_claim": "email", "jwt_scope_claim": "roles", "jwt_default_scopes": "read"}
    found = verify(by_secret(email="ann@example.org", roles=["upload"], scope="admin"), **settings)
    assert found.owner == "ann@example.org"
    assert found.scopes == {Scope.UPLOAD}
    assert found.credential == "jwt:ann@example.org"
    assert verify(by_secret(email="ann@example.org"), **settings).scopes == {Scope.READ}


@pytest.mark.parametrize("audience", ["videodock", ["other", "videodock"]])
def test_issuer_and_audience_of_the_settings(audience: object) -> None:
    """`iss` is the one of the settings, and `aud` is or contains the one of the settings."""
    token = by_secret(iss="https://id.example.org", aud=audience)
    settings = {"jwt_issuer": "https://id.example.org", "jwt_audience": "videodock"}
    assert verify(token, **settings).owner == "ann"


def test_leeway_counts_for_both_ends() -> None:
    """A clock may differ by `jwt_leeway` in either direction, and not by more."""
    time_now = int(time.time())
    recent, early = by_secret(exp=time_now - 50), by_secret(nbf=time_now + 50)
    for token, reason in ((recent, "credential_expired"), (early, "token_early")):
        assert verify(token, jwt_leeway=100).owner == "ann"
        with pytest.raises(CredentialInvalidError) as refused:
            verify(token, jwt_leeway=10)
        assert refused.value.params["reason"] == reason


def test_issued_at_does_not_matter() -> None:
    """`iat` is not needed: a clock that is ahead does not lock its users out."""
    assert verify(by_secret(iat=int(time.time()) + 3600)).owner == "ann"


def test_a_remembered_token_expires() -> None:
    """A token that was verified before is refused from its expiry on."""
    elapsed = timedelta()
    checked = verifier(lambda: now() + elapsed, jwt_secret=SECRET)
    token = by_secret()

    async def steps() -> None:
        nonlocal elapsed
        assert await checked.verify(token) is await checked.verify(token)
        elapsed = timedelta(seconds=91)
        with pytest.raises(CredentialInvalidError) as refused:
            await checked.verify(token)
        assert refused.value.params["reason"] == "credential_expired"

    asyncio.run(steps())


def test_a_remembered_token_ends_with_its_key(tmp_path: Path) -> None:
    """A token that was verified before is refused once the set lacks its key, and valid again once it has it."""
    path, seconds = tmp_path / "keys.json", 0.0
    write_key_set(path, RSA, EC)
    checked = verifier(jwks=Jwks(str(path), clock=lambda: seconds))
    token = signed(RSA, "RS256")

    async def steps() -> None:
        nonlocal seconds
        assert await checked.verify(token) is await checked.verify(token)
        write_key_set(path, EC)
        seconds += 5
        with pytest.raises(CredentialInvalidError):
            await checked.verify(token)
        write_key_set(path, RSA)
        seconds += 5
        assert (await checked.verify(token)).owner == "ann"

    asyncio.run(steps())


def test_memory_is_bounded_and_has_no_token() -> None:
    """A thousand tokens are remembered, by their hashes; refused ones are not."""
    checked = verifier(jwt_secret=SECRET)

    async def steps() -> None:
        for number in range(1100):
            await checked.verify(by_secret(sub=f"owner {number}"))
        with pytest.raises(CredentialInvalidError):
            await checked.verify(by_secret(exp=0))

    asyncio.run(steps())
    assert 0 < len(checked._verified) <= 1024
    assert all(len(key) == 32 for key in checked._verified)


def test_a_public_key_is_no_secret() -> None:
    """A PEM as `jwt_secret` would make everybody an issuer: the start is refused, without a word of it."""
    with pytest.raises(StartError) as refused:
        verifier(jwt_secret=RSA.as_pem(private=False).decode())
    assert "jwt_jwks" in refused.value.sentence
    assert "BEGIN" not in refused.value.sentence


def test_a_url_that_cannot_be_one_stops_the_start() -> None:
    """A port that does not exist is told at the start."""
    with pytest.raises(StartError, match="jwt_jwks"):
        verifier(jwt_jwks="https://id.example.org:99999/keys")
    with pytest.raises(ValueError, match="https only"):
        Jwks("http://id.example.org/keys")


def test_claims_are_read_as_utf_8() -> None:
    """An owner may have any letters."""
    payload = json.dumps(claims(sub="张伟 ✓"), ensure_ascii=False).encode()
    assert verify(signed(OCT, "HS256", payload)).owner == "张伟 ✓"
