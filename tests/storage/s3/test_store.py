"""An upload in a bucket of a real server: parts of one size, pieces for the rest, and one object in the end."""

import asyncio
import math
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from server.errors import StorageFullError, UnavailableError, UploadLockedError
from server.storage.s3 import appending
from server.storage.s3.dialect import MIB
from server.storage.s3.ledger import Change, LedgerLostError
from server.storage.s3.memory import BLOCK_BYTES
from server.storage.s3.objects import folder_of
from server.storage.s3.store import S3Store
from tests.harness.object_store import ObjectStore, object_store  # noqa: F401  # the second is a fixture
from tests.harness.part_ledger import MemoryLedger
from tests.harness.waiting import until
from tests.storage.s3.driving import (
    PART,
    Fault,
    FaultyClient,
    after,
    append,
    content,
    failing,
    messages,
    no_fault,
    noise,
    refusal,
    sizes,
)
from tests.transport.scripted import scripted

ID = "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"
OTHER = "8a7c1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"


class Place:
    """A prefix of its own in a bucket, with a ledger, and stores on it: one for each process that would be."""

    def __init__(self, server: ObjectStore, folder: Path) -> None:
        self.server = server
        self.bucket = server.shared_bucket()
        self.prefix = uuid.uuid4().hex
        self.ledger = MemoryLedger()
        self._folder = folder

    def store(self, fault: Fault = no_fault, dialect: str = "versitygw", **limits: float) -> S3Store:
        def wrap(client: Any) -> FaultyClient:
            return FaultyClient(client, fault)

        url = self.server.url(self.bucket, self.prefix, dialect)
        return self.server.open_store(url, self._folder / "cache", self.ledger, wrap, **limits)

    def keys(self, upload_id: str = "") -> list[str]:
        start = f"{self.prefix}/{folder_of(upload_id) if upload_id else ''}"
        return [
            key.removeprefix(f"{self.prefix}/") for key in self.server.objects(self.bucket) if key.startswith(start)
        ]

    def multiparts(self) -> list[str]:
        return [key for key in self.server.multiparts(self.bucket) if key.startswith(self.prefix)]


@pytest.fixture
def place(object_store: ObjectStore, tmp_path: Path) -> Place:  # noqa: F811
    return Place(object_store, tmp_path)


def test_a_large_body_needs_its_parts_and_two_requests_more(place: Place) -> None:
    """One body of known length: a request a part, one to begin and one to end. No piece is parked."""
    store, data = place.store(), noise(3 * PART + 1000)
    store.create(ID, len(data))
    assert append(store, ID, 0, data).count == len(data)
    store.finish(ID)
    assert store.bucket.calls == {"create_multipart_upload": 1, "upload_part": 4, "complete_multipart_upload": 1}
    assert place.keys(ID) == [f"uploads/{ID}/whole"]
    assert content(store, ID) == data
    assert store.local_path(ID).read_bytes() == data


def test_a_small_upload_is_one_request(place: Place) -> None:
    """What is below a part is one object from the begin, which the end of the upload need not touch."""
    store = place.store()
    store.create(ID, 1000)
    append(store, ID, 0, noise(1000))
    store.finish(ID)
    assert store.bucket.calls == {"put_object": 1}
    assert content(store, ID) == noise(1000)


def test_bodies_of_any_size_become_parts_of_one_size(place: Place) -> None:
    """The rest of a body is parked, the next body completes the part, and spent pieces go with the append after it."""
    store, data = place.store(), noise(2 * PART + 700_000)
    store.create(ID, None)
    position = 0
    for size in (700_000, 100, PART, 1_000_000, len(data)):
        body = data[position : position + size]
        append(store, ID, position, body)
        position += len(body)
        found = place.ledger.find(ID)
        assert found is not None
        assert (found.size, store.size(ID)) == (position, position)
        assert set(sizes(found.parts)) <= {PART}
    store.finish(ID)
    assert content(store, ID) == data
    assert place.keys(ID) == [f"uploads/{ID}/whole"], "pieces are left"


def test_another_process_goes_on_where_one_died(place: Place) -> None:
    """What was acknowledged survives the host: a store that knows nothing of the first one completes the upload."""
    data = noise(2 * PART + 5000)
    first = place.store()
    first.create(ID, len(data))
    assert append(first, ID, 0, data[: PART + 1234], cut=True).end.value == "gone"
    second = place.store()
    assert second.size(ID) == PART + 1234
    append(second, ID, PART + 1234, data[PART + 1234 :])
    second.finish(ID)
    assert content(place.store(), ID) == data


def test_many_tiny_bodies_do_not_leave_many_pieces(place: Place) -> None:
    """Pieces are joined before they become many, and the bytes stay the same."""
    store, data = place.store(), noise(4000)
    store.create(ID, len(data))
    for position in range(0, len(data), 100):
        append(store, ID, position, data[position : position + 100])
    found = place.ledger.find(ID)
    assert found is not None
    assert len(found.current_pieces) <= 17
    store.finish(ID)
    assert content(store, ID) == data


@pytest.mark.parametrize("start", [0, 1000, PART, PART + 1000])
@pytest.mark.parametrize("size", [500, PART, 2 * PART + 300])
@pytest.mark.sampled(4)
def test_an_append_can_be_taken_back(place: Place, start: int, size: int) -> None:
    """Also where its bytes became parts together with earlier pieces: the upload is as before, and goes on."""
    store, data = place.store(), noise(4 * PART)
    store.create(ID, None)
    if start:
        append(store, ID, 0, data[:start])
    append(store, ID, start, noise(size, seed=7))
    store.truncate(ID, start)
    assert store.size(ID) == start
    append(store, ID, start, data[start : start + PART + 10])
    store.finish(ID)
    assert content(store, ID) == data[: start + PART + 10]


def test_a_slow_former_writer_changes_nothing(place: Place) -> None:
    """A writer whose upload another one has taken over is refused by the ledger, whatever it has sent to the bucket."""
    former, data = place.store(), noise(PART + 10)
    former.create(ID, len(data))
    append(former, ID, 0, data[:100])
    old = place.ledger.begin(ID)
    append(place.store(), ID, 100, data[100:200])
    piece = former._objects.put_piece(ID, 100, b"from the past")
    with pytest.raises(LedgerLostError):
        place.ledger.change(ID, old.version, Change(pieces=[piece]))
    assert former.size(ID) == 200


def test_a_writer_that_is_overtaken_in_its_body_is_locked_out(place: Place) -> None:
    """The error is the one of an upload that another request has taken over."""

    def overtaken(when: str, name: str, _: int) -> None:
        if (when, name) == ("before", "put_object"):
            place.ledger.begin(ID)

    store = place.store(overtaken)
    store.create(ID, 1000)
    with pytest.raises(UploadLockedError):
        append(store, ID, 0, noise(10))
    assert store.size(ID) == 0


@pytest.mark.parametrize("code", ["SlowDown", "InternalError", "RequestTimeout", "BadDigest"])
def test_transient_refusals_are_repeated(place: Place, code: str) -> None:
    """Until the server takes it; the client notices nothing."""
    store = place.store(failing("upload_part", refusal(code, 503), refusal(code, 500)))
    data = noise(PART + 5)
    store.create(ID, len(data))
    append(store, ID, 0, data)
    store.finish(ID)
    assert content(store, ID) == data


def test_a_bucket_that_stays_away_gives_an_honest_offset(place: Place) -> None:
    """The error says that repeating may help, and the size is what the bucket has: all parts before the lost one."""
    wrong = [EndpointConnectionError(endpoint_url="x")] * 1000
    number = 0

    def fault(when: str, name: str, _: int) -> None:
        nonlocal number
        if when == "before" and name == "upload_part":
            number += 1
            if number > 2:
                raise wrong.pop()

    store, data = place.store(fault, parallel=1, deadline=0.3), noise(4 * PART)
    store.create(ID, len(data))
    with pytest.raises(UnavailableError):
        append(store, ID, 0, data)
    assert store.size(ID) == 2 * PART
    assert store.memory.used == 0
    healed = place.store()
    append(healed, ID, 2 * PART, data[2 * PART :])
    healed.finish(ID)
    assert content(healed, ID) == data


def test_a_full_bucket_is_storage_full(place: Place) -> None:
    """What it took before counts."""
    store = place.store(failing("put_object", refusal("QuotaExceeded", 507)))
    store.create(ID, 10)
    with pytest.raises(StorageFullError):
        append(store, ID, 0, noise(10))
    assert store.size(ID) == 0


@pytest.mark.parametrize("name", ["upload_part", "create_multipart_upload", "complete_multipart_upload", "put_object"])
def test_a_lost_answer_loses_no_byte(place: Place, name: str) -> None:
    """The server has done it, and the connection broke: the repetition ends as if nothing had happened."""
    store, data = place.store(after(name, EndpointConnectionError(endpoint_url="x"))), noise(PART + 5)
    store.create(ID, len(data))
    append(store, ID, 0, data[:PART])
    append(store, ID, PART, data[PART:])
    store.finish(ID)
    assert content(store, ID) == data


def test_deletion_leaves_nothing(place: Place) -> None:
    """Neither parts nor pieces nor objects without a row, and it may be repeated."""
    store = place.store()
    for upload_id, is_finished in ((ID, False), (OTHER, True)):
        store.create(upload_id, None)
        append(store, upload_id, 0, noise(PART + 100))
        store._objects.put_piece(upload_id, 77, b"of a process that died")
        if is_finished:
            store.finish(upload_id)
            store.local_path(upload_id)
        for _ in range(2):
            store.delete(upload_id)
        assert (place.keys(upload_id), place.ledger.find(upload_id)) == ([], None)
        assert not store.local_path(upload_id).exists()
    assert place.multiparts() == []


@pytest.mark.parametrize("dialect", ["versitygw", "r2", "plain"])
def test_parts_are_joined_inside_the_bucket(place: Place, dialect: str) -> None:
    """Large parts are copied by the server where it can; small ones and those of servers that cannot pass through."""
    store = place.store(dialect=dialect)
    pieces = [noise(size, seed) for seed, size in enumerate((PART + 10, 1000, 2 * PART, 0, 70))]
    parts = []
    for number, data in enumerate(pieces):
        store.create(f"{number}{ID[1:]}", len(data))
        append(store, f"{number}{ID[1:]}", 0, data)
        store.finish(f"{number}{ID[1:]}")
        parts.append((f"{number}{ID[1:]}", len(data)))
    before = store.bucket.calls.get("upload_part", 0)
    for _ in range(2):
        store.concatenate(OTHER, parts, may_share=True)
    store.finish(OTHER)
    assert content(store, OTHER) == b"".join(pieces)
    assert store.head(OTHER, 64) == pieces[0][:64]
    copied = store.bucket.calls.get("upload_part_copy", 0)
    through = store.bucket.calls["upload_part"] - before
    assert {"versitygw": (3, 1), "r2": (2, 2), "plain": (0, 4)}[dialect] == (copied, through)


def test_memory_is_bounded_and_every_body_gets_through(place: Place) -> None:
    """Eight bodies at once with memory for three parts: none fails, no more memory is used, all is given back."""
    store = place.store(memory=18 * MIB)
    data = {f"{number}{ID[1:]}": noise(2 * PART + 100, number) for number in range(8)}

    async def one(upload_id: str) -> None:
        body = scripted(messages(data[upload_id]), 30)
        await store.append(upload_id, 0, body, 1 << 40)
        await body.close()

    async def work() -> None:
        await asyncio.gather(*map(one, data))

    for upload_id, content_of in data.items():
        store.create(upload_id, len(content_of))
    asyncio.run(work())
    assert (store.memory.used, store.memory.peak <= store.memory.limit) == (0, True)
    for upload_id, content_of in data.items():
        store.finish(upload_id)
        assert content(store, upload_id) == content_of


def test_a_quick_body_waits_for_the_memory_of_a_whole_part(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds nothing meanwhile, so what it has of a part is never parked and sent again."""
    monkeypatch.setattr(appending, "QUICK_SECONDS", math.inf)
    waited: list[int] = []

    def fault(when: str, name: str, _: int) -> None:
        if (when, name) == ("before", "upload_part") and len(waited) < 2:
            until(lambda: store.memory.is_short, what="the next part waits in line")
            waited.append(store.memory.used - taken)

    store, data = place.store(fault, memory=18 * MIB), noise(3 * PART)
    taken = store.memory.limit - PART - BLOCK_BYTES
    assert store.memory.try_take(taken)
    store.create(ID, len(data))
    append(store, ID, 0, data)
    assert (waited, store.memory.used) == ([PART, PART], taken)
    store.finish(ID)
    assert content(store, ID) == data


def test_parts_go_in_parallel_up_to_the_setting(place: Place) -> None:
    """While one part is on its way the next ones are, too, and never more than were set."""
    running, most, both = 0, 0, threading.Barrier(2)
    lock = threading.Lock()

    def fault(when: str, name: str, _: int) -> None:
        nonlocal running, most
        if name != "upload_part":
            return
        with lock:
            running += 1 if when == "before" else -1
            most = max(most, running)
        if when == "before":
            both.wait(30)  # each waits for another one: with one at a time this would break

    store, data = place.store(fault, parallel=2), noise(4 * PART)
    store.create(ID, len(data))
    append(store, ID, 0, data)
    assert most == 2
