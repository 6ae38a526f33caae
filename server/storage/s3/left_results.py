"""Results that are leaving a bucket: new ones are files again, and those in the bucket stay usable until they move.

Rule: a file on the disk replaces the object of the same name, so it is looked for first.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from server.storage.result_store import no_check
from server.storage.s3.results import BucketResults
from server.storage.stored_file import StoredFile


class LeftResults(BucketResults):
    """Written to the disk, read from both."""

    is_local = True

    def seal(self, task_id: str, attempt: int, file_id: str, step: str, check: Callable[[], None] = no_check) -> None:
        self.local.seal(task_id, attempt, file_id, step, check)

    def publish(self, task_id: str, attempt: int, file_id: str, step: str, transaction: Any = None) -> None:
        self.local.publish(task_id, attempt, file_id, step, transaction)
        self.ledger.hide_step(task_id, file_id, step, transaction)

    def replace(self, task_id: str, attempt: int, file_id: str, step: str, name: str, transaction: Any = None) -> None:
        self.local.replace(task_id, attempt, file_id, step, name, transaction)
        self.ledger.hide_step(task_id, file_id, step, transaction)

    def look_up(self, task_id: str, file_id: str, name: str) -> StoredFile | None:
        return self.local.look_up(task_id, file_id, name) or super().look_up(task_id, file_id, name)

    def local_path(self, task_id: str, file_id: str, name: str) -> Path | None:
        return self.local.local_path(task_id, file_id, name) or super().local_path(task_id, file_id, name)
