"""Packages with hooks, installed by pip into a folder that a server gets as PYTHONPATH."""

import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "hooks"

_PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "1"

[project.entry-points."videodock.hooks"]
{hooks}

[tool.hatch.build.targets.wheel]
packages = ["{name}"]
"""


def install(target: Path, source: Path = EXAMPLE) -> Path:
    """Install a package without its dependencies; the folder to put on the path."""
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", str(target)]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *options, str(source)], check=True
    )
    return target


def write(folder: Path, name: str, code: str, *hooks: str) -> Path:
    """The sources of a package that registers these functions of it, each named like the hook."""
    package = folder / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(textwrap.dedent(code))
    lines = "\n".join(f'{hook} = "{name}:{hook}"' for hook in hooks)
    (folder / "pyproject.toml").write_text(_PROJECT.format(name=name, hooks=lines))
    return folder


def place(target: Path, name: str, code: str, *hooks: str) -> Path:
    """Put such a package on a path as an installer leaves it, without one; the folder to put on the path."""
    (target / name).mkdir(parents=True)
    (target / name / "__init__.py").write_text(textwrap.dedent(code))
    about = target / f"{name}-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    lines = "\n".join(f"{hook} = {name}:{hook}" for hook in hooks)
    (about / "entry_points.txt").write_text(f"[videodock.hooks]\n{lines}\n")
    return target
