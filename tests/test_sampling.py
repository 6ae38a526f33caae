"""Tests that run some of their parameter sets: what is drawn, and that nothing is lost."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.harness.sampling import Value, choose

ROOT = Path(__file__).parents[1]

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

@pytest.fixture(scope="module", params=[("videodock", "asyncio"), ("tuspyserver", "asyncio"), ("videodock", "uvloop")])
def server(request):
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

@pytest.mark.parametrize("case", range(20))
def test_twin(database, case):
    pass

@pytest.mark.parametrize("engine", ["videodock", "tuspyserver"])
def test_two_kinds_of_twins(database, engine):
    pass

@pytest.mark.every_backend
def test_every(database):
    pass

@pytest.mark.parametrize("name", ["sqlite", "other"])
def test_no_twin(name):
    pass

def test_shared(server):
    pass

@pytest.mark.parametrize("case", range(5))
def test_shared_too(server, case):
    pass
"""

_TURNS = """
import pytest

pytestmark = pytest.mark.turns(3)

@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a(database): pass
def test_b(): pass
def test_c(): pass
def test_d(): pass
def test_e(): pass

@pytest.mark.turns(1)
def test_always(): pass
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tests in a folder of their own, with the mechanism of these."""
    tmp_path = tmp_path_factory.mktemp("project")
    (tmp_path / "conftest.py").write_text(_CONFTEST)
    (tmp_path / "test_it.py").write_text(_TESTS)
    (tmp_path / "test_turns.py").write_text(_TURNS)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nmarkers =\n  soak\n  drawn\n  sampled(most)\n  every_backend\n  turns(days)\n"
    )
    return tmp_path


SOAK = "soak or drawn"  # as the Makefile has it


def test_a_soak_runs_all_that_a_sample_leaves_out(project: Path) -> None:
    """A test is in a run or left to a soak; and a soak has every set of what is sampled, whatever the two seeds."""
    everything, drawn, left = (ran(project, "-m", which) for which in ("", "not soak", "soak"))
    assert sorted(drawn + left) == sorted(everything)
    soak = ran(project, "-m", SOAK, "--seed=8")
    assert set(left) <= set(soak)
    assert set(everything) - set(soak) == set(
        whole := [name for name in everything if re.search("_few|_only|_every|_no_twin|_always", name)]
    )
    assert set(whole) <= set(drawn), "what no run leaves out"
    assert f'-m "{SOAK}"' in (ROOT / "Makefile").read_text()


def test_so_many_sets_are_drawn(project: Path) -> None:
    """As many as the marker says, and of those that are marked `soak` none."""
    drawn = ran(project, "-m", "not soak")
    assert [len(of(drawn, test)) for test in ("test_many", "test_few", "test_one", "test_only")] == [4, 2, 1, 1]
    assert not [name for name in of(drawn, "test_many") if "-2-" in name or name.endswith("-2]")], "marked `soak`"


@pytest.mark.parametrize("folder", ["tests/tasks", pytest.param("tests", marks=pytest.mark.soak)])
def test_a_soak_collects_all_that_these_tests_leave_out(folder: str) -> None:
    """The same of the tests of this server: what a run of one day leaves out is in a soak of any other day."""
    runs = (("soak or not soak", 1), ("not soak", 20261130), (SOAK, 20261207))
    everything, drawn, soak = collected(folder, *runs)
    assert everything > drawn
    assert everything - drawn <= soak


def test_a_test_with_twins_draws_one(project: Path) -> None:
    """Each case has one database, some the one and some the other; a word that is a backend's by chance is no twin."""
    drawn = ran(project, "-m", "not soak")
    twins = of(drawn, "test_twin")
    assert len(twins) == 20
    assert {name.partition("[")[2].split("-")[0] for name in twins} == {"sqlite", "postgresql"}
    assert len({name.rstrip("]").rpartition("-")[2] for name in twins}) == 20
    assert [len(of(drawn, test)) for test in ("test_two_kinds", "test_every", "test_no_twin")] == [1, 2, 2]


def test_tests_of_one_server_draw_the_same(project: Path) -> None:
    """So the others of a file's servers do not start."""
    names = of(ran(project, "-m", "not soak"), "test_shared")
    assert len(names) == 1 + 5
    assert len({re.search(r"server\d", name)[0] for name in names}) == 1  # type: ignore[index]


def test_every_backend_has_its_day(project: Path) -> None:
    """Four days draw both databases for most of the cases."""
    days = [of(ran(project, "-m", "not soak", f"--seed={20261201 + day}"), "test_twin[") for day in range(4)]
    assert [len(names) for names in days] == [20] * 4
    assert len({name for names in days for name in names}) > 30


def test_tests_take_turns_by_the_day(project: Path) -> None:
    """One in three each day, each of them within three days; what is asked for by name runs in any case."""
    days = [of(ran(project, "-m", "not soak", f"--seed={20261201 + day}"), "turns") for day in range(3)]
    everything = of(ran(project), "turns")
    assert all(2 <= len(names) <= 3 for names in days), days
    assert {name.partition("[")[0] for names in days for name in names} == {
        name.partition("[")[0] for name in everything
    }
    for test in "bcde":
        assert len(ran(project, "-m", "not soak", name=f"test_turns.py::test_{test}")) == 1


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
def test_a_sample_needs_a_number(tmp_path: Path, arguments: str) -> None:
    """A marker that says nothing is an error, not a test that runs always or never."""
    (tmp_path / "conftest.py").write_text(_CONFTEST)
    (tmp_path / "test_it.py").write_text(
        f"import pytest\n@pytest.mark.sampled({arguments})\ndef test_it():\n    pass\n"
    )
    done = run(tmp_path)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "test_it.py::test_it: `sampled` takes a number" in done.stderr


def test_pairs_of_values_follow_single_values() -> None:
    """With room for six of nine, each value comes first, and the rest repeat no pair."""
    sets: list[frozenset[Value]] = [frozenset({("a", a), ("b", b)}) for a in range(3) for b in range(3)]
    first = choose(sets, 3, "a name")
    assert frozenset().union(*(sets[number] for number in first)) == frozenset().union(*sets)
    assert choose(sets, 6, "a name") > first
    assert choose(sets, 100, "a name") == set(range(9))


def of(names: list[str], test: str) -> list[str]:
    """Those of one test, or of one file."""
    return [name for name in names if test in name]


def collected(folder: str, *runs: tuple[str, int]) -> list[set[str]]:
    """Names of the tests of this server that each run would have, by its `-m` and seed; one process imports them."""
    which = [["--collect-only", "-q", "-p", "no:cacheprovider", "-m", m, f"--seed={seed}", folder] for m, seed in runs]
    script = f"import pytest\nfor arguments in {which}:\n    pytest.main(arguments)\n    print('next')"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    # A second run in one process escapes a name that is escaped already.
    parts = done.stdout.replace("\\", "").split("\nnext\n")
    return [{line for line in part.splitlines() if "::" in line} for part in parts[: len(runs)]]


@cache
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
