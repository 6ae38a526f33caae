"""Signatures of messages, by the Standard Webhooks scheme (symmetric, version `v1`).

Rule: what is signed is the id, the time and the body exactly as they are sent. A secret is never logged.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

PREFIX = "whsec_"
_SECRET_BYTES = 32  # the scheme allows 24 to 64


def new_secret() -> str:
    """A new secret: `whsec_` and 32 random bytes in Base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def headers(message_id: str, timestamp: int, body: bytes, keys: Sequence[str]) -> list[tuple[bytes, bytes]]:
    """The three headers of a message; `timestamp` is in seconds of Unix time. One signature for each of the secrets."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    signatures = " ".join(f"v1,{_sign(key, signed)}" for key in keys)
    return [
        (b"webhook-id", message_id.encode("ascii")),
        (b"webhook-timestamp", b"%d" % timestamp),
        (b"webhook-signature", signatures.encode("ascii")),
    ]


def _sign(key: str, signed: bytes) -> str:
    raw = base64.b64decode(key.removeprefix(PREFIX))
    return base64.b64encode(hmac.digest(raw, signed, hashlib.sha256)).decode()
