"""Every setting, in one frozen model: its name, unit, default and what it is for.

Rule: nothing else reads the environment. A setting comes, in this order, from the command line, from the
environment (`VIDEODOCK_` and its name), from the TOML file that `VIDEODOCK_CONFIG` names (else `videodock.toml`
in the working directory, if there is one), or from its default. `docs/settings.md` and `--help` are made from
the descriptions here.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ByteSize, Field, TypeAdapter, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from server import media_types
from server.errors import StartError

PREFIX = "VIDEODOCK_"
_MIB = 1 << 20
_GIB = 1 << 30

Names = Annotated[tuple[str, ...], NoDecode]

TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  # a term of RFC 9110, no secret
"""The pattern of a header's name (RFC 9110 section 5.6.2)."""


class Settings(BaseSettings):
    """What an operator can choose. Sizes take bytes or a unit (`800MiB`), times are in seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", validate_default=True)

    GROUPS: ClassVar[Mapping[str, str]] = {
        "host": "Serving",
        "data_dir": "Where things are kept",
        "accept": "What is accepted",
        "body_idle_timeout": "Uploads",
        "failed_retention": "Retention",
        "scheduler": "Processing",
        "log_level": "Logging",
    }

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(1, ge=1, le=256, description="Number of serving processes.")
    root_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="Prefix under which a proxy publishes the server, such as `/video`; the proxy strips it.",
    )
    trusted_proxies: Names = Field(
        ("127.0.0.1", "::1"),
        description="Addresses or networks of proxies whose `Forwarded` and `X-Forwarded-*` headers count, "
        "separated by commas; `*` trusts everybody, an empty value nobody.",
    )
    cors_origins: Names = Field(
        ("*",),
        description="Web origins whose pages may upload, by tus or by form, ask for the status and read what was made "
        "of videos, separated by commas; `*` is any, without credentials.",
    )
    cors_allow_headers: Names = Field(
        (),
        description="Names of request headers, separated by commas, that pages of `cors_origins` may send beside those "
        "that Videodock reads, such as `traceparent,X-CSRF-Token`. With `cors_origins=*` they may send any.",
    )
    http: Literal["videodock", "portable"] = Field(
        "videodock",
        description="Who speaks HTTP: `videodock` limits request heads and delivers trailers, `portable` is uvicorn's "
        "own class and does neither.",
    )
    max_head_size: ByteSize = Field(
        ByteSize(128 << 10),
        ge=4 << 10,
        le=16 * _MIB,
        description="Largest request head, all its lines together, in bytes; not with `portable`. The default has room "
        "for the URLs of 1,000 parts that are joined.",
    )
    head_timeout: float = Field(
        30, gt=0, description="Seconds in which a request head must be there; not with `portable`."
    )
    keep_alive_timeout: float = Field(
        5,
        gt=0,
        description="Seconds after an answer at which a connection without another request is closed; not with "
        "`portable`. A proxy that keeps connections must close them earlier.",
    )
    shutdown_grace: int = Field(10, ge=0, description="Seconds that running requests get to end after a stop signal.")

    data_dir: Path = Field(Path("var"), description="Folder for uploads, results and the SQLite database.")
    database_url: str = Field(
        "",
        description="URL of the database, `sqlite:///file` or `postgresql://…`; "
        "empty is `videodock.db` in the data folder.",
    )
    database_pool_size: int = Field(
        10, ge=2, le=200, description="Connections to the database a process, and threads that use them."
    )

    accept: Literal["video", "any"] = Field(
        "video",
        description="What an upload may be: `video` checks name and first bytes, `any` takes every file.",
    )
    accept_types: Names = Field(
        ("default",),
        description="Which videos are accepted, by extensions with commas between them; another extension of the same "
        "type comes with each. `default` is mp4, mov, avi, mkv, wmv, flv and 3gp, and by tus webm and m4v as well; "
        "`all` adds ts (mts, m2ts, m2t), mpg (mpeg), ogv and mxf. `default,ts` is possible.",
    )
    tus_max_size: ByteSize = Field(ByteSize(10 * _GIB), ge=1, description="Largest upload by tus, in bytes.")
    max_file_size: ByteSize = Field(
        ByteSize(800 * _MIB), ge=1, description="Largest file of a multipart upload, in bytes."
    )
    max_files: int = Field(50, ge=1, le=1000, description="Most files of one task: of a form, or of tus uploads.")
    disk_reserve: str = Field(
        "auto",
        description="Room that uploads leave free on the disk of the data folder, in bytes or with a unit (`10GiB`); "
        "`auto` is 5% of the disk, 2 GiB at most. An upload that would not leave it gets 507, and so does one "
        "that has no room beside what was promised to others.",
    )

    max_connections: int = Field(
        4000,
        ge=1,
        description="Connections that a serving process has at once; a request on one more gets 503 and is to be tried "
        "again, unless a connection whose client took nothing of its answer for 10 seconds can be reset. Not with "
        "`portable`.",
    )
    max_bodies: int = Field(
        2000,
        ge=1,
        description="Request bodies that a serving process receives at once; a request with one more gets 503 and is "
        "to be tried again.",
    )
    body_idle_timeout: float = Field(
        60,
        gt=0,
        description="Seconds without a byte after which a request body is given up; what came is kept. Holds for "
        "clients that take a download or any other answer, too: a connection whose client takes none of it for so long "
        "is reset (not with `portable`).",
    )
    body_min_rate: ByteSize = Field(
        ByteSize(64),
        ge=0,
        description="Bytes a second below which a request body is given up too, once its average is lower for longer "
        "than `body_idle_timeout`; what came is kept, 0 is no limit. By default one network packet buys 20 seconds: "
        "no bad line is that slow, and a byte a second holds nothing for ever.",
    )
    tus_engine: Literal["videodock", "tuspyserver"] = Field(
        "videodock",
        description="Who receives uploads by tus: `videodock` is our own engine, `tuspyserver` the package of "
        "that name, behind the same rules and over the same store.",
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
        description="Whether GET on a complete upload hands out the original: `on` gives it to everybody who knows the "
        "upload's URL, `off` to nobody. Originals are private and nobody is authenticated yet, hence `off`.",
    )
    form_answer_expiry: int = Field(
        86400,
        ge=1,
        description="Seconds for which a form that came with an `Idempotency-Key` is answered again as it was.",
    )
    sweep_interval: float = Field(60, gt=0, description="Seconds between two sweeps for expired uploads and leftovers.")

    failed_retention: int = Field(
        30 * 86400,
        ge=0,
        description="Seconds after the end of a failed or cancelled task, or of a failed file, at which its originals "
        "are removed; 0 is never.",
    )
    original_retention: int = Field(
        0, ge=0, description="Seconds after the end of its task at which an original is removed; 0 is never."
    )
    result_retention: int = Field(
        0,
        ge=0,
        description="Seconds after the end of a task at which what was made of its videos is removed; 0 is never.",
    )
    quarantine_retention: int = Field(
        30 * 86400,
        ge=0,
        description="Seconds after the end of its task at which a file in quarantine is removed; 0 is never.",
    )
    event_retention: int = Field(
        90 * 86400, ge=0, description="Seconds after which events of tasks that have ended are removed; 0 is never."
    )
    row_retention: int = Field(
        0,
        ge=0,
        description="Seconds after which rows of tasks and uploads that have ended are removed, once nothing of them "
        "lies on the disk; reports count them. 0 is never.",
    )

    scheduler: Literal["embedded", "celery", "none"] = Field(
        "embedded",
        description="Who processes finished uploads: `embedded` is this server, `celery` are Celery workers on any "
        "number of machines, `none` leaves it to `videodock worker`.",
    )
    encode_limit: int = Field(
        0, ge=0, le=1024, description="Tasks processed at the same time on this machine; 0 is one a core."
    )
    task_lease: float = Field(
        30, ge=3, description="Seconds after which a task whose worker fell silent is given to another."
    )
    task_max_attempts: int = Field(3, ge=1, description="Crashed attempts after which a task is given up as failed.")
    step_time_limit: float = Field(600, gt=0, description="Seconds that one step may take for one file at most.")
    step_memory_limit: ByteSize = Field(
        ByteSize(4 * _GIB), ge=512 * _MIB, description="Address space that one step may use, in bytes."
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
        description="Tasks of one owner that are processed at the same time; 0 is no limit. All uploads have the same "
        "owner so far, `default`: the limit counts for all tasks together until requests are authenticated.",
    )
    task_retry_pause: float = Field(
        5,
        gt=0,
        description="Seconds until a step that failed, and not by the file's fault, is tried again; twice as long "
        "after each further failure, up to five minutes.",
    )
    transcode: Literal["none", "mp4", "hls", "both"] = Field(
        "mp4",
        description="What is made for playing: `mp4` is one file that every browser plays, `hls` a playlist with "
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
        description="Seconds that the making of one MP4, or of all sizes of HLS, may take for one file at most; "
        "a short or small video gets less, by its pixels and bytes.",
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
        "are not scanned. With one, nothing passes unscanned: while it is away, tasks wait.",
    )
    # clamd calls a file of 2 GiB and more clean without having looked at it.
    scan_max_size: ByteSize = Field(
        ByteSize(25 * _MIB),
        ge=1,
        le=2047 * _MIB,
        description="Largest file that the scanner takes, in bytes; no more than clamd's own `StreamMaxLength` and "
        "`MaxFileSize`, beyond which it does not look.",
    )
    scan_too_large: Literal["refuse", "mark"] = Field(
        "refuse",
        description="What becomes of larger files, where a scanner is set: `refuse` does not let them in, `mark` "
        "processes them and says that they were not scanned.",
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
        description="Where Celery finds its broker, `amqp://…` (RabbitMQ) or `redis://…`.",
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="Form of a log line: `auto` is `console` on a terminal and `json` elsewhere."
    )

    @field_validator("trusted_proxies", "cors_origins", "cors_allow_headers", "accept_types", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from ipaddress import ip_network

        for part in value:
            if part != "*":
                ip_network(part)
        return value

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for part in value:
            if part != "*" and not re.fullmatch(r"https?://[^/\s]+", part):
                raise ValueError("an origin looks like https://www.example.org, without a path")
        return value

    @field_validator("cors_allow_headers")
    @classmethod
    def _check_header_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for part in value:
            if not re.fullmatch(TOKEN, part):
                raise ValueError("the name of a header has letters, digits and hyphens, such as X-CSRF-Token")
        return value

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

    @field_validator("database_url")
    @classmethod
    def _check_database(cls, value: str) -> str:
        if value.startswith(("postgresql://", "postgres://")):
            value = "postgresql+psycopg://" + value.partition("://")[2]
        if value and not value.startswith(("sqlite:///", "postgresql+psycopg://")):
            raise ValueError("a database URL starts with sqlite:/// or postgresql:// (or postgresql+psycopg://)")
        return value

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("disk_reserve")
    @classmethod
    def _check_reserve(cls, value: str) -> str:
        if value != "auto":
            TypeAdapter(ByteSize).validate_python(value)
        return value

    @property
    def sqlalchemy_url(self) -> str:
        """The database's URL, with the default filled in."""
        return self.database_url or f"sqlite:///{self.data_dir / 'videodock.db'}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line, environment, TOML file."""
        file = os.environ.get(PREFIX + "CONFIG", "videodock.toml")
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=Path(file))


def load(**given: Any) -> Settings:
    """Settings from all sources; raises `StartError` with a sentence for a value that cannot be."""
    file = os.environ.get(PREFIX + "CONFIG")
    if file and not Path(file).is_file():
        raise StartError(f"{PREFIX}CONFIG names {file!r}, and there is no such file.")
    try:
        return Settings(**given)
    except ValidationError as error:
        raise StartError("\n".join(_explain(dict(item)) for item in error.errors())) from None
    except ValueError as error:  # a TOML file that cannot be read
        raise StartError(f"The settings file {file or 'videodock.toml'!r} cannot be read: {error}") from None


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Environment variables that look like settings but are none: most likely misspelt."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {PREFIX + "CONFIG"}
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in known)


def _explain(item: dict[str, Any]) -> str:
    name = str(item["loc"][0]) if item["loc"] else "settings"
    if item["type"] == "extra_forbidden":
        return f"{name}: there is no such setting; `videodock settings` lists them all."
    option = "--" + name.replace("_", "-")
    return (
        f"The setting {name} ({option}, {PREFIX}{name.upper()}) is {_shown(name, item['input'])}, "
        f"which is not possible: {_allowed(name, item)}."
    )


def _allowed(name: str, item: Mapping[str, Any]) -> str:
    """What the setting may be."""
    field = Settings.model_fields.get(name)
    if field is None or item["type"] == "value_error":
        return str(item["msg"]).removeprefix("Value error, ")
    if name == "clamd":
        return "it is unix:/path/of/the/socket or tcp://host:port"
    if name == "root_path":
        return "it begins with / and does not end with one, such as /video"
    kinds = {int: "a whole number", float: "a number", ByteSize: "a size in bytes or with a unit, such as 800MiB"}
    kind = kinds.get(field.annotation) if isinstance(field.annotation, type) else None
    if kind is None:
        return str(item["msg"]).replace("Input should be", "it must be")
    shown = _size if field.annotation is ByteSize else str
    words = {"ge": "at least", "gt": "more than", "le": "at most"}
    bounds = [(words[key], getattr(part, key, None)) for part in field.metadata for key in words]
    return ", ".join([f"it must be {kind}", *(f"{word} {shown(bound)}" for word, bound in bounds if bound is not None)])


def _size(number: int) -> str:
    units = (("GiB", _GIB), ("MiB", _MIB))
    return next((f"{number // factor}{unit}" for unit, factor in units if number and number % factor == 0), str(number))


def _shown(name: str, value: object) -> str:
    # What is wrong with such a URL may be its form, so no pattern finds the password in it for certain.
    if name not in ("database_url", "broker_url"):
        return repr(value)
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", str(value))
    return f"'{scheme[0]}…'" if scheme else "something not shown here, as it may hold a password"
