"""The capacity model agrees with what was measured, with its simulation, and with the page that shows it."""

import pytest

from bench import capacity
from bench.capacity import FULL, PB, TB, Site
from tests.harness.server_process import ROOT


def test_the_costs_fit_every_measured_point() -> None:
    """Two numbers explain one large body, 8 MiB chunks and 500 KiB chunks, each within a third."""
    costs = capacity.fit()
    assert costs.per_gb > 0
    assert costs.per_request > 0
    for requests, seconds in capacity.points().items():
        assert costs.of_a_gb(requests) == pytest.approx(seconds, rel=0.34)


def test_a_request_costs_less_than_a_whole_cycle() -> None:
    """The slope of the chunks is one PATCH; a cycle of create, HEAD, PATCH and DELETE was measured apart."""
    costs = capacity.fit()
    assert costs.per_request < costs.per_upload < 10 * costs.per_request


@pytest.mark.parametrize("servers", [8, 32])
def test_the_simulation_shows_where_waiting_begins(servers: int) -> None:
    """At the share that the model allows 99 of 100 works wait for less than two works take; when full, it grows on."""
    busy, waits = capacity.simulate(FULL, servers)
    assert busy == pytest.approx(FULL, rel=0.05)
    assert waits < 2
    _, crowded = capacity.simulate(1.02, servers)
    assert crowded > 4 * waits + 4


def test_demand_grows_with_the_bytes() -> None:
    """Ten times the bytes need ten times of everything but connections, which grow with whole hosts."""
    costs, site = capacity.fit(), Site()
    small, large = capacity.demand(TB, costs, site), capacity.demand(10 * TB, costs, site)
    for name in ("web_hosts", "workers", "commits", "s3_requests", "rows_a_day", "dollars_a_day"):
        assert getattr(large, name) == pytest.approx(10 * getattr(small, name)), name
    assert large.connections >= small.connections


def test_a_resource_is_full_at_the_size_that_the_model_names() -> None:
    """`first_limit` is the inverse of `demand`: at that size one of it is used to the share that is allowed."""
    costs, site = capacity.fit(), Site()
    limits = dict(capacity.first_limit(site, costs))
    assert capacity.demand(limits["one worker"], costs, site).workers == pytest.approx(1)
    assert capacity.demand(limits["PostgreSQL's transactions"], costs, site).databases == pytest.approx(1)
    assert capacity.demand(PB, costs, site).databases > 1


def test_the_page_has_the_table_of_the_model() -> None:
    """docs/scaling.md shows what `python -m bench.capacity` prints."""
    assert capacity.table(capacity.fit(), Site()) in (ROOT / "docs/scaling.md").read_text()
