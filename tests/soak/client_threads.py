"""The clients of one side: some threads, each of them one client after another.

Rule: what a client does is drawn; how often, by the weights below. No error ends a thread.
"""

import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.soak import form_clients, programs, tus_clients
from tests.soak.sender import GoneError, Sender
from tests.soak.side import Side
from tests.soak.tus_clients import ServerRun
from tests.soak.upload_records import End

LIVES: Sequence[tuple[ServerRun, int]] = (
    (tus_clients.plain, 8),
    (tus_clients.leisurely, 4),
    (tus_clients.with_body, 6),
    (tus_clients.checked, 6),
    (tus_clients.deferred, 4),
    (tus_clients.joined, 5),
    (tus_clients.deleted, 4),
    (tus_clients.vanished, 3),
    (tus_clients.trickled, 3),
    (tus_clients.no_video, 3),
    (tus_clients.lied, 3),
    (tus_clients.cancelled, 4),
    (tus_clients.group, 5),
    (form_clients.form, 6),
    (form_clients.broken_off, 3),
    (form_clients.keyed, 6),
    (form_clients.curl, 5),
    (programs.tus_js, 5),
    (programs.tuspy, 5),
    (programs.tuskit, 4),
)


BACKLOG = 12
"""Tasks that may wait or run at once before clients hold back."""


class ClientThreads:
    """So many threads at once, each with a pause of `pause` seconds on average after each client."""

    def __init__(self, side: Side, size: int, *, pause: float, seed: object) -> None:
        self._side = side
        self._pause = pause
        self._threads = [
            threading.Thread(
                target=self._work, args=(random.Random(repr((seed, side.name, number))), lives), daemon=True
            )
            # One of them is always in the middle of an upload.
            for number, lives in enumerate([((tus_clients.leisurely, 1),), *[LIVES] * (size - 1)])
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def join(self, seconds: float) -> None:
        """Wait for their last clients, once the gate is at its end."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                self._side.records.violation(f"a client of {self._side.name} has not ended in {seconds:.0f} s")

    def _work(self, dice: random.Random, drawn: Sequence[tuple[ServerRun, int]]) -> None:
        lives, weights = zip(*drawn, strict=True)
        while True:
            with self._side.gate.passing() as goes_on:
                if not goes_on:
                    return
                life: ServerRun = dice.choices(lives, weights)[0]
                with self._side.records.guarded(life.__name__):
                    life(self._side, dice)
            time.sleep(dice.uniform(0, 2 * self._pause))
            while self._side.backlog() > BACKLOG and not self._side.gate.is_over:
                time.sleep(0.5)  # more than the machine can process is no soak, it is a flood


def burst(side: Side, number: int = 40) -> None:
    """So many clients at the same moment, which leave nothing: every pool of threads and connections is filled."""
    with ThreadPoolExecutor(number) as pool:
        for seed in range(number):
            pool.submit(_one_of_many, side, random.Random(f"{seed} {time.monotonic()}"))


def _one_of_many(side: Side, dice: random.Random) -> None:
    data, extension = side.videos.make(dice, 50_000, "mp4")
    sender = Sender(side, side.records.open("burst", data, extension), data, dice)
    with side.records.guarded("burst"):
        try:
            sender.create()
            sender.fill(chunk=5000, pieces=2500, until=30_000)
            sender.delete()
            sender.entry.end = End.TERMINATED
        except GoneError:
            sender.entry.end = End.ABANDONED
        finally:
            sender.close()
            sender.entry.end = sender.entry.end or End.ABANDONED
