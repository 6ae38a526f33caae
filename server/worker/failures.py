"""What follows from a failure that is not the file's fault, and when the step is tried again.

Rule: it only decides; times are seconds.
"""

import errno
from datetime import datetime

from server.errors import StorageFullError
from server.tasks.claimable import LONGEST_PAUSE

_LONGEST_WAIT = 60.0


def is_full(error: Exception) -> bool:
    """Whether a step failed because the disk is full. That is never a reason to give up, however long it lasts."""
    number = error.errno if isinstance(error, OSError) else None
    return isinstance(error, StorageFullError) or number in (errno.ENOSPC, errno.EDQUOT)


def pause_after(failures: int, first: float) -> float:
    """The pause after so many failures that count; `first` is the pause after the first one."""
    return min(first * 2.0 ** min(failures - 1, 30), LONGEST_PAUSE)


def pause_while_away(started_at: datetime | None, now: datetime) -> float:
    """The pause of a step that waits for a service: longer, the longer it has waited already."""
    waited = (now - started_at).total_seconds() if started_at else 0.0
    return min(max(waited / 2, 1.0), _LONGEST_WAIT)
