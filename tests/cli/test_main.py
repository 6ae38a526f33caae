"""The command line: what it offers, what it refuses, and in how many words."""

import os
import re
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from server import __version__
from server.cli import settings_docs
from server.cli.main import main
from server.settings import Settings
from tests.harness import forkserver
from tests.harness.waiting import PATIENCE

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("VIDEODOCK_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    """A command in this process, for those that configure nothing."""
    return CliRunner().invoke(main, arguments, prog_name="videodock")


def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own; no environment but what is given."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "server", *arguments],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def warm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The same without waiting for its imports, for a test whose subject is what the command does."""
    return forkserver.run("server.cli.main:main", arguments, {"PATH": os.environ["PATH"]}, seconds=PATIENCE)


def test_version_names_program_and_version() -> None:
    """--version names program and version."""
    assert run("--version").output == f"videodock, version {__version__}\n"


def test_help_lists_the_commands() -> None:
    """--help names every command."""
    output = run("--help").output
    assert all(f"\n  {name} " in output for name in ("serve", "worker", "migrate", "sweep", "settings"))


@pytest.mark.alone
def test_help_starts_without_server_and_database_imports() -> None:
    """The help imports no web server and no database: it takes half a second of a processor's time (best of five)."""
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert call("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 0.5


def test_every_setting_is_an_option_of_serve() -> None:
    """serve --help has each setting with its variable and default."""
    output = " ".join(run("serve", "--help").output.split())
    for name in Settings.model_fields:
        assert f"{settings_docs.option(name)} " in output
        assert f"[env: {settings_docs.variable(name)}; default: {settings_docs.default(name) or 'empty'}]" in output


@pytest.mark.parametrize("command", ["serve", "worker", "sweep"])
def test_help_is_grouped_as_the_settings_page_is(command: str) -> None:
    """Each option that is a setting stands below the title of its group, in the order of docs/settings.md."""
    found: dict[str, list[str]] = {}
    for line in run(command, "--help").output.splitlines():
        if re.fullmatch(r"[A-Z].*:", line):
            found[line.removesuffix(":")] = []
        elif option := re.match(r"  (--[a-z-]+) ", line):
            found[list(found)[-1]].append(option[1])
    offered = {option for options in found.values() for option in options}
    assert len(offered) > 8
    del found["Options"]
    assert found == {
        title: [settings_docs.option(name) for name in names if settings_docs.option(name) in offered]
        for title, names in settings_docs.groups()
        if any(settings_docs.option(name) in offered for name in names)
    }


@pytest.mark.parametrize(
    ("command", "has", "lacks"),
    [
        ("worker", ["--data-dir", "--database-url", "--encode-limit", "--ffmpeg", "--log-level"], ["--port"]),
        ("migrate", ["--data-dir", "--database-url", "--check", "--to", "--log-format"], ["--port", "--ffmpeg"]),
        ("sweep", ["--data-dir", "--database-url"], ["--port", "--ffmpeg", "--upload-expiry"]),
        ("settings", ["--markdown"], ["--port"]),
    ],
)
def test_other_commands_take_only_settings_that_concern_them(command: str, has: list[str], lacks: list[str]) -> None:
    """An option that would change nothing is not offered."""
    output = run(command, "--help").output
    assert all(option in output for option in has)
    assert not any(option in output for option in lacks)


@pytest.mark.parametrize("command", ["serve", "worker", "migrate", "sweep"])
def test_a_wrong_setting_is_a_sentence_and_exit_2(command: str) -> None:
    """Whatever the command, a wrong value is named on standard error, without a traceback or a password."""
    wrong = call(command, "--database-url", "mysql://user:hunter2@host/x")
    assert wrong.returncode == 2
    assert wrong.stdout == ""
    assert wrong.stderr.startswith("The setting database_url ")
    assert wrong.stderr.count("\n") == 1
    assert "hunter2" not in wrong.stderr


def test_a_wrong_command_is_exit_2() -> None:
    """Unknown commands and options are refused by name."""
    assert run("fly").exit_code == 2
    assert "--altitude" in run("serve", "--altitude", "3").output
    assert run("migrate", "--check", "--to", "base").exit_code == 2


def test_a_misspelt_variable_is_warned_of() -> None:
    """VIDEODOCK_PROT is named in a warning, and the command goes on."""
    shown = call("settings", VIDEODOCK_PROT="1", VIDEODOCK_PORT="9")
    assert shown.returncode == 0
    assert "VIDEODOCK_PROT" in shown.stderr
    assert "VIDEODOCK_PORT" not in shown.stderr


def test_settings_shows_values_and_where_they_come_from() -> None:
    """Value and origin of each setting, without the password; and the page for the documentation."""
    shown = call("settings", VIDEODOCK_DATABASE_URL="postgresql://u:hunter2@h/d").stdout
    assert "postgresql+psycopg://u:***@h/d" in shown
    assert run("settings", "--markdown").output == (ROOT / "docs" / "settings.md").read_text("utf-8")


def test_migrate_goes_up_and_down_and_check_reports_it(tmp_path: Path) -> None:
    """migrate says from where to where; --check knows; the data folder is its owner's alone."""
    folder = tmp_path / "data"
    check = ("migrate", "--check", "--data-dir", str(folder))
    assert warm(*check).returncode == 1
    assert not folder.exists()
    up = warm("migrate", "--data-dir", str(folder))
    assert (up.returncode, up.stdout.startswith("The database went from revision base to ")) == (0, True)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "already" in warm("migrate", "--data-dir", str(folder)).stdout
    assert warm(*check).returncode == 0
    down = warm("migrate", "--to", "base", "--yes", "--data-dir", str(folder))
    assert (down.returncode, down.stdout.endswith(" to base.\n")) == (0, True)
    refused = warm(*check)
    assert refused.returncode == 1
    assert "videodock migrate" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_migrate_to_an_unknown_revision_is_refused(tmp_path: Path) -> None:
    """An unknown revision is a sentence."""
    folder = str(tmp_path / "data")
    warm("migrate", "--data-dir", folder)
    refused = warm("migrate", "--to", "zzz", "--yes", "--data-dir", folder)
    assert refused.returncode == 1
    assert "zzz" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.sampled(1)
@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_a_data_folder_that_cannot_be_made_is_exit_1(command: str, tmp_path: Path) -> None:
    """A file in the place of the data folder is a sentence and exit 1."""
    (tmp_path / "file").write_text("")
    arguments = ["--port", "0"] if command == "serve" else []
    for folder in ("file", "file/below"):
        refused = call(command, "--data-dir", str(tmp_path / folder), *arguments)
        assert refused.returncode == 1
        assert ("is a file" if folder == "file" else "The data folder ") in refused.stderr
        assert "Traceback" not in refused.stderr


def test_sweep_prints_what_was_removed(tmp_path: Path) -> None:
    """sweep on an unmigrated database is refused; on a migrated one each number has its line."""
    folder = str(tmp_path / "data")
    refused = warm("sweep", "--data-dir", folder)
    assert refused.returncode == 1
    assert "videodock migrate" in refused.stderr
    warm("migrate", "--data-dir", folder)
    swept = warm("sweep", "--data-dir", folder)
    assert swept.returncode == 0
    assert "expired: 0\n" in swept.stdout
