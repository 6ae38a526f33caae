"""The content of a message about an event: the status of its task, as clients get it, and the facts of its upload.

Rule: a status is read when it is sent, so a receiver needs no request back and never gets a state that is older than
the event. For what retention has deleted in the meantime, it has what the event itself says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import Table, select

from server.auth.signatures import ORIGINAL, RESULTS, Signatures
from server.database.models import Upload
from server.database.session import Database
from server.events.feed import Event
from server.messages import Language, sentence
from server.settings import Settings
from server.tasks import status, status_rows

_uploads = cast("Table", Upload.__table__)
_OF_UPLOADS = ("id", "filename", "length", "received", "status", "protocol", "passthrough", "created_at")
_READER: Language = "zh"  # as the documented API has it


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What an event says itself, and a delivery keeps of it."""

    task_id: str
    owner: str | None
    """None for one that was erased since."""
    at: datetime
    upload_id: str | None = None
    code: str | None = None
    """Why an upload was rejected."""

    @classmethod
    def of(cls, event: Event) -> "Origin":
        """That of an event."""
        code = (event.data or {}).get("code") if event.upload_id is not None else None
        return cls(task_id=event.task_id, owner=event.owner, at=event.at, upload_id=event.upload_id, code=code)

    def as_row(self) -> dict[str, Any]:
        """For a JSON column; the task has a column of its own."""
        row = {"owner": self.owner, "at": moment(self.at), "upload_id": self.upload_id, "code": self.code}
        return {name: value for name, value in row.items() if value is not None}

    @classmethod
    def of_row(cls, task_id: str, row: Mapping[str, Any]) -> "Origin":
        """From there."""
        at = datetime.fromisoformat(row["at"])
        return cls(task_id=task_id, owner=row.get("owner"), at=at, upload_id=row.get("upload_id"), code=row.get("code"))


@dataclass(frozen=True)
class Facts:
    """What the rows say: those of the task and of the upload, None where there are none."""

    task: status.TaskRows | None
    upload: Any


def moment(at: datetime) -> str:
    """A time by RFC 3339, in UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, kw_only=True, repr=False)
class Bodies:
    """Makes the contents."""

    settings: Settings
    database: Database
    signatures: Signatures

    def data(self, origin: Origin) -> dict[str, Any]:
        """The `content` that the rows give now. Blocking; raises the errors of the database."""
        (facts,) = self.look([origin])
        return self.content(origin, facts)

    def look(self, origins: Sequence[Origin]) -> Sequence[Facts]:
        """What the rows say of each of these. Blocking; raises the errors of the database."""
        tasks = {origin.task_id for origin in origins}
        uploads = {origin.upload_id for origin in origins if origin.upload_id is not None}
        with self.database.read() as session:
            connection = session.connection()
            found = status_rows.look_all(connection, tasks)
            query = select(*(_uploads.c[name] for name in _OF_UPLOADS)).where(_uploads.c.id.in_(uploads))
            rows = {row.id: row for row in connection.execute(query)} if uploads else {}
        return [Facts(found.get(origin.task_id), rows.get(origin.upload_id)) for origin in origins]

    def content(self, origin: Origin, facts: Facts) -> dict[str, Any]:
        """The status of the task with its URLs, and `upload` for an event of an upload.

        Before there is a task, and after its rows were deleted, it has only the task's id.
        """
        found, upload = facts.task, facts.upload
        content: dict[str, Any] = {"task_id": origin.task_id}
        if found is not None:
            content = status.as_json(found, self._places(found), _READER)
        elif origin.upload_id is None:
            content["deleted"] = True
        if origin.upload_id is not None:
            content["upload"] = self._upload(origin, upload)
            if found is None and upload is not None:
                content["passthrough"] = upload.passthrough
        return content

    def _places(self, found: status.TaskRows) -> status.Places:
        settings, task = self.settings, found.task
        results = self._sign(RESULTS, task.id) if settings.signs_playback else None
        originals: dict[str, str] = {}
        if settings.downloads == "on":
            originals = {file.id: self._original(file.upload_id) for file in found.files}
        return status.Places(settings.public_url, results, originals)

    def _original(self, upload_id: str) -> str:
        return f"{upload_id}~{self._sign(ORIGINAL, upload_id)}" if self.settings.auth == "on" else upload_id

    def _sign(self, purpose: str, subject: str) -> str:
        return self.signatures.sign_until_blocking(purpose, subject, self.settings.playback_url_ttl)

    def _upload(self, origin: Origin, row: Any) -> dict[str, Any]:
        content: dict[str, Any] = {"id": origin.upload_id, "error": None}
        if origin.code is not None:
            content["error"] = {"code": origin.code, "message": sentence(origin.code, {}, _READER)}
        if row is None:
            return content
        return content | {
            "name": row.filename,
            "size": row.length,
            "received": row.length if row.status == "complete" else row.received,
            "status": row.status.value,
            "protocol": "form" if row.protocol == "multipart" else row.protocol,
            "passthrough": row.passthrough,
            "created_at": moment(row.created_at),
        }
