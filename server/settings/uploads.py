"""Settings of uploads and downloads: what is accepted, how large, how slow, and for how long."""

from typing import Literal

from pydantic import BaseModel, ByteSize, Field, TypeAdapter, field_validator

from server import media_types
from server.settings.types import GIB, MIB, Names


class AcceptanceSettings(BaseModel):
    """Types, sizes and numbers of the files that are accepted."""

    accept: Literal["video", "any"] = Field(
        "video",
        description="What is accepted: `video` checks name and first bytes, `any` takes every file.",
    )
    accept_types: Names = Field(
        ("default",),
        description="Which videos are accepted, by extensions with commas between them; another extension of the same "
        "type comes with each. `default` is mp4, mov, avi, mkv, wmv, flv and 3gp, and by tus webm and m4v as well; "
        "`all` adds ts (mts, m2ts, m2t), mpg (mpeg), ogv and mxf. `default,ts` is possible.",
    )
    tus_max_size: ByteSize = Field(ByteSize(10 * GIB), ge=1, description="Largest upload by tus, in bytes.")
    max_file_size: ByteSize = Field(
        ByteSize(800 * MIB), ge=1, description="Largest file of a multipart upload, in bytes."
    )
    max_files: int = Field(50, ge=1, le=1000, description="Most files of one task: of a form, or of tus uploads.")
    disk_reserve: str = Field(
        "auto",
        description="Space that uploads leave free on the disk of the data folder, in bytes or with a unit (`10GiB`); "
        "`auto` is 5% of the disk, 2 GiB at most. An upload that would not leave it gets 507, and so does one "
        "for which other uploads' reservations leave no space.",
    )

    @field_validator("accept_types")
    @classmethod
    def _check_types(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(name.lower().removeprefix(".") for name in value)
        try:
            media_types.accepted(names, by_form=False)
        except KeyError as error:
            raise ValueError(f"{error} is not known; choose of default, all, {media_types.KNOWN}") from None
        if not names:
            raise ValueError("at least one type must be accepted; `default` is the usual choice")
        return names

    @field_validator("disk_reserve")
    @classmethod
    def _check_reserve(cls, value: str) -> str:
        if value != "auto":
            TypeAdapter(ByteSize).validate_python(value)
        return value


class UploadSettings(BaseModel):
    """Uploads and downloads while they run, and until they expire."""

    max_connections: int = Field(
        4000,
        ge=1,
        description="Connections that a serving process has at once; a request on one more gets 503 and should be "
        "repeated, unless a connection whose client read nothing of its response for 10 seconds can be reset. Not with "
        "`portable`.",
    )
    max_bodies: int = Field(
        2000,
        ge=1,
        description="Request bodies that a serving process receives at once; a request with one more gets 503 and "
        "should be repeated.",
    )
    max_event_streams: int = Field(
        2000,
        ge=0,
        description="Live event streams that a serving process has at once; one more gets 503, and its client should "
        "poll. Each is a connection, which `max_connections` counts too, and takes about 60 KiB. 0 allows none.",
    )
    max_owner_event_streams: int = Field(
        500,
        ge=0,
        description="The same for one owner, and for one address where authentication is off.",
    )
    body_idle_timeout: float = Field(
        60,
        gt=0,
        description="Seconds without a byte after which a request body is given up; received bytes are kept. Holds for "
        "clients that receive a download or any other response, too: a connection whose client reads none of it for so "
        "long is reset (not with `portable`).",
    )
    body_min_rate: ByteSize = Field(
        ByteSize(64),
        ge=0,
        description="Bytes a second below which a request body is given up too, once its average is lower for longer "
        "than `body_idle_timeout`; received bytes are kept, 0 is no limit. By default one network packet gives a body "
        "20 more seconds: no bad line is that slow, and one byte a second does not hold a connection for ever.",
    )
    advised_chunk_size: ByteSize = Field(
        ByteSize(0),
        ge=0,
        description="Bytes that a client should send in one PATCH at most, for a proxy that limits or collects bodies; "
        "0 advises nothing. The upload page obeys it, and other clients read it in `Upload-Limit`, "
        "`Tus-Max-Chunk-Size` or `GET /api/config`. Larger bodies are not refused.",
    )
    tus_engine: Literal["videodock", "tuspyserver"] = Field(
        "videodock",
        description="Engine for uploads by tus: `videodock` is our own, `tuspyserver` the package of that name, "
        "with the same rules and the same store.",
    )
    upload_locks: Literal["auto", "files", "database"] = Field(
        "auto",
        description="What keeps two requests from writing into one upload: `files` are locks in the data folder, for "
        "the processes of one host; `database` are leases in PostgreSQL, for several hosts. `auto` is `database` where "
        "`store` is not a folder, and `files` elsewhere. All processes need the same: stop them all to change it.",
    )
    upload_lease: float = Field(
        10,
        ge=2,
        le=300,
        description="Seconds after which the lock of a host that died or was cut off is free, with `upload_locks` in "
        "the database. A host that cannot renew its locks for so long stops receiving bytes.",
    )
    fsync: Literal["complete", "patch", "never"] = Field(
        "complete",
        description="What survives a power cut: `complete` is every upload that was announced complete and its task, "
        "`patch` every byte that was acknowledged, `never` nothing in particular. A killed process loses nothing "
        "with any of them.",
    )
    upload_expiry: int = Field(
        7 * 86400, ge=1, description="Seconds after its last byte at which an unfinished upload is removed."
    )
    downloads: Literal["off", "on"] = Field(
        "off",
        description="Whether GET on a complete upload returns the original: `on` allows it to every client that knows "
        "the upload's URL, `off` to none. The status has that URL, `original_url`, with `auth` on a signed one.",
    )
    form_answer_expiry: int = Field(
        86400,
        ge=1,
        description="Seconds for which a repeated form with an `Idempotency-Key` gets the stored answer.",
    )
    sweep_interval: float = Field(60, gt=0, description="Seconds between two sweeps for expired uploads and leftovers.")
