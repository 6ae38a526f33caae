"""The audit log: who did what, from where, to which object.

Rules:

- Rows are only added, until they are older than `audit_retention`.
- No entry has a secret: whatever has the form of a credential is shortened to its public part, and texts are bounded
  and without control characters.
- An entry that cannot be written never fails the action: the server's log gets it instead.
- A flood of refused credentials cannot fill the table. What was left out of a minute is counted, and the next entry of
  that address says how many.
"""

import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any, cast

import structlog
from sqlalchemy import Connection, Table, delete, func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from server.auth.principal import Principal
from server.database.access_models import AuditEntry
from server.database.session import Database, changed, reason
from server.observability import REQUEST_ID

SIGN_IN_FAILED = "sign_in_failed"
CREDENTIAL_REFUSED = "credential_refused"
REFUSALS = frozenset({SIGN_IN_FAILED, CREDENTIAL_REFUSED})
"""Actions that anybody can cause as often as they like."""
OPERATOR = "operator"
"""The actor of commands."""

_MOST_REFUSALS = 10  # of one address in a minute; all others are counted
_MOST_REFUSALS_OF_ALL = 600
_MINUTE = 60.0
_MOST_ADDRESSES = 4096
_BATCH = 1000
_LONGEST = 255  # characters of a text
_LONGEST_OF_COLUMN = {"action": 32, "object_kind": 16, "object_id": 64, "address": 64, "request_id": 64}
_MOST_DETAILS = 32
_SECRET = re.compile(
    r"(?P<ours>vd[a-z]_[0-9A-Za-z]{1,16}_)[A-Za-z0-9_-]+"
    r"|eyJ[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*){1,4}"  # a token: `{"` in Base64
    r"|(?P<upload>~)[A-Za-z0-9_-]{16,}"
    r"|(?P<scheme>(?:Bearer|Basic) )\S+",
    re.IGNORECASE,
)
_log = structlog.stdlib.get_logger("videodock.audit")
_entries = cast("Table", AuditEntry.__table__)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One action. `actor` is the credential without its secret; `object_owner` is set where it is not the owner."""

    action: str
    actor: str
    owner: str | None = None
    object_kind: str | None = None
    object_id: str | None = None
    object_owner: str | None = None
    address: str | None = None
    request_id: str | None = None
    details: Mapping[str, Any] | None = None

    @classmethod
    def by(cls, principal: Principal, action: str, *, object_owner: str | None = None, **more: Any) -> "Entry":
        """An action of this principal; the owner of the object is kept where it is another one."""
        other = object_owner if object_owner != principal.owner else None
        return cls(action=action, actor=principal.credential, owner=principal.owner, object_owner=other, **more)


@dataclass(frozen=True, kw_only=True, repr=False)
class AuditLog:
    """Writes entries. `monotonic` gives seconds; tests replace it."""

    database: Database
    clock: Callable[[], datetime]
    monotonic: Callable[[], float] = time.monotonic
    _flood: "_Flood" = field(default_factory=lambda: _Flood())

    async def record(self, entry: Entry) -> None:
        """Write an entry in a transaction of its own. Raises nothing."""
        allowed = self._admitted(entry)
        if allowed is None:
            return
        values = self._values(allowed)
        try:
            await self.database.write_together(lambda connection: _insert(connection, values), lazy=True)
        except SQLAlchemyError as error:
            _tell(values, error)

    def record_now(self, entry: Entry) -> None:
        """The same on a thread, or in a command. Blocking. Raises nothing."""
        allowed = self._admitted(entry)
        if allowed is None:
            return
        values = self._values(allowed)
        try:
            with self.database.change() as connection:
                _insert(connection, values)
        except SQLAlchemyError as error:
            _tell(values, error)

    def write(self, connection: Connection, entry: Entry) -> None:
        """Write an entry in the transaction of the action, so that neither is there without the other. Blocking.

        When the entry alone cannot be written, the action goes on and the log gets the entry. Raises nothing; a
        connection that is lost fails the transaction at its next statement.
        """
        values = self._values(entry)
        try:
            with connection.begin_nested():
                _insert(connection, values)
        except SQLAlchemyError as error:
            _tell(values, error)

    def _admitted(self, entry: Entry) -> Entry | None:
        """The entry, with the number of those that were left out before it; None when it is left out itself."""
        if entry.action not in REFUSALS:
            return entry
        left_out = self._flood.admit(network(entry.address), self.monotonic())
        if left_out is None:
            return None
        return replace(entry, details={**(entry.details or {}), "left_out": left_out}) if left_out else entry

    def _values(self, entry: Entry) -> dict[str, Any]:
        values = asdict(replace(entry, details=None))
        values["request_id"] = entry.request_id or REQUEST_ID.get()
        for name, value in values.items():
            if value is not None:
                values[name] = clean(str(value), _LONGEST_OF_COLUMN.get(name, _LONGEST))
        # Left out rather than None, which a JSON column takes for the value `null`.
        details = {} if entry.details is None else {"details": _clean_details(entry.details)}
        del values["details"]
        return {**values, **details, "at": self.clock()}


def purge(database: Database, until: datetime, *, dry_run: bool = False) -> int:
    """Delete the entries that were written by then, in batches; how many there were. Blocking."""
    is_old = AuditEntry.at <= until
    if dry_run:
        with database.read() as session:
            return session.scalar(select(func.count()).select_from(AuditEntry).where(is_old)) or 0
    gone = 0
    some = select(AuditEntry.id).where(is_old).order_by(AuditEntry.at).limit(_BATCH)
    while True:
        with database.write(lazy=True) as session:
            count = changed(session, delete(AuditEntry).where(AuditEntry.id.in_(some)))
        gone += count
        if count < _BATCH:
            return gone


def clean(text: str, longest: int = _LONGEST) -> str:
    """A text for the log: no secret, no control or bidirectional character, at most so many characters."""
    # Longer texts are cut first: the search for secrets must cost no more than a text that is kept. What is cut off
    # may be the end of a secret; so the cut is far beyond what is kept.
    shown = _SECRET.sub(_without_secret, text[: 4 * _LONGEST])
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in shown)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


@lru_cache(1024)
def network(address: str | None) -> str:
    """What counts as one address: an IPv4 address, or a network /64 of IPv6, which one customer has."""
    try:
        found = ip_address(address or "")
    except ValueError:
        return address or ""
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return f"{IPv6Address(int(found) >> 64 << 64)}/64"
    return str(found)


class _Flood:
    """Counts refusals by network in minutes. For the event loop; a race between threads miscounts, and no more."""

    def __init__(self) -> None:
        self._since = 0.0
        self._count = 0
        self._admitted: dict[str, int] = {}
        self._left_out: OrderedDict[str, int] = OrderedDict()

    def admit(self, key: str, now: float) -> int | None:
        """How many were left out since the last entry of this network; None to leave out this one."""
        if now - self._since >= _MINUTE:
            self._since, self._count, self._admitted = now, 0, {}
        number = self._admitted.get(key, 0)
        if number >= _MOST_REFUSALS or self._count >= _MOST_REFUSALS_OF_ALL:
            self._left_out[key] = self._left_out.get(key, 0) + 1
            self._left_out.move_to_end(key)
            while len(self._left_out) > _MOST_ADDRESSES:
                self._left_out.popitem(last=False)
            return None
        self._admitted[key] = number + 1
        self._count += 1
        return self._left_out.pop(key, 0)


def _insert(connection: Connection, values: Mapping[str, Any]) -> None:
    connection.execute(insert(_entries).values(**values))


def _tell(values: Mapping[str, Any], error: SQLAlchemyError) -> None:
    known = {name: value for name, value in values.items() if value is not None and name != "at"}
    _log.error("audit_not_written", entry=known, at=values["at"].isoformat(), reason=reason(error))


def _without_secret(found: re.Match[str]) -> str:
    return f"{found['ours'] or found['upload'] or found['scheme'] or ''}…"


def _clean_details(details: Mapping[str, Any]) -> dict[str, Any]:
    return {clean(str(name), 64): _clean_detail(value) for name, value in list(details.items())[:_MOST_DETAILS]}


def _clean_detail(value: Any) -> Any:
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes):
        return [clean(str(item)) for item in list(value)[:_MOST_DETAILS]]
    return clean(str(value))
