"""requirements-dev.txt fits pyproject.toml: `make lock` has been run after the last change of a dependency."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.constants import EDITABLES_REQUIREMENT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCK = (ROOT / "requirements-dev.txt").read_text()
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


@dataclass(frozen=True)
class Locked:
    name: str
    version: str
    hashes: tuple[str, ...]
    direct: bool
    """Whether pyproject.toml asks for it, by the comment of the tool that wrote the file."""


def entries() -> list[Locked]:
    """The packages of the lock file; one may be there in two versions, for different versions of Python."""
    entry = r"^([\w.-]+)==(\S+)[^\n]*\\\n((?:    --hash=\S+(?: \\)?\n)+)((?:    #[^\n]*\n)*)"
    return [
        Locked(name, version, tuple(re.findall(r"--hash=(\S+)", hashes)), "(pyproject.toml" in comments)
        for name, version, hashes, comments in re.findall(entry, LOCK, re.MULTILINE)
    ]


def locked() -> dict[str, Locked]:
    """The same by name; of two versions the last."""
    return {canonicalize_name(entry.name): entry for entry in entries()}


def group(name: str) -> Iterator[str]:
    """The requirements of a dependency group, with those of the groups that it includes."""
    for line in PROJECT["dependency-groups"][name]:
        if isinstance(line, str):
            yield line
        else:
            yield from group(line["include-group"])


def declared() -> list[Requirement]:
    """What the development environment needs by pyproject.toml."""
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["postgres"], *extras["crc32c"], *group("dev")]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("requirement", declared(), ids=str)
def test_each_dependency_is_locked_within_its_bounds(requirement: Requirement) -> None:
    """The lock file has the package, and its version is one that pyproject.toml allows."""
    package = locked().get(canonicalize_name(requirement.name))
    assert package is not None, f"{requirement} is not in requirements-dev.txt: run make lock"
    assert requirement.specifier.contains(package.version), f"{package.version} is not {requirement}: run make lock"


def test_no_dependency_is_locked_that_the_project_has_dropped() -> None:
    """The packages that the lock file calls direct are those of pyproject.toml."""
    names = {canonicalize_name(requirement.name) for requirement in declared()}
    assert {name for name, package in locked().items() if package.direct} == names


def test_the_build_tools_are_locked() -> None:
    """Make installs the checkout without build isolation, so pip downloads nothing whose hash it does not know."""
    needed = [*PROJECT["build-system"]["requires"], EDITABLES_REQUIREMENT]
    for requirement in map(Requirement, needed):
        assert requirement.specifier.contains(locked()[canonicalize_name(requirement.name)].version)


def test_each_package_has_hashes_and_no_address() -> None:
    """Every line of the file is a comment, a version or a SHA-256; no line names an index or a URL."""
    packages = entries()
    assert len(packages) == len(re.findall(r"^[\w.-]+==", LOCK, re.MULTILINE))
    for package in packages:
        assert package.hashes, package
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", each) for each in package.hashes), package
    for line in LOCK.splitlines():
        assert re.match(r"#|    #|[\w.-]+==|    --hash=sha256:", line), line
        assert "://" not in line
