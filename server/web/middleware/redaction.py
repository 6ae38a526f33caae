"""Paths without what gives a right: signatures of URLs, and the tokens of grants and shares.

Rule: whatever writes a path into a log or a metric calls this first.
"""

import re

# A token is one wherever it stands: a client may double a slash, or put it after another address.
_SECRETS = re.compile(
    r"~[^/?]+|(?:(?<=/g/)|(?<=/s/)|(?<=/shared/))[^/?]+|(?<=/embed/)[A-Za-z0-9_-]{24}(?![^/?])|(?:vd[gk]_|eyJ)[^/?]+"
)
_SIGN = re.compile("~|/g/|/s/|/shared/|/embed/|vd|eyJ")


def redacted(path: str) -> str:
    """The path as the log may have it."""
    if _SIGN.search(path) is None:
        return path
    return _SECRETS.sub(lambda match: "~***" if match[0][0] == "~" else "***", path)
