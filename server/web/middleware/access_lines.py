"""The access log: one line for each request, at the level `info` of the logger `videodock.access`.

Rule: the event loop never waits for the reader of the log. Where the log is JSON, lines are put into a queue, and a
thread renders and writes them together; the general way through structlog and logging costs as much as all the rest
of a small request. When the reader stops, lines are dropped, and one more line reports how many.
"""

import logging
import os
import threading
import time
from collections import deque
from contextlib import suppress
from json.encoder import encode_basestring_ascii as _quoted
from typing import NamedTuple

import structlog

from server.observability import JsonHandler

_MOST_LINES = 20_000  # about 8 MB
_GATHER_SECONDS = 0.02  # between two writes

_log = structlog.stdlib.get_logger("videodock.access")
_logger = logging.getLogger("videodock.access")


class RequestFacts(NamedTuple):
    """The fields of a request in the log. Sizes in bytes; `client` is its address."""

    request_id: str
    method: str
    path: str
    status: int
    seconds: float
    bytes_in: int
    bytes_out: int
    client: str | None


class AccessLines:
    """The lines of one application."""

    def __init__(self, most: int = _MOST_LINES) -> None:
        self._most = most
        self._waiting: deque[tuple[float, RequestFacts]] = deque()
        self._missing = 0
        self._has_lines = threading.Event()
        self._writing = threading.Lock()
        self._owner = 0  # the process whose thread writes

    def add(self, facts: RequestFacts) -> None:
        """Log a request. Does not block."""
        if _json_handler() is None:
            _log_generally(facts)
        elif not _logger.isEnabledFor(logging.INFO):
            return
        elif len(self._waiting) >= self._most:
            self._missing += 1
        else:
            self._waiting.append((time.time(), facts))
            if self._owner != os.getpid():
                self._start()
            if not self._has_lines.is_set():
                self._has_lines.set()

    def flush(self) -> None:
        """Write the lines that wait. Blocks."""
        with self._writing:
            missing, self._missing = self._missing, 0
            lines = [_render(*self._waiting.popleft()) for _ in range(len(self._waiting))]
            handler = _json_handler()
            if lines and handler is not None:
                handler.write("".join(lines))
        if missing:
            _log.warning("access_lines_missing", count=missing)

    def _start(self) -> None:
        self._owner = os.getpid()
        threading.Thread(target=self._write, name="access-log", daemon=True).start()

    def _write(self) -> None:
        while self._has_lines.wait():
            self._has_lines.clear()
            with suppress(OSError, ValueError):  # standard error is closed or full: then logging loses its lines, too
                self.flush()
            time.sleep(_GATHER_SECONDS)


def _json_handler() -> JsonHandler | None:
    first = logging.root.handlers[0] if logging.root.handlers else None
    return first if isinstance(first, JsonHandler) else None


def _log_generally(facts: RequestFacts) -> None:
    _log.info(
        "request",
        method=facts.method,
        path=facts.path,
        status=facts.status,
        seconds=round(facts.seconds, 4),
        bytes_in=facts.bytes_in,
        bytes_out=facts.bytes_out,
        client=facts.client,
    )


def _render(at: float, facts: RequestFacts) -> str:
    """The same line as the general way writes."""
    stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at))}.{int(at % 1 * 1e6):06d}Z"
    client = "null" if facts.client is None else _quoted(facts.client)
    return (
        f'{{"method": {_quoted(facts.method)}, "path": {_quoted(facts.path)}, "status": {facts.status}, '
        f'"seconds": {round(facts.seconds, 4)}, "bytes_in": {facts.bytes_in}, "bytes_out": {facts.bytes_out}, '
        f'"client": {client}, "event": "request", "request_id": {_quoted(facts.request_id)}, '
        f'"logger": "videodock.access", "level": "info", "timestamp": "{stamp}"}}\n'
    )
