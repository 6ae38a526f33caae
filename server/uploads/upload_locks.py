"""Which locks the settings want: in the data folder of one host, or in the database of several.

Rule: what does not work is refused here, at the start, and with a sentence.
"""

from server.database.session import Database
from server.errors import StartError
from server.settings import Settings
from server.storage.base import UploadStore
from server.storage.file_locks import FileLocks
from server.storage.locks import UploadLocks
from server.uploads.lease_locks import LeaseLocks


def open_locks(settings: Settings, database: Database, store: UploadStore) -> UploadLocks:
    """The locks; connects to nothing yet. Raises `StartError`."""
    folder = settings.data_dir / "locks"
    try:
        # A backup has its lock there, whatever those of uploads are.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"The data folder {settings.data_dir} cannot be used: {error.strerror}.") from None
    is_shared = database.engine.dialect.name == "postgresql"
    if settings.upload_locks == "database" and not is_shared:
        raise StartError(
            "Locks in the database are leases in PostgreSQL, and SQLite is for one machine only: set database_url to a "
            "PostgreSQL, or upload_locks to files."
        )
    if settings.upload_locks == "database" or (settings.upload_locks == "auto" and is_shared and not store.is_local):
        return LeaseLocks(database, settings.upload_lease, store.seize)
    try:
        return FileLocks(folder)
    except OSError as error:
        raise StartError(f"The data folder {settings.data_dir} cannot be used: {error.strerror}.") from None
