"""Quotas are exact when requests race: many at once, in several processes, on both databases."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.harness.http import Answer, Connection, request
from tests.harness.multipart import PATH, form_body
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.waiting import PATIENCE
from tests.tus.client import MOUNT, OCTETS, VERSION, creation, id_of, metadata, target, video

pytestmark = pytest.mark.turns(2)  # kinds of quotas

CLIENTS = 100
ROOM = 10
SIZE = 1000
DEFERRED = VERSION | {"Upload-Defer-Length": "1", "Upload-Metadata": metadata(filename="a.mp4")}


def at_once(server: ServerProcess, requests: Sequence[bytes]) -> list[Answer]:
    """All of these requests, each on a connection of its own that is there already; the answers in their order."""
    connections = [Connection(server.port) for _ in requests]
    answers: list[Answer | None] = [None] * len(requests)
    barrier = threading.Barrier(len(requests))

    def send(number: int) -> None:
        barrier.wait(PATIENCE)
        connections[number].send(requests[number])
        answers[number] = connections[number].answer()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    for connection in connections:
        connection.close()
    assert all(answers), "an answer is missing"
    return [answer for answer in answers if answer is not None]


def rows(server: ServerProcess, sql: str) -> list[dict[str, Any]]:
    return query(server.database_url, sql)


def form_bytes(number: int) -> bytes:
    """The body of a form of one file; it has the same size for each number."""
    return form_body("b", [("videos", f"{number:03}.mp4", video(SIZE))])


def form(number: int) -> bytes:
    body = form_bytes(number)
    return request("POST", PATH, {"Content-Type": "multipart/form-data; boundary=b"}, body)


def create(_: int) -> bytes:
    return request("POST", MOUNT, creation(SIZE))


def create_with_bytes(number: int) -> bytes:
    """Every second one brings its bytes, so that completions run beside the creations."""
    if number % 2:
        return create(number)
    return request("POST", MOUNT, creation(SIZE) | {"Content-Type": OCTETS}, video(SIZE))


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("settings", "make"),
    [
        ({"owner_open_uploads": ROOM}, create),
        ({"owner_stored_bytes": ROOM * SIZE}, create_with_bytes),
        ({"owner_open_bytes": ROOM * SIZE}, create),
        ({"owner_daily_bytes": ROOM * SIZE}, create_with_bytes),
        ({"owner_waiting_tasks": ROOM}, create_with_bytes),
        ({"owner_waiting_tasks": ROOM}, form),
    ],
    ids=["open_uploads", "stored_bytes", "open_bytes", "daily_bytes", "tasks", "tasks_of_forms"],
)
@pytest.mark.turns(1)
def test_creations_at_once_make_exactly_what_has_room(
    start_server: StartServer, database_url: str, settings: dict[str, object], make: Callable[[int], bytes]
) -> None:
    """A hundred at once against room for ten: ten are made, the others are told to wait, and nothing else happens."""
    server = start_server(database_url=database_url, workers=2, scheduler="none", fsync="never", **settings)
    answers = at_once(server, [make(number) for number in range(CLIENTS)])
    made = Counter(answer.status for answer in answers)
    assert set(made) <= {200, 201, 429}, made
    assert all("retry-after" in answer.headers for answer in answers if answer.status == 429)
    kept = rows(server, "SELECT status FROM uploads WHERE has_bytes")
    assert len(kept) == made[200] + made[201]
    assert made[200] + made[201] == ROOM, made


def test_forms_at_once_stay_within_the_bytes(start_server: StartServer, database_url: str) -> None:
    """Each has room for its whole body first, and for its file alone once it is complete."""
    limit = ROOM * len(form_bytes(0))
    server = start_server(
        database_url=database_url, workers=2, scheduler="none", fsync="never", owner_stored_bytes=limit
    )
    made = Counter(answer.status for answer in at_once(server, [form(number) for number in range(CLIENTS)]))
    assert set(made) == {200, 429}, made
    assert ROOM <= made[200] <= limit // SIZE
    (found,) = rows(server, "SELECT count(*) AS number, sum(length) AS size FROM uploads WHERE has_bytes")
    assert (found["number"], int(found["size"])) == (made[200], made[200] * SIZE)


def test_lengths_declared_at_once_fit_together(start_server: StartServer, database_url: str) -> None:
    """Uploads of unknown length that all declare one: exactly those that fit go on."""
    server = start_server(
        database_url=database_url, workers=2, scheduler="none", fsync="never", owner_stored_bytes=ROOM * SIZE
    )
    uploads = [id_of(answer) for answer in at_once(server, [request("POST", MOUNT, DEFERRED)] * 40)]
    headers = VERSION | {"Upload-Offset": "0", "Content-Type": OCTETS, "Upload-Length": str(SIZE)}
    answers = at_once(server, [request("PATCH", target(upload), headers, video(100)) for upload in uploads])
    assert Counter(answer.status for answer in answers) == {204: ROOM, 429: 40 - ROOM}
    (found,) = rows(server, "SELECT sum(reserved) AS reserved, count(length) AS known FROM uploads")
    assert (int(found["reserved"]), found["known"]) == (ROOM * SIZE, ROOM)


def test_finals_beside_their_growing_parts_never_lock_each_other_out(
    start_server: StartServer, database_url: str
) -> None:
    """A final upload holds the rows of its parts, and a part that declares its length holds its own: no deadlock."""
    server = start_server(
        database_url=database_url, workers=2, scheduler="none", fsync="never", owner_stored_bytes=1 << 30
    )
    new_part = request("POST", MOUNT, VERSION | {"Upload-Defer-Length": "1", "Upload-Concat": "partial"})
    headers = VERSION | {"Upload-Offset": "0", "Content-Type": OCTETS, "Upload-Length": str(SIZE)}
    for _ in range(4):
        parts = [id_of(answer) for answer in at_once(server, [new_part] * 20)]
        mixed: list[bytes] = []
        for part in parts:
            final = VERSION | {"Upload-Concat": f"final;{target(part)}", "Upload-Metadata": metadata(filename="a.mp4")}
            mixed += [request("PATCH", target(part), headers, video(SIZE)), request("POST", MOUNT, final)]
        made = Counter(answer.status for answer in at_once(server, mixed))
        assert made == {204: len(parts), 201: len(parts)}, made


def test_everything_at_once_stays_within_the_quota(start_server: StartServer, database_url: str) -> None:
    """Creations, lengths and forms of one owner, mixed: never a deadlock, never a byte too much."""
    limit = 20 * SIZE
    server = start_server(
        database_url=database_url, workers=2, scheduler="none", fsync="never", owner_stored_bytes=limit
    )
    uploads = [id_of(answer) for answer in at_once(server, [request("POST", MOUNT, DEFERRED)] * 20)]
    headers = VERSION | {"Upload-Offset": "0", "Content-Type": OCTETS, "Upload-Length": str(SIZE)}
    growing = [request("PATCH", target(upload), headers, video(SIZE)) for upload in uploads]
    mixed = [
        each for three in zip(growing, map(create, range(20)), map(form, range(20)), strict=True) for each in three
    ]
    made = Counter(answer.status for answer in at_once(server, mixed))
    assert set(made) <= {200, 201, 204, 429}, made
    sizes = "SELECT sum(CASE WHEN status = 'complete' THEN length ELSE reserved END) AS size FROM uploads"
    stored = int(rows(server, sizes)[0]["size"])
    assert limit - 2 * SIZE < stored <= limit
