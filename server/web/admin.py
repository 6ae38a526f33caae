"""`/api/admin/…`: what an operator looks at and changes; for the scope `admin`, or for everybody where `auth` is off.

Rules:

- Pages of other origins have no access, whatever `cors_origins` says: with `auth` off, any page that an operator visits
  could use it otherwise.
- A key is in the answer that made it, and in no other. Secrets of settings are never shown.
- Everything that changes something is in the audit log.
"""

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection
from starlette.responses import JSONResponse, Response

from server.auth import access_lists, owners
from server.auth.access_lists import AuditFilter, Place
from server.auth.audit import Entry
from server.auth.authenticator import client_address
from server.auth.principal import Principal, Scope, is_owner
from server.bootstrap import Services
from server.database.access_models import ApiKey, AuditEntry, Grant
from server.errors import (
    CursorInvalidError,
    FieldInvalidError,
    GrantNotFoundError,
    KeyNotFoundError,
    MethodNotAllowedError,
)
from server.messages import Language, sentence
from server.messages.settings import CHINESE
from server.settings import URLS, Settings
from server.settings.shown import SECRETS, default, masked, sources, text, variable
from server.uploads.quotas import LIMITS
from server.uploads.usage import OwnerUsage
from server.web.described import DescribedRoute
from server.web.endpoint import Call, endpoint
from server.web.errors import api_response, language
from server.web.health import Check, Probes
from server.web.json_body import read_object
from server.web.openapi import admin as described
from server.web.openapi.operation import Operations
from server.web.overview import DoctorRuns, Overview
from server.web.query import Query

_NO_STORE = {"Cache-Control": "no-store"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLACE = re.compile(r"([0-9]{1,17})\.([0-9a-f]{1,16})")
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_IS_ID = re.compile(r"[0-9a-f]{12}").fullmatch

_Handle = Callable[[Call, Principal | None], Awaitable[Response]]


def routes(services: Services, checks: Mapping[str, Check], hints: frozenset[str]) -> list[DescribedRoute]:
    """All routes. `checks` and `hints` are those of `/readyz`."""
    admin = _Admin(services)
    overview = Overview(services, Probes(checks, services.metrics), hints)
    doctor = DoctorRuns(services.settings)

    async def look(call: Call, _: Principal | None) -> Response:
        return JSONResponse(await overview.make(language(call.scope, "zh")), headers=_NO_STORE)

    async def examine(call: Call, _: Principal | None) -> Response:
        return JSONResponse(await doctor.find(language(call.scope, "zh")), headers=_NO_STORE)

    table: tuple[tuple[str, Mapping[str, _Handle], Operations], ...] = (
        ("overview", {"GET": look}, described.OVERVIEW),
        ("owners", {"GET": admin.owners, "PATCH": admin.limit}, described.OWNERS),
        ("keys", {"GET": admin.keys, "POST": admin.add_key}, described.KEYS),
        ("keys/{key_id}", {"DELETE": admin.revoke_key}, described.KEY),
        ("grants", {"GET": admin.grants}, described.GRANTS),
        ("grants/{grant_id}", {"DELETE": admin.revoke_grant}, described.GRANT),
        ("audit", {"GET": admin.audit}, described.AUDIT),
        ("settings", {"GET": admin.settings}, described.SETTINGS),
        ("doctor", {"GET": examine}, described.DOCTOR),
    )
    made = []
    for name, handlers, operations in table:
        path = f"/api/admin/{name}"
        handle = partial(admin.dispatch, handlers)
        made.append(
            DescribedRoute(path, endpoint(handle, api_response, route=path, intake=services.intake), operations)
        )
    return made


class _Admin:
    def __init__(self, services: Services) -> None:
        self._settings = services.settings
        self._places = sources(services.settings)
        self._authenticator = services.auth.authenticator
        self._audit = services.auth.audit
        self._clock = services.clock
        self._database = services.database
        self._grants = services.auth.grants
        self._keys = services.auth.keys
        self._quotas = services.quotas

    async def dispatch(self, handlers: Mapping[str, _Handle], call: Call) -> Response:
        method = "GET" if call.head.method == "HEAD" else call.head.method
        if method not in handlers:
            names = [*handlers, *(["HEAD"] if "GET" in handlers else [])]
            raise MethodNotAllowedError(method=call.head.method, allowed=", ".join(names))
        principal = None
        if self._settings.auth == "on":
            principal = await self._authenticator.principal(call.scope)
            principal.check(Scope.ADMIN)
        return await handlers[method](call, principal)

    # Owners

    async def owners(self, call: Call, _: Principal | None) -> Response:
        query = Query(call.request)
        limit, after = _limit(query), _name_of(query.one("cursor"))

        def look() -> tuple[list[dict[str, Any]], str | None]:
            with self._database.read() as session:
                names = owners.page(session, after, limit + 1)
                found = [self._owner(session.connection(), name) for name in names[:limit]]
                return found, names[limit - 1] if len(names) > limit else None

        found, last = await self._database.run(look)
        return _page("owners", found, None if last is None else _cursor_of(last))

    async def limit(self, call: Call, principal: Principal | None) -> Response:
        body = await read_object(call)
        owner = body.pop("owner", None)
        if not is_owner(owner):
            raise FieldInvalidError(field="owner", reason="field_type", expected='"ann"')
        limits = _limits(body)

        def change() -> dict[str, Any]:
            with self._database.write() as session:
                owners.set_limits(session, owner, limits, self._clock())
            with self._database.read() as session:
                return self._owner(session.connection(), owner)

        shown = await self._database.run(change)
        await self._record(call, principal, "owner_limits_set", "owner", owner, owner, **limits)
        return JSONResponse({"success": True, "owner": shown}, headers=_NO_STORE)

    def _owner(self, connection: Connection, owner: str) -> dict[str, Any]:
        own = self._quotas.own_limits(connection, owner)
        of_settings = {name: int(getattr(self._settings, f"owner_{name}")) for name in LIMITS}
        return {
            "owner": owner,
            "usage": asdict(OwnerUsage(connection, owner, self._clock()).all()),
            "limits": {name: of_settings[name] if own[name] is None else own[name] for name in LIMITS},
            "own_limits": dict(own),
        }

    # Keys and grants

    async def keys(self, call: Call, _: Principal | None) -> Response:
        rows, last = await self._rows(call, access_lists.keys, lambda row: row)
        return _page("keys", [self._key(row) for row in rows], last)

    async def add_key(self, call: Call, principal: Principal | None) -> Response:
        owner, scopes, expires_in = _new_key(await read_object(call))
        expires_at = None if expires_in is None else self._clock() + timedelta(seconds=expires_in)
        row, secret = await self._database.run(self._keys.create, owner, scopes, expires_at)
        names = sorted(scope.value for scope in scopes)
        await self._record(call, principal, "key_created", "key", row.id, owner, scopes=names)
        return JSONResponse({"success": True, "key": self._key(row), "text": secret}, 201, headers=_NO_STORE)

    async def revoke_key(self, call: Call, principal: Principal | None) -> Response:
        key_id = str(call.request.path_params["key_id"])
        if not _IS_ID(key_id) or not await self._database.run(self._keys.revoke, key_id):
            raise KeyNotFoundError
        self._keys.memory.forget(key_id)
        await self._record(call, principal, "key_revoked", "key", key_id, None)
        return _done(call, "key_made_invalid")

    async def grants(self, call: Call, _: Principal | None) -> Response:
        rows, last = await self._rows(call, access_lists.grants, lambda row: row[0])
        return _page("grants", [self._grant(row, used) for row, used in rows], last)

    async def revoke_grant(self, call: Call, principal: Principal | None) -> Response:
        grant_id = str(call.request.path_params["grant_id"])
        if not _IS_ID(grant_id) or not await self._database.run(self._grants.revoke, grant_id):
            raise GrantNotFoundError
        self._grants.memory.forget(grant_id)
        await self._record(call, principal, "grant_revoked", "grant", grant_id, None)
        return _done(call, "grant_made_invalid")

    async def _rows(
        self, call: Call, find: Callable[..., Sequence[Any]], row_of: Callable[[Any], Any]
    ) -> tuple[Sequence[Any], str | None]:
        """A page of rows, and the cursor of the next one."""
        query = Query(call.request)
        owner, limit, after = _owner_of(query), _limit(query), _place_of(query.one("cursor"))

        def look() -> Sequence[Any]:
            with self._database.read() as session:
                return find(session, owner, after, limit + 1)

        found = await self._database.run(look)
        if len(found) <= limit:
            return found, None
        last = row_of(found[limit - 1])
        return found[:limit], f"{(last.created_at - _EPOCH) // timedelta(microseconds=1)}.{last.id}"

    def _key(self, row: ApiKey) -> dict[str, Any]:
        return {
            "id": row.id,
            "owner": row.owner,
            "scopes": row.scopes,
            "state": self._state(row),
            "created_at": _moment(row.created_at),
            "expires_at": _moment(row.expires_at),
            "revoked_at": _moment(row.revoked_at),
            "last_used_at": _moment(row.last_used_at),
        }

    def _grant(self, row: Grant, used: int) -> dict[str, Any]:
        return {
            "id": row.id,
            "owner": row.owner,
            "created_by": row.created_by,
            "state": self._state(row),
            "created_at": _moment(row.created_at),
            "expires_at": _moment(row.expires_at),
            "revoked_at": _moment(row.revoked_at),
            "uploads": row.uploads,
            "used": used,
            "filename": row.filename,
            "task": row.task,
        }

    def _state(self, row: ApiKey | Grant) -> str:
        if row.revoked_at is not None:
            return "revoked"
        return "expired" if row.expires_at is not None and row.expires_at <= self._clock() else "valid"

    # What was done, and what is set

    async def audit(self, call: Call, _: Principal | None) -> Response:
        query = Query(call.request)
        wanted = AuditFilter(
            owner=_owner_of(query),
            action=query.text("action", 32) or None,
            since=query.moment("from"),
            until=query.moment("to"),
        )
        cursor, limit = query.one("cursor"), _limit(query)
        if cursor and not _NUMBER.fullmatch(cursor):
            raise CursorInvalidError

        def look() -> tuple[Sequence[AuditEntry], int | None]:
            with self._database.read() as session:
                return access_lists.audit(session, wanted, int(cursor) if cursor else None, limit)

        found, last = await self._database.run(look)
        return _page("entries", [_entry(row) for row in found], None if last is None else str(last))

    async def settings(self, call: Call, _: Principal | None) -> Response:
        shown = _settings(self._settings, self._places, language(call.scope, "zh"))
        return JSONResponse({"success": True, "settings": shown}, headers=_NO_STORE)

    async def _record(
        self,
        call: Call,
        principal: Principal | None,
        action: str,
        kind: str,
        object_id: str,
        owner: str | None,
        **details: Any,
    ) -> None:
        if principal is None:  # without authentication there is no actor to record
            return
        about = {"object_kind": kind, "object_id": object_id, "address": client_address(call.scope)}
        await self._audit.record(Entry.by(principal, action, object_owner=owner, details=details or None, **about))


def _settings(settings: Settings, places: Mapping[str, str], reader: Language) -> list[dict[str, Any]]:
    """All settings as text, in the order of the documents, described in the reader's language."""
    made = []
    for name, field in Settings.model_fields.items():
        value = text(getattr(settings, name))
        made.append(
            {
                "name": name,
                "variable": variable(name),
                "value": masked(name, value),
                "default": default(name),
                "description": CHINESE[name] if reader == "zh" else field.description or "",
                "source": places[name],
                "is_default": value == default(name),
                "is_secret": name in SECRETS or name in URLS,
            }
        )
    return made


def _entry(row: AuditEntry) -> dict[str, Any]:
    names = ("id", "action", "actor", "owner", "object_kind", "object_id", "object_owner", "address", "request_id")
    return {**{name: getattr(row, name) for name in names}, "at": _moment(row.at), "details": row.details}


# What comes in


def _limit(query: Query) -> int:
    return query.number("limit", described.LIMIT, 1, described.MOST)


def _owner_of(query: Query) -> str | None:
    owner = query.one("owner")
    if owner is not None and not is_owner(owner):
        raise FieldInvalidError(field="owner", reason="field_type", expected='"ann"')
    return owner


def _place_of(cursor: str | None) -> Place | None:
    if not cursor:
        return None
    match = _PLACE.fullmatch(cursor)
    if match is None:
        raise CursorInvalidError
    try:
        return Place(_EPOCH + timedelta(microseconds=int(match[1])), match[2])
    except OverflowError:
        raise CursorInvalidError from None


def _cursor_of(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _name_of(cursor: str | None) -> str | None:
    if not cursor:
        return None
    try:
        return base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        raise CursorInvalidError from None


def _limits(body: Mapping[str, Any]) -> dict[str, int | None]:
    """The limits to set; None is the setting's."""
    for name, value in body.items():
        if name not in LIMITS:
            raise FieldInvalidError(field=name[:64], reason="field_unknown")
        is_number = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
        if value is not None and not is_number:
            raise FieldInvalidError(field=name, reason="field_type", expected="0, 1, 2, …, null")
    return dict(body)


def _new_key(body: Mapping[str, Any]) -> tuple[str, frozenset[Scope], int | None]:
    for name in body:
        if name not in ("owner", "scopes", "expires_in"):
            raise FieldInvalidError(field=name[:64], reason="field_unknown")
    owner, words, expires_in = body.get("owner"), body.get("scopes"), body.get("expires_in")
    if not is_owner(owner):
        raise FieldInvalidError(field="owner", reason="field_type", expected='"ann"')
    known = {scope.value: scope for scope in Scope}
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word in known for word in words):
        raise FieldInvalidError(field="scopes", reason="field_type", expected='["upload", "read", "manage"]')
    is_number = isinstance(expires_in, int) and not isinstance(expires_in, bool)
    if expires_in is not None and not (is_number and described.LEAST_KEY <= expires_in <= described.MOST_KEY):
        least, most = described.LEAST_KEY, described.MOST_KEY
        raise FieldInvalidError(field="expires_in", reason="field_range", least=least, most=most)
    return owner, frozenset(known[word] for word in words), expires_in


# What goes out


def _page(name: str, rows: Sequence[Mapping[str, Any]], following: str | None) -> Response:
    return JSONResponse({"success": True, name: rows, "next": following}, headers=_NO_STORE)


def _done(call: Call, code: str) -> Response:
    message = sentence(code, {}, language(call.scope, "zh"))
    return JSONResponse({"success": True, "message": message}, headers=_NO_STORE)


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
