"""The grammar of multipart bodies (RFC 2046 section 5.1.1), judged by a reader that has the whole body at once."""

import random
import re
import time

import pytest

from server.errors import MultipartInvalidError
from server.messages import sentence
from tests.web.test_form_parser import Found, cut_at, read

B = "b0undary"
D = f"--{B}"
F = 'Content-Disposition: form-data; name="f"'
V = 'Content-Disposition: form-data; name="videos"; filename="a.mp4"'
E = f"{D}--\r\n"

# Every place where a CRLF belongs to a delimiter, and those where it does not.
FORMS: dict[str, tuple[str, Found]] = {
    "the body begins with a delimiter": (f"{D}\r\n{F}\r\n\r\nx\r\n{E}", [("f", None, b"x")]),
    "a line break before the first": (f"\r\n{D}\r\n{F}\r\n\r\nx\r\n{E}", [("f", None, b"x")]),
    "a preamble": (f"text\r\n{D}\r\n{F}\r\n\r\nx\r\n{E}", [("f", None, b"x")]),
    "a preamble of two lines": (f"a\r\n\r\n{D}\r\n{F}\r\n\r\nx\r\n{E}", [("f", None, b"x")]),
    "an empty body": (f"{D}\r\n{F}\r\n\r\n\r\n{E}", [("f", None, b"")]),
    "no body": (f"{D}\r\n{F}\r\n\r\n{E}", [("f", None, b"")]),
    "no body, then a file": (
        f"{D}\r\n{F}\r\n\r\n{D}\r\n{V}\r\n\r\nx\r\n{E}",
        [("f", None, b""), ("videos", "a.mp4", b"x")],
    ),
    "three without a body": (f"{D}\r\n{F}\r\n\r\n" * 3 + E, [("f", None, b"")] * 3),
    "a file without a body, then a file": (
        f"{D}\r\n{V}\r\n\r\n{D}\r\n{V}\r\n\r\nx\r\n{E}",
        [("videos", "a.mp4", b""), ("videos", "a.mp4", b"x")],
    ),
    "no head": (f"{D}\r\n\r\nx\r\n{E}", [("", None, b"x")]),
    "no head, an empty body": (f"{D}\r\n\r\n\r\n{E}", [("", None, b"")]),
    "no head and no body": (f"{D}\r\n\r\n{D}\r\n{V}\r\n\r\nx\r\n{E}", [("", None, b""), ("videos", "a.mp4", b"x")]),
    "a body that ends in CRLF": (f"{D}\r\n{F}\r\n\r\nx\r\n\r\n{E}", [("f", None, b"x\r\n")]),
    "a body that begins with CRLF": (f"{D}\r\n{F}\r\n\r\n\r\nx\r\n{E}", [("f", None, b"\r\nx")]),
    "a body of CRLF": (f"{D}\r\n{F}\r\n\r\n\r\n\r\n{E}", [("f", None, b"\r\n")]),
    "a body of CR": (f"{D}\r\n{F}\r\n\r\n\r\r\n{E}", [("f", None, b"\r")]),
    "a body that begins like a delimiter": (f"{D}\r\n{F}\r\n\r\n{D[:-1]}\r\n{E}", [("f", None, D[:-1].encode())]),
    "a delimiter after LF is data": (f"{D}\r\n{F}\r\n\r\nx\n{D}\n\r\n{E}", [("f", None, f"x\n{D}\n".encode())]),
    "a delimiter after CR is data": (f"{D}\r\n{F}\r\n\r\nx\r{D}\r\n{E}", [("f", None, f"x\r{D}".encode())]),
    "a delimiter in a line is data": (f"{D}\r\n{F}\r\n\r\nx{D}\r\n{E}", [("f", None, f"x{D}".encode())]),
    "blanks after a delimiter": (
        f"{D} \t\r\n{F}\r\n\r\n{D} \r\n{F}\r\n\r\nx\r\n{E}",
        [("f", None, b""), ("f", None, b"x")],
    ),
    "blanks after the last": (f"{D}\r\n{F}\r\n\r\nx\r\n{D}-- \t\r\n", [("f", None, b"x")]),
    "nothing after the last": (f"{D}\r\n{F}\r\n\r\nx\r\n{D}--", [("f", None, b"x")]),
    "an epilogue": (f"{D}\r\n{F}\r\n\r\nx\r\n{E}text\r\n{D}\r\n{F}\r\n\r\ny\r\n{E}", [("f", None, b"x")]),
    "no part": (E, []),
    "a preamble and no part": (f"text\r\n{E}", []),
    "a folded field": (
        f'{D}\r\nContent-Disposition: form-data;\r\n name="videos";\r\n\tfilename="a b.mp4"\r\n\r\nx\r\n{E}',
        [("videos", "a b.mp4", b"x")],
    ),
    "folded inside a name": (
        f'{D}\r\nContent-Disposition: form-data; name="videos"; filename="a\r\n b.mp4"\r\n\r\nx\r\n{E}',
        [("videos", "a b.mp4", b"x")],
    ),
    "a folded field that is not looked at": (
        f"{D}\r\nX: a\r\n b: c\r\n\td\r\n{F}\r\n\r\nx\r\n{E}",
        [("f", None, b"x")],
    ),
}

REFUSED: dict[str, tuple[str, str]] = {
    "LF only": (f"{D}\n{V}\n\nx\n{D}--\n", "form_line_feeds"),
    "LF only, a file that is long": (f"{D}\n{V}\n\n{'x' * 100_000}\n{D}--\n", "form_line_feeds"),
    "LF after the second delimiter": (f"{D}\r\n{F}\r\n\r\nx\r\n{D}\n{V}\n\ny\r\n{E}", "form_line_feeds"),
    "LF before the delimiters": (f"{D}\r\n{F}\r\n\r\nx\n{D}\r\n{V}\r\n\r\ny\n{D}--\n", "form_end"),
    "LF in a head": (f"{D}\r\nX: a\n{V}\r\n\r\nx\r\n{E}", "form_line_break"),
    "LF in a file name": (f'{D}\r\n{V[:-1]}\nb.mp4"\r\n\r\nx\r\n{E}', "form_line_break"),
    "CR in a file name": (f'{D}\r\n{V[:-1]}\rb.mp4"\r\n\r\nx\r\n{E}', "form_line_break"),
    "CR at the end of a head": (f"{D}\r\n{V}\r\r\n\r\nx\r\n{E}", "form_line_break"),
    "a line that begins with the delimiter": (f"{D}\r\n{V}\r\n\r\nx\r\n{D}more\r\ny\r\n{E}", "form_boundary_line"),
    "a first line that begins with it": (f"{D}more\r\n{V}\r\n\r\nx\r\n{E}", "form_boundary_line"),
    "one at the start of a file": (f"{D}\r\n{V}\r\n\r\n{D}more\r\ny\r\n{E}", "form_boundary_line"),
    "one that goes on after blanks": (f"{D}\r\n{V}\r\n\r\nx\r\n{D} \t more\r\ny\r\n{E}", "form_boundary_line"),
    "a line that begins with the last delimiter": (
        f"{D}\r\n{V}\r\n\r\nx\r\n{D}--more\r\n{D}\r\n{V}\r\n\r\ny\r\n{E}",
        "form_boundary_line",
    ),
    "a head without its blank line": (f"{D}\r\n{V}\r\n{E}{D}\r\n{V}\r\n\r\nx\r\n{E}", "form_head_line"),
    "two delimiters in a row": (f"{D}\r\n{D}\r\n{V}\r\n\r\nx\r\n{E}", "form_head_line"),
    "a folded line without a field": (f"{D}\r\n {V}\r\n\r\nx\r\n{E}", "form_head_line"),
    "a head that is too long": (f"{D}\r\nX: {'x' * 16_384}\r\n\r\nx\r\n{E}", "form_head_size"),
    "no end": (f"{D}\r\n{V}\r\n\r\nx\r\n{D}", "form_end"),
    "half an end": (f"{D}\r\n{V}\r\n\r\nx\r\n{D}-", "form_end"),
    "another boundary": (f"--other\r\n{V}\r\n\r\nx\r\n--other--\r\n", "form_end"),
    "a multipart part": (
        f"{D}\r\n{F}\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\nx\r\n--i--\r\n{E}",
        "form_nested",
    ),
}


def ways(body: bytes) -> list[range | tuple[int, ...]]:
    """Whole, byte by byte, and cut in two at every place of its first and last 300 bytes."""
    places = [place for place in range(1, len(body), 3) if place < 250 or place > len(body) - 100]
    every = range(len(body)) if len(body) < 2000 else range(0, len(body), 97)
    return [(), every, *[(place,) for place in places]]


@pytest.mark.parametrize("name", FORMS)
def test_each_form_gives_its_parts_in_any_pieces(name: str) -> None:
    """The parts that the grammar has, in whatever pieces the body comes; none is lost and none swallows another."""
    text, expected = FORMS[name]
    for places in ways(text.encode()):
        assert read(cut_at(text.encode(), *places)).parts == expected, places


@pytest.mark.parametrize("name", REFUSED)
def test_a_form_that_breaks_the_grammar_is_refused(name: str) -> None:
    """A form that breaks the grammar is refused with the reason, in both languages, in whatever pieces it comes."""
    text, reason = REFUSED[name]
    for places in ways(text.encode()):
        with pytest.raises(MultipartInvalidError) as caught:
            read(cut_at(text.encode(), *places))
        assert caught.value.params["reason"] == reason, places
    english = sentence("multipart_invalid", caught.value.params, "en")
    chinese = sentence("multipart_invalid", caught.value.params, "zh")
    assert reason not in english + chinese
    assert not re.search("[\u4e00-\u9fff]", english)
    assert re.search("[\u4e00-\u9fff]", chinese.partition("：")[2])


def reference(body: bytes) -> Found | None:
    """The parts of a whole body by the grammar alone; None when it is no form."""
    found: Found = []
    text = b"\r\n" + body.lstrip(b"\n")
    pieces = text.split(b"\r\n" + D.encode())
    for number, piece in enumerate(pieces[1:], 1):
        if piece.startswith(b"--"):
            return found if piece[2:3] in (b"", b" ", b"\t", b"\r", b"\n") else None
        if number == len(pieces) - 1:
            return None  # no last delimiter
        line, _, rest = piece.partition(b"\r\n")
        # The CRLF that ends the head may be that of the next delimiter.
        head, _, data = (b"\r\n" + rest + (b"" if b"\r\n\r\n" in b"\r\n" + rest else b"\r\n")).partition(b"\r\n\r\n")
        head = head[2:] if head else head
        if line.strip(b" \t") or b"\r\n" not in piece or re.search(rb"\r(?!\n)|(?<!\r)\n", head):
            return None
        lines = head.split(b"\r\n") if head else []
        if any(not re.fullmatch(rb"[A-Za-z-]+:.*", one, re.DOTALL) for one in lines):
            return None
        fields = [one for one in lines if one.startswith(b"Content-Disposition:")]
        named = re.search(rb'name="([a-z]*)"', fields[-1]) if fields else None
        found.append(("" if named is None else named[1].decode(), None, data))
    return None


CRUMBS = [
    D,
    f"\r\n{D}",
    f"{D}\r\n",
    f"\r\n{D}\r\n",
    f"\r\n{D}--",
    "--",
    "\r\n",
    "\r\n\r\n",
    "\r",
    "\n",
    " ",
    "x",
    F,
    f"{F}\r\n\r\n",
]


def test_random_forms_are_read_as_by_a_reader_of_whole_bodies() -> None:
    """Random bodies of what forms are made of, in random pieces: the same parts, or both refuse."""
    draw = random.Random(11)
    forms = 0
    for _ in range(600):
        inner = "".join(draw.choices(CRUMBS, k=draw.randint(0, 7)))
        body = (f"{D}\r\n{F}\r\n\r\n{inner}" + draw.choice([f"\r\n{E}", E, f"\r\n{D}--", ""])).encode()
        expected = reference(body)
        places = [draw.randrange(len(body)) for _ in range(draw.randint(0, 8))]
        try:
            found = read(cut_at(body, *places)).parts
        except MultipartInvalidError:
            assert expected is None, body
            continue
        assert found == expected, body
        forms += 1
    assert forms > 100


def test_a_file_after_an_empty_field_is_kept() -> None:
    """A part without a body does not swallow the file after it, however large that is."""
    data = bytes(99_000)
    body = f"{D}\r\n{F}\r\n\r\n{D}\r\n{V}\r\n\r\n".encode() + data + f"\r\n{E}".encode()
    assert read(cut_at(body, 90, 65_536)).parts == [("f", None, b""), ("videos", "a.mp4", data)]


HOSTILE: dict[str, str] = {
    "long heads": f"{D}\r\n{F}\r\nX: {'y' * 16_000}\r\n\r\nx\r\n",
    "heads of quotes": f'{D}\r\n{F}; a="{chr(34) + ";"}{(chr(34) + ";") * 8000}\r\n\r\nx\r\n',
    "heads of open quotes": f"{D}\r\n{F}{(';a=' + chr(34) + chr(92)) * 3200}\r\n\r\nx\r\n",
    "heads of words": f'{D}\r\n{F}; filename="{"=?gbk?b?yg==?= " * 1000}"\r\n\r\nx\r\n',
    "heads of percent forms": f'{D}\r\n{F}; filename="{"%22" * 5000}"\r\n\r\nx\r\n',
    "heads of continuations": f"{D}\r\n{F}" + "".join(f";filename*{n}=a" for n in range(250)) + "\r\n\r\nx\r\n",
    "heads of folds": f"{D}\r\n{F}\r\nX: {(chr(13) + chr(10) + ' ') * 5000}\r\n\r\nx\r\n",
    "near-delimiters": f"{D}\r\n{F}\r\n\r\n" + f"\r\n{D[:-1]}" * 1500 + "\r\n",
    "carriage returns": f"{D}\r\n{F}\r\n\r\n" + "\r" * 16_000 + "\r\n",
    "small parts": f"{D}\r\n{F}\r\n\r\n\r\n",
}


COUNTS = {"long heads": 500, "small parts": 500}


@pytest.mark.alone
@pytest.mark.parametrize("name", HOSTILE)
def test_parsing_takes_linear_time(name: str) -> None:
    """1,000 heads of 16 KiB, and long runs of what nearly is a delimiter: twice as many cost twice the time."""

    def cost(count: int) -> float:
        body = (HOSTILE[name] * count + E).encode()
        places = range(0, len(body), 65_536)
        started = time.process_time()
        assert len(read(cut_at(body, *places), uses=["none"] * count).parts) == count
        return time.process_time() - started

    cost(10)
    half, whole = cost(COUNTS.get(name, 50)), cost(2 * COUNTS.get(name, 50))
    assert whole < 3 * half + 0.2, (half, whole)


@pytest.mark.alone
def test_a_part_head_in_single_bytes_takes_linear_time() -> None:
    """A head that comes in single bytes is not searched from its start for each of them."""

    def cost(length: int) -> float:
        body = f"{D}\r\n{F}\r\nX: {'y' * length}\r\n\r\nx\r\n{E}".encode()
        started = time.process_time()
        read(cut_at(body, *range(len(body))))
        return time.process_time() - started

    half, whole = cost(4000), cost(8000)
    assert whole < 3 * half + 0.2, (half, whole)
