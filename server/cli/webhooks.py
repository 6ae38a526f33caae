"""`videodock webhooks …`: endpoints that get events.

Rule: a secret is printed once, when it is made, on standard output; it is nowhere else, and nothing shows it again.
Exit codes are those of `videodock tasks`; 2 is a URL or an event that cannot be.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from server.cli import exits
from server.cli.audit import Since
from server.events.types import WEBHOOKS
from server.settings import Settings

if TYPE_CHECKING:
    from server.database.event_models import WebhookEndpoint
    from server.database.session import Database
    from server.events.webhooks import Logged, Webhooks

Decorator = Callable[[Any], Any]
Given = str | None
Read = Callable[[Mapping[str, Given]], Settings]

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_ID = click.argument("webhook_id")
_EVENT = click.option(
    "--event",
    "events",
    multiple=True,
    required=True,
    type=click.Choice([*WEBHOOKS, "all"]),
    metavar="NAME",
    help=f"One of {', '.join(WEBHOOKS)}, or all; may be repeated.",
)


def webhooks_group(place: Decorator, settings: Read) -> click.Group:
    """The commands. `place` gives one the options of where things are, `settings` reads them."""
    group = click.Group("webhooks", short_help="Add, test and replay webhooks.")
    group.help = "Webhooks: messages about uploads and tasks to your own server (docs/webhooks.md)."
    _add_endpoints(group, place, settings)
    _add_changes(group, place, settings)
    _add_messages(group, place, settings)
    return group


@contextmanager
def _opened(made: Settings) -> "Iterator[tuple[Database, Webhooks]]":
    """The webhooks of an installation. Refusals become sentences."""
    from server.bootstrap import utc_now
    from server.cli import actions
    from server.errors import (
        ClientError,
        DeliveryNotFoundError,
        FieldInvalidError,
        UnavailableError,
        WebhookNotFoundError,
    )
    from server.events.sender import Sender
    from server.events.webhooks import Webhooks
    from server.messages import sentence

    with actions.opened(made) as database:
        sender = Sender(allow_private=made.webhook_allow_private == "on")
        try:
            yield database, Webhooks(settings=made, database=database, sender=sender, clock=utc_now)
        except (ClientError, UnavailableError) as error:
            text = f"{sentence(error.code, error.params, 'en')}."
            if isinstance(error, FieldInvalidError):
                raise click.UsageError(text) from None
            is_unknown = isinstance(error, WebhookNotFoundError | DeliveryNotFoundError)
            raise (exits.NotThere if is_unknown else exits.Refused)(text) from None
        finally:
            sender.close()


def _add_endpoints(group: click.Group, place: Decorator, settings: Read) -> None:
    @group.command(short_help="Add a webhook and print its id and secret, once.")
    @click.argument("url")
    @_EVENT
    @click.option("--owner", help="Only the events of this owner; without it, those of every owner.")
    @_JSON
    @place
    def add(url: str, events: Sequence[str], owner: Given, as_json: bool, **given: Given) -> None:
        """Add a webhook: messages about what happens from now on are sent to URL.

        The secret verifies that a message is from this server. It cannot be shown again: store it where secrets are
        kept.
        """
        from server.auth.principal import is_owner
        from server.cli import actions, output
        from server.messages import sentence

        if owner is not None and not is_owner(owner):
            raise click.UsageError("An owner is 1 to 256 printable characters without spaces around them.")
        chosen = WEBHOOKS if "all" in events else events
        with _opened(settings(given)) as (database, webhooks):
            row, secret = webhooks.add(url, chosen, owner)
            warnings = webhooks.warnings(url)
            actions.audit(database, "webhook_added", "webhook", row.id, owner, events=row.types)
        if as_json:
            click.echo(output.as_json({**_record(row), "secret": secret, "warnings": warnings}))
        else:
            click.echo(f"{row.id}\n{secret}")
            click.echo(f"This secret is shown once. `videodock webhooks test {row.id}` sends a message.", err=True)
        for code in warnings:
            click.echo(f"Warning: {sentence(code, {}, 'en')}.", err=True)

    @group.command("list", short_help="List webhooks, the newest first.")
    @click.option("--owner", help="Only those of this owner.")
    @_JSON
    @place
    def list_webhooks(owner: Given, as_json: bool, **given: Given) -> None:
        """List webhooks with what waits and what was given up, the newest first."""
        from server.cli import output

        with _opened(settings(given)) as (_, webhooks):
            found = webhooks.list(owner)
            counts = webhooks.counts([row.id for row in found])
        if as_json:
            click.echo(output.as_json([{**_record(row), **counts[row.id]} for row in found]))
        elif found:
            headings = ["ID", "STATE", "PENDING", "DEAD", "OWNER", "URL", "EVENTS"]
            rows = [
                [row.id, _state(row), *counts[row.id].values(), row.owner or "(all)", row.url, " ".join(row.types)]
                for row in found
            ]
            click.echo(output.table(headings, rows))
        else:
            click.echo("No webhooks.")

    @group.command(short_help="Make a new secret; the old one signs for a day more.")
    @_ID
    @_JSON
    @place
    def rotate(webhook_id: str, as_json: bool, **given: Given) -> None:
        """Make a new secret and print it. For a day messages bear two signatures, by the new and by the old one."""
        from server.cli import actions, output

        with _opened(settings(given)) as (database, webhooks):
            secret, until = webhooks.rotate(webhook_id, None)
            actions.audit(database, "webhook_rotated", "webhook", webhook_id)
        if as_json:
            click.echo(output.as_json({"id": webhook_id, "secret": secret, "old_until": until}))
            return
        click.echo(secret)
        click.echo(f"This secret is shown once. The old one signs until {output.cell(until)} (UTC).", err=True)


def _add_changes(group: click.Group, place: Decorator, settings: Read) -> None:
    @group.command(short_help="Send nothing to a webhook until it is enabled.")
    @_ID
    @place
    def disable(webhook_id: str, **given: Given) -> None:
        """Send nothing to a webhook any more. What happens meanwhile can be sent by `replay` later."""
        _switch(settings(given), webhook_id, enabled=False)
        click.echo("Disabled.")

    @group.command(short_help="Send to a disabled webhook again.")
    @_ID
    @place
    def enable(webhook_id: str, **given: Given) -> None:
        """Send to a webhook again: what happens from now on, and what was pending when it was disabled."""
        _switch(settings(given), webhook_id, enabled=True)
        click.echo("Enabled.")

    @group.command(short_help="Remove a webhook with its deliveries.")
    @_ID
    @place
    def remove(webhook_id: str, **given: Given) -> None:
        """Remove a webhook with its deliveries and their log. What is pending is not sent."""
        from server.cli import actions

        with _opened(settings(given)) as (database, webhooks):
            row = webhooks.find(webhook_id, None)
            webhooks.remove(webhook_id, None)
            actions.audit(database, "webhook_removed", "webhook", webhook_id, row.owner)
        click.echo("Removed.")


def _add_messages(group: click.Group, place: Decorator, settings: Read) -> None:
    @group.command(short_help="Send a test message.")
    @_ID
    @place
    def test(webhook_id: str, **given: Given) -> None:
        """Queue a message of the type webhook.test; a running server sends it within seconds."""
        from server.cli import actions

        with _opened(settings(given)) as (database, webhooks):
            message_id = webhooks.test(webhook_id, None)
            actions.audit(database, "webhook_tested", "webhook", webhook_id)
        click.echo(message_id)
        click.echo(f"Queued. `videodock webhooks deliveries {webhook_id}` tells how it went.", err=True)

    @group.command(short_help="Send messages again.")
    @_ID
    @click.option("--message", "message_id", metavar="ID", help="The one with this `webhook-id`.")
    @click.option(
        "--since", type=Since(), metavar="TIME", help="All of the events since a time (UTC), or since 7d, 12h."
    )
    @click.option("--until", type=Since(), metavar="TIME", help="With --since: until a time; without it, until now.")
    @place
    def replay(
        webhook_id: str, message_id: Given, since: datetime | None, until: datetime | None, **given: Given
    ) -> None:
        """Send one message again, or all of a time; they keep their ids.

        A time range has what the webhook missed while it was disabled, too.
        """
        from server.cli import actions

        if (message_id is None) == (since is None):
            raise click.UsageError("Give either --message or --since.")
        count = 1
        with _opened(settings(given)) as (database, webhooks):
            if message_id is not None:
                webhooks.replay(webhook_id, None, message_id)
            elif since is not None:
                end = until or datetime.now(UTC) + timedelta(days=1)
                count = webhooks.replay_range(webhook_id, None, since, end)
            actions.audit(database, "webhook_replayed", "webhook", webhook_id, count=count)
        click.echo(f"Queued: {count}.")

    @group.command(short_help="List deliveries, the newest first.")
    @_ID
    @click.option("--status", type=click.Choice(["pending", "delivered", "dead"]), help="Only those.")
    @click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
    @_JSON
    @place
    def deliveries(webhook_id: str, status: Given, limit: int, as_json: bool, **given: Given) -> None:
        """List deliveries with their attempts, the newest first."""
        from server.cli import output

        with _opened(settings(given)) as (_, webhooks):
            found = webhooks.log(webhook_id, None, status=status, limit=limit)
        if as_json:
            click.echo(output.as_json([_delivery(one) for one in found]))
        elif found:
            headings = ["MESSAGE", "TYPE", "STATUS", "TRIES", "LAST (UTC)", "NEXT (UTC)", "TASK", "ANSWER"]
            click.echo(output.table(headings, [_line(one) for one in found]))
        else:
            click.echo("No deliveries.")


def _switch(made: Settings, webhook_id: str, *, enabled: bool) -> None:
    from server.cli import actions

    with _opened(made) as (database, webhooks):
        row = webhooks.change(webhook_id, None, enabled=enabled)
        actions.audit(database, "webhook_changed", "webhook", webhook_id, row.owner, enabled=enabled)


def _state(row: "WebhookEndpoint") -> str:
    """As the view `webhook_health` has it, with how often it has failed."""
    from server.bootstrap import utc_now
    from server.events.counts import state

    found = state(row, utc_now())
    if row.disabled_code == "webhook_gone" and found == "disabled":
        return "disabled (410)"
    return f"{found} ({row.failures})" if row.failures and found != "disabled" else found


def _record(row: "WebhookEndpoint") -> dict[str, object]:
    names = ("id", "url", "owner", "types", "created_at", "disabled_at", "disabled_code", "failures", "retry_at")
    return {name: getattr(row, name) for name in names}


def _delivery(one: "Logged") -> dict[str, object]:
    names = ("message_id", "type", "task_id", "status", "created_at", "next_attempt_at", "ended_at")
    attempts = [
        {
            "at": attempt.at,
            "seconds": attempt.seconds,
            "answer_status": attempt.answer_status,
            "answer": attempt.answer,
            "error_code": attempt.error_code,
        }
        for attempt in one.attempts
    ]
    return {name: getattr(one.row, name) for name in names} | {"attempts": attempts}


def _line(one: "Logged") -> list[object]:
    last = one.attempts[-1] if one.attempts else None
    answer = None if last is None else last.answer_status or last.error_code
    row = one.row
    head: list[object] = [row.message_id, row.type, row.status, str(len(one.attempts))]
    return [*head, None if last is None else last.at, row.next_attempt_at, row.task_id, str(answer or "-")]
