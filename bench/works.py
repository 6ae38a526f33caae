"""What the clients do, how much of it, and which servers take part: the rows of the goals.

Rule: works of one group run interleaved with each other.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.clients import Plan
from bench.cycles import BODY_BYTES
from bench.measure import Work
from bench.runs import Form, ManyPhones, SlowOnes, SmallOnes, Uploads
from bench.servers.base import Ability
from bench.source import MIB, Source
from bench.trickle import BEGIN_SECONDS, PIECE

MB = 1_000_000
GB = 1_000_000_000
GROWERS = ("videodock", "videodock-no-fsync", "splice-loop", "tuspyserver", "tus-node")


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    rounds: int
    size: int  # bytes of one whole upload, and of all chunks together
    small_size: int  # bytes with 500 KiB chunks
    seconds: float  # of cycles, of slow uploads and of phones
    trickles: Sequence[int]
    phones: int
    rates: Sequence[int]  # bytes a second of each phone
    sizes: Sequence[int]
    clients: Sequence[int]
    rows: Sequence[int]


FULL = Scale(
    5,
    GB,
    512 * MB,
    8,
    (500, 1000),
    500,
    (20_000, 80_000, 300_000),
    (100 * MB, GB, 10 * GB),
    (1, 4, 16, 64),
    (1_000, 10_000, 100_000),
)
USUAL = Scale(
    5,
    GB,
    512 * MB,
    8,
    (500, 1000),
    500,
    (20_000, 80_000, 300_000),
    (100 * MB, GB),
    (1, 4, 16, 64),
    (1_000, 10_000, 100_000),
)
QUICK = Scale(1, 256 * MB, 64 * MB, 2, (100,), 100, (80_000,), (32 * MB, 256 * MB), (1, 16), (1_000, 10_000))


@dataclass(frozen=True)
class Group:
    """Works that share a table of the report and are interleaved."""

    name: str
    title: str
    works: Sequence[Work]
    needs: frozenset[Ability]
    metric: str = "mb_s"
    only: Sequence[str] = ()  # names of servers; empty is all that can
    fresh: bool = False  # each cell on a server that was just started
    rounds: int | None = None


def groups(source: Source, scale: Scale) -> list[Group]:
    """Everything that is measured, in the order of the report."""
    body, tus = frozenset({Ability.BODY}), frozenset({Ability.TUS})
    size, small = scale.size, scale.small_size
    return [
        Group("one-patch", f"{_size(size)} in one PATCH", [_uploads(source, "one-patch", "", size, 1, 0)], body),
        Group(
            "chunks-8m",
            f"4 clients, {_size(size)} together in 8 MiB chunks",
            [_uploads(source, "chunks-8m", "", size, 4, 8 * MIB)],
            tus,
        ),
        Group(
            "chunks-500k",
            f"One client, {_size(small)} in 500 KiB chunks",
            [_uploads(source, "chunks-500k", "", small, 1, 500 << 10)],
            tus,
        ),
        Group("multipart", f"{_size(size)} as one file of a form", [_form(source, size)], frozenset({Ability.FORM})),
        Group(
            "cycles",
            "Create, HEAD, PATCH of 1 KiB, DELETE; 8 connections",
            [_cycles(source, "cycles", scale.seconds)],
            tus,
            metric="per_s",
        ),
        Group(
            "cycles-one",
            "Create, HEAD, PATCH of 1 KiB, DELETE; one connection",
            [_cycles(source, "cycles-one", scale.seconds, connections=1)],
            tus,
            metric="per_s",
        ),
        Group(
            "sha1-8m",
            f"4 clients, {_size(size)} together in 8 MiB chunks with SHA-1",
            [_uploads(source, "sha1-8m", "", size, 4, 8 * MIB, checksum=True)],
            frozenset({Ability.SHA1}),
        ),
        Group(
            "sha1-one",
            f"{_size(size)} in one PATCH with SHA-1",
            [_uploads(source, "sha1-one", "", size, 1, 0, checksum=True)],
            frozenset({Ability.SHA1}),
        ),
        *(_phones(source, scale.phones, rate, scale.seconds) for rate in scale.rates),
        *(_trickle(source, count, scale.seconds) for count in scale.trickles),
        Group(
            "growth-size",
            "Growth: size of one upload",
            [_uploads(source, f"growth-size-{_word(n)}", _size(n), n, 1, 0) for n in scale.sizes],
            body,
            only=GROWERS,
            fresh=True,
            rounds=min(3, scale.rounds),
        ),
        Group(
            "growth-clients",
            f"Growth: uploads at once, {_size(size)} together",
            [_uploads(source, f"growth-clients-{n}", f"{n} at once", size, n, 0) for n in scale.clients],
            body,
            only=GROWERS,
            rounds=min(3, scale.rounds),
        ),
        Group(
            "growth-rows",
            "Growth: uploads in the table; the same cycles",
            [_cycles(source, f"growth-rows-{n}", scale.seconds, n) for n in scale.rows],
            frozenset({Ability.TABLE}),
            metric="per_s",
            rounds=min(3, scale.rounds),
        ),
    ]


def source_size(scale: Scale) -> int:
    """Bytes that the source needs so that no two uploads at once are alike; larger ones begin again."""
    return max(scale.size, 64 * MB)


def _uploads(
    source: Source, name: str, label: str, total: int, count: int, chunk: int, *, checksum: bool = False
) -> Work:
    contents = source.slices(count, total // count)
    plan = Plan(chunk, checksum)
    return Work(name, label, total, chunk or total // count, lambda server: Uploads(server, contents, plan))


def _form(source: Source, size: int) -> Work:
    content = source.slices(1, size)[0]
    return Work("multipart", "", size, size, lambda server: Form(server, content))


def _cycles(source: Source, name: str, seconds: float, rows: int | None = None, connections: int = 8) -> Work:
    content = source.slices(1, MIB)[0]
    label = "" if rows is None else f"{rows:,} uploads"
    return Work(
        name, label, 0, BODY_BYTES, lambda server: SmallOnes(server, content, connections, seconds), False, rows
    )


def _trickle(source: Source, count: int, seconds: float) -> Group:
    contents = source.slices(count, PIECE * (math.ceil(seconds + BEGIN_SECONDS) + 8))
    name = f"trickle-{count}"
    work = Work(name, "", 0, MIB, lambda server: SlowOnes(server, contents, seconds), False)
    needs = frozenset({Ability.BODY})
    title = f"{count:,} slow uploads, {PIECE} bytes a second each"
    return Group(name, title, [work], needs, metric="head_p99_ms", fresh=True, rounds=2)


def _phones(source: Source, count: int, rate: int, seconds: float) -> Group:
    contents = source.slices(count, int(rate * seconds))
    name = f"phones-{rate // 1000}"
    work = Work(name, "", count * contents[0].length, MIB, lambda server: ManyPhones(server, contents, rate))
    title = f"{count:,} phones at {rate // 1000} KB/s that begin and end within a second"
    return Group(name, title, [work], frozenset({Ability.BODY}), metric="head_p99_ms", fresh=True, rounds=3)


def _size(size: int) -> str:
    return f"{size / GB:g} GB" if size >= GB else f"{size / MB:g} MB"


def _word(size: int) -> str:
    return _size(size).replace(" ", "").lower()
