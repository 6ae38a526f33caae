"""The Grafana board and the alert rules: made by the script, tried by promtool, about metrics that a server has."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.alert_cases import CASES, rule_tests
from tests.harness.multipart import curl
from tests.harness.prometheus import scraping
from tests.harness.server_process import ROOT, ServerProcess
from tests.harness.tasks import finish
from tests.harness.waiting import PATIENCE, until
from tests.samples import make

FOLDER = ROOT / "docs/deploy"
RULES = FOLDER / "alerts.yml"
# What Prometheus itself makes.
_OWN = {"up"}
# What a sound server that has done one upload by a form does not have.
_MAY_BE_EMPTY = {"Checks that fail", "Refusals by the server (5xx)", "PATCHes that were cut", "Set aside, by reason"}
_MAY_BE_EMPTY |= {"Refused (4xx)", "Created"}
_NAME = re.compile(r"\b(?:videodock_\w+|up)\b(?=[{\[ )]|$)")


def alerts() -> dict[str, dict[str, Any]]:
    """The rules by name."""
    return {rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}


def promtool(*arguments: str) -> str:
    program = shutil.which("promtool")
    assert program, "prometheus is not installed; `make test` installs it"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def queries() -> list[str]:
    """Every PromQL of the board and of the rules."""
    board = json.loads((FOLDER / "grafana.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    return [*asked, *(rule["expr"] for rule in alerts().values())]


def test_the_board_is_what_its_script_prints() -> None:
    """`make docs` has been run since the last change; panels do not overlap."""
    printed = subprocess.run([sys.executable, str(FOLDER / "grafana_board.py")], capture_output=True, check=True)
    assert (FOLDER / "grafana.json").read_bytes() == printed.stdout
    board = json.loads(printed.stdout)
    places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
    cells = [(x, y) for left, top, w, h in places for x in range(left, left + w) for y in range(top, top + h)]
    assert len(cells) == len(set(cells))
    assert all(left + width <= 24 for left, _, width, _ in places)


def test_the_rules_are_valid_and_fire_when_they_should(tmp_path: Path) -> None:
    """Each rule fires in a case and is quiet in all others, with its labels; a sound server has no alert."""
    promtool("check", "rules", str(RULES))
    known = alerts()
    assert {name for case in CASES for name in case.alerts} == set(known)
    file = tmp_path / "rules_test.yml"
    file.write_text(rule_tests(str(RULES), known))
    promtool("test", "rules", str(file))


def test_the_queries_of_the_board_are_valid(tmp_path: Path) -> None:
    """Prometheus parses each of them, with Grafana's variables filled in."""
    filled = [query.replace("$job", ".+").replace("$__rate_interval", "5m") for query in queries()]
    rules = [{"record": f"a:{number}", "expr": query} for number, query in enumerate(filled)]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "board", "rules": rules}]}))
    promtool("check", "rules", str(file))


def test_every_metric_is_one_of_a_real_server(server: ServerProcess, tmp_path: Path) -> None:
    """Names and labels of the board and the rules are in /metrics of a server, which promtool accepts."""
    _, answer = curl(server.url, [make(tmp_path, "clip.mp4")])
    finish(server, answer["task_id"])
    text = server.http.get(f"{server.url}/metrics").text
    served = set(re.findall(r"^(\w+)(?:\{| )", text, re.MULTILINE)) | set(
        re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE)
    )
    used = {name for query in queries() for name in _NAME.findall(query)}
    assert len(used) > 12
    assert used - served - _OWN == set()
    labels = set(re.findall(r'[{,](\w+)="', text)) | {"job", "instance", "reason"}
    asked = {label for query in queries() for label in re.findall(r'[{,](\w+)(?:=|!=|=~|!~)"', query)}
    assert asked - labels == set()
    program = shutil.which("promtool")
    assert program
    checked = subprocess.run(
        [program, "check", "metrics"], input=text, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert checked.returncode in (0, 3), checked.stderr  # 3: advice about style
    assert "error" not in checked.stderr.lower()


def test_a_real_prometheus_answers_every_query(server: ServerProcess, tmp_path: Path) -> None:
    """It scrapes the server: every panel has series, all rules are healthy, and none fires for a sound server."""
    _, answer = curl(server.url, [make(tmp_path, "clip.mp4")])
    finish(server, answer["task_id"])
    server.http.head(f"{server.url}/files/{answer['task_id']}", headers={"Tus-Resumable": "1.0.0"})
    with scraping(tmp_path / "prometheus", f"127.0.0.1:{server.port}", RULES) as prometheus:
        until(
            lambda: len(prometheus.query("count_over_time(videodock_open_uploads[1m]) > 3")) == 1,
            what="it has scraped some times",
            seconds=60,
        )
        until(lambda: all(rule["health"] == "ok" for rule in prometheus.rules().values()), what="rules are evaluated")
        assert {name for name, rule in prometheus.rules().items() if rule["state"] == "firing"} == set()
        for panel in json.loads((FOLDER / "grafana.json").read_text())["panels"]:
            for target in panel.get("targets", []):
                asked = target["expr"].replace("$job", ".+").replace("$__rate_interval", "1m").replace("[1h]", "[1m]")
                found = prometheus.query(asked)
                assert found or panel["title"] in _MAY_BE_EMPTY, asked


@pytest.mark.parametrize("name", alerts())
def test_every_alert_has_a_runbook(name: str) -> None:
    """Its link leads to a heading of docs/operation.md."""
    page, _, anchor = alerts()[name]["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in [re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings]
