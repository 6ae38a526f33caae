"""A receiver of OTLP by HTTP, in place of an OpenTelemetry collector: it decodes the protobuf, and keeps the spans.

Rule: what it takes is what the collector's own definition of the protocol (opentelemetry-proto) can read.
"""

import gzip
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Received:
    """One span. Ids are hex; times nanoseconds; `process` is the id of the process that sent it."""

    name: str
    trace: str
    id: str
    parent: str
    started: int
    ended: int
    kind: int
    error: str
    service: str
    attributes: dict[str, Any] = field(default_factory=dict)
    links: tuple[str, ...] = ()


class Collector:
    """Runs while its `with` block does."""

    def __init__(self) -> None:
        self.spans: list[Received] = []
        self.headers: list[dict[str, str]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                assert self.headers["Content-Type"] == "application/x-protobuf"
                collector.headers.append(dict(self.headers.items()))
                collector.spans += list(_spans(ExportTraceServiceRequest.FromString(body)))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Nothing on standard error."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """For the setting `otel_endpoint`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def trace(self, task_id: str) -> list[Received]:
        """The spans of a task."""
        return [span for span in self.spans if span.trace == task_id.replace("-", "")]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _spans(request: ExportTraceServiceRequest) -> list[Received]:
    found = []
    for resource in request.resource_spans:
        service = {pair.key: pair.value.string_value for pair in resource.resource.attributes}["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                attributes = {
                    pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value")
                    for pair in span.attributes
                }
                found.append(
                    Received(
                        name=span.name,
                        trace=span.trace_id.hex(),
                        id=span.span_id.hex(),
                        parent=span.parent_span_id.hex(),
                        started=span.start_time_unix_nano,
                        ended=span.end_time_unix_nano,
                        kind=span.kind,
                        error=span.status.message,
                        service=service,
                        attributes=attributes,
                        links=tuple(link.trace_id.hex() for link in span.links),
                    )
                )
    return found
