"""Settings of the store of uploads: a disk, or a bucket."""

from pydantic import BaseModel, ByteSize, Field

from server.settings.types import GIB, MIB


class StoreSettings(BaseModel):
    """Where the bytes of uploads are."""

    store: str = Field(
        "",
        pattern=r"^$|^s3://[^\s]+$",
        description="Where uploads are kept: empty is `data_dir`, `s3://bucket/prefix?endpoint=…&region=…&dialect=…` a "
        "bucket, which needs the extra `s3`. Credentials come from the environment, a file or the machine, as boto3 "
        "finds them, and are never in the URL.",
    )
    s3_memory: ByteSize = Field(
        ByteSize(40 * MIB),
        ge=32 * MIB,
        description="Memory of a serving process for parts on their way to the bucket, in all. A body that comes "
        "faster than the bucket takes it waits for this memory.",
    )
    s3_part_size: ByteSize = Field(
        ByteSize(8 * MIB),
        ge=5 * MIB,
        le=5 * GIB,
        description="Least size of the parts of an upload. An upload that would have more than 10,000 parts gets "
        "larger ones. `s3_memory` must have room for four parts of the largest upload.",
    )
    s3_parallel: int = Field(3, ge=1, le=64, description="Parts of one upload that are sent at once.")
    s3_deadline: float = Field(
        20,
        gt=0,
        le=300,
        description="Seconds for which a failed request to the bucket is repeated; after that its client gets 503 and "
        "should be repeated. Clients of tus wait for 30 seconds.",
    )
    s3_cache: ByteSize = Field(
        ByteSize(10 * GIB),
        ge=0,
        description="Size of the local copies in the folder `cache` of the data folder, which processing reads. They "
        "may be deleted at any moment.",
    )
