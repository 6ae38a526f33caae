"""docs/security.md: five minutes to a safe deployment, each step run as it stands, in one shell."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.ports import free_port, let_go
from tests.harness.processes import marked
from tests.harness.server_process import ROOT
from tests.harness.waiting import PATIENCE, until
from tests.samples import make

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(2)]  # every step is a new interpreter
PAGE = (ROOT / "docs" / "security.md").read_text()


def steps() -> list[str]:
    """The commands of the first section, in order."""
    section = PAGE.split("## Five minutes to a safe deployment")[1].split("\n## ")[0]
    blocks = re.findall(r" {3}```sh\n(.*?) {3}```", section, re.DOTALL)
    return [re.sub(r"^ {3}", "", block, flags=re.MULTILINE) for block in blocks]


def test_the_steps_work_as_they_stand(tmp_path: Path) -> None:
    """From an empty folder to a processed video and a revoked key; nothing but what the page says."""
    assert len(steps()) == 6
    shutil.copy(make(tmp_path / "video", "holiday.mp4"), tmp_path / "holiday.mp4")
    port, mark = free_port(), f"page-{os.getpid()}-{tmp_path.name}"
    bin_folder = Path(sys.executable).parent
    script = "\n".join(["set -e", *steps(), "kill %1; wait"]).replace("8000", str(port))
    environment = {"PATH": f"{bin_folder}:/usr/bin:/bin", "HOME": str(tmp_path), "SERVER_OF_TEST": mark}
    try:
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=2 * PATIENCE
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert '"success":true' in done.stdout
        assert "grant_created" in done.stdout
        assert "key_created" in done.stdout
        assert done.stdout.rstrip().endswith("Revoked."), done.stdout[-500:]
        assert (tmp_path / "shop.key").stat().st_mode & 0o777 == 0o600
        assert "vdk_" not in done.stderr + done.stdout.replace((tmp_path / "shop.key").read_text(), "")
    finally:
        let_go(port)
        for process in marked(mark):
            process.kill()
        until(lambda: not marked(mark), seconds=10, what="nothing of it is left")
