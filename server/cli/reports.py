"""`videodock reports grant` and `videodock reports revoke`.

Rule: exit codes as in `tasks.py`: 3 for a role that PostgreSQL does not have, 4 where there are no roles.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from server.cli import exits
from server.settings import Settings

Decorator = Callable[[Any], Any]
Given = str | None

_NO_ROLES = (
    "SQLite has no roles: anyone who can read its file reads everything. Open it with `sqlite3 -readonly`, or give "
    "away a copy without the secrets; docs/reporting.md says how."
)


def reports_group(place: Decorator, settings: Callable[[Mapping[str, Given]], Settings]) -> click.Group:
    """The group `reports`."""
    group = click.Group("reports", short_help="Let a role of PostgreSQL read reports.")
    group.help = "Who may read reports. docs/reporting.md has the views and queries for them."

    @group.command(short_help="Let a role read views and tables.")
    @click.argument("role")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON: the views and tables.")
    @place
    def grant(role: str, as_json: bool, **given: Given) -> None:
        """Let the role ROLE of PostgreSQL read the views and tables, but no secrets: no keys, no sign-ins.

        Create the role before: CREATE ROLE analyst LOGIN PASSWORD '…'. Repeat this command after an upgrade, which may
        add views.
        """
        from server.cli import actions, output
        from server.database import report_access

        with _refusals(role), actions.opened(settings(given)) as database:
            granted = report_access.grant(database, role)
            actions.audit(database, "reports_granted", "role", role)
        if as_json:
            click.echo(output.as_json(granted))
        else:
            click.echo(f"{output.cell(role)} may read {len(granted)} views and tables.")

    @group.command(short_help="Take it back.")
    @click.argument("role")
    @place
    def revoke(role: str, **given: Given) -> None:
        """Take from the role ROLE what `grant` gave it."""
        from server.cli import actions
        from server.database import report_access

        with _refusals(role), actions.opened(settings(given)) as database:
            report_access.revoke(database, role)
            actions.audit(database, "reports_revoked", "role", role)
        click.echo("Revoked.")

    return group


@contextmanager
def _refusals(role: str) -> Iterator[None]:
    from server.cli.output import cell
    from server.database.report_access import NoRolesError, RoleUnknownError

    try:
        yield
    except NoRolesError:
        raise exits.Refused(_NO_ROLES) from None
    except RoleUnknownError:
        name = cell(role)
        raise exits.NotThere(
            f"PostgreSQL has no role {name}: CREATE ROLE {name} LOGIN PASSWORD '…' makes it."
        ) from None
