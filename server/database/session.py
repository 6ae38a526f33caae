"""Engines and transactions.

Rules:

- A transaction that writes is opened by `write`: on SQLite it takes the write lock at once (BEGIN IMMEDIATE), because a
  transaction that reads first and writes later fails with SQLITE_BUSY, whatever the timeout.
- Writers of one process wait for each other in a queue, not in SQLite's busy handler, which sleeps up to 100 ms.
- A committed change always survives a killed process. It survives a power cut too, except for a `lazy` transaction on
  SQLite, which waits for no disk: the next one that is not lazy syncs it too. The setting `fsync` changes this.
- There is one data layer and it is synchronous; the event loop calls it through `run`, on a pool that has no
  more threads than there are connections, so that no thread waits for a connection.
- The one exception is `find_at_once`: a row by its primary key, from a file of this machine, which takes less time than
  handing the work to a thread (docs/decisions/0016).
"""

import os
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, CursorResult, Engine, ExceptionContext, Executable, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from server import threads
from server.database import after_commit
from server.database.aside import Aside
from server.database.at_once import ReaderAtOnce
from server.database.group_commit import GroupCommit
from server.database.plain_transaction import PlainTransaction
from server.database.prepared import Parameters, Prepared, Row
from server.errors import StartError
from server.storage.ballast import Ballast

T = TypeVar("T")

_BUSY_SECONDS = 30
_BUSY_PAUSE = 0.01
_IDLE_SECONDS = 60
_ENDED_FOR_SILENCE = "25P03"
_DISK_FULL = "53100"
_SILENCE_SECONDS = 10
# SQLite answers from memory, so more threads would only contend for the interpreter. Measured with eight clients: ten
# threads 270, four 305, two 336 cycles a second; three leave room for a slow one.
_SQLITE_THREADS = 3
_ASIDE = 3  # connections for looks within other transactions
AWAY = (OperationalError, InterfaceError, PoolTimeoutError)
"""The errors of a database that cannot be reached, or is too busy: trying again later may help."""


def make_engine(url: str, pool_size: int) -> Engine:
    """An engine with real transactions; connects to nothing yet.

    Raises `StartError` when the driver is not installed.
    """
    sqlite = make_url(url).get_backend_name() == "sqlite"
    options: dict[str, Any] = {"pool_size": pool_size, "max_overflow": 0, "pool_timeout": _BUSY_SECONDS}
    if sqlite:
        options |= {
            "pool_size": pool_size + 1,  # the thread that writes for many keeps one
            "poolclass": QueuePool,
            "connect_args": {"timeout": _BUSY_SECONDS, "check_same_thread": False},
        }
    else:
        # A database that was restarted costs a reconnect, not an error. One that is cut off costs this much waiting,
        # instead of the kernel's quarter of an hour: a worker has to notice that it lost its claim.
        silence = {"tcp_user_timeout": _SILENCE_SECONDS * 1000, "keepalives_idle": _SILENCE_SECONDS}
        silence |= {"keepalives_interval": 2, "keepalives_count": 3}
        options |= {"pool_pre_ping": True, "connect_args": {"connect_timeout": 5, **silence}}
    try:
        engine = create_engine(url, **options)
    except ModuleNotFoundError:
        raise StartError(
            "The database URL needs a driver that is not installed: .venv/bin/pip install '.[postgres]' in a checkout, "
            f"else {sys.executable} -m pip install 'psycopg[binary]'."
        ) from None
    if sqlite:
        event.listen(engine, "do_connect", _make_private)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "connect", _prepare_postgresql)
        event.listen(engine, "handle_error", _raise_disconnected)
    return engine


def _make_private(_dialect: object, _record: object, arguments: list[Any], _named: dict[str, Any]) -> None:
    """Before SQLite opens its file: only its user may read it, whatever the umask and the mode of its folder.

    SQLite gives the files that it makes beside it (`-wal`, `-shm`, `-journal`) the mode of the database.
    """
    path = str(arguments[0]) if arguments else ""
    if not path or path == ":memory:" or path.startswith("file:"):
        return
    # Never opened here: closing any descriptor of the file would free the locks that SQLite has on it in this process.
    with suppress(OSError):  # it exists, or cannot be created: then SQLite reports why
        os.mknod(path, stat.S_IFREG | 0o600)
    for file in (Path(f"{path}{suffix}") for suffix in ("", "-wal", "-shm", "-journal")):
        with suppress(OSError):
            mode = stat.S_IMODE(file.stat().st_mode)
            if mode & 0o077:
                file.chmod(mode & 0o700)


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    raw = cast("Any", connection)
    # The driver's own transactions would leave DDL outside.
    raw.isolation_level = None
    _write_ahead(raw)
    raw.execute("PRAGMA foreign_keys=ON")
    # What is deleted is overwritten; Debian's SQLite does it anyway, others leave it in the file.
    raw.execute("PRAGMA secure_delete=ON")


def _write_ahead(raw: sqlite3.Connection) -> None:
    # The file keeps this mode. SQLite does not wait for others when it changes it: of four processes that opened a new
    # database together, some got an error at once that it is locked.
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            raw.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_BUSY_PAUSE)
        else:
            return


def _prepare_postgresql(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # A machine that was frozen or cut off in the middle of a transaction keeps its locks no longer than this.
    raw = cast("Any", connection)
    raw.execute(f"SET idle_in_transaction_session_timeout = '{_IDLE_SECONDS}s'")
    raw.commit()


def _raise_disconnected(context: ExceptionContext) -> None:
    # Its transaction is gone as if the database had been restarted, but the driver calls it an internal error.
    original = context.original_exception
    if getattr(original, "sqlstate", None) == _ENDED_FOR_SILENCE:
        raise OperationalError(context.statement, context.parameters, original, connection_invalidated=True)


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("videodock_write", False):
        # A row that was announced to a client must survive a power cut as its bytes do.
        level = "NORMAL" if options.get("videodock_lazy", False) else "FULL"
        if connection.info.get("synchronous") != level:
            connection.exec_driver_sql(f"PRAGMA synchronous={level}")
            connection.info["synchronous"] = level
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif not options.get("videodock_single", False):  # a single statement is a transaction by itself
        connection.exec_driver_sql("BEGIN")


class Database:
    """The one access to SQL. `spare` is the ballast that it may use on a full disk."""

    def __init__(self, url: str, pool_size: int, fsync: str = "complete", spare: Ballast | None = None) -> None:
        self.engine = make_engine(url, pool_size)
        self.aside = Aside(partial(make_engine, url, _ASIDE))
        # PostgreSQL's driver would begin and end a transaction around it: two more round trips.
        self._single = self.engine.execution_options(videodock_single=True, isolation_level="AUTOCOMMIT")
        self._writing = self.engine.execution_options(videodock_write=True, videodock_lazy=fsync == "never")
        self._lazy = self._writing.execution_options(videodock_lazy=fsync != "patch")
        self._always_lazy, self._may_be_lazy = fsync == "never", fsync != "patch"
        is_sqlite = self.engine.dialect.name == "sqlite"
        self._line: AbstractContextManager[Any] = threading.Lock() if is_sqlite else nullcontext()
        threads_at_most = min(pool_size, _SQLITE_THREADS) if is_sqlite else pool_size
        self._threads = ThreadPoolExecutor(threads_at_most, "sql")
        self._is_sqlite = is_sqlite
        self.on_events: Callable[[], None] | None = None
        """Called after each commit that added events, on the thread of the transaction; it does not block."""
        self._spare = spare
        self._writer = GroupCommit(self._begin_common) if is_sqlite else None
        self._writers_connection: Connection | None = None
        self._reader = ReaderAtOnce(Path(file)) if is_sqlite and (file := self.engine.url.database) else None

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A read-only transaction."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """A read-only transaction whose statements all see the rows as they are at the first one."""
        with self.read() as session:
            if not self._is_sqlite:  # which always does this
                session.connection().exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield session

    @contextmanager
    def look(self) -> Iterator[Connection]:
        """One read-only statement, without a session: for the query of every request."""
        with self._single.connect() as connection:
            yield connection

    @contextmanager
    def change(self, *, lazy: bool = False) -> Iterator[Connection]:
        """`write` without a session."""
        with self._telling(), self._relief(), self._line, (self._lazy if lazy else self._writing).begin() as connection:
            yield connection

    @contextmanager
    def write(self, *, lazy: bool = False) -> Iterator[Session]:
        """A transaction that may change rows; committed at the end, rolled back on an exception.

        `lazy` is for facts that the bytes show too, or for work that may be repeated: a power cut may undo it.
        """
        engine = self._lazy if lazy else self._writing
        session = Session(engine, expire_on_commit=False)
        with self._telling(), self._relief(), self._line, session, session.begin():
            yield session

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """After a commit that added events: call `on_events`."""
        yield
        self._tell()

    def _tell(self) -> None:
        if after_commit.take() and self.on_events is not None:
            self.on_events()

    @contextmanager
    def _relief(self) -> Iterator[None]:
        """After a transaction that failed on a full disk: make space for the next one."""
        try:
            yield
        except OperationalError as error:
            self._relieve(error)
            raise

    def _relieve(self, error: OperationalError) -> None:
        if self._is_sqlite and is_full(error):
            if self._spare is not None:
                self._spare.release()
            with suppress(OperationalError), self._single.connect() as connection:
                # Move the WAL's content into the database, so that the WAL is written from its start again.
                connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")

    def empty_log(self) -> None:
        """Of SQLite: overwrite what rows were before, which its write-ahead log has until then, unless a reader needs
        it. Blocking, for seconds at most."""
        if self._is_sqlite:
            with suppress(OperationalError), self._single.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def find_at_once(self, statement: Prepared, parameters: Parameters) -> Row | None:
        """The row of a look-up by key, on the event loop. Raises `BlockingIOError` when only a thread may look."""
        if self._reader is None:
            raise BlockingIOError
        return self._reader.find(statement, parameters)

    @property
    def looks_at_once(self) -> bool:
        """Whether `look_up` usually needs no thread: then there is nothing to share."""
        return self._reader is not None

    async def look_up(self, work: Callable[[Connection | sqlite3.Connection], T]) -> T:
        """`work`, a few look-ups by key: at once on SQLite where that is possible, else on a thread."""
        if self._reader is not None:
            with suppress(BlockingIOError):
                return self._reader.look(work)
        return await self.run(self._look, work)

    def version_at_once(self) -> int | None:
        """A number that every later commit changes: what was read after it is still so while it stays. None where that
        cannot be known without waiting. For the event loop."""
        if self._reader is not None:
            with suppress(BlockingIOError):
                return self._reader.version()
        return None

    def _look(self, work: Callable[[Connection | sqlite3.Connection], T]) -> T:
        with self.look() as connection:
            return work(connection)

    async def run(self, work: Callable[..., T], *args: object) -> T:
        """`work(*args)` on a thread of the database's own pool."""
        return await threads.run(work, *args, pool=self._threads)

    async def write_together(
        self,
        work: Callable[[Any], T],
        *,
        then: Callable[[T], Callable[[Any], object] | None] | None = None,
        lazy: bool = False,
        plain: bool = False,
    ) -> T:
        """`work` in a transaction that may change rows, committed when this returns; lazy as with `write`.

        It changes rows and nothing else, since it may run twice. On SQLite, where writers wait in a queue anyway,
        concurrent ones share a transaction; other databases commit side by side. `then` gets the result after the
        commit, on the same thread, for a moment's work; what it raises is raised. It may return work for one more
        transaction. Both get a connection; `plain` ones, which execute prepared statements only, a `Link`.
        """
        if self._writer is not None:
            return await self._writer.run(work, then=then, lazy=lazy, plain=plain)
        return await self.run(self._write_alone, work, then, lazy)

    def _write_alone(
        self,
        work: Callable[[Any], T],
        then: Callable[[T], Callable[[Any], object] | None] | None,
        lazy: bool,
    ) -> T:
        with self.write(lazy=lazy) as session:
            result = work(session.connection())
        more = None if then is None else then(result)
        if more is not None:
            with self.write(lazy=lazy) as session:
                more(session.connection())
        return result

    def _begin_common(self, lazy: bool, plain: bool) -> AbstractContextManager[tuple[sqlite3.Connection, Connection]]:
        """A transaction of the writing thread, which keeps its connection: taking one costs as much as a write.

        With `plain` SQLAlchemy does not know of it, and must not be used in it.
        """
        connection = self._writers_connection = self._writers_connection or self._writing.connect()
        is_lazy = self._may_be_lazy if lazy else self._always_lazy
        if plain:
            return PlainTransaction(connection, self._line, self._ended_plainly, is_lazy=is_lazy)
        return self._begin_fully(connection.execution_options(videodock_lazy=is_lazy))

    @contextmanager
    def _begin_fully(self, connection: Connection) -> Iterator[tuple[sqlite3.Connection, Connection]]:
        raw = cast("sqlite3.Connection", connection.connection.driver_connection)
        try:
            with self._telling(), self._relief(), self._line, connection.begin():
                yield raw, connection
        except DBAPIError:
            self._drop_writers_connection()
            raise

    def _ended_plainly(self, error: BaseException | None) -> None:
        if error is None:
            self._tell()
        if isinstance(error, OperationalError):
            self._relieve(error)
        if isinstance(error, DBAPIError):
            self._drop_writers_connection()

    def _drop_writers_connection(self) -> None:
        if self._writers_connection is not None:
            self._writers_connection.close()
            self._writers_connection = None

    def check(self) -> None:
        """Raise whatever the driver raises when the database cannot be reached."""
        with self.read() as session:
            session.connection().exec_driver_sql("SELECT 1")

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._drop_writers_connection()
        if self._reader is not None:
            self._reader.close()
        self._threads.shutdown(wait=False)
        self.engine.dispose()
        self.aside.close()


def is_full(error: Exception) -> bool:
    """Whether the database's own disk is full."""
    original = getattr(error, "orig", None)
    sqlite_code = getattr(original, "sqlite_errorcode", None)
    if sqlite_code is not None:
        return sqlite_code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
    return getattr(original, "sqlstate", None) == _DISK_FULL


def reason(error: Exception) -> str:
    """A driver's error in one line, for the log."""
    return " ".join(str(getattr(error, "orig", None) or error).split())


def changed(session: Session, statement: Executable) -> int:
    """Execute an UPDATE or DELETE; the number of matched rows, which decides a compare-and-set."""
    # Sessions hold no objects across such statements, so nothing needs to be synchronised with them.
    result = session.execute(statement, execution_options={"synchronize_session": False})
    return cast("CursorResult[Any]", result).rowcount
