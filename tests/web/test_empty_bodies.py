"""A body is empty when it brings no byte, not when its framing says so (rule 11); with both engines and HTTP classes.

tus-java-client, and so every Android app, sends an empty chunked PATCH when it resumes a finished upload.
"""

from collections.abc import Iterator

import pytest

from tests.harness.http import Answer, Headers, LiveServer, chunked, pairs, request
from tests.harness.waiting import Stopwatch
from tests.tus.client import (
    MOUNT,
    OCTETS,
    VERSION,
    create,
    creation,
    filled,
    head,
    id_of,
    metadata,
    patch,
    patch_headers,
    target,
    video,
)

CHUNKED = {"Transfer-Encoding": "chunked"}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
PARTIAL = {"Upload-Concat": "partial"}
SIZE = 1000


@pytest.fixture(
    scope="module", params=[("videodock", "videodock"), ("tuspyserver", "videodock"), ("videodock", "portable")],
    ids="-".join,
)  # fmt: skip
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    engine, http = request.param
    with LiveServer(tmp_path_factory.mktemp("live"), tus_engine=engine, http=http) as made:
        yield made


def send(
    live: LiveServer, method: str, path: str, headers: Headers, body: bytes = b"", *, apart: bool = False
) -> Answer:
    """A chunked request; `apart` sends the body in a packet of its own, once the server has asked for it."""
    whole = [*pairs(headers), *CHUNKED.items()]
    with live.connect() as connection:
        if apart:
            connection.send(request(method, path, [*whole, ("Expect", "100-continue")]))
            assert connection.read(len(CONTINUE)) == CONTINUE
            connection.send(chunked([body]))
        else:
            connection.send(request(method, path, whole) + chunked([body]))
        return connection.answer()


@pytest.mark.parametrize("apart", [False, True], ids=["at once", "apart"])
def test_an_empty_patch_of_a_complete_upload_is_204(live: LiveServer, apart: bool) -> None:
    """204 for no byte, 409 with the offset for a byte; the upload stays what it is."""
    upload, data = filled(live, SIZE, SIZE)
    for body, status in ((b"", 204), (b"x", 409), (b"", 204)):
        answer = send(live, "PATCH", target(upload), patch_headers(SIZE), body, apart=apart)
        assert (answer.status, answer.headers["upload-offset"]) == (status, str(SIZE)), answer
    assert answer.headers["upload-task"] == upload
    assert live.stored(upload) == data
    assert len(live.query("SELECT id FROM tasks WHERE id = :id", id=upload)) == 1


def test_an_empty_part_is_complete_from_its_creation(live: LiveServer) -> None:
    """Uploads without a byte: complete from their creation on, and the PATCH that brings nothing is 204."""
    upload = create(live, 0, None, PARTIAL)
    answer = send(live, "PATCH", target(upload), patch_headers(0))
    assert (answer.status, answer.headers["upload-offset"]) == (204, "0")
    assert live.row(upload)["status"] == "complete"


def test_an_empty_patch_of_an_open_upload_moves_nothing(live: LiveServer) -> None:
    """No byte moves nothing, with the right offset; with a wrong one it is 409, without waiting for a byte."""
    upload, data = filled(live, SIZE, 300)
    answer = send(live, "PATCH", target(upload), patch_headers(300))
    assert (answer.status, answer.headers["upload-offset"]) == (204, "300")
    with live.connect() as connection:
        expecting = patch_headers(SIZE) | CHUNKED | {"Expect": "100-continue"}
        connection.send(request("PATCH", target(upload), expecting))
        answer = connection.answer()
    assert (answer.status, answer.headers["upload-offset"], answer.interim) == (409, "300", ())
    assert live.stored(upload) == data[:300]


@pytest.mark.parametrize(
    ("kind", "apart"),
    # With the type of tus the server asks for a body only after the creation.
    [("", False), ("", True), ("application/octet-stream", False), ("text/plain", True), (OCTETS, False)],
)
def test_a_creation_without_bytes_may_have_any_content_type(live: LiveServer, kind: str, apart: bool) -> None:
    """201 for no byte, whatever its type; bytes need the type of tus, and are refused without a trace."""
    headers = creation(SIZE) | ({"Content-Type": kind} if kind else {})
    answer = send(live, "POST", MOUNT, headers, apart=apart)
    assert (answer.status, answer.headers["upload-offset"]) == (201, "0"), answer
    assert live.stored(id_of(answer)) == b""
    if kind != OCTETS:
        before = live.query("SELECT count(*) AS number FROM uploads")
        answer = send(live, "POST", MOUNT, headers, b"x", apart=apart)
        assert (answer.status, answer.code) == (415, "content_type_unsupported")
        assert live.query("SELECT count(*) AS number FROM uploads") == before


def test_a_checksum_of_an_empty_creation_is_ignored(live: LiveServer) -> None:
    """A checksum speaks of bytes: where there are none it is passed over, with either framing."""
    for checksum in ("sha1 AAAA", "nonsense AAAA"):
        headers = creation(SIZE) | {"Content-Type": OCTETS, "Upload-Checksum": checksum}
        assert live.ask("POST", MOUNT, headers, b"").status == 201
        assert send(live, "POST", MOUNT, headers).status == 201


def test_an_empty_part_takes_no_bytes(live: LiveServer) -> None:
    """An upload of no byte takes none, also when they come with its creation."""
    headers = creation(0, None) | PARTIAL | {"Content-Type": OCTETS}
    assert send(live, "POST", MOUNT, headers).status == 201
    answer = send(live, "POST", MOUNT, headers, b"x")
    assert (answer.status, answer.code) == (409, "upload_complete")
    assert live.stored(id_of(answer)) == b""


def test_a_final_creation_takes_no_bytes(live: LiveServer) -> None:
    """The parts are joined when the body has no byte; a byte is refused, and the parts stay."""
    data = video(SIZE)
    parts = []
    for piece in (data[:400], data[400:]):
        parts.append(create(live, len(piece), None, PARTIAL))
        assert patch(live, parts[-1], 0, piece).status == 204
    concat = "final;" + " ".join(map(target, parts))
    headers = VERSION | {"Upload-Concat": concat, "Upload-Metadata": metadata(filename="a.mp4")}
    refused = send(live, "POST", MOUNT, headers, b"x")
    assert (refused.status, refused.code) == (413, "body_too_large")
    assert [live.stored(part) for part in parts] == [data[:400], data[400:]]
    answer = send(live, "POST", MOUNT, headers)
    assert (answer.status, answer.headers["upload-offset"]) == (201, str(SIZE)), answer
    assert live.stored(id_of(answer)) == data


def test_a_missing_body_does_not_block_other_requests(live: LiveServer) -> None:
    """Who sends neither a byte nor the end to a complete upload does not keep others from it."""
    upload, _ = filled(live, SIZE, SIZE)
    with live.connect() as stalled:
        stalled.send(request("PATCH", target(upload), patch_headers(SIZE) | CHUNKED | {"Expect": "100-continue"}))
        assert stalled.read(len(CONTINUE)) == CONTINUE
        started = Stopwatch()
        assert head(live, upload).status == 200
        assert patch(live, upload, SIZE, b"").status == 204
        assert started.seconds < 10
        assert stalled.answer().status == 409


def test_the_connection_continues_after_an_empty_body(live: LiveServer) -> None:
    """What was looked at is what was sent: the next request on the connection is answered."""
    upload, _ = filled(live, SIZE, SIZE)
    with live.connect() as connection:
        replayed = request("PATCH", target(upload), patch_headers(SIZE) | CHUNKED) + chunked([])
        connection.send(replayed * 2 + request("HEAD", target(upload), VERSION))
        assert [connection.answer().status for _ in range(2)] == [204, 204]
        assert connection.answer(head=True).headers["upload-offset"] == str(SIZE)
