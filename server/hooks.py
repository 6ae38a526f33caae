"""What Python hooks receive and return: the public interface for your own packages (docs/hooks.md).

Rule: this module imports the standard library only, and its names stay. A package registers functions as entry points
of the group `videodock.hooks`, under the names `pre_create`, `post_finish` and `post_task`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

GROUP = "videodock.hooks"
"""The group of the entry points."""


@dataclass(frozen=True, kw_only=True)
class Creation:
    """An upload or a form that a client wants to create. What the client did not declare is None.

    A form has no name; its size is that of the whole body in bytes.
    """

    protocol: Literal["tus", "form"]
    owner: str
    name: str | None = None
    size: int | None = None
    type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    remote_address: str | None = None


@dataclass(frozen=True, kw_only=True)
class Refuse:
    """The answer of `pre_create` that refuses the creation: 403 with this sentence for the client's user."""

    explanation: str = ""


@dataclass(frozen=True, kw_only=True)
class UploadFinished:
    """An upload has all of its bytes; its task is queued or gathers files. A repeated call has the same `event_id`."""

    event_id: int
    at: str
    owner: str
    upload_id: str
    task_id: str
    name: str | None
    size: int | None
    passthrough: str | None
    task: Mapping[str, Any]
    """The status of the task, as the API has it."""


@dataclass(frozen=True, kw_only=True)
class TaskEnded:
    """A task has ended: `completed`, `error` or `cancelled`. A repeated call has the same `event_id`."""

    event_id: int
    at: str
    owner: str
    task_id: str
    status: Literal["completed", "error", "cancelled"]
    passthrough: str | None
    task: Mapping[str, Any]
    """The status of the task, as the API has it; only `task_id` and `deleted` once its rows are gone."""


PreCreate = Callable[[Creation], Refuse | None]
"""`pre_create`: asked before an upload or a form is created; None lets it be created."""

PostFinish = Callable[[UploadFinished], None]
"""`post_finish`: called at least once for each upload that has all of its bytes."""

PostTask = Callable[[TaskEnded], None]
"""`post_task`: called at least once for each task that has ended."""
