"""What a bucket holds of results: sets of objects, and the protocol of the ledger that keeps them.

Rules:

- A set is what one attempt made by one step for one file. Its row comes before its first object and goes after its last
  one, so the rows show everything that may be in the bucket.
- It is visible when it is published, which is one row; nothing in the bucket is changed for that.
- This module knows neither SQL nor S3.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

RESULTS = "results/"


class SetStatus(StrEnum):
    """The states of a set."""

    WRITING = "writing"  # a worker uploads it
    WRITTEN = "written"  # all of it is there
    PUBLISHED = "published"
    LEAVING = "leaving"  # its objects are being deleted; no process writes any
    ABANDONED = "abandoned"  # the same, but its worker may only be slow, and still write


@dataclass(frozen=True, kw_only=True)
class ResultSet:
    """A set; `size` is the bytes of all its objects, once they are written."""

    id: str
    task_id: str
    file_id: str
    attempt: int
    step: str
    status: SetStatus
    changed_at: datetime
    size: int = 0

    @property
    def folder(self) -> str:
        """What all its keys begin with: never used by another set."""
        return f"{RESULTS}{self.task_id}/{self.file_id}/{self.attempt}.{self.step}.{self.id}/"


@dataclass(frozen=True, kw_only=True)
class ResultObject:
    """A file of a set: its name among the results, its size in bytes, its CRC32C in base64."""

    name: str
    size: int
    crc32c: str


class ResultLedger(Protocol):
    """Sets and their objects. Blocking. `transaction` is the caller's; None is one of its own."""

    def begin(self, task_id: str, attempt: int, file_id: str, step: str) -> ResultSet:
        """A new set, which is being written."""

    def seal(self, made: ResultSet, objects: Sequence[ResultObject]) -> bool:
        """All objects are written; False when a sweep took the attempt for dead."""

    def publish(self, made: ResultSet, transaction: Any) -> bool:
        """Publish a written set, in place of that of the same step; False when it is not there any more."""

    def hide(self, task_id: str, file_id: str, transaction: Any) -> None:
        """What is published of a file leaves."""

    def hide_step(self, task_id: str, file_id: str, step: str, transaction: Any) -> None:
        """What is published of one step of a file leaves."""

    def give_up(self, made: ResultSet, *, may_write: bool) -> bool:
        """An unpublished set leaves; False when it was published, or left before. `may_write`: its worker may live."""

    def forget(self, made: ResultSet) -> None:
        """The bucket has nothing of a set any more, and gets nothing."""

    def find(self, task_id: str, file_id: str, name: str) -> tuple[ResultSet, ResultObject] | None:
        """A published object."""

    def objects(self, made: ResultSet) -> Sequence[ResultObject]:
        """The objects of a set, by name; none before it is written."""

    def sets(self, task_id: str, file_id: str | None = None, transaction: Any = None) -> Sequence[ResultSet]:
        """All sets of a task, or of one file of it."""

    def unpublished(self) -> Iterator[ResultSet]:
        """All sets that are not published."""

    def tasks(self) -> Iterator[str]:
        """The ids of the tasks that have a published or leaving set."""

    def known(self, ids: Iterable[str]) -> set[str]:
        """Those of these sets that have a row."""
