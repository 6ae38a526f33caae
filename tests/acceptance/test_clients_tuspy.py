"""tuspy 1.1: a checksum on every PATCH, chunks, URLs that are remembered, stops on the way."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusUploadFailed
from tusclient.storage.filestorage import FileStorage
from tusclient.uploader.baseuploader import BaseUploader
from tusclient.uploader.uploader import AsyncUploader, Uploader

from tests.harness.arrival import check_arrived, upload_id
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.rows import query, sha256
from tests.harness.server_process import ServerProcess
from tests.harness.tasks import finish
from tests.samples import big

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # a client and its troubles; it uploads in each run

MIB = 1 << 20
CHUNK = 3 * MIB


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A playable video of at least 8 MiB whose length no chunk divides."""
    return big(tmp_path_factory.mktemp("video"), "假期 holiday.mp4", 8 * MIB + 12_345)


@pytest.fixture
def remembered(tmp_path: Path) -> Iterator[Callable[[], FileStorage]]:
    """Opens the same file of URLs each time, as a program does that was started again."""
    opened: list[FileStorage] = []

    def reopen() -> FileStorage:
        opened.append(FileStorage(str(tmp_path / "urls.json")))  # type: ignore[no-untyped-call]
        return opened[-1]

    yield reopen
    for storage in opened:
        storage.close()  # type: ignore[no-untyped-call]


OPENED: list[IO[bytes]] = []


class Tidy(BaseUploader):
    """tuspy opens the file again for every request and leaves closing it to the collector; here the test does it."""

    def get_file_stream(self) -> IO[bytes]:
        OPENED.append(super().get_file_stream())  # type: ignore[no-untyped-call]
        return OPENED[-1]


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Closes what tuspy has opened."""
    yield
    while OPENED:
        OPENED.pop().close()


class TidyUploader(Tidy, Uploader):
    pass


class TidyAsyncUploader(Tidy, AsyncUploader):
    pass


class WrongSum(TidyUploader):
    """Tells the checksum of other bytes than it sends."""

    @property
    def checksum_algorithm(self) -> Any:
        return lambda chunk: hashlib.sha1(chunk + b"!")


def uploader(origin: str, source: Path, kind: type[Uploader] = TidyUploader, **more: object) -> Uploader:
    given: dict[str, Any] = {"metadata": {"filename": source.name, "filetype": "video/mp4"}} | more
    return kind(str(source), client=TusClient(f"{origin}/files"), **given)


def url_of(client: BaseUploader) -> str:
    return str(client.url)  # tuspy's annotations say that it is None


def test_a_wrong_checksum_costs_one_chunk(server: ServerProcess, video: Path) -> None:
    """Every chunk bears its sha1; a wrong one is 460 and leaves no byte, and a right one goes on at that offset."""
    good = uploader(server.url, video, chunk_size=CHUNK, upload_checksum=True)
    good.upload(stop_at=CHUNK)
    assert good.request._request_headers["upload-checksum"].startswith("sha1 ")  # type: ignore[attr-defined]
    url = url_of(good)
    wrong = uploader(server.url, video, WrongSum, url=url, chunk_size=CHUNK, upload_checksum=True)
    assert wrong.offset == CHUNK
    with pytest.raises(TusUploadFailed) as failed:
        wrong.upload()
    assert failed.value.status_code == 460
    assert wrong.get_offset() == CHUNK
    stored = server.stored(upload_id(url))
    assert stored.read_bytes() == video.read_bytes()[:CHUNK]

    good.upload()
    check_arrived(server, url, video)


def test_a_checked_chunk_that_was_cut_is_sent_again_whole(server: ServerProcess, video: Path) -> None:
    """A cut in a checked chunk leaves none of it: the client asks, is told the chunk's start, and sends it again."""
    with CuttingProxy(server.port, cuts=[CHUNK + MIB]) as proxy:
        offsets: list[int] = []

        class Asking(TidyUploader):
            def get_offset(self) -> int:
                offsets.append(super().get_offset())
                return offsets[-1]

        how: dict[str, Any] = {"chunk_size": CHUNK, "upload_checksum": True, "retries": 3, "retry_delay": 0.1}
        client = uploader(proxy.url, video, Asking, **how)
        client.upload()
        assert proxy.cut_count == 1
    assert offsets == [CHUNK]
    check_arrived(server, url_of(client), video)


def test_an_upload_that_was_stopped_goes_on(server: ServerProcess, video: Path) -> None:
    """stop_at ends in the middle of a chunk; nothing is finished until the same uploader goes on to the end."""
    client = uploader(server.url, video, chunk_size=CHUNK)
    client.upload(stop_at=4 * MIB + 1)
    url = url_of(client)
    assert client.offset == client.get_offset() == 4 * MIB + 1
    assert server.stored(upload_id(url)).stat().st_size == 4 * MIB + 1
    assert query(server.database_url, "SELECT id FROM tasks") == []
    client.upload_chunk()  # type: ignore[no-untyped-call]  # stop_at is still where it was: an empty PATCH
    assert client.offset == 4 * MIB + 1

    client.upload()
    check_arrived(server, url, video)


def test_a_stored_url_is_resumed(server: ServerProcess, video: Path, remembered: Callable[[], FileStorage]) -> None:
    """A program that was started again finds the URL by the file's content and goes on, also after a kill -9."""
    how: dict[str, Any] = {"chunk_size": CHUNK, "upload_checksum": True, "store_url": True}
    first = uploader(server.url, video, url_storage=remembered(), **how)
    first.upload(stop_at=2 * CHUNK)
    server.kill()
    server.start()

    second = uploader(server.url, video, url_storage=remembered(), **how)
    assert (second.url, second.offset) == (first.url, 2 * CHUNK)
    second.upload()
    check_arrived(server, url_of(second), video)
    assert [row["id"] for row in query(server.database_url, "SELECT id FROM uploads")] == [upload_id(url_of(first))]


def test_a_finished_stored_url_is_not_sent_again(
    server: ServerProcess, video: Path, remembered: Callable[[], FileStorage]
) -> None:
    """tuspy never forgets a URL: the same file again finds itself complete, sends nothing and stays one task."""
    # Without a chunk size the whole file is one PATCH with one checksum.
    first = uploader(server.url, video, url_storage=remembered(), store_url=True, upload_checksum=True)
    first.upload()
    check_arrived(server, url_of(first), video)
    second = uploader(server.url, video, url_storage=remembered(), store_url=True)
    second.upload()
    assert second.url == first.url
    assert second.request is None
    assert len(query(server.database_url, "SELECT id FROM tasks")) == 1


def test_an_upload_with_empty_metadata_is_accepted(server: ServerProcess, video: Path) -> None:
    """Without metadata tuspy sends an empty `upload-metadata:`; the content alone decides (rules 6 and 17)."""
    client = uploader(server.url, video, metadata={})
    assert client.get_url_creation_headers()["upload-metadata"] == ""  # type: ignore[no-untyped-call]
    client.upload()
    task = upload_id(url_of(client))
    (file,) = finish(server, task)["files"]
    assert (file["size"], file["container"]) == (video.stat().st_size, "mp4")
    assert sha256(server.stored(task)) == sha256(video)


@pytest.mark.filterwarnings("ignore:Sending a large body directly with raw bytes:ResourceWarning")
@pytest.mark.turns(1)
def test_the_asynchronous_uploader_sends_checked_chunks(server: ServerProcess, video: Path) -> None:
    """tuspy on aiohttp does the same: checked chunks arrive byte for byte."""
    made = TusClient(f"{server.url}/files")
    metadata = {"filename": video.name}
    client = TidyAsyncUploader(  # type: ignore[no-untyped-call]
        str(video), client=made, metadata=metadata, chunk_size=CHUNK, upload_checksum=True
    )
    asyncio.run(client.upload())
    check_arrived(server, url_of(client), video)
