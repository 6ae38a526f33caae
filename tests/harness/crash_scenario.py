"""A data folder whose process is killed at a kill point and starts again, in this process.

Rule: each run has services of its own, as after a restart; `KilledError` is the only way in which a run dies.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from server.bootstrap import Services
from server.settings import Settings
from tests.harness.kill_points import KilledError
from tests.harness.migrated import migrate


class CrashScenario:
    """Runs of a server on one data folder and one database."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.url = settings.database_url
        migrate(self.url)

    def run(self, work: Callable[[Services], Awaitable[object]]) -> bool:
        """One process that does `work`; whether it came to its end."""
        with Services.open(self.settings) as services:
            services.store.claim()
            try:
                anyio.run(work, services)
            except KilledError:
                return False
            return True

    def sweep(self) -> None:
        """One sweep, in a process of its own."""
        with Services.open(self.settings) as services:
            services.store.claim()
            services.sweep()

    def stored(self) -> dict[str, Path]:
        """The files of uploads by upload id."""
        folder = self.settings.data_dir / "uploads"
        return {path.name: path for path in folder.rglob("[!.]*") if path.is_file()}

    def empty(self) -> None:
        """Delete every row and every file."""
        with Services.open(self.settings) as services:
            services.store.claim()
            for table in ("task_events", "task_files", "tasks", "uploads"):
                with services.database.write() as session:
                    session.connection().exec_driver_sql(f"DELETE FROM {table}")
            for name in self.stored():
                services.store.delete(name)
