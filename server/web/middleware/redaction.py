"""Paths without what gives a right: signatures of URLs, and the tokens of grants.

Rule: whatever writes a path into a log or a metric calls this first.
"""

import re

# A token is one wherever it stands: a client may double a slash, or put it after another address.
_SECRETS = re.compile(r"~[^/?]+|(?<=/g/)[^/?]+|(?:vd[gk]_|eyJ)[^/?]+")


def redacted(path: str) -> str:
    """The path as the log may have it."""
    if "~" not in path and "/g/" not in path and "vd" not in path and "eyJ" not in path:
        return path
    return _SECRETS.sub(lambda match: "~***" if match[0][0] == "~" else "***", path)
