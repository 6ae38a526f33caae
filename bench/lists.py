"""`python -m bench.lists`: pages of lists in a table of 1,000 tasks and in one of 1,000,000. Prints a table.

Rules:

- A page is asked for by HTTP from a server of its own, with its client's key, as an app asks for it.
- Both tables are asked in turns, so that what else the machine does happens to both.
- The tables are those of the tests of lists (`tests/harness/filled_lists.py`).
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import click
import httpx

from bench.machine import describe
from server.auth.keys import ApiKeys
from server.auth.principal import Scope
from server.bootstrap import utc_now
from server.database import migration
from server.database.session import Database
from server.tasks.listing import MOST_EXAMINED
from tests.harness.filled_lists import fill
from tests.harness.postgres import PostgresServer
from tests.harness.server_process import ServerProcess

SIZES = (1_000, 1_000_000)
ROUNDS = 200
GOAL = 2.0
_LIMIT = 20  # there are fewer failed tasks of an owner in the small table than a usual page has

PAGES: Mapping[str, tuple[str, str, bool]] = {
    "tasks of an owner": ("owner-0", f"/api/tasks?limit={_LIMIT}", False),
    "the same, from the middle": ("owner-0", f"/api/tasks?limit={_LIMIT}", True),
    "tasks of all owners": ("root", f"/api/tasks?limit={_LIMIT}", False),
    "completed tasks of an owner": ("owner-1", f"/api/tasks?status=completed&limit={_LIMIT}", True),
    "failed tasks of all owners": ("root", f"/api/tasks?status=error&limit={_LIMIT}", False),
    "tasks of an owner by name, found at once": ("owner-0", f"/api/tasks?name=clip&limit={_LIMIT}", False),
    "uploads of an owner": ("owner-0", f"/api/uploads?limit={_LIMIT}", False),
    "uploads of all owners, from the middle": ("root", f"/api/uploads?limit={_LIMIT}", True),
}
_RARE = ("owner-0", "/api/tasks?name=nothing+has+this+name")


class Table:
    """A server whose database has so many tasks."""

    def __init__(self, folder: Path, url: str, rows: int, ends: ExitStack) -> None:
        migration.upgrade(url)
        database = Database(url, 2)
        fill(database, rows)
        keys = ApiKeys.open(database, utc_now)
        owners = {owner: frozenset({Scope.READ}) for owner in ("owner-0", "owner-1")} | {"root": frozenset(Scope)}
        self._keys = {owner: keys.create(owner, scopes, None)[1] for owner, scopes in owners.items()}
        database.close()
        server = ServerProcess(folder, database_url=url, scheduler="none", auth="on")
        ends.callback(server.close)
        server.start()
        self._client = ends.enter_context(httpx.Client(base_url=server.url, trust_env=False, timeout=60))

    def ask(self, owner: str, path: str) -> tuple[float, httpx.Response]:
        """Seconds of one request, and its answer."""
        began = time.perf_counter()
        answer = self._client.get(path, headers={"Authorization": f"Bearer {self._keys[owner]}"})
        seconds = time.perf_counter() - began
        assert answer.status_code == 200, answer.text
        return seconds, answer

    def from_middle(self, owner: str, path: str) -> str:
        """The path of a later page."""
        for _ in range(5):
            cursor = self.ask(owner, path)[1].json()["next"]
            path = f"{path.partition('&cursor')[0]}&cursor={cursor}"
        return path


Url = Callable[[], str]


def _measure(kind: str, tables: list[Table]) -> Iterator[tuple[str, bool]]:
    """Lines of the table, and whether the goal is met."""
    for name, (owner, path, middle) in PAGES.items():
        paths = [table.from_middle(owner, path) if middle else path for table in tables]
        taken: list[list[float]] = [[] for _ in tables]
        for _ in range(ROUNDS):
            for table, one, found in zip(tables, paths, taken, strict=True):
                found.append(table.ask(owner, one)[0])
        few, many = (1000 * median(found) for found in taken)
        is_met = many / few <= GOAL
        yield f"| {kind} | {name} | {few:.1f} ms | {many:.1f} ms | {many / few:.2f} |", is_met
    seconds = [median(table.ask(*_RARE)[0] for _ in range(5)) for table in tables]
    cells = " | ".join(f"{1000 * one:.0f} ms" for one in seconds)
    yield f"| {kind} | {MOST_EXAMINED:,} examined for a name that no task has | {cells} | |", True


@contextmanager
def _urls(folder: Path) -> Iterator[Mapping[str, Callable[[int], str]]]:
    cluster = PostgresServer()
    try:
        cluster.start()
        yield {
            "SQLite": lambda rows: f"sqlite:///{folder / f'{rows}.db'}",
            "PostgreSQL": lambda _: cluster.create_database(),
        }
    finally:
        cluster.stop()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure pages of lists in tables of two sizes."""
    met = True
    with tempfile.TemporaryDirectory(prefix="bench-lists-") as place, _urls(Path(place)) as urls:
        machine = describe(Path(place), [], {})
        click.echo(
            f"{machine['date']}: {machine['cpu']}, {machine['cores']} cores, {machine['kernel']}, "
            f"files on {machine['file_system']}; PostgreSQL of the tests, without fsync.\n"
        )
        click.echo(f"| database | a page of {_LIMIT}, by HTTP | of {SIZES[0]:,} | of {SIZES[1]:,} | ratio |")
        click.echo("|---|---|---|---|---|")
        for kind, url in urls.items():
            with ExitStack() as ends:
                tables = [Table(Path(place) / f"{kind}-{rows}", url(rows), rows, ends) for rows in SIZES]
                for line, is_met in _measure(kind, tables):
                    click.echo(line)
                    met &= is_met
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
