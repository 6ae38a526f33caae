"""The targets of the fuzzer with bytes of everyday length, and with what it once found."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from server.errors import ClientError
from tests.fuzz import targets
from tests.fuzz.targets import TARGETS, attack
from tests.fuzz.words import GOOD, SEEDS, WORDS

FOUND = {
    "what stood behind a blank line before the first boundary was skipped or refused, as chunks ended": (
        targets.form,
        b"\n\nx--b--\r\n",
    ),
}

_PIECE = st.sampled_from([word.encode("latin-1") for word in WORDS]) | st.binary(max_size=12)


def test_every_target_accepts_its_seeds() -> None:
    """A seed is good input: were it refused, the fuzzer would begin outside of what it is to explore."""
    assert set(GOOD) == set(TARGETS)
    for seed in SEEDS:
        TARGETS[seed[0]](seed[1:])


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
@hypothesis_settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_bytes_are_accepted_or_refused_as_promised(target: object, data: st.DataObject) -> None:
    """Whatever comes is taken as promised or refused with an error for the client."""
    seeds = [seed for seed in SEEDS if TARGETS[seed[0]] is target]
    seed = data.draw(st.sampled_from(seeds))
    start, end = sorted(data.draw(st.tuples(st.integers(1, len(seed)), st.integers(1, len(seed)))))
    attack(seed[:start] + b"".join(data.draw(st.lists(_PIECE, max_size=6))) + seed[end:])


@pytest.mark.parametrize("name", FOUND)
def test_inputs_that_the_fuzzer_found_are_handled(name: str) -> None:
    """It stays mended."""
    target, data = FOUND[name]
    with contextlib.suppress(ClientError):
        target(data)
