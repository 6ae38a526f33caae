"""The URL of a store: `s3://bucket/prefix?endpoint=…&region=…&dialect=…`.

Rule: it never has a credential. Those come from the environment, a file or the machine, as boto3 finds them.
"""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from server.storage.s3.dialect import PRESETS, Dialect, changed

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()/-]*")
_KEYS = frozenset({"endpoint", "region", "dialect", "path_style"})
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where the objects are. `prefix` is empty, or ends with a slash."""

    bucket: str
    prefix: str
    endpoint: str | None
    region: str | None
    dialect: Dialect

    @property
    def shown(self) -> str:
        """For people."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def parse(url: str) -> Location:
    """Raises `ValueError` with what is wrong, in words that end a sentence."""
    found = urlsplit(url)
    if found.scheme != "s3" or "@" in found.netloc or found.fragment:
        raise ValueError("it is s3://bucket/prefix?endpoint=…&region=…&dialect=…, without a name and a password")
    if not _BUCKET.fullmatch(found.netloc):
        raise ValueError("the name of a bucket has 3 to 63 small letters, digits, dots and hyphens")
    prefix = unquote(found.path).strip("/")
    if not _PREFIX.fullmatch(prefix) or "//" in prefix or {".", ".."} & set(prefix.split("/")):
        raise ValueError("the prefix has letters, digits and hyphens, with single slashes between")
    pairs = parse_qsl(found.query, keep_blank_values=True)
    options = dict(pairs)
    unknown = sorted(set(options) - _KEYS)
    if unknown or len(options) < len(pairs):
        raise ValueError(f"after the question mark each of {', '.join(sorted(_KEYS))} may come once, and nothing else")
    endpoint = options.get("endpoint") or None
    if endpoint is not None and not re.fullmatch(r"https?://[^/?#@\s]+/?", endpoint):
        raise ValueError("the endpoint is http://host:port or https://host")
    name = options.get("dialect") or ("aws" if endpoint is None else "plain")
    if name not in PRESETS:
        raise ValueError(f"the dialect is one of {', '.join(PRESETS)}")
    style = options.get("path_style")
    if style is not None and style not in _BOOLEANS:
        raise ValueError("path_style is true or false")
    return Location(
        bucket=found.netloc,
        prefix=f"{prefix}/" if prefix else "",
        endpoint=endpoint,
        region=options.get("region") or None,
        dialect=changed(PRESETS[name], path_style=None if style is None else _BOOLEANS[style]),
    )
