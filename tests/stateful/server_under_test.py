"""Where the random sequences run: one live server for many of them, wiped in between.

Rule: it sends requests and looks at what is there; what should be there is the model's to say.
"""

import base64
import contextlib
import hashlib
import random
import uuid
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from unittest import mock

from server.bootstrap import Services, utc_now
from server.database.part_ledger import SqlPartLedger
from server.maintenance.sweep_report import SweepReport
from server.storage.base import UploadStore
from server.storage.disk import DiskStore
from server.storage.memory import MemoryStore
from server.storage.s3.store import S3Store
from server.uploads import concatenation
from tests.harness.http import Answer, LiveServer, chunked, request
from tests.harness.object_store import ObjectStore
from tests.harness.waiting import PATIENCE
from tests.stateful.model import MAX_SIZE, Append, Check
from tests.tus.client import FTYP, OCTETS, VERSION

Content = Literal["video", "noise"]
Kind = Literal["disk", "memory", "s3"]
Http = Literal["portable", "videodock"]
TABLES = ("task_events", "task_files", "tasks", "upload_parts", "uploads")


class ServerUnderTest:
    """A server with a store, and everything that a machine does to it and sees of it. The store of `objects` is S3."""

    def __init__(self, folder: Path, kind: Kind, http: Http, objects: ObjectStore | None = None) -> None:
        self.store: UploadStore = DiskStore(folder / "uploads") if kind == "disk" else MemoryStore()
        if objects is not None:
            url = objects.url(objects.shared_bucket(), uuid.uuid4().hex)
            self.store = objects.open_store(url, folder / "cache", SqlPartLedger(utc_now))
        self.has_trailers = http == "videodock"
        self._patience = contextlib.ExitStack()
        self.live = LiveServer(folder, store=self.store, http=http, tus_max_size=MAX_SIZE, downloads="on")

    def __enter__(self) -> Self:
        # The model knows no time: a request waits until what it began is done, also on a busy machine.
        for name in ("_PATIENCE_SECONDS", "_ANSWER_SECONDS", "_AFTER_SECONDS"):
            self._patience.enter_context(mock.patch.object(concatenation, name, PATIENCE))
        self.live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.live.__exit__(kind, error, trace)
        finally:
            self._patience.close()
            if isinstance(self.store, MemoryStore):
                self.store.close()

    def restart(self) -> None:
        """Stop the server and start it again on what it left."""
        self.live.__exit__(None, None, None)
        self.live.__enter__()

    def wipe(self) -> None:
        """As on the first day."""
        self.live.quiet()
        for table in TABLES:
            self.live.execute(f"DELETE FROM {table}")
        for upload_id in self.ids():
            self.store.delete(upload_id)

    def sweep(self) -> SweepReport:
        """One sweep, as a process beside the server does it."""
        with Services.open(self.live.settings, self.store) as services:
            return services.sweep()

    def age(self, upload_id: str) -> None:
        """Let the last byte of an upload be of long ago."""
        if self.store.size(upload_id) is None:  # a final that waits has no file
            self.live.execute(
                "UPDATE uploads SET expires_at = '2000-01-01 00:00:00.000000' WHERE id = :id", id=upload_id
            )
        else:
            self.live.expire(upload_id, is_file=self.store.is_local)

    @property
    def counts_at_once(self) -> bool:
        """Whether the bytes of a running body count as they come."""
        return self.store.is_local

    def arrived(self, upload_id: str) -> int | None:
        """The bytes that will not be lost when the body is cut now."""
        if isinstance(self.store, S3Store):
            return self.store.arrived(upload_id)
        return self.store.size(upload_id)

    def ids(self) -> set[str]:
        """Every upload that the store has bytes of."""
        if isinstance(self.store, MemoryStore):
            return self.store.ids()
        if isinstance(self.store, S3Store):
            # An empty upload has no object, only a row.
            known = {row["upload_id"] for row in self.live.query("SELECT upload_id FROM s3_uploads")}
            assert set(self.store.ids()) <= known, "the bucket has objects of no row"
            return known
        return {path.name for path in self.live.files()}

    def rows(self) -> dict[str, dict[str, Any]]:
        """Every upload, with its task's status."""
        sql = (
            "SELECT u.*, t.status AS task_status, f.size AS task_size, t.file_count, "
            "(SELECT count(*) FROM task_events e WHERE e.task_id = u.id AND e.upload_id IS NULL) AS events "
            "FROM uploads u LEFT JOIN tasks t ON t.id = u.id LEFT JOIN task_files f ON f.upload_id = u.id"
        )
        return {row["id"]: row for row in self.live.query(sql)}

    def ask(self, sent: bytes, *, head: bool = False) -> Answer:
        """One request on a connection of its own, byte for byte."""
        with self.live.connect() as connection:
            with contextlib.suppress(ConnectionError):  # it may have been refused before all of it was sent
                connection.send(sent)
            return connection.answer(head=head)


@cache
def stream(content: Content, writer: int) -> bytes:
    """What a client has to send; two writers send different bytes behind the same front."""
    front = FTYP if content == "video" else b"This is no video at all."
    return front + random.Random(writer).randbytes(MAX_SIZE + 1000)


def written(method: str, target: str, headers: dict[str, str], append: Append, *, cut: int | None = None) -> bytes:
    """The bytes of a request with a body; `cut` is after how many bytes of the body it breaks off."""
    fields = {} if append.right_version else {"Tus-Resumable": "0.2.2"}
    fields = VERSION | headers | fields
    body = append.body[:cut]
    if append.body or append.chunked:
        fields["Content-Type"] = OCTETS if append.right_type else "application/octet-stream"
    trailer = ""
    if append.check.is_trailing:
        fields["Trailer"] = "Upload-Checksum"
        if append.check is not Check.TRAILER_MISSING:
            trailer = f"Upload-Checksum: {_checksum(append)}\r\n"
    elif append.check is not Check.NONE:
        fields["Upload-Checksum"] = _checksum(append)
    if not append.chunked:
        fields["Content-Length"] = str(len(append.body))
        return request(method, target, fields) + body
    middle = len(body) // 2
    framed = chunked([body[:middle], body[middle:]], end=False)
    if cut is None:
        framed += f"0\r\n{trailer}\r\n".encode()
    return request(method, target, fields | {"Transfer-Encoding": "chunked"}) + framed


def _checksum(append: Append) -> str:
    if append.check is Check.UNKNOWN:
        return "rot13 " + base64.b64encode(b"?").decode()
    data = append.body if append.check.is_right else append.body + b"!"
    return "sha1 " + base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()
