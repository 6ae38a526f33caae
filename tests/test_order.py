"""The order of the files of tests, by the log of a run."""

from pathlib import Path

from tests.harness.order import TOGETHER, of_log, scope

_LOG = """
============================= slowest durations ==============================
12.34s call     tests/web/test_b.py::test_one[a::b]
0.50s setup    tests/web/test_b.py::test_one[a::b]
30.00s call     tests/acceptance/test_a.py::TestClass::test_two
1.20s teardown tests/test_c.py::test_three
0.90s call     tests/test_d.py::test_four
1.20s call     tests/test_d.py::test_five
[gw0] [ 10%] PASSED tests/web/test_b.py::test_one[a::b]
"""


def test_a_log_gives_the_order() -> None:
    """Seconds of all phases of a file's tests, the longest first; files that take less than two are not named."""
    assert of_log(_LOG.splitlines()).splitlines()[1:] == ["30 acceptance/test_a.py", "13 web/test_b.py", "2 test_d.py"]


def test_files_that_share_a_broker_run_in_one_process() -> None:
    """Tests of both have one scope, those of another file have its own, and each file that is named is there."""
    tests = Path(__file__).parent
    assert all((tests / name).is_file() for name in TOGETHER)
    names = ["tests/worker/test_celery.py::test_a[rabbitmq]", "tests/acceptance/test_celery.py::test_b"]
    assert {scope(name) for name in names} == {"brokers"}
    assert scope("tests/web/test_b.py::test_one[a::b]") == "web/test_b.py"
