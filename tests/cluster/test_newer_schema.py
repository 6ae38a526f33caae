"""This version beside a newer one on one database and one bucket: it keeps serving if the schema says that it may."""

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.newer_version import REVISION, newer_version
from tests.harness.cluster import Load, in_front
from tests.harness.multipart import curl
from tests.harness.object_store import ObjectStore, in_bucket, object_store  # noqa: F401  # the last is a fixture
from tests.harness.postgres import PostgresServer
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.waiting import until
from tests.migrations.make_old import old_server
from tests.tus.client import video

pytestmark = pytest.mark.acceptance

_SETTINGS: dict[str, Any] = {"transcode": "none", "drain_seconds": 0}


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Forms:
    """Forms that are sent one after the other, to each of some servers in turn, until `end`."""

    def __init__(self, servers: list[ServerProcess], folder: Path) -> None:
        self._servers = servers
        self._file = folder / "form.mp4"
        self._file.write_bytes(video(300_000, 77))
        self.tasks: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._error: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                server = self._servers[len(self.tasks) % len(self._servers)]
                status, answer = curl(server.url, [self._file])
                assert status == 200, answer
                self.tasks.append(answer["task_id"])
        except BaseException as error:
            self._error = error

    def end(self) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    @property
    def content(self) -> bytes:
        return self._file.read_bytes()


def test_an_older_host_serves_beside_a_newer_one(
    postgres: PostgresServer,
    object_store: ObjectStore,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A newer host migrates under load; this one stays ready, starts again, and both take chunks and forms.

    At the end every byte is in the bucket (SHA-256), and every upload is one task.
    """
    settings = in_bucket(object_store, monkeypatch, **_SETTINGS)
    url = postgres.create_database()
    this = ServerProcess(tmp_path / "this", database_url=url, **settings)
    with newer_version() as checkout:
        newer = old_server(checkout, tmp_path / "newer", url, **settings)
        try:
            with in_front(tmp_path, postgres, url, this, newer) as made:
                this.start()
                load = Load(made, clients=2, size=8 << 20, chunk=64 << 10)
                load.start()
                until(lambda: load.sent() > 1 << 20, what="this host receives")
                newer.start()
                assert query(url, "SELECT version_num FROM alembic_version") == [{"version_num": REVISION}]
                assert this.http.get(f"{this.url}/readyz").status_code == 200
                forms = Forms([this, newer], tmp_path)
                forms.start()
                until(lambda: len(forms.tasks) >= 4, what="both hosts take forms")
                load.end()
                forms.end()
                this.restart()
                after = Forms([this], tmp_path)
                after.start()
                until(lambda: after.tasks, what="the older host takes a form after its restart")
                after.end()
            check_bytes(object_store, url, {upload.id: upload.content for upload in load.uploads}, forms.content)
            assert {row["id"] for row in query(url, "SELECT id FROM tasks")} >= {*forms.tasks, *after.tasks}
        finally:
            this.close()
            newer.close()


def test_a_host_is_not_ready_beside_a_schema_that_it_does_not_work_with(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    """A newer version took something away: the older host says so at `/readyz`, for the load balancer."""
    url = postgres.create_database()
    this = ServerProcess(tmp_path / "this", database_url=url, **_SETTINGS)
    with newer_version(contracts=True) as checkout:
        newer = old_server(checkout, tmp_path / "newer", url, **_SETTINGS)
        try:
            this.start()
            migrated = newer.run("migrate")
            assert migrated.returncode == 0, migrated.stderr
            answer = this.http.get(f"{this.url}/readyz")
            assert answer.status_code == 503
            assert "revision" in answer.text
        finally:
            this.close()
            newer.close()


def check_bytes(server: ObjectStore, url: str, tus: dict[str, bytes], form: bytes) -> None:
    """Every upload is complete, is one file of one task, and its object has its bytes."""
    rows = query(url, "SELECT id, status FROM uploads")
    assert {row["status"] for row in rows} == {"complete"}
    of_tasks = sorted(str(row["upload_id"]) for row in query(url, "SELECT upload_id FROM task_files"))
    assert of_tasks == sorted(str(row["id"]) for row in rows)
    bucket, objects = server.shared_bucket(), server.objects(server.shared_bucket())
    for row in query(url, "SELECT upload_id, object_key FROM s3_uploads"):
        (key,) = [key for key in objects if key.endswith(f"/{row['object_key']}")]
        stored = server.client.get_object(Bucket=bucket, Key=key)["Body"].read()
        wanted = tus.get(str(row["upload_id"]), form)
        assert hashlib.sha256(stored).digest() == hashlib.sha256(wanted).digest(), row
    assert set(tus) <= {str(row["id"]) for row in rows}
