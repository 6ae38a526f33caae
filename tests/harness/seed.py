"""The number from which samples are drawn, printed at the head of each run: the date, unless somebody names another.

Rule: a test that cannot try everything in `make test` tries a sample, and `make soak` tries all. All runs of a day (of
UTC) draw the same, so that a red run is red again; each day draws other samples. `make test ARGS=--seed=20261130`
repeats those of a day.
"""

import random
from datetime import UTC, datetime

import pytest

_drawn = [0]


def today() -> int:
    """The seed of a run that begins now."""
    return int(f"{datetime.now(UTC):%Y%m%d}")


def add_option(parser: pytest.Parser) -> None:
    """`--seed`."""
    parser.addoption("--seed", type=int, default=today(), help="draw the samples of that run, or of that day: 20261130")


def begin(config: pytest.Config) -> None:
    """Keep it; the processes of xdist get the options of the one that started them."""
    _drawn[0] = config.option.seed


def header(config: pytest.Config) -> str:
    """A line for the head of the report."""
    return f"samples are drawn from --seed={config.option.seed}"


def value() -> int:
    """This run's seed; 0 outside of pytest."""
    return _drawn[0]


def dice(*what: object) -> random.Random:
    """A generator for one purpose, the same in each process of the run."""
    return random.Random(repr((value(), *what)))
