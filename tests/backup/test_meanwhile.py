"""Backups while everything goes on: what was told before is in them, and nothing in them contradicts itself."""

import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

from server import backup
from server.backup import create
from server.backup.rows import snapshot
from server.bootstrap import Services
from server.database.session import make_engine
from server.settings import Settings
from server.storage.pins import Pins
from tests.backup.commands import back_up, files, findings, restore, rows, sqlite_url
from tests.backup.test_interrupted import QUIET, upload
from tests.backup.traffic import PART, Sent, Traffic
from tests.conftest import StartServer
from tests.harness.http import LiveServer
from tests.harness.postgres import PostgresServer
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.uploader import Uploader
from tests.tus.client import VERSION, filled, id_of, metadata, patch, target, video

pytestmark = pytest.mark.turns(2)  # changes during a backup

# A row hears of an open upload's bytes a second later.
LAG_SECONDS = 2.5


@pytest.fixture
def other_url(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Iterator[str]:
    """An empty database of the other kind."""
    if not database_url.startswith("sqlite"):
        yield sqlite_url(tmp_path / "restored")
        return
    cluster: PostgresServer = request.getfixturevalue("postgres_server")
    url = cluster.create_database()
    try:
        yield url
    finally:
        cluster.drop_database(url)


@pytest.mark.sampled(1)
@pytest.mark.turns(1)
def test_backups_while_uploads_run_are_consistent(
    start_server: StartServer, database_url: str, other_url: str, tmp_path: Path
) -> None:
    """Clients upload, join, remove and send forms, tasks fail and their originals are removed, while two backups are
    made, the second one on the first. Restored into the other kind of database, everything that was told to a client
    before is there, an inventory finds nothing, and every open upload is brought to its end, each byte right."""
    server = start_server(database_url=database_url, failed_retention=1, sweep_interval=0.3, encode_limit=1)
    with Traffic(server) as traffic:
        time.sleep(3)
        first = back_up(tmp_path / "backup", data_dir=server.data_dir, database_url=database_url)
        time.sleep(1)
        asked_at = time.monotonic()
        second = back_up(tmp_path / "backup", data_dir=server.data_dir, database_url=database_url)
        time.sleep(0.5)
    assert traffic.failures == []
    assert first["missing"] == second["missing"] == []
    assert second["rows"]["uploads"] > first["rows"]["uploads"]
    server.kill()

    data_dir = tmp_path / "restored"
    restore(tmp_path / "backup", data_dir=data_dir, database_url=other_url)
    found = {row["id"]: row for row in rows(other_url)["uploads"]}
    there = files(data_dir)
    for one in traffic.sent:
        check_told(one, found.get(one.id), there, asked_at)
    tasks = {row["id"] for row in rows(other_url)["tasks"]}
    assert {task for task, at in traffic.forms if at < asked_at} <= tasks
    assert findings(data_dir, other_url) == []
    go_on(start_server(database_url=other_url, data_dir=data_dir, scheduler="none"), traffic.sent)


def check_told(one: Sent, row: dict[str, object] | None, there: Collection[str], asked_at: float) -> None:
    """What a client was told before the backup began is so."""
    if row is None:
        assert one.at >= asked_at, "an upload is missing"
        return
    if one.gone_at is not None and one.gone_at < asked_at - 5:
        assert row["status"] == "terminated"
    if one.whole_at is not None and one.whole_at < asked_at and one.gone_at is None:
        assert row["status"] == "complete"
    elif one.at < asked_at - LAG_SECONDS and row["status"] == "open":
        assert int(str(row["received"])) >= one.acked
    # The row comes before the file: of an upload that is being made nobody was told yet.
    is_unborn = one.at >= asked_at and row["status"] == "open" and not row["received"]
    is_there = f"uploads/{one.id[:2]}/{one.id}" in there
    assert is_there or is_unborn or not row["has_bytes"] or row["status"] not in ("open", "complete"), row


def go_on(server: ServerProcess, sent: list[Sent]) -> None:
    """Bring every open upload to its end."""
    client, ended = Uploader(server), 0
    for one in sent:
        found = query(server.database_url, "SELECT status, has_bytes FROM uploads WHERE id = :id", id=one.id)
        if found and found[0]["status"] == "open":
            offset = client.offset(one.id)
            if offset < len(one.data):
                client.patch(one.id, offset, one.data[offset:])
                ended += 1
        found = query(server.database_url, "SELECT status, has_bytes FROM uploads WHERE id = :id", id=one.id)
        if found and found[0]["status"] == "complete" and found[0]["has_bytes"]:
            assert server.stored(one.id).read_bytes() == one.data
    assert ended


@pytest.fixture
def live(tmp_path: Path, database_url: str) -> LiveServer:
    """A server that is not entered yet."""
    return LiveServer(tmp_path / "data", database_url=database_url, fsync="never")


def back_up_and(
    live: LiveServer, folder: Path, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]
) -> backup.BackupResult:
    """A backup in this process; `happens` comes when its first snapshot is taken and nothing is held."""
    real, todo = Pins.pin, [happens]

    def take(holds: Pins, path: str) -> object:
        while todo:
            todo.pop()()
        return real(holds, path)

    monkeypatch.setattr(Pins, "pin", take)
    with Services.open(live.settings) as services:
        made = backup.create_backup(services, folder, QUIET)
    assert todo == []
    return made


def restored(folder: Path, tmp_path: Path) -> Path:
    data_dir = tmp_path / "restored"
    backup.restore_backup(Settings(data_dir=data_dir, fsync="never"), folder, QUIET)
    assert findings(data_dir, sqlite_url(data_dir)) == []
    return data_dir


@pytest.mark.sampled(1)
def test_uploads_removed_after_the_snapshot_are_in_the_backup(
    live: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two complete uploads are removed once the rows were read and before their files were held: the backup is of the
    moment of its rows and misses nothing, and a sweep removes the files."""
    with live:
        gone = [upload(live, 9000, seed) for seed in range(2)]
        stays = upload(live, 9000, 3)

        def remove() -> None:
            for one in gone:
                assert live.ask("POST", f"/api/task/cancel/{one}", body=b"").status == 200
                assert live.ask("DELETE", target(one), VERSION).status == 204
                assert live.ask("HEAD", target(one), VERSION).status == 410

        made = back_up_and(live, tmp_path / "backup", monkeypatch, remove)
        assert made.missing == []
        with Services.open(live.settings) as services:
            assert services.sweep().numbers["removed"] == 2
        assert [path.name for path in live.files()] == [stays]
        data_dir = restored(tmp_path / "backup", tmp_path)
        assert set(files(data_dir)) == {f"uploads/{one[:2]}/{one}" for one in (*gone, stays)}
        assert query(sqlite_url(data_dir), "SELECT id FROM uploads WHERE status <> 'complete'") == []


@pytest.mark.sampled(1)
def test_parts_joined_after_the_snapshot_keep_their_bytes(
    live: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever a part's file is about to be held, its final is made, as busy clients do: the backup has each part with
    its bytes, the first one's too, in whose file the final grew; and the same final is made of them again."""
    pairs: dict[str, list[str]] = {}
    data = {}
    with live:
        for seed in range(12):
            whole = video(50_000, seed)
            parts = []
            for piece in (whole[:20_000], whole[20_000:]):
                answer = live.ask("POST", "/files", VERSION | PART | {"Upload-Length": str(len(piece))})
                parts.append(id_of(answer))
                assert patch(live, parts[-1], 0, piece).status == 204
            data[parts[0]] = whole
            pairs |= dict.fromkeys(parts, parts)
        finals, take = {}, Pins.pin

        def join(holds: Pins, path: str) -> object:
            parts = pairs.get(path.rpartition("/")[2], [])
            if parts and parts[0] not in finals:
                finals[parts[0]] = make(live, parts)
            return take(holds, path)

        monkeypatch.setattr(Pins, "pin", join)
        with Services.open(live.settings) as services:
            assert backup.create_backup(services, tmp_path / "backup", QUIET).missing == []
        assert {parts: live.stored(final) for parts, final in finals.items()} == data
        with Services.open(live.settings) as services:
            assert services.sweep().numbers["removed"] == 2 * len(finals)
        assert {path.name for path in live.files()} == set(finals.values())
    data_dir = restored(tmp_path / "backup", tmp_path)
    assert {path.rpartition("/")[2] for path in files(data_dir)} == set(pairs)
    with LiveServer(data_dir, fsync="never") as again:
        assert {parts[0]: again.stored(make(again, parts)) for parts in pairs.values()} == data


def make(live: LiveServer, parts: list[str]) -> str:
    """The final upload of these parts; its id."""
    upload_concat = f"final;{' '.join(target(part) for part in parts)}"
    headers = VERSION | {"Upload-Concat": upload_concat, "Upload-Metadata": metadata(filename="whole.mp4")}
    return id_of(live.ask("POST", "/files", headers))


@pytest.mark.sampled(1)
def test_bytes_removed_during_the_copy_are_as_in_the_snapshot(
    live: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the snapshot an upload is removed, and another one's bytes are taken back and replaced by unchecked ones:
    the first is there as it was then, and of the second only what counts."""
    with live:
        whole = upload(live, 9000, 1)
        half, data = filled(live, 9000, 6000)
        live.wait_until_received(half, 6000)
        real = create._Backup._copy

        def copy(self: object, listed: object) -> object:
            assert live.ask("POST", f"/api/task/cancel/{whole}", body=b"").status == 200
            assert live.ask("DELETE", target(whole), VERSION).status == 204
            assert live.stored(whole) is None
            live.execute("UPDATE uploads SET received = 2000, checked_from = 2000 WHERE id = :id", id=half)
            live.path(half).write_bytes(data[:2000] + b"unchecked" * 1000)
            return real(self, listed)  # type: ignore[arg-type]

        monkeypatch.setattr(create._Backup, "_copy", copy)
        with Services.open(live.settings) as services:
            assert backup.create_backup(services, tmp_path / "backup", QUIET).missing == []
        assert not (live.data_dir / "uploads" / ".backup").exists()
    data_dir = restored(tmp_path / "backup", tmp_path)
    assert (data_dir / "uploads" / whole[:2] / whole).read_bytes() == video(9000, 1)
    assert (data_dir / "uploads" / half[:2] / half).read_bytes() == data[:2000]


@pytest.mark.sampled(1)
def test_a_second_backup_copies_what_is_new(live: LiveServer, tmp_path: Path) -> None:
    """Nothing twice, nothing that is gone, and the folder holds one backup."""
    with live:
        kept, gone = upload(live, 9000, 1), upload(live, 9000, 2)
        with Services.open(live.settings) as services:
            first = backup.create_backup(services, tmp_path / "backup", QUIET)
            again = backup.create_backup(services, tmp_path / "backup", QUIET)
            assert live.ask("POST", f"/api/task/cancel/{gone}", body=b"").status == 200
            assert live.ask("DELETE", target(gone), VERSION).status == 204
            new = upload(live, 7000, 3)
            third = backup.create_backup(services, tmp_path / "backup", QUIET)
    assert [(one.copied_files, one.copied_bytes) for one in (first, again, third)] == [(2, 18_000), (0, 0), (1, 7000)]
    assert [one.manifest.bytes for one in (first, again, third)] == [18_000, 18_000, 16_000]
    assert set(files(tmp_path / "backup")) == {f"uploads/{one[:2]}/{one}" for one in (kept, new)}
    assert set(files(restored(tmp_path / "backup", tmp_path))) == set(files(tmp_path / "backup"))


def test_the_database_does_not_end_a_long_snapshot(postgres_server: PostgresServer) -> None:
    """While its files are looked at, the database hears nothing of it, and does not end it for that."""
    url = postgres_server.create_database()
    engine = make_engine(url, 2)
    try:
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar_one() == "1min"
        with snapshot(engine) as connection:
            assert connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar_one() == "0"
    finally:
        engine.dispose()
        postgres_server.drop_database(url)
