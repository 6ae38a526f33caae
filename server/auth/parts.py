"""All parts of this room, built from the settings in one place.

Rule: nothing here decides anything; `bootstrap.py` holds the result as one of its parts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from server.auth.audit import AuditLog
from server.auth.authenticator import Authenticator
from server.auth.forward import ForwardAuth
from server.auth.grants import Grants
from server.auth.keys import ApiKeys
from server.auth.rate_limits import RateLimits
from server.auth.sessions import Sessions
from server.auth.shares import Shares
from server.auth.signatures import Signatures
from server.auth.tokens import JwtVerifier
from server.database.session import Database
from server.settings import Settings


@dataclass(frozen=True, kw_only=True, repr=False)
class AuthParts:
    """The parts. Close it at the end."""

    keys: ApiKeys
    grants: Grants
    shares: Shares
    signatures: Signatures
    forward: ForwardAuth
    rates: RateLimits
    sessions: Sessions
    audit: AuditLog
    authenticator: Authenticator

    @classmethod
    def open(
        cls, *, settings: Settings, database: Database, clock: Callable[[], datetime], new_id: Callable[[], str]
    ) -> "AuthParts":
        """Build everything; connects to nothing yet. Raises `StartError` for settings that cannot be used."""
        keys = ApiKeys.open(database, clock)
        grants = Grants.open(database, clock, new_id)
        tokens = JwtVerifier(settings=settings, clock=clock)
        token = tokens.verify if tokens.is_configured else None
        rates = RateLimits.open(settings)
        sessions = Sessions(settings=settings, database=database, clock=clock)
        audit = AuditLog(database=database, clock=clock)
        return cls(
            keys=keys,
            grants=grants,
            shares=Shares.open(database, clock),
            signatures=Signatures(database, clock),
            forward=ForwardAuth(settings=settings),
            rates=rates,
            sessions=sessions,
            audit=audit,
            authenticator=Authenticator(
                settings=settings,
                keys=keys,
                grants=grants,
                rates=rates,
                audit=audit,
                token=token,
                session=sessions.find,
            ),
        )

    def close(self) -> None:
        """End what runs beside requests."""
        self.forward.close()
        self.rates.close()
