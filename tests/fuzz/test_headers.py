"""Every header that is parsed: what was written comes back, and anything else is an error for the client."""

import base64
import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from server.errors import ClientError, HeaderInvalidError, MetadataInvalidError
from server.tus.headers import (
    MAX_LENGTH,
    MAX_PARTS,
    Checksum,
    Head,
    format_expires,
    is_id,
    parse_checksum,
    parse_concat,
    parse_metadata,
)

BLANKS = st.text(" \t", max_size=3)
# Whatever a header can hold on any server, and what `str` takes for blanks, digits or letters beyond ASCII.
LATIN = st.text(st.characters(max_codepoint=255), max_size=60)
ODD_BLANKS = "\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0"
KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=","), min_size=1, max_size=12)
IDS = st.uuids(version=4).map(str)


def one(name: str, value: str) -> Head:
    return Head.of("PATCH", [(name.lower().encode(), value.encode("latin-1"))])


@given(number=st.integers(0, MAX_LENGTH), before=BLANKS, after=BLANKS)
def test_numbers_are_parsed_without_the_blanks_around_them(number: int, before: str, after: str) -> None:
    """Blanks around a value are no part of it."""
    assert one("Upload-Offset", f"{before}{number}{after}").number("Upload-Offset") == number


@given(text=LATIN | st.integers(max_value=-1).map(str) | st.integers(MAX_LENGTH + 1, 10**30).map(str))
@example("²")
@example("\xa05")
@example("5\x85")
@example("1_0")
@example("+1")
@example("-0")
@example("5 5")
@example("")
def test_a_value_that_is_not_a_number_is_refused(text: str) -> None:
    """What is not ASCII digits up to 2^63 - 1 is refused, whatever Python would make of it."""
    plain = text.strip(" \t")
    if plain.isascii() and plain.isdecimal() and len(plain) < 20 and int(plain) <= MAX_LENGTH:
        return
    with pytest.raises(HeaderInvalidError):
        one("Upload-Length", text).number("Upload-Length")


@given(pairs=st.dictionaries(KEYS, st.none() | st.binary(max_size=40), max_size=6), gap=BLANKS)
def test_metadata_is_read_as_it_was_written(pairs: dict[str, bytes | None], gap: str) -> None:
    """Keys and values come back; a value that is missing is an empty one."""
    items = [key if value is None else f"{key} {base64.b64encode(value).decode()}" for key, value in pairs.items()]
    assert parse_metadata(f",{gap}".join(items)) == {key: value or b"" for key, value in pairs.items()}


@pytest.mark.parametrize("blank", ODD_BLANKS)
@pytest.mark.parametrize("form", ["{0}a YQ==", "a{0}YQ==", "a YQ=={0}", "a {0}YQ==", "a YQ==,{0}b"])
def test_blanks_that_only_python_knows_are_refused(form: str, blank: str) -> None:
    """What only Python takes for a blank is refused: another reader would see another key or value."""
    with pytest.raises(MetadataInvalidError):
        parse_metadata(form.format(blank))


@given(algorithm=st.text("abcSHA0123456789-", min_size=1, max_size=8), digest=st.binary(min_size=1, max_size=64))
def test_a_checksum_is_read_as_it_was_written(algorithm: str, digest: bytes) -> None:
    """Name and digest come back, the name in lower case."""
    found = parse_checksum(f"{algorithm} {base64.b64encode(digest).decode()}")
    assert found == Checksum(algorithm.lower(), digest)


@given(
    parts=st.lists(IDS, min_size=1, max_size=5, unique=True),
    base=st.sampled_from(["/files/", "", "https://example.org/a/files/"]),
    gap=st.text(" \t", min_size=1, max_size=3),
    around=BLANKS,
)
def test_upload_ids_are_read_from_urls_and_paths(parts: list[str], base: str, gap: str, around: str) -> None:
    """The ids come back in order, of URLs and of paths."""
    urls = gap.join(base + part for part in parts)
    assert parse_concat(f"final;{around}{urls}{around}") == tuple((part, "") for part in parts)


NO_CONCAT = ["", "final", "final;", "final; ", "Final;/files/x", "partial;", " partial", "PARTIAL", "final;/files/"]
ID = "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"


@pytest.mark.parametrize(
    "raw",
    [
        *NO_CONCAT,
        *(f"final;/files/{ID}{blank}/files/{ID}" for blank in f"{ODD_BLANKS},;"),
        *(f"final;/files/{ID}{tail}" for tail in ("/", "/..", "%00", "?a", "#a", "\xa0")),
        f"final;/files/{ID.upper()}",
        "final;" + f"/{ID} " * (MAX_PARTS + 1),
    ],
)
def test_an_invalid_upload_concat_is_refused(raw: str) -> None:
    """Neither `partial` nor a list of uploads."""
    with pytest.raises(HeaderInvalidError):
        parse_concat(raw)


PARSERS: tuple[Callable[[str], object], ...] = (parse_metadata, parse_checksum, parse_concat)


@pytest.mark.parametrize("parse", PARSERS)
@hypothesis_settings(max_examples=100)
@given(text=LATIN | st.from_regex(r"(partial|final;)?[ -~]*[ ,;/][A-Za-z0-9+/]*=*\Z"))
def test_any_other_header_value_is_parsed_or_refused(parse: Callable[[str], object], text: str) -> None:
    """Taken or refused, and nothing third."""
    with contextlib.suppress(ClientError):
        parse(text)


@given(text=LATIN)
def test_only_a_whole_uuid_is_an_upload_id(text: str) -> None:
    """Nothing is an id by chance, nor with anything beside one."""
    assert not is_id(text)
    assert not is_id(ID + (text or "\n"))


@given(value=LATIN, times=st.integers(2, 4), parse=st.sampled_from([Head.get, Head.number, Head.needed_number]))
def test_a_repeated_header_is_refused(value: str, times: int, parse: Callable[[Head, str], object]) -> None:
    """Refused, be the values alike or not, in whatever case the names are."""
    raw = [(name, value.encode("latin-1")) for name in [b"Upload-Offset", b"upload-offset"] * times]
    with pytest.raises(HeaderInvalidError):
        parse(Head.of("PATCH", raw[:times]), "Upload-Offset")


@given(
    seconds=st.integers(0, 250_000_000_000),  # up to the year 9892
    hours=st.integers(-23, 23),
)
def test_an_expiry_is_read_back_to_the_second(seconds: int, hours: int) -> None:
    """The moment comes back to the second, in GMT, whatever its zone."""
    moment = datetime.fromtimestamp(seconds, timezone(timedelta(hours=hours)))
    text = format_expires(moment + timedelta(microseconds=7))
    assert text.endswith(" GMT")
    assert parsedate_to_datetime(text) == moment
