"""A real Prometheus that scrapes a server of the tests.

Rule: it keeps everything in the test's folder, and nothing of it outlives its `with` block.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.harness.ports import free_port, let_go
from tests.harness.waiting import PATIENCE, until


@dataclass(frozen=True)
class Prometheus:
    """A running one."""

    url: str
    http: httpx.Client

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query."""
        answer = self.http.get(f"{self.url}/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", answer
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def rules(self) -> dict[str, dict[str, Any]]:
        """The alert rules by name, with their health."""
        groups = self.http.get(f"{self.url}/api/v1/rules").json()["data"]["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}


@contextmanager
def scraping(folder: Path, target: str, rules: Path) -> Iterator[Prometheus]:
    """Prometheus that asks `target` (host and port) every second, with these rules."""
    program = shutil.which("prometheus")
    assert program, "prometheus is not installed; `make test` installs it"
    folder.mkdir(parents=True)
    (folder / "prometheus.yml").write_text(
        "global: { scrape_interval: 1s, evaluation_interval: 1s }\n"
        f"rule_files: ['{rules}']\n"
        f"scrape_configs: [{{ job_name: videodock, static_configs: [{{ targets: ['{target}'] }}] }}]\n"
    )
    port = free_port()
    with (folder / "out.log").open("wb") as out:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        with httpx.Client(trust_env=False, timeout=PATIENCE) as http:
            made = Prometheus(f"http://127.0.0.1:{port}", http)

            def is_ready() -> bool:
                assert process.poll() is None, (folder / "out.log").read_text()[-3000:]
                try:
                    return http.get(f"{made.url}/-/ready").status_code == 200
                except httpx.TransportError:
                    return False

            until(is_ready, what="Prometheus is ready")
            yield made
    finally:
        process.terminate()
        process.wait(PATIENCE)
        let_go(port)
