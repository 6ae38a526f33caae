"""`videodock owners …`, `videodock owner rename` and `videodock owner erase`.

Rule: exit codes as in `tasks.py`: 3 for an owner that is not known, 4 when the new name is in use. Beside a running
server or without; each process follows within seconds.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from pydantic import ByteSize, NonNegativeInt, TypeAdapter, ValidationError

from server.cli import exits
from server.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from server.auth.audit import Entry
    from server.maintenance.erasure import Erased
    from server.uploads.quotas import OwnerQuotas

Decorator = Callable[[Any], Any]
Given = str | None

_SIZES = ("stored_bytes", "open_bytes", "daily_bytes")
_NUMBERS = ("open_uploads", "waiting_tasks")
_HELP = {
    "stored_bytes": "Most bytes of all uploads, such as 10GiB.",
    "open_bytes": "Most bytes of uploads that are open at once.",
    "open_uploads": "Most uploads that are open at once.",
    "daily_bytes": "Most bytes created on a day (UTC).",
    "waiting_tasks": "Most tasks that have not ended.",
}
_HEADINGS = ("STORED", "OPEN", "OPEN UPLOADS", "TODAY", "TASKS")
_COLUMNS = ("stored_bytes", "open_bytes", "open_uploads", "daily_bytes", "waiting_tasks")
_NONE = "none"


class _Limit(click.ParamType[Any]):
    """A number, or `none`: then the setting holds."""

    def __init__(self, *, is_size: bool) -> None:
        self.name = "size" if is_size else "number"
        self._is_size = is_size

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == _NONE or not isinstance(value, str):
            return value
        try:
            number = int(TypeAdapter(ByteSize if self._is_size else NonNegativeInt).validate_strings(value))
        except ValidationError:
            number = -1
        if not 0 <= number < 1 << 63:
            example = "a size such as 10GiB" if self._is_size else "a number"
            self.fail(f"{value!r} is not {example}, 0 for no limit, or `none` for the setting.", param, ctx)
        return number


def owners_command(place: Decorator, settings: Callable[[Mapping[str, Given]], Settings]) -> click.Group:
    """The group `owners`."""
    group = click.Group("owners", short_help="List owners with usage and limits; set limits.")
    group.help = "Look at what owners have, and set their limits; beside a running server or without."

    @group.command("list", short_help="List owners, what they have and may have.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON: sizes in bytes, a limit of 0 is none.")
    @place
    def list_owners(as_json: bool, **given: Given) -> None:
        """List owners with what they have, each number beside its limit."""
        _list(settings(given), as_json=as_json)

    @group.command("set", short_help="Set limits of an owner.")
    @click.argument("name")
    @_limits
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @place
    def set_limits(name: str, as_json: bool, **given: Any) -> None:
        """Set limits of the owner NAME, who need not have anything yet. They hold within seconds.

        0 is no limit; `none` takes a limit of its own away, so that the setting holds again.
        """
        chosen = {each: given.pop(each) for each in _HELP}
        limits = {each: None if value == _NONE else value for each, value in chosen.items() if value is not None}
        if not limits:
            raise click.UsageError("Name at least one limit, such as --stored-bytes 10GiB.")
        _set(settings(given), _checked(name), limits, as_json=as_json)

    return group


def owner_command(place: Decorator, settings: Callable[[Mapping[str, Given]], Settings]) -> click.Group:
    """The group `owner`."""
    group = click.Group("owner", short_help="Rename an owner, or erase one.")

    @group.command(short_help="Give everything of an owner to another name.")
    @click.argument("old")
    @click.argument("new")
    @click.option("--merge", is_flag=True, help="Also when NEW has something already; its own limits stay.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON: moved rows by table.")
    @place
    def rename(old: str, new: str, merge: bool, as_json: bool, **given: Given) -> None:
        """Give uploads, tasks, keys, grants, sign-ins and limits of OLD to NEW, all at once.

        Credentials that do not come from Videodock (JWT, forward authentication, a proxy) still name OLD.
        """
        _rename(settings(given), old, _checked(new), merge=merge, as_json=as_json)

    @group.command(short_help="Remove an owner's videos and personal data.")
    @click.argument("name")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @place
    def erase(name: str, yes: bool, as_json: bool, **given: Given) -> None:
        """Remove the videos, uploads, keys, grants and sign-ins of NAME, and every name, title and address.

        Rows stay for reports, under a random name. Nothing brings the rest back. When it was interrupted, repeat it.
        Backups and logs keep what they have.
        """
        if not name.strip():  # a variable of a script that was not set, perhaps
            raise click.UsageError("The name of an owner is not empty.")
        made = settings(given)
        if not yes:
            click.confirm(f"Remove everything of {name!r} for good?", abort=True)
        _erase(made, name, as_json=as_json)

    return group


def _limits(command: Any) -> Any:
    for name in reversed(_HELP):
        kind = _Limit(is_size=name in _SIZES)
        metavar = "SIZE|none" if name in _SIZES else "NUMBER|none"
        option = click.option(f"--{name.replace('_', '-')}", name, type=kind, metavar=metavar, help=_HELP[name])
        command = option(command)
    return command


def _checked(name: str) -> str:
    if not name.strip() or not name.isprintable():
        raise click.UsageError("The name of an owner is not empty, and has no control characters.")
    return name


def _list(settings: Settings, *, as_json: bool) -> None:
    from server.auth import owners
    from server.bootstrap import utc_now
    from server.cli import actions, output
    from server.uploads.quotas import OwnerQuotas

    with actions.opened(settings) as database, database.read() as session:
        quotas = OwnerQuotas(settings=settings, database=database, clock=utc_now)
        now, connection = utc_now(), session.connection()
        found = [_record(connection, quotas, name, now) for name in owners.names(session)]
    if as_json:
        click.echo(output.as_json(found))
    elif found:
        click.echo(output.table(("OWNER", *_HEADINGS), [_line(record) for record in found]))
    else:
        click.echo("No owners.")


def _record(connection: "Connection", quotas: "OwnerQuotas", owner: str, now: datetime) -> dict[str, Any]:
    from dataclasses import asdict

    from server.uploads.usage import OwnerUsage

    return {
        "owner": owner,
        "usage": asdict(OwnerUsage(connection, owner, now).all()),
        "limits": asdict(quotas.limits_of(connection, owner)),
        "own_limits": quotas.own_limits(connection, owner),
    }


def _line(record: Mapping[str, Any]) -> list[str]:
    from server.messages import size

    cells = [record["owner"]]
    for name in _COLUMNS:
        shown = size if name in _SIZES else str
        used, limit = shown(record["usage"][name]), record["limits"][name]
        own = "*" if record["own_limits"][name] is not None else ""
        cells.append(f"{used} of {shown(limit)}{own}" if limit else f"{used}{own}")
    return cells


def _set(settings: Settings, owner: str, limits: Mapping[str, int | None], *, as_json: bool) -> None:
    from server.auth import owners
    from server.bootstrap import utc_now
    from server.cli import actions, output
    from server.uploads.quotas import OwnerQuotas

    with actions.opened(settings) as database:
        with database.write() as session:
            owners.set_limits(session, owner, limits, utc_now())
        actions.audit(database, "owner_limits_set", "owner", owner, owner, **limits)
        quotas = OwnerQuotas(settings=settings, database=database, clock=utc_now)
        with database.read() as session:
            record = _record(session.connection(), quotas, owner, utc_now())
    click.echo(output.as_json(record) if as_json else output.table(("OWNER", *_HEADINGS), [_line(record)]))


def _rename(settings: Settings, old: str, new: str, *, merge: bool, as_json: bool) -> None:
    from server.auth import owners
    from server.cli import actions, output

    if old == new:
        raise click.UsageError("The two names are the same.")
    try:
        with actions.opened(settings) as database:
            moved = owners.rename(database, old, new, merge=merge)
            actions.audit(database, "owner_renamed", "owner", new, new, before=old)
    except owners.OwnerUnknownError:
        raise exits.NotThere(f"There is no owner {output.cell(old)}.") from None
    except owners.OwnerBusyError:
        raise exits.Refused(f"Requests use what {output.cell(old)} has; nothing was changed. Try again.") from None
    except owners.OwnerExistsError:
        raise exits.Refused(f"{output.cell(new)} has something already; --merge puts both together.") from None
    if as_json:
        click.echo(output.as_json(moved))
        return
    counts = (f"{name.replace('_', ' ')} {count}" for name, count in moved.items() if count)
    click.echo(f"Moved to {output.cell(new)}: {', '.join(counts) or 'nothing'}.")


def _erase(settings: Settings, name: str, *, as_json: bool) -> None:
    from dataclasses import asdict

    from server.auth import audit, owners
    from server.bootstrap import utc_now
    from server.cli import actions, output
    from server.maintenance import erasure

    shown = output.cell(name)
    try:
        with actions.serving(settings) as services:
            made = erasure.Erasure(
                database=services.database,
                removal=services.removal,
                store=services.store,
                locks=services.locks,
                node=services.node,
            )
            log = audit.AuditLog(database=services.database, clock=utc_now)
            done = made.erase(name, lambda session, erased: log.write(session.connection(), _entry(erased)))
    except owners.OwnerUnknownError:
        raise exits.NotThere(f"There is no owner {shown}.") from None
    except erasure.ElsewhereError:
        raise exits.Refused(
            f"{shown} has videos in another data folder too; those in this one are removed. Run the same with "
            "--data-dir for that one; it ends the erasure."
        ) from None
    except (erasure.StillBusyError, owners.OwnerBusyError):
        raise exits.Refused(f"Requests use what {shown} has; a part is removed. Run it again.") from None
    if as_json:
        click.echo(output.as_json(asdict(done)))
        return
    click.echo(f"Erased. The rows that stay for reports belong to {done.name} now.")
    click.echo(f"Removed: tasks {done.tasks}, other uploads {done.uploads}.")
    if done.left:
        click.echo(f"Files of {done.left} tasks are in use; the next sweep removes them.")


def _entry(done: "Erased") -> "Entry":
    from server.auth.audit import OPERATOR, Entry

    details = {"tasks": done.tasks, "uploads": done.uploads}
    return Entry(action="owner_erased", actor=OPERATOR, object_kind="owner", object_id=done.name, details=details)
