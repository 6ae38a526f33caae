"""`videodock tasks watch`: what happens to a task, line by line, until it ends.

Rules:

- Beside the database it reads the rows; with `--url` it reads the live events of a server, from any machine, and goes
  on after the last one when the connection breaks. It follows no redirect: another server would get the key.
- It exits with 0 when the task has completed, with 3 when there is none, and with 4 when it ended in another way.
"""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

import click

from server.cli import exits
from server.settings import Settings

Decorator = Callable[[Any], Any]
Given = str | None
Line = Mapping[str, Any]

_PAUSE = 0.5
_RETRY_SECONDS = 2.0
_SILENCE_SECONDS = 45.0  # a server sends a comment every 15
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
            lines = _remote(url.rstrip("/"), task_id, None if key_file is None else key_file.read().strip())
        last: Line = {}
        for last in lines:
            click.echo(json.dumps(last, ensure_ascii=False) if as_json else _text(last))
        if last.get("type") != "task.completed":
            raise exits.Refused(f"The task has not completed: {last.get('type', 'it has no events')}.")

    return watch


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Makes a redirect an error."""

    def redirect_request(self, *_: Any) -> None:
        return None


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


def _remote(url: str, task_id: str, key: str | None) -> Iterator[Line]:
    """By the live events of a server."""
    if not url.startswith(("http://", "https://")):
        raise click.UsageError("--url begins with http:// or https://.")
    after, is_lost = "0", False
    opener = urllib.request.build_opener(_NoRedirect)
    while True:
        headers = {"Accept": "text/event-stream", "Accept-Language": "en", "Last-Event-ID": after}
        headers |= {} if key is None else {"Authorization": f"Bearer {key}"}
        request = urllib.request.Request(f"{url}/api/task/events/{task_id}", headers=headers)  # noqa: S310  # checked
        try:
            with opener.open(request, timeout=_SILENCE_SECONDS) as answer:
                is_lost = False
                if answer.status == 204:
                    return
                for number, line in _messages(answer):
                    after = number or after
                    yield line
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise _refusal(error) from None
        except (OSError, http.client.HTTPException):
            pass
        if not is_lost:
            is_lost = True  # the first time it asks at once: the server ends a stream when the task has ended
            continue
        time.sleep(_RETRY_SECONDS)


def _messages(answer: Any) -> Iterator[tuple[str, Line]]:
    """The messages of a stream, each with its number, which may be empty."""
    fields: dict[str, str] = {}
    for raw in answer:
        line = raw.decode().rstrip("\r\n")
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
            continue
        if "data" in fields:
            yield fields.get("id", ""), json.loads(fields["data"])
        fields = {}


def _refusal(error: urllib.error.HTTPError) -> click.ClickException:
    try:
        sentence = str(json.load(error)["message"])
    except (ValueError, LookupError, TypeError):
        sentence = f"HTTP {error.code}"
    return (exits.NotThere if error.code == 404 else exits.Refused)(sentence)
