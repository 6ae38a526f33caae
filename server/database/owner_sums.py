"""The kept sums of an owner who is renamed or erased.

Rule: `rename` is part of the transaction that renames the owner everywhere. It makes sweeps that have already read the
old name drop what they have summed up.
"""

from sqlalchemy import delete, exists, select, text, update
from sqlalchemy.orm import Session

from server.database.report_models import ReportOwners, ReportOwnerTimes, ReportState
from server.database.session import changed

_MOVES = (
    """
INSERT INTO report_owners (owner, day, outcome, reason, uploads, bytes, arrived, resumed, last_at)
SELECT :new, day, outcome, reason, uploads, bytes, arrived, resumed, last_at FROM report_owners WHERE owner = :old
ON CONFLICT (owner, day, outcome, reason) DO UPDATE SET
    uploads = report_owners.uploads + excluded.uploads, bytes = report_owners.bytes + excluded.bytes,
    arrived = report_owners.arrived + excluded.arrived, resumed = report_owners.resumed + excluded.resumed,
    last_at = CASE WHEN excluded.last_at > report_owners.last_at THEN excluded.last_at ELSE report_owners.last_at END
""",
    """
INSERT INTO report_owner_times (owner, day, milliseconds, uploads)
SELECT :new, day, milliseconds, uploads FROM report_owner_times WHERE owner = :old
ON CONFLICT (owner, day, milliseconds) DO UPDATE SET uploads = report_owner_times.uploads + excluded.uploads
""",
)


def are_there(session: Session, owner: str) -> bool:
    """Whether sums of this owner are kept; they outlive the owner's rows."""
    return bool(session.scalar(select(exists().where(ReportOwners.owner == owner))))


def rename(session: Session, old: str, new: str) -> int:
    """Give the sums of `old` to `new`, added to what `new` has; how many rows of `report_owners` moved."""
    # First: a sweep that writes at this moment is waited for, and its sums are renamed, too.
    changed(session, update(ReportState).values(version=ReportState.version + 1))
    for move in _MOVES:
        session.execute(text(move), {"old": old, "new": new})
    changed(session, delete(ReportOwnerTimes).where(ReportOwnerTimes.owner == old))
    return changed(session, delete(ReportOwners).where(ReportOwners.owner == old))
