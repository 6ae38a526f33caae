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
from email.utils import parsedate_to_datetime
from ssl import SSLContext

from server.auth import outbound
from server.auth.outbound import Guard, OutboundError, Resolve, Target
from server.errors import FieldInvalidError
from server.events import addresses, signing

SECONDS = 15.0
KEPT_BYTES = 1024
"""Of an answer, for the log of deliveries."""
_LONGEST_URL = 2048
_MOST_DIGITS = 9  # of a number of seconds: centuries
_AGENT = b"Videodock"


@dataclass(frozen=True)
class Sent:
    """What came of one attempt: the answer, or the code of `server/messages/events.py` that says why there is none."""

    seconds: float
    status: int | None = None
    answer: str | None = None
    error_code: str | None = None
    retry_after: float = 0.0
    """Seconds for which a receiver that is busy (429, 503) wants nothing; 0 if it says nothing of that."""

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
        wait = _seconds(answer.retry_after or "") if answer.status in (429, 503) else 0.0
        return Sent(time.monotonic() - began, answer.status, text, retry_after=wait)

    def _allows(self, address: str) -> bool:
        return self.allow_private or addresses.is_public(address)

    def close(self) -> None:
        """Let the threads end. Does not wait for them."""
        self.resolvers.shutdown(wait=False, cancel_futures=True)


def _seconds(retry_after: str) -> float:
    """Seconds of a Retry-After, a number or a date (RFC 9110 section 10.2.3); 0 for one that is neither or is over."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:_MOST_DIGITS])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
