"""What `pip install` brings is whole: migrations, the page and the command."""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import requires
from pathlib import Path
from typing import Any

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
    """The built page, the typing marker, every migration of the tree; and nothing beside `server`."""
    page = ROOT / "server/web/page"
    built = {path.name for path in (page / "dist").iterdir()}
    assert "index.html" in built
    assert {path.name for path in (installed / "server/web/page/dist").iterdir()} == built
    assert {path.name for path in (installed / "server/web/page").iterdir()} == {"dist"}, "no sources, no packages"
    assert (installed / "server/py.typed").is_file()
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


def test_the_built_page_is_that_of_its_sources() -> None:
    """What build.mjs has written is the hash that hatch_build.py compares, so a change of a source builds it again."""
    page = ROOT / "server/web/page"
    assert (page / "dist/sources.sha256").read_text().strip() == hatch_build().fingerprint(page)


def test_the_build_of_the_page_notices_changes_and_says_what_it_lacks(tmp_path: Path) -> None:
    """A change of a source is noticed. Without Node there is one sentence that says what to do; a command that fails is
    told with its words."""
    hook = hatch_build()
    page = tmp_path / "page"
    shutil.copytree(ROOT / "server/web/page", page, ignore=shutil.ignore_patterns("node_modules", "dist"))
    before = hook.fingerprint(page)
    (page / "src/text/en.ts").write_text("export const en = {}\n")
    assert hook.fingerprint(page) != before
    (page / "package-lock.json").unlink()
    code = "import sys, hatch_build, pathlib; hatch_build.build(pathlib.Path(sys.argv[1]))"
    for path, told in (("/nowhere", "The page needs Node 20 or later"), (os.environ["PATH"], "`npm ci")):
        command = [sys.executable, "-c", code, str(page)]
        ended = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=PATIENCE
        )
        assert ended.returncode != 0
        assert told in ended.stderr


def hatch_build() -> Any:
    """The build hook, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
