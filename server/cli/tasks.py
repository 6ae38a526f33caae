"""`videodock tasks …` and `videodock uploads …`.

Rules:

- Exit codes: 0 done; 1 the database or the data folder cannot be used; 2 a command that cannot be; 3 there is no such
  task or upload; 4 its state does not allow it. What went wrong is one sentence on standard error.
- Parts are imported where they are used, so that `--help` is there at once.
"""

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from server.cli import exits
from server.cli.audit import audit_group
from server.cli.backups import backup_command, restore_command
from server.cli.maintenance import check_command
from server.cli.owners import owner_command, owners_command
from server.cli.reports import reports_group
from server.cli.watch import watch_command
from server.lifecycle import TaskStatus, UploadStatus
from server.settings import Settings

if TYPE_CHECKING:
    from server.cli.rows import Record

Decorator = Callable[[Any], Any]
Given = str | None

_LIMIT = 20


@contextmanager
def _refusals() -> Iterator[None]:
    from server.cli.actions import ActionRefusedError, UnknownError

    try:
        yield
    except UnknownError as error:
        raise exits.NotThere(str(error)) from None
    except ActionRefusedError as error:
        raise exits.Refused(str(error)) from None


def add_to(main: click.Group, place: Decorator, settings: Callable[[Mapping[str, Given]], Settings]) -> None:
    """Add these commands and those of other modules. `place` gives a command the options of where things are,
    `settings` reads them."""
    main.add_command(_tasks(place, settings))
    main.add_command(_uploads(place, settings))
    main.add_command(owners_command(place, settings))
    main.add_command(owner_command(place, settings))
    main.add_command(audit_group(place, settings))
    main.add_command(reports_group(place, settings))
    main.add_command(check_command(place, settings))
    main.add_command(backup_command(place, settings))
    main.add_command(restore_command(place, settings))


def _filters(states: Sequence[str]) -> Decorator:
    def decorate(command: Any) -> Any:
        for option in (
            click.option("--json", "as_json", is_flag=True, help="Print JSON: every column, sizes in bytes."),
            click.option("--limit", type=click.IntRange(0), default=_LIMIT, show_default=True, help="0 for all."),
            click.option("--owner", help="Only those of this owner."),
            click.option(
                "--status", "statuses", multiple=True, type=click.Choice(states), help="Only those; may be repeated."
            ),
        ):
            command = option(command)
        return command

    return decorate


_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON: every column, sizes in bytes.")


def _tasks(place: Decorator, settings: Callable[[Mapping[str, Given]], Settings]) -> click.Group:
    group = click.Group("tasks", short_help="List and show tasks; retry, cancel or delete one.")
    group.help = "Look at tasks; have one tried again, cancel or delete one. Beside a running server or without."

    @group.command("list", short_help="List tasks, the newest first.")
    @_filters([status.value for status in TaskStatus])
    @place
    def list_tasks(statuses: Sequence[str], owner: Given, limit: int, as_json: bool, **given: Given) -> None:
        """List tasks, the newest first."""
        _list("tasks", settings(given), statuses, owner, limit, as_json)

    @group.command(short_help="Show a task, its files, steps and events.")
    @click.argument("task_id")
    @_JSON
    @place
    def show(task_id: str, as_json: bool, **given: Given) -> None:
        """Show a task with its files, their steps, and what happened to it."""
        _show("task", settings(given), task_id, as_json)

    @group.command(short_help="Have a task's failed files tried again.")
    @click.argument("task_id")
    @place
    def retry(task_id: str, **given: Given) -> None:
        """Put a task that ended in `error`, or completed in part, back to `uploaded`: its failed files wait again.

        Files that are completed stay as they are, and so does one whose original is gone.
        """
        from server.cli import actions

        with _refusals(), actions.serving(settings(given)) as services:
            done = actions.retry(services, task_id)
        from server.cli.output import cell

        click.echo(f"Waits again: {', '.join(cell(name) for name in done.waiting)}.")
        if done.left:
            click.echo(f"Its original is gone, so it stays failed: {', '.join(cell(name) for name in done.left)}.")

    @group.command(short_help="Cancel a task that has not ended.")
    @click.argument("task_id")
    @place
    def cancel(task_id: str, **given: Given) -> None:
        """Cancel a task that waits or runs; its worker stops within seconds."""
        from server.cli import actions

        made = settings(given)
        with _refusals(), actions.opened(made) as database:
            actions.cancel(database, task_id, made.data_dir)
        click.echo("Cancelled.")

    @group.command(short_help="Delete a task with its originals and results.")
    @click.argument("task_id")
    @place
    def delete(task_id: str, **given: Given) -> None:
        """Delete a task that waits, runs or has ended: its originals, and everything that was made of them.

        Its rows stay for reports, with the status `removed`. Nothing brings the videos back.
        """
        from server.cli import actions

        with _refusals(), actions.serving(settings(given)) as services:
            is_gone = actions.delete(services, task_id)
        click.echo("Deleted." if is_gone else "Deleted. What is still in use goes with the next sweep.")

    group.add_command(watch_command(place, settings))
    return group


def _uploads(place: Decorator, settings: Callable[[Mapping[str, Given]], Settings]) -> click.Group:
    group = click.Group("uploads", short_help="List and show uploads; terminate one.")
    group.help = "Look at uploads, or remove one; beside a running server or without."

    @group.command("list", short_help="List uploads, the newest first.")
    @_filters([status.value for status in UploadStatus])
    @place
    def list_uploads(statuses: Sequence[str], owner: Given, limit: int, as_json: bool, **given: Given) -> None:
        """List uploads, the newest first. What an open one has is as of a second ago."""
        _list("uploads", settings(given), statuses, owner, limit, as_json)

    @group.command(short_help="Show an upload.")
    @click.argument("upload_id")
    @_JSON
    @place
    def show(upload_id: str, as_json: bool, **given: Given) -> None:
        """Show all that is known of an upload."""
        _show("upload", settings(given), upload_id, as_json)

    @group.command(short_help="Remove an upload and what was made of it.")
    @click.argument("upload_id")
    @place
    def terminate(upload_id: str, **given: Given) -> None:
        """Remove an upload with its bytes and everything that was made of it; its client gets 410 Gone.

        If a task works on it, that stops within seconds, and the other files of the task go on.
        """
        from server.cli import actions

        with _refusals(), actions.serving(settings(given)) as services:
            actions.terminate(services, upload_id)
        click.echo("Terminated.")

    return group


def _list(kind: str, settings: Settings, statuses: Sequence[str], owner: Given, limit: int, as_json: bool) -> None:
    from server.cli import actions, listings, output, rows

    read = {"tasks": rows.tasks, "uploads": rows.uploads}[kind]
    with actions.opened(settings) as database, database.snapshot() as session:
        found = read(session, statuses, owner, limit)
    if as_json:
        click.echo(output.as_json(found))
    elif found:
        click.echo(listings.listed(kind, found, _width()))
    else:
        click.echo(f"No {kind}.")


def _show(kind: str, settings: Settings, its_id: str, as_json: bool) -> None:
    from server.cli import actions, listings, output, rows
    from server.tus.headers import is_id

    read: Mapping[str, Callable[..., Record | None]] = {"task": rows.task, "upload": rows.upload}
    with actions.opened(settings) as database, database.read() as session:
        found = read[kind](session, its_id) if is_id(its_id) else None
    if found is None:
        raise exits.NotThere(f"There is no {kind} {its_id}.")
    click.echo(output.as_json(found) if as_json else listings.shown(kind, found, _width()))


def _width() -> int | None:
    """Columns of the terminal; None for a pipe or a file, where nothing must be cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
