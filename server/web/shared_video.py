"""What a share shows of a video: to its page, to its preview card, and as oEmbed.

Rule: nothing here has an id of the task or of a file. The token in a URL is the right to it, for as long as the share
is valid.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from server.bootstrap import Services
from server.database.prepared import Row
from server.errors import ShareVideoGoneError
from server.tasks.status import HIDDEN, is_shown, result_urls
from server.tasks.status_rows import TaskRows

PAGE, EMBED, MEDIA = "/s", "/embed", "/media/s"
"""Where the page of a share, its player for frames and its results are; the token follows."""


@dataclass(frozen=True)
class SharedVideo:
    """A video as its link shows it. URLs are absolute; sizes in pixels, `duration` in seconds."""

    title: str
    url: str
    embed_url: str | None
    content: Mapping[str, Any]
    """The answer of `GET /api/shared/<token>`."""

    @property
    def first(self) -> Mapping[str, Any] | None:
        """The first file, if there is one to show."""
        files = self.content["files"]
        return files[0] if files else None


class SharedVideos:
    """Finds what shares show."""

    def __init__(self, services: Services) -> None:
        self._shares = services.auth.shares
        self._cache = services.events.cache
        self._is_embedded = bool(services.settings.embed_ancestors)

    async def find(self, token: str, base: str) -> SharedVideo:
        """What the link with this token shows, with URLs below the address `base`. Raises as `Shares.find`."""
        row = await self._shares.find(token)
        state = await self._cache.find(row.task_id)
        if state is None:
            raise ShareVideoGoneError
        return self._made(row, state.rows, token, base)

    def embed_url(self, token: str, base: str) -> str | None:
        """The page for frames; None while no other site may frame it."""
        return f"{base}{EMBED}/{token}" if self._is_embedded else None

    def _made(self, row: Row, found: TaskRows, token: str, base: str) -> SharedVideo:
        task, seen = found.task, [file for file in found.files if file.status not in HIDDEN]
        files = []
        for file in seen:
            shown = is_shown(file, found.steps.get(file.id, ()))
            place = f"{base}{MEDIA}/{token}/{file.position}/"
            files.append(
                {
                    "name": file.name,
                    "duration": file.duration,
                    "width": file.width,
                    "height": file.height,
                    "playable": shown and file.playable,
                    **result_urls(place, file, shown=shown),
                }
            )
        title = task.title or (PurePath(seen[0].name).stem if seen else "")
        embed_url = self.embed_url(token, base)
        content = {
            "success": True,
            "title": title,
            "playable": bool(files) and task.playable and all(file["playable"] for file in files),
            "expires_at": None if row.expires_at is None else moment(row.expires_at),
            "embed_url": embed_url,
            "files": files,
        }
        return SharedVideo(title, f"{base}{PAGE}/{token}", embed_url, content)


def moment(at: datetime) -> str:
    """A time as the API has it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
