"""A backup that is restored is what there was: every row, every byte, on both kinds of database."""

import base64
import hashlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backup.commands import File, Rows, back_up, files, findings, restore, rows, sqlite_url
from tests.conftest import StartServer
from tests.harness import http
from tests.harness.gate import Gate
from tests.harness.multipart import begin, curl, form_body
from tests.harness.postgres import PostgresServer
from tests.harness.rows import execute, query
from tests.harness.server_process import ServerProcess
from tests.harness.tasks import finish, follow
from tests.harness.uploader import PART, Uploader
from tests.harness.waiting import PATIENCE, until
from tests.samples import make
from tests.tus.client import VERSION, patch_headers, video

BOUNDARY = "a-boundary"
CHANGING = {"lease_expires_at", "updated_at", "eta_seconds", "progress", "received"}
RELEASED = {"lease_expires_at", "worker"}


@pytest.fixture(params=["sqlite", "postgresql"])
def target_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database to restore into."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "restored")
        return
    cluster: PostgresServer = request.getfixturevalue("postgres_server")
    url = cluster.create_database()
    try:
        yield url
    finally:
        cluster.drop_database(url)


class BackupScenario:
    """A server with something in every state; what must become of each after a restore."""

    def __init__(self, server: ServerProcess, folder: Path, gate: Gate) -> None:
        self.server, self.client = server, Uploader(server)
        client = self.client
        clip = make(folder, "clip.mp4", seconds=1, size="160x120")
        self.whole = clip.read_bytes()
        _, answer = curl(server.url, [clip])
        self.done = str(answer["task_id"])
        finish(server, self.done)
        self.failed = client.create(3000)
        client.patch(self.failed, 0, video(3000))
        follow(server, self.failed, until=["error"])

        gate_again = folder / "gate-is-shut"
        gate_again.touch()
        self.running = client.create(len(self.whole))
        client.patch(self.running, 0, self.whole)
        until(gate.waiting, seconds=30, what="a task runs")
        answered = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Idempotency-Key": "one"}
        body = form_body(BOUNDARY, [("videos", "b.mp4", video(5000, 2))])
        self.waiting = client.ask("POST", "/api/upload/videos", answered, body, 200).json()["task_id"]

        self.data = video(300_000, 3)
        self.open = client.create(len(self.data))
        client.patch(self.open, 0, self.data[:100_000])
        client.wait_until_received(self.open, 100_000)
        self.empty = client.create(len(self.data))
        self.checked = client.create(len(self.data))
        client.patch(self.checked, 0, self.data[:50_000])
        client.wait_until_received(self.checked, 50_000)
        self.gone = client.create(1000)
        client.ask("DELETE", f"/files/{self.gone}", VERSION)

        self.parts = [client.create(2000, PART), client.create(3000, PART)]
        self.halves = video(5000, 4)
        client.patch(self.parts[0], 0, self.halves[:2000])
        self.final = client.join(*self.parts)
        ended = [client.create(2500, PART) for _ in range(2)]
        for part in ended:
            client.patch(part, 0, video(2500, 5))
        self.joined = client.join(*ended)

        self.infected = client.create(4000)
        client.patch(self.infected, 0, video(4000, 6))
        self._put_aside(self.infected)
        columns = "owner, key, task_id, created_at, expires_at"
        values = "'default', 'two', 't', '2026-01-01 00:00:00.000000', '2036-01-01 00:00:00.000000'"
        execute(server.database_url, f"INSERT INTO form_answers ({columns}) VALUES ({values})")
        self._stall()

    def _put_aside(self, upload: str) -> None:
        (self.server.data_dir / "quarantine").mkdir(mode=0o700, exist_ok=True)
        self.server.stored(upload).rename(self.server.data_dir / "quarantine" / upload)
        yes, no = {"yes": True}, {"no": False}
        sql = "UPDATE uploads SET in_quarantine = :yes, has_bytes = :no WHERE id = :id"
        execute(self.server.database_url, sql, id=upload, **yes, **no)

    def _stall(self) -> None:
        """A checked body and a form that halt in the middle: more bytes lie there than count."""
        rest = self.data[50_000:]
        checksum = base64.b64encode(hashlib.sha1(rest, usedforsecurity=False).digest()).decode()
        headers = patch_headers(50_000) | {"Upload-Checksum": f"sha1 {checksum}", "Content-Length": str(len(rest))}
        self.body = socket.create_connection(("127.0.0.1", self.server.port), timeout=PATIENCE)
        self.body.sendall(http.request("PATCH", f"/files/{self.checked}", headers) + rest[:120_000])
        form = form_body(BOUNDARY, [("videos", "c.mp4", video(200_000, 7))])
        self.form = begin(self.server.port, BOUNDARY, len(form), form[:150_000])
        path = self.server.stored(self.checked)
        until(lambda: path.stat().st_size > 50_000, seconds=10, what="unchecked bytes lie there")
        forms = "SELECT id FROM uploads WHERE protocol = 'multipart' AND status = 'open'"
        until(lambda: query(self.server.database_url, forms), seconds=10, what="the form is being received")

    def close(self) -> None:
        self.body.close()
        self.form.close()


def check_rows(found: Rows, before: Rows, after: Rows, taken_at: str) -> None:
    """Every row is as it was, but for those that the rules change."""
    for table in before.keys() | found.keys():
        if table == "form_answers":
            before[table] = [row for row in before[table] if row["fingerprint"] is not None]
        assert len(found[table]) == len(before[table]), table
        for row, was, then in zip(found[table], before[table], after[table], strict=False):
            # A worker's heartbeat, and how far the form is: what goes on changing was either this or that.
            stays = {name for name in was if was[name] == then[name]}
            assert set(was) - stays <= CHANGING, (table, set(was) - stays)
            for name in stays - (RELEASED if table == "tasks" and was["worker"] else set()):
                assert row[name] == was[name], (table, name)
            if table == "tasks" and was["worker"]:
                assert row["worker"] is None
                assert row["lease_expires_at"].isoformat(timespec="microseconds") == taken_at


def check_files(found: dict[str, File], before: dict[str, File], scenario: BackupScenario) -> None:
    """Every byte is as it was, but for what did not count."""
    expected = dict(before)
    for path in before:
        upload = path.rpartition("/")[2]
        row = query(scenario.server.database_url, "SELECT * FROM uploads WHERE id = :id", id=upload)
        if row and row[0]["protocol"] == "multipart" and row[0]["status"] == "open":
            del expected[path]
    checked = f"uploads/{scenario.checked[:2]}/{scenario.checked}"
    prefix = hashlib.sha256(scenario.data[:50_000]).hexdigest()
    expected[checked] = File(50_000, prefix, before[checked].mtime_ns)
    assert found == expected


@pytest.mark.sampled(1)
def test_a_restore_brings_back_every_row_and_byte(
    request: pytest.FixtureRequest,
    start_server: StartServer,
    database_url: str,
    target_url: str,
    tmp_path: Path,
    gate: Gate,
) -> None:
    """Every row and byte of a server with something in every state, restored into either kind of database; the
    restored server brings all of it to its end."""
    gate.open()
    server = start_server(
        database_url=database_url, transcode="both", storyboard="on", ffmpeg=gate.path, encode_limit=1
    )
    scenario = BackupScenario(server, tmp_path, gate)
    request.addfinalizer(scenario.close)
    before, bytes_before = rows(database_url), files(server.data_dir)
    first = back_up(tmp_path / "backup", data_dir=server.data_dir, database_url=database_url)
    after = rows(database_url)
    assert first["missing"] == []
    restored = tmp_path / "restored"
    summary = restore(tmp_path / "backup", data_dir=restored, database_url=target_url)
    assert summary["taken_at"] == first["taken_at"]
    check_rows(rows(target_url), before, after, first["taken_at"])
    check_files(files(restored), bytes_before, scenario)
    assert (restored / "node").read_text() == (server.data_dir / "node").read_text()
    statuses = {task: server.status(task) for task in (scenario.done, scenario.failed)}
    scenario.close()
    server.kill()
    gate.open()
    go_on(scenario, start_server(database_url=target_url, data_dir=restored, storyboard="on"), statuses)
    assert findings(restored, target_url) == []


def go_on(scenario: BackupScenario, server: ServerProcess, statuses: dict[str, dict[str, Any]]) -> None:
    """Bring everything to its end on the restored server."""
    client = Uploader(server)
    for task, status in statuses.items():
        now = server.status(task)
        assert json.loads(json.dumps(now).replace(server.url, scenario.server.url)) == status
    assert server.http.get(server.status(scenario.done)["files"][0]["mp4_url"]).status_code == 200
    for upload, offset in ((scenario.open, 100_000), (scenario.empty, 0), (scenario.checked, 50_000)):
        assert client.offset(upload) == offset
        client.patch(upload, offset, scenario.data[offset:])
        assert server.stored(upload).read_bytes() == scenario.data
    client.patch(scenario.parts[1], 0, scenario.halves[2000:])
    assert client.offset(scenario.final) == 5000
    assert server.stored(scenario.final).read_bytes() == scenario.halves
    client.ask("HEAD", f"/files/{scenario.gone}", VERSION, expect=410)
    finish(server, scenario.running)
    row = query(server.database_url, "SELECT failures FROM tasks WHERE id = :id", id=scenario.running)
    assert row == [{"failures": 0}], "a restore counts as no failure"
    # A number of an event that was given once is not given again.
    follow(server, scenario.waiting, until=["error"])
    events = [row["id"] for row in query(server.database_url, "SELECT id FROM task_events")]
    assert len(set(events)) == len(events)
