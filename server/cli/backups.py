"""`videodock backup` and `videodock restore`.

Rule: exit codes are those of `exits.py`: 0 done; 1 the database, a folder or a disk cannot be used; 2 an invalid
command; 3 there is no whole backup; 4 refused in the current state, and nothing was changed; 5 a file is missing from
the backup, or damaged in a restore.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from server.cli import exits
from server.errors import StartError
from server.settings import Settings

if TYPE_CHECKING:
    from server.backup import Manifest

Decorator = Callable[[Any], Any]

_SHOWN_PATHS = 20
_JSON = click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON, sizes in bytes.")
_FOLDER = click.argument("folder", type=click.Path(path_type=Path))


def backup_command(place: Decorator, settings: Callable[[Mapping[str, str | None]], Settings]) -> click.Command:
    """`videodock backup`. `place` adds the options for the places of data, `settings` reads them."""

    @click.command(short_help="Copy database and data folder, beside a running server.")
    @_FOLDER
    @_JSON
    @place
    def backup(folder: Path, as_json: bool, **given: str | None) -> None:
        """Make a backup in FOLDER, or bring the one that is there up to date: only what is new is copied.

        The server goes on meanwhile, and so do uploads. Until the new backup is whole, the earlier one stays.
        """
        made_settings = settings(given)
        from server.backup import create_backup
        from server.cli import actions

        with _sentences(), actions.serving(made_settings) as services, _progress("Backing up") as report:
            made = create_backup(services, folder, report)
        copied = {"copied_files": made.copied_files, "copied_bytes": made.copied_bytes}
        _print_summary(as_json, "Backed up", folder, made.manifest, **copied, missing=made.missing)
        if made.missing:
            raise exits.Damaged(_listed("Named by the database, and missing or incomplete", made.missing))

    return backup


def restore_command(place: Decorator, settings: Callable[[Mapping[str, str | None]], Settings]) -> click.Command:
    """`videodock restore`, likewise."""

    @click.command(short_help="Restore a backup into an empty data folder and database.")
    @_FOLDER
    @click.option("--skip-damaged", is_flag=True, help="Leave out files that are damaged in the backup.")
    @_JSON
    @place
    def restore(folder: Path, skip_damaged: bool, as_json: bool, **given: str | None) -> None:
        """Restore the backup in FOLDER into the data folder and the database, which must be empty.

        SQLite or PostgreSQL, whichever it was. Everything is compared with the backup; until it was, the data folder
        does not serve. A restore that was cut short is repeated with the same command.
        """
        made_settings = settings(given)
        from server.backup import DamagedError, restore_backup

        with _sentences(), _progress("Restoring") as report:
            try:
                done = restore_backup(made_settings, folder, report, skip_damaged=skip_damaged)
            except DamagedError as error:
                raise exits.Damaged(_listed(str(error), error.paths)) from None
        _print_summary(as_json, "Restored", folder, done.manifest, skipped=done.skipped)
        if done.skipped:
            raise exits.Damaged(_listed("Damaged in the backup, and left out", done.skipped))

    return restore


@contextmanager
def _sentences() -> Iterator[None]:
    from server.backup import BackupRefusedError, NoBackupError
    from server.database.session import AWAY, reason

    try:
        yield
    except NoBackupError as error:
        raise exits.NotThere(str(error)) from None
    except BackupRefusedError as error:
        raise exits.Refused(str(error)) from None
    except AWAY as error:
        raise StartError(f"The database cannot be used: {reason(error)}") from None
    except OSError as error:
        raise StartError(f"{error.filename or 'A folder'} cannot be used: {error.strerror}.") from None


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress line on the terminal; nothing where there is none."""
    from server.messages import size

    is_seen, last = sys.stderr.isatty(), 0.0

    def report(done: int, total: int) -> None:
        nonlocal last
        if is_seen and time.monotonic() - last > 0.2:
            last = time.monotonic()
            click.echo(f"\r\x1b[K{what}: {size(done)} of {size(total)}", err=True, nl=False)

    try:
        yield report
    finally:
        if last:
            click.echo("\r\x1b[K", err=True, nl=False)


def _print_summary(as_json: bool, what: str, folder: Path, manifest: "Manifest", **more: object) -> None:
    from server.cli import output
    from server.messages import size

    counts = manifest.counts
    if as_json:
        facts = {"taken_at": manifest.taken_at, "version": manifest.version, "revision": manifest.revision}
        sizes = {"files": manifest.files, "bytes": manifest.bytes, "rows": counts}
        click.echo(output.as_json({"folder": str(folder), **facts, **sizes, **more}))
        return
    copied = more.get("copied_bytes")
    new = f", {size(int(copied))} of them new" if isinstance(copied, int) else ""
    click.echo(
        f"{what}: {counts['uploads']} uploads, {counts['tasks']} tasks, {manifest.files} files, "
        f"{size(manifest.bytes)}{new}. As of {manifest.taken_at[:19].replace('T', ' ')} UTC."
    )


def _listed(what: str, paths: list[str]) -> str:
    more = [f"and {len(paths) - _SHOWN_PATHS} more"] if len(paths) > _SHOWN_PATHS else []
    return "\n".join([f"{what}:", *(f"  {path}" for path in paths[:_SHOWN_PATHS]), *(f"  {line}" for line in more)])
