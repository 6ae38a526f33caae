"""POST on the mount: what creates an upload, what is refused, and what the creator learns."""

import re
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import pytest

from server.messages import CODES
from server.tus.headers import MAX_LENGTH
from tests.harness.http import Headers, LiveServer, chunked, request
from tests.tus.client import (
    MOUNT,
    OCTETS,
    VERSION,
    create,
    creation,
    head,
    id_of,
    metadata,
    target,
    video,
)

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
LIMIT = 1000


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with LiveServer(tmp_path_factory.mktemp("live"), tus_max_size=LIMIT) as made:
        yield made


class Case(NamedTuple):
    rule: str
    headers: Headers
    status: int
    code: str = ""
    body: bytes | None = None


BASE = VERSION | {"Upload-Length": "100"}
WITH_BODY = creation(100) | {"Content-Type": OCTETS}
CASES = [
    Case("7: exactly 201", creation(100), 201),
    Case("Creation: the length is at most the limit", creation(LIMIT), 201),
    Case("6: no metadata at all", BASE, 201),
    Case("6: an empty Upload-Metadata", BASE | {"Upload-Metadata": ""}, 201),
    Case("6: keys without a value, and with an empty one", BASE | {"Upload-Metadata": "a,b ,c Yw=="}, 201),
    Case("6: an unknown Content-Type, no body", BASE | {"Content-Type": "application/octet-stream"}, 201),
    Case("6: the same with a body of length 0", BASE | {"Content-Type": "text/plain", "Content-Length": "0"}, 201),
    Case("17: the extension in any case", creation(9, "A.MP4"), 201),
    Case("17: filename goes before name", BASE | {"Upload-Metadata": metadata(filename="a.mov", name="a.txt")}, 201),
    Case("17: name where there is no filename", BASE | {"Upload-Metadata": metadata(name="a.txt")}, 415,
         "media_type_unsupported"),
    Case("17: a name that is no video's", creation(9, "a.txt"), 415, "media_type_unsupported"),
    Case("17: a name without an extension", creation(9, "mp4"), 415, "media_type_unsupported"),
    Case("2: no version", {"Upload-Length": "100"}, 412, "version_unsupported"),
    Case("2: another version", BASE | {"Tus-Resumable": "0.2.2"}, 412, "version_unsupported"),
    Case("2: the version comes first", {"Tus-Resumable": "2", "Upload-Length": "x"}, 412, "version_unsupported"),
    Case("Creation: no length", VERSION, 400, "header_missing"),
    Case("Creation: negative", VERSION | {"Upload-Length": "-1"}, 400, "header_invalid"),
    Case("Creation: signed", VERSION | {"Upload-Length": "+1"}, 400, "header_invalid"),
    Case("Creation: no digits", VERSION | {"Upload-Length": "ten"}, 400, "header_invalid"),
    Case("Creation: empty", VERSION | {"Upload-Length": ""}, 400, "header_invalid"),
    Case("Creation: underscores", VERSION | {"Upload-Length": "1_0"}, 400, "header_invalid"),
    Case("Creation: a fraction", VERSION | {"Upload-Length": "1.0"}, 400, "header_invalid"),
    Case("Creation: superscript two", VERSION | {"Upload-Length": "\xb2"}, 400, "header_invalid"),
    Case("Creation: 2^63", VERSION | {"Upload-Length": str(MAX_LENGTH + 1)}, 400, "header_invalid"),
    Case("Creation: forty digits", VERSION | {"Upload-Length": "9" * 40}, 400, "header_invalid"),
    Case("Creation: 2^63 - 1", VERSION | {"Upload-Length": str(MAX_LENGTH)}, 413, "upload_too_large"),
    Case("Creation: one over the limit", creation(LIMIT + 1), 413, "upload_too_large"),
    Case("a length that came twice", [*BASE.items(), ("Upload-Length", "100")], 400, "header_invalid"),
    Case("metadata that came twice", [*creation(9).items(), ("Upload-Metadata", "a")], 400, "header_invalid"),
    Case("a version that came twice", [*BASE.items(), ("Tus-Resumable", "1.0.0")], 400, "header_invalid"),
    Case("6: no base64", BASE | {"Upload-Metadata": "filename !!!"}, 400, "metadata_invalid"),
    Case("6: base64 cut short", BASE | {"Upload-Metadata": "filename YQ"}, 400, "metadata_invalid"),
    Case("6: base64 with a space", BASE | {"Upload-Metadata": "filename YQ== YQ=="}, 400, "metadata_invalid"),
    Case("6: beyond ASCII", BASE | {"Upload-Metadata": "filename \xe9\xe9=="}, 400, "metadata_invalid"),
    Case("6: no key", BASE | {"Upload-Metadata": "a YQ==,,b YQ=="}, 400, "metadata_invalid"),
    Case("6: a key twice", BASE | {"Upload-Metadata": "a YQ==,a Yg=="}, 400, "metadata_invalid"),
    Case("6: too long", BASE | {"Upload-Metadata": "a " + "YWFh" * 4096}, 400, "metadata_invalid"),
    Case("12: checksum of no algorithm", WITH_BODY | {"Upload-Checksum": "x YQ=="}, 400, "checksum_unsupported", b"x"),
    Case("With Upload: another type", creation(9) | {"Content-Type": "video/mp4"}, 415, "content_type_unsupported",
         b"abc"),
    Case("With Upload: longer than the upload", WITH_BODY | {"Upload-Length": "2"}, 413, "body_too_large", b"abc"),
    Case("2: compressed", WITH_BODY | {"Content-Encoding": "gzip"}, 415, "content_encoding_unsupported", b"abc"),
    Case("2: compressed, by two headers", [*WITH_BODY.items(), *[("Content-Encoding", "gzip")] * 2], 415,
         "content_encoding_unsupported", b"abc"),
    Case("2: compressed, nothing yet", BASE | {"Content-Encoding": "zstd"}, 415, "content_encoding_unsupported"),
    Case("10: an override to nonsense", BASE | {"X-HTTP-Method-Override": "BREW"}, 405, "method_not_allowed"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.rule for case in CASES])
def test_each_creation_makes_one_upload_or_nothing(live: LiveServer, case: Case) -> None:
    """Each case creates one empty upload with one row and tells its offset, or makes nothing at all."""
    rows, files = len(live.query("SELECT id FROM uploads")), len(live.files())
    answer = live.ask("POST", MOUNT, case.headers, case.body)
    created = int(case.status == 201)
    assert answer.status == case.status, answer
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert len(live.query("SELECT id FROM uploads")) == rows + created
    assert len(live.files()) == files + created
    assert answer.headers.get("upload-offset") == ("0" if created else None)
    assert ("location" in answer.headers) == bool(created)
    if created:
        assert live.stored(id_of(answer)) == b""
    else:
        assert re.fullmatch(rf"{case.code}: [^\n]+\n", answer.text), answer.text
        assert case.code in CODES
    if case.status == 412:
        assert answer.headers["tus-version"] == "1.0.0"
    if case.status == 405:
        assert answer.headers["allow"] == "OPTIONS, POST"


@pytest.mark.parametrize("mount", [MOUNT, MOUNT + "/"])
@pytest.mark.parametrize(
    ("headers", "base"),
    [
        ({"Host": "videos.example"}, "http://videos.example"),
        ({"Host": "videos.example:8080"}, "http://videos.example:8080"),
        (
            {"Host": "inner", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "a.example"}
            | {"X-Forwarded-Prefix": "/video"},
            "https://a.example/video",
        ),
        ({"Host": "inner", "Forwarded": "for=192.0.2.1;proto=https;host=b.example"}, "https://b.example"),
    ],
    ids=["host", "port", "x-forwarded", "forwarded"],
)
def test_location_is_an_absolute_url_with_a_uuid(
    live: LiveServer, mount: str, headers: dict[str, str], base: str
) -> None:
    """Rules 1 and 19: Location is absolute, as the client sees the server, and ends with a version-4 UUID."""
    answer = live.ask("POST", mount, creation(10) | headers)
    assert answer.status == 201
    assert answer.headers["location"] == f"{base}{MOUNT}/{id_of(answer)}"
    assert UUID4.fullmatch(id_of(answer))


def test_forwarded_headers_count_from_trusted_proxies_only(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Rule 1: forwarded headers count from trusted proxies only."""
    with LiveServer(tmp_path_factory.mktemp("distrust"), trusted_proxies="192.0.2.7") as live:
        more = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/evil", "X-Forwarded-Proto": "https"}
        answer = live.ask("POST", MOUNT, creation(10) | {"Host": "videos.example"} | more)
        assert answer.headers["location"].startswith(f"http://videos.example{MOUNT}/")


def test_a_creation_tells_the_expiry(live: LiveServer) -> None:
    """Rule 16: POST tells when the upload expires, as an IMF-fixdate, and it is what the row says."""
    answer = live.ask("POST", MOUNT, creation(10))
    expires = answer.headers["upload-expires"]
    assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", expires)
    row = live.row(id_of(answer))
    assert parsedate_to_datetime(expires).strftime("%Y-%m-%d %H:%M:%S") == row["expires_at"].partition(".")[0]
    assert (row["status"], row["length"], row["has_bytes"], row["owner"]) == ("open", 10, 1, "default")


@pytest.mark.parametrize(
    "raw",
    [
        metadata(filename="clip.mp4", relativePath="über/clip.mp4"),
        "",
        "filename Y2xpcC5tcDQ=,empty ,bare",
        "filename Y2xpcC5tcDQ=,  spaced   YQ==",
        None,
    ],
)
def test_head_echoes_metadata_byte_for_byte(live: LiveServer, raw: str | None) -> None:
    """Rule 6: HEAD echoes metadata byte for byte as it came, and has none when none came."""
    upload = create(live, 10, None, {} if raw is None else {"Upload-Metadata": raw})
    assert head(live, upload).headers.get("upload-metadata") == raw


@pytest.mark.parametrize("size", [40, 64, 100, 700])
@pytest.mark.parametrize("how", ["length", "chunked"])
def test_a_creation_may_bring_the_first_bytes(live: LiveServer, size: int, how: str) -> None:
    """Creation With Upload: the body of the POST is the beginning of the upload."""
    data = video(size)
    headers = creation(LIMIT) | {"Content-Type": OCTETS}
    with live.connect() as connection:
        if how == "length":
            connection.send(request("POST", MOUNT, headers, data))
        else:
            head_ = request("POST", MOUNT, headers | {"Transfer-Encoding": "chunked"})
            connection.send(head_ + chunked([data[:30], data[30:]]))
        answer = connection.answer()
        again = connection.ask("OPTIONS", MOUNT)
    assert (answer.status, answer.headers["upload-offset"], again.status) == (201, str(size), 204)
    assert "upload-expires" in answer.headers
    assert live.stored(id_of(answer)) == data
    assert head(live, id_of(answer)).headers["upload-offset"] == str(size)


def test_a_creation_with_all_bytes_completes_the_upload(live: LiveServer) -> None:
    """Creation With Upload and rule 11: a POST with all bytes completes the upload and registers its task."""
    data = video(200)
    answer = live.ask("POST", MOUNT, creation(200) | {"Content-Type": OCTETS}, data)
    upload = id_of(answer)
    assert (answer.status, answer.headers["upload-offset"], answer.headers["upload-task"]) == (201, "200", upload)
    assert live.stored(upload) == data
    assert live.query("SELECT id, status FROM tasks WHERE id = :id", id=upload) == [
        {"id": upload, "status": "uploaded"}
    ]


def test_a_creation_with_too_many_bytes_is_refused(live: LiveServer) -> None:
    """A chunked body beyond the length is refused, nothing of it is stored, and the client learns the Location."""
    headers = creation(100) | {"Content-Type": OCTETS, "Transfer-Encoding": "chunked"}
    with live.connect() as connection:
        connection.send(request("POST", MOUNT, headers) + chunked([video(101)]))
        answer = connection.answer()
    assert (answer.status, answer.code) == (413, "body_too_large")
    assert "upload-offset" not in answer.headers
    assert live.stored(id_of(answer)) == b""
    assert head(live, id_of(answer)).headers["upload-offset"] == "0"


def test_a_long_name_keeps_its_extension(live: LiveServer) -> None:
    """Rule 17: a name that was accepted at the creation is accepted with the first bytes, however long it is."""
    upload = create(live, 100, "a" * 1100 + ".mp4")
    answer = live.ask("PATCH", target(upload), VERSION | {"Upload-Offset": "0", "Content-Type": OCTETS}, video(100))
    assert answer.status == 204, answer


def test_an_unknown_method_is_405(live: LiveServer) -> None:
    """405 names what is possible; GET, which needs no version, is told so too."""
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        answer = live.ask(method, MOUNT, VERSION)
        assert (answer.status, answer.headers["allow"]) == (405, "OPTIONS, POST"), method
    assert live.ask("GET", MOUNT).status == 405
    allowed = live.ask("PUT", target(create(live, 10)), VERSION).headers["allow"]
    assert allowed == "OPTIONS, HEAD, GET, PATCH, DELETE"
