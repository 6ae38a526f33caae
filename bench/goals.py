"""The goals, as data, and whether a run has met them.

Rule: a goal whose peer did not take part is "not measured", never met.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.measure import spread
from bench.runner import Results
from bench.works import Group

MEMORY_MB = 120
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
    """At most `limit` in each round."""

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
class Memory(Goal):
    """The highest peak of all works but the slow uploads."""

    def judge(self, results: Results, groups: Sequence[Group], ours: str) -> Verdict:
        peaks = {
            group.title: max(found)
            for group in groups
            if not group.name.startswith("trickle")
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


def _times(group: str, factor: float, name: str, *peers: str, metric: str = "mb_s") -> Ratio:
    text = f"at least {factor:g} times {name}" if factor != 1 else f"at least as much as {name}"
    return Ratio(group, text, peers, factor, metric)


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
    _times("chunks-8m", 4, "@tus/server", "tus-node"),
    _times("chunks-8m", 2.5, "plain ASGI", "plain-asgi"),
    _times("chunks-8m", 1.2, "resumable-upload", "resumable-upload"),
    _times("chunks-8m", 1.2, "tusd", "tusd"),
    _times("chunks-500k", 2, "the best of tuspyserver, @tus/server, resumable-upload", *_RESUMABLE),
    _times("chunks-500k", 3, "@tus/server", "tus-node"),
    _times("chunks-500k", 1.3, "plain ASGI", "plain-asgi"),
    _times("chunks-500k", 1, "tusd", "tusd"),
    _times("multipart", 6, "Flask + gunicorn", "flask-form"),
    _times("multipart", 4, "Starlette's and FastAPI's form parser", "starlette-form", "fastapi-form"),
    _times("cycles", 3, "@tus/server", "tus-node", metric="per_s"),
    _times("cycles", 1, "tusd", "tusd", metric="per_s"),
    _times("cycles-one", 3, "@tus/server", "tus-node", metric="per_s"),
    _times("cycles-one", 0.5, "plain ASGI", "plain-asgi", metric="per_s"),
    Most("phones-80", "HEAD on another upload within 25 ms at p99, begin and end included", "head_p99_ms", 25, "ms"),
    Share("phones-80", "at most twice @tus/server's HEAD p99", "tus-node", 2, "head_p99_ms"),
    Share("phones-80", "at most half of @tus/server's CPU-s a GB", "tus-node", 0.5, "cpu_s_gb"),
    Most("phones-80", "no broken upload", "broken", 0, "broken"),
    _times("sha1-8m", 1.5, "resumable-upload", "resumable-upload"),
    Most("sha1-one", "at most 1.5 times as long as hashlib alone", "hash_times", 1.5, "times"),
    Most("trickle-1000", "HEAD on another upload within 50 ms at p99", "head_p99_ms", 50, "ms"),
    Most("trickle-1000", "less than 150 MB", "peak_mb", 150, "MB"),
    Most("trickle-1000", "no broken upload", "broken", 0, "broken"),
    Memory("", f"less than {MEMORY_MB} MB in all works but the slow uploads"),
    SameMemory("growth-size", f"the same memory for every size of an upload (within {SAME_MB} MB)"),
)
