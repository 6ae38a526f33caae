"""The process dies before or after a call to the bucket: no acknowledged byte is lost, and nothing stays for ever."""

from collections.abc import Callable
from pathlib import Path

import pytest

from server.storage.s3.store import S3Store
from tests.harness.object_store import ObjectStore, object_store  # noqa: F401  # the second is a fixture
from tests.storage.s3.driving import PART, Crash, append, content, noise
from tests.storage.s3.test_store import ID, OTHER, Place

DATA = noise(2 * PART + 9000)
STEPS = (PART + 4000, 100, len(DATA))
JOINED = f"f{ID[1:]}"


def upload(store: S3Store, acknowledged: list[int]) -> None:
    """An upload in three bodies, and one by another client; then they are joined, and the second one is deleted."""
    for upload_id in (ID, OTHER):
        if store.size(upload_id) is None:
            store.create(upload_id, len(DATA) if upload_id == ID else None)
    while (position := store.size(ID) or 0) < len(DATA):
        size = next(step for step in STEPS if position + step > PART)
        append(store, ID, position, DATA[position : position + size])
        acknowledged.append(position + size)
    store.finish(ID)
    if (store.size(OTHER) or 0) < 10:
        append(store, OTHER, 0, b"0123456789")
    store.finish(OTHER)
    store.concatenate(JOINED, [(ID, len(DATA)), (OTHER, 10)], may_share=True)
    store.finish(JOINED)


def calls_of(place: Place) -> int:
    """How many calls all of it makes."""
    numbers: list[int] = []
    upload(place.store(lambda when, name, number: numbers.append(number)), [])
    return len(set(numbers))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("point", range(16))
@pytest.mark.sampled(6)
def test_a_crash_at_any_call_loses_nothing(
    object_store: ObjectStore,  # noqa: F811
    tmp_path: Path,
    when: str,
    point: int,
) -> None:
    """Another process goes on from what the ledger says, and in the end the bucket has these objects and no others."""
    place = Place(object_store, tmp_path)
    acknowledged: list[int] = [0]
    with pytest.raises(Crash):
        upload(place.store(dying(when, point)), acknowledged)
    second = place.store()
    assert (second.size(ID) or 0) >= min(acknowledged[-1], len(DATA))
    upload(second, [])
    assert content(second, JOINED) == DATA + b"0123456789"
    assert content(second, ID) == DATA
    for upload_id in (ID, OTHER, JOINED):
        second.delete(upload_id)
    assert place.keys() == []


def test_there_are_as_many_points_as_calls(object_store: ObjectStore, tmp_path: Path) -> None:  # noqa: F811
    """The range above covers every call that an upload and a join make."""
    assert calls_of(Place(object_store, tmp_path)) == 16


def dying(when: str, point: int) -> Callable[[str, str, int], None]:
    """The process dies at this call; so does every later one, since it is dead."""
    dead = False

    def fault(now: str, _: str, number: int) -> None:
        nonlocal dead
        dead = dead or (now, number) == (when, point)
        if dead:
            raise Crash

    return fault
