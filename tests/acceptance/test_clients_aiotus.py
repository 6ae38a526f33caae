"""aiotus 1.1: one file, and parts of one in parallel that are joined."""

import asyncio
import io
import logging
from itertools import pairwise
from pathlib import Path

import aiotus
import pytest
import yarl

from tests.conftest import StartServer
from tests.harness.arrival import check_arrived, upload_id
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.samples import big

pytestmark = [
    pytest.mark.turns(2),
    pytest.mark.acceptance,
    # aiotus hands each chunk to aiohttp as bytes, 4 MiB of them by default.
    pytest.mark.filterwarnings("ignore:Sending a large body directly with raw bytes:ResourceWarning"),
]

MIB = 1 << 20
PATIENT = aiotus.RetryConfiguration(retry_attempts=4, max_retry_period_seconds=0.2)
ONCE = aiotus.RetryConfiguration(retry_attempts=1)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A playable video of at least 8 MiB whose length no chunk divides."""
    return big(tmp_path_factory.mktemp("video"), "假期 holiday.mp4", 8 * MIB + 12_345)


def named(video: Path) -> dict[str, bytes | None]:
    """Metadata of every kind: a value, an empty value, none."""
    return {"filename": video.name.encode(), "filetype": b"video/mp4", "empty": b"", "alone": None}


def upload(origin: str, video: Path, config: aiotus.RetryConfiguration) -> str:
    with video.open("rb") as file:
        url = asyncio.run(aiotus.upload(f"{origin}/files", file, named(video), config=config, chunksize=3 * MIB))
    assert url is not None, "aiotus gave up; its log says why"
    return str(url)


def upload_parts(origin: str, video: Path, config: aiotus.RetryConfiguration = ONCE) -> yarl.URL | None:
    data = video.read_bytes()
    # The second is a byte, the fourth is empty.
    marks = [0, 3 * MIB, 3 * MIB + 1, 7 * MIB, 7 * MIB, len(data)]
    parts = [io.BytesIO(data[start:end]) for start, end in pairwise(marks)]
    return asyncio.run(
        aiotus.upload_multiple(f"{origin}/files", parts, named(video), config=config, chunksize=MIB, parallel_uploads=4)
    )


def test_aiotus_resumes_after_a_cut(server: ServerProcess, video: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The client's own retry asks and goes on; all arrives byte for byte, and its metadata are read back as given."""
    caplog.set_level(logging.INFO, logger="aiotus")
    with CuttingProxy(server.port, cuts=[4 * MIB]) as proxy:
        url = upload(proxy.url, video, PATIENT)
        assert proxy.cut_count == 1
    assert "retrying" in caplog.text
    url = url.replace(proxy.url, server.url)
    check_arrived(server, url, video)
    # aiotus cannot tell an empty value from none in what it reads.
    assert asyncio.run(aiotus.metadata(url, config=ONCE)) == named(video) | {"empty": None}


@pytest.mark.sampled(1)
@pytest.mark.turns(1)
def test_aiotus_parts_become_one_video(start_server: StartServer, database_url: str, video: Path) -> None:
    """Five parts of any size, named by paths without a host, become one video with one task; the parts are gone."""
    server = start_server(database_url=database_url)
    url = upload_parts(server.url, video)
    assert url is not None, "aiotus gave up; its log says why"
    assert url.is_absolute()
    check_arrived(server, str(url), video)
    final = upload_id(str(url))
    (row,) = query(server.database_url, "SELECT concat FROM uploads WHERE id = :id", id=final)
    assert row["concat"].startswith("final;/files/"), "aiotus names its parts by paths"
    assert row["concat"].count("/files/") == 5
    assert server.stored_files() == [server.stored(final)]
    assert [task["id"] for task in query(server.database_url, "SELECT id FROM tasks")] == [final]
    parts = query(server.database_url, "SELECT status, has_bytes FROM uploads WHERE concat = 'partial'")
    assert [(part["status"], bool(part["has_bytes"])) for part in parts] == [("terminated", False)] * 5


def test_aiotus_resumes_parts_after_cuts(server: ServerProcess, video: Path) -> None:
    """Cuts in two parts are healed by the client; the joined video is whole."""
    with CuttingProxy(server.port, cuts=[MIB, 5 * MIB]) as proxy:
        url = upload_parts(proxy.url, video, PATIENT)
        assert proxy.cut_count == 2
    assert url is not None, "aiotus gave up; its log says why"
    check_arrived(server, str(url), video)
    assert server.stored_files() == [server.stored(upload_id(str(url)))]


def test_aiotus_parts_that_make_no_video_are_refused(
    server: ServerProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Parts are exempt from the type check, what they make is not: the final is 415 and no task appears."""
    lie = tmp_path / "lie.mp4"
    lie.write_bytes(b"this is no video at all. " * (8 * MIB // 25))
    with caplog.at_level(logging.ERROR, logger="aiotus"):
        assert upload_parts(server.url, lie) is None
    assert "415" in caplog.text
    assert query(server.database_url, "SELECT id FROM tasks") == []
    (final,) = query(server.database_url, "SELECT status, has_bytes FROM uploads WHERE concat LIKE 'final;%'")
    assert (final["status"], bool(final["has_bytes"])) == ("rejected", False)
