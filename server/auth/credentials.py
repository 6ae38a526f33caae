"""The form of our own credentials: `vdk_<id>_<secret>` for keys and `vdg_<id>_<secret>` for grants.

Rule: the secret has 256 random bits, and only its SHA-256 is stored. Such a secret cannot be guessed from its hash, so
a slow hash would only make each request slow. Comparisons take the same time whatever the secret.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

KEY = "vdk"
GRANT = "vdg"

_FORM = re.compile(r"(vdk|vdg)_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class Credential:
    """A credential of ours, taken apart. `id` is no secret."""

    kind: str
    id: str
    secret_hash: str


def make(kind: str) -> tuple[Credential, str]:
    """A new credential, and its text, which nothing can give back later."""
    text = f"{kind}_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"
    made = parse(text)
    if made is None:
        raise RuntimeError("a new credential has not the form of one")
    return made, text


def parse(text: str) -> Credential | None:
    """The credential in `text`; None where it has another form."""
    match = _FORM.fullmatch(text)
    return None if match is None else Credential(match[1], match[2], hash_of(match[3]))


def hash_of(secret: str) -> str:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_same(one: str, other: str) -> bool:
    """Whether two hashes are the same, in constant time."""
    return hmac.compare_digest(one, other)
