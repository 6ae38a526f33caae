"""The small parts of the store in S3: its URL, its dialects, its memory, its local copies, its faults."""

import asyncio
import threading
from pathlib import Path

import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, NoCredentialsError, ReadTimeoutError

from server.storage.s3.cache import LocalCache
from server.storage.s3.checksum import Crc32c, crc32c
from server.storage.s3.dialect import GIB, MIB, PRESETS, part_size
from server.storage.s3.faults import Fault, fault_of, sentence
from server.storage.s3.location import parse
from server.storage.s3.memory import BLOCK_BYTES, Filling, PartMemory
from tests.storage.s3.driving import refusal


def test_a_url_says_where_the_objects_are() -> None:
    """Bucket, prefix, endpoint, region and dialect; AWS where no endpoint is given, and the most careful one else."""
    found = parse("s3://my-videos/a/b/?endpoint=http://127.0.0.1:9000&region=eu-1&dialect=r2&path_style=false")
    assert (found.bucket, found.prefix, found.endpoint, found.region) == (
        "my-videos",
        "a/b/",
        "http://127.0.0.1:9000",
        "eu-1",
    )
    assert (found.dialect.name, found.dialect.is_path_style, found.shown) == ("r2", False, "s3://my-videos/a/b")
    assert (parse("s3://videos").prefix, parse("s3://videos").dialect.name) == ("", "aws")
    assert parse("s3://videos?endpoint=https://s3.example.org").dialect.name == "plain"


@pytest.mark.parametrize(
    "url",
    [
        "http://videos/",
        "s3://key:secret@videos/",
        "s3://V/",
        "s3://videos/a//b",
        "s3://videos/../b",
        "s3://videos?dialect=other",
        "s3://videos?endpoint=127.0.0.1:9000",
        "s3://videos?secret=x",
        "s3://videos?region=a&region=b",
        "s3://videos?path_style=maybe",
    ],
)
def test_a_wrong_url_is_explained_without_its_secrets(url: str) -> None:
    """Each mistake is named, and a credential in a URL is refused without being repeated."""
    with pytest.raises(ValueError) as caught:
        parse(url)
    assert "secret@" not in str(caught.value)
    assert "x" not in str(caught.value).split("=")


def test_parts_are_as_large_as_their_number_allows() -> None:
    """The least size until an upload would have more than 10,000 parts, and a whole number of MiB always."""
    aws = PRESETS["aws"]
    assert part_size(aws, 0, 8 * MIB) == part_size(aws, 80_000 * MIB, 8 * MIB) == 8 * MIB
    assert part_size(aws, 80_000 * MIB + 1, 8 * MIB) == 9 * MIB
    for length in (GIB, 100 * GIB, 5000 * GIB):
        assert -(-length // part_size(aws, length, 5 * MIB)) <= 10_000


def test_memory_is_given_in_line() -> None:
    """Who comes while another waits gets none; a cancelled wait gives its place away."""
    memory = PartMemory(3)

    async def work() -> None:
        assert memory.try_take(2)
        first, second = asyncio.ensure_future(memory.take(3)), asyncio.ensure_future(memory.take(1))
        await asyncio.sleep(0)
        assert not memory.try_take(1)
        first.cancel()
        await asyncio.wait({first})
        await second
        threading.Thread(target=memory.give, args=(2,)).start()
        await memory.take(2)

    asyncio.run(work())
    assert (memory.used, memory.peak) == (3, 3)


def test_a_filling_takes_memory_as_it_is_filled() -> None:
    """A slow body holds a block and not a part; all of it is given back."""
    memory = PartMemory(4 * BLOCK_BYTES)
    filling = Filling(memory, 8 * BLOCK_BYTES, 0)
    assert filling(memoryview(b"x")) == 1
    assert memory.used == BLOCK_BYTES
    assert filling(memoryview(bytes(8 * BLOCK_BYTES))) == 4 * BLOCK_BYTES - 1
    assert (filling.starved, filling.count) == (True, 4 * BLOCK_BYTES)
    filling.close()
    filling.close()
    assert memory.used == 0


def test_a_checksum_is_that_of_the_standard() -> None:
    """The check value of CRC32C (RFC 3720, appendix B.4), in the form that S3 wants, however the bytes come."""
    assert crc32c(b"123456789") == "4waSgw=="
    found = Crc32c()
    for piece in (b"123", memoryview(bytearray(b"456789"))):
        found.update(piece)
    assert found.text == "4waSgw=="


def test_copies_are_bounded_and_made_once(tmp_path: Path) -> None:
    """The oldest copy goes first, an open one can be read to its end, and a copy that is there is not made again."""
    cache = LocalCache(tmp_path / "cache", 10)
    made: list[str] = []

    def fetch(name: str, size: int = 4) -> Path:
        def content() -> list[bytes]:
            made.append(name)
            return [name.encode() * size]

        return cache.fetch(name, size, content)

    with fetch("a").open("rb") as file:
        fetch("b")
        fetch("b")
        fetch("c")
        assert file.read() == b"aaaa"
    assert made == ["a", "b", "c"]
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"b", "c"}
    cache.drop("b")
    fetch("b")
    assert made[-1] == "b"


def test_a_copy_of_another_size_is_not_used(tmp_path: Path) -> None:
    """What is not whole is no copy: nothing is in its place, and the error is the disk's or the bucket's."""
    cache = LocalCache(tmp_path, 10)
    with pytest.raises(OSError):
        cache.fetch("a", 5, lambda: [b"four"])
    assert not cache.path("a").exists()
    assert cache.fetch("a", 4, lambda: [b"four"]).read_bytes() == b"four"


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (refusal("SlowDown", 503), Fault.TRANSIENT),
        (refusal("Anything", 500), Fault.TRANSIENT),
        (refusal("TooMany", 429), Fault.TRANSIENT),
        (refusal("NoSuchKey", 404), Fault.NO_OBJECT),
        (refusal("NoSuchUpload", 404), Fault.NO_MULTIPART),
        (refusal("NoSuchBucket", 404), Fault.BROKEN),
        (refusal("AccessDenied", 403), Fault.BROKEN),
        (refusal("InvalidPart", 400), Fault.INVALID_PART),
        (refusal("PreconditionFailed", 412), Fault.EXISTS),
        (refusal("QuotaExceeded", 403), Fault.FULL),
        (EndpointConnectionError(endpoint_url="x"), Fault.TRANSIENT),
        (ConnectTimeoutError(endpoint_url="x"), Fault.TRANSIENT),
        (ReadTimeoutError(endpoint_url="x"), Fault.TRANSIENT),
        (NoCredentialsError(), Fault.BROKEN),
    ],
)
def test_transient_faults_are_told_from_permanent_ones(error: Exception, fault: Fault) -> None:
    """Only what a repetition may heal is repeated."""
    assert fault_of(error) is fault


def test_the_operator_is_told_what_is_wrong() -> None:
    """Each of the usual mistakes has a sentence of its own, and none of them has an address."""
    codes = ("NoSuchBucket", "RequestTimeTooSkewed", "AccessDenied", "InvalidAccessKeyId", "ExpiredToken", "Other")
    told = [sentence(refusal(code), "be read") for code in (*codes, "PermanentRedirect", "QuotaExceeded")]
    told += [sentence(NoCredentialsError()), sentence(EndpointConnectionError(endpoint_url="http://secret.example"))]
    assert len(set(told)) == len(told)
    assert not any("secret" in text for text in told)
