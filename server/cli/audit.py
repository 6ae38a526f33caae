"""`videodock audit list`: who did what, for an operator.

Rule: it only looks. Exit codes are those of `videodock tasks`.
"""

import re
import shutil
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from server.settings import Settings

if TYPE_CHECKING:
    from server.cli.rows import Record

Decorator = Callable[[Any], Any]
Given = str | None

_LIMIT = 50
_AGO = re.compile(r"([0-9]{1,6})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class Since(click.ParamType[datetime]):
    """A time, or how long ago it was."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            if ago := _AGO.fullmatch(value):
                return datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]])
            found = datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            self.fail("use a time such as 2026-03-01 or 2026-03-01T12:00Z, or 90m, 12h or 7d ago", param, ctx)
        # A time without a zone is UTC, as all times are that the commands print.
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def audit_group(place: Decorator, settings: Callable[[Mapping[str, Given]], Settings]) -> click.Group:
    """The commands. `place` gives one the options of where things are, `settings` reads them."""
    group = click.Group("audit", short_help="Show who did what.")
    group.help = "Look at the audit log, beside a running server or without."

    @group.command("list", short_help="List actions, the newest first.")
    @click.option("--owner", help="Only actions of this owner, or on what is this owner's.")
    @click.option("--action", "actions", multiple=True, help="Only those, such as `sign_in`; may be repeated.")
    @click.option("--since", type=Since(), metavar="TIME", help="Only those since a time (UTC), or since 7d, 12h, 90m.")
    @click.option("--limit", type=click.IntRange(0), default=_LIMIT, show_default=True, help="0 for all.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON: every column.")
    @place
    def list_entries(
        owner: Given, actions: tuple[str, ...], since: datetime | None, limit: int, as_json: bool, **given: Given
    ) -> None:
        """List what was done: when, by which credential, from where, to which object. The newest comes first."""
        from server.cli import output, rows
        from server.cli.actions import opened

        with opened(settings(given)) as database, database.read() as session:
            found = rows.audit_entries(session, owner, actions, since, limit)
        if as_json:
            click.echo(output.as_json(found))
        elif found:
            click.echo(_table(found))
        else:
            click.echo("No entries.")

    return group


def _table(found: "list[Record]") -> str:
    from server.cli import output

    headings = ("WHEN (UTC)", "ACTION", "ACTOR", "OWNER", "OBJECT", "FROM", "DETAILS")
    # Nothing is cut in a pipe or a file.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return output.table(headings, [_line(entry) for entry in found], width)


def _line(entry: "Record") -> tuple[object, ...]:
    thing = " ".join(entry[name] for name in ("object_kind", "object_id") if entry[name]) or None
    if thing and entry["object_owner"]:
        thing += f" of {entry['object_owner']}"
    details = "; ".join(f"{name} {_text(value)}" for name, value in (entry["details"] or {}).items())
    who = (entry["action"], entry["actor"], entry["owner"])
    return (entry["at"], *who, thing, entry["address"], details or None)


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
