"""`videodock migrate-store`: moves uploads and results from the former store to the present one.

Rule: it runs beside the server. Exit codes: 0 the former store is empty; 1 it is not, or the settings do not allow it.
"""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from server.errors import StartError
from server.settings import Settings

if TYPE_CHECKING:
    from server.maintenance.store_move import MoveReport

Decorator = Callable[[Any], Any]

_SHOWN_SECONDS = 1.0
_GB = 1_000_000_000


def migrate_store_command(place: Decorator, settings: Callable[[Mapping[str, str | None]], Settings]) -> click.Command:
    """The command. `place` gives it the options of where things are, `settings` reads them."""

    @click.command("migrate-store", short_help="Move uploads and results between disk and bucket.")
    @click.option("--to", "target", metavar="s3://…|PATH", required=True, help="Where to: as in the setting `store`.")
    @click.option("--dry-run", is_flag=True, help="Print what would be moved, and change nothing.")
    @click.option("--parallel", type=click.IntRange(1, 64), default=4, show_default=True, help="Uploads at once.")
    @place
    def migrate_store(target: str, dry_run: bool, parallel: int, **given: str | None) -> None:
        """Move complete uploads and results from `previous_store` to `store`, beside the running server.

        It may be stopped at any moment; the next run goes on. Exit code 1 while something is left.
        """
        from server.cli import actions
        from server.maintenance.store_move import StoreMove
        from server.storage.pair import PairStore
        from server.storage.s3.results import BucketResults

        chosen = settings(given)
        _check_target(chosen, target)
        with actions.serving(chosen) as services:
            store, results = services.store, services.results
            if not isinstance(store, PairStore) or not isinstance(results, BucketResults):
                raise StartError("The setting `previous_store` says from where, and it is empty.")
            move = StoreMove(
                database=services.database, store=store, locks=services.locks, results=results, parallel=parallel
            )
            report = move.run(_Shown(), dry_run=dry_run)
        click.echo(_as_text(report, dry_run=dry_run))
        if report.left and not dry_run:
            sys.exit(1)

    return migrate_store


def _check_target(settings: Settings, target: str) -> None:
    if not settings.previous_store:
        raise StartError(
            "The setting `previous_store` says from where, and it is empty. Set `store` to where uploads shall be, "
            "`previous_store` to where they are (disk, or s3://…), and restart all servers and workers; then run this."
        )
    if settings.store:
        is_same = target == settings.store
    else:
        found = Path(target).absolute()
        is_same = found in (settings.data_dir.absolute(), settings.data_dir.absolute() / "uploads")
    if not is_same:
        wanted = settings.store or settings.data_dir / "uploads"
        raise StartError(f"New uploads go to {wanted} by the settings. Only that is possible for the others, too.")


class _Shown:
    """The progress, on standard error, once a second."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, report: "MoveReport", number: int, total: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _SHOWN_SECONDS
            done = f"{report.uploads} of {number} uploads, {report.upload_bytes / _GB:.2f} of {total / _GB:.2f} GB"
            click.echo(done, err=True)


def _as_text(report: "MoveReport", *, dry_run: bool) -> str:
    verb = "Would move" if dry_run else "Moved"
    size = f"{report.upload_bytes / _GB:.2f} GB"
    lines = [f"{verb} {report.uploads} uploads ({size}), and the results of {report.results} files."]
    if report.open_uploads:
        lines.append(f"{report.open_uploads} uploads are open: they stay until they are complete.")
    if report.busy:
        lines.append(f"{report.busy} uploads are in use: they stay until the next run.")
    if report.in_quarantine:
        lines.append(f"{report.in_quarantine} uploads are in quarantine: they stay until they are deleted.")
    if report.failed:
        lines.append(f"{len(report.failed)} could not be moved; the log says why: {', '.join(report.failed[:3])}")
    if report.left:
        lines.append("Run this again later, and keep `previous_store` until then.")
    elif not dry_run:
        lines.append("The former store is empty: unset `previous_store`, and restart the servers and workers.")
    return "\n".join(lines)
