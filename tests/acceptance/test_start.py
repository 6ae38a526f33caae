"""Starting, stopping, and what operators and machines ask a server."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.harness.multipart import curl
from tests.harness.rows import execute, query
from tests.harness.server_process import ROOT
from tests.harness.tasks import finish
from tests.harness.waiting import PATIENCE, Stopwatch
from tests.samples import make

pytestmark = pytest.mark.acceptance


@pytest.mark.sampled(1)
@pytest.mark.alone
def test_a_server_starts_on_an_empty_database_and_starts_again(
    start_server: StartServer, database_url: str, tmp_path: Path
) -> None:
    """It migrates, serves, stops with code 0, and a second start is quick and knows what was there."""
    server = start_server(database_url=database_url, cold=True)
    _, answer = curl(server.url, [make(tmp_path, "clip.mp4")])
    ended = finish(server, answer["task_id"])
    server.stop()
    begun = Stopwatch()
    server.start()
    assert begun.seconds < 3
    assert server.status(answer["task_id"]) == ended


def test_health_readiness_and_metrics_answer(start_server: StartServer, tmp_path: Path) -> None:
    """/healthz, /readyz and /metrics answer, and the metrics count what happened."""
    server = start_server()
    assert server.http.get(f"{server.url}/healthz").status_code == 200
    ready = server.http.get(f"{server.url}/readyz")
    assert ready.status_code == 200
    assert {"database", "scheduler"} <= set(re.findall(r"[a-z]+", ready.text)), ready.text
    _, answer = curl(server.url, [make(tmp_path, "clip.mp4")])
    finish(server, answer["task_id"])
    metrics = server.http.get(f"{server.url}/metrics").text
    assert re.search(r"^videodock\w*tasks\w*\{[^}]*completed[^}]*\} 1(\.0)?$", metrics, re.MULTILINE), metrics


@pytest.mark.sampled(1)
def test_a_newer_database_is_refused_with_a_sentence(start_server: StartServer, database_url: str) -> None:
    """A database that a newer version made, and that says nothing of this one, is left alone; the operator reads why,
    without a traceback."""
    server = start_server(database_url=database_url)
    server.stop()
    known = query(database_url, "SELECT version_num, works_from FROM alembic_version")[0]
    execute(database_url, "UPDATE alembic_version SET version_num = 'from_the_future', works_from = 'from_the_future'")
    command = [sys.executable, "-m", "server", "serve", "--port", "0", "--data-dir", str(server.data_dir)]
    done = subprocess.run(
        [*command, "--database-url", database_url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode != 0
    assert "newer version" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert query(database_url, "SELECT version_num FROM alembic_version") == [{"version_num": "from_the_future"}]
    execute(database_url, "UPDATE alembic_version SET version_num = :version_num, works_from = :works_from", **known)
    server.start()
