"""One message over HTTP: where it may go, and what came of it.

Rules:

- The address is checked that is connected to (`addresses.py`), redirects are not followed, and a message has 15 seconds
  in all. Only the head of the answer and its first KiB are read.
- An answer 2xx is a delivery; everything else is none. Nothing here raises because of what a receiver does.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ssl import SSLContext

from server.auth import outbound
from server.auth.outbound import Guard, OutboundError, Resolve, Target
from server.errors import FieldInvalidError
from server.events import addresses, signing

SECONDS = 15.0
KEPT_BYTES = 1024
"""Of an answer, for the log of deliveries."""
_LONGEST_URL = 2048
_AGENT = b"Videodock"


@dataclass(frozen=True)
class Sent:
    """What came of one attempt: the answer, or the code of `server/messages/events.py` that says why there is none."""

    seconds: float
    status: int | None = None
    answer: str | None = None
    error_code: str | None = None

    @property
    def is_delivered(self) -> bool:
        """Whether the receiver has it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """Whether the receiver wants no more messages (410, by the Standard Webhooks scheme)."""
        return self.status == 410


@dataclass(frozen=True, kw_only=True, repr=False)
class Sender:
    """Sends messages, from several threads. `context` verifies certificates, `resolve` looks up names (tests)."""

    allow_private: bool
    context: SSLContext | None = None
    resolve: Resolve | None = None
    seconds: float = SECONDS
    # A name that is slow to look up must delay no other look-up of the server.
    resolvers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(16, "webhook-names"))

    def check_url(self, url: str) -> None:
        """Raise `FieldInvalidError` for a URL that no message may go to. Its name is looked up later, each time."""
        if len(url) > _LONGEST_URL or not url.isprintable() or "#" in url:
            raise FieldInvalidError(field="url", reason="webhook_url", most=_LONGEST_URL)
        try:
            target = Target.of(url)
        except (ValueError, UnicodeError):
            raise FieldInvalidError(field="url", reason="webhook_url", most=_LONGEST_URL) from None
        if target.authorization is not None:
            raise FieldInvalidError(field="url", reason="webhook_credentials")
        is_name = not (target.host.replace(".", "").isdigit() or ":" in target.host)
        is_local = target.host == "localhost" or target.host.endswith(".localhost")
        if not self.allow_private and (is_local if is_name else not addresses.is_public(target.host)):
            raise FieldInvalidError(field="url", reason="webhook_private")

    def post(
        self,
        url: str,
        message_id: str,
        timestamp: int,
        body: bytes,
        keys: Sequence[str],
        traceparent: str | None = None,
    ) -> Sent:
        """Send one message, signed with each of these secrets, and with the trace that it belongs to (W3C Trace
        Context). Blocking, for 15 seconds at most."""
        began = time.monotonic()
        headers = [
            (b"Content-Type", b"application/json"),
            (b"User-Agent", _AGENT),
            *signing.headers(message_id, timestamp, body, keys),
        ]
        if traceparent is not None:
            headers.append((b"traceparent", traceparent.encode()))
        try:
            answer = outbound.request(
                Target.of(url),
                deadline=began + self.seconds,
                most=KEPT_BYTES,
                method="POST",
                headers=headers,
                body=body,
                context=self.context,
                guard=Guard(allows=self._allows, resolvers=self.resolvers, resolve=self.resolve),
                cut=True,
            )
        except OutboundError as error:
            return Sent(time.monotonic() - began, error_code=f"webhook_{error.code}")
        # PostgreSQL's texts have no NUL.
        text = answer.body.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
        return Sent(time.monotonic() - began, answer.status, text)

    def _allows(self, address: str) -> bool:
        return self.allow_private or addresses.is_public(address)

    def close(self) -> None:
        """Let the threads end. Does not wait for them."""
        self.resolvers.shutdown(wait=False, cancel_futures=True)
