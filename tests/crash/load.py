"""Several clients at once, and a server that is killed from outside at a random moment."""

import random
import time
from concurrent.futures import ThreadPoolExecutor

from tests.crash.claims import Claim
from tests.crash.recording_client import RecordingClient
from tests.crash.restarted_server import DiedError, RestartedServer

CLIENTS = 4
_LONGEST = 0.5  # seconds until the kill


def random_round(server: RestartedServer, seed: str) -> int:
    """Clients at work, a kill, a restart, one sweep, and the check; how many uploads there were."""
    dice = random.Random(seed)
    if not server.running:
        server.start()
    clients = [RecordingClient(server, seed=(seed, number)) for number in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        works = [pool.submit(_work, client) for client in clients]
        time.sleep(dice.uniform(0.005, _LONGEST))
        server.kill()
    for work in works:
        work.result()
    server.start()
    server.sweep()
    for client in clients:
        client.verify()
    return sum(len(client.claims) for client in clients)


def _work(client: RecordingClient) -> None:
    lives = (_upload, _upload, _joined, _form, _removed, _whole)
    try:
        while True:
            client.random.choice(lives)(client)
    except DiedError:
        pass


def _size(client: RecordingClient) -> int:
    return client.random.choice((100, 5000, 300_000, 1_000_000))


def _upload(client: RecordingClient) -> None:
    claim = client.create(client.video(_size(client)))
    _fill(client, claim)


def _fill(client: RecordingClient, claim: Claim) -> None:
    size = len(claim.data)
    while claim.low < size:
        end = min(size, claim.low + client.random.randint(1, size))
        kind = client.random.random()
        if kind < 0.3:
            client.patch_checked(claim, end)
        elif kind < 0.4:
            client.patch_checked(claim, end, right=False)
        elif kind < 0.5:
            client.patch_too_long(claim)
        else:
            client.patch(claim, end, pause=client.random.randint(0, end - claim.low - 1))


def _whole(client: RecordingClient) -> None:
    client.create(client.video(_size(client)), body=True)


def _joined(client: RecordingClient) -> None:
    sizes = [_size(client) for _ in range(3)]
    parts = [client.create(client.video(sizes[0]), partial=True)]
    parts += [client.create(client.random.randbytes(size), partial=True) for size in sizes[1:]]
    waits = client.random.random() < 0.5
    final = client.join(parts) if waits else None
    for part in parts:
        _fill(client, part)
    if final is None:
        client.join(parts)
    else:
        final.low = final.high


def _form(client: RecordingClient) -> None:
    client.send_form([client.video(_size(client)) for _ in range(client.random.randint(1, 3))])


def _removed(client: RecordingClient) -> None:
    claim = client.create(client.video(_size(client)))
    client.patch(claim, len(claim.data) // 2)
    client.delete(claim)
