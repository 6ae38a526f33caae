"""Prints grafana.json, the Grafana board of Videodock: `make docs` runs it.

Rule: a panel is one line of `ROWS`. Every metric in it is one that a server really has; the tests compare both.
"""

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Panel:
    """One panel. `queries` are PromQL by the legend of their series; `unit` is Grafana's name of a unit."""

    title: str
    unit: str
    queries: dict[str, str]
    about: str = ""
    kind: str = "timeseries"
    width: int = 8


def of(name: str, more: str = "") -> str:
    """A metric of the chosen jobs."""
    labels = ",".join(['job=~"$job"', *([more] if more else [])])
    return f"{name}{{{labels}}}"


def rate(name: str, more: str = "") -> str:
    """Its increase a second."""
    return f"rate({of(name, more)}[$__rate_interval])"


def quantile(part: float, more: str) -> str:
    """A part of the requests took no longer than this, in seconds."""
    return f"histogram_quantile({part}, sum by (le) ({rate('videodock_request_seconds_bucket', more)}))"


def by(label: str, more: str = "", name: str = "videodock_requests_total") -> str:
    """Increases a second, added up by a label."""
    return f"sum by ({label}) ({rate(name, more)})"


def total(more: str) -> str:
    """Requests a second."""
    return f"sum({rate('videodock_requests_total', more)})"


def now(name: str) -> str:
    """A gauge that every process reports alike."""
    return f"max by (job) ({of(name)})"


STATUS = 'route=~"/api/task/status/.*"'
SMALL = 'method="HEAD"'
CUT = 'method="PATCH",status="499"'
ENDED = of("videodock_tasks", 'status=~"completed|error|cancelled"')
FREE, PROMISED, RESERVE = (of(f"videodock_disk_{name}_bytes") for name in ("free", "promised", "reserve"))
SECONDS = "videodock_request_seconds"

ROWS: dict[str, list[Panel]] = {
    "Health": [
        Panel("Up", "short", {"{{instance}}": of("up")}, kind="stat", width=4),
        Panel("Version", "short", {"{{version}}": f"max by (version) ({of('videodock_info')})"}, kind="stat", width=4),
        Panel(
            "Checks that fail",
            "short",
            {"{{check}}": f"min by (check) ({of('videodock_check_ok')}) == 0"},
            "Empty is good. The names are those of /readyz.",
            kind="stat",
        ),
        Panel(
            "Refusals by the server (5xx)",
            "reqps",
            {"{{status}}": by("status", 'status=~"5.."')},
            "503: too busy, or a part is away. 507: the disk is full.",
        ),
    ],
    "Uploads": [
        Panel("Received", "Bps", {"{{protocol}}": by("protocol", name="videodock_received_bytes_total")}),
        Panel("Open uploads", "short", {"open": now("videodock_open_uploads")}),
        Panel(
            "Created",
            "reqps",
            {
                "tus": total('method="POST",route=~"/files.*",status="201"'),
                "form": total('method="POST",route=~"/api/upload/videos.*",status="200"'),
            },
        ),
        Panel(
            "Refused (4xx)",
            "reqps",
            {"{{status}}": by("status", 'status=~"4.."')},
            "401, 403: credentials. 409, 423: clients that resume. 413, 415: size and type. 429: rates and quotas. "
            "499: the client went away.",
        ),
        Panel("Requests", "reqps", {"{{method}}": by("method")}),
        Panel(
            "PATCHes that were cut",
            "percentunit",
            {"share": total(CUT) + " / " + total('method="PATCH"')},
            "Requests whose client went away. They resume; a jump points at a proxy or a network.",
        ),
    ],
    "Answers": [
        Panel("HEAD, seconds", "s", {"p50": quantile(0.5, SMALL), "p95": quantile(0.95, SMALL)}),
        Panel("Status, seconds", "s", {"p50": quantile(0.5, STATUS), "p95": quantile(0.95, STATUS)}),
        Panel(
            "Mean seconds by route",
            "s",
            {"{{route}}": by("route", name=f"{SECONDS}_sum") + " / " + by("route", name=f"{SECONDS}_count")},
        ),
    ],
    "Processing": [
        Panel(
            "Queue",
            "short",
            {name: now(f"videodock_tasks_{name}") for name in ("waiting", "running", "gathering", "abandoned")},
        ),
        Panel("Oldest waiting task", "s", {"age": now("videodock_oldest_waiting_task_seconds")}),
        Panel(
            "Set aside, by reason",
            "short",
            {"{{reason}}": f"max by (reason) ({of('videodock_tasks_postponed')})"},
            "The server's fault, not the file's: the scanner is away, the disk is full, a step crashed.",
        ),
        Panel("Tasks", "short", {"{{status}}": f"max by (status) ({of('videodock_tasks')})"}, width=12),
        Panel("Ended in an hour", "short", {"{{status}}": f"clamp_min(delta({ENDED}[1h]), 0)"}, width=12),
    ],
    "Webhooks and hooks": [
        Panel(
            "Messages",
            "ops",
            {"{{outcome}}": by("outcome", name="videodock_webhook_deliveries_total")},
            "failed: tried again later. dead: given up after three days.",
        ),
        Panel("Waiting messages", "short", {"pending": now("videodock_webhook_pending")}),
        Panel("Oldest waiting message", "s", {"age": now("videodock_oldest_webhook_message_seconds")}),
        Panel("Webhooks", "short", {"{{state}}": f"max by (state) ({of('videodock_webhooks')})"}),
        Panel(
            "Webhooks that fail again and again",
            "short",
            {"open circuits": now("videodock_webhook_circuits_open")},
            "They get one message at a time, after pauses.",
        ),
        Panel(
            "Calls of Python hooks",
            "ops",
            {"{{hook}} {{outcome}}": f"sum by (hook, outcome) ({rate('videodock_hook_calls_total')})"},
        ),
    ],
    "Disk": [
        Panel(
            "Room for new uploads",
            "bytes",
            {"room": f"max by (job) ({FREE} - {PROMISED} - {RESERVE})"},
            width=12,
        ),
        Panel(
            "Free, reserved, kept free",
            "bytes",
            {
                "free": now("videodock_disk_free_bytes"),
                "reserved by uploads": now("videodock_disk_promised_bytes"),
                "kept free": now("videodock_disk_reserve_bytes"),
            },
            width=12,
        ),
    ],
}

_SOURCE = {"type": "prometheus", "uid": "${source}"}


def board() -> dict[str, object]:
    """The board, as Grafana 9 or later imports it."""
    panels: list[dict[str, object]] = []
    top = 0
    for title, row in ROWS.items():
        panels.append(_at({"type": "row", "title": title, "collapsed": False}, len(panels), 0, top, 24, 1))
        top, left = top + 1, 0
        for panel in row:
            if left + panel.width > 24:
                top, left = top + 8, 0
            panels.append(_at(_panel(panel), len(panels), left, top, panel.width, 8))
            left += panel.width
        top += 8
    return {
        "title": "Videodock",
        "uid": "videodock",
        "tags": ["videodock"],
        "schemaVersion": 38,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
                {
                    "name": "job",
                    "label": "Job",
                    "type": "query",
                    "datasource": _SOURCE,
                    "query": "label_values(videodock_open_uploads, job)",
                    "refresh": 2,
                    "includeAll": True,
                    "multi": True,
                    "allValue": ".+",
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": panels,
    }


def _panel(panel: Panel) -> dict[str, object]:
    targets = [
        {"refId": chr(ord("A") + at), "datasource": _SOURCE, "expr": query, "legendFormat": legend}
        for at, (legend, query) in enumerate(panel.queries.items())
    ]
    stat = {"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": "value_and_name"}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": stat if panel.kind == "stat" else {"legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": targets,
    }


def _at(panel: dict[str, object], number: int, left: int, top: int, width: int, height: int) -> dict[str, object]:
    return {"id": number + 1, **panel, "gridPos": {"x": left, "y": top, "w": width, "h": height}}


if __name__ == "__main__":
    print(json.dumps(board(), indent=2))  # noqa: T201
