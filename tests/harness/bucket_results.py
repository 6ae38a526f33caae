"""Results in a bucket of a real server, for tests: one database, and a store for each host that would be.

Rule: hosts share the database and the bucket, and nothing else: each has a folder of its own.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from server.database.result_ledger import SqlResultLedger
from server.database.session import Database
from server.storage.results import Results
from server.storage.s3.dialect import MIB
from server.storage.s3.result_upload import ResultUpload
from server.storage.s3.results import BucketResults
from server.storage.stored_file import StoredFile
from tests.harness.migrated import migrate
from tests.harness.object_store import ObjectStore
from tests.harness.part_ledger import MemoryLedger
from tests.harness.rows import query


class ResultBucket:
    """A prefix of its own in a bucket, and a database."""

    def __init__(self, server: ObjectStore, folder: Path, url: str) -> None:
        self._server = server
        self._folder = folder
        self.prefix = uuid.uuid4().hex
        self.url = url
        self.store_url = server.url(server.shared_bucket(), self.prefix)
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.database = Database(url, 4)

    def host(
        self, name: str = "one", wrap: Callable[[Any], Any] = lambda client: client, *, parallel: int = 1
    ) -> BucketResults:
        """The results as a process of that host has them; its calls to the bucket go through `wrap`."""
        store = self._server.open_store(self.store_url, self._folder / name / "cache", MemoryLedger(), wrap)
        ledger = SqlResultLedger(lambda: self.now())
        ledger.connect(self.database)
        return BucketResults(
            bucket=store.bucket,
            ledger=ledger,
            local=Results(self._folder / name, syncs=False),
            cache=store.cache,
            upload=ResultUpload(
                bucket=store.bucket, dialect=store.location.dialect, least_part=5 * MIB, parallel=parallel
            ),
        )

    def objects(self) -> list[str]:
        """All keys of results, below the prefix."""
        found = self._server.objects(self._server.shared_bucket())
        return [key.removeprefix(f"{self.prefix}/") for key in found if key.startswith(self.prefix)]

    def multiparts(self) -> list[str]:
        """The keys of the multipart uploads that are neither completed nor aborted."""
        return [key for key in self._server.multiparts(self._server.shared_bucket()) if key.startswith(self.prefix)]

    def put(self, key: str, data: bytes) -> None:
        """Write an object as a stranger."""
        self._server.client.put_object(Bucket=self._server.shared_bucket(), Key=f"{self.prefix}/{key}", Body=data)

    def delete(self, key: str) -> None:
        """Delete an object as a stranger."""
        self._server.client.delete_object(Bucket=self._server.shared_bucket(), Key=f"{self.prefix}/{key}")

    def rows(self) -> list[tuple[int, str]]:
        """Attempt and status of every set."""
        found = query(self.url, "SELECT attempt, status FROM result_sets ORDER BY changed_at, id")
        return [(row["attempt"], row["status"]) for row in found]


@contextmanager
def result_bucket(server: ObjectStore, folder: Path, url: str) -> Iterator[ResultBucket]:
    """One, with its tables made."""
    migrate(url)
    made = ResultBucket(server, folder, url)
    try:
        yield made
    finally:
        made.database.close()


def content(file: StoredFile | None) -> bytes | None:
    """All bytes of a result; None without one."""
    if file is None:
        return None
    return file.path.read_bytes() if file.read is None else b"".join(file.read(0, file.size))
