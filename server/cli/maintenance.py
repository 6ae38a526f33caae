"""`videodock check`: whether database and folders agree; and the report of a sweep.

Rule: `check` runs beside a running server and changes nothing. Exit codes: 0 everything agrees; 1 something does
not, or the database or the data folder cannot be used.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from server.settings import Settings

if TYPE_CHECKING:
    from server.maintenance.checker import Mismatch
    from server.maintenance.sweep_report import SweepReport

Decorator = Callable[[Any], Any]


def check_command(place: Decorator, settings: Callable[[Mapping[str, str | None]], Settings]) -> click.Command:
    """The command. `place` gives it the options of where things are, `settings` reads them."""

    @click.command(short_help="Compare the database with the folders.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @place
    def check(as_json: bool, **given: str | None) -> None:
        """Compare the database with the folders, beside a running server or without; changes nothing.

        Exit code 1 when something does not fit.
        """
        from server.cli import actions, output

        with actions.serving(settings(given)) as services:
            found = services.checker.find_mismatches()
        listed = [
            {**asdict(finding), "text": finding.kind.text, "is_swept": finding.kind.is_swept} for finding in found
        ]
        click.echo(output.as_json(listed) if as_json else _as_text(found))
        if found:
            sys.exit(1)

    return check


def _as_text(found: "list[Mismatch]") -> str:
    from server.cli import output

    if not found:
        return "Database and folders fit together."
    lines = [(finding.kind, finding.subject, finding.kind.text) for finding in found]
    swept = sum(finding.kind.is_swept for finding in found)
    advice = []
    if swept:
        advice.append(f"The next sweep ends {swept} of them: wait a minute, or run `videodock sweep`.")
    if swept < len(found):
        advice.append(f"A sweep leaves {len(found) - swept} of them: docs/retention.md says what to do about each.")
    return "\n".join([output.table(("KIND", "WHAT", ""), lines), "", *advice])


def did(report: "SweepReport", *, as_json: bool) -> str:
    """What a sweep did: each number on its line, for people and scripts."""
    if as_json:
        return _as_json(report)
    lines = [f"{name.replace('_', ' ')}: {number}" for name, number in report.numbers.items()]
    return "\n".join([*lines, f"bytes freed: {report.freed}"])


def would(report: "SweepReport", *, as_json: bool) -> str:
    """What a sweep would do: a table of the counts that are not zero."""
    from server.cli import output
    from server.maintenance.sweep_report import SweepKind
    from server.messages import size

    if as_json:
        return _as_json(report)
    lines = [
        (kind.replace("_", " "), number, size(report.sizes[kind]) if report.sizes[kind] else None, kind.text)
        for kind in SweepKind
        if (number := report.counts[kind])
    ]
    if not lines:
        return "Nothing would go. Nothing was changed."
    total = f"{size(report.freed)} would be freed. Nothing was changed."
    return "\n".join([output.table(("WHAT", "NUMBER", "BYTES", ""), lines), "", total])


def _as_json(report: "SweepReport") -> str:
    from server.cli import output
    from server.maintenance.sweep_report import SweepKind

    kinds = {kind.value: {"number": report.counts[kind], "bytes": report.sizes[kind]} for kind in SweepKind}
    return output.as_json(kinds)
