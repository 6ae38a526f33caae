"""Traces: what happened to an upload from its creation to the end of its task, in any number of processes.

Rules:

- A trace belongs to a task. Its id is the task's id as a number, and the span id of its root is derived from it: every
  process knows the context of a task from its id alone, and no column carries one.
- Spans are made when they end, from times that their caller took; no context is handed between threads.
- Without a collector nothing of OpenTelemetry is imported, and every call here does nothing.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.util import find_spec
from uuid import UUID

from server.errors import StartError

Attribute = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class Span:
    """One span that has ended. Times are nanoseconds since 1970; `error` is a code, empty when nothing failed."""

    name: str
    started: int
    ended: int
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    error: str = ""
    kind: str = "internal"
    """`internal`, `server`, or `client` for a request that we send."""
    caller: str | None = None
    """The `traceparent` of the client that asked for it (W3C Trace Context): the span is linked with that trace."""


class AttemptTrace:
    """The spans of one attempt at a task; this one makes none."""

    is_on = False

    def begin(self, file_id: str, step: str) -> None:
        """A step begins."""

    def end(self, file_id: str, step: str, outcome: object) -> None:
        """A step has ended with these facts, or with an exception."""

    def task_ended(self, status: str, created: datetime | None) -> None:
        """The task has ended in this state; its first upload was created then."""

    def close(self) -> None:
        """The attempt is over."""


class Tracing:
    """Where spans go; this one drops them."""

    is_on = False

    def record(self, task_id: str, span: Span) -> None:
        """Record a span of the task's trace, below its root. Does not block, raises nothing."""

    def attempt(self, task_id: str, number: int) -> AttemptTrace:  # noqa: ARG002
        """The spans of an attempt that begins now."""
        return NO_TRACE

    def traceparent(self, task_id: str) -> str | None:  # noqa: ARG002
        """The header by which another server joins the task's trace; None without a trace."""
        return None

    def close(self) -> None:
        """Send what has been recorded, for at most some seconds. Blocking."""


NO_TRACE = AttemptTrace()
NO_TRACING = Tracing()


def trace_id(task_id: str) -> int:
    """The id of the task's trace: the UUID as a number."""
    return UUID(task_id).int


def root_id(task_id: str) -> int:
    """The span id of the trace's root."""
    return int.from_bytes(_digest(task_id)[:8], "big") or 1


def is_sampled(task_id: str, share: float) -> bool:
    """Whether the task is among the `share` (0 to 1) that is traced: every process answers alike."""
    return int.from_bytes(_digest(task_id)[8:], "big") < share * 2**64


def _digest(task_id: str) -> bytes:
    # Not the id's own bits: those of a UUID are not all random.
    return hashlib.blake2b(task_id.encode(), digest_size=16, person=b"videodock trace").digest()


def open_tracing(endpoint: str, share: float) -> Tracing:
    """Tracing to the collector at this base URL, or none when it is empty. Raises `StartError`. Connects to nothing."""
    if not endpoint:
        return NO_TRACING
    for needed in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"):
        try:
            found = find_spec(needed)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise StartError(
                "otel_endpoint needs OpenTelemetry: .venv/bin/pip install '.[otel]' in a checkout, else "
                "pip install 'videodock[otel]'."
            )
    from server.tracing.otel import OtelTracing

    return OtelTracing(endpoint, share)
