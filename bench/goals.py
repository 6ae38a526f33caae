"""The goals, as data, and whether a run has met them.

Rules: a goal whose peer did not take part is "not measured", never met. What was measured is compared by medians. An
aim is what we would like beyond a goal.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.measure import spread
from bench.runner import Results
from bench.works import Group

MEMORY_MB = 120
_SLOWEST = "trickle-1000"
SAME_MB = 10  # two peaks that differ by less are the same


def values(results: Results, work: str, server: str, metric: str) -> list[float]:
    """One metric of all rounds that did not fail."""
    return [cell.values[metric] for cell in results.of(work, server) if cell.error is None and metric in cell.values]


def middle(results: Results, work: str, server: str, metric: str) -> float | None:
    """The median of these; None when there are none."""
    found = values(results, work, server, metric)
    return median(found) if found else None


@dataclass(frozen=True)
class Verdict:
    """What became of a goal: `met` is None when it was not measured."""

    met: bool | None
    found: str


@dataclass(frozen=True)
class Goal:
    """Something to reach in one group."""

    group: str
    text: str
    aim: bool = field(default=False, kw_only=True)

    def judge(self, results: Results, groups: Sequence[Group], ours: str) -> Verdict:
        """Look at one run; `ours` is the server that is judged."""
        raise NotImplementedError


@dataclass(frozen=True)
class Ratio(Goal):
    """At least `factor` times the best of `peers`."""

    peers: tuple[str, ...]
    factor: float
    metric: str = "mb_s"

    def judge(self, results: Results, groups: Sequence[Group], ours: str) -> Verdict:
        mine = middle(results, self.group, ours, self.metric)
        theirs = [found for peer in self.peers if (found := middle(results, self.group, peer, self.metric)) is not None]
        if mine is None or not theirs:
            return Verdict(None, "not measured")
        ratio = mine / max(theirs)
        return Verdict(ratio >= self.factor, f"{ratio:.2f} times")


@dataclass(frozen=True)
class Most(Goal):
    """At most `limit`."""

    metric: str
    limit: float
    unit: str

    def judge(self, results: Results, groups: Sequence[Group], ours: str) -> Verdict:
        found = middle(results, self.group, ours, self.metric)
        if found is None:
            return Verdict(None, "not measured")
        return Verdict(found <= self.limit, f"{found:.2f} {self.unit}".replace(".00", "").rstrip())


@dataclass(frozen=True)
class Share(Goal):
    """At most `factor` times what the peer takes."""

    peer: str
    factor: float
    metric: str

    def judge(self, results: Results, groups: Sequence[Group], ours: str) -> Verdict:
        mine = middle(results, self.group, ours, self.metric)
        theirs = middle(results, self.group, self.peer, self.metric)
        if mine is None or not theirs:
            return Verdict(None, "not measured")
        return Verdict(mine / theirs <= self.factor, f"{mine / theirs:.2f} times")


@dataclass(frozen=True)
class Beside(Goal):
    """One server does at least `factor` times what another one does: the same server with more to do."""

    server: str
    other: str
    factor: float
    metric: str = "mb_s"

    def judge(self, results: Results, groups: Sequence[Group], ours: str) -> Verdict:
        return Ratio(self.group, self.text, (self.other,), self.factor, self.metric).judge(results, groups, self.server)


@dataclass(frozen=True)
class Slower(Goal):
    """One work of a group takes at most `factor` times what another takes of the same server."""

    slow: str
    quick: str
    factor: float
    metric: str

    def judge(self, results: Results, groups: Sequence[Group], ours: str) -> Verdict:
        slow, quick = (middle(results, work, ours, self.metric) for work in (self.slow, self.quick))
        if slow is None or not quick:
            return Verdict(None, "not measured")
        return Verdict(slow / quick <= self.factor, f"{slow / quick:.2f} times ({slow:.1f} against {quick:.1f})")


@dataclass(frozen=True)
class Memory(Goal):
    """The highest peak of all works but the slowest uploads, which have a goal of their own, and the encoding ones."""

    def judge(self, results: Results, groups: Sequence[Group], ours: str) -> Verdict:
        peaks = {
            group.title: max(found)
            for group in groups
            if group.name != _SLOWEST
            and not group.processing
            and (found := [peak for work in group.works for peak in values(results, work.name, ours, "peak_mb")])
        }
        if not peaks:
            return Verdict(None, "not measured")
        title = max(peaks, key=lambda name: peaks[name])
        return Verdict(peaks[title] < MEMORY_MB, f"{peaks[title]:.0f} MB ({title})")


@dataclass(frozen=True)
class SameMemory(Goal):
    """The peak does not depend on the size of an upload."""

    def judge(self, results: Results, groups: Sequence[Group], ours: str) -> Verdict:
        works = [work for group in groups if group.name == self.group for work in group.works]
        peaks = [spread(found)[0] for work in works if (found := values(results, work.name, ours, "peak_mb"))]
        if len(peaks) < 2:
            return Verdict(None, "not measured")
        shown = ", ".join(f"{peak:.0f}" for peak in peaks)
        return Verdict(max(peaks) - min(peaks) < SAME_MB, f"{shown} MB")


def _times(group: str, factor: float, name: str, *peers: str, metric: str = "mb_s", aim: bool = False) -> Ratio:
    text = f"at least {factor:g} times {name}" if factor != 1 else f"at least as much as {name}"
    return Ratio(group, text, peers, factor, metric, aim=aim)


def _cycles(group: str) -> tuple[Goal, ...]:
    return (
        _times(group, 3, "@tus/server", "tus-node", metric="per_s"),
        _times(group, 4, "@tus/server", "tus-node", metric="per_s", aim=True),
        _times(group, 1.2, "tusd", "tusd", metric="per_s"),
        Most(group, "at most 2 CPU-ms a cycle, a fifth of what it was", "cpu_ms", 2, "CPU-ms"),
        Share(group, "at most twice plain ASGI's CPU-ms a cycle", "plain-asgi", 2, "cpu_ms", aim=True),
    )


_HANGING = ("videodock-webhook", "videodock-scheduler")
_RESUMABLE = ("tuspyserver", "tus-node", "resumable-upload")

GOALS: tuple[Goal, ...] = (
    _times("one-patch", 4, "tuspyserver", "tuspyserver"),
    _times("one-patch", 7, "@tus/server", "tus-node"),
    _times("one-patch", 7, "resumable-upload", "resumable-upload"),
    _times("one-patch", 1.5, "tusd", "tusd"),
    _times("one-patch", 1.5, "nginx's body to file", "nginx"),
    _times("one-patch", 0.8, "the bare splice loop", "splice-loop"),
    Most("one-patch", "at most 0.65 CPU-s a GB", "cpu_s_gb", 0.65, "CPU-s a GB"),
    _times("chunks-8m", 3, "tuspyserver", "tuspyserver"),
    _times("chunks-8m", 3.5, "@tus/server", "tus-node"),
    _times("chunks-8m", 2.5, "plain ASGI", "plain-asgi"),
    _times("chunks-8m", 1.2, "resumable-upload", "resumable-upload"),
    _times("chunks-8m", 1.2, "tusd", "tusd"),
    _times("chunks-8m", 0.75, "the bare splice loop", "splice-loop", aim=True),
    _times("chunks-500k", 2, "the best of tuspyserver, @tus/server, resumable-upload", *_RESUMABLE),
    _times("chunks-500k", 3, "@tus/server", "tus-node"),
    _times("chunks-500k", 4, "@tus/server", "tus-node", aim=True),
    _times("chunks-500k", 1.3, "plain ASGI", "plain-asgi"),
    _times("chunks-500k", 1.5, "plain ASGI", "plain-asgi", aim=True),
    _times("chunks-500k", 1.2, "tusd", "tusd"),
    *(
        Beside(group, f"at least {factor:g} times as much beside a webhook that hangs", *_HANGING, factor, metric)
        for group, factor, metric in (("chunks-500k", 0.9, "mb_s"), ("cycles", 0.8, "per_s"))
    ),
    _times("multipart", 6, "Flask + gunicorn", "flask-form"),
    _times("multipart", 4, "Starlette's and FastAPI's form parser", "starlette-form", "fastapi-form"),
    *_cycles("cycles"),
    *_cycles("cycles-one"),
    _times("cycles-one", 0.5, "plain ASGI", "plain-asgi", metric="per_s"),
    Most("phones-80", "HEAD on another upload within 25 ms at p99, begin and end included", "head_p99_ms", 25, "ms"),
    Share("phones-80", "at most twice @tus/server's HEAD p99", "tus-node", 2, "head_p99_ms"),
    Share("phones-80", "at most twice plain ASGI's HEAD p99", "plain-asgi", 2, "head_p99_ms", aim=True),
    Share("phones-80", "at most half of @tus/server's CPU-s a GB", "tus-node", 0.5, "cpu_s_gb"),
    Most("phones-80", "no broken upload", "broken", 0, "broken"),
    Slower(
        "encoding-heads",
        "HEAD p99 at most 3 times that of an idle server",
        "encoding-heads-all",
        "encoding-heads-none",
        3,
        "head_p99_ms",
    ),
    _times("sha1-8m", 1.3, "resumable-upload", "resumable-upload"),
    _times("sha1-8m", 0.7, "the bare splice loop, which hashes too", "splice-loop", aim=True),
    Most("sha1-one", "at most 1.5 times as long as hashlib alone", "hash_times", 1.5, "times"),
    Most(_SLOWEST, "HEAD on another upload within 50 ms at p99", "head_p99_ms", 50, "ms"),
    Most(_SLOWEST, "less than 150 MB", "peak_mb", 150, "MB"),
    Most(_SLOWEST, "no broken upload", "broken", 0, "broken"),
    Memory("", f"less than {MEMORY_MB} MB in all works but 1,000 slow uploads and where videos are encoded"),
    SameMemory("growth-size", f"the same memory for every size of an upload (within {SAME_MB} MB)"),
)
