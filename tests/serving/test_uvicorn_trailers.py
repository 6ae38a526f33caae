"""The application behind the protocol class: checksum-trailer from end to end, and what else it makes possible."""

import base64
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.serving.uvicorn_http import PortableHttp, http_class
from server.settings import Settings
from tests.harness.http import LiveServer, request
from tests.harness.waiting import until
from tests.transport.probe import trailing
from tests.tus.client import MOUNT, create, creation, head, patch_headers, target, video

CHUNKED = {"Transfer-Encoding": "chunked"}
H2C = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"}


@pytest.fixture(params=["asyncio", "uvloop"])
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LiveServer]:
    with LiveServer(tmp_path / "live", loop=request.param) as made:
        yield made


def summed(data: bytes, algorithm: str = "sha1") -> str:
    digest = hashlib.new(algorithm, data).digest() if algorithm in hashlib.algorithms_available else b"digest"
    return f"{algorithm} {base64.b64encode(digest).decode()}"


def announced(upload: str, offset: int) -> bytes:
    """The head of a chunked PATCH that announces its checksum."""
    return request("PATCH", target(upload), patch_headers(offset) | CHUNKED | {"Trailer": "Upload-Checksum"})


def test_checksum_trailer_is_advertised_by_our_class_only(live: LiveServer, tmp_path: Path) -> None:
    """checksum-trailer is advertised by this class, and neither offered nor ignored by uvicorn's own."""
    assert live.ask("OPTIONS", MOUNT).headers["tus-extension"].split(",")[-1] == "checksum-trailer"
    with LiveServer(tmp_path / "portable", http="portable") as portable:
        assert "checksum-trailer" not in portable.ask("OPTIONS", MOUNT).headers["tus-extension"]
        upload = create(portable, 300)
        with portable.connect() as connection:
            # Not more than the head: a trailer that came in time would be a header there.
            connection.send(announced(upload, 0))
            answer = connection.answer()
        assert (answer.status, answer.code) == (400, "extension_unsupported")
        assert portable.stored(upload) == b""


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "md5"])
def test_a_right_checksum_trailer_keeps_the_bytes(live: LiveServer, algorithm: str) -> None:
    """204 and the bytes are kept, chunk after chunk, the last one too; the connection stays."""
    data = video(300_000)
    upload = create(live, len(data))
    with live.connect() as connection:
        for offset in range(0, len(data), 100_000):
            part = data[offset : offset + 100_000]
            pieces = [part[at : at + 7000] for at in range(0, len(part), 7000)]
            connection.send(announced(upload, offset))
            connection.send(trailing(pieces, [("upload-CHECKSUM", summed(part, algorithm))]))
            answer = connection.answer()
            assert (answer.status, answer.headers["upload-offset"]) == (204, str(offset + len(part))), answer
    assert answer.headers["upload-task"] == upload
    assert live.stored(upload) == data


WRONG: dict[str, tuple[list[tuple[str, str]], int, str]] = {
    "wrong": ([("Upload-Checksum", summed(b"other"))], 460, "checksum_mismatch"),
    "missing": ([], 460, "checksum_mismatch"),
    "under another name": ([("Upload-Checksums", summed(video(1000)[300:600]))], 460, "checksum_mismatch"),
    "unknown": ([("Upload-Checksum", summed(b"", "sha0"))], 400, "checksum_unsupported"),
    "no base64": ([("Upload-Checksum", "sha1 !!")], 400, "header_invalid"),
    "twice": ([("Upload-Checksum", summed(video(1000)[300:600]))] * 2, 400, "header_invalid"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("last", [False, True])
def test_a_wrong_checksum_trailer_changes_nothing(live: LiveServer, name: str, last: bool) -> None:
    """Refused, and offset, file and row are as before, even when these are the last bytes; a right one goes on."""
    sent, status, code = WRONG[name]
    data = video(1000)[: 600 if last else 1000]
    upload = create(live, len(data))
    assert live.ask("PATCH", target(upload), patch_headers(0), data[:300]).status == 204
    with live.connect() as connection:
        connection.send(announced(upload, 300) + trailing([data[300:450], data[450:600]], sent))
        answer = connection.answer()
        assert (answer.status, answer.code) == (status, code)
        assert head(live, upload).headers["upload-offset"] == "300"
        assert live.stored(upload) == data[:300]
        assert (live.row(upload)["checked_from"], live.row(upload)["status"]) == (None, "open")
        connection.send(announced(upload, 300))
        connection.send(trailing([data[300:600]], [("Upload-Checksum", summed(data[300:600]))]))
        assert connection.answer().status == 204
    assert live.stored(upload) == data[:600]


def test_bytes_count_only_after_their_trailer(live: LiveServer) -> None:
    """All bytes are there, the trailer is not: nothing counts before it came."""
    data = video(300)
    upload = create(live, 300)
    with live.connect() as connection:
        whole = announced(upload, 0) + trailing([data], [("Upload-Checksum", summed(data))])
        connection.send(whole[:-20])
        until(lambda: live.stored(upload) == data, seconds=5, what="the bytes are written")
        time.sleep(0.1)
        assert live.row(upload)["status"] == "open"
        connection.send(whole[-20:])
        answer = connection.answer()
        assert (answer.status, answer.headers["upload-task"]) == (204, upload)


@pytest.mark.parametrize("end", ["reset", "nonsense", "endless"])
def test_a_cut_trailer_discards_the_bytes(live: LiveServer, end: str) -> None:
    """A connection that ends in the trailers has brought nothing."""
    data = video(300)
    upload = create(live, 300)
    with live.connect() as connection:
        whole = announced(upload, 0) + trailing([data], [("Upload-Checksum", summed(data))])
        connection.send(whole[:-4])
        until(lambda: live.stored(upload) == data, seconds=5, what="the bytes are written")
        if end == "reset":
            connection.reset()
        else:
            connection.send(b"\r\n fold\r\n\r\n" if end == "nonsense" else b"a" * (200 << 10))
            assert connection.answer().status == (400 if end == "nonsense" else 431)
    until(lambda: live.stored(upload) == b"", seconds=5, what="the bytes are taken back")
    assert head(live, upload).headers["upload-offset"] == "0"


def test_a_creation_may_have_a_checksum_trailer(live: LiveServer) -> None:
    """Creation With Upload knows the trailer too."""
    data = video(300)
    headers = creation(300) | patch_headers(0) | CHUNKED | {"Trailer": "Upload-Checksum"}
    headers.pop("Upload-Offset")
    for sum_of, status in ((data, 201), (b"other", 460)):
        with live.connect() as connection:
            connection.send(request("POST", MOUNT, headers))
            connection.send(trailing([data], [("Upload-Checksum", summed(sum_of))]))
            answer = connection.answer()
            assert answer.status == status, answer
            stored = live.stored(answer.headers["location"].rpartition("/")[2])
            assert stored == (data if status == 201 else b"")


def test_a_trailer_is_never_read_as_a_protocol_header(live: LiveServer) -> None:
    """Trailers that look like protocol headers change nothing."""
    data = video(300)
    upload = create(live, 600)
    names = "Upload-Length, Upload-Offset, X-HTTP-Method-Override"
    with live.connect() as connection:
        connection.send(request("PATCH", target(upload), patch_headers(0) | CHUNKED | {"Trailer": names}))
        connection.send(trailing([data], [(name, "7") for name in names.split(", ")]))
        answer = connection.answer()
        assert (answer.status, answer.headers["upload-offset"]) == (204, "300")


def test_a_java_client_that_asks_for_h2c_uploads(live: LiveServer) -> None:
    """java.net.http asks for h2c in every first request, a PATCH too; its bytes arrive."""
    data = video(300)
    upload = create(live, 300)
    answer = live.ask("PATCH", target(upload), patch_headers(0) | H2C, data)
    assert (answer.status, answer.headers["upload-task"]) == (204, upload)
    assert live.stored(upload) == data


def test_the_settings_set_the_limits_of_the_protocol_class(tmp_path: Path) -> None:
    """The limits are those of the settings; `portable` is uvicorn's own class."""
    assert http_class(Settings(http="portable")) is PortableHttp
    with LiveServer(tmp_path / "small", max_head_size=4096, head_timeout=0.3) as live:
        assert live.ask("GET", "/", {"X-Long": "a" * 5000}).code == "head_too_large"
        with live.connect() as connection:
            connection.send(b"G")
            assert connection.answer().code == "head_timeout"
