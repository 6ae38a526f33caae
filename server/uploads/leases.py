"""The statements of upload leases, for PostgreSQL.

Rules:

- Each is one statement, so a transaction by itself: a lock is never held by an open transaction.
- Times are of the database's clock. A host's own clock is used for how long ago something was only.
- A lease is taken when there is none, or when it has ended; each holding has its own epoch. A process that writes under
  a lease names its epoch (`FENCE`), and keeps others from taking it until the transaction ends.
"""

from typing import Any

from sqlalchemy import text

CHANNEL = "videodock_locks"

TAKE = text("""
WITH asked AS MATERIALIZED (
    SELECT coalesce(CAST(:arrival AS bigint), nextval('upload_lease_epochs')) AS arrival,
           nextval('upload_lease_epochs') AS epoch
), taken AS (
    INSERT INTO upload_leases (name, epoch, arrival, process, wanted, expires_at)
    SELECT :name, epoch, arrival, :process, 0, clock_timestamp() + make_interval(secs => :seconds) FROM asked
    ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, arrival = excluded.arrival, process = excluded.process,
        wanted = 0, expires_at = excluded.expires_at
        WHERE upload_leases.expires_at < clock_timestamp()
    RETURNING epoch
)
SELECT asked.arrival, taken.epoch, held.epoch AS held_epoch, held.arrival AS held_arrival
FROM asked LEFT JOIN taken ON true LEFT JOIN upload_leases held ON held.name = :name
""")
"""Take a lease, if it is free. `arrival` is None at the first attempt of a request.

`held_epoch` is the holder before: of a lease that was taken, one whose lease had ended. (Or it released the lease in
the same moment; then it is treated as one that had ended, which costs time and nothing else.)
"""

WANT = text("""
WITH asked AS (
    UPDATE upload_leases SET wanted = :arrival WHERE name = :name AND arrival < :arrival AND wanted < :arrival
    RETURNING name, process
)
SELECT pg_notify(:channel, process || ' ' || name || ' ' || CAST(:arrival AS text)) FROM asked
""")
"""Ask the holder for it, if it came earlier; the row says so too, for a holder that misses the message."""

WANT_NOW = text("""
WITH asked AS (
    UPDATE upload_leases SET wanted = nextval('upload_lease_epochs') WHERE name = :name RETURNING name, process, wanted
)
SELECT pg_notify(:channel, process || ' ' || name || ' ' || CAST(wanted AS text)) FROM asked
""")

RENEW = """
WITH mine AS MATERIALIZED (
    SELECT name, epoch FROM upload_leases WHERE process = %(process)s AND name = ANY(%(names)s) FOR UPDATE SKIP LOCKED
), renewed AS (
    UPDATE upload_leases held SET expires_at = clock_timestamp() + make_interval(secs => %(seconds)s)
    FROM mine WHERE held.name = mine.name AND held.epoch = mine.epoch RETURNING held.name, held.epoch
)
SELECT held.name, held.epoch, held.wanted, renewed.epoch IS NOT NULL AS is_renewed
FROM upload_leases held LEFT JOIN renewed ON renewed.name = held.name AND renewed.epoch = held.epoch
WHERE held.process = %(process)s
"""
"""Renew all leases of a process that it knows of, for its own connection; the result has all that it has.

A row that a transaction names (`FENCE`) is left out; the next renewal, a second later, has it.
"""

RELEASE = text("DELETE FROM upload_leases WHERE name = :name AND epoch = :epoch")
GIVE_UP = text("UPDATE upload_leases SET expires_at = to_timestamp(0) WHERE name = :name AND epoch = :epoch")
"""End a lease so that the next holder knows that the former one did not end well."""

GIVE_UP_ALL = "UPDATE upload_leases SET expires_at = to_timestamp(0) WHERE process = %s AND name = ANY(%s)"

FENCE = text("SELECT 1 FROM upload_leases WHERE name = :name AND epoch = :epoch FOR SHARE")

ENDED = text("""
SELECT name FROM upload_leases WHERE expires_at < clock_timestamp() - make_interval(secs => :seconds)
""")
"""Leases of dead processes that no other process took over within so many seconds."""

Found = Any
"""A row of a result."""
