"""The command `videodock`: reads the options, runs the command, and explains errors.

Rule: an operator's mistake ends in a sentence on standard error, never in a traceback: exit code 2 for an invalid
command or setting, 1 for a start that does not succeed. Parts are imported where they are used, so that `--help` is
quick.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import click

from server import __version__
from server.cli import settings_docs, start_checks
from server.cli.access import add_access_commands
from server.cli.doctor import doctor_command
from server.cli.moving import migrate_store_command
from server.cli.tasks import add_to
from server.cli.webhooks import webhooks_group
from server.errors import StartError
from server.settings import Settings, load, unknown_variables

F = TypeVar("F", bound=Callable[..., Any])

_PLACE = ("data_dir", "database_url", "log_level", "log_format")
_RETENTION = (
    "originals",
    "failed_retention",
    "original_retention",
    "result_retention",
    "quarantine_retention",
    "event_retention",
    "row_retention",
    "audit_retention",
    "session_idle",
)
_PROCESSING = (
    "scheduler",
    "broker_url",
    "shutdown_grace",
    "database_pool_size",
    "sweep_interval",
    "encode_limit",
    "task_lease",
    "task_max_attempts",
    "step_time_limit",
    "step_memory_limit",
    "ffmpeg",
    "poster_size",
    "otel_endpoint",
    "otel_sample",
)


class _Command(click.Command):
    """Its help lists the settings in the groups of docs/settings.md, after the options of its own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = {param.name: param.get_help_record(ctx) for param in self.get_params(ctx)}
        settings = [(title, [records.pop(name, None) for name in names]) for title, names in settings_docs.groups()]
        for title, listed in [("Options", list(records.values())), *settings]:
            shown = [record for record in listed if record is not None]
            if shown:
                with formatter.section(title):
                    # A longer option gets a line of its own, so that the texts keep their room.
                    formatter.write_dl(shown, col_max=36)


class _Commands(click.Group):
    """Turns the errors that have a sentence for the operator into it."""

    command_class = _Command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StartError as error:
            click.echo(str(error), err=True)
            ctx.exit(1)


def _options(names: Sequence[str]) -> Callable[[F], F]:
    """An option a setting. All are text, and None when not given: `Settings` alone knows what is allowed."""

    def decorate(command: F) -> F:
        for name in reversed(names):
            # A bare `--allow-anonymous` says so; other options need their value.
            bare: dict[str, Any] = {"is_flag": False, "flag_value": "on"} if name == "allow_anonymous" else {}
            command = click.option(
                settings_docs.option(name),
                name,
                **bare,
                metavar=settings_docs.allowed(name),
                help=settings_docs.help_text(name),
            )(command)
        return command

    return decorate


def _settings(given: Mapping[str, str | None]) -> Settings:
    """The settings in force, and logging configured by them. Exits with 2 when they cannot be."""
    try:
        settings = load(**{name: value for name, value in given.items() if value is not None})
    except StartError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    import structlog

    from server.observability import configure_logging

    configure_logging(settings.log_level, settings.log_format)
    unknown = unknown_variables(os.environ)
    if unknown:
        structlog.stdlib.get_logger("videodock.cli").warning("unknown_variables_ignored", names=unknown)
    return settings


def _make_data_dir(folder: Path) -> None:
    """Create the data folder, readable by its owner only; raises `StartError` when it cannot be used."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise StartError(f"{folder} is a file, not a folder. Choose a folder with --data-dir.") from None
    except OSError as error:
        raise StartError(
            f"The data folder {folder} cannot be created: {error.strerror}. Choose another with --data-dir."
        ) from None
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise StartError(f"The data folder {folder} is not writable for this user. Choose another with --data-dir.")
    from server.storage.ballast import Ballast

    Ballast(folder, 0).release_if_needed()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="videodock")
def main() -> None:
    """Videodock, a self-hosted video upload server.

    `videodock serve` is all that is needed; the other commands are for its operator.
    """


@main.command(short_help="Serve; migrates the database first.")
@_options(tuple(Settings.model_fields))
def serve(**given: str | None) -> None:
    """Migrate the database if needed, then serve until SIGTERM or Ctrl+C.

    Every option is also a setting; docs/settings.md explains them.
    """
    settings = _settings(given)
    from server.database import migration
    from server.serving.listeners import listen
    from server.serving.supervisor import exit_process, serve_here, serve_many

    if settings.scheduler == "embedded":
        from server.pipeline.media import ffmpeg

        ffmpeg.find(settings.ffmpeg)  # a sentence now, not a log line later
    if settings.scheduler == "celery":
        from server.worker import check_celery

        check_celery(settings)
    start_checks.warn_of_scan_limit(settings)
    start_checks.check_exposure(settings)
    start_checks.warn_of_idle_credentials(settings)
    _make_data_dir(settings.data_dir)
    sockets = listen(settings.host, settings.port)
    migration.upgrade(settings.sqlalchemy_url)

    def announce() -> None:
        click.echo(_where_to_go(settings, sockets))

    if settings.workers == 1:
        from server.app import create_app

        exit_process(serve_here(create_app(settings), settings, sockets, announce))
    start_checks.make_first_key(settings)
    # The serving processes are new ones and know of the command line only what stands in the environment.
    os.environ.update({settings_docs.variable(name): value for name, value in given.items() if value is not None})
    exit_process(serve_many(settings, sockets, announce))


_AUTH = {"on": "on; `videodock keys create` makes a key", "off": "off; every client may do everything"}


def _where_to_go(settings: Settings, sockets: Sequence[socket.socket]) -> str:
    port = sockets[0].getsockname()[1]
    # The address of "every interface" is one to listen on, none to go to.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(settings.host, settings.host)  # noqa: S104
    base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    return (
        f"Videodock {__version__} is ready.\n\n"
        f"  Upload page     {base}/\n"
        f"  tus uploads     {base}/files\n"
        f"  Documented API  {base}/api/upload/videos\n"
        f"  Health          {base}/readyz\n"
        f"  Authentication  {_AUTH[settings.auth]}\n\n"
        f"Ctrl+C or SIGTERM (process {os.getpid()}) stops it, a second one at once."
    )


@main.command(short_help="Process finished uploads without serving.")
@_options((*_PLACE, *_PROCESSING))
def worker(**given: str | None) -> None:
    """Process finished uploads without serving, until SIGTERM or Ctrl+C.

    For a server on the same data folder that runs with the setting `scheduler` = `none`, or to stand by for one. With
    `scheduler` = `celery`, a Celery worker: any number of them, on any number of machines.
    """
    settings = _settings(given)
    if settings.scheduler == "celery":
        from server.worker import check_celery

        check_celery(settings)
    from server.bootstrap import Services
    from server.database import migration
    from server.serving.supervisor import CLEANUP, cut_off_after, exit_process

    _make_data_dir(settings.data_dir)
    stop = threading.Event()

    def on_stop() -> None:
        if stop.is_set():
            exit_process(1)
        stop.set()
        cut_off_after(settings.shutdown_grace + CLEANUP)

    def announce() -> None:
        click.echo(f"Videodock {__version__} processes uploads. Ctrl+C or SIGTERM (process {os.getpid()}) stops it.")

    with Services.open(settings) as services:
        if settings.scheduler == "celery":
            from server.worker.celery_app import run_worker

            exit_process(run_worker(services, announce, on_stop))
        from server.worker.scheduler import scheduler_of

        def on_signal(_number: int, _frame: FrameType | None) -> None:
            on_stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, on_signal)
        migration.check_fits(services.database.engine)
        services.claim_store()
        scheduler = scheduler_of(services)
        scheduler.start()
        announce()
        stop.wait()
        scheduler.stop()
    exit_process(0)


@main.command(short_help="Move the database to this version, or back.")
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 unless the database is at head.")
@click.option("--to", "revision", metavar="REVISION", help="Go back to an older revision; what came later is lost.")
@click.option("--yes", is_flag=True, help="With --to: do not ask.")
@_options(_PLACE)
def migrate(check: bool, revision: str | None, yes: bool, **given: str | None) -> None:
    """Bring an empty or older database to the revision that this version works with."""
    if check and revision is not None:
        raise click.UsageError("--check and --to exclude each other.")
    settings = _settings(given)
    from server.database import migration

    url = settings.sqlalchemy_url
    if check:
        _check(settings)
        return
    _make_data_dir(settings.data_dir)
    before = migration.current(url)
    if revision is None:
        migration.upgrade(url)
    else:
        if not yes:
            click.confirm(f"Go back from {before or 'base'} to {revision}? What came later is lost.", abort=True)
        migration.downgrade(url, revision)
    after = migration.current(url)
    if before == after:
        click.echo(f"The database is at revision {after or 'base'} already.")
    else:
        click.echo(f"The database went from revision {before or 'base'} to {after or 'base'}.")


def _check(settings: Settings) -> None:
    from server.database import migration
    from server.database.session import make_engine

    file = settings.sqlalchemy_url.removeprefix("sqlite:///")
    if file != settings.sqlalchemy_url and not Path(file.partition("?")[0]).exists():
        # Looking into a file that is not there would make it, and this command changes nothing.
        raise StartError("There is no database yet: run `videodock migrate` first.")
    engine = make_engine(settings.sqlalchemy_url, 1)
    try:
        migration.check_fits(engine)
    finally:
        engine.dispose()
    found = migration.current(settings.sqlalchemy_url)
    if found != migration.head():
        click.echo(f"The database is at revision {found}, which works with this version, too ({migration.head()}).")
        return
    click.echo(f"The database is at revision {found}, as it must be.")


@main.command(short_help="Remove what has expired or was kept long enough.")
@click.option("--dry-run", is_flag=True, help="Print what would be removed, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_options((*_PLACE, *_RETENTION))
def sweep(dry_run: bool, as_json: bool, **given: str | None) -> None:
    """Remove what has expired, what was kept for long enough, and leftovers, once.

    A running server does it by itself.
    """
    settings = _settings(given)
    from server.cli import actions, maintenance

    if dry_run:
        with actions.serving(settings) as services:
            click.echo(maintenance.would(services.sweep(dry_run=True), as_json=as_json))
        return
    from server.bootstrap import Services
    from server.database import migration

    _make_data_dir(settings.data_dir)
    with Services.open(settings) as services:
        migration.check_fits(services.database.engine)
        services.claim_store()
        report = services.sweep()
    click.echo(maintenance.did(report, as_json=as_json))


@main.command("settings", short_help="Print the settings in force.")
@click.option("--markdown", is_flag=True, help="Print docs/settings.md instead: every setting with its default.")
def show_settings(markdown: bool) -> None:
    """Print the settings in force, and where each comes from."""
    if markdown:
        click.echo(settings_docs.markdown(), nl=False)
        return
    click.echo(settings_docs.table(_settings({}), os.environ))


@main.command()
def tables() -> None:
    """Print docs/database.md: the tables for reports, and their columns."""
    from server.cli import reference_docs

    click.echo(reference_docs.tables(), nl=False)


@main.command()
def errors() -> None:
    """Print docs/errors.md: every code, its status and its sentence."""
    from server.cli import reference_docs

    click.echo(reference_docs.refusals(), nl=False)


_DOCTOR = ("host", "auth", "scheduler", "broker_url", "redis_url", "clamd", "ffmpeg", "otel_endpoint")
main.add_command(doctor_command(_options((*_PLACE, *_DOCTOR)), _settings))
main.add_command(migrate_store_command(_options((*_PLACE, "store", "previous_store")), _settings))
add_to(main, _options(_PLACE), _settings)
add_access_commands(main, _options(_PLACE), _settings)
main.add_command(webhooks_group(_options((*_PLACE, "public_url", "webhook_allow_private")), _settings))

if __name__ == "__main__":
    main()
