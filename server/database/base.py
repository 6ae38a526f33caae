"""What all tables share: names of constraints, types of columns, and the base class of the models.

Rule: no table is here.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Enum, Index, Integer, MetaData, Table, Text, text
from sqlalchemy.orm import DeclarativeBase

from server.database.types import UtcDateTime

# Every constraint has a name that a migration can drop.
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

# SQLite counts rows by itself only for INTEGER PRIMARY KEY.
COUNTER = BigInteger().with_variant(Integer, "sqlite")


def word(kind: type[StrEnum]) -> Enum:
    """A state, stored as text: readable in SQL, and a new state needs no migration."""
    return Enum(
        kind,
        native_enum=False,
        length=16,
        create_constraint=False,
        values_callable=lambda states: [s.value for s in states],
    )


def index_of(name: str, of: str, *columns: str) -> Index:
    """An index of those rows only for which `of` holds."""
    return Index(name, *columns, sqlite_where=text(of), postgresql_where=text(of))


class Base(DeclarativeBase):
    """Shared by all tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {datetime: UtcDateTime(), int: BigInteger(), str: Text()}  # noqa: RUF012

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """The `doc` of a column is its comment in the database too."""
        super().__init_subclass__(**kwargs)
        if isinstance(table := getattr(cls, "__table__", None), Table):
            table.comment = (cls.__doc__ or "").partition("\n")[0]
            for column in table.columns:
                column.comment = column.doc
