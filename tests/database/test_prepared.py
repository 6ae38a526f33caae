"""A prepared statement gives what SQLAlchemy gives for the same statement, on every database."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast

import pytest
from sqlalchemy import Table, bindparam, func, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from server.database.models import Upload
from server.database.prepared import Prepared
from server.database.session import Database
from server.database.types import utc_as_text, utc_of_text
from server.lifecycle import UploadStatus
from tests.harness.migrated import migrate

pytestmark = pytest.mark.every_backend  # SQL is what they are about

_uploads = cast("Table", Upload.__table__)
FIND = select(_uploads).where(_uploads.c.id == bindparam("upload"))
NOW = datetime(2026, 11, 30, 12, 0, 0, 123456, tzinfo=UTC)
WHOLE: dict[str, Any] = {
    "owner": "owner ü 视频",
    "protocol": "tus",
    "length": (1 << 62) + 1,
    "metadata_raw": "filename YQ==,empty",
    "filename": 'a "b" \\ %s :upload.mp4',
    "media_type": None,
    "concat": None,
    "reserved": 0,
    "task_id": "t",
    "created_at": NOW,
    "updated_at": NOW.astimezone(timezone(timedelta(hours=8))),
    "expires_at": NOW + timedelta(days=1000),
}


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    migrate(database_url)
    database = Database(database_url, 5)
    yield database
    database.close()


def fresh() -> dict[str, Any]:
    return WHOLE | {"id": str(uuid.uuid4())}


def test_an_insert_and_a_select_equal_those_of_sqlalchemy(database: Database) -> None:
    """Each column, the defaults of the model among them, in both directions and with the same types."""
    one, other = fresh(), fresh()
    prepared, find = Prepared(insert(_uploads), one), Prepared(FIND)
    with database.change() as connection:
        prepared.change(connection, one)
        connection.execute(insert(_uploads), other)
    for upload in (one["id"], other["id"]):
        with database.look() as connection:
            row = find.one_or_none(connection, {"upload": upload})
            assert row is not None
            expected = connection.execute(FIND, {"upload": upload}).one()
            assert row._asdict() == dict(expected._mapping)
            assert [type(value) for value in row] == [type(value) for value in expected]
        assert (row.status, row.has_bytes, row.received, row.resumed) == (UploadStatus.OPEN, True, 0, False)
    with database.look() as connection:
        assert find.one_or_none(connection, {"upload": "no such"}) is None


def test_a_row_by_name_has_the_same_values(database: Database) -> None:
    """Each column as an attribute, with the value and type that SQLAlchemy gives."""
    one = fresh()
    with database.change() as connection:
        connection.execute(insert(_uploads), one)
    with database.look() as connection:
        row = Prepared(FIND, by_name=True).one_or_none(connection, {"upload": one["id"]})
        expected = connection.execute(FIND, {"upload": one["id"]}).one()._mapping
    assert {name: getattr(row, name) for name in expected} == dict(expected)
    assert [type(getattr(row, name)) for name in expected] == [type(value) for value in expected.values()]


@pytest.mark.parametrize("text", ["2026-11-30 12:00:00.123456", "2026-11-30 20:00:00.123456+08:00"])
def test_a_time_of_an_earlier_version_is_the_same_time(text: str) -> None:
    """SQLite's text may have a zone: the first byte's time was written with one."""
    assert utc_of_text(text) == NOW
    assert utc_as_text(utc_of_text(text)) == "2026-11-30 12:00:00.123456"


def test_a_time_without_a_zone_is_not_written() -> None:
    """It could mean any hour."""
    with pytest.raises(ValueError, match="zone"):
        utc_as_text(NOW.replace(tzinfo=None))


def test_an_update_says_how_many_rows_it_changed(database: Database) -> None:
    """Its own parameters and those of the statement both arrive, also where SQL computes the value."""
    one = fresh()
    statement = (
        update(_uploads)
        .where(_uploads.c.id == bindparam("upload"), _uploads.c.status == UploadStatus.OPEN)
        .values(
            status=UploadStatus.TERMINATED,
            updated_at=bindparam("now"),
            received=func.coalesce(bindparam("size"), _uploads.c.received),
            has_bytes=False,
            filename=None,
        )
    )
    prepared, later = Prepared(statement), NOW + timedelta(seconds=1)
    with database.change() as connection:
        connection.execute(insert(_uploads), one)
        given = {"upload": one["id"], "now": later, "size": 5}
        assert [prepared.change(connection, given) for _ in range(2)] == [1, 0]
    with database.look() as connection:
        row = connection.execute(FIND, {"upload": one["id"]}).one()
    assert (row.status, row.updated_at, row.received, row.has_bytes) == (UploadStatus.TERMINATED, later, 5, False)
    assert row.filename is None


def test_a_missing_parameter_is_an_error(database: Database) -> None:
    """And not NULL: a forgotten size would be written as none."""
    with pytest.raises(Exception, match="upload"), database.look() as connection:
        Prepared(FIND).one_or_none(connection, {})


def test_a_refused_statement_raises_what_sqlalchemy_raises(database: Database) -> None:
    """Callers decide by the class: a broken constraint is not a database that is away."""
    one = fresh()
    prepared = Prepared(insert(_uploads), one)
    with pytest.raises(IntegrityError), database.change() as connection:
        assert [prepared.change(connection, one) for _ in range(2)]
    with database.look() as connection:
        assert Prepared(FIND).one_or_none(connection, {"upload": one["id"]}) is None


def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    """As everywhere: it would be stored as another moment."""
    one = fresh() | {"created_at": datetime(2026, 1, 1)}  # noqa: DTZ001  # that is the point
    with pytest.raises(Exception, match="without a zone"), database.change() as connection:
        Prepared(insert(_uploads), one).change(connection, one)


def test_a_missing_table_is_an_operational_error(tmp_path: Any) -> None:
    """Before a migration, say."""
    database = Database(f"sqlite:///{tmp_path}/empty.db", 5)
    with pytest.raises(OperationalError), database.look() as connection:
        Prepared(FIND).one_or_none(connection, {"upload": "x"})
    database.close()
