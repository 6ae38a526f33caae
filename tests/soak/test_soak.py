"""The soak: mixed clients, cuts, kills and restarts, for half an hour on each database; and a short one for a look.

`make soak ARGS="tests/soak -k sqlite"`, or `-k short`; SOAK_MINUTES says how long, SOAK_SEED repeats the draws,
SOAK_REPORT names a file that the figures are added to.
"""

import os
import random
from pathlib import Path

import pytest

from tests.soak import figures
from tests.soak.run import Plan, Soak
from tests.soak.side import Times

MINUTES = float(os.environ.get("SOAK_MINUTES") or 30)
SEED = os.environ.get("SOAK_SEED") or str(random.SystemRandom().randrange(1 << 32))

SHORT = Plan(
    15,
    clients=(5, 2),
    pause=0.5,
    restart_every=6,
    beat=2,
    rest_every=100,
    warm_up=100,
    patience=90,
    times=Times(expiry=10, originals=5, results=5, failed=5, events=5, rows=6, answers=12, sweep=1, idle=3),
    bursts=10,
)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_every_upload_is_accounted_for_after_the_soak(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After SOAK_MINUTES of everything, every upload is accounted for, nothing is left, and nothing has grown."""
    _soak(tmp_path, Plan.of(MINUTES), kind, monkeypatch, capsys)


@pytest.mark.soak
@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_every_upload_is_accounted_for_after_a_short_soak(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same for a quarter of a minute."""
    _soak(tmp_path, SHORT, kind, monkeypatch, capsys)


def _soak(
    folder: Path, plan: Plan, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Soak(folder, plan, kind=kind, seed=SEED) as soak:
        monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(soak.nginx.certificate))
        soak.run()
        found = figures.collect(soak)
    with capsys.disabled():
        print(f"\n{figures.markdown(found)}")
    if os.environ.get("SOAK_REPORT"):
        figures.write(found, Path(os.environ["SOAK_REPORT"]))
    assert soak.wrong == []
