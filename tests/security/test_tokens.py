"""Attacks by tokens: whatever a token says about its key, algorithm or claims, only the settings count."""

import asyncio
import hashlib
import hmac
import json
import logging
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc.jwk import OctKey

from server.auth import jose
from server.auth.principal import is_owner
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
    claims,
    encoded,
    joined,
    key_set,
    signed,
    write_key_set,
)

FUTURE = int(time.time()) + 3600


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> JwtVerifier:
    """A verifier with a secret and a key set, in which keys of all types are."""
    path = write_key_set(tmp_path_factory.mktemp("keys") / "keys.json", RSA, EC, ED)
    return verifier(jwt_secret=SECRET, jwt_jwks=str(path), jwt_algorithms="RS256,PS256,ES256,EdDSA")


def verifier(**chosen: Any) -> JwtVerifier:
    return JwtVerifier(settings=Settings(**chosen), clock=lambda: datetime.now(UTC))


def refusal(checked: JwtVerifier, token: str) -> dict[str, object]:
    with pytest.raises(CredentialInvalidError) as refused:
        asyncio.run(checked.verify(token))
    return dict(refused.value.params)


def hmac_by(secret: bytes, header: object, payload: object = None) -> str:
    """A token by HMAC-SHA-256 under any bytes, as a forger makes it: libraries refuse to."""
    signing = joined(header, claims() if payload is None else payload).rpartition(".")[0]
    return f"{signing}.{encoded(hmac.new(secret, signing.encode(), hashlib.sha256).digest())}"


def without_algorithm(payload: object = None) -> str:
    return joined({"typ": "JWT"}, payload or claims())


PEM = RSA.as_pem(private=False)
JWK = json.dumps(RSA.as_dict(private=False)).encode()

FORGED: dict[str, Callable[[], str]] = {
    "alg none": lambda: joined({"alg": "none"}, claims()),
    "alg none, in capitals": lambda: joined({"alg": "NONE"}, claims()),
    "alg none, mixed": lambda: joined({"alg": "nOnE"}, claims()),
    "alg none with a signature": lambda: joined({"alg": "none"}, claims(), b"x"),
    "alg none with the kid of a key": lambda: joined({"alg": "none", "kid": "rsa"}, claims()),
    "alg empty": lambda: joined({"alg": ""}, claims()),
    "alg missing": without_algorithm,
    "alg a list": lambda: joined({"alg": ["HS256"]}, claims()),
    "alg an object": lambda: joined({"alg": {"HS256": 1}}, claims()),
    "alg null": lambda: joined({"alg": None}, claims()),
    "alg a number": lambda: joined({"alg": 256}, claims()),
    "alg unknown": lambda: joined({"alg": "ABC256"}, claims(), b"x" * 32),
    "HS256 by the public key as PEM": lambda: hmac_by(PEM, {"alg": "HS256", "kid": "rsa"}),
    "HS256 by the public key as PEM, without its last line feed": lambda: hmac_by(PEM.strip(), {"alg": "HS256"}),
    "HS256 by the public key as DER": lambda: hmac_by(RSA.as_der(private=False), {"alg": "HS256", "kid": "rsa"}),
    "HS256 by the public key as JWK": lambda: hmac_by(JWK, {"alg": "HS256", "kid": "rsa"}),
    "HS256 by the modulus": lambda: hmac_by(str(RSA.get("n")).encode(), {"alg": "HS256", "kid": "rsa"}),
    "HS256 by the public key of a curve": lambda: hmac_by(str(EC.get("x")).encode(), {"alg": "HS256", "kid": "ec"}),
    "HS256 by nothing": lambda: hmac_by(b"", {"alg": "HS256"}),
    "HS256 by another secret": lambda: signed(OctKey.import_key("x" * 32), "HS256"),
    "HS384 by the secret": lambda: signed(OCT, "HS384"),
    "RS256 by another key": lambda: signed(OTHER_RSA, "RS256", kid=None),
    "RS256 by another key under the kid of ours": lambda: signed(OTHER_RSA, "RS256", kid="rsa"),
    "RS512, which the settings lack": lambda: signed(RSA, "RS512"),
    "RS256 under the kid of a curve": lambda: signed(RSA, "RS256", kid="ec"),
    "RS256 header, PS256 signature": lambda: swapped(signed(RSA, "PS256"), "RS256"),
    "ES256 with a signature of zeros": lambda: joined({"alg": "ES256", "kid": "ec"}, claims(), bytes(64)),
    "ES256 with r and s of the order": lambda: joined({"alg": "ES256", "kid": "ec"}, claims(), b"\xff" * 64),
    "ES256 with no signature": lambda: joined({"alg": "ES256", "kid": "ec"}, claims()),
    "EdDSA with a signature of zeros": lambda: joined({"alg": "EdDSA", "kid": "ed"}, claims(), bytes(64)),
    "EdDSA with a short signature": lambda: joined({"alg": "EdDSA", "kid": "ed"}, claims(), bytes(3)),
    "RS256 with a signature of zeros": lambda: joined({"alg": "RS256", "kid": "rsa"}, claims(), bytes(256)),
    "kid of a file": lambda: signed(OTHER_RSA, "RS256", kid="../../../../dev/null"),
    "kid of a file, with a secret that is its text": lambda: hmac_by(b"", {"alg": "HS256", "kid": "/dev/null"}),
    "kid that is SQL": lambda: signed(OTHER_RSA, "RS256", kid="x' UNION SELECT 'key"),
    "kid that is a URL": lambda: signed(OTHER_RSA, "RS256", kid="https://evil.example/keys"),
    "kid of 6 KB": lambda: signed(OTHER_RSA, "RS256", kid="k" * 4000),
    "kid a number": lambda: joined({"alg": "RS256", "kid": 1}, claims(), bytes(256)),
    "kid an object": lambda: joined({"alg": "RS256", "kid": {"$ne": ""}}, claims(), bytes(256)),
    "kid a list": lambda: joined({"alg": "RS256", "kid": ["rsa"]}, claims(), bytes(256)),
    "jwk in the header": lambda: signed(OTHER_RSA, "RS256", kid=None, jwk=OTHER_RSA.as_dict(private=False)),
    "jwk in the header, as a secret": lambda: hmac_by(b"s" * 32, {"alg": "HS256", "jwk": {"kty": "oct", "k": "c3Nz"}}),
    "crit with a known name": lambda: signed(OCT, "HS256", crit=["alg"]),
    "crit with an unknown name": lambda: hmac_by(SECRET.encode(), {"alg": "HS256", "crit": ["x"], "x": 1}),
    "crit empty": lambda: hmac_by(SECRET.encode(), {"alg": "HS256", "crit": []}),
    "crit no list": lambda: hmac_by(SECRET.encode(), {"alg": "HS256", "crit": 7}),
    "crit for b64": lambda: hmac_by(SECRET.encode(), {"alg": "HS256", "crit": ["b64"], "b64": False}),
    "b64 without crit": lambda: hmac_by(SECRET.encode(), {"alg": "HS256", "b64": False}),
    "a claim changed": lambda: changed(by_secret(), sub="bob"),
    "the signature cut": lambda: by_secret()[:-4],
    "the signature left out": lambda: by_secret().rpartition(".")[0] + ".",
    "one dot": lambda: by_secret().rpartition(".")[0],
    "no dot": lambda: by_secret().replace(".", ""),
    "four parts": lambda: by_secret() + ".x",
    "five parts, as an encrypted one": lambda: "e30.e30.e30.e30.e30",
    "empty": lambda: "",
    "two dots": lambda: "..",
    "spaces": lambda: "   ",
    "padding": lambda: by_secret() + "==",
    "a line feed at its end": lambda: by_secret() + "\n",
    "letters of a page": lambda: "ключ." + by_secret(),
    "half of a surrogate": lambda: "\ud800" + by_secret(),
    "a null": lambda: by_secret() + "\0",
    "header no object": lambda: joined(["alg"], claims()),
    "header a text": lambda: joined("alg", claims()),
    "header null": lambda: joined(None, claims()),
    "header no JSON": lambda: joined(b"{", claims()),
    "header no UTF-8": lambda: joined(b'{"alg":"\xff"}', claims()),
    "header deep": lambda: joined(b"[" * 5000, b"{}"),
    "payload no JSON": lambda: signed(OCT, "HS256", b"sub=ann"),
    "payload a list": lambda: signed(OCT, "HS256", b"[]"),
    "payload a text": lambda: signed(OCT, "HS256", b'"ann"'),
    "payload null": lambda: signed(OCT, "HS256", b"null"),
    "payload empty": lambda: signed(OCT, "HS256", b""),
    "payload deep": lambda: signed(OCT, "HS256", b"[" * 5000),
    "payload with a number of 5000 digits": lambda: signed(OCT, "HS256", b'{"exp":' + b"9" * 5000 + b"}"),
    "a valid token of 9 KB": lambda: by_secret(filling="x" * 7000),
    "a megabyte": lambda: "a" * (1 << 20),
    "a megabyte of dots": lambda: "." * (1 << 20),
}


def swapped(token: str, algorithm: str) -> str:
    """The same payload and signature under another algorithm."""
    _, payload, signature = token.split(".")
    head = encoded(json.dumps({"alg": algorithm, "kid": "rsa"}).encode())
    return f"{head}.{payload}.{signature}"


def changed(token: str, **more: object) -> str:
    """The same header and signature around other claims."""
    head, _, signature = token.split(".")
    return f"{head}.{encoded(json.dumps(claims(**more)).encode())}.{signature}"


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_or_broken_token_is_refused(name: str, checked: JwtVerifier) -> None:
    """No header, key or form that an attacker can choose makes a token valid; the refusal tells nothing else."""
    assert refusal(checked, FORGED[name]()) == {"reason": "token_signature"}


@pytest.mark.parametrize("name", ["jku", "x5u"])
@pytest.mark.parametrize("value", ["https://evil.example/keys", "file:///etc/passwd", 7, None])
def test_urls_of_a_header_are_ignored(name: str, value: object, checked: JwtVerifier) -> None:
    """With a URL in its header a token is valid if our key has signed it, and only then; nothing is fetched."""
    ours = hmac_by(SECRET.encode(), {"alg": "HS256", name: value})
    assert asyncio.run(checked.verify(ours)).owner == "ann"
    assert refusal(checked, hmac_by(b"theirs", {"alg": "HS256", name: value})) == {"reason": "token_signature"}


BAD_CLAIMS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "expired": ({"exp": int(time.time()) - 31}, {"reason": "credential_expired"}),
    "expired in 1970": ({"exp": 0}, {"reason": "credential_expired"}),
    "expired before 1970": ({"exp": -1}, {"reason": "credential_expired"}),
    "no exp": ({"exp": None}, {"reason": "token_claims", "claim": "exp"}),
    "exp a text": ({"exp": str(FUTURE)}, {"reason": "token_claims", "claim": "exp"}),
    "exp true": ({"exp": True}, {"reason": "token_claims", "claim": "exp"}),
    "exp a list": ({"exp": [FUTURE]}, {"reason": "token_claims", "claim": "exp"}),
    "exp infinite": ({"exp": float("inf")}, {"reason": "token_claims", "claim": "exp"}),
    "exp not a number": ({"exp": float("nan")}, {"reason": "token_claims", "claim": "exp"}),
    "exp beyond all floats": ({"exp": 10**400}, {"reason": "token_claims", "claim": "exp"}),
    "not valid yet": ({"nbf": FUTURE}, {"reason": "token_early"}),
    "nbf a text": ({"nbf": "0"}, {"reason": "token_claims", "claim": "nbf"}),
    "nbf not a number": ({"nbf": float("nan")}, {"reason": "token_claims", "claim": "nbf"}),
    "another issuer": ({"iss": "https://evil.example"}, {"reason": "token_claims", "claim": "iss"}),
    "issuer with a slash more": ({"iss": "https://id.example/"}, {"reason": "token_claims", "claim": "iss"}),
    "issuer in a list": ({"iss": ["https://id.example"]}, {"reason": "token_claims", "claim": "iss"}),
    "no issuer": ({"iss": None}, {"reason": "token_claims", "claim": "iss"}),
    "another audience": ({"aud": "other"}, {"reason": "token_claims", "claim": "aud"}),
    "a part of the audience": ({"aud": "video"}, {"reason": "token_claims", "claim": "aud"}),
    "a text that has the audience": ({"aud": "videodock other"}, {"reason": "token_claims", "claim": "aud"}),
    "other audiences": ({"aud": ["a", "b"]}, {"reason": "token_claims", "claim": "aud"}),
    "audience in a list of a list": ({"aud": [["videodock"]]}, {"reason": "token_claims", "claim": "aud"}),
    "audience a key": ({"aud": {"videodock": 1}}, {"reason": "token_claims", "claim": "aud"}),
    "no audience": ({"aud": None}, {"reason": "token_claims", "claim": "aud"}),
    "no owner": ({"sub": None}, {"reason": "token_claims", "claim": "sub"}),
    "owner empty": ({"sub": ""}, {"reason": "token_claims", "claim": "sub"}),
    "owner of spaces": ({"sub": "  "}, {"reason": "token_claims", "claim": "sub"}),
    "owner with a space after": ({"sub": "ann "}, {"reason": "token_claims", "claim": "sub"}),
    "owner a number": ({"sub": 1}, {"reason": "token_claims", "claim": "sub"}),
    "owner true": ({"sub": True}, {"reason": "token_claims", "claim": "sub"}),
    "owner a list": ({"sub": ["ann"]}, {"reason": "token_claims", "claim": "sub"}),
    "owner an object": ({"sub": {"$ne": ""}}, {"reason": "token_claims", "claim": "sub"}),
    "owner too long": ({"sub": "a" * 257}, {"reason": "token_claims", "claim": "sub"}),
    "owner with a null": ({"sub": "ann\0"}, {"reason": "token_claims", "claim": "sub"}),
    "owner with a line feed": ({"sub": "ann\nbob"}, {"reason": "token_claims", "claim": "sub"}),
    "owner with half a surrogate": ({"sub": "\ud800"}, {"reason": "token_claims", "claim": "sub"}),
    "owner that is read backwards": ({"sub": "\u202enna"}, {"reason": "token_claims", "claim": "sub"}),
    "owner with a letter of no width": ({"sub": "a\u200bnn"}, {"reason": "token_claims", "claim": "sub"}),
    "scope a number": ({"scope": 7}, {"reason": "token_claims", "claim": "scope"}),
    "scope an object": ({"scope": {"admin": True}}, {"reason": "token_claims", "claim": "scope"}),
    "scope of objects": ({"scope": [{"admin": True}]}, {"reason": "token_claims", "claim": "scope"}),
}


@pytest.mark.parametrize("name", BAD_CLAIMS)
def test_a_claim_that_is_not_as_expected_is_refused(name: str) -> None:
    """A valid signature around wrong claims is refused with the claim's name, and never its value."""
    wrong, params = BAD_CLAIMS[name]
    checked = verifier(jwt_secret=SECRET, jwt_issuer="https://id.example", jwt_audience="videodock")
    right = {"iss": "https://id.example", "aud": "videodock"}
    assert asyncio.run(checked.verify(by_secret(**right))).owner == "ann"
    assert refusal(checked, by_secret(**{**right, **wrong})) == params


def test_an_empty_scope_gives_nothing_and_a_null_is_refused() -> None:
    """`null` is not "without the claim": the default scopes are not for it."""
    checked = verifier(jwt_secret=SECRET)
    token = signed(OCT, "HS256", json.dumps({**claims(), "scope": None}).encode())
    assert refusal(checked, token) == {"reason": "token_claims", "claim": "scope"}
    assert asyncio.run(checked.verify(by_secret(scope=""))).scopes == frozenset()


def test_the_last_of_two_claims_counts_for_checks_and_owner_alike() -> None:
    """A claim that comes twice has one value for all readers of it."""
    checked = verifier(jwt_secret=SECRET)
    expired = b'{"sub":"ann","exp":%d,"exp":1}' % FUTURE
    assert refusal(checked, signed(OCT, "HS256", expired)) == {"reason": "credential_expired"}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["RSA", "EC", "P-256", "AQAB"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)


@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
def test_an_algorithm_that_the_settings_lack_is_refused(algorithm: str, tmp_path: Path) -> None:
    """A key that could verify by two algorithms verifies by those of the settings."""
    path = str(write_key_set(tmp_path / "keys.json", RSA))
    token = signed(RSA, algorithm)
    assert asyncio.run(verifier(jwt_jwks=path, jwt_algorithms=algorithm).verify(token)).owner == "ann"
    others = {"RS256", "PS256", "ES256", "EdDSA"} - {algorithm}
    assert refusal(verifier(jwt_jwks=path, jwt_algorithms=",".join(others)), token) == {"reason": "token_signature"}
    assert refusal(verifier(jwt_secret=SECRET), token) == {"reason": "token_signature"}
    assert refusal(verifier(jwt_jwks=path), by_secret()) == {"reason": "token_signature"}


def test_a_key_verifies_its_own_algorithms_only() -> None:
    """Whoever passes keys to the verification: a key never verifies an algorithm that is not of its type."""
    secret, public = jose.secret_key(SECRET), jose.key_set(json.dumps(key_set([RSA, EC, ED])).encode()).keys
    for token, keys in (
        (signed(RSA, "PS256"), jose.key_set(json.dumps(key_set([RSA], alg="RS256")).encode()).keys),
        (signed(RSA, "RS512"), public),
        (signed(OCT, "HS384"), (secret,)),
        (by_secret(), public),
        (hmac_by(PEM, {"alg": "HS256"}), public),
        (signed(RSA, "RS256"), (secret,)),
        (joined({"alg": "none"}, claims()), (secret, *public)),
    ):
        with pytest.raises(jose.TokenError):
            jose.claims(jose.parse(token), keys)
    assert jose.claims(jose.parse(by_secret()), [*public, secret])["sub"] == "ann"


def test_a_refusal_has_nothing_of_the_token(checked: JwtVerifier, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the traceback, nor its causes, nor a log line, nor the verifier's repr has the token or the secret."""
    caplog.set_level(logging.DEBUG)
    token = by_secret(sub="ann\0", mark="visible")
    try:
        asyncio.run(checked.verify(token))
    except CredentialInvalidError as error:
        shown = "".join(traceback.format_exception(error)) + repr(error) + repr(checked) + caplog.text
    for part in (*token.split("."), SECRET, "visible"):
        assert part not in shown


def test_an_owner_is_a_visible_name() -> None:
    """What `is_owner` takes has text that a person sees, in any script."""
    assert all(map(is_owner, ["ann", "张伟", "a b", "ann@example.org", "auth0|5f7c", "é", "a" * 256]))
    assert not any(map(is_owner, [None, b"ann", "", "\t", "a\u2028b", "a\x7f", "\x85", "a" * 257]))


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    header=st.dictionaries(
        st.sampled_from(["alg", "kid", "crit", "b64", "jwk", "typ"]),
        ANYTHING | st.sampled_from(["HS256", "RS256", "rsa"]),
    ),
    payload=st.binary(max_size=64),
    signature=st.binary(max_size=300),
)
def test_any_token_is_refused_and_breaks_nothing(
    header: dict[str, object], payload: bytes, signature: bytes, checked: JwtVerifier
) -> None:
    """Whatever the three parts are, without our key the token is refused as such."""
    assert refusal(checked, joined(header, payload, signature)) == {"reason": "token_signature"}


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    found=st.dictionaries(
        st.sampled_from(["sub", "exp", "nbf", "scope", "iss"]),
        ANYTHING | st.floats(),
    )
)
def test_any_claims_are_a_principal_or_a_refusal(found: dict[str, object], checked: JwtVerifier) -> None:
    """Whatever an issuer signs, it is a principal with an owner's name, or a refusal with a known reason."""
    token = signed(OCT, "HS256", json.dumps(found).encode())

    async def reason() -> object:
        try:
            return is_owner((await checked.verify(token)).owner)
        except CredentialInvalidError as error:
            return error.params["reason"]

    assert asyncio.run(reason()) in {True, "token_claims", "token_early", "credential_expired"}
