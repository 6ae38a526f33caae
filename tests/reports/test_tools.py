"""The programs that docs/reporting.md names open the reports: Datasette, psql and sqlite3, the real ones."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import make_url

from server.database import report_access
from server.database.personal_data import SECRET_COLUMNS, SECRET_TABLES
from server.database.report_views import VIEWS
from server.database.session import Database
from tests.harness.migrated import migrate
from tests.harness.ports import free_port, let_go
from tests.harness.postgres import PostgresServer
from tests.harness.waiting import until
from tests.reports.generated_month import fill
from tests.reports.page import PAGE, QUERIES

UPLOADS = 300


def _month(url: str) -> None:
    migrate(url)
    database = Database(url, 2)
    with database.change() as connection:
        fill(connection, UPLOADS)
    database.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A month in SQLite."""
    path = tmp_path_factory.mktemp("tools") / "videodock.db"
    _month(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="module")
def datasette(file: Path) -> Iterator[httpx.Client]:
    """Datasette as the page starts it, while a connection like a server's keeps the write-ahead log."""
    port = free_port()
    database = Database(f"sqlite:///{file}", 2)
    command = [sys.executable, "-m", "datasette", str(file), "--setting", "sql_time_limit_ms", "10000"]
    log = file.with_name("datasette.log")
    with database.read() as session, log.open("wb") as output:
        session.connection().exec_driver_sql("SELECT count(*) FROM uploads").all()
        process = subprocess.Popen([*command, "--port", str(port)], stdout=output, stderr=output)
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60)
        try:

            def answers() -> bool:
                assert process.poll() is None, log.read_text()
                try:
                    return client.get("/-/versions.json").status_code == 200
                except httpx.TransportError:
                    return False

            until(answers, what="Datasette answers")
            yield client
        finally:
            client.close()
            process.terminate()
            process.wait()
            let_go(port)
    database.close()


def test_datasette_opens_every_view_with_rows(datasette: httpx.Client) -> None:
    """Each is listed as a view, and its page and its JSON have rows with the columns that are described."""
    listed = datasette.get("/videodock.json").json()
    assert {view["name"] for view in listed["views"]} == set(VIEWS)
    for name, view in VIEWS.items():
        rows = datasette.get(f"/videodock/{name}.json", params={"_shape": "array", "_size": 3}).json()
        assert rows, name
        assert list(rows[0]) == list(view.columns), name
        page = datasette.get(f"/videodock/{name}", params={"_size": 3})
        assert page.status_code == 200, name
        assert page.text.count("<tr>") > 1, name


def test_datasette_answers_every_question_of_the_page(datasette: httpx.Client) -> None:
    """As text for *View and edit SQL*, with its semicolon."""
    for heading, query in QUERIES.items():
        answer = datasette.get("/videodock.json", params={"sql": query, "_shape": "array"})
        assert answer.status_code == 200, (heading, answer.text)
        assert isinstance(answer.json(), list), heading


def test_sqlite3_reads_and_cannot_write(file: Path) -> None:
    """Debian's program, as the page starts it."""
    program = shutil.which("sqlite3")
    assert program, "sqlite3 is not installed; `make test` installs it"

    def ask(sql: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, "-readonly", str(file), sql], capture_output=True, text=True, check=False)

    for name in VIEWS:
        done = ask(f"SELECT count(*) FROM {name}")
        assert int(done.stdout) > 0, (name, done.stderr)
    assert "readonly" in ask("DELETE FROM uploads").stderr


def test_psql_reads_every_view_with_a_granted_role(postgres_server: PostgresServer) -> None:
    """Every view and question, with comments to `\\d+`; no secret, no write, no new table."""
    program = shutil.which("psql")
    assert program, "psql is not installed; `make test` installs it"
    url = postgres_server.create_database()
    place = make_url(url)

    def ask(role: str, *sql: str) -> subprocess.CompletedProcess[str]:
        target = f"host={place.host} port={place.port} dbname={place.database} user={role}"
        commands = [part for one in sql for part in ("-c", one)]
        command = [program, "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", *commands, target]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    try:
        _month(url)
        assert ask("postgres", "CREATE ROLE tool_analyst LOGIN").returncode == 0
        database = Database(url, 2)
        report_access.grant(database, "tool_analyst")
        database.close()
        counted = ask("tool_analyst", *(f"SELECT count(*) FROM {name}" for name in VIEWS))
        numbers = [int(line) for line in counted.stdout.split()]
        assert (len(numbers), min(numbers) > 0) == (len(VIEWS), True), counted.stderr
        asked = ask("tool_analyst", *QUERIES.values())
        assert asked.returncode == 0, asked.stderr
        described = ask("tool_analyst", "\\d+ uploads_per_day").stdout
        assert all(meaning in described for _, meaning in VIEWS["uploads_per_day"].columns.values()), described
        secrets = [f"SELECT * FROM {table}" for table in SECRET_TABLES]
        secrets += [f"SELECT {column} FROM {table}" for table, some in SECRET_COLUMNS.items() for column in some]
        changes = ["DELETE FROM uploads", "UPDATE tasks SET title = 'x'", "DROP VIEW uploads_per_day"]
        changes += ["INSERT INTO owners VALUES ('x')", "CREATE TABLE mine (n int)", "TRUNCATE report_uploads"]
        for sql in (*secrets, *changes):
            refused = ask("tool_analyst", sql)
            assert refused.returncode != 0, sql
            assert any(word in refused.stderr for word in ("permission denied", "must be owner")), refused.stderr
    finally:
        ask("postgres", "DROP OWNED BY tool_analyst", "DROP ROLE tool_analyst")
        postgres_server.drop_database(url)


def test_a_copy_has_the_views_and_no_secrets(file: Path, tmp_path: Path) -> None:
    """By the commands of the page: every secret is gone, and the numbers are the same."""
    original, copy = tmp_path / "original.db", tmp_path / "reports.db"
    sqlite3(file, f".backup {original}")
    sqlite3(original, "INSERT INTO signing_keys (id, secret, created_at) VALUES (1, 'x', '2026-11-30')")
    (clean,) = re.findall(r'sqlite3 reports\.db "([^"]+)"', PAGE)
    sqlite3(original, f".backup {copy}")
    sqlite3(copy, " ".join(clean.split()))
    for table in SECRET_TABLES:
        assert sqlite3(copy, f"SELECT count(*) FROM {table}") == "0\n", table
    for table, some in SECRET_COLUMNS.items():
        for column in some:
            assert sqlite3(copy, f"SELECT count(*) FROM {table} WHERE {column} <> ''") == "0\n", column
    numbers = "SELECT * FROM uploads_per_day"
    assert sqlite3(copy, numbers) == sqlite3(original, numbers) != ""


def sqlite3(database: Path, sql: str) -> str:
    """What Debian's program prints."""
    done = subprocess.run(["sqlite3", str(database), sql], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
