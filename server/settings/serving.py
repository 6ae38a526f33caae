"""Settings of the HTTP server: addresses, proxies, origins, and limits of connections and heads."""

import re
from ipaddress import ip_network
from typing import Literal

from pydantic import BaseModel, ByteSize, Field, field_validator

from server.settings.types import MIB, TOKEN, Names


class ServingSettings(BaseModel):
    """Addresses, proxies, origins and request heads."""

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
        "separated by commas; `*` trusts every address, an empty value none.",
    )
    cors_origins: Names = Field(
        ("*",),
        description="Web origins whose pages may upload, by tus or by form, ask for the status and read the results "
        "of videos, separated by commas; `*` is any, without credentials.",
    )
    cors_allow_headers: Names = Field(
        (),
        description="Names of request headers, separated by commas, that pages of `cors_origins` may send beside those "
        "that Videodock reads, such as `traceparent,X-CSRF-Token`. With `cors_origins=*` they may send any.",
    )
    embed_ancestors: Names = Field(
        (),
        description="Web origins, separated by commas, whose pages may show the player at `/embed/…` in a frame, such "
        "as `https://www.example.org` or `https://*.example.org`; `*` is any, and empty only pages of this server. No "
        "other page of this server may be framed.",
    )
    docs: Literal["on", "off"] = Field(
        "on",
        description="Whether `/openapi.json` describes the HTTP interface and `/docs` shows it, to everybody; `off`: "
        "both are 404.",
    )
    http: Literal["videodock", "portable"] = Field(
        "videodock",
        description="HTTP implementation: `videodock` limits request heads and delivers trailers, `portable` is "
        "uvicorn's own class and does neither.",
    )
    max_head_size: ByteSize = Field(
        ByteSize(128 << 10),
        ge=4 << 10,
        le=16 * MIB,
        description="Largest request head, all its lines together, in bytes; not with `portable`. The default has room "
        "for the URLs of 1,000 parts that are joined.",
    )
    head_timeout: float = Field(
        30, gt=0, description="Seconds in which a whole request head must arrive; not with `portable`."
    )
    keep_alive_timeout: float = Field(
        5,
        gt=0,
        description="Seconds after an answer at which a connection without another request is closed; not with "
        "`portable`. A proxy that keeps connections must close them earlier.",
    )
    drain_seconds: float = Field(
        0,
        ge=0,
        le=600,
        description="Seconds after a stop signal in which everything is still served and `/readyz` is 503 already, so "
        "that a load balancer sends its requests elsewhere; then `shutdown_grace` begins. A second signal ends it.",
    )
    shutdown_grace: int = Field(10, ge=0, description="Seconds that running requests get to end after a stop signal.")

    @field_validator("trusted_proxies")
    @classmethod
    def _check_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
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

    @field_validator("embed_ancestors")
    @classmethod
    def _check_ancestors(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for part in value:
            if part != "*" and not re.fullmatch(r"https?://(\*\.)?[A-Za-z0-9.-]+(:[0-9]{1,5})?", part):
                raise ValueError("an origin looks like https://www.example.org, without a path")
        return value

    @field_validator("cors_allow_headers")
    @classmethod
    def _check_header_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for part in value:
            if not re.fullmatch(TOKEN, part):
                raise ValueError("the name of a header has letters, digits and hyphens, such as X-CSRF-Token")
        return value
