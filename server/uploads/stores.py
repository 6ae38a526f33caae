"""Which stores the settings want, of uploads and of results: files of the data folder, or objects of a bucket.

Rule: settings that do not work with a bucket are refused here, at the start, with a sentence.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING

from server.database.part_ledger import SqlPartLedger
from server.database.result_ledger import SqlResultLedger
from server.database.session import Database
from server.errors import StartError
from server.settings import Settings
from server.settings.types import MIB
from server.storage.base import UploadStore
from server.storage.disk import DiskStore
from server.storage.locks import UploadLocks
from server.storage.result_store import ResultStore
from server.storage.results import Results
from server.uploads import reservations
from server.uploads.places import EVERYWHERE

if TYPE_CHECKING:
    from server.storage.s3.store import S3Store


def open_store(settings: Settings, clock: Callable[[], datetime]) -> UploadStore:
    """The store; connects to nothing yet. Raises `StartError`, `OSError`. Call `connect` before it is used."""
    if settings.previous_store:
        return _pair(settings, clock)
    return _s3_store(settings, settings.store, clock) if settings.store else _disk_store(settings)


def _disk_store(settings: Settings) -> DiskStore:
    store = DiskStore(settings.data_dir / "uploads", settings.fsync)
    store.keep_free(min(reservations.reserve_bytes(settings.disk_reserve, store.capacity), reservations.KEPT_BYTES))
    return store


def _pair(settings: Settings, clock: Callable[[], datetime]) -> UploadStore:
    is_into_bucket = bool(settings.store)
    if is_into_bucket and settings.previous_store != "disk":
        raise StartError(
            "Uploads move between a disk and a bucket: `previous_store` must be disk. To move from one bucket to "
            "another, copy all objects with a tool of their provider, and then change `store`."
        )
    if not is_into_bucket and settings.previous_store == "disk":
        raise StartError("`previous_store` is the disk, and so is `store`: set one of them to a bucket.")
    from server.storage.pair import PairStore

    url = settings.store or settings.previous_store
    return PairStore(_disk_store(settings), _s3_store(settings, url, clock), into_bucket=is_into_bucket)


def open_results(settings: Settings, store: UploadStore, clock: Callable[[], datetime]) -> ResultStore:
    """The store of results: where the uploads are. Raises `OSError`. Call `connect` before it is used."""
    local = Results(settings.data_dir, syncs=settings.fsync != "never" and store.is_local)
    if store.is_local:
        return local
    from server.storage.pair import PairStore

    if isinstance(store, PairStore):
        made = _s3_results(settings, store.bucket, local, clock, is_left=not store.into_bucket)
    else:
        made = _s3_results(settings, store, local, clock)
    return made


def connect(store: UploadStore, results: ResultStore, database: Database, locks: UploadLocks) -> None:
    """Give stores that keep rows their database. Only the holder of an upload's lock changes those of an upload."""
    ledger, of_results = getattr(store, "ledger", None), getattr(results, "ledger", None)
    if isinstance(ledger, SqlPartLedger):
        ledger.connect(database)
        ledger.guard = locks.guard
    if isinstance(of_results, SqlResultLedger):
        of_results.connect(database)


def node_of(host: str, results: ResultStore) -> str:
    """Whose workers take a task: those of the folder that has its results, or, from a bucket, all that there are."""
    return host if results.is_local else EVERYWHERE


def _s3_store(settings: Settings, url: str, clock: Callable[[], datetime]) -> "S3Store":
    # Imported here: a server with files on a disk does not need it.
    from server.storage.s3.bucket import make_client
    from server.storage.s3.dialect import part_size
    from server.storage.s3.location import parse
    from server.storage.s3.signing import Signer
    from server.storage.s3.store import Limits, S3Store

    if not (find_spec("boto3") and find_spec("google_crc32c")):
        raise StartError(
            "The store in S3 needs packages that are not installed: .venv/bin/pip install '.[s3]' in a checkout, "
            f"else {sys.executable} -m pip install boto3 google-crc32c."
        )
    try:
        location = parse(url)
    except ValueError as error:
        name = "store" if settings.store else "previous_store"
        raise StartError(f"The setting {name} (VIDEODOCK_{name.upper()}) cannot be used: {error}.") from None
    if settings.tus_engine != "videodock":
        raise StartError("The engine tuspyserver writes files: with `store` in S3, set `tus_engine` to videodock.")
    largest = max(int(settings.tus_max_size), int(settings.max_file_size))
    size = part_size(location.dialect, largest, int(settings.s3_part_size))
    if 4 * size > settings.s3_memory:
        raise StartError(
            f"Uploads of {largest} bytes have parts of {size // MIB} MiB: `s3_memory` must be at least "
            f"{4 * size // MIB}MiB, or `tus_max_size` smaller."
        )
    signer = None
    if settings.s3_presign:
        public = replace(location, endpoint=settings.s3_public_endpoint or location.endpoint)
        signer = Signer(public, make_client)
    limits = Limits(
        memory=int(settings.s3_memory),
        part_size=int(settings.s3_part_size),
        largest=largest,
        parallel=settings.s3_parallel,
        deadline=settings.s3_deadline,
        cache=int(settings.s3_cache),
    )
    return S3Store(location, SqlPartLedger(clock), settings.data_dir / "cache", limits, signer=signer)


def _s3_results(
    settings: Settings, store: UploadStore, local: Results, clock: Callable[[], datetime], *, is_left: bool = False
) -> ResultStore:
    """Results in a bucket; with `is_left` new ones go to the disk."""
    from server.storage.s3.left_results import LeftResults
    from server.storage.s3.result_upload import ResultUpload
    from server.storage.s3.results import BucketResults
    from server.storage.s3.store import S3Store

    if not isinstance(store, S3Store):
        raise TypeError(f"there is no store of results beside {type(store).__name__}")
    kind = LeftResults if is_left else BucketResults
    return kind(
        bucket=store.bucket,
        ledger=SqlResultLedger(clock),
        local=local,
        cache=store.cache,
        upload=ResultUpload(
            bucket=store.bucket,
            dialect=store.location.dialect,
            least_part=int(settings.s3_part_size),
            parallel=settings.s3_parallel,
        ),
        signer=store.signer,
    )
