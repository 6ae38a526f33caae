"""The types of event that others are told of, and the rows of `task_events` that they come from.

Rule: the names are a contract with receivers; a row whose type is not here is told to nobody.
"""

from collections.abc import Mapping

PUBLIC: Mapping[str, str] = {
    "upload_created": "upload.created",
    "upload_finished": "upload.finished",
    "upload_expired": "upload.expired",
    "upload_rejected": "upload.rejected",
    "processing": "task.processing",
    "playable": "video.playable",
    "completed": "task.completed",
    "error": "task.failed",
    "cancelled": "task.cancelled",
    "removed": "task.removed",
}
"""The public name by the type of the row."""

NAMES: tuple[str, ...] = tuple(PUBLIC.values())
"""All public names."""
