"""The Containerfile, as far as it can be judged without an engine: what it names exists, and its commands work.

A base image comes from a registry, so nothing is built here.
"""

import fnmatch
import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
import venv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from server import __version__
from server.settings import Settings
from tests.harness.server_process import ROOT
from tests.harness.waiting import PATIENCE, until

EXEC_FORM = ("ENTRYPOINT", "CMD", "HEALTHCHECK")


@dataclass(frozen=True)
class Instruction:
    name: str
    value: str

    @property
    def words(self) -> list[str]:
        """The value in words, options apart; of the exec form, what is executed."""
        text = self.value
        if self.name in EXEC_FORM:
            words: Any = json.loads(text[text.index("[") :])
            return [str(word) for word in words]
        return [word for word in shlex.split(text) if not word.startswith("--")]


@cache
def stages() -> list[list[Instruction]]:
    """The instructions of each stage, in order."""
    text = (ROOT / "Containerfile").read_text().replace("\\\n", " ")
    found: list[list[Instruction]] = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition(" ")
            assert re.fullmatch(
                "FROM|WORKDIR|COPY|RUN|ENV|USER|VOLUME|EXPOSE|STOPSIGNAL|HEALTHCHECK|ENTRYPOINT|CMD", name
            )
            if name == "FROM":
                found.append([])
            found[-1].append(Instruction(name, value))
    return found


def only(stage: int, name: str) -> Instruction:
    (found,) = [instruction for instruction in stages()[stage] if instruction.name == name]
    return found


def environment() -> dict[str, str]:
    """What ENV sets in the image."""
    pairs = (instruction.value for instruction in stages()[-1] if instruction.name == "ENV")
    return dict(pair.split("=", 1) for pair in pairs)


def copied() -> list[str]:
    """What is copied from the context."""
    lines = [each for each in stages()[0] if each.name == "COPY"]
    return [source for line in lines for source in line.words[:-1]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel that is built of nothing but what the Containerfile copies."""
    folder = tmp_path_factory.mktemp("container")
    source = folder / "src"
    source.mkdir()
    for name in copied():
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(path, source)
    pip = [sys.executable, "-m", "pip"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", str(folder), str(source)]
    subprocess.run(wheel, check=True, timeout=PATIENCE)
    (made,) = folder.glob("videodock-*.whl")
    target = folder / "opt/videodock"
    venv.create(target, with_pip=False, symlinks=True)
    into = [*pip, "--python", str(target / "bin/python"), "install", "--no-deps", "--no-index", "--quiet", str(made)]
    subprocess.run(into, check=True, timeout=PATIENCE)
    # What it depends on is taken from the environment of the tests, behind what was just installed.
    (site,) = target.glob("lib/python3*/site-packages")
    (site / "dependencies.pth").write_text(str(Path(pytest.__file__).parents[1]))
    return target


def test_the_image_stops_on_sigterm_and_does_not_run_as_root() -> None:
    """Exec form, so that SIGTERM reaches the server; not root; volume, port and address are the server's."""
    last = stages()[-1]
    names = [instruction.name for instruction in last]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert only(-1, "USER").value not in ("root", "0")
    assert only(-1, "ENTRYPOINT").words == ["videodock"]
    assert only(-1, "CMD").words == ["serve"]
    assert only(-1, "STOPSIGNAL").value == "SIGTERM"
    image = environment()
    assert image["VIDEODOCK_DATA_DIR"] == only(-1, "VOLUME").value
    assert int(only(-1, "EXPOSE").value) == Settings.model_fields["port"].default
    assert image["VIDEODOCK_HOST"] == "0.0.0.0"
    known = {f"VIDEODOCK_{name.upper()}" for name in Settings.model_fields}
    assert {name for name in image if name.startswith("VIDEODOCK_")} <= known
    for stage in stages():
        assert re.fullmatch(r"docker\.io/library/python:3\.\d+-slim-[a-z]+( AS build)?", stage[0].value)


def test_every_copied_path_exists_and_is_not_ignored() -> None:
    """Every source of COPY is in the tree, and `.containerignore` lets it through."""
    rules = [line for line in (ROOT / ".containerignore").read_text().splitlines() if line and line[0] != "#"]
    for name in copied():
        assert (ROOT / name).exists(), name
        verdict = False
        for rule in rules:
            if fnmatch.fnmatch(name, rule.removeprefix("!")):
                verdict = not rule.startswith("!")
        assert not verdict, f"{name} is ignored"


def test_its_debian_packages_are_known_to_apt() -> None:
    """Each package that it installs is one that apt knows."""
    lines = [line.value for line in stages()[-1] if line.name == "RUN" and "apt-get install" in line.value]
    packages = [
        word
        for line in lines
        for word in re.findall(r"apt-get install (.*?)(?:&&|$)", line)[0].split()
        if not word.startswith("-")
    ]
    assert packages
    for package in packages:
        policy = subprocess.run(["apt-cache", "policy", package], check=True, capture_output=True, text=True).stdout
        assert re.search(r"Candidate: \d", policy), f"{package}: {policy or 'unknown'}"


def test_its_extras_are_those_of_pyproject() -> None:
    """What stands in brackets behind the dot are extras of pyproject.toml."""
    (install,) = [line.value for line in stages()[0] if line.name == "RUN" and "pip install" in line.value]
    (extras,) = re.findall(r"'\.\[(.*)\]'", install)
    pyproject = (ROOT / "pyproject.toml").read_text()
    for extra in extras.split(","):
        assert re.search(rf"^{extra} = \[", pyproject, re.MULTILINE), extra


def test_the_installed_program_runs_outside_the_tree(installed: Path, tmp_path: Path) -> None:
    """Entry point, command and health check do their work outside of the tree, in an environment like the image's."""
    image = environment() | {"VIDEODOCK_DATA_DIR": str(tmp_path / "data"), "PATH": f"{installed / 'bin'}:/usr/bin:/bin"}
    entry = [str(installed / "bin" / only(-1, "ENTRYPOINT").words[0])]
    shown = subprocess.run([*entry, "--version"], cwd=tmp_path, env=image, check=True, capture_output=True, text=True)
    assert __version__ in shown.stdout
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    image |= {"VIDEODOCK_PORT": str(port), "VIDEODOCK_HOST": "127.0.0.1"}
    health = [str(installed / "bin/python"), *only(-1, "HEALTHCHECK").words[1:]]
    health[-1] = health[-1].replace("8000", str(port))

    def healthy() -> bool:
        return subprocess.run(health, env=image, check=False, capture_output=True, timeout=PATIENCE).returncode == 0

    assert not healthy()
    command = [*entry, *only(-1, "CMD").words]
    process = subprocess.Popen(command, cwd=tmp_path, env=image, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        until(healthy, seconds=30, what="it is healthy", every=0.2)
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out.decode()
    assert (tmp_path / "data/videodock.db").is_file()
