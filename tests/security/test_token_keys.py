"""Attacks by the keys of a set: each is used for what it says, and no bad one breaks the others."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, Key, RSAKey

from server.auth import jose
from server.auth.tokens import JwtVerifier
from server.errors import CredentialInvalidError
from server.settings import Settings
from tests.harness.signed_tokens import (
    EC,
    ED,
    OCT,
    OTHER_RSA,
    RSA,
    SECRET,
    by_secret,
    encoded,
    key_set,
    signed,
    write_key_set,
)

P384 = ECKey.generate_key("P-384", {"kid": "ec"})
K256 = ECKey.generate_key("secp256k1", {"kid": "ec"})
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["RSA", "EC", "P-256", "AQAB"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)


def verifier(**chosen: Any) -> JwtVerifier:
    return JwtVerifier(settings=Settings(**chosen), clock=lambda: datetime.now(UTC))


def refusal(checked: JwtVerifier, token: str) -> dict[str, object]:
    with pytest.raises(CredentialInvalidError) as refused:
        asyncio.run(checked.verify(token))
    return dict(refused.value.params)


MISFITS: dict[str, dict[str, Any]] = {
    "a secret": {"keys": [{"kty": "oct", "kid": "k", "k": encoded(SECRET.encode())}]},
    "a secret that says RS256": {"keys": [{"kty": "oct", "kid": "k", "alg": "RS256", "k": encoded(SECRET.encode())}]},
    "a key for encryption": key_set([RSA], use="enc"),
    "a key for other operations": key_set([RSA], key_ops=["encrypt"]),
    "a key of another algorithm": key_set([RSA], alg="RS512"),
    "a key that says HS256": key_set([RSA], alg="HS256"),
    "a key that says none": key_set([RSA], alg="none"),
    "a key whose alg is a list": key_set([RSA], alg=["RS256"]),
    "an empty set": {"keys": []},
    "keys that are no objects": {"keys": [None, 1, "x", []]},
    "a key without its modulus": {"keys": [{"kty": "RSA", "e": "AQAB", "kid": "rsa"}]},
    "a key whose modulus is a number": {"keys": [{"kty": "RSA", "n": 5, "e": "AQAB"}]},
    "a curve with a point that is not on it": {"keys": [{"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"}]},
    "a curve that is not used": key_set([P384, K256]),
    "a key whose kid is a number": key_set([OTHER_RSA], kid=7),
    "a key whose operations are a number": key_set([RSA], key_ops=7),
    "a key whose use is a list": key_set([RSA], use=["sig"]),
    "a type that is a list": {"keys": [{"kty": ["RSA"], "n": "AQ", "e": "AQAB"}]},
}


@pytest.mark.parametrize("name", MISFITS)
def test_keys_of_a_set_that_verify_nothing(name: str, tmp_path: Path) -> None:
    """A secret in a set makes no HS256 token valid, and a key is used for nothing but what it says; none breaks."""
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(MISFITS[name]))
    checked = verifier(jwt_jwks=str(path), jwt_algorithms="RS256,ES256,EdDSA")
    for token in (by_secret(), signed(OCT, "HS256", kid="k"), signed(RSA, "RS256"), signed(EC, "ES256")):
        assert refusal(checked, token) == {"reason": "token_signature"}


MEMBERS = ["kty", "n", "e", "crv", "x", "y", "alg", "use", "key_ops", "kid", "d"]


@pytest.mark.parametrize("examples", [60, pytest.param(1000, marks=pytest.mark.soak)])
def test_any_key_of_a_set_is_used_or_left_out(examples: int) -> None:
    """Whatever the members of a key are, the other keys of the set can be used."""
    settings(deadline=None, max_examples=examples)(each_key)()


@given(st.dictionaries(st.sampled_from(MEMBERS), ANYTHING), st.sampled_from([RSA, EC, ED]))
def each_key(found: dict[str, object], key: Key) -> None:
    """One example."""
    text = json.dumps({"keys": [found, {**key.as_dict(private=False), **found}, *key_set([OTHER_RSA])["keys"]]})
    assert jose.key_set(text.encode()).knows("other")


def test_small_and_huge_rsa_keys_are_left_out(tmp_path: Path) -> None:
    """RSA below 2048 bits is not safe; a modulus of 16 kbit or a large exponent would take long to verify."""
    small = {"kty": "RSA", "kid": "rsa", "e": "AQAB", "n": encoded(b"\xc5" * 128)}
    huge = {"kty": "RSA", "kid": "rsa", "e": "AQAB", "n": encoded(b"\xc5" * 2048)}
    slow = {**RSA.as_dict(private=False), "e": encoded(b"\xc5" * 256)}
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [small, huge, slow]}))
    assert refusal(verifier(jwt_jwks=str(path)), signed(RSA, "RS256")) == {"reason": "token_signature"}


def test_private_keys_of_a_set_are_public_ones(tmp_path: Path) -> None:
    """A set that has private keys by mistake verifies by their public parts."""
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [RSA.as_dict(private=True)]}))
    assert asyncio.run(verifier(jwt_jwks=str(path)).verify(signed(RSA, "RS256"))).owner == "ann"


def test_many_keys_cost_one_token_little(tmp_path: Path) -> None:
    """A token without a `kid` is tried with a few keys of its algorithm, however many the set has."""
    others = [{**OTHER_RSA.as_dict(private=False), "kid": f"k{number}"} for number in range(99)]
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [*others, RSA.as_dict(private=False)]}))
    checked = verifier(jwt_jwks=str(path))
    assert refusal(checked, signed(RSA, "RS256", kid=None)) == {"reason": "token_signature"}
    assert asyncio.run(checked.verify(signed(RSA, "RS256"))).owner == "ann"


def test_an_rsa_key_of_the_least_size_is_used(tmp_path: Path) -> None:
    """2048 bits are enough."""
    key = RSAKey.generate_key(2048, {"kid": "least"})
    path = write_key_set(tmp_path / "keys.json", key)
    assert asyncio.run(verifier(jwt_jwks=str(path)).verify(signed(key, "RS256"))).owner == "ann"
