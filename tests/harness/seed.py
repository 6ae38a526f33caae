"""The number from which samples are drawn, printed at the head of each run.

Rule: a test that cannot try everything in `make test` tries a sample, and `make soak` tries all. The seed is the same
in each run, so that a red run is red again; `make test ARGS=--seed=N` draws other samples.
"""

import random

import pytest

_DEFAULT = 20261130
_drawn = [0]


def add_option(parser: pytest.Parser) -> None:
    """`--seed`."""
    parser.addoption("--seed", type=int, default=_DEFAULT, help="draw other samples")


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
