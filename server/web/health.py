"""For monitoring: whether the server is alive and can work, and what it has done.

Rule: the responses are public, except for the metrics. They name the failing part and nothing more; the text of an
exception, which may hold a path or a password, goes to the log only.
"""

import threading
from collections.abc import Awaitable, Callable, Mapping

import anyio
import anyio.to_thread
import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from server.messages.phrases import Phrase
from server.observability import Gauge, Metrics
from server.version import __version__
from server.web.described import DescribedRoute
from server.web.openapi.server import HEALTHZ, METRICS, READYZ

Check = Callable[[], str | None]
CheckScraper = Callable[[Scope], Awaitable[None]]

TIME_LIMIT = 2.0
"""Seconds that a check may take."""

_AT_ONCE = 4
_NO_STORE = {"Cache-Control": "no-store"}
_log = structlog.stdlib.get_logger("videodock.web")


def routes(
    checks: Mapping[str, Check],
    metrics: Metrics,
    time_limit: float = TIME_LIMIT,
    hints: frozenset[str] = frozenset(),
    check_scraper: CheckScraper | None = None,
    is_draining: Callable[[], bool] = bool,
) -> list[DescribedRoute]:
    """`GET /healthz`, `/readyz` and `/metrics`.

    A check blocks, in a thread, for at most `time_limit` seconds. It returns None when its part can work and
    otherwise a short sentence, which is public; when it raises, the sentence is ours. The server is ready
    without those parts that `hints` names. `check_scraper` raises for a request that may not have the metrics, which
    tell how much all owners upload. While `is_draining`, the server works, and is not ready: a load balancer sends its
    requests elsewhere.
    """
    probes = Probes(checks, metrics, time_limit, hints, check_scraper, is_draining)
    return [
        DescribedRoute("/healthz", _alive, HEALTHZ, methods=["GET"]),
        DescribedRoute("/readyz", probes.ready, READYZ, methods=["GET"]),
        DescribedRoute("/metrics", probes.metrics, METRICS, methods=["GET"]),
    ]


async def _alive(request: Request) -> Response:
    request.state.route = "/healthz"
    return JSONResponse({"status": "alive"}, headers=_NO_STORE)


class Probes:
    """The checks of an application, run concurrently. `hints` and `time_limit` as for `routes`."""

    def __init__(
        self,
        checks: Mapping[str, Check],
        metrics: Metrics,
        time_limit: float = TIME_LIMIT,
        hints: frozenset[str] = frozenset(),
        check_scraper: CheckScraper | None = None,
        is_draining: Callable[[], bool] = bool,
    ) -> None:
        self._checks = checks
        self._is_draining = is_draining
        self._check_scraper = check_scraper
        self._hints = hints
        self._metrics = metrics
        self._time_limit = time_limit
        # A check that hangs keeps its thread, and a monitor asks again every few seconds: the number of threads that
        # may be lost in this way is bounded. (AnyIO's limiter does not count a thread that was given up.)
        self._running = {name: threading.BoundedSemaphore(_AT_ONCE) for name in checks}
        self._threads = anyio.CapacityLimiter(_AT_ONCE * max(1, len(checks)))
        self._scrapes = anyio.CapacityLimiter(2)

    async def ready(self, request: Request) -> Response:
        request.state.route = "/readyz"
        found = await self.run()
        if self._is_draining():
            found["serving"] = "stops soon"
        well = all(sentence == "ok" for name, sentence in found.items() if name not in self._hints)
        return JSONResponse(
            {"status": "ready" if well else "not ready", "checks": found},
            status_code=200 if well else 503,
            headers=_NO_STORE,
        )

    async def run(self) -> dict[str, str]:
        """What each check says: `ok`, or a sentence."""
        found = dict.fromkeys(self._checks, "ok")
        async with anyio.create_task_group() as group:
            for name, check in self._checks.items():
                group.start_soon(self._run_check, name, check, found)
        return found

    async def _run_check(self, name: str, check: Check, found: dict[str, str]) -> None:
        try:
            with anyio.fail_after(self._time_limit):
                sentence = await anyio.to_thread.run_sync(
                    self._call, name, check, limiter=self._threads, abandon_on_cancel=True
                )
        except TimeoutError:
            sentence = Phrase.of("no_answer_within", seconds=f"{self._time_limit:g}")
        except Exception:
            _log.exception("not_ready", part=name)
            sentence = Phrase.of("check_failed")
        if sentence is not None:
            found[name] = sentence

    def _call(self, name: str, check: Check) -> str | None:
        running = self._running[name]
        if not running.acquire(blocking=False):
            return Phrase.of("check_still_running")
        try:
            return check()
        finally:
            running.release()

    async def metrics(self, request: Request) -> Response:
        request.state.route = "/metrics"
        if self._check_scraper is not None:
            await self._check_scraper(request.scope)
        # A scraper that learns here that a part is down needs no second probe.
        well = {name: float(sentence == "ok") for name, sentence in (await self.run()).items()}
        now = [
            Gauge("videodock_check_ok", "Whether a check of /readyz succeeds.", well, "check"),
            Gauge("videodock_info", "Always 1; the label has the version.", {__version__: 1}, "version"),
        ]
        text = await anyio.to_thread.run_sync(self._metrics.render, now, limiter=self._scrapes)
        return Response(text, headers={"Content-Type": self._metrics.content_type, **_NO_STORE})
