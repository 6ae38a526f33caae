"""The tables of the store in S3: which parts and pieces of each upload count.

Rule: no foreign key to `uploads`. A row here stays until the bucket has nothing of the upload any more, even when the
upload's own row is gone.
"""

from datetime import datetime

from sqlalchemy import Integer, LargeBinary, String, false
from sqlalchemy.orm import Mapped, mapped_column

from server.database.base import Base, index_of


class S3Upload(Base):
    """An upload in the bucket."""

    __tablename__ = "s3_uploads"
    __table_args__ = (
        index_of("ix_s3_uploads_quarantined", "is_quarantined", "upload_id"),
        index_of("ix_s3_uploads_multipart", "multipart_id IS NOT NULL AND object_key IS NULL", "multipart_id"),
    )

    upload_id: Mapped[str] = mapped_column(String(36), primary_key=True, doc="The upload")
    version: Mapped[int] = mapped_column(
        doc="Grows with each writer; a writer changes rows under its own version only", default=0
    )
    part_size: Mapped[int] = mapped_column(doc="Size of its parts, in bytes")
    length: Mapped[int | None] = mapped_column(doc="The length that was declared at its creation, in bytes")
    multipart_id: Mapped[str | None] = mapped_column(doc="S3's id of its multipart upload; NULL without parts")
    object_key: Mapped[str | None] = mapped_column(doc="The key of the object that has all bytes; NULL until finished")
    object_size: Mapped[int | None] = mapped_column(doc="Bytes of that object")
    head: Mapped[bytes | None] = mapped_column(LargeBinary, doc="Its first bytes, at most 512, once it has parts")
    on_disk: Mapped[bool] = mapped_column(
        doc="Whether the disk has the upload, and the bucket a copy that is being made or deleted",
        server_default=false(),
    )
    is_quarantined: Mapped[bool] = mapped_column(doc="Whether it is in quarantine", server_default=false())
    modified_at: Mapped[datetime] = mapped_column(doc="When its last byte came (UTC)")


class S3Part(Base):
    """A part of a multipart upload, or a piece below a part, which is an object of its own."""

    __tablename__ = "s3_parts"

    upload_id: Mapped[str] = mapped_column(String(36), primary_key=True, doc="The upload")
    start: Mapped[int] = mapped_column(primary_key=True, doc="Its first byte in the upload", autoincrement=False)
    name: Mapped[str] = mapped_column(primary_key=True, doc="Of a piece its key; empty for a part")
    size: Mapped[int] = mapped_column(doc="Bytes")
    number: Mapped[int | None] = mapped_column(Integer, doc="Number of the part; NULL for a piece")
    etag: Mapped[str | None] = mapped_column(doc="ETag of the part, as S3 gave it; NULL for a piece")
    crc32c: Mapped[str] = mapped_column(doc="CRC32C in base64; empty where the bucket copied the bytes")
