"""Hooks for Videodock: refuses names, and writes what happens into a file of JSON lines.

The file is named by the environment variable HOOKS_EXAMPLE_FILE of the server.
"""

import json
import os
from pathlib import Path

from server.hooks import Creation, Refuse, TaskEnded, UploadFinished


def pre_create(creation: Creation) -> Refuse | None:
    """Refuse files that are called drafts. Forms have no name here."""
    if (creation.name or "").lower().startswith("draft"):
        return Refuse(explanation="Drafts are not for upload; rename the file once it is final")
    return None


def post_finish(upload: UploadFinished) -> None:
    """An upload has all of its bytes."""
    _write(event=upload.event_id, finished=upload.upload_id, name=upload.name, owner=upload.owner)


def post_task(task: TaskEnded) -> None:
    """A task has ended; the same `event_id` may come again after a crash, so a database would look it up first."""
    urls = [file["mp4_url"] for file in task.task.get("files", [])]
    _write(event=task.event_id, ended=task.task_id, status=task.status, urls=urls)


def _write(**line: object) -> None:
    path = os.environ.get("HOOKS_EXAMPLE_FILE")
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
