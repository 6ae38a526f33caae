"""Results in a bucket: seen when they are published, whole or not at all, by every host; nothing stays for ever."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from server.errors import StorageFullError, UnavailableError
from server.storage.result_store import CHOSEN_ATTEMPTS, ResultStore
from server.storage.s3.results import BucketResults
from tests.harness.bucket_results import ResultBucket, content, result_bucket
from tests.harness.object_store import ObjectStore, object_store  # noqa: F401  # the second is a fixture
from tests.storage.s3.driving import Crash, Fault, FaultyClient, after, failing, noise, refusal
from tests.storage.s3.test_crash_points import dying
from tests.storage.test_results import FILE, TASK

LARGE = noise(2 * 5 * (1 << 20) + 1000)
HLS = ("hls/index.m3u8", "hls/240p/index.m3u8", "hls/240p/0.m4s", "hls/240p/1.m4s")


@pytest.fixture
def bucket(
    object_store: ObjectStore,  # noqa: F811
    tmp_path: Path,
    database_url: str,
) -> Iterator[ResultBucket]:
    with result_bucket(object_store, tmp_path, database_url) as made:
        yield made


def faulty(fault: Fault) -> Callable[[Any], FaultyClient]:
    return lambda client: FaultyClient(client, fault)


def make(results: ResultStore, attempt: int, step: str, **files: bytes) -> None:
    """Write files, and seal them; `__` in a name is a slash, `_` a dot."""
    folder = results.begin(TASK, attempt, FILE, step)
    for name, data in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    results.seal(TASK, attempt, FILE, step)


def nobody() -> set[tuple[str, int]]:
    return set()


def test_results_are_seen_by_every_host_once_they_are_published(bucket: ResultBucket) -> None:
    """In a transaction, and not when that is rolled back; the host that made them may lose its folder."""
    one, two = bucket.host("one", parallel=3), bucket.host("two")
    make(one, 1, "mp4", video_mp4=LARGE, notes_txt=b"private")
    assert two.look_up(TASK, FILE, "video.mp4") is None
    with bucket.database.write() as session:
        one.publish(TASK, 1, FILE, "mp4", session)
        session.rollback()
    assert two.look_up(TASK, FILE, "video.mp4") is None
    for _ in range(2):  # a transaction may be tried again after it was committed
        with bucket.database.write() as session:
            one.publish(TASK, 1, FILE, "mp4", session)
    one.discard(TASK, 1)
    found = two.look_up(TASK, FILE, "video.mp4")
    assert found is not None
    assert found.read is not None
    assert (content(found), b"".join(found.read(5_000_000, 5_300_000))) == (LARGE, LARGE[5_000_000:5_300_000])
    copy = two.local_path(TASK, FILE, "video.mp4")
    assert copy is not None
    assert copy.read_bytes() == LARGE
    assert (two.names(TASK, FILE), two.bytes_of(TASK, FILE)) == (["video.mp4"], len(LARGE))
    assert not two.lacks(TASK, FILE, ["video.mp4"])
    assert bucket.rows() == [(1, "published")]


def test_objects_have_their_content_types(bucket: ResultBucket, object_store: ObjectStore) -> None:  # noqa: F811
    """So that a signed address answers with them, and so does any other way to the bucket."""
    results = bucket.host()
    make(results, 1, "hls", hls__index_m3u8=b"#EXTM3U", hls__240p__0_m4s=b"0")
    make(results, 1, "mp4", video_mp4=LARGE)
    kinds = {}
    for key in bucket.objects():
        found = object_store.client.head_object(Bucket=object_store.shared_bucket(), Key=f"{bucket.prefix}/{key}")
        kinds[key.rpartition("/")[2]] = found["ContentType"]
    types = {"index.m3u8": "application/vnd.apple.mpegurl", "0.m4s": "video/iso.segment", "video.mp4": "video/mp4"}
    assert kinds == types


def test_a_replaced_poster_leaves_the_bucket(bucket: ResultBucket) -> None:
    """A reader has the former bytes to the end, or finds the new ones, under another tag."""
    results = bucket.host()
    tags = set()
    for attempt in (1, CHOSEN_ATTEMPTS + 5, CHOSEN_ATTEMPTS + 2):
        make(results, attempt, "poster", poster_jpg=b"%d" % attempt)
        with bucket.database.write() as session:
            results.replace(TASK, attempt, FILE, "poster", "poster.jpg", session)
        results.discard(TASK, attempt)
        found = results.look_up(TASK, FILE, "poster.jpg")
        assert found is not None
        assert content(found) == b"%d" % attempt
        tags.add(found.tag)
    assert len(tags) == 3
    assert len(bucket.objects()) == len(bucket.rows()) == 1


def test_removal_empties_bucket_cache_and_tables(bucket: ResultBucket, tmp_path: Path) -> None:
    """First they are hidden, in a transaction; what is published since stays, and the copies of other hosts go, too."""
    one, two = bucket.host("one"), bucket.host("two")
    make(one, 1, "hls", **{name.replace("/", "__").replace(".", "_"): b"x" for name in HLS})
    make(one, 1, "poster", poster_jpg=b"one")
    for step in ("hls", "poster"):
        one.publish(TASK, 1, FILE, step)
    assert two.local_path(TASK, FILE, "poster.jpg") is not None
    with bucket.database.write() as session:
        one.hide(TASK, FILE, session)
        assert not one.remove_empty(TASK, session)
    assert one.look_up(TASK, FILE, HLS[0]) is None
    assert (one.has_any(TASK), one.names(TASK, FILE)) == (True, [])
    make(one, 2, "poster", poster_jpg=b"two")
    one.publish(TASK, 2, FILE, "poster")
    one.remove(TASK, FILE)
    assert content(two.look_up(TASK, FILE, "poster.jpg")) == b"two"
    one.delete(TASK, FILE)
    assert (bucket.objects(), bucket.rows(), one.has_any(TASK)) == ([], [], False)
    assert one.remove_empty(TASK)
    assert list((tmp_path / "two" / "cache").iterdir()) != []
    two.sweep(nobody, dry_run=False)
    assert list((tmp_path / "two" / "cache").iterdir()) == []


def published(results: BucketResults, attempt: int, bucket: ResultBucket) -> None:
    """One attempt at a file: a video in parts, and HLS."""
    make(results, attempt, "mp4", video_mp4=LARGE)
    make(results, attempt, "hls", hls__index_m3u8=b"#EXTM3U %d" % attempt, hls__240p__0_m4s=b"0")
    for step in ("mp4", "hls"):
        with bucket.database.write() as session:
            results.publish(TASK, attempt, FILE, step, session)


CALLS = 7
"""Of such an attempt: a video in three parts, begun and completed, and two objects."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("point", range(CALLS))
@pytest.mark.sampled(5)
def test_a_crash_at_any_call_is_never_seen_and_leaves_nothing(bucket: ResultBucket, when: str, point: int) -> None:
    """Another host with another folder makes them again; a sweep removes what the dead one left, from its rows."""
    with pytest.raises(Crash):
        published(bucket.host("one", faulty(dying(when, point))), 1, bucket)
    two = bucket.host("two")
    assert [two.look_up(TASK, FILE, name) for name in ("video.mp4", "hls/index.m3u8")] == [None, None]
    assert two.sweep(lambda: {(TASK, 1)}, dry_run=False) == 0, "the claim was not lost yet"
    published(two, 2, bucket)
    two.sweep(lambda: {(TASK, 2)}, dry_run=False)
    assert content(two.look_up(TASK, FILE, "hls/index.m3u8")) == b"#EXTM3U 2"
    assert content(two.look_up(TASK, FILE, "video.mp4")) == LARGE
    assert (len(bucket.objects()), bucket.multiparts()) == (3, [])
    assert list(two.strays()) == []
    two.delete(TASK, FILE)
    assert bucket.objects() == []


def test_there_are_as_many_points_as_calls(bucket: ResultBucket) -> None:
    """The range above covers every call that an attempt makes before it is published."""
    numbers: set[int] = set()
    published(bucket.host("one", faulty(lambda when, name, number: numbers.add(number))), 1, bucket)
    assert len(numbers) == CALLS


def test_a_worker_that_was_only_slow_publishes_nothing(bucket: ResultBucket) -> None:
    """A sweep took it for dead while it uploaded: it fails, is not seen, and its late objects go with a later sweep."""
    two = bucket.host("two")

    def swept(when: str, name: str, _: int) -> None:
        if (when, name) == ("before", "put_object"):
            two.sweep(nobody, dry_run=False)

    one = bucket.host("one", faulty(swept))
    with pytest.raises(UnavailableError):
        make(one, 1, "poster", poster_jpg=b"late")
    with pytest.raises(UnavailableError):
        one.publish(TASK, 1, FILE, "poster")
    assert len(bucket.objects()) == 1, "it was written after the sweep"
    assert two.sweep(nobody, dry_run=True) == 1
    assert two.sweep(nobody, dry_run=False) == 1
    assert (bucket.objects(), bucket.rows()) == ([], [(1, "abandoned")])
    assert two.sweep(nobody, dry_run=False) == 0
    bucket.now = lambda: datetime.now(UTC) - timedelta(hours=2)
    make(two, 2, "poster", poster_jpg=b"2")  # and died hours ago
    bucket.host("three").sweep(nobody, dry_run=False)
    assert bucket.objects() == []


@pytest.mark.parametrize(
    "fault",
    [
        failing("put_object", refusal("SlowDown", 503), EndpointConnectionError(endpoint_url="http://s3")),
        failing("upload_part", refusal("InternalError", 500), refusal("BadDigest")),
        after("complete_multipart_upload", EndpointConnectionError(endpoint_url="http://s3")),
    ],
    ids=["slow down", "parts", "a lost answer"],
)
def test_transient_faults_cost_time_only(bucket: ResultBucket, fault: Fault) -> None:
    """SlowDown, a reset, a wrong digest, and an answer to Complete that was lost."""
    results = bucket.host("one", faulty(fault))
    published(results, 1, bucket)
    assert content(results.look_up(TASK, FILE, "video.mp4")) == LARGE
    assert (len(bucket.objects()), bucket.multiparts()) == (3, [])


@pytest.mark.parametrize(
    ("call", "error", "raised"),
    [
        ("put_object", refusal("AccessDenied", 403), UnavailableError),
        ("upload_part", refusal("QuotaExceeded", 403), StorageFullError),
        ("upload_part", refusal("NoSuchUpload", 404), UnavailableError),
        ("complete_multipart_upload", refusal("InvalidPart"), UnavailableError),
    ],
)
def test_a_fault_that_stays_ends_the_attempt_and_leaves_nothing(
    bucket: ResultBucket, call: str, error: Exception, raised: type[Exception]
) -> None:
    """The worker tries again later; what was uploaded goes with the attempt."""
    results = bucket.host("one", faulty(failing(call, error)))
    with pytest.raises(raised):
        published(results, 1, bucket)
    results.discard(TASK, 1)
    assert (bucket.objects(), bucket.multiparts(), bucket.rows()) == ([], [], [])


def test_an_attempt_that_is_stopped_ends_its_upload(bucket: ResultBucket) -> None:
    """What `check` raises ends it between two requests; a discard removes what was uploaded."""
    results = bucket.host("one")
    folder = results.begin(TASK, 1, FILE, "mp4")
    (folder / "video.mp4").write_bytes(LARGE)

    def lost() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        results.seal(TASK, 1, FILE, "mp4", lost)
    results.discard_file(TASK, 1, FILE)
    assert (bucket.objects(), bucket.multiparts(), bucket.rows()) == ([], [], [])


def test_the_inventory_finds_what_is_lost_and_what_is_strange(bucket: ResultBucket) -> None:
    """An object that was deleted or cut, and objects below results that no row knows."""
    results = bucket.host()
    make(results, 1, "poster", poster_jpg=b"one")
    results.publish(TASK, 1, FILE, "poster")
    (key,) = bucket.objects()
    assert (results.lacks(TASK, FILE, ["poster.jpg"]), list(results.strays())) == (False, [])
    assert results.lacks(TASK, FILE, ["video.mp4"])
    assert list(results.tasks()) == [TASK]
    bucket.put(key, b"other bytes")
    assert results.lacks(TASK, FILE, ["poster.jpg"])
    bucket.put(key, b"two")
    with pytest.raises(UnavailableError):  # its checksum is another
        results.local_path(TASK, FILE, "poster.jpg")
    bucket.delete(key)
    assert results.lacks(TASK, FILE, ["poster.jpg"])
    assert results.local_path(TASK, FILE, "poster.jpg") is None
    unknown = key.replace(key.split(".")[2][:16], "0" * 16)
    bucket.put(unknown, b"x")
    bucket.put(f"results/{TASK}/notes", b"x")
    assert list(results.strays()) == [(TASK, unknown.rpartition("/")[0] + "/"), (TASK, f"results/{TASK}/notes")]


def test_results_of_the_disk_are_found_and_removed_too(bucket: ResultBucket) -> None:
    """Those that an earlier version left in the data folder, until `migrate-store` moves them."""
    results = bucket.host()
    local = results.local
    folder = local.begin(TASK, 1, FILE, "poster")
    (folder / "poster.jpg").write_bytes(b"old")
    local.publish(TASK, 1, FILE, "poster")
    assert content(results.look_up(TASK, FILE, "poster.jpg")) == b"old"
    assert (results.names(TASK, FILE), results.bytes_of(TASK, FILE), results.has_any(TASK)) == (["poster.jpg"], 3, True)
    results.delete(TASK, FILE)
    assert (results.has_any(TASK, FILE), results.remove_empty(TASK), results.has_any(TASK)) == (False, True, False)
