"""Alive, ready, metrics: what a stranger may know about the server's health."""

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from structlog.testing import capture_logs

from server.observability import Metrics
from server.web.health import Check, routes
from tests.harness.waiting import PATIENCE


def ask(table: Sequence[Route], *paths: str, method: str = "GET") -> list[httpx.Response]:
    """The answers of an app with these routes, asked one after the other."""

    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(Starlette(routes=table))
        async with httpx.AsyncClient(transport=transport, base_url="http://videodock") as client:
            return [await client.request(method, path) for path in paths]

    return asyncio.run(run())


def fine() -> None:
    return


def failing() -> str | None:
    raise RuntimeError("no such file: /srv/secret/videodock.db, password=hunter2")


def get(path: str, checks: Mapping[str, Check], time_limit: float = 2.0) -> httpx.Response:
    return ask(routes(checks, Metrics(lambda: (1, {"uploaded": 2})), time_limit), path)[0]


def test_healthz_needs_no_other_part() -> None:
    """/healthz asks nobody."""
    answer = get("/healthz", {"database": failing})
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


def test_readyz_names_each_part() -> None:
    """All checks well: 200, and each part is named."""
    answer = get("/readyz", {"database": fine, "store": fine, "scheduler": fine})
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "checks": {"database": "ok", "store": "ok", "scheduler": "ok"},
    }
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("check", "sentence"),
    [
        (failing, "failed; the server's log says why"),
        (lambda: "the disk is full", "the disk is full"),
        (lambda: time.sleep(1.0), "no answer within 0.1 s"),
    ],
)
def test_readyz_names_a_failing_part_and_no_secret(check: Check, sentence: str) -> None:
    """One part that raises, complains or hangs gives 503 with a sentence; the others stay ok."""
    with capture_logs() as lines:
        answer = get("/readyz", {"database": fine, "store": check}, time_limit=0.1)
    assert answer.status_code == 503
    assert answer.json() == {"status": "not ready", "checks": {"database": "ok", "store": sentence}}
    assert "secret" not in answer.text
    assert [line["part"] for line in lines] == (["store"] if check is failing else [])


def test_hanging_checks_do_not_pile_up_threads() -> None:
    """However often one asks, a check that hangs takes no more than four threads."""
    release = threading.Event()
    running: list[int] = []

    def hang() -> None:
        running.append(1)
        release.wait(PATIENCE)

    table = routes({"store": hang}, Metrics(), 0.05)
    try:
        answers = ask(table, *["/readyz"] * 7)
    finally:
        release.set()
    assert {answer.status_code for answer in answers} == {503}
    assert len(running) == 4


def test_checks_run_in_parallel() -> None:
    """Three slow checks take as long as one."""
    meeting = threading.Barrier(3, timeout=PATIENCE)

    def meet() -> None:
        meeting.wait()

    assert get("/readyz", {"a": meet, "b": meet, "c": meet}).status_code == 200


def test_metrics_have_the_prometheus_format() -> None:
    """/metrics has Prometheus' form and the gauges of the moment."""
    answer = get("/metrics", {})
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "videodock_open_uploads 1.0" in answer.text
    assert 'videodock_tasks{status="uploaded"} 2.0' in answer.text


def test_health_pages_allow_get_only() -> None:
    """Other methods are refused."""
    assert ask(routes({}, Metrics()), "/healthz", method="POST")[0].status_code == 405
