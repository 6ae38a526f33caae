"""Backup and restore of a database and its data folder together, while uploads run.

Rules:

- One snapshot of the rows decides what belongs to a backup; files follow. Before the rows are copied, each file that
  they refer to is in the backup already or held (`storage/pins.py`), else the snapshot is taken again. So no file that
  is removed, joined or quarantined meanwhile can go missing.
- Of an open upload those bytes are taken that its row counted: they never change. The bytes after them may belong to a
  checked append whose checksum is still open.
- A backup is whole once its manifest is renamed into place, and a data folder is restored once its mark is gone.
  Until then the earlier backup stays whole, and the folder does not serve.
"""

from server.backup.create import BackupResult, create_backup
from server.backup.layout import BackupRefusedError, DamagedError, Manifest, NoBackupError
from server.backup.restore import Restored, restore_backup

__all__ = [
    "BackupRefusedError",
    "BackupResult",
    "DamagedError",
    "Manifest",
    "NoBackupError",
    "Restored",
    "create_backup",
    "restore_backup",
]
