"""What the clients do: the rows of the goals.

Rule: a work prepares what is not measured, and hands back which bytes must be stored where. Works of one group run
interleaved with each other.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.clients import FormSender, Plan, Uploader, together
from bench.cycles import BODY_BYTES, Cycles
from bench.measure import Outcome, Run, Work
from bench.phones import Phones
from bench.servers.base import Ability, Server
from bench.source import MIB, Slice, Source
from bench.trickle import BEGIN_SECONDS, PIECE, Trickle

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


class Uploads(Run):
    """As many uploads at once as there are contents."""

    def __init__(self, server: Server, contents: Sequence[Slice], plan: Plan) -> None:
        self._server = server
        self._uploaders = [Uploader(server, content, plan) for content in contents]
        for uploader in self._uploaders:
            uploader.reckon()
        for uploader in self._uploaders:
            uploader.create()

    def run(self) -> Outcome:
        seconds = together([uploader.run for uploader in self._uploaders])
        stored = [(self._server.stored(one.target, one.answer), one.content) for one in self._uploaders]
        hashing = sum(one.hash_seconds for one in self._uploaders)
        values = {"hash_times": seconds / hashing} if hashing else {}
        return Outcome(seconds, sum(one.content.length for one in self._uploaders), stored, values)

    def close(self) -> None:
        for uploader in self._uploaders:
            uploader.close()


class Form(Run):
    """One form with one file."""

    def __init__(self, server: Server, content: Slice) -> None:
        self._server = server
        self._sender = FormSender(server, content)

    def run(self) -> Outcome:
        seconds = together([self._sender.run])
        assert self._sender.answer is not None
        content = self._sender.content
        return Outcome(seconds, content.length, [(self._server.stored_form(self._sender.answer), content)])

    def close(self) -> None:
        self._sender.close()


class SmallOnes(Run):
    """Cycles, and at the end one upload whose bytes are compared: the others are gone."""

    def __init__(self, server: Server, content: Slice, connections: int, seconds: float) -> None:
        self._server = server
        self._last = Slice(content.source, content.start, BODY_BYTES)
        self._cycles = Cycles(server, content, connections)
        self._seconds = seconds

    def run(self) -> Outcome:
        count, seconds = self._cycles.run(self._seconds)
        # Not created before: a server may close a connection that was silent for so long.
        last = Uploads(self._server, [self._last], Plan(0))
        try:
            return Outcome(seconds, count, last.run().stored)
        finally:
            last.close()

    def close(self) -> None:
        self._cycles.close()


class SlowOnes(Run):
    """Trickling uploads."""

    def __init__(self, server: Server, contents: list[Slice], seconds: float) -> None:
        self._server = server
        self._trickle = Trickle(server, contents, seconds)
        self._seconds = seconds
        self._trickle.prepare()

    def run(self) -> Outcome:
        values = self._trickle.run()
        stored = [(self._server.stored(path, answer), content) for content, path, answer in self._trickle.whole()]
        return Outcome(self._seconds, len(stored), stored, values)

    def close(self) -> None:
        self._trickle.close()


class ManyPhones(Run):
    """Uploads at one rate that begin and end together."""

    def __init__(self, server: Server, contents: list[Slice], rate: int) -> None:
        self._server = server
        self._phones = Phones(server, contents, rate)
        self._phones.prepare()

    def run(self) -> Outcome:
        began = time.perf_counter()
        values = self._phones.run()
        seconds = time.perf_counter() - began
        whole = self._phones.whole()
        stored = [(self._server.stored(path, answer), content) for content, path, answer in whole]
        return Outcome(seconds, sum(content.length for content, _, _ in whole), stored, values)

    def close(self) -> None:
        self._phones.close()


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
