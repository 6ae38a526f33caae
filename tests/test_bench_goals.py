"""The goals of the benchmark: what is met is by medians and named servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import machine, report, works
from bench.goals import GOALS, Goal, Memory, Ratio, Share, Slower
from bench.measure import Cell
from bench.runner import Results
from bench.scale import USUAL
from bench.servers import SERVERS
from bench.servers.ours import Videodock
from bench.servers.peers import SpliceLoop
from bench.source import MIB, Source


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    """What would be sent."""
    with Source(tmp_path_factory.mktemp("source"), MIB) as made:
        yield made


@pytest.mark.parametrize(
    ("ours", "theirs", "met"),
    [([400.0, 390.0, 900.0], [100.0], True), ([399.0], [100.0], False), ([400.0], [], None), ([], [100.0], None)],
)
def test_a_goal_is_evaluated_by_medians(ours: list[float], theirs: list[float], met: bool | None) -> None:
    """At least four times the peer, by medians; without numbers of both it is not measured."""
    goal = Ratio("one-patch", "", ("tuspyserver",), 4)
    numbers = [("videodock", ours), ("tuspyserver", theirs)]
    results = Results(
        [Cell("one-patch", name, turn, {"mb_s": rate}) for name, rates in numbers for turn, rate in enumerate(rates)]
    )
    assert goal.judge(results, [], "videodock").met is met


def test_goals_name_existing_workloads_and_servers(source: Source) -> None:
    """A goal with a misspelt name would be "not measured" for ever."""
    every = works.groups(source, USUAL)
    names = {group.name for group in every}
    servers = {kind.name for kind in SERVERS}
    for goal in GOALS:
        assert goal.group in names | {""}
        if isinstance(goal, Ratio):
            assert servers.issuperset(goal.peers)
        if isinstance(goal, Share):
            assert goal.peer in servers
        if isinstance(goal, Slower):
            assert {goal.slow, goal.quick} <= {work.name for group in every for work in group.works}
    assert len({(goal.group, goal.text, goal.aim) for goal in GOALS}) == len(GOALS)


@pytest.mark.parametrize(
    ("goal", "found", "met"),
    [
        pytest.param(Share("a", "", "peer", 2, "cpu_ms"), {("a", "peer"): 1, ("a", "ours"): 2}, True, id="share"),
        pytest.param(Share("a", "", "peer", 2, "cpu_ms"), {("a", "peer"): 1, ("a", "ours"): 2.1}, False, id="too much"),
        pytest.param(Slower("", "", "a", "b", 3, "cpu_ms"), {("a", "ours"): 6, ("b", "ours"): 2}, True, id="slower"),
        pytest.param(Slower("", "", "a", "b", 3, "cpu_ms"), {("a", "ours"): 7, ("b", "ours"): 2}, False, id="too slow"),
        pytest.param(Slower("", "", "a", "b", 3, "cpu_ms"), {("a", "ours"): 7}, None, id="nothing to compare with"),
    ],
)
def test_a_goal_that_is_a_limit_is_evaluated(goal: Goal, found: dict[tuple[str, str], float], met: bool | None) -> None:
    """At most so much of a peer, or of another work."""
    results = Results([Cell(work, server, 0, {"cpu_ms": number}) for (work, server), number in found.items()])
    assert goal.judge(results, [], "ours").met is met


def test_the_limit_of_memory_holds_where_it_should(source: Source) -> None:
    """For 500 slow uploads, too; not for 1,000, which have their own, nor where encoders take what they need."""
    every = works.groups(source, USUAL)
    for name, met in (("trickle-500", False), ("one-patch", False), ("trickle-1000", None), ("encoding-heads", None)):
        (group,) = (group for group in every if group.name == name)
        results = Results([Cell(group.works[0].name, "videodock", 0, {"peak_mb": 130})])
        assert Memory("", "").judge(results, every, "videodock").met is met, name


def test_an_aim_is_not_told_as_a_goal(source: Source, tmp_path: Path) -> None:
    """What is beyond a goal is reached or not, and nothing is missed."""
    rates = {"videodock": 1, "splice-loop": 2}
    results = Results([Cell("chunks-8m", server, 0, {"mb_s": rate}) for server, rate in rates.items()])
    kinds = [Videodock, SpliceLoop]
    every = works.groups(source, USUAL)
    page = report.write(None, machine.describe(tmp_path, kinds, {}), every, kinds, results)
    assert "| aim: at least 0.75 times the bare splice loop | 0.50 times | not reached |" in page
