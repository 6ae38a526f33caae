"""`videodock sweep`: its table, its JSON and its dry run."""

import json

from click.testing import CliRunner

from server.cli.main import main
from server.maintenance.sweep_report import SweepKind
from tests.maintenance.filled_installation import DAY, FilledInstallation


def test_a_dry_run_prints_what_would_be_removed(in_memory: FilledInstallation) -> None:
    """By the settings of the command line; `--json` has every number with its bytes."""
    in_memory.task("completed", 10 * DAY, has_poster=True)
    place = ["--data-dir", str(in_memory.settings.data_dir)]
    before = in_memory.state()
    nothing = CliRunner().invoke(main, ["sweep", "--dry-run", *place])
    assert (nothing.exit_code, nothing.stdout) == (0, "Nothing would go. Nothing was changed.\n")
    tried = [*place, "--original-retention", str(DAY), "--result-retention", str(DAY)]
    table = CliRunner().invoke(main, ["sweep", "--dry-run", *tried]).stdout
    assert "old originals       1  500 B  other originals (`original_retention`)" in table
    assert table.endswith("\n509 B would be freed. Nothing was changed.\n")
    assert in_memory.state() == before
    as_json = json.loads(CliRunner().invoke(main, ["sweep", "--dry-run", "--json", *tried]).stdout)
    assert as_json["old_originals"] == {"number": 1, "bytes": 500}
    assert as_json["old_results"] == {"number": 1, "bytes": 9}
    assert set(as_json) == set(SweepKind)
    done = CliRunner().invoke(main, ["sweep", *tried]).stdout.splitlines()
    assert {"old originals: 1", "old results: 1", "failed: 0", "bytes freed: 509"} <= set(done)
    nowhere = CliRunner().invoke(main, ["sweep", "--dry-run", "--data-dir", str(in_memory.settings.data_dir / "x")])
    assert nowhere.exit_code == 1
    assert not (in_memory.settings.data_dir / "x").exists()
