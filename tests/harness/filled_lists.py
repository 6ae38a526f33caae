"""Many tasks, their files and their uploads, made by the database itself: for the tests and the benchmark of lists.

Rule: rows are as those of a server that has run for long: nearly all tasks are completed, and some rows of every other
state are spread among them. Twelve rows in a row, three of each owner, have one time.
"""

from datetime import UTC, datetime

from sqlalchemy import text

from server.database.session import Database
from tests.harness.quick_fill import analyse, without_indexes

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
TABLES = ("uploads", "tasks", "task_files")
OWNERS = 4
"""`owner-0` to `owner-3`, in turn."""

_NUMBERS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {last})",
    "postgresql": "WITH n(i) AS (SELECT * FROM generate_series(0, {last}))",
}
_TIME = {
    "sqlite": r"strftime('%Y-%m-%d %H\:%M\:%S', '2026-01-01', (i / 12) || ' seconds') || '.000000'",
    "postgresql": "timestamp with time zone '2026-01-01 UTC' + (i / 12) * interval '1 second'",
}
# A version 4 UUID whose order has nothing to do with the time.
_ID = {
    "sqlite": "printf('%08x-0000-4000-8000-%012x', i * 2654435761 % 4294967296, i)",
    "postgresql": "lpad(to_hex(CAST(i AS bigint) * 2654435761 % 4294967296), 8, '0') || '-0000-4000-8000-' || "
    "lpad(to_hex(i), 12, '0')",
}
_STATUS = (
    "CASE WHEN i % 41 = 0 THEN 'error' WHEN i % 41 = 1 THEN 'cancelled' WHEN i % 41 = 2 THEN 'removed' "
    "WHEN i % 41 = 3 THEN 'uploaded' WHEN i % 41 = 4 THEN 'processing' ELSE 'completed' END"
)
_UPLOAD_STATUS = (
    "CASE WHEN i % 41 = 0 THEN 'rejected' WHEN i % 41 = 1 THEN 'expired' WHEN i % 41 = 2 THEN 'terminated' "
    "WHEN i % 41 = 3 THEN 'open' ELSE 'complete' END"
)


def fill(database: Database, rows: int) -> None:
    """So many tasks of one file and one upload each. An empty database; blocking."""
    kind = database.engine.dialect.name
    at, its_id = _TIME[kind], _ID[kind]
    whose = {"id": its_id, "owner": f"'owner-' || (i % {OWNERS})", "created_at": at, "updated_at": at}
    upload = {**whose, "status": _UPLOAD_STATUS, "protocol": "'tus'", "length": "10", "received": "10"}
    upload |= {"filename": "'clip-' || i || '.mp4'", "has_bytes": "false", "task_id": its_id, "expires_at": at}
    task = {**whose, "node": "'node'", "status": _STATUS, "partial": "false", "progress": "100", "current_file": "1"}
    task |= {"file_count": "1", "attempt": "1", "failures": "0"}
    task |= {"finished_at": f"CASE WHEN i % 41 IN (3, 4) THEN NULL ELSE {at} END"}
    file = {"id": "id", "task_id": "id", "upload_id": "id", "position": "1", "name": "filename", "size": "10"}
    file |= {"safe_name": "filename", "status": "'completed'", "progress": "100", "has_poster": "false"}
    numbers = _NUMBERS[kind].format(last=rows - 1)
    with database.write() as session, without_indexes(session, *TABLES):
        # Rows in the order of their ids.
        for table, values, source in (("uploads", upload, "n"), ("tasks", task, "n"), ("task_files", file, "uploads")):
            select = f"SELECT {', '.join(values.values())} FROM {source} ORDER BY 1"
            numbered = f"{numbers} {select}" if source == "n" else select
            session.execute(text(f"INSERT INTO {table} ({', '.join(values)}) {numbered}"))
    if kind == "postgresql":
        analyse(database, *TABLES)
