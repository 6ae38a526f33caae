"""The certificates that an HTTP client trusts by default, read once in a process of the tests.

Rule: nothing of a connection changes. `httpx` reads all of them for each new client, which takes 20 to 30 ms of a
processor, and the clients of the tests speak HTTP without TLS to this machine, or say what they trust.
"""

import os
import ssl
from collections.abc import Callable
from functools import cache
from typing import Any

from httpx import _transports

_NAME = "create_ssl_context"
_create: Callable[..., ssl.SSLContext] = vars(_transports.default)[_NAME]


def share() -> None:
    """From now on, clients of `httpx` that say nothing of certificates have the same context."""
    vars(_transports.default)[_NAME] = _shared


def _shared(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
    if verify is not True or cert is not None:
        return _create(verify=verify, cert=cert, trust_env=trust_env)
    return _made(trust_env, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _made(trust_env: bool, _file: str | None, _folder: str | None) -> ssl.SSLContext:
    return _create(trust_env=trust_env)
