"""The policy for uploads: which may come in, and what happens when they are complete.

Rule: a hook that changes rows does so in the transaction of the change that it belongs to, so both happen or
neither does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from server import filenames, media_types
from server.database.prepared import Link, Row
from server.errors import FileEmptyError, MediaTypeUnsupportedError, TooLargeToScanError
from server.settings import Settings
from server.tasks import queue


@dataclass(frozen=True)
class UploadPolicy:
    """The hooks of this installation."""

    settings: Settings
    node: str
    new_id: Callable[[], str]

    @property
    def checks_types(self) -> bool:
        """Whether an upload must be a video."""
        return self.settings.accept == "video"

    @property
    def scan_limit(self) -> int | None:
        """The most bytes of an upload, since the virus scanner takes no more; None without such a limit."""
        refuses = self.settings.clamd and self.settings.scan_too_large == "refuse"
        return int(self.settings.scan_max_size) if refuses else None

    def check_length(self, length: int | None) -> None:
        """Check that an upload of at least so many bytes could be scanned; raises `TooLargeToScanError`."""
        limit = self.scan_limit
        if limit is not None and length is not None and length > limit:
            raise TooLargeToScanError(limit=limit)

    def check_filename(
        self, filename: str | None, *, by_form: bool = False, only: tuple[str, ...] | None = None
    ) -> None:
        """Check that an upload of this name may be created; raises `MediaTypeUnsupportedError`.

        `only` are the extensions that a grant allows, None where it allows all.
        """
        types = self._types(by_form=by_form, only=only)
        must_be = self.checks_types or only is not None
        if must_be and filename and media_types.by_name(filename) not in types:
            raise MediaTypeUnsupportedError(accepted=media_types.listed(types))

    def check_content(
        self, filename: str | None, head: bytes, *, by_form: bool = False, only: tuple[str, ...] | None = None
    ) -> str | None:
        """The name of the media type that the first bytes prove; raises `MediaTypeUnsupportedError`.

        None where anything is accepted and these bytes are not a video that the pipeline knows.
        """
        if self.checks_types and not head:
            raise FileEmptyError
        try:
            return media_types.verify(filename, head, self._types(by_form=by_form, only=only)).name
        except MediaTypeUnsupportedError:
            if self.checks_types or only is not None:
                raise
            return None

    def _types(self, *, by_form: bool, only: tuple[str, ...] | None = None) -> media_types.Types:
        """The accepted media types; all that the pipeline knows where an upload need not be a video.

        Of these, `only` the ones that a grant allows, if it is not None.
        """
        types = media_types.accepted(self.settings.accept_types if self.checks_types else ("all",), by_form=by_form)
        if only is None:
            return types
        allowed = media_types.accepted(only, by_form=False)
        return tuple(kind for kind in types if kind in allowed)

    def largest(self, limit: int) -> int:
        """The most bytes of an upload that otherwise may have `limit`, since a larger one could not be scanned."""
        return min(limit, self.scan_limit or limit)

    def listed(self, *, by_form: bool) -> list[str] | None:
        """The extensions that uploads may have, without a dot; None for every file."""
        if not self.checks_types:
            return None
        return [extension for kind in self._types(by_form=by_form) for extension in kind.extensions]

    @property
    def extensions(self) -> str:
        """The extensions that tus uploads may have, as a sentence lists them; `*` for every file."""
        return media_types.listed(self._types(by_form=False)) if self.checks_types else "*"

    def register_task(self, connection: Link, task_id: str, uploads: Sequence[Row], now: datetime) -> None:
        """Complete uploads become a task, in the transaction that completes them."""
        files = [
            queue.NewFile(
                upload_id=upload.id,
                name=upload.filename or filenames.FALLBACK,
                safe_name=filenames.safe(upload.filename or filenames.FALLBACK),
                size=upload.length or 0,
                media_type=upload.media_type,
            )
            for upload in uploads
        ]
        queue.register(
            connection,
            task_id,
            uploads[0].owner,
            files,
            node=self.node,
            now=now,
            new_id=self.new_id,
            passthrough=next((upload.passthrough for upload in uploads if upload.passthrough), None),
        )
