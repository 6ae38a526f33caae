"""Forward authentication: the operator's own service at `auth_url` says whether an upload may be created.

Rules:

- It fails closed: only an answer 200 with an owner allows, a 4xx refuses, and everything else is `UnavailableError`.
- What the answer restricts is obeyed or the answer is invalid; a limit that cannot be read is never left out.
- An answer never makes an administrator.
- Keys, grants and sign-ins of Videodock itself are not passed on; the service could use them.
- The service is asked on threads of its own: while it hangs, all other work goes on.
"""

import json
import re
import ssl
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import structlog

from server import threads
from server.auth import outbound
from server.auth.principal import CreationLimits, Principal, Scope, is_owner, scopes_of
from server.errors import (
    CredentialInvalidError,
    HeaderInvalidError,
    RefusedByBackendError,
    StartError,
    UnavailableError,
)
from server.settings import Settings

_log = structlog.stdlib.get_logger("videodock.auth")

MOST_ASKED = 32
"""Questions that are open at once; later ones wait, and their time limit runs meanwhile."""
MOST_BYTES = 64 << 10
"""The longest answer."""
_MOST_EXPLAINED = 300  # characters

_DEFAULT_SCOPES = frozenset({Scope.UPLOAD, Scope.READ, Scope.MANAGE})
_KEY = re.compile(r"[!-+\--~]{1,255}")  # of metadata, as tus has it
_MOST_METADATA = 8 << 10  # characters of keys and values; an upload may have 16 KiB, in Base64
_OUR_BEARER = re.compile(rb"bearer[ \t]+vd[kg]_", re.IGNORECASE)
_OUR_COOKIE = re.compile(rb"(?:__Host-|__Secure-)?videodock_session(?:_[A-Za-z0-9_]*)?[ \t]*=")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
# The request to the service has these of its own; copies of the client's would describe another body or connection.
_OWN = frozenset(
    b"accept accept-encoding connection content-encoding content-length content-type expect host keep-alive "
    b"proxy-connection te trailer transfer-encoding upgrade".split()
)


@dataclass(frozen=True, kw_only=True)
class UploadQuestion:
    """What is to be uploaded, as the client declares it. `size` is in bytes; None is unknown."""

    protocol: Literal["tus", "form"]
    name: str | None = None
    size: int | None = None
    type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    remote_address: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class ForwardAuth:
    """Asks `auth_url`. Raises `StartError` when that is not a URL. `context` is for https, see `outbound.request`."""

    settings: Settings
    context: ssl.SSLContext | None = None
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(MOST_ASKED, "auth_url"))

    def __post_init__(self) -> None:
        if self.is_configured:
            try:
                outbound.Target.of(self.settings.auth_url)
            except ValueError as error:
                raise StartError(f"The setting auth_url cannot be used: {error}.") from None

    @property
    def is_configured(self) -> bool:
        """Whether there is a service to ask."""
        return bool(self.settings.auth_url)

    async def ask(self, question: UploadQuestion, headers: Iterable[tuple[bytes, bytes]]) -> Principal:
        """Whom the service takes the client for, and what this creation is limited to.

        `headers` are the request's, as an ASGI scope has them; those of `auth_url_headers` are passed on. Raises
        `RefusedByBackendError`, `UnavailableError`, and for headers `CredentialInvalidError` or `HeaderInvalidError`.
        """
        deadline = time.monotonic() + self.settings.auth_url_timeout
        passed = self._passed(headers)
        body = json.dumps(asdict(question)).encode("ascii")
        try:
            return _principal(await threads.run(self._request, deadline, passed, body, pool=self.pool))
        except (outbound.OutboundError, ValueError) as error:
            _log.warning("auth_url_unavailable", reason=str(error))
            raise UnavailableError(part="auth_url") from None

    def _request(self, deadline: float, headers: list[tuple[bytes, bytes]], body: bytes) -> outbound.Answer:
        """Blocking."""
        target = outbound.Target.of(self.settings.auth_url)
        if target.authorization is not None:  # the one of the URL; two of them could be read in two ways
            headers = [(name, value) for name, value in headers if name != b"authorization"]
        return outbound.request(
            target,
            deadline=deadline,
            most=MOST_BYTES,
            method="POST",
            headers=[(b"Content-Type", b"application/json"), (b"Accept", b"application/json"), *headers],
            body=body,
            context=self.context,
        )

    def _passed(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """The chosen headers, each once."""
        wanted = {name.lower().encode("ascii") for name in self.settings.auth_url_headers} - _OWN
        found: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            if name.lower() in wanted:
                found.setdefault(name.lower(), []).append(value)
        if len(found.get(b"authorization", ())) > 1:
            raise CredentialInvalidError(reason="credential_repeated")
        passed = [(name, _joined(name, values)) for name, values in found.items()]
        for name, value in passed:
            if _CONTROL.search(value):
                raise HeaderInvalidError(name=name.decode("ascii"), reason="header_characters")
        return [(name, value) for name, value in passed if value]

    def close(self) -> None:
        """Let the threads end. Does not wait for them."""
        self.pool.shutdown(wait=False, cancel_futures=True)


def _joined(name: bytes, values: list[bytes]) -> bytes:
    """One value of several (RFC 9110 section 5.3; RFC 6265 section 5.4 for cookies), without our own credentials."""
    if name == b"authorization":
        return b"" if _OUR_BEARER.match(values[0].lstrip()) else values[0]
    if name == b"cookie":
        pairs = [pair.strip() for value in values for pair in value.split(b";")]
        return b"; ".join(pair for pair in pairs if pair and not _OUR_COOKIE.match(pair))
    return b", ".join(values)


def _principal(answer: outbound.Answer) -> Principal:
    """What the answer allows. Raises `RefusedByBackendError`, and `ValueError` for an answer that says neither.

    An optional member that is null counts as left out.
    """
    if 400 <= answer.status < 500:
        raise RefusedByBackendError(explanation=_explanation(answer))
    if answer.status != 200:
        raise ValueError(f"the status is {answer.status}")
    document = _document(answer)
    owner = document.get("owner")
    if not is_owner(owner):
        raise ValueError("the answer has no valid owner")
    limits = CreationLimits(_max_size(document.get("max_size")), _metadata(document.get("metadata")))
    return Principal(owner, _scopes(document.get("scopes")), f"auth_url:{owner}", limits)


def _document(answer: outbound.Answer) -> dict[str, Any]:
    """The JSON object of the answer. Raises `ValueError`."""
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError("the answer is not a JSON object")  # noqa: TRY004  # of what came, not of our argument
    return found


def _scopes(value: object) -> frozenset[Scope]:
    if value is None:
        return _DEFAULT_SCOPES
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ValueError("the scopes of the answer are not a list of words")
    return scopes_of(value) - {Scope.ADMIN}


def _max_size(value: object) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise ValueError("the max_size of the answer is not a number of bytes")
    return value


def _metadata(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(_is_metadata(key, text) for key, text in value.items()):
        raise ValueError("the metadata of the answer are not keys and texts")
    if sum(len(key) + len(text) for key, text in value.items()) > _MOST_METADATA:
        raise ValueError("the metadata of the answer are too large")
    return value


def _is_metadata(key: str, text: object) -> bool:
    # JSON can have halves of surrogates, which no encoding has.
    return _KEY.fullmatch(key) is not None and isinstance(text, str) and text == text.encode("utf-8", "ignore").decode()


def _explanation(answer: outbound.Answer) -> str:
    """The `message` of its JSON, else its text, as one line that is safe to show; empty without any."""
    try:
        message = _document(answer).get("message")
    except ValueError:
        is_text = answer.content_type == "text/plain"  # a page of HTML is no sentence
        message = answer.body[: 8 * _MOST_EXPLAINED].decode("utf-8", "replace") if is_text else None
    return _shown(message) if isinstance(message, str) else ""


def _shown(text: str) -> str:
    """One line without characters that control a terminal, a page or the direction of text."""
    spaced = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(spaced.split())[:_MOST_EXPLAINED].strip()
