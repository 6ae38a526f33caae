"""The operator's view: structured log lines and Prometheus metrics.

Rule: one renderer for every line of every logger, and no global metric: each app has its own `Metrics`.
This module knows no request, database or setting; callers pass names and numbers.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from prometheus_client import Metric
    from structlog.typing import EventDict, Processor, WrappedLogger

Counts = Callable[[], tuple[int, Mapping[str, int]]]
Room = Callable[[], Mapping[str, int]]


@dataclass(frozen=True)
class Gauge:
    """One metric, as it is now: a number, or numbers by the values of the one label `label`."""

    name: str
    doc: str
    value: float | Mapping[str, float]
    label: str = ""

    def family(self) -> "Metric":
        """For the library."""
        from prometheus_client.core import GaugeMetricFamily

        if not isinstance(self.value, Mapping):
            return GaugeMetricFamily(self.name, self.doc, value=self.value)
        family = GaugeMetricFamily(self.name, self.doc, labels=[self.label])
        for text, number in self.value.items():
            family.add_metric([text], number)
        return family


More = Callable[[], Iterable[Gauge]]

_ROOM = {
    "free": "Bytes that are free on the disk of the uploads.",
    "promised": "Bytes that open uploads were promised room for and lack.",
    "reserve": "Bytes of the disk that uploads leave free.",
}

# These log a line for each look at the clock or at the schema, which is for debugging.
_CHATTY = ("apscheduler", "alembic", "asyncio", "sqlalchemy", "PIL")

# Seconds. A response from a row takes milliseconds, the PATCH of a phone on a train takes minutes.
_BUCKETS = (0.005, 0.02, 0.1, 0.5, 1, 5, 30, 120, 600)


def configure_logging(level: str, form: str) -> None:
    """Send every log line of the process to standard error, in one form.

    `level` is `debug`, `info`, `warning` or `error`; `form` is `json`, `console`, or `auto`: console when
    standard error is a terminal. May be called again; the last call counts.
    """
    import structlog

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_request_id,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # a logger made before this call must follow it
    )
    handler = (JsonHandler if _is_json(form) else logging.StreamHandler)(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _drop_colour,
                *_renderers(form),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    _quieten(level)
    logging.captureWarnings(capture=True)


REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The request that is being answered: lines of the log that come from it have its id."""


class JsonHandler(logging.StreamHandler[TextIO]):
    """Writes each record as one JSON object on one line."""

    def write(self, lines: str) -> None:
        """Write lines that are JSON already, in one piece. Raises `OSError`, and `ValueError` when it is closed."""
        self.acquire()
        try:
            self.stream.write(lines)
            self.flush()
        finally:
            self.release()


def _is_json(form: str) -> bool:
    return form == "json" or (form == "auto" and not sys.stderr.isatty())


def _renderers(form: str) -> "list[Processor]":
    import structlog

    if _is_json(form):
        # ASCII only: the line stays JSON whatever the encoding of standard error and the characters of a name.
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    renderer = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    return [_printable, renderer]


def _quieten(level: str) -> None:
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        # uvicorn gives its loggers handlers of their own; without them the root's form applies.
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"  # middleware/access_log.py writes the access log
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET if level == "debug" else logging.WARNING)


def _add_request_id(_logger: "WrappedLogger", _method: str, event: "EventDict") -> "EventDict":
    request_id = REQUEST_ID.get()
    if request_id is not None:
        event["request_id"] = request_id
    return event


def _drop_colour(_logger: "WrappedLogger", _method: str, event: "EventDict") -> "EventDict":
    event.pop("color_message", None)  # uvicorn's message a second time, with escape sequences
    return event


def _printable(_logger: "WrappedLogger", _method: str, event: "EventDict") -> "EventDict":
    # A path or a file name is untrusted text: a terminal would execute its control characters.
    for key, value in event.items():
        if isinstance(value, str) and key not in ("exception", "stack") and not value.isprintable():
            event[key] = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value)
    return event


class Metrics:
    """The metrics of one app.

    `counts` returns, at each scrape, the number of open uploads and of tasks by status, and `room` what is free,
    reserved for uploads, and kept free on the disk in bytes, and `more` any other gauges; all may block.
    With `PROMETHEUS_MULTIPROC_DIR` set before the process starts, counters and histograms are kept in that
    folder and `render` sums over all processes that use it, including dead ones.
    """

    def __init__(self, counts: Counts | None = None, room: Room | None = None, more: More | None = None) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram

        self._gauges = _Gauges(counts, room, more)
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "videodock_requests_total",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self.request_seconds = Histogram(
            "videodock_request_seconds",
            "Seconds from the head of a request to the end of its answer.",
            ["method", "route"],
            registry=self._registry,
            buckets=_BUCKETS,
        )
        self.received_bytes = Counter(
            "videodock_received_bytes_total",
            "Bytes of files received, by protocol: tus or multipart.",
            ["protocol"],
            registry=self._registry,
        )
        self._deliveries = Counter(
            "videodock_webhook_deliveries_total",
            "Messages of webhooks by outcome: delivered, failed (tried again later) or dead (given up).",
            ["outcome"],
            registry=self._registry,
        )
        self._hook_calls = Counter(
            "videodock_hook_calls_total",
            "Calls of Python hooks, by hook and outcome: ok, refused, failed or timeout.",
            ["hook", "outcome"],
            registry=self._registry,
        )
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        for protocol in ("tus", "multipart"):
            self.received_bytes.labels(protocol)  # a counter that is 0 from the start can be graphed
        for outcome in ("delivered", "failed", "dead"):
            self._deliveries.labels(outcome)
        for hook in ("pre_create", "post_finish", "post_task"):
            for outcome in ("ok", "failed", "timeout"):
                self._hook_calls.labels(hook, outcome)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request that has ended; `method` and `route` come from small sets."""
        key = method, route, status
        children = self._children.get(key)
        if children is None:  # looked up once: the library's look-up costs more than all else here
            children = self.requests.labels(method, route, str(status)), self.request_seconds.labels(method, route)
            self._children[key] = children
        children[0].inc()
        children[1].observe(seconds)

    def count_deliveries(self, outcome: str, number: int) -> None:
        """So many messages of webhooks were sent with this outcome."""
        self._deliveries.labels(outcome).inc(number)

    def count_hook_call(self, hook: str, outcome: str) -> None:
        """A hook was called."""
        self._hook_calls.labels(hook, outcome).inc()

    @property
    def content_type(self) -> str:
        """The media type of the text that `render` returns."""
        from prometheus_client import CONTENT_TYPE_LATEST

        return CONTENT_TYPE_LATEST

    def render(self, now: Iterable[Gauge] = ()) -> bytes:
        """The metrics in Prometheus' text form, with the gauges `now`. Blocks: it reads the database and files."""
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        registry.register(self._gauges)
        registry.register(_Given(now))
        return generate_latest(self._counted()) + generate_latest(registry)

    def _counted(self) -> Any:
        from prometheus_client import CollectorRegistry, values
        from prometheus_client.multiprocess import MultiProcessCollector

        # The library chose between memory and files when it was imported; the environment may have changed.
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if folder is None or not getattr(values.ValueClass, "_multiprocess", False):
            return self._registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
        return registry


class _Gauges:
    """Open uploads, tasks and disk space, read at each scrape: the same from every process."""

    def __init__(self, counts: Counts | None, room: Room | None, more: More | None) -> None:
        self._counts = counts
        self._room = room
        self._more = more

    def describe(self) -> "list[Metric]":
        return []  # otherwise registering would already read the database

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.core import GaugeMetricFamily

        if self._counts is None:
            return
        try:
            uploads, tasks = self._counts()
            room = self._room() if self._room else {}
            others = list(self._more()) if self._more else []
        except Exception:
            # The counters in memory are of use especially while the database is away.
            import structlog

            structlog.stdlib.get_logger("videodock.observability").exception("counting_failed")
            return
        yield GaugeMetricFamily("videodock_open_uploads", "Uploads that lack bytes.", value=uploads)
        family = GaugeMetricFamily("videodock_tasks", "Tasks by status.", labels=["status"])
        for status, number in tasks.items():
            family.add_metric([status], number)
        yield family
        for name, number in room.items():
            yield GaugeMetricFamily(f"videodock_disk_{name}_bytes", _ROOM[name], value=number)
        for gauge in others:
            yield gauge.family()


class _Given:
    """Gauges that the caller has read already."""

    def __init__(self, gauges: Iterable[Gauge]) -> None:
        self._gauges = gauges

    def collect(self) -> "Iterator[Metric]":
        for gauge in self._gauges:
            yield gauge.family()
