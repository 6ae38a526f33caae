"""What is fuzzed: everything that reads what a client wrote, before anybody has judged it.

Rule: a target takes any bytes and returns, or fails. An error of `ClientError` is an answer and no failure; every
other exception is one, and so is a result that breaks what its function promises.
"""

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from server import filenames, media_types, messages
from server.errors import ClientError
from server.storage import checksums
from server.transport.body import Body, End, Moved, Sink
from server.tus import headers, protocol
from server.tus.headers import MAX_LENGTH, Head
from server.tus.protocol import Facts, Offer, State
from server.web import mime
from server.web.form_parser import FormParser

MAX_SIZE = 10 << 30
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ID = "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"
ALL = protocol.extensions(can_append=True, can_delete=True, can_truncate=True, can_concatenate=True)
OFFER = Offer((*ALL, protocol.CHECKSUM_TRAILER), checksums.ALGORITHMS, MAX_SIZE)


class GivenBody(Body):
    """A body that has all of its bytes already, in chunks; nobody ever waits for it."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(1)
        self._chunks = [data[at : at + size] for at in range(0, len(data), size)]

    async def next_chunk(self, seconds: float) -> bytes | End | None:
        return self._chunks.pop(0) if self._chunks else End.COMPLETE

    async def feed(self, sink: Sink, limit: int) -> Moved:
        """Without a thread: a target has no event loop."""
        fed = 0
        while fed < limit:
            chunk = await self.available(1)
            if not isinstance(chunk, bytes):
                return Moved(fed, chunk or End.IDLE)
            wanted = chunk[: limit - fed]
            used = sink(memoryview(wanted))
            self.put_back(chunk[used:])
            fed += used
            if used < len(wanted):
                break
        return Moved(fed, End.LIMIT)

    def stop(self) -> None:
        self._chunks.clear()


def now(work: Coroutine[Any, Any, Any]) -> Any:
    """Run what never waits, without an event loop."""
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


def head_of(method: str, lines: bytes) -> Head:
    """A head from lines of `name: value`."""
    raw = (line.partition(b":") for line in lines.split(b"\n"))
    return Head.of(method, [(name, value) for name, _, value in raw])


def create(data: bytes) -> None:
    """A decision about a creation is one that can be carried out."""
    found = protocol.decide_create(head_of("POST", data), OFFER)
    assert found.length is None or 0 <= found.length <= MAX_SIZE
    assert found.body_length is None or 0 <= found.body_length <= (MAX_SIZE if found.length is None else found.length)
    assert all(headers.is_id(part) for part in found.parts)
    assert found.checksum is None or found.checksum.algorithm in OFFER.algorithms
    if found.has_body:
        facts = Facts(ID, State.OPEN, 0, found.length, found.metadata_raw, found.filename, None, NOW, NOW)
        assert 0 <= protocol.first_append(found, facts, OFFER).limit <= MAX_SIZE


def append(data: bytes) -> None:
    """A decision about a PATCH stays within the upload, whatever state that is in."""
    which, _, lines = data.partition(b"\n")
    state = int.from_bytes(which[:1], "big")
    facts = Facts(
        ID,
        list(State)[state % len(State)],
        offset=(0, 7, 1000)[state % 3],
        length=(None, 1000)[state & 1],
        metadata_raw=None,
        filename=None,
        media_type=None,
        expires_at=datetime(2026, 1, 2 - (state >> 7), tzinfo=UTC),
        now=NOW,
        concat=(None, "partial", f"final;/files/{ID}")[state // 8 % 3],
    )
    found = protocol.decide_append(head_of("PATCH", lines), facts, OFFER)
    whole = facts.length if facts.length is not None else found.length
    assert found.offset == facts.offset
    assert 0 <= found.limit <= (MAX_SIZE if whole is None else whole) - facts.offset
    if found.trailing:
        found.trailing_checksum({"upload-checksum": which[1:].decode("latin-1")})


def number(data: bytes) -> None:
    """A number is one of ASCII digits, and no larger than a signed 64-bit one."""
    text = data.decode("latin-1")
    found = Head("PATCH", {"upload-length": (text,)}).number("Upload-Length")
    assert found is not None
    assert 0 <= found <= MAX_LENGTH
    assert text.isascii()
    assert text.isdecimal()


def metadata(data: bytes) -> None:
    """Keys are plain, and a name that comes out can be kept and shown."""
    found = headers.parse_metadata(data.decode("latin-1"))
    assert all(key.isascii() and key.isprintable() and not set(key) & {" ", ","} for key in found)
    name = headers.file_name(found)
    if name is not None:
        filename(name.encode())


def checksum(data: bytes) -> None:
    """An algorithm's name and a digest are both there."""
    found = headers.parse_checksum(data.decode("latin-1"))
    assert found.algorithm
    assert found.digest


def concat(data: bytes) -> None:
    """Parts are ids and nothing else."""
    parts = headers.parse_concat(data.decode("latin-1"))
    assert parts is None or (parts and all(headers.is_id(part.id) for part in parts))


def form(data: bytes) -> None:
    """A form is read to its end or refused, the same in any chunks, and never has more bytes than came."""
    kind, _, rest = data.partition(b"\n")
    content_type = kind.decode("latin-1") or "multipart/form-data; boundary=b"
    found = [_read(content_type, rest, size) for size in (1, 7, len(rest) or 1)]
    assert found[0] == found[1] == found[2], found


def _read(content_type: str, data: bytes, size: int) -> object:
    async def work() -> list[tuple[str, str | None, bytes]]:
        reader = FormParser(GivenBody(data, size), content_type, 1)
        found = []
        async for part in reader.parts():
            buffer = bytearray(len(data) + 1)
            moved = await part.read_into(memoryview(buffer))
            assert moved.end is End.COMPLETE
            part.name.encode()
            if part.filename is not None:
                filename(part.filename.encode())
            found.append((part.name, part.filename, bytes(buffer[: moved.count])))
        assert reader.cut is None
        return found

    try:
        return now(work())
    except ClientError as error:
        return error.code


def names(data: bytes) -> None:
    """A field in any character set has parameters, and the names in them can be kept."""
    declared, _, field = data.partition(b"\n")
    _, found = mime.parameters(mime.field_text(field, declared.decode("latin-1")))
    for key in ("name", "filename"):
        name = mime.best(found, key)
        if name is not None:
            filename(filenames.base(name).encode())


def filename(data: bytes) -> None:
    """A safe name fits any file system; a shown one any database."""
    name = data.decode("utf-8", errors="replace")
    shown = filenames.display(name)
    assert len(shown) <= 1024
    assert "\0" not in shown
    shown.encode()
    safe = filenames.safe(name)
    assert safe not in ("", ".", "..")
    assert len(safe.encode()) <= filenames.MAX_BYTES
    assert not set(safe) & set("/\\\0\r\n")
    assert filenames.safe(safe) == safe


def media_type(data: bytes) -> None:
    """What is taken for a video has a demuxer of its own, and the name agrees."""
    name, _, front = data.partition(b"\n")
    text = name.decode("utf-8", errors="replace")
    found = media_types.verify(text or None, front)
    assert media_types.get(found.name) is found
    assert not text or media_types.by_name(text) is found


def language(data: bytes) -> None:
    """Any Accept-Language is one of the languages that there are."""
    assert messages.negotiate(data.decode("latin-1"), "en") in ("zh", "en")


TARGETS: tuple[Callable[[bytes], None], ...] = (
    create,
    append,
    number,
    metadata,
    checksum,
    concat,
    form,
    filename,
    media_type,
    language,
    names,
)


def attack(data: bytes) -> None:
    """One target with one input: the first byte says which, the others are what it gets."""
    if data:
        try:
            TARGETS[data[0] % len(TARGETS)](data[1:])
        except ClientError:
            return
