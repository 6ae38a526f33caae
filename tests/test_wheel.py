"""What `pip install` brings is whole: migrations, the page and the command."""

import subprocess
import sys
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest

from tests.harness.waiting import PATIENCE

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this tree and unpacked where the checkout cannot help it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, timeout=PATIENCE)
    (wheel,) = folder.glob("videodock-*.whl")
    target = folder / "site"
    zipfile.ZipFile(wheel).extractall(target)
    return target


def test_the_wheel_has_what_the_program_needs(installed: Path) -> None:
    """The page, the typing marker, every migration of the tree; and nothing beside `server`."""
    page = [str(path.relative_to(ROOT)) for path in (ROOT / "server/web/page").iterdir()]
    assert {"server/web/page/index.html", "server/web/page/page.js"} <= set(page)
    for name in ("server/py.typed", *page):
        assert (installed / name).is_file(), name
    revisions = {path.name for path in (ROOT / "migrations" / "versions").glob("*.py")}
    assert {path.name for path in (installed / "server/migrations/versions").glob("*.py")} == revisions
    assert {path.name.partition("-")[0] for path in installed.iterdir()} == {"server", "videodock"}
    (entry,) = installed.glob("videodock-*.dist-info/entry_points.txt")
    assert "videodock = server.cli.main:main" in entry.read_text()


def test_the_installed_package_migrates_by_itself(installed: Path, tmp_path: Path) -> None:
    """`migrate` of the unpacked wheel, far from the checkout, brings a new database to head."""
    command = [sys.executable, "-P", "-m", "server", "migrate", "--data-dir", str(tmp_path / "data")]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(installed)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=PATIENCE)
    check = [*command[:5], "--check", *command[5:]]
    subprocess.run(check, cwd=tmp_path, env=environment, check=True, timeout=PATIENCE)
    assert (tmp_path / "data" / "videodock.db").is_file()


def test_the_server_runs_without_python_multipart() -> None:
    """Without python-multipart, which Starlette and FastAPI take if it is there, every part of the server loads."""
    code = """
import importlib, pkgutil, sys
sys.modules["python_multipart"] = sys.modules["multipart"] = None
import server
for module in pkgutil.walk_packages(server.__path__, "server."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
    assert "python-multipart" not in " ".join(requires("videodock") or [])
