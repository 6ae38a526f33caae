"""A form is the same form however it is cut into chunks, and whatever its reader does with each part."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from server.errors import MultipartInvalidError
from server.transport.body import End
from server.web.form_parser import FormParser
from tests.transport.scripted import GONE, Message, chunk, scripted, whole

B = "b0undary"
TYPE = f"multipart/form-data; boundary={B}"
Found = list[tuple[str, str | None, bytes]]


@dataclass(frozen=True)
class Read:
    """What a reader found: parts with their bytes, why it stopped, how much it read."""

    parts: Found
    cut: End | None
    received: int


def form(parts: Iterable[tuple[str, str | None, bytes]], boundary: str = B) -> bytes:
    body = b""
    for name, filename, data in parts:
        file = "" if filename is None else f'; filename="{filename}"'
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
        body += data + b"\r\n"
    return body + f"--{boundary}--\r\n".encode()


def read(messages: Sequence[Message], content_type: str | None = TYPE, uses: Sequence[str] = ()) -> Read:
    """All parts; `uses` tells for each what is done with it: `all` (what is not named), `peek`, `none`, `some`."""

    async def work() -> Read:
        body = scripted(messages, 30)
        found: Found = []
        try:
            reader = FormParser(body, content_type, 30)
            async for part in reader.parts():
                use = uses[len(found)] if len(found) < len(uses) else "all"
                data = b""
                if use in ("peek", "all"):
                    front, end = await part.peek(7)
                    assert end in (End.LIMIT, End.COMPLETE, reader.cut)
                if use in ("some", "all"):
                    buffer = bytearray(3 if use == "some" else 100_000)
                    data = bytes(buffer[: (await part.read_into(memoryview(buffer))).count])
                if use == "all":
                    assert data.startswith(front)
                    if reader.cut is None:
                        assert await part.peek(1) == (b"", End.COMPLETE)
                found.append((part.name, part.filename, data))
            return Read(found, reader.cut, reader.received)
        finally:
            await body.close()

    return asyncio.run(work())


def cut_at(data: bytes, *places: int) -> list[Message]:
    """The messages of `data` cut at these places."""
    marks = [0, *sorted(place for place in places if place < len(data)), len(data)]
    return whole(data[start:end] for start, end in pairwise(marks))


NASTY: Found = [
    ("field", None, b"plain"),
    ("videos", "clip.mp4", b"\r\n--b0undar\r\n--b0undarX\r\n-\r\n--\r\r\n\r\n--b0undar"),
    ("videos", "empty.mp4", b""),
    ("videos", "", b""),
    ("videos", "ends.mp4", b"\r\n--b0undary"[:-1]),
    ("videos", "like.mp4", b"\r--b0undary\r--b0undary--\n--b0undary"),
    ("videos", "last.mp4", b"\r\n"),
]


def test_a_form_cut_at_any_byte_gives_the_same_parts() -> None:
    """A form full of what looks like boundaries, cut in two at every byte, in three, and into single bytes."""
    data = form(NASTY)
    assert read(whole([data])).parts == NASTY
    for place in range(len(data)):
        assert read(cut_at(data, place)).parts == NASTY, place
        assert read(cut_at(data, place, place + 1)).parts == NASTY, place
        assert read(cut_at(data, place, place + 11)).parts == NASTY, place
    assert read(cut_at(data, *range(len(data)))).parts == NASTY


# Pieces that together often nearly make a boundary.
_CRUMBS = st.sampled_from([b"\r", b"\n", b"\r\n", b"-", b"--", B.encode(), b"--" + B.encode(), B.encode()[:-1], b"x"])
_DATA = st.one_of(st.binary(max_size=30), st.lists(_CRUMBS, max_size=10).map(b"".join)).filter(
    lambda data: b"\r\n--" + B.encode() not in b"\r\n" + data
)
_LETTERS = st.characters(codec="utf-8", exclude_characters='\\"/%=', exclude_categories=["Cc", "Cs"])
_NAMES = st.text(_LETTERS, max_size=12)


@hypothesis_settings(max_examples=200, deadline=None)
@given(
    parts=st.lists(st.tuples(_NAMES, st.none() | _NAMES, _DATA), max_size=5),
    cuts=st.lists(st.integers(0, 400), max_size=30),
    uses=st.lists(st.sampled_from(["all", "peek", "none", "some"]), max_size=5),
    trailer=st.sampled_from([b"", b"epilogue", b"\r\n--", b"\r\n--" + B.encode() + b"\r\n"]),
)
@example(parts=[("videos", "a.mp4", b"\r\n--")], cuts=[], uses=[], trailer=b"")
def test_any_form_cut_anywhere_gives_the_same_parts(
    parts: Found, cuts: list[int], uses: list[str], trailer: bytes
) -> None:
    """Any parts, cut anywhere, read in any way: the same names, the same bytes; an epilogue is no part."""
    found = read(cut_at(form(parts) + trailer, *cuts), uses=uses)
    assert found.cut is None
    assert [part[:2] for part in found.parts] == [part[:2] for part in parts]
    for number, (_, _, data) in enumerate(parts):
        use = uses[number] if number < len(uses) else "all"
        expected = {"all": data, "some": data[:3]}.get(use, b"")
        assert found.parts[number][2] == expected


HEADERS: dict[str, tuple[bytes, tuple[str, str | None]]] = {
    "quoted": (b'form-data; name="videos"; filename="a b.mp4"', ("videos", "a b.mp4")),
    "a quote inside": (b'form-data; name="videos"; filename="a\\"b.mp4"', ("videos", 'a"b.mp4')),
    "a semicolon inside": (b'form-data; name="videos"; filename="a; b=c.mp4"', ("videos", "a; b=c.mp4")),
    "token": (b"form-data; name=videos; filename=a.mp4", ("videos", "a.mp4")),
    "UTF-8": ('form-data; name="videos"; filename="我的视频🎬.mp4"'.encode(), ("videos", "我的视频🎬.mp4")),
    "no UTF-8": (b'form-data; name="videos"; filename="\xff.mp4"', ("videos", "ÿ.mp4")),
    "name behind the file name": (b'form-data; filename="a.mp4"; name="videos"', ("videos", "a.mp4")),
    "an empty file name": (b'form-data; name="videos"; filename=""', ("videos", "")),
    "a path of Internet Explorer": (b'form-data; name="videos"; filename="C:\\x\\a.mp4"', ("videos", "a.mp4")),
    "a path": (b'form-data; name="videos"; filename="../../a.mp4"', ("videos", "a.mp4")),
    "no name": (b"form-data", ("", None)),
    "nonsense": (b";;;=;\x01", ("", None)),
    "empty": (b"", ("", None)),
}


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("field", ["Content-Disposition", "content-disposition"])
def test_content_disposition_is_parsed_as_clients_write_it(name: str, field: str) -> None:
    """Names of fields and files as clients write them."""
    value, expected = HEADERS[name]
    head = f"--{B}\r\nContent-Type: video/mp4\r\n{field}: ".encode() + value + b"\r\nX-More: 1\r\n\r\n"
    body = head + b"data\r\n--" + B.encode() + b"--\r\n"
    for places in ((), (len(head) // 2,), tuple(range(len(head)))):
        assert read(cut_at(body, *places)).parts == [(*expected, b"data")]


def test_headers_belong_to_one_part() -> None:
    """A part without headers has no name: it does not inherit that of the part before."""
    body = form([("videos", "a.mp4", b"x")])[: -len(f"--{B}--\r\n")] + f"--{B}\r\n\r\nnameless\r\n--{B}--\r\n".encode()
    assert read(whole([body])).parts == [("videos", "a.mp4", b"x"), ("", None, b"nameless")]


def test_a_form_inside_a_file_is_data() -> None:
    """A form of another boundary inside a file is the file's bytes."""
    inner = form([("videos", "inner.mp4", b"y")], boundary="inner")
    assert read(whole([form([("videos", "outer.mp4", inner)])])).parts == [("videos", "outer.mp4", inner)]


GOOD = form([("videos", "a.mp4", b"x" * 50)])
ONE_PART = GOOD[: -len(f"\r\n--{B}--\r\n")]
INVALID: dict[str, bytes] = {
    "no bytes at all": b"",
    "no boundary": b"just text\r\n",
    "another boundary": form([("videos", "a.mp4", b"x")], boundary="other"),
    "text without end before the first boundary": b"preamble " * 10_000 + b"\r\n" + GOOD,
    "ends in its data": ONE_PART,
    "ends in its headers": GOOD[:40],
    "ends in its last boundary": GOOD[:-4],
    "a header without a colon": f"--{B}\r\nnonsense\r\n\r\nx\r\n--{B}--\r\n".encode(),
    "a header with a space in its name": f"--{B}\r\nA B: c\r\n\r\nx\r\n--{B}--\r\n".encode(),
    "a header that is too long": f"--{B}\r\nX: {'y' * 100_000}\r\n\r\nx\r\n--{B}--\r\n".encode(),
    "a header name that is too long": f"--{B}\r\n{'y' * 100_000}: x\r\n\r\nx\r\n--{B}--\r\n".encode(),
    "too many headers": f"--{B}\r\n".encode() + b"A: b\r\n" * 1000 + b"\r\nx",
    "too many parts": form([("f", None, b"")] * 2001),
}


@pytest.mark.parametrize("name", INVALID)
@pytest.mark.parametrize("size", [0, 1000])
def test_an_invalid_or_incomplete_form_is_refused(name: str, size: int) -> None:
    """What is no form, or not all of one, is refused with a reason; never silently less than was sent."""
    body = INVALID[name]
    places = range(0, len(body), size) if size else ()
    with pytest.raises(MultipartInvalidError) as caught:
        read(cut_at(body, *places))
    assert caught.value.params["reason"]


def test_a_form_of_2000_parts_is_accepted() -> None:
    """2,000 parts are a form."""
    assert len(read(whole([form([("f", None, b"")] * 2000)])).parts) == 2000


def test_an_endless_part_header_is_refused_early() -> None:
    """An endless header is refused soon, not when it ends."""
    endless = [chunk(f"--{B}\r\nX: ".encode()), *[chunk(b"y" * 1000)] * 1000]
    with pytest.raises(MultipartInvalidError):
        read(endless)


@pytest.mark.parametrize("lead", [b"\r\n", b"\r\n\r\n", b"\n"])
def test_blank_lines_before_the_first_boundary_are_ignored(lead: bytes) -> None:
    """Some clients begin with a line break; it is no part."""
    assert read(whole([lead + GOOD])).parts == read(whole([GOOD])).parts


@pytest.mark.parametrize("size", [0, 1, 7])
def test_preamble_and_epilogue_are_ignored(size: int) -> None:
    """What stands before the first boundary and behind the last one is nobody's (RFC 2046 section 5.1.1)."""
    body = b"preamble\r\n--" + B.encode()[:-1] + b"\r\n" + GOOD + b"epilogue"
    places = range(0, len(body), size) if size else ()
    assert read(cut_at(body, *places)).parts == read(whole([GOOD])).parts


def test_a_form_without_parts_is_empty() -> None:
    """Only the last boundary: a form with nothing in it."""
    assert read(whole([f"--{B}--\r\n".encode()])).parts == []


@pytest.mark.parametrize("length", range(len(GOOD) - 4))
def test_a_client_that_leaves_is_reported_with_no_invented_byte(length: int) -> None:
    """Wherever a client leaves before the end, the reader says so, and gives out no byte that was not sent."""
    found = read([chunk(GOOD[:length]), GONE])
    assert found.cut is End.GONE
    assert found.received == length
    for name, filename, data in found.parts:
        assert (name, filename) == ("videos", "a.mp4")
        assert data == b"x" * len(data)
        assert len(data) <= 50


TYPES: dict[str, str | None] = {
    "none": None,
    "empty": "",
    "another": "application/json",
    "mixed": f"multipart/mixed; boundary={B}",
    "without a boundary": "multipart/form-data",
    "with an empty one": "multipart/form-data; boundary=",
    "with one that is too long": "multipart/form-data; boundary=" + "x" * 300,
}


@pytest.mark.parametrize("name", TYPES)
def test_only_multipart_form_data_with_a_boundary_is_a_form(name: str) -> None:
    """Only multipart/form-data with a boundary is a form, and nothing is read to find that out."""
    with pytest.raises(MultipartInvalidError):
        read([], TYPES[name])


@pytest.mark.parametrize(
    "content_type",
    [f'multipart/form-data; boundary="{B}"', f"Multipart/Form-Data; charset=utf-8; boundary={B}", f"{TYPE} "],
)
def test_usual_spellings_of_the_content_type_are_accepted(content_type: str) -> None:
    """Quoted boundaries, other parameters before it, any case."""
    assert len(read(whole([GOOD]), content_type).parts) == 1
