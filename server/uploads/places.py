"""Whether the settings fit where the rows say that uploads are.

Rule: a server that would not find the bytes of its uploads does not start: a sweep would conclude that they are lost.
"""

from sqlalchemy import exists, select, update

from server.database.models import Task, Upload
from server.database.part_models import S3Upload
from server.database.session import Database
from server.errors import StartError
from server.lifecycle import UploadStatus
from server.settings import Settings
from server.storage.base import UploadPair, UploadStore
from server.storage.disk import MARKER, DiskStore

EVERYWHERE = "bucket"
"""What the column `tasks.node` has where every host reaches the bytes: a database belongs to one bucket."""

_LOOKED_AT = 1000


def check_places(settings: Settings, database: Database, store: UploadStore) -> None:
    """Raise `StartError` when uploads are in a store that the settings do not name. Blocking.

    Raises `OSError` when a store is away.
    """
    # Along the bucket's rows: a server on a disk has none, and may have millions of uploads.
    in_bucket = select(S3Upload.upload_id).where(~S3Upload.on_disk, exists().where(_ROW, Upload.has_bytes)).limit(1)
    # Only complete ones: the row of an open upload comes before its bytes.
    on_disk = (
        select(Upload.id)
        .where(Upload.has_bytes, Upload.status == UploadStatus.COMPLETE, ~exists().where(_ROW, ~S3Upload.on_disk))
        .limit(_LOOKED_AT)
    )
    with database.read() as session:
        if isinstance(store, UploadPair):
            moved = session.scalar(in_bucket if settings.store else on_disk)
            if moved is not None and not store.new.is_claimed():
                raise StartError(f"The database knows uploads that were moved, and {store.new.unclaimed}")
        elif isinstance(store, DiskStore):
            if session.scalar(in_bucket) is not None:
                raise StartError(
                    "There are uploads in a bucket, and `store` is the disk: set `store` to the bucket again, or "
                    "`previous_store`, and move them with `videodock migrate-store`."
                )
        else:
            folder = settings.data_dir / "uploads"
            was_used = (folder / MARKER).exists()
            ids = session.scalars(on_disk).all() if was_used else []
            if any((folder / upload_id[:2] / upload_id).exists() for upload_id in ids):
                raise StartError(
                    f"There are uploads in {folder}, and `store` is a bucket: set `previous_store` to disk, and move "
                    "them with `videodock migrate-store`."
                )


def adopt_tasks(settings: Settings, database: Database, host: str, node: str) -> None:
    """While uploads move, every task of this place is for the workers of the new store. Idempotent. Blocking."""
    former = host if node == EVERYWHERE else EVERYWHERE
    if settings.previous_store and former != node:
        with database.write() as session:
            session.execute(update(Task).where(Task.node == former).values(node=node))


_ROW = S3Upload.upload_id == Upload.id
