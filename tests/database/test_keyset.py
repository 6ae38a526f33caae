"""Pages by keyset: places and cursors, and that a page enters its table by an index, on both databases."""

import base64
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from server.database import keyset
from server.database.keyset import Key, Span
from server.database.models import Task, Upload
from server.database.session import Database
from server.errors import CursorInvalidError
from server.lifecycle import TaskStatus, UploadStatus
from tests.harness.filled_lists import BEGIN, fill
from tests.harness.migrated import migrate

NOW = datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=UTC)
ALL = frozenset(TaskStatus) - {TaskStatus.REMOVED}
SPAN = Span(owner="ann", statuses=ALL, since=NOW)
MARK = keyset.mark(SPAN, "tasks")


@pytest.mark.parametrize("at", [NOW, datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_a_cursor_is_the_place_it_was_made_of(at: datetime) -> None:
    """To the microsecond."""
    key = Key(at, str(uuid4()))
    assert keyset.read_cursor(keyset.write_cursor(key, MARK), MARK) == key


GARBAGE = ["", "x", "A" * 42, "A" * 44, "A" * 43, "!" * 43, "é" * 43, "_" * 43, "\0" * 43, "A" * 100_000]


@pytest.mark.parametrize("cursor", GARBAGE)
def test_garbage_is_no_cursor(cursor: str) -> None:
    """Whatever it is, one refusal with a code of its own."""
    with pytest.raises(CursorInvalidError):
        keyset.read_cursor(cursor, MARK)


def test_a_time_that_is_none_is_no_cursor() -> None:
    """A cursor that was changed by hand may name a year that does not exist."""
    for micros in (2**63 - 1, -(2**63)):
        raw = micros.to_bytes(8, "big", signed=True) + uuid4().bytes + MARK
        with pytest.raises(CursorInvalidError):
            keyset.read_cursor(base64.urlsafe_b64encode(raw).decode().rstrip("="), MARK)


OTHERS = [
    keyset.mark(Span(owner="bob", statuses=ALL, since=NOW), "tasks"),
    keyset.mark(Span(owner=None, statuses=ALL, since=NOW), "tasks"),
    keyset.mark(Span(owner="ann", statuses=frozenset({TaskStatus.ERROR}), since=NOW), "tasks"),
    keyset.mark(Span(owner="ann", statuses=ALL), "tasks"),
    keyset.mark(Span(owner="ann", statuses=ALL, until=NOW), "tasks"),
    keyset.mark(SPAN, "uploads"),
    keyset.mark(SPAN, "tasks", "name"),
]


@pytest.mark.parametrize("other", OTHERS)
def test_a_cursor_of_another_list_is_refused(other: bytes) -> None:
    """Of another owner, or with other filters."""
    with pytest.raises(CursorInvalidError):
        keyset.read_cursor(keyset.write_cursor(Key(NOW, str(uuid4())), other), MARK)


# Pages


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql")])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database with 20,000 tasks and uploads of some owners, in all states, many at one moment."""
    yield from _filled(request, tmp_path_factory, 20_000)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql")])
def million(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """The same with 1,000,000."""
    yield from _filled(request, tmp_path_factory, 1_000_000)


def _filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, rows: int) -> Iterator[Database]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('filled') / 'test.db'}"
    else:
        cluster = request.getfixturevalue("postgres_server")
        url = cluster.create_database()
    migrate(url)
    database = Database(url, 2)
    try:
        fill(database, rows)
        yield database
    finally:
        database.close()
        if request.param != "sqlite":
            cluster.drop_database(url)


SPANS: dict[str, tuple[Any, Span]] = {
    "tasks": (Task, Span(owner="owner-0", statuses=ALL)),
    "tasks of all owners": (Task, Span(owner=None, statuses=ALL)),
    "failed tasks": (Task, Span(owner="owner-1", statuses=frozenset({TaskStatus.ERROR}))),
    "removed tasks of all": (Task, Span(owner=None, statuses=frozenset({TaskStatus.REMOVED}))),
    "tasks of a time": (
        Task,
        Span(owner=None, statuses=ALL, since=BEGIN + timedelta(seconds=3), until=BEGIN + timedelta(seconds=40)),
    ),
    "uploads": (Upload, Span(owner="owner-0", statuses=frozenset({UploadStatus.OPEN, UploadStatus.COMPLETE}))),
    "uploads of all owners": (Upload, Span(owner=None, statuses=frozenset(UploadStatus))),
}


@pytest.mark.parametrize("name", SPANS)
def test_pages_have_every_row_once(filled: Database, name: str) -> None:
    """The newest first, however long a page is and however many rows have the same time."""
    of, span = SPANS[name]
    expected = _plainly(filled, of, span)
    assert len(expected) > 100
    if len(span.statuses) > 1:
        assert len({key.at for key in expected}) < len(expected)
    for limit in (1, 7, 200):
        found: list[Key] = []
        with filled.snapshot() as session:
            while len(found) < min(len(expected), 20 * limit):
                after = found[-1] if found else None
                found += islice(keyset.newest(session, of, span, after, limit), limit)
            last = list(islice(keyset.newest(session, of, span, expected[-3], 10), 10))
        assert found == expected[: len(found)]
        assert last == expected[-2:]


def _plainly(database: Database, of: Any, span: Span) -> list[Key]:
    """The same by sorting all rows."""
    with database.read() as session:
        rows = session.query(of.created_at, of.id, of.owner, of.status).all()
    found = [
        Key(row.created_at, row.id)
        for row in rows
        if row.status in span.statuses
        and span.owner in (None, row.owner)
        and (span.since is None or row.created_at >= span.since)
        and (span.until is None or row.created_at < span.until)
    ]
    return sorted(found, reverse=True)


@pytest.mark.parametrize("name", SPANS)
def test_a_page_reads_what_it_shows(filled: Database, name: str) -> None:
    """Neither database sorts or reads all rows, on the first page and in the middle (its plans)."""
    check_plans(filled, *SPANS[name])


@pytest.mark.soak
@pytest.mark.parametrize("name", SPANS)
def test_a_page_of_a_million_rows_reads_what_it_shows(million: Database, name: str) -> None:
    """The same in a table of 1,000,000 rows."""
    check_plans(million, *SPANS[name])


def check_plans(database: Database, of: Any, span: Span) -> None:
    """Each statement of a page enters the table by an index, and is ended by its limit."""
    with database.snapshot() as session:
        middle = next(islice(keyset.newest(session, of, span, None, 60), 55, None))
        for after in (None, middle):
            for statement, parameters in _statements(session, of, span, after):
                _check_plan(session, statement, parameters)


def _statements(session: Session, of: Any, span: Span, after: Key | None) -> list[tuple[str, Any]]:
    seen: list[tuple[str, Any]] = []

    def remember(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    engine = session.connection().engine
    event.listen(engine, "before_cursor_execute", remember)
    try:
        assert len(list(islice(keyset.newest(session, of, span, after, 51), 51))) == 51
    finally:
        event.remove(engine, "before_cursor_execute", remember)
    assert len(seen) == len(span.statuses)
    return seen


def _check_plan(session: Session, statement: str, parameters: Any) -> None:
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        plan = [str(row[-1]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
        (line,) = plan  # a second line would be a sort
        assert line.startswith("SEARCH"), plan
        assert "USING COVERING INDEX ix_" in line, plan
        return
    ((plan_of,),) = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).all()
    nodes = list(_nodes(plan_of[0]["Plan"]))
    assert {node["Node Type"] for node in nodes} <= {"Limit", "Index Only Scan", "Index Scan"}, nodes
    for node in nodes:
        # Read through the index from where the page begins: nothing is read and thrown away.
        assert node.get("Rows Removed by Filter", 0) == 0, node
        assert node["Actual Rows"] <= 51, node


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from _nodes(below)


def test_a_page_is_one_moment(database_url: str) -> None:
    """A task that changes its state while the states are read is listed once."""
    migrate(database_url)
    database = Database(database_url, 2)
    fill(database, 50)
    with contextlib.closing(database), database.snapshot() as session:
        keys = keyset.newest(session, Task, Span(owner=None, statuses=frozenset(TaskStatus)), None, 5)
        first = [next(keys)]
        with database.write() as other:
            other.execute(text("UPDATE tasks SET status = CASE status WHEN 'error' THEN 'uploaded' ELSE 'error' END"))
        assert len({key.id for key in [*first, *keys]}) == 50
