"""Spans as OpenTelemetry has them, sent by OTLP (http/protobuf) from a thread of the library.

Rule: only `open_tracing` imports this module. A collector that is away, or that needs more than `_EXPORT_SECONDS` for
an answer, costs the spans that were to be sent, and nothing else: no request and no step waits for it.
"""

import os
import threading
import time
from datetime import datetime

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from server.tracing import AttemptTrace, Span, Tracing, is_sampled, root_id, trace_id
from server.version import __version__

_EXPORT_SECONDS = 5
_CLOSE_MILLISECONDS = 3000
_KINDS = {"internal": SpanKind.INTERNAL, "server": SpanKind.SERVER, "client": SpanKind.CLIENT}
_FLAGS = TraceFlags(TraceFlags.SAMPLED)


class OtelTracing(Tracing):
    """Sends the spans of a share of all tasks to a collector."""

    is_on = True

    def __init__(self, endpoint: str, share: float) -> None:
        name = os.environ.get("OTEL_SERVICE_NAME", "videodock")
        self._share = share
        self._ids = _ChosenIds()
        # The share is ours: the library's ratio looks at bits of the trace id that are no chance in a UUID.
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource.create({SERVICE_NAME: name, SERVICE_VERSION: __version__}),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("videodock", __version__)

    def record(self, task_id: str, span: Span) -> None:
        """As `Tracing.record`."""
        if is_sampled(task_id, self._share):
            self.make(span, _below_root(task_id))

    def make(self, span: Span, parent: SpanContext) -> None:
        """Record a span below `parent`."""
        made = self._tracer.start_span(
            span.name,
            context=trace.set_span_in_context(trace.NonRecordingSpan(parent)),
            kind=_KINDS[span.kind],
            attributes=dict(span.attributes),
            links=_links(span.caller),
            start_time=span.started,
        )
        if span.error:
            made.set_status(Status(StatusCode.ERROR, span.error))
        made.end(span.ended)

    def begin(self, name: str, parent: SpanContext, attributes: dict[str, str | int]) -> trace.Span:
        """Begin a span below `parent`; its caller ends it."""
        context = trace.set_span_in_context(trace.NonRecordingSpan(parent))
        return self._tracer.start_span(name, context=context, attributes=attributes)

    def root(self, task_id: str, span: Span) -> None:
        """Record the root of the task's trace."""
        with self._ids.chosen(trace_id(task_id), root_id(task_id)):
            made = self._tracer.start_span(
                span.name,
                context=trace.set_span_in_context(trace.INVALID_SPAN),
                attributes=dict(span.attributes),
                start_time=span.started,
            )
        if span.error:
            made.set_status(Status(StatusCode.ERROR, span.error))
        made.end(span.ended)

    def attempt(self, task_id: str, number: int) -> AttemptTrace:
        """As `Tracing.attempt`."""
        if not is_sampled(task_id, self._share):
            return super().attempt(task_id, number)
        return _OtelAttempt(self, task_id, number)

    def traceparent(self, task_id: str) -> str | None:
        """As `Tracing.traceparent`."""
        if not is_sampled(task_id, self._share):
            return None
        return f"00-{trace_id(task_id):032x}-{root_id(task_id):016x}-01"

    def close(self) -> None:
        """As `Tracing.close`."""
        self._provider.force_flush(_CLOSE_MILLISECONDS)
        self._provider.shutdown()


class _OtelAttempt(AttemptTrace):
    is_on = True

    def __init__(self, tracing: OtelTracing, task_id: str, number: int) -> None:
        self._tracing = tracing
        self._task_id = task_id
        self._begun: dict[tuple[str, str], int] = {}
        self._span = tracing.begin("process", _below_root(task_id), {"videodock.attempt": number})

    def begin(self, file_id: str, step: str) -> None:
        self._begun[file_id, step] = time.time_ns()

    def end(self, file_id: str, step: str, outcome: object) -> None:
        now = time.time_ns()
        error = ""
        if isinstance(outcome, Exception):
            # Not its text, which may have a path: the code, or the name of the class.
            error = str(getattr(outcome, "code", None) or type(outcome).__name__)
        attributes = {"videodock.file": file_id, "videodock.step": step}
        span = Span(
            name=step,
            started=self._begun.pop((file_id, step), now),
            ended=now,
            attributes=attributes,
            error=error,
        )
        self._tracing.make(span, self._span.get_span_context())

    def task_ended(self, status: str, created: datetime | None) -> None:
        now = time.time_ns()
        started = now if created is None else int(created.timestamp() * 1e9)
        attributes = {"videodock.task": self._task_id, "videodock.status": status}
        error = status if status == "error" else ""
        span = Span(name="video", started=started, ended=now, attributes=attributes, error=error)
        self._tracing.root(self._task_id, span)

    def close(self) -> None:
        self._span.end()


class _Choice(threading.local):
    ids: tuple[int, int] | None = None


class _ChosenIds(RandomIdGenerator):
    """Random ids, but for the root of a trace."""

    def __init__(self) -> None:
        self._choice = _Choice()

    def chosen(self, trace: int, span: int) -> "_Chosen":
        """Within this context, this thread makes the span with these ids."""
        return _Chosen(self._choice, (trace, span))

    def generate_span_id(self) -> int:
        """The library's name."""
        return self._choice.ids[1] if self._choice.ids else super().generate_span_id()

    def generate_trace_id(self) -> int:
        """The library's name."""
        return self._choice.ids[0] if self._choice.ids else super().generate_trace_id()


class _Chosen:
    def __init__(self, choice: _Choice, ids: tuple[int, int]) -> None:
        self._choice = choice
        self._ids = ids

    def __enter__(self) -> None:
        self._choice.ids = self._ids

    def __exit__(self, *_: object) -> None:
        self._choice.ids = None


def _below_root(task_id: str) -> SpanContext:
    return SpanContext(trace_id(task_id), root_id(task_id), is_remote=True, trace_flags=_FLAGS)


def _links(traceparent: str | None) -> list[Link]:
    if traceparent is None:
        return []
    found = TraceContextTextMapPropagator().extract({"traceparent": traceparent})
    context = trace.get_current_span(found).get_span_context()
    return [Link(context)] if context.is_valid else []
