"""Regular expressions that are compiled once in a process of the tests.

Rule: nothing of a pattern changes. `re` keeps 512 of them, and an application has 160 for its routes: a test that makes
one found them gone.
"""

import re

_MOST = 20_000


def keep() -> None:
    """From now on, a pattern that was compiled stays."""
    vars(re)["_MAXCACHE"] = _MOST
