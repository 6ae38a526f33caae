"""Whatever clients do, in any order: the tus mount answers as the model does, and keeps the bytes that it should."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.harness.object_store import ObjectStore, object_store  # noqa: F401  # the second is a fixture
from tests.stateful.machine import TusMachine
from tests.stateful.server_under_test import Http, Kind, ServerUnderTest

EXAMPLES = 15
S3_EXAMPLES = 4  # each step asks a server of objects
STEPS = 40
SOAK_EXAMPLES = int(os.environ.get("SOAK_EXAMPLES", "500"))
RUNS: list[tuple[Kind, Http]] = [
    ("disk", "portable"),
    ("disk", "videodock"),
    ("memory", "portable"),
    ("memory", "videodock"),
    ("s3", "portable"),
    ("s3", "videodock"),
]
EVERY_RUN = pytest.mark.parametrize(("kind", "http"), RUNS, ids=["-".join(names) for names in RUNS])


def run(
    kind: Kind, http: Http, chosen: settings, number: int | None = None, objects: ObjectStore | None = None
) -> None:
    """Run the machine on a server of this kind; a `number` makes it the same sequences every time."""
    shared = Path("/dev/shm")  # nobody cuts the power here, and what commits thousands of times would wait for a disk
    with (
        tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder,
        ServerUnderTest(Path(folder), kind, http, objects) as server,
    ):

        def machine() -> RuleBasedStateMachine:
            return TusMachine(server)

        if number is not None:
            seed(number)(machine)
        # A factory serves as well as the class that is asked for, says the documentation of this function.
        run_state_machine_as_test(machine, settings=chosen)  # type: ignore[arg-type]


def objects_of(kind: Kind, request: pytest.FixtureRequest) -> ObjectStore | None:
    """The server of objects for the store in S3."""
    found: ObjectStore | None = request.getfixturevalue("object_store") if kind == "s3" else None
    return found


def how(examples: int) -> settings:
    """Settings of hypothesis: time is no matter here, and a sequence has many steps."""
    return settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )


@pytest.mark.sampled(1)
@EVERY_RUN
def test_the_server_agrees_with_the_model_on_fixed_sequences(
    kind: Kind, http: Http, request: pytest.FixtureRequest
) -> None:
    """The same random sequences each time, others for each store and server."""
    examples = S3_EXAMPLES if kind == "s3" else EXAMPLES
    run(kind, http, how(examples), RUNS.index((kind, http)), objects_of(kind, request))


@pytest.mark.soak
@pytest.mark.timeout(0)
@EVERY_RUN
def test_the_server_agrees_with_the_model_on_new_sequences(
    kind: Kind, http: Http, request: pytest.FixtureRequest
) -> None:
    """New sequences each time, as many as SOAK_EXAMPLES says."""
    run(kind, http, how(SOAK_EXAMPLES), objects=objects_of(kind, request))
