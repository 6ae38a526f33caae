"""The declarative form of a case: an upload to begin with, requests, and what must come of each.

Rule: a case is data where data suffices; `check` is a small function for what it does not say. Cases are
independent: each makes the uploads that it needs.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from re import Pattern

from tests.conformance.session import Session

SPECIFICATION = "tus 1.0.0"
REFUSED = range(400, 500)
FOUND = (200, 204)
GONE = (404, 410)


@dataclass(frozen=True)
class Given:
    """An upload to begin with: its length in bytes (None is deferred), and how many of them are there."""

    length: int | None = 1000
    have: int = 0
    concat: str | None = None


@dataclass(frozen=True)
class Ask:
    """One request and what must come of it.

    It goes to the given upload, or to `to`: `mount`, or a path below the mount. `headers` add to those that the
    method needs by the specification, or take one of these away by None. `status` is the one that must come, or a
    choice. `has` are headers of the answer: their text, or a pattern for the whole of it. `lacks` must not be there.
    """

    method: str
    status: int | Collection[int]
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: bytes | None = None
    to: str = ""
    has: Mapping[str, str | Pattern[str]] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One case.

    `rule` names what demands it: a section of the specification, or rules of `rules.py`. `needs` are extensions
    of Tus-Extension, or features of `features.py`, without which it is not offered. `alone` keeps it from
    running beside others: a server that does not bear it would fail these too.
    """

    name: str
    rule: str
    shows: str
    steps: tuple[Ask, ...] = ()
    given: Given | None = None
    needs: tuple[str, ...] = ()
    check: Callable[[Session], None] | None = None
    alone: bool = False
    topic: str = ""

    @property
    def by_specification(self) -> bool:
        """Whether the specification says it, by MUST or SHOULD, and not only the clients."""
        return self.rule.startswith(SPECIFICATION)

    def run(self, session: Session) -> None:
        """Raises `FailedError` or `NotOfferedError`, or an error of the connection."""
        if self.given is not None:
            session.begin(self.given.length, self.given.have, self.given.concat)
        for step in self.steps:
            url = {"": session.upload, "mount": session.mount}.get(step.to) or f"{session.mount.rstrip('/')}/{step.to}"
            answer = session.ask(step.method, url, step.headers, step.body)
            session.expect(answer, step.method, step.status, step.has, step.lacks)
        if self.check is not None:
            self.check(session)


def still(offset: int) -> Ask:
    """HEAD that must tell this offset."""
    return Ask("HEAD", FOUND, has={"Upload-Offset": str(offset)})
