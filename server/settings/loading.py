"""Loads the settings, and explains invalid values.

Rule: a wrong value stops the start with a sentence that names the setting and its values, and shows no password.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ByteSize, ValidationError

from server.errors import StartError
from server.settings.model import Settings
from server.settings.types import GIB, MIB, PREFIX

URLS = frozenset({"store", "database_url", "broker_url", "redis_url", "auth_url", "jwt_jwks", "otel_endpoint"})
"""Settings whose value may hold a password."""


# Variables that are not settings.
_OTHER = ("CONFIG", "DOCTOR_KEY")


def load(**given: Any) -> Settings:
    """Settings from all sources; raises `StartError` with a sentence for an invalid value."""
    file = os.environ.get(PREFIX + "CONFIG")
    if file and not Path(file).is_file():
        raise StartError(f"{PREFIX}CONFIG names {file!r}, and there is no such file.")
    try:
        return Settings(**given)
    except ValidationError as error:
        raise StartError("\n".join(_explain(dict(item)) for item in error.errors())) from None
    except ValueError as error:  # a TOML file that cannot be read
        raise StartError(f"The settings file {file or 'videodock.toml'!r} cannot be read: {error}") from None


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Environment variables that look like settings and are not: most likely misspelt."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {PREFIX + name for name in _OTHER}
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in known)


def _explain(item: dict[str, Any]) -> str:
    name = str(item["loc"][0]) if item["loc"] else "settings"
    if item["type"] == "extra_forbidden":
        return f"{name}: there is no such setting; `videodock settings` lists them all."
    option = "--" + name.replace("_", "-")
    return (
        f"The setting {name} ({option}, {PREFIX}{name.upper()}) is {_shown(name, item['input'])}, "
        f"which is not possible: {_allowed(name, item)}."
    )


def _allowed(name: str, item: Mapping[str, Any]) -> str:
    """The allowed values of the setting."""
    field = Settings.model_fields.get(name)
    if field is None or item["type"] == "value_error":
        return str(item["msg"]).removeprefix("Value error, ")
    if name == "clamd":
        return "it is unix:/path/of/the/socket or tcp://host:port"
    if name == "root_path":
        return "it begins with / and does not end with one, such as /video"
    kinds = {int: "a whole number", float: "a number", ByteSize: "a size in bytes or with a unit, such as 800MiB"}
    kind = kinds.get(field.annotation) if isinstance(field.annotation, type) else None
    if kind is None:
        return str(item["msg"]).replace("Input should be", "it must be")
    shown = _size if field.annotation is ByteSize else str
    words = {"ge": "at least", "gt": "more than", "le": "at most"}
    bounds = [(words[key], getattr(part, key, None)) for part in field.metadata for key in words]
    return ", ".join([f"it must be {kind}", *(f"{word} {shown(bound)}" for word, bound in bounds if bound is not None)])


def _size(number: int) -> str:
    units = (("GiB", GIB), ("MiB", MIB))
    return next((f"{number // factor}{unit}" for unit, factor in units if number and number % factor == 0), str(number))


def _shown(name: str, value: object) -> str:
    # The error in such a URL may be its form, so no pattern finds the password in it for certain.
    if name == "jwt_secret":
        return "something not shown here"
    if name not in URLS:
        return repr(value)
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", str(value))
    return f"'{scheme[0]}…'" if scheme else "something not shown here, as it may hold a password"
