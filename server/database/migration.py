"""The revision of the schema, and migrations.

Rules:

- Only the commands `serve` (before it serves) and `migrate` migrate a schema; all other code refuses to work with one
  that it does not fit.
- It fits a schema at its own head, and a newer one that says so: `alembic_version.works_from` is the oldest revision
  whose code works with the schema, and code knows every revision up to its own.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from server.database.session import make_engine
from server.errors import StartError

_PACKAGE = Path(__file__).parent.parent
_log = structlog.stdlib.get_logger("videodock.database")


def _folder() -> Path:
    """The migrations: beside the package when installed, at the top of a checkout."""
    installed = _PACKAGE / "migrations"
    return installed if installed.is_dir() else _PACKAGE.parent / "migrations"


def config(url: str) -> Config:
    """Alembic's configuration for one database."""
    made = Config()
    made.set_main_option("script_location", str(_folder()).replace("%", "%%"))
    made.attributes["url"] = url
    return made


@cache
def _revisions() -> ScriptDirectory:
    """The migrations of this program. They are read once: each reading executes every one of them."""
    return ScriptDirectory.from_config(config(""))


def head() -> str:
    """The revision that this program works with."""
    revision = _revisions().get_current_head()
    if revision is None:
        raise StartError("The installation has no migrations; install it again.")
    return revision


def knows(revision: str) -> bool:
    """Whether this program knows that revision."""
    try:
        return _revisions().get_revision(revision) is not None
    except CommandError:
        return False


def current(url: str) -> str | None:
    """The revision of a database; None for an empty one. Raises `StartError` if it is away."""
    engine = make_engine(url, 1)
    try:
        with engine.connect() as connection:
            return _revision(connection)
    except OperationalError as error:
        raise StartError(_away(url, error)) from None
    finally:
        engine.dispose()


def upgrade(url: str) -> None:
    """Upgrade an empty or older database to head. A newer one that works with this version stays as it is.

    Raises `StartError` for one that is too new, or away.
    """
    engine = make_engine(url, 1)
    try:
        with engine.connect() as connection:
            if _is_newer_and_fits(connection):
                return
    except OperationalError as error:
        raise StartError(_away(url, error)) from None
    finally:
        engine.dispose()
    revision = current(url)
    _known(revision)
    if revision == head() and make_url(url).get_backend_name() == "sqlite":
        return  # PostgreSQL's comments may be out of date, SQLite has none; and its foreign keys take long to check
    _move(url, lambda made: command.upgrade(made, "head"))


def downgrade(url: str, revision: str) -> None:
    """Downgrade a database to an older revision (`base` is none at all); what the newer one added is lost."""
    _known(current(url))
    _move(url, lambda made: command.downgrade(made, revision))


def fits(engine: Engine) -> bool:
    """Whether this program works with the schema as it is now. Raises what the driver raises when it is away."""
    with engine.connect() as connection:
        return _revision(connection) == head() or _is_newer_and_fits(connection)


def check_fits(engine: Engine) -> None:
    """Raise `StartError` unless this program works with the schema: at its head, or newer and made to fit."""
    url = engine.url.render_as_string(hide_password=False)
    try:
        with engine.connect() as connection:
            revision = _revision(connection)
            is_newer_and_fits = _is_newer_and_fits(connection)
    except OperationalError as error:
        raise StartError(_away(url, error)) from None
    if is_newer_and_fits:
        _log.info("schema_newer", revision=revision, known=head())
        return
    _known(revision)
    if revision != head():
        found = f"at revision {revision}" if revision else "empty"
        raise StartError(f"The database is {found} and must be at {head()}: run `videodock migrate` first.")


def _is_newer_and_fits(connection: Connection) -> bool:
    """Whether a newer version made the schema, and it says that this one works with it."""
    revision = _revision(connection)
    if revision is None or knows(revision):
        return False
    columns = {column["name"] for column in inspect(connection).get_columns("alembic_version")}
    if "works_from" not in columns:
        return False
    floor = connection.scalar(text("SELECT works_from FROM alembic_version"))
    return floor is not None and knows(floor)


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _known(revision: str | None) -> None:
    if revision is None:
        return
    try:
        _revisions().get_revision(revision)
    except CommandError:
        raise StartError(
            f"The database is at revision {revision}, which this version of Videodock does not know: "
            "it was made by a newer version. Start that one, or restore a backup from before its upgrade."
        ) from None


def _move(url: str, work: Callable[[Config], None]) -> None:
    made = config(url)
    engine = make_engine(url, 1)
    try:
        made.attributes["engine"] = engine
        work(made)
    except OperationalError as error:
        raise StartError(_away(url, error)) from None
    except CommandError as error:
        raise StartError(f"The database could not be migrated: {error}.") from None
    finally:
        engine.dispose()


def _away(url: str, error: OperationalError) -> str:
    shown = make_url(url).render_as_string(hide_password=True)
    reason = str(error.orig).strip().splitlines()[0] if error.orig else "no reason given"
    return f"The database {shown} cannot be used: {reason}"
