"""The report: a page for people, the same as JSON, and a chart.

Rule: the page is made from the numbers of one run, says where a peer is ahead, and holds nothing that was not measured.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import chart
from bench.goals import GOALS, middle, values
from bench.runner import Results
from bench.servers.base import Role, Server
from bench.tables import COLUMNS, is_higher_better, table
from bench.works import Group

NAME = "performance"
_MARKS = {True: "met", False: "**not met**", None: "not measured"}
_AIMS = {True: "reached", False: "not reached", None: "not measured"}


def write(
    output: Path | None,
    machine: Mapping[str, Any],
    groups: Sequence[Group],
    kinds: Sequence[type[Server]],
    results: Results,
) -> str:
    """The page; with an `output` folder also written there, with its JSON and its chart."""
    page = "\n".join(_page(machine, groups, kinds, results)) + "\n"
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        (output / f"{NAME}.md").write_text(page)
        (output / f"{NAME}.svg").write_text(chart.draw(groups, kinds, results))
        data = _data(machine, groups, kinds, results)
        (output / f"{NAME}.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    return page


def _page(
    machine: Mapping[str, Any], groups: Sequence[Group], kinds: Sequence[type[Server]], results: Results
) -> Iterator[str]:
    yield "# Performance\n"
    yield "<!-- Made by `make bench`; a change by hand is lost. -->\n"
    yield (
        f"One interleaved run of {machine.get('minutes', 0):g} minutes on {machine['date']}: {machine['cpu']}, "
        f"{machine['cores']} cores, {machine['memory_gb']} GB, {machine['kernel']}, files on {machine['file_system']}. "
        "Clients and server share the machine and talk over loopback. Compare numbers within a table, not with other "
        "pages.\n"
    )
    if machine.get("cut"):
        yield "The run was stopped early: works that had not started are missing, and others have fewer rounds.\n"
    yield f"![Bars: Videodock and its peers]({NAME}.svg)\n"
    yield from _goals(groups, kinds, results)
    yield from _ahead(groups, kinds, results)
    for group in groups:
        if not any(results.of(work.name, kind.name) for work in group.works for kind in kinds):
            continue
        yield f"## {group.title}\n"
        yield table(group, kinds, results) + "\n"
        yield from _notes(group, results)
    yield from _method(machine, groups, results)
    yield from _servers(machine)


def _goals(groups: Sequence[Group], kinds: Sequence[type[Server]], results: Results) -> Iterator[str]:
    titles = {group.name: group.title for group in groups}
    ours = [kind for kind in kinds if kind.role is Role.OURS]
    if not ours:
        return
    yield "## Goals\n"
    yield "| work | goal |" + "".join(f" {kind.label} | |" for kind in ours)
    yield "| --- | --- |" + " --- | --- |" * len(ours)
    for goal in GOALS:
        if goal.group in titles or not goal.group:
            verdicts = [goal.judge(results, groups, kind.name) for kind in ours]
            marks = _AIMS if goal.aim else _MARKS
            cells = "".join(f" {verdict.found} | {marks[verdict.met]} |" for verdict in verdicts)
            yield f"| {titles.get(goal.group, 'All')} | {'aim: ' if goal.aim else ''}{goal.text} |{cells}"
    yield ""


def _ahead(groups: Sequence[Group], kinds: Sequence[type[Server]], results: Results) -> Iterator[str]:
    ours = [kind for kind in kinds if kind.role is Role.OURS]
    peers = [kind for kind in kinds if kind.role is Role.PEER]
    lines = [line for group in groups for mine in ours for peer in peers if (line := _lead(group, mine, peer, results))]
    if ours and peers:
        yield "## Where a peer is ahead\n"
        yield ("\n".join(lines) if lines else "Nowhere in this run.") + "\n"


def _lead(group: Group, mine: type[Server], peer: type[Server], results: Results) -> str:
    leads = []
    for work in group.works:
        own, other = (middle(results, work.name, kind.name, group.metric) for kind in (mine, peer))
        if own is None or other is None or (other > own) is not is_higher_better(group) or other == own:
            continue
        column = COLUMNS[group.metric]
        numbers = f"{other:.{column.digits}f} against {own:.{column.digits}f} {column.title}"
        leads.append(f"{work.label}: {numbers}" if work.label else numbers)
    return f"- {group.title}: {peer.label} is ahead of {mine.label}, {'; '.join(leads)}." if leads else ""


def _notes(group: Group, results: Results) -> Iterator[str]:
    for work in group.works:
        for server, reason in results.left_out.get(work.name, {}).items():
            yield f"{server} is left out{' at ' + work.label if work.label else ''}: {reason}.\n"


def _method(machine: Mapping[str, Any], groups: Sequence[Group], results: Results) -> Iterator[str]:
    clients = [cell.values["client_cpu_s"] / cell.values["cpu_s"] for cell in results.cells if cell.values.get("cpu_s")]
    shown = f" The clients took {sorted(clients)[len(clients) // 2]:.0%} of the server's CPU time." if clients else ""
    yield "## How it was measured\n"
    yield (
        "- Rounds: in each, every server does the work once, in an order that rotates. Numbers are medians, with "
        "minimum and maximum in brackets; ratios are ratios of medians. MB and GB are decimal."
    )
    yield (
        "- Clients: raw sockets and `sendfile` from random data in memory, one thread per connection, cycles by "
        f"one thread with epoll.{shown} `client, cores` is their CPU time by the time that passed: where it is near 1 "
        "for one connection or for cycles, the client is the limit."
    )
    yield (
        "- Bytes: each stored file is compared with what was sent, after the time was measured. A failed transfer "
        "is never a number. Slow uploads are compared too; broken ones are counted."
    )
    yield "- The time includes the creation of an upload only in the cycles."
    yield (
        "- CPU: user and system time of all processes of the server. Memory: the sum of their peak resident sizes. "
        "Before each cell the same number of bytes is written and deleted, so that the page cache has memory."
    )
    yield (
        "- HEAD beside other work: a process of its own sends 50 per second; the time of an answer counts from when "
        "the request was due. Beside phones all answers count, from before the first upload begins until the last "
        "has ended. Beside trickling uploads the first two seconds, in which all start at once, have a column of "
        "their own; they and the end, when all are sent to their last byte at once, count for the maximum only."
    )
    yield (
        "- Status polls: each answer is compared with the first. Where each client asks once a second, its time counts "
        "from when it was due."
    )
    yield (
        "- While the server encodes: with default settings for the processing, and a queue of videos of 720p that is "
        "not empty before the end. CPU and memory of these works are mostly the encoder's and not shown."
    )
    yield (
        "- Videodock: `videodock serve` with default settings except the size limits, without processing unless it "
        "says so; SQLite; one process unless it says `workers=2`. Peers: as their documentation starts them, with one "
        "process; tusd and rustus use all cores."
    )
    yield "- Durability differs, and its cost depends on the disk: see the last table.\n"


def _servers(machine: Mapping[str, Any]) -> Iterator[str]:
    yield "## Servers\n"
    yield "| server | version | durability |\n| --- | --- | --- |"
    for server in machine["servers"].values():
        yield f"| {server['label']} | {server['version']} | {server['durable']} |"
    yield ""
    for server in machine["missing"].values():
        yield f"Left out: {server['label']} ({server['reason']}).\n"


def _data(
    machine: Mapping[str, Any], groups: Sequence[Group], kinds: Sequence[type[Server]], results: Results
) -> dict[str, Any]:
    ours = [kind.name for kind in kinds if kind.role is Role.OURS]
    return {
        "machine": machine,
        "groups": [
            {
                "name": group.name,
                "title": group.title,
                "metric": group.metric,
                "works": [
                    {"name": work.name, "label": work.label, "medians": _medians(work.name, kinds, results)}
                    for work in group.works
                ],
            }
            for group in groups
        ],
        "goals": [
            {
                "group": goal.group,
                "text": goal.text,
                "aim": goal.aim,
                "server": name,
                "met": verdict.met,
                "found": verdict.found,
            }
            for goal in GOALS
            for name in ours
            for verdict in [goal.judge(results, groups, name)]
        ],
        "cells": [dataclasses.asdict(cell) for cell in results.cells],
    }


def _medians(work: str, kinds: Sequence[type[Server]], results: Results) -> dict[str, dict[str, float | None]]:
    names = [kind.name for kind in kinds if results.of(work, kind.name)]
    metrics = sorted({metric for cell in results.cells if cell.work == work for metric in cell.values})
    return {
        name: {metric: middle(results, work, name, metric) for metric in metrics if values(results, work, name, metric)}
        for name in names
    }
