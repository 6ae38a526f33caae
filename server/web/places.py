"""Where the results and originals of a task are found: what its status needs to have URLs.

Rule: a URL bears a signature where the settings want one, and only for who may see the status.
"""

from collections.abc import Sequence

from server.bootstrap import Services
from server.database.models import TaskFile
from server.tasks.status import Places
from server.web.access import Access


class TaskPlaces:
    """Makes the places of tasks."""

    def __init__(self, services: Services, access: Access) -> None:
        self._access = access
        self._shows_originals = services.settings.downloads == "on"

    async def of(self, base: str, task_id: str, files: Sequence[TaskFile]) -> Places:
        """The places of a task with these files, below the address `base`. Raises the errors of the database."""
        shown = files if self._shows_originals else ()
        originals = {file.id: await self._access.original(file.upload_id) for file in shown}
        return Places(base, await self._access.signature_of_results(task_id), originals)
