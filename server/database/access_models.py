"""The tables of who may do what: keys, grants, shares, sessions, limits of owners, and the audit log.

Rules:

- Of a credential only its SHA-256 is stored: credentials are random and long, so that a hash does not reveal one.
- `signing_keys` are secrets. A reader of them could make URLs of uploads and videos; reports need the other tables.
- `audit_log` is only added to, until its rows are older than the setting `audit_retention`.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Float, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from server.database.base import COUNTER, Base


class ApiKey(Base):
    """A key of the API, `vdk_<id>_<secret>`."""

    __tablename__ = "api_keys"
    __table_args__ = (Index(None, "owner"),)

    id: Mapped[str] = mapped_column(String(16), primary_key=True, doc="The part of the key that is no secret")
    secret_hash: Mapped[str] = mapped_column(String(64), doc="SHA-256 of the secret part, in hexadecimal")
    owner: Mapped[str] = mapped_column(doc="Whose uploads and tasks it is for")
    scopes: Mapped[list[str]] = mapped_column(JSON, doc="What it allows: `upload`, `read`, `manage`, `admin`")
    created_at: Mapped[datetime] = mapped_column(doc="When it was made (UTC)")
    expires_at: Mapped[datetime | None] = mapped_column(doc="From when it is refused (UTC); NULL: never")
    revoked_at: Mapped[datetime | None] = mapped_column(doc="When it was revoked (UTC)")
    last_used_at: Mapped[datetime | None] = mapped_column(doc="The hour in which it was used last (UTC)")


class SigningKey(Base):
    """A secret that signs URLs. The newest one signs, the others still verify until they are removed."""

    __tablename__ = "signing_keys"

    id: Mapped[str] = mapped_column(String(8), primary_key=True, doc="Names the key in what it signed")
    secret: Mapped[str] = mapped_column(String(64), doc="256 random bits, in hexadecimal; not for reports")
    created_at: Mapped[datetime] = mapped_column(doc="When it was made (UTC)")


class Grant(Base):
    """A permission to upload, for a phone that has no credential."""

    __tablename__ = "grants"
    __table_args__ = (Index(None, "owner", "created_at"), Index(None, "created_at", "id"), Index(None, "expires_at"))

    id: Mapped[str] = mapped_column(String(16), primary_key=True, doc="The part of the grant that is no secret")
    secret_hash: Mapped[str] = mapped_column(String(64), doc="SHA-256 of the secret part, in hexadecimal")
    owner: Mapped[str] = mapped_column(doc="Whose uploads they will be")
    created_by: Mapped[str] = mapped_column(doc="The credential that made it, such as `key:<id>`")
    created_at: Mapped[datetime] = mapped_column(doc="When it was made (UTC)")
    expires_at: Mapped[datetime] = mapped_column(doc="Until when it may create uploads (UTC)")
    revoked_at: Mapped[datetime | None] = mapped_column(doc="When it was revoked (UTC)")
    uploads: Mapped[int] = mapped_column(Integer, doc="How many uploads it may create")
    filename: Mapped[str | None] = mapped_column(doc="The only file name that it allows; NULL: any")
    size: Mapped[int | None] = mapped_column(doc="Bytes that each of its uploads has; NULL: any number")
    max_size: Mapped[int | None] = mapped_column(doc="Most bytes of an upload; NULL: as for everybody")
    max_duration: Mapped[float | None] = mapped_column(Float, doc="Most seconds of a video; NULL: any")
    types: Mapped[list[str] | None] = mapped_column(JSON, doc="Allowed types by extension; NULL: as for everybody")
    task: Mapped[str | None] = mapped_column(String(36), doc="The task that its uploads belong to, if one was chosen")
    upload_metadata: Mapped[dict[str, Any] | None] = mapped_column(JSON, doc="Metadata that its uploads get")
    allowed_origin: Mapped[str | None] = mapped_column(doc="The only web origin that it may be used from; NULL: any")


class GrantPlace(Base):
    """An upload that a grant may create, or has created."""

    __tablename__ = "grant_places"
    __table_args__ = (UniqueConstraint("upload_id"),)

    grant_id: Mapped[str] = mapped_column(
        ForeignKey("grants.id", ondelete="CASCADE"), primary_key=True, doc="Its grant"
    )
    place: Mapped[int] = mapped_column(Integer, primary_key=True, doc="Its number in the grant, from 1")
    upload_id: Mapped[str] = mapped_column(String(36), doc="The id that the upload has, or will have")
    fingerprint: Mapped[str | None] = mapped_column(
        String(64), doc="SHA-256 of the creation that took the place; NULL while it is free"
    )


class Share(Base):
    """A link by which a video is seen without a credential."""

    __tablename__ = "shares"
    __table_args__ = (UniqueConstraint("token_hash"), Index(None, "task_id", "created_at"), Index(None, "owner"))

    id: Mapped[str] = mapped_column(String(16), primary_key=True, doc="Names it in lists; no secret")
    token_hash: Mapped[str] = mapped_column(String(64), doc="SHA-256 of the last part of the link, in hexadecimal")
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), doc="The task that it shows")
    owner: Mapped[str] = mapped_column(doc="Owner of the task")
    created_by: Mapped[str] = mapped_column(doc="The credential that made it, such as `key:<id>`")
    created_at: Mapped[datetime] = mapped_column(doc="When it was made (UTC)")
    expires_at: Mapped[datetime | None] = mapped_column(doc="From when it shows nothing (UTC); NULL: never")
    revoked_at: Mapped[datetime | None] = mapped_column(doc="When it was revoked (UTC)")


class BrowserSession(Base):
    """Somebody who has signed in on the upload page."""

    __tablename__ = "browser_sessions"
    __table_args__ = (Index(None, "expires_at"),)

    id_hash: Mapped[str] = mapped_column(String(64), primary_key=True, doc="SHA-256 of the cookie, in hexadecimal")
    owner: Mapped[str] = mapped_column(doc="Whose uploads and tasks the page shows")
    scopes: Mapped[list[str]] = mapped_column(JSON, doc="What the session allows")
    credential: Mapped[str] = mapped_column(doc="What was shown at the sign-in, such as `key:<id>`")
    created_at: Mapped[datetime] = mapped_column(doc="When somebody signed in (UTC)")
    used_at: Mapped[datetime] = mapped_column(doc="When it was used last, to some minutes (UTC)")
    expires_at: Mapped[datetime] = mapped_column(doc="When it ends in any case (UTC)")


class OwnerLimits(Base):
    """Limits of one owner that differ from the settings."""

    __tablename__ = "owners"

    owner: Mapped[str] = mapped_column(primary_key=True, doc="The owner")
    stored_bytes: Mapped[int | None] = mapped_column(doc="Most bytes of complete and open uploads; NULL: the setting")
    open_bytes: Mapped[int | None] = mapped_column(doc="Most bytes of uploads open at once; NULL: the setting")
    open_uploads: Mapped[int | None] = mapped_column(doc="Most uploads open at once; NULL: the setting")
    daily_bytes: Mapped[int | None] = mapped_column(doc="Most bytes created on one day (UTC); NULL: the setting")
    waiting_tasks: Mapped[int | None] = mapped_column(doc="Most tasks that have not ended; NULL: the setting")
    updated_at: Mapped[datetime] = mapped_column(doc="When the limits were set last (UTC)")


class AuditEntry(Base):
    """Who did what from where to which object; rows are only added."""

    __tablename__ = "audit_log"
    __table_args__ = (Index(None, "at"), Index(None, "owner", "at"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(COUNTER, primary_key=True, doc="Rising number")
    at: Mapped[datetime] = mapped_column(doc="When (UTC)")
    action: Mapped[str] = mapped_column(
        String(32), doc="Such as `sign_in`, `sign_in_failed`, `key_created`, `grant_created`, `task_cancelled`"
    )
    actor: Mapped[str] = mapped_column(doc="The credential, such as `key:<id>`; `operator` for commands")
    owner: Mapped[str | None] = mapped_column(doc="Whom the credential belongs to; NULL where it is not known")
    object_kind: Mapped[str | None] = mapped_column(String(16), doc="`task`, `upload`, `key`, `grant`, …")
    object_id: Mapped[str | None] = mapped_column(String(64), doc="Its id")
    object_owner: Mapped[str | None] = mapped_column(doc="Whose it is, where that is another owner")
    address: Mapped[str | None] = mapped_column(String(64), doc="Address of the client; NULL for commands")
    request_id: Mapped[str | None] = mapped_column(String(64), doc="The request, as the log has it")
    details: Mapped[dict[str, Any] | None] = mapped_column(JSON, doc="Values of the action; never a secret")
