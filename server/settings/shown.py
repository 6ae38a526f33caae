"""Settings as text, for people: values as one would write them, without secrets.

Rule: what may hold a password is masked here and nowhere else.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import ByteSize

from server.settings.loading import URLS
from server.settings.model import Settings
from server.settings.types import PREFIX

SECRETS = frozenset({"jwt_secret"})
"""Settings that are a secret as a whole. Those of `URLS` may have one in them."""

_UNITS = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def variable(name: str) -> str:
    """The environment variable for a setting."""
    return PREFIX + name.upper()


def text(value: object) -> str:
    """A value as one would write it into the environment."""
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, ByteSize):
        return next((f"{value // size}{name}" for name, size in _UNITS if value and value % size == 0), str(int(value)))
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def default(name: str) -> str:
    """The default of a setting, as text."""
    return text(Settings.model_fields[name].default)


def masked(name: str, value: str) -> str:
    """The text of a setting without its secret."""
    if name in SECRETS:
        return "***" if value else ""
    return mask(value) if name in URLS else value


def sources(settings: Settings, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Where each setting comes from: `environment`, which has what the command line gave, too; `file`; or `default`.

    Raises what reading the file raises.
    """
    path = config_file(environ)
    file = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    upper = {name.upper() for name in environ}
    made = {}
    for name in Settings.model_fields:
        is_given = variable(name) in upper or (name not in file and text(getattr(settings, name)) != default(name))
        made[name] = "environment" if is_given else "file" if name in file else "default"
    return made


def config_file(environ: Mapping[str, str]) -> Path:
    """The file that settings may come from; it need not exist."""
    return Path(environ.get(PREFIX + "CONFIG", "videodock.toml"))


def mask(url: str) -> str:
    """A URL without its password, wherever in it that stands."""
    url = re.sub(r"(://[^:@/]*):.*@", r"\1:***@", url)
    return re.sub(r"(?i)(\b(?:password|secret|token|key|signature|sig)=)[^&]*", r"\1***", url)
