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
from server.storage.disk import DiskStore

EVERYWHERE = "bucket"
"""What the column `tasks.node` has where every host reaches the bytes: a database belongs to one bucket."""

_LOOKED_AT = 1000


def check_places(settings: Settings, database: Database, store: UploadStore) -> None:
    """Raise `StartError` when uploads are in a store that the settings do not name. Blocking.

    Raises `OSError` when a store is away.
    """
    in_bucket = select(Upload.id).where(Upload.has_bytes, exists().where(_ROW, ~S3Upload.on_disk))
    with database.read() as session:
        has_any = session.scalar(in_bucket.limit(1)) is not None
        if not settings.store and not settings.previous_store:
            if has_any and isinstance(store, DiskStore):
                raise StartError(
                    "There are uploads in a bucket, and `store` is the disk: set `store` to the bucket again, or "
                    "`previous_store`, and move them with `videodock migrate-store`."
                )
            return
        # Only complete ones: the row of an open upload comes before its bytes.
        others = select(Upload.id).where(
            Upload.has_bytes, Upload.status == UploadStatus.COMPLETE, ~exists().where(_ROW, ~S3Upload.on_disk)
        )
        ids = session.scalars(others.limit(_LOOKED_AT)).all()
    if isinstance(store, UploadPair):
        has_uploads = has_any if settings.store else bool(ids)
        if has_uploads and not store.new.is_claimed():
            raise StartError(f"The database knows uploads that were moved, and {store.new.unclaimed}")
        return
    folder = settings.data_dir / "uploads"
    if any((folder / upload_id[:2] / upload_id).exists() for upload_id in ids):
        raise StartError(
            f"There are uploads in {folder}, and `store` is a bucket: set `previous_store` to disk, and move them with "
            "`videodock migrate-store`."
        )


def adopt_tasks(settings: Settings, database: Database, host: str, node: str) -> None:
    """While uploads move, every task of this place is for the workers of the new store. Idempotent. Blocking."""
    former = host if node == EVERYWHERE else EVERYWHERE
    if settings.previous_store and former != node:
        with database.write() as session:
            session.execute(update(Task).where(Task.node == former).values(node=node))


_ROW = S3Upload.upload_id == Upload.id
