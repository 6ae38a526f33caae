"""Who makes a request, and what they may do.

Rule: a principal is made only from a credential that was verified. Every check of a right asks it, and nothing else.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeGuard

from server.database.models import DEFAULT_OWNER
from server.errors import ScopeMissingError


class Scope(StrEnum):
    """What a credential allows."""

    UPLOAD = "upload"
    """Create uploads and continue them."""
    READ = "read"
    """See status, results and originals."""
    MANAGE = "manage"
    """Cancel, delete and retry what is the owner's."""
    ADMIN = "admin"
    """Everything, for any owner."""


EVERYTHING = frozenset(Scope)


_LONGEST_OWNER = 256


def is_owner(value: object) -> TypeGuard[str]:
    """Whether it can be an owner's name: 1 to 256 characters that a person sees, without spaces around them.

    With controls and marks that have no width, two names could look alike; halves of surrogates have no encoding.
    """
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_OWNER:
        return False
    return value.isprintable() and value == value.strip()


@dataclass(frozen=True)
class CreationLimits:
    """What one creation may be at most, beside what the settings say. None is no limit of its own."""

    max_size: int | None = None
    """Bytes of one upload."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Metadata that its uploads get, whatever the client sent under these keys."""


@dataclass(frozen=True)
class Principal:
    """The result of authentication. `credential` names what was shown, without its secret: `key:<id>`, `jwt:<sub>`."""

    owner: str
    scopes: frozenset[Scope]
    credential: str
    limits: CreationLimits = CreationLimits()
    grant: Any = None
    """The row of the grant, for a client that has nothing else: it may touch what that created, and nothing else."""
    until: datetime | None = field(default=None, compare=False)
    """When a token ends, and so what is made from it; None where the credential itself is asked each time."""

    @property
    def is_admin(self) -> bool:
        """Whether it may act for any owner."""
        return Scope.ADMIN in self.scopes

    @property
    def acts_for(self) -> str | None:
        """Whose uploads and tasks it may touch; None for those of every owner."""
        return None if self.is_admin else self.owner

    def allows(self, scope: Scope) -> bool:
        """Whether it has that scope; `admin` has all."""
        return self.is_admin or scope in self.scopes

    def check(self, scope: Scope) -> None:
        """Raise `ScopeMissingError` unless it has that scope."""
        if not self.allows(scope):
            raise ScopeMissingError(scope=scope.value)


ANYBODY = Principal(DEFAULT_OWNER, EVERYTHING - {Scope.ADMIN}, "none")
"""Every client of a server whose authentication is off."""


def scopes_of(words: Iterable[Any]) -> frozenset[Scope]:
    """The scopes among `words`; words that are no scope are left out."""
    known = {scope.value for scope in Scope}
    return frozenset(Scope(word) for word in words if word in known)
