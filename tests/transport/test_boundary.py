"""Parts of a form do not depend on the pieces in which it comes, nor on what brings it."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from server.errors import MultipartInvalidError
from server.transport.body import AsgiBody, End
from server.transport.boundary import AtMost, Scanner
from server.transport.socket_body import SocketBody
from server.web.form_parser import FormParser
from tests.transport.pairs import Line, run
from tests.transport.scripted import scripted, whole

Parts = list[tuple[str, bytes]]
BOUNDARIES = ["aa", "b0undary", "a", "-", "--", "x" * 70]


def form(parts: Parts, boundary: str) -> bytes:
    """A form of file parts."""
    body = b""
    for name, data in parts:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n\r\n'
        body += head.encode() + data + b"\r\n"
    return body + f"--{boundary}--".encode()


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    marks = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
    return [data[start:end] for start, end in pairwise(marks)]


async def read(body: AsgiBody | SocketBody, boundary: str, uses: Sequence[int]) -> Parts:
    """Every part: by turns written to a file, read through a buffer, and peeked at and written in two steps."""
    reader = FormParser(body, f'multipart/form-data; boundary="{boundary}"', 10)
    found: Parts = []
    async for part in reader.parts():
        use = uses[len(found) % len(uses)]
        with tempfile.TemporaryFile() as file:
            if use == 0:
                moved = await part.write_to(file.fileno(), 0, 1 << 30)
            elif use == 1:
                buffer = memoryview(bytearray(1 << 22))
                moved = await part.read_into(buffer)
                os.pwrite(file.fileno(), buffer[: moved.count], 0)
            else:
                front, _ = await part.peek(use)
                first = await part.write_to(file.fileno(), 0, use + 1)
                moved = await part.write_to(file.fileno(), first.count, 1 << 30)
                assert os.pread(file.fileno(), use, 0) == front
            assert moved.end is End.COMPLETE
            assert await part.peek(1) == (b"", End.COMPLETE)
            assert part.moved == os.fstat(file.fileno()).st_size
            found.append((part.filename or "", os.pread(file.fileno(), 1 << 30, 0)))
    assert reader.cut is None
    return found


async def on_both(data: bytes, cuts: Sequence[int], front: int, boundary: str, uses: Sequence[int]) -> Parts:
    """The same form through `receive` and through a socket; the parts of both, which are the same."""
    asgi = scripted(whole(pieces(data, cuts)), 10)
    try:
        first = await read(asgi, boundary, uses)
    finally:
        await asgi.close()
    front = min(front, len(data))
    async with Line(len(data), data[:front]) as line:

        async def send() -> None:
            for piece in pieces(data[front:], [cut - front for cut in cuts]):
                if len(piece) < 1000:
                    line.client.sendall(piece)
                else:
                    await asyncio.to_thread(line.client.sendall, piece)
                await asyncio.sleep(0)

        sending = asyncio.ensure_future(send())
        second = await read(line.body, boundary, uses)
        await sending
    assert second == first
    return first


@st.composite
def forms(draw: st.DrawFn) -> tuple[Parts, str]:
    """Parts whose bytes are mostly made of what nearly is a delimiter."""
    boundary = draw(st.sampled_from(BOUNDARIES))
    line = b"\r\n--" + boundary.encode()
    crumb = st.sampled_from(
        [
            b"\r",
            b"\n",
            b"\r\n",
            b"\r\n-",
            b"\r\n--",
            line[:-1],
            line[2:],
            b"\n" + line[2:],
            b"\r" + line[1:-1],
            b"--",
            b"x",
        ]
    )
    data = st.lists(crumb, max_size=12).map(b"".join).filter(lambda data: line not in b"\r\n" + data + b"\r\n")
    tail = st.sampled_from([b"", b"\r", b"\r\n", b"\r\n--", b"\r\n-"])
    content = st.tuples(data, tail).map(b"".join).filter(lambda data: line not in b"\r\n" + data + line[:-1])
    return [(f"{at}.mp4", draw(content)) for at in range(draw(st.integers(0, 4)))], boundary


@hypothesis_settings(max_examples=150, deadline=None)
@given(
    made=forms(),
    cuts=st.lists(st.integers(0, 600), max_size=40),
    front=st.integers(0, 600),
    preamble=st.sampled_from([b"", b"\n", b"\r\n", b"\n\n\r\n", b"text\r\n", b"\r\n-\r\n"]),
    epilogue=st.sampled_from([b"", b"\r\n", b"\r\nepilogue\r\n--", b" \t", b"\n--"]),
    uses=st.lists(st.sampled_from([0, 1, 2, 7, 64]), min_size=1, max_size=4),
)
@example(([("a", b"\r\n--a" * 50)], "aa"), [0], 0, b"", b"", [0])
@example(([("a", b"\r"), ("b", b"\r\n"), ("c", b"\r\n--"), ("d", b"")], "aa"), list(range(600)), 0, b"", b"", [0])
def test_any_form_in_any_pieces_gives_its_parts(
    made: tuple[Parts, str], cuts: list[int], front: int, preamble: bytes, epilogue: bytes, uses: list[int]
) -> None:
    """Every part, whatever it looks like and however it is read; what stands around the parts is nobody's."""
    parts, boundary = made
    data = preamble + form(parts, boundary) + epilogue
    assert asyncio.run(on_both(data, cuts, front, boundary, uses)) == parts


BIG = 1 << 20


@pytest.mark.parametrize("around", range(-4, 12))
def test_a_delimiter_across_two_reads_is_found(around: int) -> None:
    """A delimiter at every place around the end of a read of a MiB, in a file of \"\\r\\n--a\"."""
    start = len(form([("a.mp4", b"")], "aa")) - len("\r\n--aa--")
    data = (b"\r\n--a" * BIG)[: BIG - start - around]
    parts = [("a.mp4", data), ("b.mp4", b"\r\n--a" * 1000 + b"x"), ("c.mp4", b"")]
    body = form(parts, "aa")
    for front in (0, 65_536):
        assert run("uvloop", on_both(body, [65_536, BIG, BIG + 1], front, "aa", [0, 1])) == parts


@hypothesis_settings(max_examples=300, deadline=None)
@given(
    data=st.lists(st.sampled_from([b"\r", b"\n", b"\r\n--a", b"\r\n--", b"a", b"x", b"\r\n--aa"]), max_size=15).map(
        b"".join
    ),
    cuts=st.lists(st.integers(0, 80), max_size=20),
    room=st.integers(0, 80),
)
def test_the_scanner_stops_at_the_first_delimiter(data: bytes, cuts: list[int], room: int) -> None:
    """What comes before the first delimiter goes on, up to what the target takes; what follows is left alone."""
    scanner, got = Scanner(b"aa"), bytearray()
    scanner.start()

    def keep(view: memoryview) -> int:
        got.extend(view)
        return len(view)

    target = AtMost(keep, room)
    left = b""
    for piece in pieces(data, cuts):
        data_left = left + piece
        left = data_left[scanner.send_to(target)(memoryview(data_left)) :]
    before, found, behind = (b"\r\n" + data).partition(b"\r\n--aa")
    before = before[2:]
    assert bytes(got) == before[: len(got)]
    assert len(got) <= room
    if room >= len(before):
        assert scanner.found == bool(found)
        assert left == (behind if found else b"")
        if found:
            assert bytes(got) == before
    else:
        assert not scanner.found
        assert len(got) == room or not found


BAD = {
    "no last boundary": form([("a.mp4", b"x" * 100)], "aa")[:-6],
    "a last boundary that is cut off": form([("a.mp4", b"x")], "aa")[:-1],
    "a head that is too long": b"--aa\r\nX: " + b"y" * 20_000 + b"\r\n\r\nx\r\n--aa--",
    "a head without end": b"--aa\r\nX: " + b"y" * 200_000,
    "text behind a boundary": b"--aatext\r\n\r\nx\r\n--aa--",
    "another boundary": form([("a.mp4", b"x")], "bb"),
    "a preamble that is too long": b"p" * 70_000 + b"\r\n" + form([], "aa"),
    "line feeds without end": b"\n" * 3_000_000,
}


@pytest.mark.parametrize("name", BAD)
def test_a_body_that_is_not_a_form_is_refused(name: str) -> None:
    """What is no form is refused, on both ways, in whatever pieces it comes."""

    async def work() -> None:
        for cuts, front in (([], 0), ([3, 4, 5, 65_536], 4), (list(range(0, 300, 7)), 100)):
            with pytest.raises(MultipartInvalidError):
                await read_asgi(BAD[name], cuts)
            async with Line(len(BAD[name]), BAD[name][:front]) as line:
                sending = asyncio.ensure_future(asyncio.to_thread(_send, line, BAD[name][front:]))
                with pytest.raises(MultipartInvalidError):
                    await read(line.body, "aa", [0])
                await line.body.close()
                line._server.close()
                await sending

    asyncio.run(work())


async def read_asgi(data: bytes, cuts: Sequence[int]) -> None:
    body = scripted(whole(pieces(data, cuts)), 10)
    try:
        await read(body, "aa", [0])
    finally:
        await body.close()


def _send(line: Line, data: bytes) -> None:
    with contextlib.suppress(OSError):
        line.client.sendall(data)


def test_line_feeds_before_a_form_take_linear_time() -> None:
    """Line feeds before a form are passed over as one, not one by one with a copy of the others for each."""

    async def work() -> int:
        body = scripted(whole([b"\n" * 60_000 + form([("a.mp4", b"x")], "aa")]), 10)
        calls = 0
        real = body._pop

        def pop(limit: int) -> bytes:
            nonlocal calls
            calls += 1
            return real(limit)

        body._pop = pop  # type: ignore[method-assign]
        try:
            assert await read(body, "aa", [0]) == [("a.mp4", b"x")]
        finally:
            await body.close()
        return calls

    assert asyncio.run(work()) < 50
