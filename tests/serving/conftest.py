"""The protocol class with small limits, on both event loops."""

from collections.abc import Iterator

import pytest

from tests.serving.probed import KEEP_ALIVE, TIMEOUT
from tests.transport.probe import Probe


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def started(request: pytest.FixtureRequest) -> Iterator[tuple[Probe, Probe]]:
    hasty = Probe(request.param, timeout=TIMEOUT, keep_alive=KEEP_ALIVE)
    with Probe(request.param) as patient, hasty:
        yield patient, hasty


@pytest.fixture
def probe(started: tuple[Probe, Probe]) -> Iterator[Probe]:
    """A probe that has seen nothing yet; whatever a test does to it, nothing is left afterwards."""
    yield from fresh(started[0])


@pytest.fixture
def hasty(started: tuple[Probe, Probe]) -> Iterator[Probe]:
    """The same with little time for a head."""
    yield from fresh(started[1])


def fresh(made: Probe) -> Iterator[Probe]:
    made.reset()
    yield made
    made.gate.set()
    made.idle()
