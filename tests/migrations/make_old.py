"""`python -m tests.migrations.make_old COMMIT`: a data folder and a database as an earlier version left them.

It checks the commit out beside, serves with it on SQLite and on PostgreSQL, uploads, and writes what is there at the
end below `old/<revision>/`: `<kind>.sql` (the database, as `iterdump` or `pg_dump` tell it), `<kind>.tar.gz` (the data
folder) and `<kind>.json` (what was sent, and what the server said). Run it once for each revision that was released,
with its commit; `test_upgrade.py` takes every folder that it finds.
"""

import json
import os
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from tests.harness.multipart import curl
from tests.harness.postgres import PostgresServer
from tests.harness.rows import query
from tests.harness.server_process import ROOT, ServerProcess
from tests.harness.tasks import finish, follow
from tests.harness.uploader import PART, Uploader
from tests.samples import make
from tests.tus.client import VERSION, video

OLD = Path(__file__).parent / "old"
VIEWS = ("uploads_per_day", "tasks_by_status")
_TEN_YEARS = 10 * 365 * 86400


def main() -> None:
    """Make both kinds."""
    with checked_out(sys.argv[1]) as checkout, tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _make(checkout, place / "sqlite", "")
        cluster = PostgresServer()
        try:
            cluster.start()
            _make(checkout, place / "postgresql", cluster.create_database())
        finally:
            cluster.stop()


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """The files of that commit, for as long as they are needed."""
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / "packed.tar"
        command = ["git", "-C", str(ROOT), "archive", "--output", str(packed), commit, "server", "migrations"]
        subprocess.run(command, check=True)
        with tarfile.open(packed) as archive:
            archive.extractall(Path(folder) / "checkout", filter="data")
        yield Path(folder) / "checkout"


def old_server(checkout: Path, folder: Path, url: str, **settings: object) -> ServerProcess:
    """A server of that version; its own defaults, but for uploads that do not expire before this test."""
    settings = {"upload_expiry": _TEN_YEARS, **settings}
    server = ServerProcess(folder, database_url=url, **settings)  # type: ignore[arg-type]
    server.environment = {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(checkout)}
    return server


def _make(checkout: Path, folder: Path, url: str) -> None:
    server = old_server(checkout, folder, url, transcode="both", storyboard="on")
    server.start()
    try:
        facts = _fill(server, folder)
        server.stop()
        # Nobody processes this one.
        idle = old_server(checkout, folder, url, scheduler="none")
        idle.start()
        client = Uploader(idle)
        facts["waiting"] = client.create(4000)
        client.patch(facts["waiting"], 0, video(4000, 9))
        idle.stop()
        idle.close()
    finally:
        server.close()
    kind = make_url(server.database_url).get_backend_name()
    (revision,) = query(server.database_url, "SELECT version_num FROM alembic_version")
    target = OLD / revision["version_num"]
    target.mkdir(parents=True, exist_ok=True)
    facts["reports"] = {view: query(server.database_url, f"SELECT * FROM {view} ORDER BY 1") for view in VIEWS}
    (target / f"{kind}.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False, default=str) + "\n")
    (target / f"{kind}.sql").write_text(_dump(server.database_url))
    with tarfile.open(target / f"{kind}.tar.gz", "w:gz") as archive:
        for name in ("node", "uploads", "results", "work"):
            archive.add(server.data_dir / name, name)


def _fill(server: ServerProcess, folder: Path) -> dict[str, Any]:
    """Something in every state; the ids, by what they are."""
    client = Uploader(server)
    clip = make(folder, "clip.mp4", seconds=0.4, size="64x64", audio=False)
    _, answer = curl(server.url, [clip])
    facts: dict[str, Any] = {"completed": answer["task_id"]}
    finish(server, facts["completed"])
    facts["failed"] = client.create(3000)
    client.patch(facts["failed"], 0, video(3000, 1))
    follow(server, facts["failed"], until=["error"])
    facts["open"], facts["empty"] = client.create(9000), client.create(9000)
    client.patch(facts["open"], 0, video(9000, 2)[:4000])
    facts["gone"] = client.create(100)
    client.ask("DELETE", f"/files/{facts['gone']}", VERSION)
    facts["parts"] = [client.create(2000, PART), client.create(3000, PART)]
    client.patch(facts["parts"][0], 0, video(5000, 3)[:2000])
    facts["final"] = client.join(*facts["parts"])
    ended = [client.create(2500, PART) for _ in range(2)]
    for part, data in zip(ended, (video(5000, 4)[:2500], video(5000, 4)[2500:]), strict=True):
        client.patch(part, 0, data)
    facts["joined"] = client.join(*ended)
    follow(server, facts["joined"], until=["error"])
    client.wait_until_received(facts["open"], 4000)
    facts["answers"] = {
        facts[name]: json.loads(json.dumps(server.status(facts[name])).replace(server.url, "http://server"))
        for name in ("completed", "failed", "joined")
    }
    return facts


def _dump(url: str) -> str:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            return "\n".join(connection.iterdump()) + "\n"
    place = make_url(url)
    program = max(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"))
    where = ["-h", place.host or "", "-p", str(place.port), "-U", place.username or "", place.database or ""]
    options = ["--inserts", "--no-owner", "--no-privileges"]
    done = subprocess.run([program, *options, *where], check=True, capture_output=True, text=True, env=dict(os.environ))
    # Commands of psql, and settings that only other versions know.
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith(("\\", "--", "SET "))]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
