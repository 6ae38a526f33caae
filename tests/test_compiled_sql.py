"""Engines of one process of the tests share what they have compiled, and each database still gets its own SQL."""

from pathlib import Path

from sqlalchemy import create_engine, event, select

from server.database.models import Task
from server.database.session import Database
from tests.harness.migrated import migrate

_STATEMENT = select(Task.id).where(Task.owner == "nobody", Task.title == "of test_compiled_sql")


def test_a_second_engine_compiles_nothing_again(tmp_path: Path) -> None:
    """The statement of another engine is found, with its own parameters; another kind of dialect finds none."""
    hits = []
    for name in ("one", "two"):
        url = f"sqlite:///{tmp_path / name}.db"
        migrate(url)
        database = Database(url, 1)
        with database.read() as session:
            found = session.connection().execute(_STATEMENT)
            hits.append(found.context.cache_hit.name)
            assert found.all() == []
        database.close()
    assert hits == ["CACHE_MISS", "CACHE_HIT"]
    one, two, other = (create_engine(url).dialect for url in ("sqlite://", "sqlite://", "postgresql+psycopg://"))
    assert one == two
    assert hash(one) == hash(two)
    assert one != other


def test_parameters_are_those_of_each_call(tmp_path: Path) -> None:
    """Two engines that share a compiled statement send what each was given."""
    sent: list[object] = []
    for owner in ("a", "b"):
        url = f"sqlite:///{tmp_path / owner}.db"
        migrate(url)
        engine = create_engine(url)

        def note(_c: object, _u: object, _s: str, values: tuple[object, ...], _x: object, _m: bool) -> None:
            sent.append(values)

        event.listen(engine, "before_cursor_execute", note)
        with engine.connect() as connection:
            connection.execute(select(Task.id).where(Task.owner == owner))
        engine.dispose()
    assert sent == [("a",), ("b",)]
