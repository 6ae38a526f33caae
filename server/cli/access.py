"""`videodock keys …`, `videodock grants …` and `videodock signing rotate`.

Rule: a secret is printed once, when it is made, on standard output; it is nowhere else, and nothing shows it again.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from server.cli import exits
from server.settings import Settings

if TYPE_CHECKING:
    from server.database.access_models import ApiKey

Decorator = Callable[[Any], Any]
Given = str | None
Read = Callable[[Mapping[str, Given]], Settings]

_SCOPES = ("upload", "read", "manage", "admin")
_SCOPES_HELP = (
    "upload: create and continue uploads; read: status, results and originals; manage: cancel and delete; admin: "
    "everything, for every owner. May be repeated."
)
_UNITS = {"m": 60, "h": 3600, "d": 86400}
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def add_access_commands(main: click.Group, place: Decorator, settings: Read) -> None:
    """Add the three groups."""
    main.add_command(_keys(place, settings))
    main.add_command(_grants(place, settings))
    main.add_command(_signing(place, settings))


class _Duration(click.ParamType[timedelta]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        match = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", value)
        if match is None:
            self.fail("give a number and m, h or d, such as 90d", param, ctx)
        return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def _owner(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    from server.auth.principal import is_owner

    if not is_owner(value):
        raise click.BadParameter("an owner is 1 to 256 printable characters without spaces around them")
    return value


def _keys(place: Decorator, settings: Read) -> click.Group:
    group = click.Group("keys", short_help="Create, list and revoke API keys.")
    group.help = "API keys, for backends and scripts, and for signing in on the upload page."

    @group.command(short_help="Create a key and print it, once.")
    @click.option("--owner", required=True, callback=_owner, help="Whose uploads and tasks it is for.")
    @click.option("--scope", "scopes", multiple=True, required=True, type=click.Choice(_SCOPES), help=_SCOPES_HELP)
    @click.option(
        "--expires",
        type=_Duration(),
        metavar="DURATION",
        help="A number and m, h or d, such as 90d; without it, never.",
    )
    @_JSON
    @place
    def create(owner: str, scopes: Sequence[str], expires: timedelta | None, as_json: bool, **given: Given) -> None:
        """Create a key and print it. It cannot be shown again: store it where secrets are kept.

        To rotate a key, create a second one, change your clients, and revoke the first one.
        """
        from server.auth.principal import scopes_of
        from server.bootstrap import utc_now
        from server.cli import actions, output

        made = settings(given)
        with actions.opened(made) as database:
            from server.auth.keys import ApiKeys

            keys = ApiKeys.open(database, utc_now)
            row, text = keys.create(owner, scopes_of(scopes), None if expires is None else utc_now() + expires)
            actions.audit(database, "key_created", "key", row.id, owner, scopes=sorted(scopes))
        if as_json:
            shown = {"id": row.id, "key": text, "owner": owner, "scopes": row.scopes, "expires_at": row.expires_at}
            click.echo(output.as_json(shown))
            return
        click.echo(text)
        click.echo(f"This key is shown once. `videodock keys revoke {row.id}` takes it back.", err=True)

    @group.command("list", short_help="List keys, the newest first.")
    @click.option("--owner", help="Only those of this owner.")
    @_JSON
    @place
    def list_keys(owner: Given, as_json: bool, **given: Given) -> None:
        """List keys without their secrets, the newest first."""
        from server.auth.keys import ApiKeys
        from server.bootstrap import utc_now
        from server.cli import actions, output

        with actions.opened(settings(given)) as database:
            found = ApiKeys.open(database, utc_now).list(owner)
        if as_json:
            click.echo(output.as_json([_record(key) for key in found]))
        elif found:
            now = utc_now()
            rows = [
                [
                    key.id,
                    _state(key, now),
                    key.created_at,
                    key.expires_at,
                    key.last_used_at,
                    key.owner,
                    " ".join(key.scopes),
                ]
                for key in found
            ]
            times = ["CREATED (UTC)", "EXPIRES (UTC)", "LAST USED (HOUR, UTC)"]
            click.echo(output.table(["ID", "STATE", *times, "OWNER", "SCOPES"], rows))
        else:
            click.echo("No keys.")

    @group.command(short_help="Revoke a key; it is refused within 5 seconds.")
    @click.argument("key_id")
    @place
    def revoke(key_id: str, **given: Given) -> None:
        """Revoke a key by its id, or by the key itself. Every process refuses it within 5 seconds.

        Uploads that it created go on: their URLs carry their own right.
        """
        from server.auth import credentials
        from server.auth.keys import ApiKeys
        from server.bootstrap import utc_now
        from server.cli import actions

        whole = credentials.parse(key_id)
        key_id = key_id if whole is None else whole.id
        with actions.opened(settings(given)) as database:
            if not ApiKeys.open(database, utc_now).revoke(key_id):
                raise exits.NotThere(f"There is no key {key_id}.")
            actions.audit(database, "key_revoked", "key", key_id)
        click.echo("Revoked.")

    return group


def _grants(place: Decorator, settings: Read) -> click.Group:
    group = click.Group("grants", short_help="List and revoke upload grants.")
    group.help = "Upload grants, which backends make by POST /api/grants."

    @group.command("list", short_help="List grants, the newest first.")
    @click.option("--owner", help="Only those of this owner.")
    @click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="0 for all.")
    @_JSON
    @place
    def list_grants(owner: Given, limit: int, as_json: bool, **given: Given) -> None:
        """List grants without their secrets, the newest first."""
        from server.auth.grants import Grants
        from server.bootstrap import new_id, utc_now
        from server.cli import actions, output

        with actions.opened(settings(given)) as database:
            found = Grants.open(database, utc_now, new_id).list(owner, limit)
        names = ("id", "owner", "created_by", "created_at", "expires_at", "revoked_at", "uploads")
        if as_json:
            records = [{name: getattr(grant, name) for name in names} | {"used": used} for grant, used in found]
            click.echo(output.as_json(records))
        elif found:
            now = utc_now()
            rows = [
                [grant.id, grant.owner, f"{used} of {grant.uploads}", _state(grant, now), grant.expires_at]
                for grant, used in found
            ]
            click.echo(output.table(["ID", "OWNER", "USED", "STATE", "EXPIRES (UTC)"], rows))
        else:
            click.echo("No grants.")

    @group.command(short_help="Revoke a grant; its uploads stay.")
    @click.argument("grant_id")
    @place
    def revoke(grant_id: str, **given: Given) -> None:
        """Revoke a grant: it creates no more uploads. Those that it created stay, and may be continued."""
        from server.auth.grants import Grants
        from server.bootstrap import new_id, utc_now
        from server.cli import actions

        with actions.opened(settings(given)) as database:
            if not Grants.open(database, utc_now, new_id).revoke(grant_id):
                raise exits.NotThere(f"There is no grant {grant_id}.")
            actions.audit(database, "grant_revoked", "grant", grant_id)
        click.echo("Revoked.")

    return group


def _signing(place: Decorator, settings: Read) -> click.Group:
    group = click.Group("signing", short_help="Rotate the keys that sign URLs.")
    group.help = "The keys that sign the URLs of uploads and videos."

    @group.command(short_help="Sign with a new key; older ones still verify.")
    @click.option(
        "--keep",
        type=click.IntRange(1),
        default=3,
        show_default=True,
        help="How many keys stay, the new one among them. 1 makes every URL invalid that is out now.",
    )
    @place
    def rotate(keep: int, **given: Given) -> None:
        """Sign URLs with a new key from now on. The newest keys stay and verify what they signed.

        The URL of an unfinished upload is valid as long as its key: let a week pass between two rotations.
        """
        from server.auth.signatures import Signatures
        from server.bootstrap import utc_now
        from server.cli import actions

        with actions.opened(settings(given)) as database:
            made, gone = Signatures(database, utc_now).rotate(keep)
            actions.audit(database, "signing_rotated", "signing_key", made, removed=gone)
        click.echo(f"New URLs are signed with the key {made}. Removed: {gone}.")

    return group


def _state(row: Any, now: datetime) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= now else "valid"


def _record(key: "ApiKey") -> Mapping[str, object]:
    names = ("id", "owner", "scopes", "created_at", "expires_at", "revoked_at", "last_used_at")
    return {name: getattr(key, name) for name in names}
