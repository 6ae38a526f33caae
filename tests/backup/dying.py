"""`python -m tests.backup.dying` is `videodock` with points at which a backup or a restore kills itself.

See `tests/harness/faulty_server.py`; a fault is given by the variable FAULT.
"""

from collections.abc import Sequence

from tests.harness import faulty_server
from tests.harness.faulty_server import Point

POINTS = (
    Point("claim", "server.backup.layout:claim"),
    Point("hold", "server.storage.pins:Pins.pin"),
    Point("rows", "server.backup.rows:copy"),
    Point("copy", "server.backup.copy:Copier.copy"),
    Point("flush", "server.backup.copy:Copier.flush"),
    Point("manifest", "server.backup.layout:write_manifest"),
    Point("tidy", "server.backup.create:_Backup._tidy"),
    Point("restore.files", "server.backup.restore:_restore_files"),
    Point("restore.rows", "server.backup.restore:_restore_rows"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `videodock`, with faults."""
    faulty_server.POINTS += POINTS  # type: ignore[assignment]
    faulty_server.main(arguments)


if __name__ == "__main__":
    main()
