"""The public names of events: what live streams, webhooks and hooks call the types of `task_events`.

Rule: this is the only table of them. A name is a contract with clients and is never changed; a new type of row needs a
line here.
"""

from collections.abc import Mapping

UPLOAD_PROGRESS = "upload.progress"
"""Bytes of an upload have arrived. Only in live streams, without a row."""
TASK_PROGRESS = "task.progress"
"""The percent of a task has changed. Only in live streams, without a row."""
TASK_STATUS = "task.status"
"""The status of a task when a live stream begins. Only there, without a row of its own."""

NAMES: Mapping[str, str] = {
    "upload_created": "upload.created",
    "upload_finished": "upload.finished",
    "upload_rejected": "upload.rejected",
    "upload_expired": "upload.expired",
    "upload_terminated": "upload.terminated",
    "uploaded": "task.created",
    "gathered": "task.gathered",
    "processing": "task.processing",
    "waiting": "task.waiting",
    "playable": "video.playable",
    "infected": "video.infected",
    "file_completed": "video.completed",
    "file_error": "video.failed",
    "file_removed": "video.removed",
    "poster_changed": "video.poster",
    "completed": "task.completed",
    "error": "task.failed",
    "cancelled": "task.cancelled",
    "retried": "task.retried",
    "removed": "task.removed",
}
"""The public name by the type of the row."""

WEBHOOKS = (
    "upload.created",
    "upload.finished",
    "upload.expired",
    "upload.rejected",
    "task.processing",
    "video.playable",
    "task.completed",
    "task.failed",
    "task.cancelled",
    "task.removed",
)
"""The names that an endpoint may choose: what backends need."""

WEBHOOK_NAMES: Mapping[str, str] = {kind: name for kind, name in NAMES.items() if name in WEBHOOKS}
"""The same by the type of the row."""

ENDS: Mapping[str, str] = {
    "completed": "task.completed",
    "error": "task.failed",
    "cancelled": "task.cancelled",
    "removed": "task.removed",
}
"""The public name of the event that ends a task, by the status that the task then has."""

UPLOAD_ENDS = frozenset({"upload_rejected", "upload_expired", "upload_terminated"})
"""The types of rows after which an upload is gone."""

DESCRIPTIONS: Mapping[str, str] = {
    "upload.created": "An upload was created.",
    "upload.progress": "Bytes have arrived (`received` of `length`). Live streams only, at most twice a second.",
    "upload.finished": "All bytes of an upload have arrived.",
    "upload.rejected": "An upload was refused for its content.",
    "upload.expired": "An upload was removed because its client did not continue it in time.",
    "upload.terminated": "An upload was deleted by its client or an operator.",
    "task.status": "The status when a live stream begins.",
    "task.created": "A task exists; once all its uploads are there it waits for a worker.",
    "task.gathered": "The last upload of a group has arrived.",
    "task.processing": "A worker has begun the task, or begun it again.",
    "task.progress": "The percent, the step or the remaining seconds changed. Live streams only, at most twice a "
    "second.",
    "task.waiting": "The task waits for something, such as the virus scanner, and is tried again.",
    "video.playable": "The videos of the task can be played; better versions may follow.",
    "video.infected": "The virus scanner has found something in a file.",
    "video.completed": "A file of the task is completed.",
    "video.failed": "A file of the task cannot be processed.",
    "video.removed": "A file of the task was deleted.",
    "video.poster": "The owner has changed the poster of a file.",
    "task.completed": "The task has ended; `partial` tells whether files failed.",
    "task.failed": "The task has ended without a result.",
    "task.cancelled": "The task was cancelled.",
    "task.retried": "A failed task waits again.",
    "task.removed": "The task was deleted with its originals and results.",
}
"""What each name means, for the documents."""


def public_name(kind: str) -> str:
    """The public name of a row's type; a type that this version does not know keeps its own."""
    return NAMES.get(kind, kind)
