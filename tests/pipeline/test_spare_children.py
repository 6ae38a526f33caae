"""Spare children: a job finds the same limits and confinement as in a new child, and no spare is ever left."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from server.pipeline.sandbox import child
from server.pipeline.sandbox.spare_children import NONE, SpareChildren
from server.pipeline.step import Limits
from tests.harness.waiting import until
from tests.pipeline import processes
from tests.pipeline.test_child import LIMITS, ROOT

MARK = "server.pipeline.jobs.mp4"  # in the command line of a spare child


def waiting(pid: int | None = None) -> set[int]:
    """The spare children below a process, this one by default."""
    mine = os.getpid() if pid is None else pid
    return {number for number in processes.children(mine) if MARK in processes.command(number)}


def run(spares: SpareChildren, job: str, limits: Limits = LIMITS, **arguments: object) -> Any:
    return child.run(
        job, arguments, limits=limits, cancelled=threading.Event(), report=lambda percent: None, spares=spares
    )


@pytest.fixture
def spares() -> Iterator[SpareChildren]:
    """Three of them, waiting."""
    found = SpareChildren(3, quiet=0)
    found.start()
    until(lambda: len(waiting()) == 3, what="three children wait")
    yield found
    found.stop()
    assert not waiting()


@pytest.mark.parametrize("job", ["server.pipeline.sandbox.confinement:tell", "tests.pipeline.jobs:surroundings"])
def test_a_spare_is_confined_and_limited_as_a_new_child(job: str, spares: SpareChildren) -> None:
    """The same protections, variables, descriptors, limits and priority; and the spare is replaced."""
    before = waiting()
    assert run(spares, job) == run(NONE, job)
    until(lambda: len(waiting()) == 3, what="the spare is replaced")
    assert len(waiting() & before) == 2


def test_a_spare_that_was_killed_costs_no_job(spares: SpareChildren) -> None:
    """As the system does when memory runs out: the job gets a new child."""
    killed = waiting()
    for number in killed:
        os.kill(number, signal.SIGKILL)
    assert processes.gone_within(5, *killed)
    assert run(spares, "tests.pipeline.jobs:echo", number=1) == {"number": 1}


def test_spares_are_started_while_no_child_works(spares: SpareChildren) -> None:
    """A child at work has the processors; its end is what starts the next spare."""
    with spares.child():
        assert len(waiting()) == 3  # the one at work, too
        with spares.child(), spares.child(), spares.child() as fourth:
            assert MARK not in processes.command(fourth.pid)
            assert len(waiting()) == 3
    until(lambda: len(waiting()) == 3, what="three children wait again")


def test_spares_end_when_no_job_comes() -> None:
    """After the time without a job they end, and the next job brings them back."""
    spares = SpareChildren(3, quiet=0, idle=1)
    spares.start()
    try:
        until(lambda: len(waiting()) == 3, what="three children wait")
        until(lambda: not waiting(), what="they have ended")
        assert run(spares, "tests.pipeline.jobs:echo", number=1) == {"number": 1}
        until(lambda: len(waiting()) == 3, what="three children wait again")
    finally:
        spares.stop()


def test_no_spare_outlives_a_parent_that_is_killed() -> None:
    """After kill -9 of the parent its spares end by themselves."""
    script = (
        "from server.pipeline.sandbox.spare_children import SpareChildren; SpareChildren(3, quiet=0).start(); "
        "import threading; threading.Event().wait()"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT) as parent:
        try:
            found = until(lambda: len(waiting(parent.pid)) == 3 and waiting(parent.pid), what="three children wait")
        finally:
            parent.kill()
    assert isinstance(found, set)
    assert processes.gone_within(2, *found)
