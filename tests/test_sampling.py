"""Tests that run some of their parameter sets: what is drawn, and that nothing is lost."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.sampling import Value, choose

_CONFTEST = """
import pytest
from tests.harness import sampling, seed

def pytest_addoption(parser):
    seed.add_option(parser)

def pytest_configure(config):
    seed.begin(config)

@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    sampling.draw(items)
"""

_TESTS = """
import pytest

@pytest.fixture(params=["sqlite", "postgresql"])
def database(request):
    return request.param

@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", ["a", "b", "c", "d"])
@pytest.mark.parametrize("number", [0, 1, pytest.param(2, marks=pytest.mark.soak)])
def test_many(database, name, number):
    pass

@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", ["a", "b"])
def test_few(name):
    pass

@pytest.mark.sampled(1)
def test_first(database):
    pass

@pytest.mark.sampled(1)
def test_second(database):
    pass

@pytest.mark.sampled(1)
class TestClass:
    @pytest.mark.parametrize("call", [print, repr])
    def test_one(self, call):
        pass

    def test_only(self):
        pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Tests in a folder of their own, with the mechanism of these."""
    (tmp_path / "conftest.py").write_text(_CONFTEST)
    (tmp_path / "test_it.py").write_text(_TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  soak\n  sampled(most)\n")
    return tmp_path


def test_what_is_not_drawn_is_left_to_a_soak(project: Path) -> None:
    """A test is in `not soak` or in `soak`, never in both or in none."""
    everything, drawn, left = (ran(project, "-m", which) for which in ("", "not soak", "soak"))
    assert len(everything) == 4 * 2 * 3 + 2 + 2 * 2 + 2 + 1
    assert sorted(drawn + left) == sorted(everything)
    assert [len(of(drawn, test)) for test in ("test_many", "test_few", "test_one", "test_only")] == [4, 2, 1, 1]
    assert not [name for name in of(drawn, "test_many") if "-2-" in name or name.endswith("-2]")], "marked `soak`"


def test_a_sample_has_every_value(project: Path) -> None:
    """Four of sixteen sets have both databases, all four names and both numbers."""
    sets = [name.partition("[")[2].rstrip("]").split("-") for name in of(ran(project, "-m", "not soak"), "test_many")]
    assert {value for values in sets for value in values} == {"sqlite", "postgresql", "a", "b", "c", "d", "0", "1"}


def test_a_sample_depends_on_the_seed_only(project: Path) -> None:
    """One seed draws the same in each run and in each process of xdist; another draws others."""
    alone = ran(project, "-m", "not soak", "--seed=1")
    assert sorted(alone) == sorted(ran(project, "-m", "not soak", "--seed=1", "-p", "xdist", "-n", "2"))
    assert sorted(alone) != sorted(ran(project, "-m", "not soak", "--seed=2"))


def test_tests_of_a_file_take_turns(project: Path) -> None:
    """Where each has room for one database, tests have the one and the other in turn, together and alone."""
    together = ran(project, "-m", "not soak")
    first, second = of(together, "test_first"), of(together, "test_second")
    assert {name.partition("[")[2] for name in first + second} == {"sqlite]", "postgresql]"}
    assert ran(project, "-m", "not soak", name="test_it.py::test_second") == second


def test_a_set_that_is_named_runs(project: Path) -> None:
    """So a failure of a soak can be repeated by its name."""
    (left, *_) = of(ran(project, "-m", "soak", "--seed=1"), "test_one")
    assert ran(project, "-m", "not soak", "--seed=1", name=left) == [left]


@pytest.mark.parametrize("arguments", ["", "0", "'4'", "most=4"])
def test_a_sample_needs_a_number(project: Path, arguments: str) -> None:
    """A marker that says nothing is an error, not a test that runs always or never."""
    (project / "test_it.py").write_text(f"import pytest\n@pytest.mark.sampled({arguments})\ndef test_it():\n    pass\n")
    done = run(project)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "test_it.py::test_it: `sampled` takes the number" in done.stderr


def test_pairs_of_values_follow_single_values() -> None:
    """With room for six of nine, each value comes first, and the rest repeat no pair."""
    sets: list[frozenset[Value]] = [frozenset({("a", a), ("b", b)}) for a in range(3) for b in range(3)]
    first = choose(sets, 3, "a name")
    assert frozenset().union(*(sets[number] for number in first)) == frozenset().union(*sets)
    assert choose(sets, 6, "a name") > first
    assert choose(sets, 100, "a name") == set(range(9))


def of(names: list[str], test: str) -> list[str]:
    """Those of one test."""
    return [name for name in names if f"::{test}" in name]


def ran(project: Path, *arguments: str, name: str = "") -> list[str]:
    """The tests that ran."""
    done = run(project, *arguments, *([name] if name else []))
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"^PASSED (\S+)", done.stdout, re.MULTILINE)


def run(project: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Pytest in that folder."""
    command = [sys.executable, "-m", "pytest", "-q", "-rp", "-p", "no:cacheprovider", *arguments]
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
