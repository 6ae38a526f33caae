"""A sweep reads what is due along an index, and old tasks once in six hours only."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from server.maintenance.retention import Retention
from tests.maintenance.filled_installation import DAY, FilledInstallation, each


def test_old_tasks_are_read_once_in_six_hours(in_memory: FilledInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the first sweep and then every six hours, not each minute; batches lose no task."""
    monkeypatch.setattr("server.maintenance.retention._BATCH", 2)
    monkeypatch.setattr("server.maintenance.retention._ROWS", 1)
    tasks = [in_memory.task("cancelled", 10 * DAY + at // 2, has_poster=True) for at in range(7)]
    read: list[str] = []
    real = Retention._hidden_results

    def counted(self: Retention, this: Any, until: datetime, batch: Any) -> None:
        read.extend(task.id for task in batch)
        real(self, this, until, batch)

    monkeypatch.setattr(Retention, "_hidden_results", counted)
    with in_memory.with_settings(failed_retention=20 * DAY) as services:
        assert services.sweep().numbers["hidden_results"] == len(tasks)
        assert sorted(read) == sorted(tasks)
        read.clear()
        young = in_memory.task("cancelled", 0, has_poster=True)
        assert services.sweep().numbers["hidden_results"] == 1
        assert read == [young]
        clock = [10.0 * 3600]
        monkeypatch.setattr("server.maintenance.retention.time.monotonic", lambda: 1e9 + clock[0])
        read.clear()
        services.sweep()
        assert sorted(read) == sorted([*tasks, young])


def _reads_all(line: str, *, is_sqlite: bool) -> bool:
    """Whether a line of a plan says that all rows of a table are read; an index of some rows only is none of that."""
    if not re.search(r"\b(tasks|uploads|task_files)\b", line):  # not report_uploads, of which one row is looked at
        return False
    if not is_sqlite:
        return "Seq Scan" in line
    return ("(id>?)" in line and "autoindex" in line) or (line.startswith("SCAN") and "USING INDEX ix_" not in line)


def test_no_query_of_a_sweep_reads_a_whole_table(installation: FilledInstallation) -> None:
    """Each query of a sweep enters a table with ten thousand rows by an index."""
    installation.execute(
        "INSERT INTO tasks (id, owner, node, status, partial, progress, current_file, file_count, attempt, failures,"
        " created_at, updated_at, finished_at) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE"
        " i < 10000) SELECT 't' || i, 'o', :node, 'completed', false, 100, 1, 1, 1, 0, :at, :at, :at FROM n",
        node=installation.services.node,
        at=(datetime.now(UTC) - timedelta(days=10)).replace(tzinfo=None).isoformat(" "),
    )
    installation.execute(
        "INSERT INTO uploads (id, owner, status, protocol, length, received, has_bytes, task_id, created_at,"
        " updated_at, expires_at) SELECT 'u' || id, 'o', 'complete', 'tus', 10, 10, true, id, created_at, created_at,"
        " created_at FROM tasks"
    )
    installation.execute(
        "INSERT INTO task_files (id, task_id, upload_id, position, name, safe_name, size, status, progress, has_poster)"
        " SELECT 'f' || id, id, 'u' || id, 1, 'n', 'n', 10, 'completed', 100, false FROM tasks"
    )
    installation.execute("ANALYZE")
    seen: list[tuple[str, Any]] = []
    with installation.with_settings(**each(30 * DAY)) as services:
        services.sweep()  # the first look is a whole one
        installation.fill(0)
        engine = services.database.engine

        def remember(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            if statement.startswith(("SELECT", "DELETE", "UPDATE", "WITH")):
                seen.append((statement, parameters))

        event.listen(engine, "before_cursor_execute", remember)
        services.sweep()
        event.remove(engine, "before_cursor_execute", remember)
        assert len(seen) > 10
        is_sqlite = engine.dialect.name == "sqlite"
        explain = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN "
        bad = []
        with engine.connect() as connection:
            for statement, parameters in seen:
                plan = [str(row[-1]) for row in connection.exec_driver_sql(explain + statement, parameters)]
                if any(_reads_all(line.strip(), is_sqlite=is_sqlite) for line in plan):
                    bad.append((statement, plan))
        assert not bad, "\n\n".join(f"{statement[-400:]}\n{plan}" for statement, plan in bad)
