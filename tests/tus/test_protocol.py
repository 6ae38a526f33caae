"""A request head and the facts about an upload give one decision or one error; no byte, no clock, no database."""

import time
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import uuid4

import pytest

from server.errors import VideodockError
from server.tus import protocol
from server.tus.headers import MAX_LENGTH, Head, file_name, format_expires, parse_metadata
from server.tus.protocol import Append, Create, Facts, Offer, State

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
OFFERED = Offer(("creation", "creation-with-upload", "termination", "expiration"), (), 5)
OCTETS = ("Content-Type", "application/offset+octet-stream")
VERSION = ("Tus-Resumable", "1.0.0")


def head(method: str, *headers: tuple[str, str]) -> Head:
    return Head.of(method, [(name.encode(), value.encode("latin-1")) for name, value in headers])


def facts(state: State = State.OPEN, offset: int = 30, length: int | None = 100, expired: bool = False) -> Facts:
    return Facts(
        id="id",
        state=state,
        offset=offset,
        length=length,
        metadata_raw="filename YQ==",
        filename="a",
        media_type=None,
        expires_at=NOW if expired else NOW + timedelta(seconds=1),
        now=NOW,
        accepted="mp4",
    )


class Case(NamedTuple):
    rule: str
    offset: str
    body: tuple[tuple[str, str], ...]
    facts: Facts
    expected: Append | str


LENGTH_70 = (("Content-Length", "70"),)
LENGTH_71 = (("Content-Length", "71"),)
CHUNKED = (("Transfer-Encoding", "chunked"),)
EMPTY = (("Content-Length", "0"),)
COMPLETE = facts(State.COMPLETE, offset=100)
CASES = [
    Case("PATCH: at the offset", "30", LENGTH_70, facts(), Append(30, 70, exact=True)),
    Case("PATCH: a part of it", "30", (("Content-Length", "7"),), facts(), Append(30, 7, exact=True)),
    Case("PATCH: no body", "30", (), facts(), Append(30, 0, exact=True)),
    Case("PATCH: an empty one", "30", EMPTY, facts(), Append(30, 0, exact=True)),
    Case("PATCH: chunked, so as much as there is room", "30", CHUNKED, facts(), Append(30, 70, exact=False)),
    Case("PATCH: leading zeros", "0030", EMPTY, facts(), Append(30, 0, exact=True)),
    Case("2: compressed", "30", (*LENGTH_70, ("Content-Encoding", "gzip")), facts(),
         "content_encoding_unsupported 415 None"),
    Case("2: compressed, chunked", "30", (*CHUNKED, ("Content-Encoding", " identity, BR")), facts(),
         "content_encoding_unsupported 415 None"),
    Case("a coding that is none", "30", (*LENGTH_70, ("Content-Encoding", "Identity")), facts(),
         Append(30, 70, exact=True)),
    Case("an empty coding", "30", (*LENGTH_70, ("Content-Encoding", "")), facts(), Append(30, 70, exact=True)),
    Case("2: one byte too long", "30", LENGTH_71, facts(), "body_too_large 413 None"),
    Case("3: behind", "29", LENGTH_70, facts(), "offset_mismatch 409 30"),
    Case("3: ahead", "31", LENGTH_70, facts(), "offset_mismatch 409 30"),
    Case("3: complete and behind", "30", LENGTH_70, COMPLETE, "offset_mismatch 409 100"),
    Case("3: more than there is", "100", LENGTH_70, COMPLETE, "upload_complete 409 100"),
    Case("11: more than there is, or replayed: the body tells", "100", CHUNKED, COMPLETE, Append(100, 0, exact=False)),
    Case("3: all bytes, no task yet: no offset", "100", LENGTH_70, facts(offset=100), "body_too_large 413 None"),
    Case("11: replayed", "100", EMPTY, COMPLETE, Append(100, 0, exact=True)),
    Case("11: replayed before it was finished", "100", EMPTY, facts(offset=100), Append(100, 0, exact=True)),
    Case("16: expired this very moment", "30", LENGTH_70, facts(expired=True), "upload_gone 410 None"),
    Case("16: complete ones do not expire", "100", EMPTY, facts(State.COMPLETE, 100, expired=True),
         Append(100, 0, exact=True)),
    Case("16: swept", "30", LENGTH_70, facts(State.GONE), "upload_gone 410 None"),
    Case("18: removed", "30", LENGTH_70, facts(State.GONE), "upload_gone 410 None"),
    Case("17: rejected", "30", LENGTH_70, facts(State.REJECTED), "media_type_unsupported 415 None"),
    Case("17: rejected, at the wrong offset", "0", LENGTH_70, facts(State.REJECTED),
         "media_type_unsupported 415 None"),
    Case("offset 2^63 - 1", str(MAX_LENGTH), LENGTH_70, facts(), "offset_mismatch 409 30"),
    Case("offset 2^63", str(MAX_LENGTH + 1), LENGTH_70, facts(), "header_invalid 400 None"),
    Case("offset of Arabic digits", "\xb2", LENGTH_70, facts(), "header_invalid 400 None"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.rule for case in CASES])
def test_each_patch_is_one_decision_or_one_error(case: Case) -> None:
    """Each PATCH is one decision or one error, and only the right errors carry an offset."""
    asked = head("PATCH", VERSION, OCTETS, ("Upload-Offset", case.offset), *case.body)
    try:
        found: object = protocol.decide_append(asked, case.facts, OFFERED)
    except VideodockError as error:
        found = f"{error.code} {error.status_hint} {error.upload_offset}"
    assert found == case.expected


def test_checks_come_in_the_documented_order() -> None:
    """Rule 2: the version before anything else, what the head alone tells before what the upload tells."""
    gone = facts(State.GONE)
    order = [
        ("version_unsupported", []),
        ("content_type_unsupported", [VERSION]),
        ("header_missing", [VERSION, OCTETS]),
        ("upload_gone", [VERSION, OCTETS, ("Upload-Offset", "0")]),
    ]
    for code, headers in order:
        with pytest.raises(VideodockError) as caught:
            protocol.decide_append(head("PATCH", *headers), gone, OFFERED)
        assert caught.value.code == code


@pytest.mark.parametrize("kind", ["application/offset+octet-stream; charset=x", "Application/Offset+Octet-Stream"])
def test_content_type_ignores_parameters_and_case(kind: str) -> None:
    """Parameters and case of the Content-Type do not matter."""
    asked = head("PATCH", VERSION, ("Content-Type", kind), ("Upload-Offset", "30"))
    assert protocol.decide_append(asked, facts(), OFFERED) == Append(30, 0, exact=True)


def test_a_creation_decides_length_name_and_body() -> None:
    """A creation knows length, name and whether a body comes; a chunked body may be one."""
    meta = ("Upload-Metadata", "name Yi5tcDQ=,filename YS5tcDQ=")
    asked = head("POST", VERSION, ("Upload-Length", "5"), meta)
    assert protocol.decide_create(asked, OFFERED) == Create(5, meta[1], "a.mp4", has_body=False)
    asked = head("POST", VERSION, ("Upload-Length", "5"), OCTETS, ("Transfer-Encoding", "chunked"))
    assert protocol.decide_create(asked, OFFERED) == Create(5, None, None, has_body=True, body_length=None)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (facts(), {"Upload-Offset": "30", "Upload-Length": "100"}),
        (facts(length=None), {"Upload-Offset": "30", "Upload-Defer-Length": "1"}),
        (COMPLETE, {"Upload-Offset": "100", "Upload-Length": "100", "Upload-Task": "id"}),
    ],
)
def test_head_describes_offset_length_metadata_and_expiry(given: Facts, expected: dict[str, str]) -> None:
    """Rule 4: HEAD tells offset and length (or that it is open), the metadata as they came, expiry or task."""
    found = protocol.describe(given)
    if "Upload-Task" not in expected:
        expected = expected | {"Upload-Expires": "Sun, 22 Nov 2026 12:00:01 GMT"}
    assert found == expected | {"Upload-Metadata": "filename YQ=="}


def test_head_of_a_final_upload_fits_16_kib() -> None:
    """HEAD of a final upload tells its parts while Node's client can read that: 16 KiB of head in all."""
    few = "final;" + " ".join([f"https://video.example.org/files/{uuid4()}"] * 100)
    many = "final;" + " ".join([f"https://video.example.org/files/{uuid4()}"] * 1000)
    final = COMPLETE._replace(concat=few)
    assert protocol.describe(final)["Upload-Concat"] == few
    assert protocol.describe(final._replace(concat=many))["Upload-Concat"] == "final;"
    long = final._replace(metadata_raw="a " + "YWFh" * 2000)
    assert protocol.describe(long)["Upload-Concat"] == "final;"
    assert protocol.describe(long)["Upload-Metadata"] == long.metadata_raw


@pytest.mark.parametrize(
    ("can", "expected"),
    [
        ("can_append", ("creation", "creation-with-upload", "creation-defer-length")),
        ("can_delete", ("termination", "expiration")),
        ("can_truncate", ("checksum",)),
        ("can_concatenate", ("concatenation", "concatenation-unfinished")),
    ],
)
def test_extensions_follow_from_the_capabilities_of_the_store(can: str, expected: tuple[str, ...]) -> None:
    """Extensions are what the store can do, each by its own ability."""
    nothing = {"can_append": False, "can_delete": False}
    assert protocol.extensions(**nothing) == ()
    assert protocol.extensions(**nothing | {can: True}) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (None, {}),
        ("", {}),
        ("a", {"a": b""}),
        ("a ", {"a": b""}),
        ("a YQ==, b  Yg==", {"a": b"a", "b": b"b"}),
        ("is_confidential,filename d29ybGQ=", {"is_confidential": b"", "filename": b"world"}),
        ("k AAD/", {"k": b"\0\0\xff"}),
        ("k-!+~ YQ==", {"k-!+~": b"a"}),
    ],
)
def test_metadata_is_pairs_of_key_and_base64(raw: str | None, expected: dict[str, bytes]) -> None:
    """Rule 6: pairs of key and base64, values may be missing or empty."""
    assert parse_metadata(raw) == expected


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, None),
        ({"filename": b""}, None),
        ({"filename": b"", "name": b"b"}, "b"),
        ({"filename": b"a", "name": b"b"}, "a"),
        ({"filename": "ü".encode()}, "ü"),
        ({"filename": b"\xff.mp4"}, "�.mp4"),
    ],
)
def test_the_file_name_is_filename_or_name(metadata: dict[str, bytes], expected: str | None) -> None:
    """Rule 17: `filename`, else `name`."""
    assert file_name(metadata) == expected


@pytest.mark.parametrize(
    ("method", "override", "expected"),
    [
        ("POST", "PATCH", "PATCH"),
        ("post", "delete", "DELETE"),
        ("POST", "", "POST"),
        ("HEAD", "DELETE", "DELETE"),
        ("PATCH", "head", "HEAD"),
        ("GET", "PATCH", "PATCH"),
        ("OPTIONS", "HEAD", "HEAD"),
        ("PURGE", "POST", "POST"),
    ],
)
def test_the_override_header_replaces_the_method(method: str, override: str, expected: str) -> None:
    """Rule 10: the actual method is ignored, whatever it is."""
    assert head(method, ("X-HTTP-Method-Override", override)).method == expected


def test_a_header_that_comes_100_000_times_takes_linear_time() -> None:
    """Values stay in their order; four times as many take four times as long, and not sixteen."""

    def seconds(number: int) -> float:
        raw = [(b"a", b"%d" % place) for place in range(number)]
        began = time.process_time()
        values = Head.of("POST", [(b"b", b""), *raw]).headers
        spent = time.process_time() - began
        assert values == {"b": ("",), "a": tuple(map(str, range(number)))}
        return spent

    assert min(seconds(100_000) for _ in range(3)) < 10 * min(seconds(25_000) for _ in range(3))


def test_the_expiry_is_written_in_gmt() -> None:
    """Rule 16: an IMF-fixdate is in GMT, wherever the moment came from."""
    moment = datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC).astimezone()
    assert format_expires(moment) == "Fri, 02 Jan 2026 01:04:05 GMT"
