"""Tokens (JWT) and key sets as an issuer makes them, and as an attacker does."""

import base64
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

SECRET = "a secret of the tests, 32 characters"

_ANY = jws.JWSRegistry(algorithms=["HS256", "HS384", "RS256", "RS512", "PS256", "ES256", "Ed25519"])
_ANY.strict_check_header = False

RSA, OTHER_RSA = RSAKey.generate_key(2048, {"kid": "rsa"}), RSAKey.generate_key(2048, {"kid": "other"})
EC, ED = ECKey.generate_key("P-256", {"kid": "ec"}), OKPKey.generate_key("Ed25519", {"kid": "ed"})
OCT = OctKey.import_key(SECRET)


def claims(**changed: object) -> dict[str, object]:
    """Claims that are valid for a minute; a value of None leaves its claim out."""
    every = {"sub": "ann", "exp": int(time.time()) + 60, **changed}
    return {name: value for name, value in every.items() if value is not None}


def signed(key: Key, algorithm: str, payload: Mapping[str, object] | bytes | None = None, **header: object) -> str:
    """A token by this key; a `kid` of None leaves it out."""
    head = {"alg": algorithm, "kid": key.get("kid"), **header}
    raw = payload if isinstance(payload, bytes) else json.dumps(claims() if payload is None else payload).encode()
    return jws.serialize_compact(
        {name: value for name, value in head.items() if value is not None}, raw, key, registry=_ANY
    )


def by_secret(**changed: object) -> str:
    """A valid token by the secret, with these claims changed."""
    return signed(OCT, "HS256", claims(**changed))


def joined(header: object, payload: object, signature: bytes = b"") -> str:
    """A token of these parts, whatever they are."""
    raw = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    return ".".join(encoded(part) for part in (*raw, signature))


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def key_set(keys: Iterable[Key], **more: object) -> dict[str, Any]:
    """The public keys as a JSON Web Key Set."""
    return {"keys": [{**key.as_dict(private=False), **more} for key in keys]}


def write_key_set(path: Path, *keys: Key) -> Path:
    """Replace the file by one with these public keys."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(key_set(keys)))
    return new.replace(path)
