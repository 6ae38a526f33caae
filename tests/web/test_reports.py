"""Reports by HTTP: the numbers of all owners and of one are added up alike; rights, ranges, and cells that are safe."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from server.database import report_queries
from server.database.report_queries import REPORTS
from tests.harness.http import serving
from tests.web.owned import Owned


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def owned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owned]:
    """A server on which two owners have uploads of every outcome, none of them earlier than today."""
    with serving(request, tmp_path_factory.mktemp("reports"), auth="on") as live:
        owned = Owned(live)
        for who in ("ann", "=bob"):
            for status in ("completed", "completed", "error", "cancelled"):
                task = owned.task(who)
                owned.set_status(task, status)
                code = "'not_playable'" if status == "error" else "NULL"
                sql = f"UPDATE task_files SET status = :status, error_code = {code} WHERE task_id = :id"
                live.execute(sql, status=status, id=task)
            owned.open(who)
            half = owned.open(who, have=500).partition("~")[0]
            live.wait_until_received(half, 500)
            gone = owned.open(who).partition("~")[0]
            live.execute("UPDATE uploads SET status = 'expired' WHERE id = :id", id=gone)
        # All on one day, also if this runs at midnight.
        live.execute("UPDATE uploads SET first_byte_at = NULL, created_at = (SELECT min(created_at) FROM uploads)")
        live.execute("UPDATE tasks SET playable_at = (SELECT min(created_at) FROM tasks) WHERE status = 'completed'")
        yield owned


def rows(owned: Owned, name: str, who: str, query: str = "") -> list[dict[str, Any]]:
    content = owned.get(f"/api/reports/{name}{query}", who)
    assert content["report"] == name
    found = content["rows"]
    assert isinstance(found, list)
    return found


def test_an_owner_has_own_numbers_and_an_administrator_all(owned: Owned) -> None:
    """Two owners with the same uploads: each has half of what there is, and the same rates."""
    for name in ("totals", "uploads", "rates", "times", "failures"):
        mine, all_of_them = rows(owned, name, "ann"), rows(owned, name, "root:admin")
        assert mine == rows(owned, name, "root:admin", "?owner=ann") == rows(owned, name, "=bob")
        assert len(mine) == len(all_of_them) > 0
        for one, both in zip(mine, all_of_them, strict=True):
            for key, value in one.items():
                is_sum = isinstance(value, int) and not key.endswith("_seconds")
                assert both[key] == (2 * value if is_sum else pytest.approx(value)), (name, key)
    (day,) = rows(owned, "uploads", "ann")
    assert (day["uploads"], day["bytes"], day["completed"], day["expired"]) == (7, 4500, 4, 1)
    (rate,) = rows(owned, "rates", "ann")
    assert (rate["ended"], rate["succeeded"], rate["failed"], rate["success_rate"]) == (5, 2, 1, 0.4)
    (failed, expired) = sorted(rows(owned, "failures", "ann"), key=lambda row: row["outcome"] == "expired")
    assert (failed["reason"], failed["uploads"], expired["reason"], expired["message"]) == (
        "not_playable",
        1,
        None,
        None,
    )
    assert failed["message"]
    (times,) = rows(owned, "times", "ann")
    assert times["uploads"] == 2
    (totals,) = rows(owned, "totals", "ann")
    for row in (day, rate, {"p50_seconds": times["p50_seconds"], "p95_seconds": times["p95_seconds"], "playable": 2}):
        assert totals | {key: value for key, value in row.items() if key in totals} == totals


def test_storage_and_queue(owned: Owned) -> None:
    """An owner has one row of storage; the queue is everybody's, so it is for an administrator."""
    (mine,) = rows(owned, "storage", "ann")
    assert (mine["owner"], mine["originals"], mine["bytes"], mine["open_uploads"]) == ("ann", 4, 4000, 2)
    assert {row["owner"] for row in rows(owned, "storage", "root:admin")} == {"ann", "=bob"}
    (hour, *_) = rows(owned, "queue", "root:admin")
    assert set(hour) == set(REPORTS["queue"].columns)
    assert owned.refused("GET", "/api/reports/queue") == (403, "scope_missing")
    assert owned.refused("GET", "/api/reports/queue?owner=ann", "root:admin") == (403, "scope_missing")


def test_a_range_is_of_whole_days(owned: Owned) -> None:
    """The days are in the answer; one without uploads has no row; other ranges are refused."""
    today = datetime.now(UTC).date()
    content = owned.get("/api/reports/uploads")
    assert date.fromisoformat(content["to"]) - date.fromisoformat(content["from"]) == timedelta(days=29)
    assert rows(owned, "uploads", "ann", f"?to={today - timedelta(days=2)}") == []
    assert (
        rows(owned, "uploads", "root:admin", f"?from={today + timedelta(days=2)}&to={today + timedelta(days=3)}") == []
    )
    for query in (
        "from=2026-11-02&to=2026-11-01",
        "from=2020-01-01&to=2026-01-01",
        "from=x",
        "to=9999-12-31",
        "to=1-1",
    ):
        assert owned.refused("GET", f"/api/reports/uploads?{query}") == (400, "field_invalid"), query
    assert owned.refused("GET", "/api/reports/uploads?format=xml") == (400, "field_invalid")
    assert rows(owned, "uploads", "ann", "?from=0001-01-01&to=0001-01-01") == []
    for who in ("ann", "root:admin"):
        (nothing,) = rows(owned, "totals", who, "?from=0001-01-01&to=0001-01-01")
        unknown = ("success_rate", "failure_rate", "resume_rate", "p50_seconds", "p95_seconds")
        assert nothing == dict.fromkeys(REPORTS["totals"].columns, 0) | dict.fromkeys(unknown)


def test_a_spreadsheet_gets_no_formula(owned: Owned) -> None:
    """CSV has the same rows, a name to save it under, and an owner's name is text whatever it begins with."""
    answer = owned.ask("GET", "/api/reports/storage?format=csv&from=2026-11-01&to=2026-11-30", "root:admin")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="storage_2026-11-01_2026-11-30.csv"'
    table = list(csv.DictReader(io.StringIO(answer.text)))
    assert {row["owner"] for row in table} == {"ann", "'=bob"}
    plain = owned.ask("GET", "/api/reports/uploads?format=csv", "ann")
    (row,) = csv.DictReader(io.StringIO(plain.text))
    assert row == {key: str(value) for key, value in rows(owned, "uploads", "ann")[0].items()}


def test_who_may_not(owned: Owned) -> None:
    """Foreign numbers, missing scopes, unknown reports."""
    path = "/api/reports/uploads"
    assert owned.refused("GET", path + "?owner=ann", "=bob") == (403, "scope_missing")
    assert owned.refused("GET", path, "ann:upload") == (403, "scope_missing")
    assert owned.refused("GET", path, "") == (401, "authentication_required")
    assert owned.refused("GET", "/api/reports/passwords") == (404, "not_found")
    assert owned.refused("POST", path) == (405, "method_not_allowed")


def test_a_visit_is_one_entry_of_the_audit_log(owned: Owned) -> None:
    """The reports of one page are one entry for each owner, a file is one more, and own numbers are none."""
    sql = "SELECT object_owner, object_id FROM audit_log WHERE action = 'report_read' AND owner = 'auditor' ORDER BY id"
    for owner in ("ann", "=bob"):
        for name in ("uploads", "failures", "rates"):
            rows(owned, name, "auditor:admin", f"?owner={owner}")
    rows(owned, "uploads", "auditor:admin", "?owner=auditor")
    assert owned.ask("GET", "/api/reports/times?owner=ann&format=csv", "auditor:admin").status == 200
    entries = [(entry["object_owner"], entry["object_id"]) for entry in owned.live.query(sql)]
    assert entries == [("ann", "uploads"), ("=bob", "uploads"), ("ann", "times")]


def test_a_range_with_too_much_is_refused(owned: Owned, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one owner, since those are read one by one; never of all, whose sums are kept."""
    monkeypatch.setattr(report_queries, "MOST_UPLOADS", 3)
    assert owned.refused("GET", "/api/reports/uploads") == (413, "report_too_large")
    assert len(rows(owned, "uploads", "root:admin")) == 1
    assert json.loads(owned.ask("GET", "/api/reports/storage", "ann").body)["success"]
