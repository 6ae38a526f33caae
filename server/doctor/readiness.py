"""What the server needs to work, as `/readyz` and `videodock doctor` ask it.

Rule: a check returns None, or a short sentence that is public: it has no path, address or password. The text of an
exception goes to the log only.
"""

from collections.abc import Callable

import structlog

from server.bootstrap import Services
from server.database import migration
from server.database.session import AWAY, reason
from server.messages.phrases import Phrase
from server.pipeline import clamd

Check = Callable[[], str | None]

_SCANNER_SECONDS = 1.0
_log = structlog.stdlib.get_logger("videodock.app")


def checks(services: Services) -> dict[str, Check]:
    """The checks of what all processes share, by the names of `/readyz`. Each blocks."""
    head = migration.head()

    def check_store() -> str | None:
        try:
            services.store.check()
        except OSError as error:
            if services.store.is_local or not error.strerror:
                raise
            _log.warning("store_away", reason=error.strerror)
            return error.strerror  # of a bucket: a sentence without an address
        return None

    def check_database() -> str | None:
        try:
            at_head = migration.is_at(services.database.engine, head)
        except AWAY as error:
            _log.warning("database_away", reason=reason(error))
            return Phrase.of("unreachable")
        return None if at_head else Phrase.of("wrong_revision")

    def check_scanner() -> str | None:
        try:
            clamd.ping(services.settings.clamd, seconds=_SCANNER_SECONDS)
        except clamd.AwayError as error:
            _log.warning("scanner_away", reason=str(error))
            return Phrase.of("scanner_unreachable")
        return None

    def check_space() -> str | None:
        try:
            return services.reservations.problem()
        except AWAY:  # the database check reports it; it is not a problem of the disk
            return Phrase.of("unknown_without_database")

    # A full disk takes no uploads, but downloads and deletions still need the server.
    found: dict[str, Check] = {"database": check_database, "store": check_store, "space": check_space}
    return found | ({"scanner": check_scanner} if services.settings.clamd else {})
