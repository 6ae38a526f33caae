"""JOSE: keys and signatures of tokens, by `joserfc`.

Rules:

- A key has a fixed set of algorithms, by its type and curve: a secret has HS256 only, and a key of a set never has
  it. So nothing in a token makes a public key a secret, and `none` belongs to no key.
- Of a token's header `alg`, `kid` and `crit` are read, and nothing else: no URL or key in it is used.
- Only `tokens.py` and `jwks.py` import this, and not before they need it: joserfc takes 20 MB and 0.15 s.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.registry import HeaderParameter
from joserfc.util import urlsafe_b64decode

_MOST_BYTES = 8 << 10  # of each part of a token; tokens.py has the limit of the whole
_MOST_KEYS = 100
_MOST_TRIED = 16  # keys that one token without a `kid` costs at most
# OpenSSL verifies by larger ones, and needs long for it; smaller ones are not safe (NIST SP 800-131A).
_RSA_BITS = range(2048, 8192 + 1)
_EXPONENT_BITS = 64

_SECRET = frozenset({"HS256"})
_OF_RSA = frozenset({"RS256", "PS256"})
_OF_P256 = frozenset({"ES256"})
_OF_ED25519 = frozenset({"EdDSA", "Ed25519"})
_ALL = _SECRET | _OF_RSA | _OF_P256 | _OF_ED25519


class TokenError(Exception):
    """The token is malformed, or no key verifies its signature."""


@dataclass(frozen=True, repr=False)
class VerificationKey:
    """A key with the algorithms that it may verify. `kid` is None if it has none."""

    kid: str | None
    algorithms: frozenset[str]
    key: Key


@dataclass(frozen=True, repr=False)
class Unverified:
    """A token whose signature is not verified yet: only what selects the key may be read."""

    algorithm: str
    kid: str | None
    parts: jws.CompactSignature


@dataclass(frozen=True, repr=False)
class KeySet:
    """Keys of which one has signed a token."""

    keys: tuple[VerificationKey, ...]

    def knows(self, kid: str | None) -> bool:
        """Whether it has keys for tokens with this `kid`; for those without, it has all that there are."""
        return kid is None or any(key.kid == kid for key in self.keys)

    def candidates(self, token: Unverified) -> Iterator[VerificationKey]:
        """The keys that may have signed it: those of its `kid`, else those without one, else all."""
        fitting = [key for key in self.keys if token.algorithm in key.algorithms]
        if token.kid is not None:
            named = [key for key in fitting if key.kid == token.kid]
            fitting = named or [key for key in fitting if key.kid is None]
        yield from fitting[:_MOST_TRIED]


class _Registry(jws.JWSRegistry):
    """The algorithms that are used here, and a header in which unknown names do not matter (RFC 7515 section 4)."""

    default_header_registry = {  # noqa: RUF012  # the base class has it so
        "alg": HeaderParameter("Algorithm", "str", required=True),
        "kid": HeaderParameter("Key ID", "str"),
    }
    max_header_length = _MOST_BYTES
    max_payload_length = _MOST_BYTES
    max_signature_length = _MOST_BYTES

    def get_alg(self, name: str) -> JWSAlgModel:
        # The base class warns of `EdDSA`, which RFC 9864 only gave a second name.
        if name not in _ALL:
            raise UnsupportedAlgorithmError
        return self.algorithms[name]


_REGISTRY = _Registry(strict_check_header=False)


def secret_key(secret: str) -> VerificationKey:
    """The key of tokens that are signed by HS256. Raises `ValueError` for a public key or certificate."""
    return VerificationKey(None, _SECRET, OctKey.import_key(secret.encode()))


def parse(token: str) -> Unverified:
    """The head of a token in compact form (RFC 7515 section 3.1). Raises `TokenError`."""
    try:
        parts = jws.extract_compact(token.encode("ascii"), registry=_REGISTRY)
        header: Any = parts.headers()
        if not isinstance(header, dict) or "crit" in header:  # none of the extensions is understood here
            raise TokenError
        _REGISTRY.check_header(header)
        return Unverified(header["alg"], header.get("kid"), parts)
    except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
        raise TokenError from None


def claims(token: Unverified, keys: Iterable[VerificationKey]) -> dict[str, Any]:
    """The claims of a token that one of the keys has signed. Raises `TokenError`."""
    if not any(_verifies(key, token) for key in keys):
        raise TokenError
    try:
        found = json.loads(token.parts.payload)
    except (ValueError, RecursionError):
        raise TokenError from None
    if not isinstance(found, dict):
        raise TokenError
    return found


def _verifies(key: VerificationKey, token: Unverified) -> bool:
    if token.algorithm not in key.algorithms:
        return False
    try:
        return jws.validate_compact(token.parts, key.key, registry=_REGISTRY)
    except (JoseError, ValueError, TypeError):
        return False


def key_set(text: bytes) -> KeySet:
    """The keys of a JSON Web Key Set (RFC 7517 section 5) that can verify tokens; others are left out.

    Raises `ValueError` when it is not a set of keys.
    """
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict) or not isinstance(found.get("keys"), list):
        raise ValueError("it is not a JSON Web Key Set")  # noqa: TRY004  # of what came, not of our argument
    keys = (_public_key(item) for item in found["keys"][:_MOST_KEYS] if isinstance(item, dict))
    return KeySet(tuple(key for key in keys if key is not None))


def _public_key(item: Mapping[str, Any]) -> VerificationKey | None:
    """The key, by its public members alone; None for one that verifies nothing here."""
    kid, algorithm, operations = item.get("kid"), item.get("alg"), item.get("key_ops", ["verify"])
    if item.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        algorithms, key = _import(item)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    if algorithm is not None:
        named = frozenset(name for name in algorithms if name == algorithm)
        algorithms = _OF_ED25519 if named & _OF_ED25519 else named  # which are two names of one
    return VerificationKey(kid if isinstance(kid, str) else None, algorithms, key) if algorithms else None


def _import(item: Mapping[str, Any]) -> tuple[frozenset[str], Key]:
    kind = item["kty"], item.get("crv")
    if kind == ("EC", "P-256"):
        return _OF_P256, ECKey.import_key({name: item[name] for name in ("kty", "crv", "x", "y")})
    if kind == ("OKP", "Ed25519"):
        return _OF_ED25519, OKPKey.import_key({name: item[name] for name in ("kty", "crv", "x")})
    if kind[0] != "RSA":
        raise ValueError("no key that is used here")
    modulus, exponent = (urlsafe_b64decode(str(item[name]).encode()) for name in ("n", "e"))
    if int.from_bytes(modulus).bit_length() not in _RSA_BITS:
        raise ValueError("its size is not one that is used here")
    if int.from_bytes(exponent).bit_length() > _EXPONENT_BITS:
        raise ValueError("its exponent is too large")
    return _OF_RSA, RSAKey.import_key({name: item[name] for name in ("kty", "n", "e")})
