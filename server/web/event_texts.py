"""The messages of live streams as text for one reader, made once for all readers who get the same.

Rule: every message has the documented status of its task, or null before the task exists.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from server.bootstrap import Services
from server.events.hub import Message
from server.events.progress import Progress
from server.events.types import public_name
from server.messages import Language
from server.tasks import status_rows
from server.tasks.status_rows import TaskRows
from server.web.access import Access
from server.web.event_stream import frame
from server.web.status_texts import StatusTexts, to_json


@dataclass(frozen=True)
class Reader:
    """Where and how the messages are read: the address of the server as the client knows it, and the language."""

    base: str
    language: Language


class EventTexts:
    """Makes them."""

    def __init__(self, services: Services, access: Access) -> None:
        self._status = StatusTexts(services, access)
        self._database = services.database
        self._clock = services.clock

    async def message(self, message: Message, reader: Reader) -> bytes:
        """A message as it is sent. Raises the errors of the database."""
        found = message.texts.get(reader)
        if found is not None:
            return found
        what, rows = message.what, message.rows
        more: dict[str, object] = {} if what.upload_id is None else {"upload_id": what.upload_id}
        if isinstance(what, Progress):
            name, at, number = what.type, self._clock(), None
            if what.upload_id is not None:
                more |= {"received": what.received, "length": what.length}
        else:
            name, at, number = public_name(what.type), what.at, what.id
            if rows is None and what.upload_id is None:  # the hub did not know that somebody wants it
                task_id = what.task_id
                rows = await self._database.look_up(partial(status_rows.look, task_id=task_id))
        found = frame(name, await self.data(name, what.task_id, at, rows, more, reader, message.texts), number)
        message.texts[reader] = found
        return found

    async def data(
        self,
        name: str,
        task_id: str,
        at: datetime,
        rows: TaskRows | None,
        more: Mapping[str, object],
        reader: Reader,
        texts: dict[object, bytes] | None = None,
    ) -> bytes:
        """The data of a message; `texts` belongs to the rows, and keeps the status."""
        status = b"null"
        if rows is not None:
            status = await self._status.status(rows, {} if texts is None else texts, reader.base, reader.language)
        moment = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        head = to_json({"type": name, "task_id": task_id, "at": moment, **more})
        return head[:-1] + b',"status":' + status + b"}"
