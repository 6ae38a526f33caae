"""For every alert rule: series for which it fires, and when; promtool runs them.

Rule: each case has the series of a sound server too, so that no other alert may fire beside the expected ones.
"""

import json
from dataclasses import dataclass, field
from typing import Any

SERVER = 'job="videodock",instance="a:8000"'
GIB = 1 << 30

# A sound server, a value a minute: promtool's notation is start+step x times.
SOUND = {
    f"up{{{SERVER}}}": "1x600",
    f'videodock_check_ok{{check="database",{SERVER}}}': "1x600",
    f'videodock_check_ok{{check="scanner",{SERVER}}}': "1x600",
    f'videodock_check_ok{{check="space",{SERVER}}}': "1x600",
    f"videodock_open_uploads{{{SERVER}}}": "3x600",
    f"videodock_disk_free_bytes{{{SERVER}}}": f"{500 * GIB}x600",
    f"videodock_disk_promised_bytes{{{SERVER}}}": f"{GIB}x600",
    f"videodock_disk_reserve_bytes{{{SERVER}}}": f"{2 * GIB}x600",
    f'videodock_requests_total{{method="PATCH",status="204",{SERVER}}}': "0+6000x600",
    f'videodock_requests_total{{method="PATCH",status="499",{SERVER}}}': "0+60x600",
    f'videodock_request_seconds_bucket{{method="HEAD",le="0.02",{SERVER}}}': "0+1000x600",
    f'videodock_request_seconds_bucket{{method="HEAD",le="5",{SERVER}}}': "0+1010x600",
    f'videodock_request_seconds_bucket{{method="HEAD",le="+Inf",{SERVER}}}': "0+1010x600",
    f"videodock_oldest_waiting_task_seconds{{{SERVER}}}": "60x600",
    f"videodock_tasks_running{{{SERVER}}}": "2x600",
    f'videodock_tasks{{status="completed",{SERVER}}}': "0+10x600",
    f'videodock_tasks{{status="error",{SERVER}}}': "0+0.1x600",
    f"videodock_webhook_circuits_open{{{SERVER}}}": "0x600",
    f"videodock_oldest_webhook_message_seconds{{{SERVER}}}": "2x600",
    f'videodock_webhook_deliveries_total{{outcome="delivered",{SERVER}}}': "0+10x600",
    f'videodock_webhook_deliveries_total{{outcome="failed",{SERVER}}}': "0+1x600",
    f'videodock_webhook_deliveries_total{{outcome="dead",{SERVER}}}': "0x600",
    f'videodock_hook_calls_total{{hook="post_task",outcome="ok",{SERVER}}}': "0+10x600",
    f'videodock_hook_calls_total{{hook="post_task",outcome="failed",{SERVER}}}': "0+0.02x600",
}


@dataclass(frozen=True)
class Case:
    """Series that differ from the sound ones (None removes one), and the alerts that fire at that minute."""

    name: str
    minute: int
    alerts: dict[str, dict[str, str]] = field(default_factory=dict)
    series: dict[str, str | None] = field(default_factory=dict)


def _requests(**labels: str) -> str:
    given = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"videodock_requests_total{{{given},{SERVER}}}"


JOB = {"job": "videodock"}
BOTH = {"job": "videodock", "instance": "a:8000"}
CASES = [
    Case("sound", 599),
    Case("down", 60, {"VideodockDown": BOTH}, {f"up{{{SERVER}}}": "0x600"}),
    Case(
        "database away",
        60,
        {"VideodockPartAway": {**BOTH, "check": "database"}, "VideodockUncounted": BOTH},
        {
            f'videodock_check_ok{{check="database",{SERVER}}}': "0x600",
            f"videodock_open_uploads{{{SERVER}}}": None,
        },
    ),
    Case(
        "scanner away",
        60,
        {
            "VideodockScannerAway": {**BOTH, "check": "scanner"},
            "VideodockTasksSetAside": {**BOTH, "reason": "scanner_away"},
        },
        {
            f'videodock_check_ok{{check="scanner",{SERVER}}}': "0x600",
            f'videodock_tasks_postponed{{reason="scanner_away",{SERVER}}}': "4x600",
        },
    ),
    Case("disk full", 60, {"VideodockDiskFull": BOTH}, {f"videodock_disk_free_bytes{{{SERVER}}}": f"{2 * GIB}x600"}),
    Case(
        "disk full soon",
        420,
        {"VideodockDiskFullSoon": BOTH},
        {f"videodock_disk_free_bytes{{{SERVER}}}": f"{500 * GIB}-{GIB}x440"},
    ),
    Case("errors", 60, {"VideodockErrors": JOB}, {_requests(method="GET", status="500"): "0+200x600"}),
    Case("busy", 60, {"VideodockBusy": JOB}, {_requests(method="POST", status="503"): "0+200x600"}),
    Case(
        "slow",
        60,
        {"VideodockSlow": JOB},
        {f'videodock_request_seconds_bucket{{method="HEAD",le="0.02",{SERVER}}}': "0+100x600"},
    ),
    Case("cut", 90, {"VideodockUploadsCut": JOB}, {_requests(method="PATCH", status="499"): "0+6000x600"}),
    Case(
        "queue stands",
        60,
        {"VideodockQueueStands": BOTH},
        {
            f"videodock_oldest_waiting_task_seconds{{{SERVER}}}": "1000x600",
            f"videodock_tasks_running{{{SERVER}}}": "0x600",
        },
    ),
    Case(
        "queue long",
        60,
        {"VideodockQueueLong": BOTH},
        {f"videodock_oldest_waiting_task_seconds{{{SERVER}}}": "4000x600"},
    ),
    Case(
        "tasks fail",
        90,
        {"VideodockTasksFail": {**BOTH, "status": "error"}},
        {f'videodock_tasks{{status="error",{SERVER}}}': "0+5x600"},
    ),
    Case(
        "credentials",
        60,
        {"VideodockCredentialsRefused": JOB},
        {_requests(method="POST", status="401"): "0+600x600"},
    ),
    Case(
        "webhook fails",
        90,
        {"VideodockWebhookFails": BOTH},
        {
            f"videodock_webhook_circuits_open{{{SERVER}}}": "1x600",
            f"videodock_oldest_webhook_message_seconds{{{SERVER}}}": "0+60x600",
        },
    ),
    Case(
        "webhooks stand",
        90,
        {"VideodockWebhooksStand": BOTH},
        {
            f"videodock_oldest_webhook_message_seconds{{{SERVER}}}": "0+60x600",
            f'videodock_webhook_deliveries_total{{outcome="delivered",{SERVER}}}': "500x600",
            f'videodock_webhook_deliveries_total{{outcome="failed",{SERVER}}}': "50x600",
        },
    ),
    Case(
        "webhook messages dead",
        90,
        {"VideodockWebhookMessagesDead": JOB},
        {f'videodock_webhook_deliveries_total{{outcome="dead",{SERVER}}}': "0+1x600"},
    ),
    Case(
        "hook fails",
        90,
        {"VideodockHookFails": {**JOB, "hook": "post_task"}},
        {f'videodock_hook_calls_total{{hook="post_task",outcome="timeout",{SERVER}}}': "0+0.2x600"},
    ),
]


def rule_tests(rules: str, alerts: dict[str, dict[str, Any]]) -> str:
    """The file for `promtool test rules`. `alerts` are the rules by name."""
    tests = []
    for case in CASES:
        series = {**SOUND, **case.series}
        expected = [
            {
                "eval_time": f"{case.minute}m",
                "alertname": name,
                "exp_alerts": [_fired(rule, case.alerts[name])] if name in case.alerts else [],
            }
            for name, rule in alerts.items()
        ]
        tests.append(
            {
                "interval": "1m",
                "name": case.name,
                "input_series": [{"series": key, "values": text} for key, text in series.items() if text is not None],
                "alert_rule_test": expected,
            }
        )
    return json.dumps({"rule_files": [rules], "evaluation_interval": "1m", "tests": tests})


def _fired(rule: dict[str, Any], labels: dict[str, str]) -> dict[str, Any]:
    notes = rule["annotations"]
    for name, value in labels.items():
        notes = {key: text.replace(f"{{{{ $labels.{name} }}}}", value) for key, text in notes.items()}
    return {"exp_labels": {**rule["labels"], **labels}, "exp_annotations": notes}
