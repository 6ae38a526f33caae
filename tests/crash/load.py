"""Several clients at once, and a server that is killed from outside at a moment that nobody has chosen."""

import random
import time
from concurrent.futures import ThreadPoolExecutor

from tests.crash.bench import Bench, DiedError
from tests.crash.claims import Claim
from tests.crash.play import Play

CLIENTS = 4
_LONGEST = 0.5  # seconds until the kill


def random_round(bench: Bench, seed: str) -> int:
    """Clients at work, a kill, a restart, one sweep, and the check; how many uploads there were."""
    dice = random.Random(seed)
    if not bench.running:
        bench.start()
    plays = [Play(bench, seed=(seed, number)) for number in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        works = [pool.submit(_work, play) for play in plays]
        time.sleep(dice.uniform(0.005, _LONGEST))
        bench.kill()
    for work in works:
        work.result()
    bench.start()
    bench.sweep()
    for play in plays:
        play.verify()
    return sum(len(play.claims) for play in plays)


def _work(play: Play) -> None:
    lives = (_upload, _upload, _joined, _form, _removed, _whole)
    try:
        while True:
            play.random.choice(lives)(play)
    except DiedError:
        pass


def _size(play: Play) -> int:
    return play.random.choice((100, 5000, 300_000, 1_000_000))


def _upload(play: Play) -> None:
    claim = play.create(play.video(_size(play)))
    _fill(play, claim)


def _fill(play: Play, claim: Claim) -> None:
    size = len(claim.data)
    while claim.low < size:
        end = min(size, claim.low + play.random.randint(1, size))
        kind = play.random.random()
        if kind < 0.3:
            play.patch_checked(claim, end)
        elif kind < 0.4:
            play.patch_checked(claim, end, right=False)
        elif kind < 0.5:
            play.patch_too_long(claim)
        else:
            play.patch(claim, end, pause=play.random.randint(0, end - claim.low - 1))


def _whole(play: Play) -> None:
    play.create(play.video(_size(play)), body=True)


def _joined(play: Play) -> None:
    sizes = [_size(play) for _ in range(3)]
    parts = [play.create(play.video(sizes[0]), partial=True)]
    parts += [play.create(play.random.randbytes(size), partial=True) for size in sizes[1:]]
    waits = play.random.random() < 0.5
    final = play.join(parts) if waits else None
    for part in parts:
        _fill(play, part)
    if final is None:
        play.join(parts)
    else:
        final.low = final.high


def _form(play: Play) -> None:
    play.send_form([play.video(_size(play)) for _ in range(play.random.randint(1, 3))])


def _removed(play: Play) -> None:
    claim = play.create(play.video(_size(play)))
    play.patch(claim, len(claim.data) // 2)
    play.delete(claim)
