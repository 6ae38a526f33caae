"""`videodock tasks watch`: what happens to a task, line by line, until it ends.

Rules:

- Beside the database it reads the rows; with `--url` it reads the live events of a server, from any machine, and goes
  on after the last one when the connection breaks. It follows no redirect: another server would get the key.
- It exits with 0 when the task has completed, with 3 when there is none, and with 4 when it ended in another way.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

import click

from server.cli import exits
from server.settings import Settings

Decorator = Callable[[Any], Any]
Given = str | None
Line = Mapping[str, Any]

_PAUSE = 0.5
_ALL = (1 << 63) - 1


def watch_command(place: Decorator, settings: Callable[[Mapping[str, Given]], Settings]) -> click.Command:
    """The command."""

    @click.command("watch", short_help="Print what happens to a task, until it ends.")
    @click.argument("task_id")
    @click.option("--url", metavar="URL", help="Ask this server instead of the database, such as https://example.org.")
    @click.option("--key-file", type=click.File(), help="With --url: a file with an API key; - is standard input.")
    @click.option("--json", "as_json", is_flag=True, help="Print each event as JSON, one a line.")
    @place
    def watch(task_id: str, url: Given, key_file: IO[str] | None, as_json: bool, **given: Given) -> None:
        """Print what has happened to a task and its uploads, and what happens, until it ends.

        With --url, TASK_ID may be the last part of the URL of one of its uploads, which needs no key.
        """
        if url is None:
            lines = _local(settings(given), task_id)
        else:
            from server.cli.remote_events import follow

            lines = follow(url.rstrip("/"), task_id, None if key_file is None else key_file.read().strip())
        last: Line = {}
        for last in lines:
            click.echo(json.dumps(last, ensure_ascii=False) if as_json else _text(last))
        if last.get("type") != "task.completed":
            raise exits.Refused(f"The task has not completed: {last.get('type', 'it has no events')}.")

    return watch


def _text(line: Line) -> str:
    from server.cli.output import cell

    status = line.get("status") or {}
    words = [str(line["at"]), str(line["type"])]
    if line["type"] == "upload.progress":
        words.append(f"{line['received']} of {line['length'] or '?'} bytes")
    elif line["type"] in ("task.progress", "task.status") and status:
        words.append(f"{status['progress']} %")
        words += [str(status["step"])] if status["step"] else []
        words += [f"{status['eta_seconds']:.0f} s left"] if status["eta_seconds"] is not None else []
    elif line["type"] in ("task.failed", "task.waiting") and status:
        words.append(str(status["message"]))
    return "  ".join(map(cell, words))


def _local(settings: Settings, task_id: str) -> Iterator[Line]:
    """By the rows."""
    from server.cli import actions
    from server.events import feed
    from server.events.types import TASK_PROGRESS, public_name
    from server.lifecycle import TASK_MOVES, ends
    from server.tasks import status, status_rows
    from server.tasks.status import Places
    from server.tus.headers import is_id

    places = Places("", None, {})
    with actions.opened(settings) as database:
        after, shown = 0, None
        while True:
            with database.look() as connection:
                # First the state: the events that led to it are there, then.
                rows = status_rows.look(connection, task_id) if is_id(task_id) else None
                found = feed.past(connection, task_id=task_id, owner=None, after=after, until=_ALL, limit=100)
            if rows is None and not after and not found:
                raise exits.NotThere(f"There is no task {task_id}.")
            state = None if rows is None else status.as_json(rows, places, "en")
            for one in found:
                after = one.id
                at = one.at.strftime("%Y-%m-%dT%H:%M:%SZ")
                upload = {} if one.upload_id is None else {"upload_id": one.upload_id}
                yield {"type": public_name(one.type), "task_id": task_id, "at": at, **upload, "status": state}
            if found:
                continue
            if rows is not None and rows.task.status in ends(TASK_MOVES):
                return
            moved = None if state is None else (state["progress"], state["step"])
            if rows is not None and moved not in (shown, (0, None)):
                at = rows.task.updated_at.strftime("%Y-%m-%dT%H:%M:%SZ")
                yield {"type": TASK_PROGRESS, "task_id": task_id, "at": at, "status": state}
            shown = moved
            time.sleep(_PAUSE)
