"""What the clients of a soak know of their uploads: kept outside of the server, compared with it at the end.

Rule: a client writes down what it was told, when it was told, and nothing that it only hopes. An entry is found
among the server's rows by its key, which is part of the file's name.
"""

import hashlib
import re
import threading
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

_KEY = re.compile(r"soak-([0-9a-f]{12})")


class End(StrEnum):
    """What a client knows of the end of its upload."""

    COMPLETE = "complete"  # it was told that every byte is there
    REFUSED = "refused"  # it was told that this is never taken
    TERMINATED = "terminated"  # it was told that it is removed
    ABANDONED = "abandoned"  # its client does not come back, so it has to expire
    JOINED = "joined"  # a partial upload whose final one is complete
    UNKNOWN = "unknown"  # no answer came and nobody can ask: all of it is there, or nothing


@dataclass
class Entry:
    """One upload as its client knows it. Sizes are bytes, times are of the monotonic clock.

    `low` is what was acknowledged. `lost_posts` counts creations without an answer, each of which may have left an
    upload that nobody knows; `may_double` that such a one may have been whole.
    """

    kind: str
    extension: str
    size: int
    digest: str
    key: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    low: int = 0
    ids: set[str] = field(default_factory=set)
    tasks: set[str] = field(default_factory=set)
    lost_posts: int = 0
    may_double: bool = False
    is_playable: bool = True
    is_cancelled: bool = False
    may_be_cancelled: bool = False
    task_may_fail: bool = False
    knows_ids: bool = True
    end: End | None = None
    code: str = ""
    touched: float = field(default_factory=time.monotonic)

    @property
    def name(self) -> str:
        """The file's name."""
        return f"soak-{self.key}.{self.extension}"

    def acknowledge(self, offset: int) -> None:
        """The server has told that it has so many bytes."""
        self.low = offset
        self.touched = time.monotonic()


class UploadRecords:
    """All entries of one server, what went wrong, and counts for the report. For any number of threads."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self._lock = threading.Lock()

    def open(self, kind: str, data: bytes, extension: str = "mp4", *, is_playable: bool = True) -> Entry:
        """A new entry for this content."""
        made = Entry(kind, extension, len(data), hashlib.sha256(data).hexdigest(), is_playable=is_playable)
        with self._lock:
            self.entries.append(made)
        return made

    def violation(self, text: str) -> None:
        """Something that must never happen has happened."""
        with self._lock:
            self.violations.append(f"{time.strftime('%H:%M:%S')} {text}")

    def count(self, what: str, number: int = 1) -> None:
        """For the figures."""
        with self._lock:
            self.counts[what] += number

    def status(self, what: str) -> None:
        """For the figures: an answer."""
        with self._lock:
            self.statuses[what] += 1

    @contextmanager
    def guarded(self, what: str) -> Iterator[None]:
        """An error of a client is a violation with its name, and ends nobody."""
        try:
            yield
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            self.violation(f"{what}: {type(error).__name__}: {str(error)[:500]} ({where.name}, line {where.lineno})")


def key_of(filename: str | None) -> str | None:
    """The key in a file's name, wherever its client has put it."""
    found = _KEY.search(filename or "")
    return found[1] if found else None
