"""The figures of a soak, for people (Markdown) and for programs (JSON)."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.soak.run import Soak
from tests.soak.sampler import MIB
from tests.soak.side import Side


def collect(soak: Soak) -> dict[str, Any]:
    """Everything that was counted."""
    return {
        "database": soak.kind,
        "seed": str(soak.seed),
        "minutes": round((soak.ended - soak.began) / 60, 1),
        "faults": dict(soak.director.done),
        "longest outage, seconds": round(soak.prober.longest, 1),
        "wrong": soak.wrong,
        **{side.name: _of_side(soak, side) for side in soak.sides},
    }


def _of_side(soak: Soak, side: Side) -> dict[str, Any]:
    records, history = side.records, soak.auditors[side.name].history
    sampler, line = soak.samplers[side.name], soak.lines[side.name]
    ends: dict[str, Counter[str]] = {}
    for entry in records.entries:
        ends.setdefault(entry.kind, Counter())[str(entry.end or "none")] += 1
    tasks = Counter(str(task["status"]) for task in history.tasks.values())
    return {
        "uploads": len(records.entries),
        "bytes": sum(entry.size for entry in records.entries),
        "bytes acknowledged": sum(entry.low or entry.size for entry in records.entries if entry.end),
        "uploads by kind and end": {kind: dict(counted) for kind, counted in sorted(ends.items())},
        "rows of uploads": dict(Counter(str(row["status"]) for row in history.uploads.values())),
        "tasks": dict(tasks),
        "contents compared": len(history.digests),
        "rows removed by retention": history.removed_rows,
        "rows at once": history.largest,
        "requests": sum(records.statuses.values()),
        "answers": dict(sorted(records.statuses.items())),
        "counts": dict(records.counts),
        "line": dict(line.done),
        "lives": [
            {
                "seconds": round(life.seconds),
                "memory, MiB": _range([sample.memory / MIB for sample in life.samples]),
                "descriptors": _range([sample.descriptors for sample in life.samples]),
                "threads": _range([sample.threads for sample in life.samples]),
                "at rest": [
                    [round(sample.memory / MIB, 1), sample.descriptors, sample.threads] for sample in life.idle
                ],
            }
            for life in sampler.lives
        ],
        "disk, MiB": {
            name: _range([sizes[name] / MIB for _, sizes in sampler.disk if name in sizes])
            for name in (sampler.disk[-1][1] if sampler.disk else ())
        },
        "log, MiB": round(len(side.server.log()) / MIB, 1),
    }


def _range(values: list[float] | list[int]) -> list[float]:
    return [round(min(values), 1), round(max(values), 1), round(values[-1], 1)] if values else []


def markdown(found: Mapping[str, Any]) -> str:
    """What a person wants to see of it."""
    faults = ", ".join(f"{number} {what}" for what, number in sorted(found["faults"].items()))
    lines = [
        f"### Soak on {found['database']}: {found['minutes']} minutes",
        "",
        f"{faults}; longest outage {found['longest outage, seconds']} s. Seed {found['seed']}.",
        "",
        "| | storm | steady |",
        "| --- | --- | --- |",
    ]
    sides = [found["storm"], found["steady"]]
    names = ("uploads", "rows of uploads", "tasks", "contents compared", "rows removed by retention", "rows at once")
    lines += [f"| {name} | {_shown(sides[0][name])} | {_shown(sides[1][name])} |" for name in names]
    ends = [Counter[str](), Counter[str]()]
    for counted, side in zip(ends, sides, strict=True):
        for of_kind in side["uploads by kind and end"].values():
            counted.update(of_kind)
    lines += [
        f"| ends, as clients know them | {_shown(ends[0])} | {_shown(ends[1])} |",
        f"| MiB sent by clients, at least | {sides[0]['bytes'] >> 20} | {sides[1]['bytes'] >> 20} |",
        f"| requests with an answer | {sides[0]['requests']} | {sides[1]['requests']} |",
        f"| without one | {_lost(sides[0])} | {_lost(sides[1])} |",
        f"| what the line did | {_shown(sides[0]['line'])} | {_shown(sides[1]['line'])} |",
        f"| lives of the server | {len(sides[0]['lives'])} | {len(sides[1]['lives'])} |",
        f"| highest of all lives: MiB, descriptors, threads | {_peaks(sides[0])} | {_peaks(sides[1])} |",
        f"| steady at rest: MiB, descriptors, threads | | {_rests(sides[1])} |",
        f"| MiB on the disk: least, most, last | {_shown(sides[0]['disk, MiB'])} | {_shown(sides[1]['disk, MiB'])} |",
        "",
        f"Wrong: {len(found['wrong'])}",
    ]
    return "\n".join([*lines, *(f"- {sentence}" for sentence in found["wrong"][:60])])


def write(found: Mapping[str, Any], path: Path) -> None:
    """Append both to a file: the Markdown, and the JSON behind it for who wants all."""
    with path.open("a") as file:
        file.write(f"{markdown(found)}\n\n```json\n{json.dumps(found, indent=1, ensure_ascii=False)}\n```\n\n")


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(number)}" for name, number in value.items())
    if isinstance(value, list):
        return "/".join(f"{number:g}" for number in value)
    return str(value)


def _lost(side: Mapping[str, Any]) -> int:
    return int(side["counts"].get("requests without an answer", 0))


def _peaks(side: Mapping[str, Any]) -> str:
    lives = [life for life in side["lives"] if life["threads"]]
    names = ("memory, MiB", "descriptors", "threads")
    return ", ".join(f"{max((life[name][1] for life in lives), default=0):g}" for name in names)


def _rests(side: Mapping[str, Any]) -> str:
    return "; ".join(", ".join(f"{number:g}" for number in rest) for life in side["lives"] for rest in life["at rest"])
