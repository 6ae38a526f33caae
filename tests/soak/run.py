"""A soak: two servers, their clients and their troubles, and the account at the end.

Rule: `storm` is cut, halted, killed and restarted; `steady` runs through, so that what leaks shows. Both must
account for every upload, and have nothing left once retention has passed.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from server.bootstrap import Services
from server.settings import Settings
from tests.harness.held import held_locks
from tests.harness.nginx import Nginx
from tests.harness.postgres import PostgresServer
from tests.harness.server_process import ServerProcess
from tests.harness.waiting import until
from tests.soak.bad_line import BadLine
from tests.soak.checker import check
from tests.soak.client_threads import ClientThreads, burst
from tests.soak.faults import KILLS, RESTARTS, FaultInjector, Prober, leftovers
from tests.soak.history import Auditor
from tests.soak.sampler import Sampler, check_flat, check_lives, check_sizes, descriptors
from tests.soak.side import Side, Times
from tests.soak.videos import Videos
from tests.soak.wire import Origin

SETTINGS = {
    "transcode": "mp4",
    "transcode_preset": "ultrafast",
    "storyboard": "on",
    "downloads": "on",
    "encode_limit": 1,
    "shutdown_grace": 5,
    "task_lease": 12,
    # A child that is killed, or a server, is no fault of a file: none may be given up for it.
    "task_max_attempts": 60,
    "task_retry_pause": 1,
}


@dataclass(frozen=True)
class Plan:
    """How long, how much and how hard; seconds."""

    seconds: float
    clients: tuple[int, int] = (7, 4)
    pause: float = 5
    restart_every: float = 120
    beat: float = 12
    rest_every: float = 300
    warm_up: float = 300
    patience: float = 150
    times: Times = field(default_factory=Times)
    bursts: int = 40

    @classmethod
    def of(cls, minutes: float) -> "Plan":
        """For a run of so many minutes, not counting its start and its end."""
        seconds = minutes * 60
        return cls(
            seconds,
            restart_every=min(120, seconds / 4),
            rest_every=min(300, max(60, seconds / 3)),
            warm_up=min(300, seconds / 4),
        )


class Soak:
    """One run; use it with `with`, then `run`. `wrong` is everything that must not be, in sentences."""

    def __init__(self, folder: Path, plan: Plan, *, kind: str, seed: object) -> None:
        self.plan = plan
        self.kind = kind
        self.seed = seed
        self.wrong: list[str] = []
        self.began = self.ended = 0.0
        self.rests: list[Sequence[str]] = []
        self._folder = folder
        self._ends = ExitStack()
        self.postgres: PostgresServer | None = None

    def __enter__(self) -> "Soak":
        with ExitStack() as ends:
            if self.kind == "postgresql":
                self.postgres = PostgresServer()
                ends.callback(self.postgres.stop)
                self.postgres.start()
            videos = Videos(self._folder / "samples")
            self.storm = self._side(ends, "storm", videos)
            self.steady = self._side(ends, "steady", videos)
            self.nginx = ends.enter_context(Nginx(self._folder / "nginx", self.storm.server.port))
            self.lines = {
                side.name: ends.enter_context(BadLine(side.server.port, seed=(self.seed, side.name)))
                for side in self.sides
            }
            for side in self.sides:
                side.origins = [
                    Origin(side.server.url, "direct"),
                    Origin(self.lines[side.name].url, "bad line"),
                ]
            self.storm.origins = [
                *self.storm.origins,
                Origin(self.lines["storm"].url, "bad line"),
                Origin(self.nginx.url, "nginx", str(self.nginx.certificate)),
            ]
            self._watchers(ends)
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both."""
        return self.storm, self.steady

    def run(self) -> None:
        """All of it, to the account."""
        plan = self.plan
        self.began = time.monotonic()
        clients = [
            ClientThreads(side, size, pause=plan.pause, seed=self.seed)
            for side, size in zip(self.sides, plan.clients, strict=True)
        ]
        self.prober.start()
        for threads in clients:
            threads.start()
        self.director.start()
        end, next_rest = self.began + plan.seconds, self.began + plan.warm_up
        while time.monotonic() < end or self._is_too_quiet(end):
            time.sleep(0.5)
            if next_rest <= time.monotonic() < end - plan.rest_every / 3:
                self._rest()
                next_rest = time.monotonic() + plan.rest_every
        for side in self.sides:
            side.gate.end()
        self.director.stop()
        for threads in clients:
            threads.join(4 * plan.patience)
        self.prober.stop()
        self.ended = time.monotonic()
        self._settle()

    def _is_too_quiet(self, end: float) -> bool:
        """A slow machine may have come to no kill and no restart yet; for so long a short soak goes on."""
        ends = [self.director.done[what] for what in (KILLS, RESTARTS)]
        return not all(ends) and time.monotonic() < end + self.plan.patience

    def _side(self, ends: ExitStack, name: str, videos: Videos) -> Side:
        folder, plan = self._folder / name, self.plan
        url = self.postgres.create_database() if self.postgres is not None else ""
        settings: Any = {**SETTINGS, **plan.times.settings()}
        server = ServerProcess(folder / "server", database_url=url, **settings)
        ends.callback(server.close)
        server.start()
        return Side(name, server, folder / "clients", plan.times, videos, plan.patience)

    def _watchers(self, ends: ExitStack) -> None:
        plan = self.plan
        self.director = FaultInjector(
            *self.sides,
            postgres=self.postgres,
            nginx=self.nginx,
            folder=self._folder,
            restart_every=plan.restart_every,
            beat=plan.beat,
            seed=self.seed,
        )
        self.prober = Prober(self.storm.server.url)
        self.auditors = {
            side.name: Auditor(
                side.server.database_url,
                side.server.data_dir,
                kept=plan.times.rows,
                every=min(3.0, plan.times.originals / 6),
                violation=side.records.violation,
            )
            for side in self.sides
        }
        self.samplers = {side.name: Sampler(side.server) for side in self.sides}
        for sampler in self.samplers.values():
            ends.callback(sampler.stop)
            sampler.start()
        for side in self.sides:
            auditor = self.auditors[side.name]
            side.backlog = partial(getattr, auditor, "running")
            ends.callback(auditor.end)
            auditor.start()

    def _rest(self) -> None:
        """Let `steady` come to rest, and see what it holds then."""
        side, auditor = self.steady, self.auditors["steady"]
        with self.director.busy["storm"], self.director.busy["steady"]:
            try:
                if not side.gate.shut(self.plan.patience):
                    self.wrong.append("the clients of steady did not come to an end for a rest")
                    return
                self._fill_pools(side)
                with side.records.guarded("the rest"):
                    until(lambda: auditor.look() and not auditor.running, seconds=120, every=1, what="no task runs")
                    time.sleep(side.times.idle + 3)  # silent clients are given up, idle threads of AnyIO end
                    self.samplers["steady"].rest()
                    self.rests.append(descriptors(side.server.pid))
            finally:
                side.gate.open()

    def _fill_pools(self, side: Side) -> None:
        """So that what a pool takes only when it is needed is there at every rest."""
        for _ in range(self.plan.bursts // 20):
            burst(side, self.plan.bursts)

    def _settle(self) -> None:
        """No client is left. What they left open expires, what is over goes, and then there is nothing."""
        times = self.plan.times
        for side in self.sides:
            auditor = self.auditors[side.name]
            with side.records.guarded("what is left ends"):
                seconds = times.expiry + self.plan.patience

                def is_over(auditor: "Auditor" = auditor) -> bool:
                    return auditor.look() and not auditor.open_ones and not auditor.running

                until(is_over, seconds=seconds, every=1, what=f"no upload of {side.name} is open and no task runs")
        self._fill_pools(self.steady)
        time.sleep(times.idle + 3)
        self.samplers["steady"].rest()
        self.rests.append(descriptors(self.steady.server.pid))
        for side in self.sides:
            with side.records.guarded("nothing is left"):
                self._empty(side)
            with side.records.guarded("the end"):
                self._close(side)
        self._account()

    def _empty(self, side: Side) -> None:
        """Beside the running server: no finding, and in the end neither rows nor files."""
        times, auditor = self.plan.times, self.auditors[side.name]
        server = side.server
        self._sweep(side)
        settings: Any = {**SETTINGS, **times.settings()}
        with Services.open(
            Settings(data_dir=server.data_dir, database_url=server.database_url, **settings)
        ) as services:
            for finding in services.checker.find_mismatches():
                side.records.violation(f"{finding.kind}: {finding.subject}")
        longest = max(times.originals, times.results, times.failed, times.expiry) + times.rows + times.answers

        def is_empty() -> bool:
            return auditor.look() and not auditor.present and not auditor.answers

        try:
            until(is_empty, seconds=longest + 30, every=1, what=f"retention has removed every row of {side.name}")
        except AssertionError as error:
            side.records.violation(f"{error}; left are {auditor.present} rows and {auditor.answers} answers")
            self._sweep(side)  # of a process of its own, which knows of no earlier look
            assert is_empty(), f"a sweep by hand leaves {auditor.present} rows too"
        for folder in ("uploads", "results", "work", "quarantine"):
            place = server.data_dir / folder
            left = [str(path) for path in place.rglob("*") if path.is_file() and not path.name.startswith(".")]
            assert not left, f"{len(left)} files are left below {folder}: {left[:5]}"
        assert held_locks(server.data_dir) == []

    def _sweep(self, side: Side) -> None:
        done = side.server.run("sweep")
        assert done.returncode == 0, done.stderr[-1000:]

    def _close(self, side: Side) -> None:
        side.server.stop()
        for sentence in leftovers(side):
            side.records.violation(sentence)
        errors = [line for line in side.server.log().splitlines() if '"level": "error"' in line]
        for line in errors[:5]:
            side.records.violation(f"{len(errors)} errors in the log, among them {line[:600]}")

    def _account(self) -> None:
        for name in self.auditors:
            self.auditors[name].end()
            self.samplers[name].stop()
        for side in self.sides:
            history = self.auditors[side.name].history
            found = [*side.records.violations, *check(side.records.entries, history)]
            found += check_sizes(self.samplers[side.name].disk)
            found += check_lives(self.samplers[side.name].lives)
            self.wrong += [f"{side.name}: {sentence}" for sentence in found]
        flat = check_flat(self.samplers["steady"].lives, self._more_descriptors)
        self.wrong += [f"steady: {sentence}" for sentence in flat]

    def _more_descriptors(self) -> list[str]:
        """Which ones the last rest has more than the first."""
        first = list(self.rests[0])
        return [name for name in self.rests[-1] if name not in first or first.remove(name)]  # type: ignore[func-returns-value]
