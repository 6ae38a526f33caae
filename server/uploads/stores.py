"""Which store the settings want: files of the data folder, or objects of a bucket.

Rule: settings that do not work with a bucket are refused here, at the start, with a sentence.
"""

import sys
from collections.abc import Callable
from datetime import datetime
from importlib.util import find_spec

from server.database.part_ledger import SqlPartLedger
from server.database.session import Database
from server.errors import StartError
from server.settings import Settings
from server.settings.types import MIB
from server.storage.base import UploadStore
from server.storage.disk import DiskStore
from server.storage.locks import UploadLocks
from server.uploads import reservations


def open_store(settings: Settings, clock: Callable[[], datetime]) -> UploadStore:
    """The store; connects to nothing yet. Raises `StartError`, `OSError`. Call `connect` before it is used."""
    if settings.store:
        return _s3_store(settings, clock)
    store = DiskStore(settings.data_dir / "uploads", settings.fsync)
    store.keep_free(min(reservations.reserve_bytes(settings.disk_reserve, store.capacity), reservations.KEPT_BYTES))
    return store


def connect(store: UploadStore, database: Database, locks: UploadLocks) -> None:
    """Give a store that keeps rows its database. Only the holder of an upload's lock changes them."""
    ledger = getattr(store, "ledger", None)
    if isinstance(ledger, SqlPartLedger):
        ledger.connect(database)
        ledger.guard = locks.guard


def _s3_store(settings: Settings, clock: Callable[[], datetime]) -> UploadStore:
    # Imported here: a server with files on a disk does not need it.
    from server.storage.s3.dialect import part_size
    from server.storage.s3.location import parse
    from server.storage.s3.store import Limits, S3Store

    if not (find_spec("boto3") and find_spec("google_crc32c")):
        raise StartError(
            "The store in S3 needs packages that are not installed: .venv/bin/pip install '.[s3]' in a checkout, "
            f"else {sys.executable} -m pip install boto3 google-crc32c."
        )
    try:
        location = parse(settings.store)
    except ValueError as error:
        raise StartError(f"The setting store (VIDEODOCK_STORE) cannot be used: {error}.") from None
    if settings.tus_engine != "videodock":
        raise StartError("The engine tuspyserver writes files: with `store` in S3, set `tus_engine` to videodock.")
    largest = max(int(settings.tus_max_size), int(settings.max_file_size))
    size = part_size(location.dialect, largest, int(settings.s3_part_size))
    if 4 * size > settings.s3_memory:
        raise StartError(
            f"Uploads of {largest} bytes have parts of {size // MIB} MiB: `s3_memory` must be at least "
            f"{4 * size // MIB}MiB, or `tus_max_size` smaller."
        )
    limits = Limits(
        memory=int(settings.s3_memory),
        part_size=int(settings.s3_part_size),
        largest=largest,
        parallel=settings.s3_parallel,
        deadline=settings.s3_deadline,
        cache=int(settings.s3_cache),
    )
    return S3Store(location, SqlPartLedger(clock), settings.data_dir / "cache", limits)
