"""Bad days of a bucket, on the wire before a real server: no acknowledged byte is lost, and offsets are honest."""

import asyncio
import signal
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import botocore.auth
import pytest

from server.errors import UnavailableError
from server.storage.s3 import bucket as bucket_module
from server.storage.s3.bucket import Bucket, make_client
from server.storage.s3.location import parse
from server.storage.s3.store import Limits, S3Store
from tests.harness.object_store import (  # noqa: F401  # the last one is a fixture
    CREDENTIALS,
    LIMITS,
    REGION,
    ObjectStore,
    object_store,
)
from tests.harness.part_ledger import MemoryLedger
from tests.harness.s3_proxy import Cut, FaultyS3, Hang, Operation, Say, nothing, once
from tests.storage.s3.driving import PART, append, content, noise
from tests.transport.scripted import scripted, whole

ID = "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"
Open = Callable[..., S3Store]


@pytest.fixture(scope="module")
def proxy(object_store: ObjectStore) -> Iterator[FaultyS3]:  # noqa: F811
    with FaultyS3(object_store.port, nothing) as running:
        yield running


@pytest.fixture
def open_store(
    object_store: ObjectStore,  # noqa: F811
    proxy: FaultyS3,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Open]:
    """Stores on one prefix and one ledger, through the proxy."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    ledger, prefix = MemoryLedger(), uuid.uuid4().hex
    bucket = object_store.shared_bucket()

    def opened(**limits: float) -> S3Store:
        url = f"s3://{bucket}/{prefix}?endpoint={proxy.endpoint}&region={REGION}&dialect=versitygw"
        location = parse(url)
        chosen = LIMITS | {"deadline": 30} | limits
        made = Bucket(location, deadline=chosen["deadline"], client=make_client(location))
        return S3Store(location, ledger, tmp_path / "cache", Limits(**chosen), made)  # type: ignore[arg-type]

    yield opened
    proxy.rule = nothing


def sent_whole(store: S3Store, data: bytes) -> None:
    """An upload that ends in spite of what happens, with exactly its bytes."""
    store.create(ID, len(data))
    assert append(store, ID, 0, data).count == len(data)
    store.finish(ID)
    assert content(store, ID) == data
    assert store.memory.used == 0


@pytest.mark.parametrize("operation", [Operation.BEGIN, Operation.PUT_PART, Operation.COMPLETE])
@pytest.mark.parametrize(
    "action",
    [Say(503, "SlowDown"), Say(200, "InternalError"), Say(500, "InternalError", is_done=True), Cut(0)],
    ids=["slow down", "an error that says 200", "done, and an error", "reset"],
)
def test_an_answer_that_is_wrong_once_is_no_loss(
    open_store: Open, proxy: FaultyS3, operation: Operation, action: Say | Cut
) -> None:
    """Refused, done without the right answer, or cut: the request is repeated, and the object is what was sent."""
    proxy.rule = once(operation, action)
    store = open_store()
    sent_whole(store, noise(PART + 1000))
    assert proxy.seen.count(operation) >= 2


def test_a_part_that_is_reset_at_its_end_is_sent_again(open_store: Open, proxy: FaultyS3) -> None:
    """At 99% of its bytes, twice."""
    proxy.rule = once(Operation.PUT_PART, Cut(PART // 100 * 99), Cut(PART // 100 * 99))
    sent_whole(open_store(), noise(2 * PART))


def test_an_endpoint_that_hangs_costs_its_time_and_no_byte(
    open_store: Open, proxy: FaultyS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client is told to repeat, from what the bucket has; once the endpoint answers, the upload goes on."""
    monkeypatch.setattr(bucket_module, "_READ_SECONDS", 0.5)
    data = noise(3 * PART)
    hanging = open_store(deadline=0.1, parallel=1)
    hanging.create(ID, len(data))
    append(hanging, ID, 0, data[:PART])
    proxy.rule = lambda found: Hang() if found is Operation.PUT_PART else None
    with pytest.raises(UnavailableError):
        append(hanging, ID, PART, data[PART:])
    assert (hanging.size(ID), hanging.memory.used) == (PART, 0)
    proxy.rule = nothing
    healed = open_store()
    append(healed, ID, PART, data[PART:])
    healed.finish(ID)
    assert content(healed, ID) == data


@pytest.mark.parametrize(
    ("code", "status", "sentence"),
    [
        ("ExpiredToken", 400, "the credentials have expired"),
        ("AccessDenied", 403, "the credentials may not use the bucket so: it cannot be written"),
        ("PermanentRedirect", 301, "the bucket is in another region; set `region` in the URL of the store"),
        ("NoSuchBucket", 404, "the bucket does not exist"),
    ],
)
def test_a_bucket_that_refuses_in_the_middle_is_explained(
    open_store: Open, proxy: FaultyS3, code: str, status: int, sentence: str
) -> None:
    """Nothing that was acknowledged is lost, the offset is that of the bucket, and the operator gets a sentence."""
    data, store = noise(3 * PART), open_store()
    store.create(ID, len(data))
    append(store, ID, 0, data[:PART])
    proxy.rule = lambda found: None if found is Operation.OTHER else Say(status, code)
    with pytest.raises(UnavailableError):
        append(store, ID, PART, data[PART:])
    assert (store.size(ID), store.memory.used) == (PART, 0)
    with pytest.raises(OSError, match=sentence):
        store.claim()
    proxy.rule = nothing
    append(store, ID, PART, data[PART:])
    store.finish(ID)
    assert content(store, ID) == data


def test_a_clock_that_is_wrong_by_a_quarter_of_an_hour_is_named(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real server refuses the signature; the client may repeat once the clock is right."""
    data, store = noise(100), open_store()
    store.claim()
    store.create(ID, len(data))
    with monkeypatch.context() as patched:
        late = datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=16)
        patched.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: late)
        with pytest.raises(OSError, match="clock of this machine differs"):
            store.claim()
        with pytest.raises(UnavailableError):
            append(store, ID, 0, data)
    assert store.size(ID) == 0
    append(store, ID, 0, data)
    store.finish(ID)
    assert content(store, ID) == data


def test_a_bucket_whose_objects_cannot_be_deleted_still_takes_uploads(open_store: Open, proxy: FaultyS3) -> None:
    """Object lock, or no right to delete: pieces stay behind, and a deletion is tried again."""
    data, store = noise(PART + 100), open_store()
    proxy.rule = lambda found: Say(403, "AccessDenied") if found is Operation.DELETE else None
    store.create(ID, len(data))
    for start in range(0, len(data), PART // 2):
        append(store, ID, start, data[start : start + PART // 2])
    store.finish(ID)
    assert content(store, ID) == data
    with pytest.raises(UnavailableError):
        store.delete(ID)
    proxy.rule = nothing
    store.delete(ID)
    assert not store.has_anything(ID)


def test_parts_are_not_listed_to_take_an_upload(open_store: Open, proxy: FaultyS3) -> None:
    """So a store that denies it, or lists late, disturbs nothing: the ledger knows the parts."""
    proxy.rule = lambda found: Say(403, "AccessDenied") if found is Operation.LIST_PARTS else None
    data, store = noise(2 * PART + 100), open_store()
    store.create(ID, len(data))
    append(store, ID, 0, data[: PART + 50])
    append(store, ID, PART + 50, data[PART + 50 :])
    store.finish(ID)
    assert content(store, ID) == data


def test_an_object_store_that_is_killed_in_a_body_loses_nothing(
    open_store: Open,
    object_store: ObjectStore,  # noqa: F811
    proxy: FaultyS3,
) -> None:
    """kill -9 while a part is on its way; it comes back, and the same request ends."""
    killed: list[Operation] = []

    def rule(found: Operation) -> None:
        if found is Operation.PUT_PART and not killed:
            killed.append(found)
            object_store.halt(signal.SIGKILL)
            object_store.resume()

    proxy.rule = rule
    sent_whole(open_store(), noise(3 * PART))
    assert killed


def test_an_append_that_is_cancelled_in_a_part_counts_what_arrived(open_store: Open, proxy: FaultyS3) -> None:
    """A cancelled append gives its memory back, and counts what the bucket has."""
    data, store = noise(2 * PART), open_store()
    store.create(ID, len(data))

    async def work() -> None:
        body = scripted(whole([data[:PART], data[PART:]]), 30)
        sending = asyncio.ensure_future(store.append(ID, 0, body, 1 << 40))
        while proxy.seen.count(Operation.PUT_PART) < 1:
            await asyncio.sleep(0.01)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await body.close()

    proxy.seen.clear()
    asyncio.run(work())
    assert store.memory.used == 0
    at = store.size(ID) or 0
    append(store, ID, at, data[at:])
    store.finish(ID)
    assert content(store, ID) == data
