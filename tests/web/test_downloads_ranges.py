"""Ranges and conditions of a download (RFC 9110 sections 13 and 14), over real sockets."""

import email
import email.policy
import re
from collections.abc import Iterator
from email.utils import format_datetime, parsedate_to_datetime

import pytest

from tests.harness.http import LiveServer
from tests.tus.client import filled, target
from tests.web.test_downloads import DATA, SIZE, WAYS, clean_log, get, refusal

OTHER = '"another"'


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with clean_log(caplog):
        yield


@pytest.fixture(scope="module", params=WAYS, ids="-".join)
def one(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    http, loop = request.param
    settings = {"downloads": "on", "cors_origins": "https://a.example", "http": http}
    with LiveServer(tmp_path_factory.mktemp("one"), loop=loop, **settings) as made:
        yield made


@pytest.fixture(scope="module")
def whole(one: LiveServer) -> str:
    """A complete upload of `DATA`."""
    return filled(one, SIZE, SIZE)[0]


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1), ("bytes=0-499", 0, 500), ("bytes=500-", 500, SIZE), ("bytes=0-", 0, SIZE),
        ("bytes=999-", 999, SIZE), ("bytes=-1", 999, SIZE), ("bytes=-1000", 0, SIZE), ("bytes=-5000", 0, SIZE),
        ("bytes=900-5000", 900, SIZE), ("bytes=900-" + "9" * 300, 900, SIZE), ("BYTES=5-9", 5, 10),
        ("bytes= 5-9 ,", 5, 10), ("bytes=0-499,400-599", 0, 600), ("bytes=0-9,1000-2000", 0, 10),
        ("bytes=5000-,-10", 990, SIZE),
    ],
)  # fmt: skip
def test_one_range_is_206_with_its_bytes(one: LiveServer, whole: str, asked: str, start: int, end: int) -> None:
    """206 with just these bytes; of several ranges, those that touch are one and those outside do not count."""
    answer = get(one, whole, {"Range": asked})
    assert (answer.status, answer.body) == (206, DATA[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.headers["content-length"] == str(end - start)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-disposition"] == 'attachment; filename="clip.mp4"'


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=0-9,20-29", [(0, 10), (20, 30)]),
        ("bytes=-10, 0-0, 500-509", [(0, 1), (500, 510), (990, SIZE)]),
        ("bytes=0-9,700-,5000-6000", [(0, 10), (700, SIZE)]),
        ("bytes=" + ",".join(f"{at}-{at}" for at in range(0, 200, 2)), [(at, at + 1) for at in range(0, 200, 2)]),
    ],
)
def test_several_ranges_are_multipart_byteranges(
    one: LiveServer, whole: str, asked: str, expected: list[tuple[int, int]]
) -> None:
    """206 with the parts as multipart/byteranges, each with its own bytes and place."""
    answer = get(one, whole, {"Range": asked})
    assert answer.status == 206
    kind = answer.headers["content-type"]
    assert kind.startswith("multipart/byteranges; boundary=")
    boundary = b"--" + kind.partition("boundary=")[2].encode()
    pieces = answer.body.split(boundary)
    assert (pieces[0], pieces[-1].strip()) == (b"", b"--")
    found = []
    for piece in pieces[1:-1]:
        about, _, content = piece.partition(b"\r\n\r\n")
        message = email.message_from_bytes(about.strip(), policy=email.policy.HTTP)
        assert message["Content-Type"] == "video/mp4"
        match = re.fullmatch(rf"bytes (\d+)-(\d+)/{SIZE}", message["Content-Range"])
        assert match is not None
        start, end = int(match[1]), int(match[2]) + 1
        assert content == DATA[start:end] + b"\r\n"
        found.append((start, end))
    assert found == expected


@pytest.mark.parametrize(
    "asked",
    [
        "", "bytes", "bytes=", "bytes=-", "bytes=,", "bytes=x", "bytes=1", "bytes=9-5", "bytes=1-2-3", "bytes=--5",
        "bytes=+1-5", "bytes=1_0-20", "bytes=0x1-5", "bytes=1 - 5", "bytes=0-5,x", "bytes=0-5;10-20", "bytes =0-5",
        "seconds=0-5", "bytes=²-5", "bytes=0-" + "9" * 5000, "bytes=" + ",".join(["0-0"] * 101),
    ],
)  # fmt: skip
def test_an_invalid_range_is_ignored(one: LiveServer, whole: str, asked: str) -> None:
    """RFC 9110 section 14.2: a Range that nobody understands, of other units or absurd, is as if it were not there."""
    answer = get(one, whole, {"Range": asked})
    assert (answer.status, answer.body) == (200, DATA)
    assert "content-range" not in answer.headers


def test_two_range_headers_are_ignored(one: LiveServer, whole: str) -> None:
    """Range is no list header: two of them are none."""
    answer = one.ask("GET", target(whole), [("Range", "bytes=0-5"), ("Range", "bytes=7-9")])
    assert (answer.status, answer.body) == (200, DATA)


@pytest.mark.parametrize(
    "asked", ["bytes=1000-", "bytes=5000-6000", "bytes=-0", "bytes=1000-,-0", "bytes=" + "9" * 50 + "-"]
)
def test_a_range_outside_the_file_is_416(one: LiveServer, whole: str, asked: str) -> None:
    """416 tells how long the file is, and is dressed like every answer of the mount."""
    answer = get(one, whole, {"Range": asked, "Origin": "https://a.example"})
    assert (answer.status, answer.code) == (416, "range_unsatisfiable")
    assert answer.headers["content-range"] == f"bytes */{SIZE}"
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    assert "etag" not in answer.headers


def test_if_range_sends_the_range_of_the_same_file_only(one: LiveServer, whole: str) -> None:
    """A part only of the bytes that the client has begun with; otherwise everything, even for a range outside."""
    first = get(one, whole).headers
    tag, modified = first["etag"], first["last-modified"]
    earlier = format_datetime(parsedate_to_datetime(modified).replace(year=2000), usegmt=True)
    cases: list[tuple[str, str, int]] = [
        (tag, "bytes=10-19", 206),
        (modified, "bytes=10-19", 206),
        (OTHER, "bytes=10-19", 200),
        ("W/" + tag, "bytes=10-19", 200),
        (tag.strip('"'), "bytes=10-19", 200),
        (earlier, "bytes=10-19", 200),
        ("", "bytes=10-19", 200),
        (f"{tag}, {OTHER}", "bytes=10-19", 200),
        (OTHER, "bytes=5000-", 200),
        (tag, "bytes=5000-", 416),
    ]
    for condition, asked, status in cases:
        answer = get(one, whole, {"Range": asked, "If-Range": condition})
        assert answer.status == status, condition
        if status != 416:
            assert answer.body == (DATA[10:20] if status == 206 else DATA), condition


def test_conditional_requests_follow_rfc_9110(one: LiveServer, whole: str) -> None:
    """RFC 9110 section 13.2.2: 304 for who has the bytes, 412 for who wants others, in the order that it demands."""
    first = get(one, whole).headers
    tag, modified = first["etag"], first["last-modified"]
    later = format_datetime(parsedate_to_datetime(modified).replace(year=2099), usegmt=True)
    earlier = format_datetime(parsedate_to_datetime(modified).replace(year=2000), usegmt=True)
    cases: list[tuple[dict[str, str], int]] = [
        ({"If-None-Match": tag}, 304),
        ({"If-None-Match": "W/" + tag}, 304),
        ({"If-None-Match": f"{OTHER}, {tag}"}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": tag, "Range": "bytes=0-5"}, 304),
        ({"If-None-Match": tag, "Range": "bytes=5000-"}, 304),
        ({"If-None-Match": OTHER}, 200),
        ({"If-None-Match": ""}, 200),
        ({"If-None-Match": tag.strip('"')}, 200),
        ({"If-None-Match": OTHER, "If-Modified-Since": modified}, 200),
        ({"If-Modified-Since": modified}, 304),
        ({"If-Modified-Since": later}, 304),
        ({"If-Modified-Since": earlier}, 200),
        *(({"If-Modified-Since": date}, 200) for date in ("", "x", "0", "Foo, 99 Bar 2020 99:99:99 GMT", "9" * 5000)),
        ({"If-Match": tag}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": OTHER}, 412),
        ({"If-Match": "W/" + tag}, 412),
        ({"If-Match": OTHER, "If-None-Match": tag}, 412),
        ({"If-Unmodified-Since": earlier}, 412),
        ({"If-Unmodified-Since": modified}, 200),
        ({"If-Match": tag, "If-Unmodified-Since": earlier}, 200),
    ]
    for headers, status in cases:
        answer = get(one, whole, headers)
        assert answer.status == status, headers
        if status == 304:
            assert (answer.headers["etag"], answer.headers["cache-control"]) == (tag, "private, no-cache")
            assert not {"content-length", "content-type"} & set(answer.headers)
        elif status == 412:
            assert refusal(answer) == (412, "precondition_failed")
        else:
            assert answer.body == DATA
