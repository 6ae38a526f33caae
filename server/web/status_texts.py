"""The status of a task as text for one reader: JSON, made once for all readers who get the same.

Rule: a text depends on the rows, the language and the address under which the reader knows the server, and on nothing
else of a request. Who may see it is decided before.
"""

import json

from server.bootstrap import Services
from server.messages import Language
from server.tasks import status as task_status
from server.tasks.status_rows import TaskRows
from server.web.access import Access
from server.web.places import TaskPlaces

Texts = dict[object, bytes]


def to_json(content: object) -> bytes:
    """JSON as the API sends it."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


class StatusTexts:
    """Makes them."""

    def __init__(self, services: Services, access: Access) -> None:
        self._places = TaskPlaces(services, access)

    async def status(self, rows: TaskRows, texts: Texts, base: str, reader: Language) -> bytes:
        """The status in JSON. `texts` belongs to these rows, and keeps it."""
        key = ("status", base, reader)
        found = texts.get(key)
        if found is None:
            places = await self._places.of(base, rows.task.id, rows.files)
            found = texts[key] = to_json(task_status.as_json(rows, places, reader))
        return found
