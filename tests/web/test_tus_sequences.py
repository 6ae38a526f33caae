"""Short sequences in which the random ones of `tests/stateful` once found something wrong, each told plainly."""

import base64
import hashlib
from collections.abc import Iterator

import pytest

from tests.harness.http import LiveServer, chunked, request
from tests.harness.waiting import until
from tests.tus.client import MOUNT, VERSION, create, head, id_of, metadata, patch, patch_headers, target, video

NOISE = b"This is no video at all, however long it may go on. " * 4


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with LiveServer(tmp_path_factory.mktemp("live")) as made:
        yield made


def test_a_rejected_upload_of_deferred_length_stays_415(live: LiveServer) -> None:
    """Rule 17 holds for a deferred length too: every later request is 415, not 410 as if it had been removed."""
    deferred = VERSION | {"Upload-Defer-Length": "1", "Upload-Metadata": metadata(filename="clip.mp4")}
    upload = id_of(live.ask("POST", MOUNT, deferred))
    assert patch(live, upload, 0, NOISE).code == "media_type_mismatch"
    for answer in (patch(live, upload, 0, NOISE), live.ask("DELETE", target(upload), VERSION)):
        assert (answer.status, answer.code) == (415, "media_type_unsupported")
        assert "upload-offset" not in answer.headers
    assert head(live, upload).status == 415


@pytest.mark.parametrize("how", ["cut", "evicted"])
def test_discarded_first_bytes_do_not_count_for_the_type_check(live: LiveServer, how: str) -> None:
    """A video's first bytes that were discarded, for want of the checksum's rest, let no other bytes in behind them."""
    upload, data = create(live, len(NOISE)), video(len(NOISE))
    digest = base64.b64encode(hashlib.sha1(data).digest()).decode()
    headers = patch_headers(0) | {"Upload-Checksum": f"sha1 {digest}", "Content-Length": str(len(data))}
    with live.connect() as connection:
        connection.send(request("PATCH", target(upload), headers) + data[:100])
        until(lambda: live.path(upload).stat().st_size == 100, seconds=5, what="the first bytes are stored")
        if how == "cut":
            connection.close()
            live.quiet()
        assert head(live, upload).headers["upload-offset"] == "0"
    assert live.row(upload)["media_type"] is None
    answer = patch(live, upload, 0, NOISE)
    assert (answer.status, answer.code) == (415, "media_type_mismatch")
    assert live.row(upload)["status"] == "rejected"


@pytest.mark.parametrize("checksum", [False, True])
def test_a_refused_patch_sets_no_length(live: LiveServer, checksum: bool) -> None:
    """Upload-Length of a PATCH that is refused for its body does not count: it could complete the upload."""
    deferred = VERSION | {"Upload-Defer-Length": "1", "Upload-Metadata": metadata(filename="clip.mp4")}
    upload, data = id_of(live.ask("POST", MOUNT, deferred)), video(150)
    assert patch(live, upload, 0, data[:100]).status == 204
    headers = patch_headers(100) | {"Transfer-Encoding": "chunked", "Upload-Length": "150" if checksum else "100"}
    if checksum:
        headers["Upload-Checksum"] = "sha1 " + base64.b64encode(hashlib.sha1(b"others").digest()).decode()
    answer = live.ask("PATCH", target(upload), headers, chunked([data[100:]]))
    assert (answer.status, answer.code) == ((460, "checksum_mismatch") if checksum else (413, "body_too_large"))
    looked = head(live, upload)
    assert (looked.headers["upload-offset"], looked.headers["upload-defer-length"]) == ("100", "1")
    assert live.query("SELECT id FROM tasks WHERE id = :id", id=upload) == []
    assert patch(live, upload, 100, data[100:]).headers["upload-offset"] == "150"
