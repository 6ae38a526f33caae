"""The number from which samples are drawn: another one in each run, printed at its head.

Rule: a test that cannot try everything in `make test` tries a sample of this run's seed, so that many runs try
everything; `make soak` tries all. `make test ARGS=--seed=N` draws the same samples again.
"""

import random

import pytest

_drawn = [0]


def add_option(parser: pytest.Parser) -> None:
    """`--seed`."""
    parser.addoption("--seed", type=int, help="draw the samples of an earlier run, which has printed this number")


def begin(config: pytest.Config) -> None:
    """Choose it, unless it is given; the processes of xdist get the options of the one that started them."""
    if config.option.seed is None:
        config.option.seed = random.SystemRandom().randrange(1 << 32)
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
