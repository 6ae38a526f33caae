"""What `videodock tasks watch --url` reads from another machine.

Rule: a module of its own, because its imports are slow and no other command needs them.
"""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import click

from server.cli import exits
from server.cli.watch import Line

_RETRY_SECONDS = 2.0
_SILENCE_SECONDS = 45.0  # a server sends a comment every 15


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Makes a redirect an error."""

    def redirect_request(self, *_: Any) -> None:
        return None


def follow(url: str, task_id: str, key: str | None) -> Iterator[Line]:
    """The events of a task, by the live events of the server at `url`, until the task ends.

    Raises `click.ClickException` for a refusal.
    """
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
