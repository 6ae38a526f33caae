"""`videodock doctor`: everything that may be wrong, on this machine and in front of it.

Rule: it changes nothing, beside a running server or without one. Exit codes: 0 nothing is wrong; 1 something is; 2 an
option is wrong.
"""

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from server.messages import LANGUAGES
from server.messages.phrases import spoken
from server.settings import Settings

if TYPE_CHECKING:
    from server.doctor.findings import Report

Decorator = Callable[[Any], Any]

KEY_VARIABLE = "VIDEODOCK_DOCTOR_KEY"


def doctor_command(place: Decorator, settings: Callable[[Mapping[str, str | None]], Settings]) -> click.Command:
    """The command. `place` gives it the options of settings, `settings` reads them."""

    @click.command(short_help="Find what is wrong, here and in front of the server.")
    @click.option("--url", metavar="URL", help="The public address: also look from outside, through what is in front.")
    @click.option(
        "--key",
        envvar=KEY_VARIABLE,
        metavar="KEY",
        help=f"A key of the scope upload, for `auth` = `on`; better as {KEY_VARIABLE}, which `ps` does not show.",
    )
    @click.option("--origin", metavar="ORIGIN", help="With --url: the web origin whose pages should be able to upload.")
    @click.option("--ca", metavar="FILE", help="With --url: certificates to trust besides the system's.")
    @click.option("--only-url", is_flag=True, help="With --url: do not look at this machine.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @click.option("--markdown", is_flag=True, hidden=True, help="Print docs/doctor.md.")
    @place
    def doctor(
        url: str | None,
        key: str | None,
        origin: str | None,
        ca: str | None,
        only_url: bool,
        as_json: bool,
        markdown: bool,
        **given: str | None,
    ) -> None:
        """Look at the database, the store, the disk, FFmpeg, the scanner, the broker and the clock of this machine.

        With --url also at what stands in front of the server: it creates an upload there that is never complete, and
        removes it. Every finding has a code (docs/doctor.md) and says what to change. Exit code 1 when something is
        wrong.
        """
        if markdown:
            from server.doctor.page import page

            click.echo(page(), nl=False)
            return
        if url is None and (only_url or origin or ca):
            raise click.UsageError("--only-url, --origin and --ca belong to --url.")
        for name, text in (("--key", key or ""), ("--origin", origin or "")):
            if not (text.isascii() and text.isprintable()) and text:
                raise click.BadParameter("it has characters that no header may have.", param_hint=name)
        from server.doctor.findings import Report

        report, chosen = Report(), settings(given)
        if not only_url:
            from server.cli.start_checks import check_exposure
            from server.doctor import local

            local.examine(chosen, report, is_exposed=check_exposure)
        if url is not None:
            remove = (lambda _: False) if only_url else _remove_here(chosen)
            _look_from_outside(url, report, key, origin, ca, remove)
        click.echo(_json(report) if as_json else _text(report))
        if not report.is_well:
            sys.exit(1)

    return doctor


def _remove_here(settings: Settings) -> Callable[[str], bool]:
    """Removes open uploads of a file name in the data folder of this machine, if it is a server's."""

    def remove(name: str) -> bool:
        from sqlalchemy import select

        from server.cli import actions
        from server.database.models import Upload
        from server.errors import StartError
        from server.lifecycle import UploadStatus

        try:
            with actions.serving(settings) as services:
                with services.database.read() as session:
                    asked = select(Upload.id).where(Upload.filename == name, Upload.status == UploadStatus.OPEN)
                    found = list(session.scalars(asked))
                for upload_id in found:
                    actions.terminate(services, upload_id)
        except (StartError, actions.ActionRefusedError, actions.UnknownError):
            return False
        return bool(found)

    return remove


def _look_from_outside(
    url: str, report: "Report", key: str | None, origin: str | None, ca: str | None, remove: Callable[[str], bool]
) -> None:
    from server.doctor import outside

    try:
        outside.examine(url, report, key=key, origin=origin, ca=ca, remove_here=remove)
    except outside.UrlError as error:
        raise click.BadParameter(str(error), param_hint="--url") from None


def _json(report: "Report") -> str:
    from server.cli import output

    checks = [
        {
            "check": check.name,
            "state": check.state,
            "note": check.note,
            "messages": {
                language: {"title": check.title(language), "note": spoken(check.note, language)}
                for language in LANGUAGES
            },
            "findings": [
                {
                    "code": finding.code,
                    "level": finding.level.value,
                    "params": dict(finding.params),
                    "text": finding.text(),
                    "change": finding.change(),
                    "messages": {
                        language: {"text": finding.text(language), "change": finding.change(language)}
                        for language in LANGUAGES
                    },
                    "directives": finding.directives(report.proxy),
                }
                for finding in check.findings
            ],
        }
        for check in report.checks
    ]
    return output.as_json({"well": report.is_well, "proxy": report.proxy, "checks": checks})


def _text(report: "Report") -> str:
    from server.cli import output

    lines = [output.table(("CHECK", "", ""), [(check.name, check.state, check.note) for check in report.checks])]
    for check in report.checks:
        for finding in check.findings:
            lines += ["", f"{finding.level.value}: {finding.code} ({check.name})"]
            lines += [f"  {output.cell(finding.text())}", f"  {output.cell(finding.change())}"]
            lines += [f"    {name}: {line}" for name, line in finding.directives(report.proxy).items()]
    if report.is_well:
        lines += ["", "Nothing is wrong."]
    return "\n".join(lines)
