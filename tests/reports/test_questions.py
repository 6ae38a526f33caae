"""The questions of docs/reporting.md over a generated month: the right answers, and the same on both databases."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from math import ceil
from typing import Any

import pytest
from sqlalchemy import text

from server.database.session import Database
from server.maintenance import report_sums
from tests.harness.migrated import migrate
from tests.harness.postgres import PostgresServer
from tests.reports.generated_month import DAYS, fill
from tests.reports.page import PAGE, QUERIES, ask

UPLOADS = 3000
A_DAY = UPLOADS // DAYS
HALF = datetime(2026, 5, 16, 12, tzinfo=UTC)
"""Days before this one are kept sums; the later ones come from the rows."""

Months = Mapping[str, str]

# What depends on the clock, or is text on one database and a time on the other.
_UNLIKE = {"created_at", "last_upload", "last_retry", "idle_seconds", "age_seconds", "oldest_seconds"} | {
    "oldest_pending_seconds"
}


@pytest.fixture(scope="module")
def months(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Months]:
    """The URLs of both databases with the same month, half of it kept."""
    urls = {"sqlite": f"sqlite:///{tmp_path_factory.mktemp('month') / 'month.db'}"}
    urls["postgresql"] = postgres_server.create_database()
    for url in urls.values():
        migrate(url)
        database = Database(url, 2)
        with database.change() as connection:
            fill(connection, UPLOADS)
        kept = report_sums.keep(database, HALF, row_retention=0)
        assert len(kept) == 15
        database.close()
    yield urls
    postgres_server.drop_database(urls["postgresql"])


def test_there_are_twenty_questions_and_every_query_has_one() -> None:
    """Every SQL block of the page stands below a heading of its own."""
    assert PAGE.count("```sql") == len(QUERIES) >= 20


@pytest.mark.parametrize("heading", QUERIES)
def test_both_databases_give_the_same_answer(months: Months, heading: str) -> None:
    """The same rows with the same columns, and at least one."""
    answers = [_comparable(ask(months[kind], heading)) for kind in ("sqlite", "postgresql")]
    assert answers[0]
    assert answers[0] == answers[1]


def _comparable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in _UNLIKE} for row in rows]


@pytest.fixture(params=["sqlite", "postgresql"])
def month(request: pytest.FixtureRequest, months: Months) -> str:
    """One of the two."""
    return months[request.param]


@pytest.mark.parametrize("day", [1, 30])
def test_a_day_is_counted(month: str, day: int) -> None:
    """100 uploads with the numbers 0 to 99, or 2900 to 2999: four never arrived, one expired, four were resumed."""
    rows = {row["day"]: row for row in ask(month, "Uploads per day")}
    sizes = 96 * 1_000_000 + 1000 * (4950 - 0 - 1 - 2 - 3) + 4 * 1000
    more = 96 * 900 * 1000 if day == 30 else 0  # n % 1000 is 900 to 999 there
    expected = {"uploads": 100, "bytes": sizes + more, "completed": 96, "expired": 1, "resumed": 5}
    assert rows[f"2026-05-{day:02}"] == {"day": f"2026-05-{day:02}", **expected}


def test_rates_are_those_of_the_month(month: str) -> None:
    """Of 100 uploads 97 have ended, 91 succeeded, and four failed: two in processing, one refused, one expired."""
    for row in ask(month, "Success, failures and resumptions per day"):
        assert (row["ended"], row["succeeded"], row["failed"]) == (97, 91, 4)
        assert (row["success_percent"], row["failure_percent"], row["resume_percent"]) == (93.8, 4.1, 5.2)


def test_reasons_are_those_of_the_rows(month: str) -> None:
    """Thirty uploads of each reason; a refused one has the code of its event."""
    found = [(row["outcome"], row["reason"], row["uploads"]) for row in ask(month, "Why uploads fail")]
    assert sorted(found, key=str) == [
        ("expired", None, 30),
        ("failed", "codec_unsupported", 30),
        ("failed", "not_playable", 30),
        ("rejected", "media_type_unsupported", 30),
    ]


def _percentile(values: list[int], part: int) -> float:
    """The nearest rank, of seconds rounded to two digits; by another way than SQL."""
    return float(f"{sorted(values)[ceil(len(values) * part / 100) - 1]:.1e}")


def test_percentiles_are_those_of_the_rows(month: str) -> None:
    """An upload takes 1 to 60 s; until it can be played 0 to 4 s in the queue and 1 to 7 s of work more."""
    rows = {row["day"]: row for row in ask(month, "How long until an upload is complete")}
    first = [1 + n % 60 for n in range(A_DAY) if n % 100 > 3]
    assert rows["2026-05-01"] == {
        "day": "2026-05-01",
        "uploads": 96,
        "p50_seconds": _percentile(first, 50),
        "p95_seconds": _percentile(first, 95),
    }
    played: dict[str, list[int]] = {}
    for n in range(UPLOADS):
        if n % 100 >= 10 or n % 100 == 7:
            client = ("browser", "ios", "android", "python", "unknown")[n % 5]
            played.setdefault(client, []).append(1 + n % 60 + n % 5 + 1 + n % 7)
    found = {row["client"]: row for row in ask(month, "How long until a video can be played")}
    assert set(found) == set(played)
    for client, values in played.items():
        expected = {"uploads": len(values), "p50_seconds": _percentile(values, 50)}
        assert found[client] == {"client": client, **expected, "p95_seconds": _percentile(values, 95)}


def test_the_queue_has_what_never_started(month: str) -> None:
    """One upload in a hundred waits for ever: after thirty days, thirty wait. Another was cancelled before it ran."""
    rows = ask(month, "Depth of the queue")
    assert rows[0]["waiting"] == 30
    assert sum(row["entered"] - row["started"] - row["ended"] for row in rows) == 2
    days = {row["day"]: row for row in ask(month, "How long tasks wait, per day")}
    assert (days["2026-05-02"]["p50_seconds"], days["2026-05-02"]["p95_seconds"]) == (2.0, 4.0)


def test_what_is_stored_is_told_by_owner(month: str) -> None:
    """owner-7 has sixty uploads: thirty that were removed, and thirty originals."""
    rows = {row["owner"]: row for row in ask(month, "Who stores how much")}
    assert len(rows) == 50
    removed, kept = range(7, UPLOADS, 100), range(57, UPLOADS, 100)
    assert len(removed) == 30
    expected = {"originals": 30, "bytes": sum(1_000_000 + n % 1000 * 1000 for n in kept)}
    assert rows["owner-7"] == {"owner": "owner-7", **expected, "open_uploads": 0, "open_bytes": 0}


def test_stuck_ones_are_told_with_their_reason(month: str) -> None:
    """The open uploads got one KB, and nothing since; tasks lost their worker, or never had one."""
    assert {row["why"] for row in ask(month, "Stuck uploads")} == {"no_more_bytes"}
    found = {row["why"]: row["tasks"] for row in ask(month, "Stuck tasks")}
    assert found == {"waits_for_worker": 30, "worker_lost": 30}


def test_sums_are_the_same_as_the_rows(months: Months) -> None:
    """Whatever is kept: a view gives the same before and after, also when a later event changes a kept day."""
    views = ("upload_outcomes_per_day", "upload_times", "videos_per_day", "tasks_by_status", "queue_per_hour")
    for url in months.values():
        database = Database(url, 2)
        before = [_all(database, view) for view in views]
        assert len(report_sums.keep(database, datetime(2026, 6, 2, 1, tzinfo=UTC), row_retention=0)) >= 16
        assert [_all(database, view) for view in views] == before
        changed = "UPDATE task_files SET error_code = NULL, status = 'completed', progress = 100 WHERE id = :id"
        event = "INSERT INTO task_events (task_id, owner, at, type, attempt) "
        event += "SELECT id, owner, :at, 'completed', 2 FROM tasks"
        with database.change() as connection:
            values = {"id": f"{4:032}"}
            connection.execute(text(changed), values)
            connection.execute(text(f"{event} WHERE id = :id"), {**values, "at": "2026-06-02 10:00:00+00:00"})
        assert report_sums.keep(database, datetime(2026, 6, 2, 12, tzinfo=UTC), row_retention=86400) == []
        with database.read() as session:
            query = (
                "SELECT sum(uploads) FROM upload_outcomes_per_day WHERE day = '2026-05-01' AND outcome = 'succeeded'"
            )
            assert session.execute(text(query)).scalar() == 91  # its rows may be gone: the sum stays
        database.close()


def _all(database: Database, view: str) -> list[Any]:
    with database.read() as session:
        return sorted((tuple(row) for row in session.execute(text(f"SELECT * FROM {view}"))), key=str)
