"""On what it was measured, for the report.

Rule: no names of hosts and no paths.
"""

import os
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.servers.base import Server


def describe(place: Path, kinds: Sequence[type[Server]], missing: Mapping[type[Server], str]) -> dict[str, Any]:
    """Machine, date, and the servers with their versions."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": _first(r"model name\s*: (.*)", "/proc/cpuinfo") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(_first(r"MemTotal:\s*(\d+)", "/proc/meminfo") or 0) / 1e6),
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "file_system": _file_system(place),
        "servers": {
            kind.name: {
                "label": kind.label,
                "role": kind.role.value,
                "version": kind.version(),
                "durable": kind.durable,
            }
            for kind in kinds
        },
        "missing": {kind.name: {"label": kind.label, "reason": reason} for kind, reason in missing.items()},
    }


def _first(pattern: str, path: str) -> str:
    match = re.search(pattern, Path(path).read_text())
    return match[1].strip() if match else ""


def _file_system(place: Path) -> str:
    """The kind of file system that the servers write to."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    over = [(point, kind) for point, kind in mounts if place.is_relative_to(point)]
    return max(over, key=lambda mount: len(mount[0]))[1] if over else "unknown"
