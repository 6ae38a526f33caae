"""The kept sums of each owner: what they and the rows of later days add up to is what the rows alone add up to."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from server.auth import owners
from server.database import migration, report_queries
from server.database.report_queries import REPORTS
from server.database.session import Database
from server.maintenance import report_sums
from tests.harness.migrated import migrate
from tests.reports.generated_month import fill

pytestmark = pytest.mark.every_backend  # SQL is what they are about

UPLOADS = 900
HALF = datetime(2026, 5, 16, 12, tzinfo=UTC)
AFTER = datetime(2026, 6, 2, 1, tzinfo=UTC)
OWNERS = ("owner-4", "owner-7", "owner-10")
"""Failed ones, removed ones, and resumed ones."""

_COLUMNS = "owner, day, outcome, nullif(reason, ''), sum(uploads), sum(bytes), sum(arrived), sum(resumed)"
_KEPT = (
    f"SELECT {_COLUMNS} FROM report_owners GROUP BY owner, day, outcome, reason",
    "SELECT owner, day, milliseconds, uploads FROM report_owner_times",
)
_FACTS = "FROM upload_facts WHERE created_at < (SELECT owners_until FROM report_state)"
_ROWS = (
    f"SELECT {_COLUMNS.replace('sum(uploads)', 'count(*)')} {_FACTS} GROUP BY owner, day, outcome, reason",
    f"SELECT owner, day, playable_ms, count(*) {_FACTS} AND playable_ms IS NOT NULL GROUP BY owner, day, playable_ms",
)


@pytest.fixture
def month(database_url: str) -> Iterator[Database]:
    """A month of which nothing is kept."""
    migrate(database_url)
    database = Database(database_url, 2)
    with database.change() as connection:
        fill(connection, UPLOADS)
    yield database
    database.close()


def keep(database: Database, now: datetime = AFTER) -> None:
    """As often as a sweep has something to do."""
    while report_sums.keep(database, now, row_retention=0):
        pass


def asked(database: Database, sql: str) -> list[tuple[Any, ...]]:
    """Its rows; a sum of PostgreSQL's as a plain number."""
    with database.read() as session:
        rows = session.execute(text(sql)).all()
    plain = (tuple(int(value) if isinstance(value, Decimal) else value for value in row) for row in rows)
    return sorted(plain, key=str)


def change(database: Database, sql: str) -> None:
    with database.change() as connection:
        connection.execute(text(sql))


def reports(database: Database, names: tuple[str, ...] = OWNERS) -> dict[str, Any]:
    """Every report of these owners, of all days."""
    found = {}
    for name in ("totals", "uploads", "rates", "times", "failures"):
        for owner in names:
            with database.read() as session:
                rows = report_queries.rows(session, REPORTS[name], owner, date(2026, 4, 20), date(2026, 6, 5))
            found[f"{name} of {owner}"] = rows
    return found


def check(database: Database, until: str = "2026-06-02") -> None:
    """The sums are those of the rows, of every day before `until`."""
    ((kept_until,),) = asked(database, "SELECT owners_until FROM report_state")
    assert str(kept_until).startswith(until)
    for kept, rows in zip(_KEPT, _ROWS, strict=True):
        assert asked(database, kept) == asked(database, rows)


def test_reports_of_an_owner_are_the_same_kept_or_not(month: Database) -> None:
    """With nothing kept, half of it, and all; and so is the view, which has every upload once."""
    before, view = reports(month), asked(month, "SELECT * FROM uploads_per_owner_and_day")
    assert before["totals of owner-7"][0]["uploads"] == UPLOADS // 50
    assert before["failures of owner-4"] != []
    for now, until in ((HALF, "2026-05-16"), (AFTER, "2026-06-02")):
        keep(month, now)
        check(month, until)
        assert reports(month) == before
        assert asked(month, "SELECT * FROM uploads_per_owner_and_day") == view


def test_a_range_has_its_days_only(month: Database) -> None:
    """Kept days and days of rows alike, both ends included."""
    keep(month, HALF)
    for first, last in ((3, 5), (14, 18), (20, 21), (16, 16)):
        with month.read() as session:
            found = report_queries.rows(
                session, REPORTS["uploads"], "owner-7", date(2026, 5, first), date(2026, 5, last)
            )
        expected = asked(
            month,
            "SELECT day, count(*) FROM upload_facts WHERE owner = 'owner-7' "
            f"AND day BETWEEN '2026-05-{first:02}' AND '2026-05-{last:02}' GROUP BY day",
        )
        assert [(row["day"], row["uploads"]) for row in found] == expected


def test_a_changed_day_is_summed_again(month: Database) -> None:
    """After a retry that succeeds, and a removal of a video."""
    keep(month, AFTER)
    ids = {"retried": f"{4:032}", "removed": f"{35:032}"}
    change(month, f"UPDATE task_files SET error_code = NULL, status = 'completed' WHERE id = '{ids['retried']}'")
    change(month, f"UPDATE task_files SET status = 'removed', progress = 0 WHERE id = '{ids['removed']}'")
    for kind, task in ids.items():
        change(
            month,
            "INSERT INTO task_events (task_id, owner, at, type, attempt) "
            f"SELECT id, owner, '2026-06-02 00:40:00+00:00', '{kind}', 2 FROM tasks WHERE id = '{task}'",
        )
    assert report_sums.keep(month, AFTER, row_retention=0) == ["2026-05-01", "2026-05-02"]
    check(month)
    rates = {row["day"]: row for row in reports(month)["rates of owner-4"]}
    assert rates["2026-05-01"]["failed"] == 0


def test_a_renamed_owner_takes_the_sums_along(month: Database) -> None:
    """Merged with those of the new name, if there are any."""
    keep(month)
    owners.rename(month, "owner-7", "ann")
    owners.rename(month, "owner-4", "owner-10", merge=True)
    check(month)
    assert asked(month, "SELECT DISTINCT owner FROM report_owners WHERE owner IN ('ann', 'owner-4', 'owner-7')") == [
        ("ann",)
    ]
    ((last,),) = asked(month, "SELECT max(last_at) FROM report_owners WHERE owner = 'owner-10'")
    assert asked(month, "SELECT max(created_at) FROM uploads WHERE owner = 'owner-10'") == [(last,)]


def test_an_owner_with_sums_only_is_known(month: Database) -> None:
    """`row_retention` has deleted the rows: the name can still be taken out of the sums."""
    keep(month)
    before = reports(month, ("owner-7",))
    for table in ("task_events", "task_steps", "task_files", "tasks", "uploads"):
        change(month, f"DELETE FROM {table}")
    owners.rename(month, "owner-7", "erased-1")
    assert asked(month, "SELECT 1 FROM report_owners WHERE owner = 'owner-7'") == []
    assert asked(month, "SELECT 1 FROM report_owner_times WHERE owner = 'owner-7'") == []
    after = reports(month, ("erased-1",))
    assert list(after.values()) == list(before.values())
    with pytest.raises(owners.OwnerUnknownError):
        owners.rename(month, "owner-7", "erased-2")


@pytest.mark.parametrize("what", ["renamed", "swept", "killed"])
def test_what_happens_during_a_sweep_makes_no_sum_wrong(
    month: Database, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """An owner is renamed, another process sweeps, or this one dies, when the rows of the third day have been read."""
    real, days = report_sums._sums_of_day, []

    def read(*arguments: Any) -> Any:
        sums = real(*arguments)
        days.append(arguments[1])
        if len(days) == 3:
            happens[what]()
        return sums

    def die() -> None:
        raise KilledError

    happens: dict[str, Callable[[], object]] = {
        "renamed": lambda: owners.rename(month, "owner-7", "ann"),
        "swept": lambda: keep(month),
        "killed": die,
    }
    with monkeypatch.context() as patched:
        patched.setattr(report_sums, "_sums_of_day", read)
        if what == "killed":
            with pytest.raises(KilledError):
                report_sums.keep(month, AFTER, row_retention=0)
        else:
            assert report_sums.keep(month, AFTER, row_retention=0) == ["2026-05-01", "2026-05-02"]
    if what == "renamed":
        assert asked(month, "SELECT 1 FROM report_owners WHERE owner = 'owner-7'") == []
    keep(month)
    check(month)


class KilledError(Exception):
    """Instead of a killed process."""


def test_an_upgrade_makes_up_for_the_sums_of_owners(month: Database, database_url: str) -> None:
    """What revision 0014 has kept stays; reports of an owner are right before and after the first sweep."""
    before = reports(month)
    keep(month, HALF)
    kept = asked(month, "SELECT * FROM report_uploads")
    month.engine.dispose()
    migration.downgrade(database_url, "0014")
    migration.upgrade(database_url)
    assert asked(month, "SELECT * FROM report_uploads") == kept
    assert reports(month) == before
    keep(month, HALF)
    check(month, "2026-05-16")
    assert reports(month) == before


def test_a_sweep_of_an_earlier_version_is_made_up_for(month: Database) -> None:
    """It keeps a day, sums another one up again, and knows nothing of owners: reports stay right."""
    keep(month, HALF)
    change(month, f"UPDATE task_files SET error_code = NULL, status = 'completed' WHERE id = '{4:032}'")
    change(
        month,
        "INSERT INTO task_events (task_id, owner, at, type, attempt) "
        f"SELECT id, owner, '2026-06-02 00:40:00+00:00', 'completed', 2 FROM tasks WHERE id = '{4:032}'",
    )
    mine = ("report_owners", "report_owner_times")
    for table in mine:
        change(month, f"CREATE TABLE aside_{table} AS SELECT * FROM {table}")
    state = "owners_until, owners_event, version"
    change(month, f"CREATE TABLE aside_state AS SELECT {state} FROM report_state")
    keep(month)  # and then all that such a version would not have written is taken back
    for table in mine:
        change(month, f"DELETE FROM {table}")
        change(month, f"INSERT INTO {table} SELECT * FROM aside_{table}")
    for name in state.split(", "):
        change(month, f"UPDATE report_state SET {name} = (SELECT {name} FROM aside_state)")
    expected = asked(month, _ROWS[0].replace("(SELECT owners_until FROM report_state)", "'2026-06-02'"))
    view = [tuple(row[:-1]) for row in asked(month, "SELECT * FROM uploads_per_owner_and_day WHERE day > '2026-05-15'")]
    assert view == [row for row in expected if row[1] > "2026-05-15"]
    keep(month)
    check(month)
    assert asked(month, _KEPT[0]) == expected
