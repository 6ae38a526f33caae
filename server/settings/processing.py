"""Settings of the processing of finished uploads."""

from typing import Literal

from pydantic import BaseModel, ByteSize, Field

from server.settings.types import GIB, MIB


class ProcessingSettings(BaseModel):
    """Workers, limits of a step, and results of a video."""

    scheduler: Literal["embedded", "celery", "none"] = Field(
        "embedded",
        description="What processes finished uploads: `embedded` is this server, `celery` are Celery workers on any "
        "number of machines, `none` leaves it to `videodock worker`.",
    )
    encode_limit: int = Field(
        0, ge=0, le=1024, description="Tasks processed at the same time on this machine; 0 is one a core."
    )
    encode_priority: Literal["low", "idle"] = Field(
        "low",
        description="Processor time of encodes beside other work of the machine: `low` is a tenth of what other "
        "programs get, `idle` is what they leave. With `idle`, uploads are answered as fast as without encodes; where "
        "other programs use all processors all the time, encodes do not progress.",
    )
    task_lease: float = Field(
        30, ge=3, description="Seconds without a heartbeat after which another worker may claim a task."
    )
    task_max_attempts: int = Field(3, ge=1, description="Crashed attempts after which a task is given up as failed.")
    step_time_limit: float = Field(600, gt=0, description="Seconds that one step may take for one file at most.")
    step_memory_limit: ByteSize = Field(
        ByteSize(4 * GIB), ge=512 * MIB, description="Address space that one step may use, in bytes."
    )
    max_pixels: int = Field(
        20_000,
        ge=1,
        description="Gigapixels that all frames of one video may have together (width x height x frames / 10^9). An "
        "hour of 1080p at 30 frames a second has 224, an hour of 2160p at 60 has 1792. A file may have at most 50,000 "
        "pixels for each of its bytes, and 20 gigapixels besides.",
    )
    ffmpeg: str = Field(
        "auto",
        description="FFmpeg to use: `auto` is the system's, else the bundled one; `system`, `bundled`, or a path.",
    )
    owner_limit: int = Field(
        0,
        ge=0,
        description="Tasks of one owner that are processed at the same time; 0 is no limit. Without authentication all "
        "uploads have the same owner, `default`.",
    )
    task_retry_pause: float = Field(
        5,
        gt=0,
        description="Seconds until a step that failed for a reason other than its file is tried again; twice as long "
        "after each further failure, up to five minutes.",
    )
    transcode: Literal["none", "mp4", "hls", "both"] = Field(
        "mp4",
        description="What is made for playback: `mp4` is one file that every browser plays, `hls` a playlist with "
        "several sizes, `both`, or `none`.",
    )
    transcode_max_height: int = Field(
        1080,
        ge=144,
        le=4320,
        description="Height in pixels of the largest rendition, width for upright videos; nothing is enlarged.",
    )
    transcode_preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"] = Field(
        "veryfast", description="The encoder's preset: a slower one makes smaller files."
    )
    transcode_time_limit: float = Field(
        6 * 3600,
        gt=0,
        description="Seconds that one MP4, or all sizes of HLS, may take for one file at most; "
        "a short or small video gets less, by its pixels and bytes.",
    )
    spare_children: int = Field(
        3,
        ge=0,
        le=16,
        description="Child processes that wait for a job with their imports done, so that an upload is playable "
        "sooner; each takes about 15 MB. 0 starts each child when its job comes.",
    )
    storyboard: Literal["on", "off"] = Field("on", description="Whether small pictures for scrubbing are made.")
    originals: Literal["keep", "drop"] = Field(
        "keep",
        description="Whether an original stays once its task is completed and it can be played; `drop` removes it.",
    )
    clamd: str = Field(
        "",
        pattern=r"^(unix:/.+|tcp://.+:\d+)?$",
        description="The virus scanner, `unix:/run/clamav/clamd.ctl` or `tcp://host:3310`; empty is none, and files "
        "are not scanned. With one, no file is processed unscanned: while it is away, tasks wait.",
    )
    # clamd calls a file of 2 GiB and more clean without having scanned it.
    scan_max_size: ByteSize = Field(
        ByteSize(25 * MIB),
        ge=1,
        le=2047 * MIB,
        description="Largest file that the scanner takes, in bytes; no more than clamd's own `StreamMaxLength` and "
        "`MaxFileSize`, beyond which it does not scan.",
    )
    scan_too_large: Literal["refuse", "mark"] = Field(
        "refuse",
        description="How larger files are treated, where a scanner is set: `refuse` refuses their upload, `mark` "
        "processes them and marks them as not scanned.",
    )
    poster_size: int = Field(
        1280,
        ge=16,
        le=8192,
        description="Longest edge of a poster, in pixels; a smaller video is not enlarged.",
    )
    broker_url: str = Field(
        "",
        pattern=r"^((amqps?|rediss?)://.+)?$",
        description="URL of Celery's broker, `amqp://…` (RabbitMQ) or `redis://…`.",
    )
