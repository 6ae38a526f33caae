"""What the clients do, how much of it, and which servers take part: the rows of the goals.

Rule: works of one group run interleaved with each other.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.clients import Plan
from bench.cycles import BODY_BYTES
from bench.measure import Run, Work
from bench.runs import Form, Heads, Looks, ManyPhones, Polls, SlowOnes, SmallOnes, Uploads, WhileEncoding
from bench.scale import GB, KIB, MB, Scale
from bench.servers.base import Ability, Server
from bench.source import MIB, Source
from bench.trickle import BEGIN_SECONDS, PIECE
from bench.videos import Video

GROWERS = ("videodock", "videodock-no-fsync", "splice-loop", "tuspyserver", "tus-node")
_PHONE_RATE = 80_000  # bytes a second, where there is one rate only
_NONE = "no video is encoded"
CHUNKERS = ("videodock", "videodock-two", "videodock-auth", "splice-loop", "plain-asgi", "tus-node")


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
    processing: bool = False  # the server processes what is uploaded; each cell begins with an empty server
    tall: bool = False  # in the table a row for each work and server, otherwise one for each server


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
            [_uploads(source, "chunks-500k", "", small, 1, 500 * KIB)],
            tus,
        ),
        *(_chunks(source, scale, count) for count in scale.chunk_clients),
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
        *_encoding(source, scale),
        *(_trickle(source, count, scale.seconds) for count in scale.trickles),
        _polls(source, scale),
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
        _growth(
            "growth-cycles",
            "Growth: open uploads in the table; cycles on 8 connections",
            [_cycles(source, f"growth-cycles-{n}", scale.seconds, n) for n in scale.open],
            "per_s",
        ),
        _growth(
            "growth-heads",
            "Growth: open uploads in the table; HEAD of each by turns on 8 connections",
            [_looks(f"growth-heads-{n}", scale.seconds, n) for n in scale.open],
            "requests_s",
        ),
    ]


def _uploads(
    source: Source, name: str, label: str, total: int, count: int, chunk: int, *, checksum: bool = False
) -> Work:
    contents = source.slices(count, total // count)
    plan = Plan(chunk, checksum)
    return Work(name, label, total, chunk or total // count, lambda server: Uploads(server, contents, plan))


def _chunks(source: Source, scale: Scale, count: int) -> Group:
    name = f"chunks-{count}-clients"
    works = []
    for chunk in scale.chunks:
        label, total = _binary(chunk), scale.chunks_together(chunk, count)
        works.append(_uploads(source, f"{name}-{label.replace(' ', '').lower()}", label, total, count, chunk))
    title = f"Chunks of different sizes, {count} {'client' if count == 1 else 'clients'}"
    return Group(name, title, works, frozenset({Ability.TUS}), only=CHUNKERS, rounds=min(2, scale.rounds), tall=True)


def _form(source: Source, size: int) -> Work:
    content = source.slices(1, size)[0]
    return Work("multipart", "", size, size, lambda server: Form(server, content))


def _cycles(source: Source, name: str, seconds: float, others: int = 0, connections: int = 8) -> Work:
    content = source.slices(1, MIB)[0]
    label = f"{others:,} open" if others else ""
    return Work(name, label, 0, BODY_BYTES, lambda s: SmallOnes(s, content, connections, seconds, others), False)


def _looks(name: str, seconds: float, count: int) -> Work:
    return Work(name, f"{count:,} open", 0, 0, lambda server: Looks(server, seconds, count), False)


def _growth(name: str, title: str, works: Sequence[Work], metric: str) -> Group:
    return Group(name, title, works, frozenset({Ability.TABLE}), metric, ("videodock",), rounds=2, tall=True)


def _polls(source: Source, scale: Scale) -> Group:
    contents = source.slices(scale.pollers, BODY_BYTES)

    def work(name: str, label: str, interval: float | None) -> Work:
        return Work(name, label, 0, BODY_BYTES, lambda s: Polls(s, contents, scale.seconds, interval), False)

    works = [work("polls-at-once", "at once again", None), work("polls-second", "once a second each", 1.0)]
    title = f"GET of the status by {scale.pollers} clients"
    needs = frozenset({Ability.STATUS})
    return Group(
        "polls",
        title,
        works,
        needs,
        "requests_s",
        ("videodock", "videodock-two", "videodock-auth"),
        rounds=3,
        tall=True,
    )


def _trickle(source: Source, count: int, seconds: float) -> Group:
    contents = source.slices(count, PIECE * (math.ceil(seconds + BEGIN_SECONDS) + 8))
    name = f"trickle-{count}"
    work = Work(name, "", 0, MIB, lambda server: SlowOnes(server, contents, seconds), False)
    needs = frozenset({Ability.BODY})
    title = f"{count:,} slow uploads, {PIECE} bytes a second each"
    return Group(name, title, [work], needs, metric="head_p99_ms", fresh=True, rounds=2)


def _phones(source: Source, count: int, rate: int, seconds: float) -> Group:
    name = f"phones-{rate // 1000}"
    work = _phones_work(source, name, count, rate, seconds)
    title = f"{count:,} phones at {rate // 1000} KB/s that begin and end within a second"
    return Group(name, title, [work], frozenset({Ability.BODY}), metric="head_p99_ms", fresh=True, rounds=3)


def _phones_work(source: Source, name: str, count: int, rate: int, seconds: float, label: str = "") -> Work:
    contents = source.slices(count, int(rate * seconds))
    return Work(name, label, count * contents[0].length, MIB, lambda server: ManyPhones(server, contents, rate))


def _encoding(source: Source, scale: Scale) -> list[Group]:
    """What else goes on while the server encodes as many videos as it will at once, and when it encodes none."""
    video = Video(scale.video_seconds)

    def both(name: str, alone: Work) -> list[Work]:
        def make(server: Server) -> Run:
            return WhileEncoding(server, video, alone.make)

        return [alone, replace(alone, name=name, label="videos are encoded", make=make)]

    count, seconds = scale.phones, scale.seconds
    heads = Work("encoding-heads-none", _NONE, 0, 0, lambda server: Heads(server, seconds), False)
    phones = _phones_work(source, "encoding-phones-none", count, _PHONE_RATE, seconds, _NONE)
    titles = {
        "encoding-heads": "HEAD of one upload, 50 a second, while the server encodes videos",
        "encoding-phones": f"{count:,} phones at {_PHONE_RATE // 1000} KB/s while the server encodes videos",
    }
    return [
        Group(
            name,
            titles[name],
            both(f"{name}-all", work),
            frozenset({Ability.PROCESSING}),
            metric="head_p99_ms",
            only=("videodock",),
            fresh=True,
            rounds=3,
            processing=True,
            tall=True,
        )
        for name, work in (("encoding-heads", heads), ("encoding-phones", phones))
    ]


def _size(size: int) -> str:
    return f"{size / GB:g} GB" if size >= GB else f"{size / MB:g} MB"


def _binary(size: int) -> str:
    return f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"


def _word(size: int) -> str:
    return _size(size).replace(" ", "").lower()
