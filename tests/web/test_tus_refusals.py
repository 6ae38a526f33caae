"""Rules 2 and 3: what is refused is refused before a byte of the body is read, and changes nothing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from server.messages import LANGUAGES, sentence
from tests.harness.http import Headers, LiveServer, chunked, pairs, request
from tests.harness.waiting import Stopwatch, until
from tests.tus.client import (
    MOUNT,
    OCTETS,
    VERSION,
    create,
    creation,
    filled,
    head,
    patch,
    patch_headers,
    target,
    video,
)

LENGTH, HAVE = 1000, 300
MIB = 1 << 20


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with LiveServer(tmp_path_factory.mktemp("live")) as made:
        yield made


def state(live: LiveServer, upload: str) -> tuple[dict[str, Any], bytes | None]:
    """What must not change: the row and the bytes."""
    return live.row(upload), live.stored(upload)


def settled(live: LiveServer, upload: str) -> tuple[dict[str, Any], bytes | None]:
    """The same, once the row has the progress, which is written up to a second after the answer."""
    until(lambda: live.row(upload)["received"] == HAVE, seconds=10, what="the progress is in the row")
    return state(live, upload)


class Case(NamedTuple):
    rule: str
    headers: Headers
    status: int
    code: str
    offset: str | None = None
    method: str = "PATCH"


GOOD = patch_headers(HAVE)
CASES = [
    Case("no version", {"Upload-Offset": "300", "Content-Type": OCTETS}, 412, "version_unsupported"),
    Case("another version", GOOD | {"Tus-Resumable": "1.0.1"}, 412, "version_unsupported"),
    Case("no content type", VERSION | {"Upload-Offset": "300"}, 415, "content_type_unsupported"),
    Case("another content type", GOOD | {"Content-Type": "video/mp4"}, 415, "content_type_unsupported"),
    Case("two content types", [*GOOD.items(), ("Content-Type", "video/mp4")], 400, "header_invalid"),
    Case("no offset", VERSION | {"Content-Type": OCTETS}, 400, "header_missing"),
    Case("negative offset", GOOD | {"Upload-Offset": "-1"}, 400, "header_invalid"),
    Case("offset 2^63", GOOD | {"Upload-Offset": str(1 << 63)}, 400, "header_invalid"),
    Case("offset without digits", GOOD | {"Upload-Offset": "0x12"}, 400, "header_invalid"),
    Case("offset twice", [*GOOD.items(), ("Upload-Offset", "300")], 400, "header_invalid"),
    Case("3: stale offset", GOOD | {"Upload-Offset": "0"}, 409, "offset_mismatch", "300"),
    Case("3: offset ahead", GOOD | {"Upload-Offset": "301"}, 409, "offset_mismatch", "300"),
    Case("3: offset = length", GOOD | {"Upload-Offset": "1000"}, 409, "offset_mismatch", "300"),
    Case("too long", GOOD | {"Content-Length": "701"}, 413, "body_too_large"),
    Case("12: unknown algorithm", GOOD | {"Upload-Checksum": "sha3 YQ=="}, 400, "checksum_unsupported"),
    Case("12: no base64", GOOD | {"Upload-Checksum": "sha1 ?"}, 400, "header_invalid"),
    Case("another length", GOOD | {"Upload-Length": "999"}, 400, "header_invalid"),
    Case("override twice", [*GOOD.items(), *[("X-HTTP-Method-Override", "PATCH")] * 2], 400, "header_invalid",
         method="POST"),
    Case("10: stale, by override", GOOD | {"Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}, 409,
         "offset_mismatch", "300", "POST"),
    Case("POST without an override", GOOD, 405, "method_not_allowed", method="POST"),
]  # fmt: skip


@pytest.mark.parametrize("expect", [False, True], ids=["body", "expect"])
@pytest.mark.parametrize("case", CASES, ids=[case.rule for case in CASES])
def test_a_patch_is_refused_before_its_body_is_read(live: LiveServer, case: Case, expect: bool) -> None:
    """Rule 2: the refusal comes though no byte of the body was sent, no 100 invites one, row and file stay."""
    upload, _ = filled(live, LENGTH, HAVE)
    before = settled(live, upload)
    fields = pairs(case.headers)
    if "Content-Length" not in dict(fields):
        fields.append(("Content-Length", "700"))
    if expect:
        fields.append(("Expect", "100-continue"))
    started = Stopwatch()
    with live.connect() as connection:
        connection.send(request(case.method, target(upload), fields))
        answer = connection.answer()
        assert answer.headers["connection"] == "close"
        if expect:
            # Who waits for a 100 sends nothing, so there is nothing to wait for.
            assert connection.ended()
    assert started.seconds < 1.5
    assert (answer.status, answer.code) == (case.status, case.code), answer
    assert answer.interim == ()
    assert answer.headers.get("upload-offset") == case.offset
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert state(live, upload) == before


@pytest.mark.parametrize("case", CASES[:12], ids=[case.rule for case in CASES[:12]])
def test_a_refusal_reaches_a_client_that_still_sends(live: LiveServer, case: Case) -> None:
    """Rule 2: the answer reaches a client that goes on sending, and no byte of what it sent is stored."""
    upload, _ = filled(live, LENGTH, HAVE)
    before = settled(live, upload)
    body = bytes(700)
    with live.connect() as connection:
        connection.send(request(case.method, target(upload), case.headers, body))
        answer = connection.answer()
        assert connection.ended()
    assert (answer.status, answer.code) == (case.status, case.code)
    assert state(live, upload) == before


def test_a_refusal_of_a_large_body_ends_the_connection_soon(live: LiveServer) -> None:
    """A refusal is answered at once, and the connection ends soon, though 64 MiB of body were announced."""
    upload = create(live, 64 * MIB)
    started = Stopwatch()
    with live.connect() as connection:
        connection.send(request("PATCH", target(upload), patch_headers(7) | {"Content-Length": str(64 * MIB)}))
        connection.send(bytes(MIB // 2))
        answer = connection.answer()
        assert started.seconds < 1
        assert (answer.status, answer.headers["upload-offset"]) == (409, "0")
        assert connection.ended()
    assert started.seconds < 5
    assert live.stored(upload) == b""


def test_a_refusal_is_not_lost_to_a_connection_reset(live: LiveServer) -> None:
    """A client that sends all of its body before it reads is not cut off: no reset overtakes the answer."""
    upload = create(live, MIB)
    with live.connect() as connection:
        connection.send(request("PATCH", target(upload), patch_headers(7) | {"Content-Length": "900000"}))
        connection.readable()
        for _ in range(9):
            connection.send(bytes(100_000))
        answer = connection.answer()
        assert (answer.status, answer.headers["upload-offset"]) == (409, "0")
        assert connection.read_to_end() == b""
    assert live.stored(upload) == b""


def test_a_refused_creation_sends_no_100_continue(live: LiveServer) -> None:
    """Rule 2: a POST with a body is refused before 100 Continue; one that is accepted gets it."""
    expecting = {"Content-Type": OCTETS, "Content-Length": "100", "Expect": "100-continue"}
    for length, status, interim in ((99, 413, ()), (100, 201, (100,))):
        with live.connect() as connection:
            connection.send(request("POST", MOUNT, creation(length) | expecting))
            if interim:
                connection.readable()  # it is not said to who has sent the body already
                connection.send(video(100))
            answer = connection.answer()
        assert (answer.status, answer.interim) == (status, interim)


def test_an_accepted_patch_gets_100_continue(live: LiveServer) -> None:
    """The counterpart of the refusals: a PATCH that is accepted gets its 100 before it sends a byte."""
    upload, data = filled(live, LENGTH, HAVE)
    headers = patch_headers(HAVE) | {"Expect": "100-continue", "Content-Length": "700"}
    with live.connect() as connection:
        connection.send(request("PATCH", target(upload), headers))
        # Were there no 100, curl would wait a second and this client for ever.
        assert connection.read(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.send(data[HAVE:])
        assert connection.answer().status == 204
    assert live.stored(upload) == data


@pytest.mark.parametrize("over", [1, 5000])
def test_a_chunked_body_that_does_not_fit_is_refused(live: LiveServer, over: int) -> None:
    """A chunked body that does not fit is refused when that shows, and nothing of it is stored."""
    upload, data = filled(live, LENGTH, HAVE)
    with live.connect() as connection:
        headers = patch_headers(HAVE) | {"Transfer-Encoding": "chunked"}
        connection.send(request("PATCH", target(upload), headers) + chunked([data[HAVE:700], bytes(300 + over)]))
        answer = connection.answer()
    assert (answer.status, answer.code) == (413, "body_too_large")
    assert "upload-offset" not in answer.headers
    row, stored = settled(live, upload)
    assert stored == data[:HAVE]
    assert (row["status"], row["received"]) == ("open", HAVE)
    assert patch(live, upload, HAVE, data[HAVE:]).status == 204
    assert live.stored(upload) == data


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "HEAD"])
def test_an_expired_upload_is_410_to_every_request(live: LiveServer, method: str) -> None:
    """Rules 2, 4 and 16: 410 to everything, without an offset; row and file wait for the sweep."""
    upload, data = filled(live, LENGTH, HAVE)
    live.expire(upload)
    before = settled(live, upload)
    body = data[HAVE:] if method == "PATCH" else None
    answer = live.ask(method, target(upload), GOOD if method == "PATCH" else VERSION, body)
    assert answer.status == 410
    assert "upload-offset" not in answer.headers
    assert "upload-expires" not in answer.headers
    assert method == "HEAD" or answer.code == "upload_gone"
    assert state(live, upload) == before


IDS = {
    "unknown": "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11",
    "upper case": "8A6B1C6E-3F0E-4A58-9F57-0D8F1F1F9C11",
    "version 1": "8a6b1c6e-3f0e-1a58-9f57-0d8f1f1f9c11",
    "without hyphens": "8a6b1c6e3f0e4a589f570d8f1f1f9c11",
    "a newline": "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11%0A",
    "dots": "..",
    "a name": "clip.mp4",
    "beyond ASCII": "%C3%A9%F0%9F%8E%AC",
    "nul": "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c1%00",
    "a hole": "..%2f..%2fvideodock.db",
    "a slash at its end": "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11/",
}


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
@pytest.mark.parametrize("kind", IDS)
def test_an_invalid_or_unknown_id_is_404(live: LiveServer, method: str, kind: str) -> None:
    """Rules 4 and 19: what is no id, or nobody's, is 404 without an offset, and leaves no lock behind."""
    answer = live.ask(method, target(IDS[kind]), patch_headers(0), b"abc" if method == "PATCH" else None)
    assert answer.status == 404
    assert "upload-offset" not in answer.headers
    assert answer.headers.get("tus-resumable") == "1.0.0"
    assert "access-control-allow-origin" in answer.headers
    assert method == "HEAD" or answer.code in ("upload_not_found", "not_found")
    assert live.locks() == []


def test_an_upload_of_a_form_is_not_on_the_tus_mount(live: LiveServer) -> None:
    """An upload that came by a form has no place on the tus mount."""
    upload, _ = filled(live, LENGTH, HAVE)
    live.execute("UPDATE uploads SET protocol = 'multipart' WHERE id = :id", id=upload)
    for method in ("HEAD", "PATCH", "DELETE"):
        assert live.ask(method, target(upload), GOOD, b"x" if method == "PATCH" else None).status == 404
    assert live.stored(upload) is not None


def test_an_upload_of_another_owner_is_404(live: LiveServer) -> None:
    """An upload of another owner does not exist."""
    upload, data = filled(live, LENGTH, HAVE)
    live.execute("UPDATE uploads SET owner = 'somebody' WHERE id = :id", id=upload)
    assert head(live, upload).status == 404
    assert patch(live, upload, HAVE, data[HAVE:]).status == 404
    assert live.ask("DELETE", target(upload), VERSION).status == 404
    assert live.stored(upload) == data[:HAVE]


def test_refusals_follow_accept_language(live: LiveServer) -> None:
    """The sentence follows Accept-Language, the code never does."""
    upload, _ = filled(live, LENGTH, HAVE)
    for language, words in (("zh-CN", "服务器已有 300 字节"), ("fr", "The upload has 300 bytes")):
        answer = live.ask("PATCH", target(upload), patch_headers(0) | {"Accept-Language": language}, b"x")
        assert answer.code == "offset_mismatch"
        assert words in answer.text


def test_a_json_refusal_has_every_language(live: LiveServer) -> None:
    """`Accept: application/json`, and nothing less exact, gets the sentence in each language, to be switched later."""
    upload, _ = filled(live, LENGTH, HAVE)
    for accept in ("application/json", "*/*", "application/json, text/plain, */*"):
        answer = live.ask("PATCH", target(upload), patch_headers(0) | {"Accept": accept}, b"x")
        assert answer.status == 409
        assert answer.headers["upload-offset"] == str(HAVE)
        if accept == "application/json":
            messages = {language: sentence("offset_mismatch", {"offset": HAVE}, language) for language in LANGUAGES}
            assert answer.headers["content-type"] == "application/json"
            assert json.loads(answer.text) == {"code": "offset_mismatch", "messages": messages}
        else:
            assert answer.code == "offset_mismatch"


def test_an_internal_error_shows_no_path_and_no_traceback(live: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody expected is 500 with the number of the request, and no path or traceback."""
    upload, _ = filled(live, LENGTH, HAVE)

    def broken(_: object, __: str) -> int:
        raise RuntimeError(f"secret of {Path.cwd()}")

    monkeypatch.setattr("server.storage.disk.DiskStore.state", broken)
    answer = live.ask("PATCH", target(upload), patch_headers(0) | {"X-Request-ID": "abc-1"}, b"x")
    assert (answer.status, answer.code) == (500, "internal_error")
    assert answer.headers["x-request-id"] == "abc-1"
    assert "abc-1" in answer.text
    assert "secret" not in answer.text
    assert "upload-offset" not in answer.headers
