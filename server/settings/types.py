"""Units and types that several groups of settings use."""

from typing import Annotated

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

PREFIX = "VIDEODOCK_"
"""The prefix of the environment variables."""

MIB = 1 << 20
GIB = 1 << 30

TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  # a term of RFC 9110, not a secret
"""The pattern of a header's name (RFC 9110 section 5.6.2)."""


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""Names with commas between them; a TOML file may have an array."""
