"""What is done to the servers of a soak: restarts, kills, halts, a database that is away, processes that die.

Rule: one thing at a time, by one thread, so that whatever an operator's command says can be judged; clients are
never told. Only processes of the soak's own servers are touched.
"""

import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import httpx

from tests.harness import processes
from tests.harness.nginx import Nginx
from tests.harness.postgres import PostgresServer
from tests.soak.side import Side

KILLS, RESTARTS = "kill -9 of the server", "restarts by SIGTERM"

LISTS: Sequence[Sequence[str]] = (
    ("tasks", "list", "--json"),
    ("uploads", "list"),
    ("sweep",),
    ("sweep", "--dry-run"),
    ("check",),
)


class FaultInjector:
    """Troubles `storm` by everything there is, and `steady` by what leaves its process alive.

    A restart of `storm` comes every `restart_every` seconds, in turn gently and by SIGKILL; something else every
    `beat` seconds. `busy` of a side is held while something is done to it.
    """

    def __init__(
        self,
        storm: Side,
        steady: Side,
        *,
        postgres: PostgresServer | None,
        nginx: Nginx,
        folder: Path,
        restart_every: float,
        beat: float,
        seed: object,
    ) -> None:
        self.done: Counter[str] = Counter()
        self.busy = {side.name: threading.Lock() for side in (storm, steady)}
        self._storm, self._steady = storm, steady
        self._bags: dict[str, list[Callable[[Side], None]]] = {storm.name: [], steady.name: []}
        self._postgres = postgres
        self._nginx = nginx
        self._folder = folder
        self._restart_every = restart_every
        self._beat = beat
        self._dice = random.Random(repr(seed))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="director", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; both servers run then."""
        self._over.set()
        self._thread.join()

    def _follow(self) -> None:
        due = time.monotonic() + self._restart_every
        gently = False
        while not self._over.wait(self._beat * self._dice.uniform(0.7, 1.3)):
            if time.monotonic() >= due:
                self._do(self._storm, self._restart if gently else self._kill)
                gently = not gently
                due = time.monotonic() + self._restart_every
                continue
            side = self._dice.choice((self._storm, self._storm, self._steady))
            self._do(side, self._next(side))

    def _next(self, side: Side) -> Callable[[Side], None]:
        """Each of them comes before any comes again."""
        bag = self._bags[side.name]
        if not bag:
            bag += self._troubles(side)
            self._dice.shuffle(bag)
        return bag.pop()

    def _troubles(self, side: Side) -> Sequence[Callable[[Side], None]]:
        common = [self._kill_child, self._kill_child, self._operate, self._operate, self._take_database, self._back_up]
        return [*common, self._halt, self._kill_nginx] if side is self._storm else common

    def _do(self, side: Side, trouble: Callable[[Side], None]) -> None:
        with self.busy[side.name], side.records.guarded(trouble.__name__):
            trouble(side)

    # Troubles

    def _restart(self, side: Side) -> None:
        try:
            side.server.stop()
        finally:
            if side.server.running:
                side.server.kill()
            side.server.start()
            self.done[RESTARTS] += 1

    def _kill(self, side: Side) -> None:
        side.server.kill()
        time.sleep(self._dice.choice((0, 0.5, 3)))
        side.server.start()
        self.done[KILLS] += 1

    def _kill_child(self, side: Side) -> None:
        for _ in range(20):
            found = side.server.children()
            if found:
                with suppress(ProcessLookupError):
                    os.kill(self._dice.choice(found).pid, signal.SIGKILL)
                    self.done["kill -9 of a child"] += 1
                return
            time.sleep(0.2)

    def _halt(self, side: Side) -> None:
        self.done["SIGSTOP"] += 1
        pid = side.server.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(self._dice.uniform(1, 6))
        finally:
            os.kill(pid, signal.SIGCONT)

    def _take_database(self, side: Side) -> None:
        if self._postgres is not None:
            self.done["restarts of PostgreSQL"] += 1
            self._postgres.halt()
            time.sleep(self._dice.uniform(0, 3))
            self._postgres.resume()
            return
        self.done["locks on the database"] += 1
        path = side.server.database_url.removeprefix("sqlite:///")
        connection = sqlite3.connect(path, timeout=20, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(self._dice.uniform(1, 8))
            connection.execute("ROLLBACK")
        finally:
            connection.close()

    def _kill_nginx(self, _side: Side) -> None:
        if self._dice.random() < 0.5:
            self.done["kill -9 of nginx's workers"] += 1
            self._nginx.kill_workers()
        else:
            self.done["reloads of nginx"] += 1
            self._nginx.reload()

    def _operate(self, side: Side) -> None:
        self._run(side, *self._dice.choice(LISTS))

    def _back_up(self, side: Side) -> None:
        target = self._folder / f"backup-{side.name}"
        self._run(side, "backup", str(target))
        self.done["backups"] += 1

    def _run(self, side: Side, *command: str) -> None:
        self.done["operator's commands"] += 1
        done = side.server.run(*command)
        if done.returncode != 0 or "Traceback" in done.stderr:
            out = f"{done.stdout[-500:]}{done.stderr[-1500:]}"
            side.records.violation(f"videodock {' '.join(command)} ended with {done.returncode}: {out}")


class Prober:
    """Asks a server a few times a second whether it lives; `longest` is its longest outage in seconds."""

    def __init__(self, url: str) -> None:
        self.longest = 0.0
        self._url = url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="prober", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._over.set()
        self._thread.join()

    def _follow(self) -> None:
        last = time.monotonic()
        with httpx.Client(trust_env=False, timeout=3) as client:
            while not self._over.wait(0.3):
                with suppress(httpx.TransportError):
                    if client.get(f"{self._url}/healthz").status_code == 200:
                        now = time.monotonic()
                        self.longest = max(self.longest, now - last)
                        last = now


def leftovers(side: Side) -> list[str]:
    """Processes of a server that has been stopped."""
    return [f"process {process.pid} is left: {process.command[:100]}" for process in _marked(side)]


def _marked(side: Side) -> list[processes.Process]:
    return side.server._leftovers()
