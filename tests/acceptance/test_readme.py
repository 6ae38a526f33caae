"""The README's first screen, run as it stands: what a newcomer types must work."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.harness.node import CLIENTS
from tests.harness.rows import query, sha256
from tests.harness.server_process import ServerProcess
from tests.harness.tasks import finish
from tests.harness.waiting import PATIENCE
from tests.samples import make

pytestmark = pytest.mark.acceptance

README = (Path(__file__).parents[2] / "README.md").read_text()


def sample(language: str, containing: str) -> str:
    """The code block of that language that contains these words."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    found = [block for block in blocks if containing in block]
    assert len(found) == 1, f"{len(found)} samples in {language} contain {containing!r}"
    return str(found[0])


def test_the_tus_sample_uploads_and_prints_the_task(server: ServerProcess, tmp_path: Path) -> None:
    """Five lines of tus-js-client: every byte arrives, and the printed id is the task's."""
    video = make(tmp_path, "holiday.mp4")
    script = CLIENTS / f"readme-sample-{os.getpid()}.mjs"
    code = sample("js", "tus.Upload").replace("http://127.0.0.1:8000", server.url)
    script.write_text(code.replace("'holiday.mp4'", repr(str(video)), 1))
    try:
        done = subprocess.run(["node", str(script)], check=True, capture_output=True, text=True, timeout=PATIENCE)
    finally:
        script.unlink()
    task_id = done.stdout.strip()
    answer = finish(server, task_id)
    assert answer["files"][0]["name"] == "holiday.mp4"
    assert sha256(server.stored(task_id)) == sha256(video)


def test_the_tus_sample_exits_with_an_error_when_refused(server: ServerProcess, tmp_path: Path) -> None:
    """A file that is refused ends it with an exit code."""
    text = tmp_path / "holiday.mp4"
    text.write_text("no video\n" * 100)
    script = CLIENTS / f"readme-sample-{os.getpid()}.mjs"
    code = sample("js", "tus.Upload").replace("http://127.0.0.1:8000", server.url)
    script.write_text(code.replace("'holiday.mp4'", repr(str(text)), 1))
    try:
        done = subprocess.run(["node", str(script)], check=False, capture_output=True, text=True, timeout=PATIENCE)
    finally:
        script.unlink()
    assert done.returncode == 1
    assert "media_type_mismatch" in done.stderr


def test_the_curl_samples_upload_and_show_the_status(server: ServerProcess, tmp_path: Path) -> None:
    """One form by curl, then its state by curl."""
    video = make(tmp_path, "holiday.mp4")
    upload = sample("sh", "-F videos").replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run(
        ["bash", "-ec", upload], cwd=video.parent, check=True, capture_output=True, text=True, timeout=60
    )
    found = re.search(r'"task_id":"([0-9a-f-]+)"', done.stdout)
    assert found, done.stdout
    finish(server, found[1])
    ask = sample("sh", "api/task/status").replace("http://127.0.0.1:8000", server.url)
    asked = subprocess.run(
        ["bash", "-ec", ask],
        env={"TASK": found[1], "PATH": "/usr/bin:/bin"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert '"status":"completed"' in asked.stdout


@pytest.mark.sampled(1)
def test_the_sql_sample_counts_tasks(start_server: StartServer, database_url: str, tmp_path: Path) -> None:
    """The same query on SQLite and PostgreSQL."""
    server = start_server(database_url=database_url)
    video = make(tmp_path, "holiday.mp4")
    with video.open("rb") as file:
        answer = server.http.post(f"{server.url}/api/upload/videos", files={"videos": ("holiday.mp4", file)}).json()
    finish(server, answer["task_id"])
    assert query(database_url, sample("sql", "FROM tasks")) == [{"status": "completed", "tasks": 1, "files": 1}]
