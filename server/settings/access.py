"""Settings of who may do what: authentication, playback, quotas, rates and the audit log."""

import re
from typing import Literal

from pydantic import BaseModel, ByteSize, Field, field_validator

from server.settings.types import TOKEN, Names

_RATE = re.compile(r"[1-9][0-9]{0,6}/(second|minute|hour|day)")
_SCOPES = ("upload", "read", "manage", "admin")
_ALGORITHMS = ("HS256", "RS256", "PS256", "ES256", "EdDSA")


class AccessSettings(BaseModel):
    """Credentials, sessions, signed playback, quotas, rates and the audit log."""

    auth: Literal["off", "on"] = Field(
        "off",
        description="Whether requests need a credential: `off` allows everything to every client, and is meant for a "
        "server that only this machine reaches; `on` asks for one for everything; the URL of an upload is enough to "
        "continue, follow and delete it.",
    )
    allow_anonymous: Literal["off", "on"] = Field(
        "off",
        description="Whether a server with `auth` off may listen on an address that other machines reach; the option "
        "`--allow-anonymous` alone is `on`.",
    )
    allowed_hosts: Names = Field(
        (),
        description="Names, separated by commas, that the `Host` of a request may have, such as `videos.example.org`; "
        "empty allows every name.",
    )
    jwt_secret: str = Field(
        "",
        description="Secret of tokens (JWT) that are signed by HS256, at least 32 characters; empty: none are. "
        "It belongs into the environment or a file: other users of the machine see options of a command.",
    )
    jwt_jwks: str = Field(
        "",
        description="Public keys of tokens (JWT): a file, or an https URL, of a JSON Web Key Set; empty: no such "
        "tokens are accepted.",
    )
    jwt_algorithms: Names = Field(
        ("RS256", "ES256"),
        description="Algorithms that a token verified by `jwt_jwks` may have, separated by commas: RS256, PS256, ES256 "
        "and EdDSA. A token verified by `jwt_secret` has HS256.",
    )
    jwt_issuer: str = Field("", description="What `iss` of a token must be; empty: anything.")
    jwt_audience: str = Field("", description="What `aud` of a token must contain; empty: anything.")
    jwt_owner_claim: str = Field("sub", description="The claim of a token that names the owner.")
    jwt_scope_claim: str = Field(
        "scope",
        description="The claim of a token that has the scopes, as a list or as words with spaces between them.",
    )
    jwt_default_scopes: Names = Field(
        ("upload", "read", "manage"), description="Scopes of a token without the claim `jwt_scope_claim`."
    )
    jwt_leeway: int = Field(
        30, ge=0, le=600, description="Seconds by which the clock of the issuer of tokens may differ from ours."
    )
    auth_url: str = Field(
        "",
        description="A URL of yours that is asked whether an upload may be created, when a request has no other "
        "credential; empty: there is no such service. It is never asked for the chunks of an upload. The size of a "
        "form is that of its whole body.",
    )
    auth_url_headers: Names = Field(
        ("cookie", "authorization"),
        description="Request headers that `auth_url` gets, separated by commas.",
    )
    auth_url_timeout: float = Field(5, gt=0, le=60, description="Seconds that `auth_url` has for its answer.")
    auth_proxy_header: str = Field(
        "",
        description="Request header in which a proxy of `trusted_proxies` names the owner that it has authenticated, "
        "such as `X-Forwarded-User`; empty: none does. The proxy must set or remove it on every request, otherwise a "
        "client names itself.",
    )
    session_idle: int = Field(
        8 * 3600, ge=60, description="Seconds after its last request at which a sign-in on the page ends."
    )
    session_lifetime: int = Field(7 * 86400, ge=60, description="Seconds after which a sign-in on the page ends.")
    playback: Literal["auto", "public", "signed"] = Field(
        "auto",
        description="Who may see results: `public` is anyone who knows their URL, `signed` needs the signed URL that "
        "the status has, or a credential of the owner; `auto` is `signed` with `auth` on, else `public`.",
    )
    playback_url_ttl: int = Field(
        6 * 3600, ge=60, description="Seconds for which a signed URL of a result is valid at least."
    )
    owner_stored_bytes: ByteSize = Field(
        ByteSize(0), ge=0, description="Most bytes of all uploads that an owner has, complete and open; 0 is no limit."
    )
    owner_open_bytes: ByteSize = Field(
        ByteSize(0), ge=0, description="Most bytes of the uploads of an owner that are open at once; 0 is no limit."
    )
    owner_open_uploads: int = Field(
        0, ge=0, description="Most uploads of an owner that are open at once; 0 is no limit."
    )
    owner_daily_bytes: ByteSize = Field(
        ByteSize(0), ge=0, description="Most bytes that an owner may create in a day of UTC; 0 is no limit."
    )
    owner_waiting_tasks: int = Field(0, ge=0, description="Most tasks of an owner that have not ended; 0 is no limit.")
    rate_owner: str = Field(
        "",
        description="Most creations of uploads and forms by one owner, such as `100/minute`; empty is no limit. "
        "Requests that continue an upload do not count.",
    )
    rate_address: str = Field(
        "",
        description="Most creations of uploads and forms by one address (IPv6: by its /64 network), such as "
        "`100/minute`; empty is no limit.",
    )
    rate_failures: str = Field(
        "30/minute", description="Most requests with an invalid credential from one address; empty is no limit."
    )
    redis_url: str = Field(
        "",
        description="Redis that counts the rates for all processes together, keeps the state of running tasks for "
        "polls and wakes live events, such as `redis://127.0.0.1:6379/0`; empty: each process counts for itself, and "
        "the database answers.",
    )
    audit_retention: int = Field(
        365 * 86400, ge=0, description="Seconds after which entries of the audit log are deleted; 0 keeps them."
    )

    @field_validator("rate_owner", "rate_address", "rate_failures")
    @classmethod
    def _check_rate(cls, value: str) -> str:
        if value and not _RATE.fullmatch(value):
            raise ValueError("a rate is a number and second, minute, hour or day, such as 100/minute")
        return value

    @field_validator("jwt_secret")
    @classmethod
    def _check_secret(cls, value: str) -> str:
        if value and len(value) < 32:
            raise ValueError("it must have at least 32 characters; `openssl rand -hex 32` makes one")
        return value

    @field_validator("jwt_jwks")
    @classmethod
    def _check_jwks(cls, value: str) -> str:
        if "://" in value and not value.startswith("https://"):
            raise ValueError("it must be the path of a file, or a URL that begins with https://")
        return value

    @field_validator("auth_url")
    @classmethod
    def _check_auth_url(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[^\s/]+\S*", value):
            raise ValueError("it must be a URL that begins with http:// or https://")
        return value

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, value: str) -> str:
        if value and not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("it must be a URL such as redis://127.0.0.1:6379/0")
        return value

    @field_validator("jwt_algorithms")
    @classmethod
    def _check_algorithms(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in _ALGORITHMS[1:]:
                raise ValueError(f"choose of {', '.join(_ALGORITHMS[1:])}")
        return value

    @field_validator("jwt_default_scopes")
    @classmethod
    def _check_scopes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in _SCOPES:
                raise ValueError(f"choose of {', '.join(_SCOPES)}")
        return value

    @field_validator("auth_url_headers", "auth_proxy_header")
    @classmethod
    def _check_names_of_headers(cls, value: tuple[str, ...] | str) -> tuple[str, ...] | str:
        names = (value,) if isinstance(value, str) else value
        for name in names:
            if name and not re.fullmatch(TOKEN, name):
                raise ValueError("the name of a header has letters, digits and hyphens, such as X-Forwarded-User")
        return value

    @property
    def signs_playback(self) -> bool:
        """Whether results need a signed URL, or a credential."""
        return self.playback == "signed" or (self.playback == "auto" and self.auth == "on")
