"""`/api/webhooks`: the endpoints of an owner, or of all owners for an administrator.

Rules:

- The scope `manage` allows to see and change the endpoints of the same owner; `admin` those of every owner, and those
  that get the events of all. What is foreign does not exist.
- A secret is in the answer that made it, and in no other.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from starlette.responses import JSONResponse, Response

from server.auth.audit import Entry
from server.auth.authenticator import client_address
from server.auth.principal import Principal, Scope, is_owner
from server.bootstrap import Services
from server.database.event_models import WebhookEndpoint
from server.errors import DeliveryNotFoundError, FieldInvalidError, WebhookNotFoundError
from server.events.webhooks import Logged
from server.messages import Language, sentence
from server.web.described import DescribedRoute
from server.web.endpoint import Call, Handle, by_method, endpoint
from server.web.errors import api_response, language
from server.web.json_body import read_object
from server.web.middleware.cors import for_api
from server.web.openapi import webhooks as described
from server.web.openapi.operation import Operations

PATH = "/api/webhooks"
_NO_STORE = {"Cache-Control": "no-store"}
_STATUSES = ("pending", "delivered", "dead")
_MOST_LISTED = 200
_NUMBER = 1 << 62
_IS_ID = re.compile(r"[a-z0-9]{1,16}").fullmatch
_IS_MESSAGE = re.compile(r"[a-z0-9_]{1,40}").fullmatch


def routes(services: Services) -> list[DescribedRoute]:
    """All routes of webhooks."""
    made = _Webhooks(services)
    one = PATH + "/{webhook_id}"
    table: tuple[tuple[str, Mapping[str, Handle], Operations], ...] = (
        (PATH, {"GET": made.list, "POST": made.add}, described.ALL),
        (one, {"GET": made.show, "PATCH": made.change, "DELETE": made.remove}, described.ONE),
        (one + "/rotate", {"POST": made.rotate}, described.ROTATE),
        (one + "/test", {"POST": made.test}, described.TEST),
        (one + "/replay", {"POST": made.replay}, described.REPLAY),
        (one + "/deliveries", {"GET": made.deliveries}, described.DELIVERIES),
    )
    found = []
    for path, handlers, operations in table:
        cors = for_api(services.settings, *handlers)
        handle = by_method(handlers)
        served = endpoint(handle, api_response, route=path, intake=services.intake, cors=cors)
        found.append(DescribedRoute(path, served, operations, preflight=True))
    return found


class _Webhooks:
    def __init__(self, services: Services) -> None:
        self._authenticator = services.auth.authenticator
        self._audit = services.auth.audit
        self._database = services.database
        self._webhooks = services.events.webhooks

    async def list(self, call: Call) -> Response:
        principal = await self._principal(call)
        rows = await self._database.run(self._webhooks.list, principal.acts_for)
        counts = await self._database.run(self._webhooks.counts, [row.id for row in rows])
        reader = language(call.scope, "zh")
        return _answer({"webhooks": [_shown(row, reader, counts[row.id]) for row in rows]})

    async def add(self, call: Call) -> Response:
        principal = await self._principal(call)
        body = _fields(await read_object(call), {"url", "events", "owner"})
        url, owner = _text(body, "url"), _owner(body, principal)
        row, secret = await self._database.run(self._webhooks.add, url, _names(body), owner)
        await self._record(call, principal, "webhook_added", row.id, owner)
        reader = language(call.scope, "zh")
        warnings = [_reason(code, reader) for code in self._webhooks.warnings(url)]
        content = {"webhook": _shown(row, reader), "secret": secret, "warnings": warnings}
        return _answer(content, 201)

    async def show(self, call: Call) -> Response:
        principal = await self._principal(call)
        return await self._one(call, principal)

    async def change(self, call: Call) -> Response:
        principal = await self._principal(call)
        body = _fields(await read_object(call), {"events", "enabled"})
        enabled = body.get("enabled")
        if enabled is not None and not isinstance(enabled, bool):
            raise FieldInvalidError(field="enabled", reason="field_type", expected="true, false")
        types = _names(body) if body.get("events") is not None else None
        change = partial(self._webhooks.change, _id(call), principal.acts_for, types=types, enabled=enabled)
        row = await self._database.run(change)
        await self._record(call, principal, "webhook_changed", row.id, row.owner)
        return await self._one(call, principal)

    async def remove(self, call: Call) -> Response:
        principal = await self._principal(call)
        row = await self._database.run(self._webhooks.find, _id(call), principal.acts_for)
        await self._database.run(self._webhooks.remove, row.id, principal.acts_for)
        await self._record(call, principal, "webhook_removed", row.id, row.owner)
        return _answer({"message": sentence("webhook_removed", {}, language(call.scope, "zh"))})

    async def rotate(self, call: Call) -> Response:
        principal = await self._principal(call)
        _fields(await read_object(call), set())
        secret, until = await self._database.run(self._webhooks.rotate, _id(call), principal.acts_for)
        await self._record(call, principal, "webhook_rotated", _id(call), None)
        return _answer({"secret": secret, "old_until": _moment(until)})

    async def test(self, call: Call) -> Response:
        principal = await self._principal(call)
        _fields(await read_object(call), set())
        message_id = await self._database.run(self._webhooks.test, _id(call), principal.acts_for)
        await self._record(call, principal, "webhook_tested", _id(call), None)
        message = sentence("webhook_tested", {}, language(call.scope, "zh"))
        return _answer({"message": message, "message_id": message_id}, 202)

    async def replay(self, call: Call) -> Response:
        principal = await self._principal(call)
        body = _fields(await read_object(call), {"message_id", "since", "until"})
        count = 1
        if "message_id" in body:
            message_id = _text(body, "message_id")
            await self._database.run(self._webhooks.find, _id(call), principal.acts_for)
            if not _IS_MESSAGE(message_id):
                raise DeliveryNotFoundError
            await self._database.run(self._webhooks.replay, _id(call), principal.acts_for, message_id)
        elif "since" not in body:
            raise FieldInvalidError(field="since", reason="webhook_replay")
        else:
            since = _time(body, "since")
            until = _time(body, "until") if "until" in body else datetime.now(UTC) + timedelta(days=1)
            count = await self._database.run(self._webhooks.replay_range, _id(call), principal.acts_for, since, until)
        await self._record(call, principal, "webhook_replayed", _id(call), None, count=count)
        return _answer({"count": count}, 202)

    async def deliveries(self, call: Call) -> Response:
        principal = await self._principal(call)
        given = call.request.query_params
        status = given.get("status")
        if status is not None and status not in _STATUSES:
            raise FieldInvalidError(field="status", reason="field_type", expected=", ".join(_STATUSES))
        limit = _number(given, "limit", 1, _MOST_LISTED) or 50
        before = _number(given, "cursor", 1, _NUMBER)
        log = partial(self._webhooks.log, _id(call), principal.acts_for, status=status, before=before, limit=limit + 1)
        found = await self._database.run(log)
        reader = language(call.scope, "zh")
        page = found[:limit]
        following = str(page[-1].row.id) if len(found) > limit else None
        return _answer({"deliveries": [_logged(one, reader) for one in page], "next": following})

    async def _one(self, call: Call, principal: Principal) -> Response:
        row = await self._database.run(self._webhooks.find, _id(call), principal.acts_for)
        counts = await self._database.run(self._webhooks.counts, [row.id])
        return _answer({"webhook": _shown(row, language(call.scope, "zh"), counts[row.id])})

    async def _principal(self, call: Call) -> Principal:
        principal = await self._authenticator.principal(call.scope)
        principal.check(Scope.MANAGE)
        return principal

    async def _record(
        self, call: Call, principal: Principal, action: str, webhook_id: str, owner: str | None, **details: Any
    ) -> None:
        about = {"object_kind": "webhook", "object_id": webhook_id, "address": client_address(call.scope)}
        entry = Entry.by(principal, action, object_owner=owner, details=details or None, **about)
        await self._audit.record(entry)


def _answer(content: Mapping[str, Any], status: int = 200) -> Response:
    return JSONResponse({"success": True, **content}, status, headers=_NO_STORE)


def _id(call: Call) -> str:
    found = str(call.request.path_params["webhook_id"])
    if not _IS_ID(found):  # whatever a database takes for a text
        raise WebhookNotFoundError
    return found


# What comes in


def _fields(body: dict[str, Any], known: set[str]) -> dict[str, Any]:
    for name in body:
        if name not in known:
            raise FieldInvalidError(field=name[:64], reason="field_unknown")
    return body


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise FieldInvalidError(field=name, reason="field_type", expected='"text"')
    return value


def _names(body: Mapping[str, Any]) -> Sequence[str]:
    names = body.get("events")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FieldInvalidError(field="events", reason="field_type", expected='["task.completed"]')
    return names


def _owner(body: Mapping[str, Any], principal: Principal) -> str | None:
    """Whose events are wanted: those of the credential's owner; for an administrator of anybody, and null of all."""
    if "owner" not in body:
        return principal.owner
    owner = body["owner"]
    if owner is not None and not is_owner(owner):
        raise FieldInvalidError(field="owner", reason="field_type", expected='"text", null')
    if not principal.is_admin and owner != principal.owner:
        raise FieldInvalidError(field="owner", reason="webhook_owner")
    return owner


def _time(body: Mapping[str, Any], name: str) -> datetime:
    try:
        found = datetime.fromisoformat(_text(body, name))
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise FieldInvalidError(field=name, reason="field_type", expected='"2026-11-30T12:00:00Z"') from None


def _number(given: Mapping[str, str], name: str, least: int, most: int) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise FieldInvalidError(field=name, reason="field_range", least=least, most=most)
    return int(text)


# What goes out


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment_or_none(at: datetime | None) -> str | None:
    return None if at is None else _moment(at)


def _reason(code: str, reader: Language) -> dict[str, str]:
    return {"code": code, "message": sentence(code, {}, reader)}


def _shown(row: WebhookEndpoint, reader: Language, counts: Mapping[str, int] | None = None) -> dict[str, Any]:
    return {
        "id": row.id,
        "url": row.url,
        "owner": row.owner,
        "events": row.types,
        "enabled": row.disabled_at is None,
        "disabled": None if row.disabled_code is None else _reason(row.disabled_code, reader),
        "failures": row.failures,
        "retry_at": _moment_or_none(row.retry_at),
        "pending": (counts or {}).get("pending", 0),
        "dead": (counts or {}).get("dead", 0),
        "created_at": _moment(row.created_at),
    }


def _logged(one: Logged, reader: Language) -> dict[str, Any]:
    row = one.row
    return {
        "message_id": row.message_id,
        "type": row.type,
        "task_id": row.task_id,
        "status": row.status,
        "created_at": _moment(row.created_at),
        "next_attempt_at": _moment_or_none(row.next_attempt_at),
        "ended_at": _moment_or_none(row.ended_at),
        "attempts": [
            {
                "at": _moment(attempt.at),
                "seconds": attempt.seconds,
                "answer_status": attempt.answer_status,
                "answer": attempt.answer,
                "error": None if attempt.error_code is None else _reason(attempt.error_code, reader),
            }
            for attempt in one.attempts
        ],
    }
