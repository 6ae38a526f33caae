"""One trace a task, from its creation to its end, over two processes; and nothing at all without a collector."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server import tracing
from server.errors import StartError
from tests.conftest import StartServer
from tests.harness.collector import Collector, Received
from tests.harness.multipart import curl
from tests.harness.nginx import PATCH, TUS
from tests.harness.ports import free_port
from tests.harness.receiver import Receiver
from tests.harness.server_process import ROOT, ServerProcess
from tests.harness.tasks import finish
from tests.harness.waiting import until
from tests.harness.worker_process import WorkerProcess
from tests.samples import make
from tests.tus.client import metadata

CALLER = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as made:
        yield made


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


def upload(server: ServerProcess, source: Path, **more: str) -> str:
    """By tus, from a client that has a trace of its own; the upload's id."""
    length = str(source.stat().st_size)
    headers = {
        **TUS,
        "Upload-Length": length,
        "Upload-Metadata": metadata(filename=source.name, **more),
        "traceparent": f"00-{CALLER}-b7ad6b7169203331-01",
    }
    made = server.http.post(f"{server.url}/files", headers=headers)
    assert made.status_code == 201
    url = made.headers["Location"]
    sent = server.http.patch(url, headers={**PATCH, "Upload-Offset": "0"}, content=source.read_bytes())
    assert sent.status_code == 204
    return str(url.rpartition("/")[2])


def the_tree(collector: Collector, task: str) -> dict[str, Received]:
    """The spans of the task by name, once its root has come; every parent of one is another."""
    until(lambda: any(span.name == "video" for span in collector.trace(task)), what="the root has come", seconds=30)
    until(
        lambda: any(span.name == "process" for span in collector.trace(task)), what="the attempt has come", seconds=30
    )
    spans = collector.trace(task)
    ids = {span.id for span in spans}
    (root,) = [span for span in spans if not span.parent]
    assert (root.name, root.id) == ("video", f"{tracing.root_id(task):016x}")
    assert all(span.parent in ids for span in spans if span is not root)
    assert all(root.started - 10**9 <= span.started <= span.ended for span in spans)
    return {span.name: span for span in spans}


def test_a_task_is_one_trace_over_two_processes(
    start_server: StartServer, collector: Collector, receiver: Receiver, tmp_path: Path
) -> None:
    """Creation and bytes by the server, steps by a worker: one tree, linked with the client's own trace; a file that is
    no video shows its step and code; a form and a group of two uploads are a trace each. A webhook is in the trace of
    its task, and its receiver can join that."""
    server = start_server(scheduler="none", otel_endpoint=collector.url, webhook_allow_private="on")
    settings: dict[str, Any] = {"data_dir": server.data_dir, "database_url": server.database_url}
    settings |= {"webhook_allow_private": "on"}
    worker = WorkerProcess(tmp_path / "worker", otel_endpoint=collector.url, **settings)
    worker.start()
    try:
        added = server.run("webhooks", "add", f"{receiver.url}/hook", "--event", "task.completed")
        assert added.returncode == 0, added.stderr
        clip = make(tmp_path, "clip.mp4")
        broken = tmp_path / "broken.mp4"
        broken.write_bytes(clip.read_bytes()[:3000])
        task, failed, group = upload(server, clip), upload(server, broken), str(uuid.uuid4())
        for number in (1, 2):
            upload(server, clip, task=group, task_files="2", task_file=str(number))
        _, form = curl(server.url, [clip])
        for one in (task, group, form["task_id"]):
            finish(server, one)
        tree = the_tree(collector, task)
        steps = {name for name, span in tree.items() if span.parent == tree["process"].id}
        assert {"probe", "poster"} <= steps
        assert {name for name, span in tree.items() if span.parent == tree["video"].id} >= {
            "POST /files",
            "PATCH /files/{upload_id}",
            "process",
        }
        creation = tree["POST /files"]
        assert creation.links == (CALLER,)
        assert (creation.kind, creation.service) == (2, "videodock")
        assert creation.attributes["http.response.status_code"] == 201
        assert tree["video"].attributes["videodock.status"] == "completed"
        assert tree["PATCH /files/{upload_id}"].attributes["http.request.body.size"] == clip.stat().st_size
        until(lambda: any(span.name == "webhook" for span in collector.trace(task)), seconds=30, what="a webhook")
        hook = the_tree(collector, task)["webhook"]
        assert (hook.parent, hook.kind, hook.error) == (tree["video"].id, 3, "")
        assert hook.attributes["videodock.event"] == "task.completed"
        joined = f"00-{uuid.UUID(task).hex}-{tree['video'].id}-01"
        assert joined in {asked.headers["traceparent"] for asked in receiver.asked}
        wrong = the_tree(collector, failed)
        assert (wrong["probe"].error, wrong["video"].error) == ("not_playable", "error")
        assert "POST /api/upload/videos" in the_tree(collector, form["task_id"])
        names = [span.name for span in collector.trace(group)]
        assert (names.count("POST /files"), names.count("PATCH /files/{upload_id}")) == (2, 2)
        the_tree(collector, group)
    finally:
        worker.stop()
    assert not any("secret" in str(span) for span in collector.spans)


def test_a_collector_that_is_away_holds_nothing_up(start_server: StartServer, tmp_path: Path) -> None:
    """Uploads and processing go on, and the server stops with code 0."""
    server = start_server(otel_endpoint=f"http://127.0.0.1:{free_port()}")
    finish(server, upload(server, make(tmp_path, "clip.mp4")))
    server.stop()


def test_without_a_collector_nothing_of_it_is_imported(tmp_path: Path) -> None:
    """An app with default settings knows no module of OpenTelemetry, and has no middleware for it."""
    program = (
        "import sys; from pathlib import Path; from server import create_app, Settings\n"
        f"app = create_app(Settings(data_dir=Path({str(tmp_path)!r})))\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
        "assert 'Traces' not in [one.cls.__name__ for one in app.user_middleware]\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


def test_the_share_of_traced_tasks_is_the_same_everywhere() -> None:
    """A tenth of all ids is about a tenth of the tasks; none and all are exact."""
    ids = [str(uuid.UUID(int=number * 7919 + (1 << 100), version=4)) for number in range(5000)]
    assert not any(tracing.is_sampled(one, 0) for one in ids)
    assert all(tracing.is_sampled(one, 1) for one in ids)
    assert 400 < sum(tracing.is_sampled(one, 0.1) for one in ids) < 600
    traced = tracing.open_tracing("http://127.0.0.1:1", 0.1)
    try:
        for one in ids[:50]:
            parent = traced.traceparent(one)
            assert (parent is not None) == tracing.is_sampled(one, 0.1)
            assert parent is None or parent.split("-")[1] == one.replace("-", "")
    finally:
        traced.close()


def test_without_the_extra_the_start_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence says what to install."""
    monkeypatch.setattr(tracing, "find_spec", lambda _: None)
    with pytest.raises(StartError, match="otel"):
        tracing.open_tracing("http://127.0.0.1:4318", 1)
    assert tracing.open_tracing("", 1) is tracing.NO_TRACING
