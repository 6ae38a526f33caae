"""`/api/session`: who is signed in on the page, signing in and signing out.

Rules:

- A credential is in the body of a sign-in and nowhere else; the browser gets a cookie for it, which no script can read.
- Pages of other origins can neither use these addresses nor sign somebody in as somebody else: a sign-in needs the same
  check as a request with a cookie, and JSON, which a form cannot send.
- A new sign-in ends the session before it.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from server.auth import cookies
from server.auth.audit import SIGN_IN_FAILED, AuditLog, Entry
from server.auth.csrf import check_same_site
from server.auth.principal import Principal
from server.auth.sessions import Sessions
from server.errors import (
    BodyTimeoutError,
    ContentTypeUnsupportedError,
    CredentialInvalidError,
    MethodNotAllowedError,
    NotFoundError,
    SignInInvalidError,
    VideodockError,
)
from server.messages import size
from server.settings import Settings
from server.transport.admission import Admission
from server.transport.body import End
from server.uploads.service import ClientGoneError
from server.web.described import DescribedRoute
from server.web.endpoint import Call, endpoint
from server.web.errors import api_response, in_every_language
from server.web.openapi.access import SESSION

Verify = Callable[[str, str | None], Awaitable[Principal]]
"""Who has this credential, a key or a token, that came from this address; raises what refuses it."""

ByProxy = Callable[[Scope], Principal | None]
"""Whom a trusted proxy has authenticated: they need no sign-in."""

PATH = "/api/session"
_MOST_BYTES = 16 << 10
_JSON = "application/json"
_KEY_PREFIX = "vdk_"
_KINDS = ("key", "token")
_NO_STORE = {"Cache-Control": "no-store"}


def routes(
    *,
    settings: Settings,
    sessions: Sessions,
    audit: AuditLog,
    verify: Verify,
    intake: Admission,
    by_proxy: ByProxy = lambda _: None,
) -> list[DescribedRoute]:
    """The one address. With `auth` off, signing in is not possible."""
    session = _Session(settings=settings, sessions=sessions, audit=audit, verify=verify, by_proxy=by_proxy)
    return [DescribedRoute(PATH, endpoint(session.answer, _refuse, route=PATH, intake=intake), SESSION)]


@dataclass(frozen=True, kw_only=True, repr=False)
class _Session:
    settings: Settings
    sessions: Sessions
    audit: AuditLog
    verify: Verify
    by_proxy: ByProxy

    async def answer(self, call: Call) -> Response:
        match call.head.method:
            case "GET" | "HEAD":
                cookie = self._cookie(call.scope)
                found = None if cookie is None else await self.sessions.find(cookie)
                return self._response(found or self.by_proxy(call.scope))
            case "POST" if self.settings.auth == "on":
                return await self._sign_in(call)
            case "DELETE":
                return await self._sign_out(call)
            case "POST":
                raise NotFoundError
            case other:
                raise MethodNotAllowedError(method=other, allowed="GET, HEAD, POST, DELETE")

    async def _sign_in(self, call: Call) -> Response:
        scope = call.scope
        check_same_site(scope)
        given = (call.head.get("Content-Type") or "").partition(";")[0]
        if given.strip().lower() != _JSON:
            raise ContentTypeUnsupportedError(expected=_JSON)
        kind, credential = _parse(await _read(call))
        address = _address(scope)
        try:
            if (kind == "key") != credential.startswith(_KEY_PREFIX):
                raise CredentialInvalidError(reason="credential_unknown")
            principal = await self.verify(credential, address)
        except VideodockError as error:
            if isinstance(error, CredentialInvalidError):
                details = {"kind": kind, "reason": str(error.params.get("reason", ""))}
                await self.audit.record(Entry(action=SIGN_IN_FAILED, actor="none", address=address, details=details))
            raise
        cookie = await self.sessions.create(principal, until=principal.until)
        former = self._cookie(scope)
        if former is not None:
            await self.sessions.end(former)
        await self.audit.record(Entry.by(principal, "sign_in", address=address))
        response = self._response(principal)
        response.headers["Set-Cookie"] = cookies.setting(scope, cookie, self.settings.session_lifetime)
        return response

    async def _sign_out(self, call: Call) -> Response:
        scope = call.scope
        check_same_site(scope)
        cookie = self._cookie(scope)
        if cookie is not None:
            principal = await self.sessions.find(cookie)
            if await self.sessions.end(cookie) and principal is not None:
                await self.audit.record(Entry.by(principal, "sign_out", address=_address(scope)))
        response = self._response(None)
        response.headers["Set-Cookie"] = cookies.deletion(scope)
        return response

    def _cookie(self, scope: Scope) -> str | None:
        return cookies.find(scope) if self.settings.auth == "on" else None

    def _response(self, principal: Principal | None) -> Response:
        content = {
            "success": True,
            "auth": self.settings.auth,
            "signed_in": principal is not None,
            "owner": None if principal is None else principal.owner,
            "scopes": [] if principal is None else sorted(scope.value for scope in principal.scopes),
        }
        return JSONResponse(content, headers=_NO_STORE)


def _refuse(error: VideodockError, scope: Scope) -> Response:
    return api_response(error, scope, messages=in_every_language(error)["messages"])


async def _read(call: Call) -> bytes:
    data, end = await call.body.peek(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise SignInInvalidError(limit=size(_MOST_BYTES), too_large=True)
    if end is End.IDLE:
        raise BodyTimeoutError
    if end is not End.COMPLETE:
        raise ClientGoneError
    return data


def _parse(data: bytes) -> tuple[str, str]:
    """What kind of credential a sign-in has, and the credential."""
    wrong = SignInInvalidError(limit=size(_MOST_BYTES))
    try:
        found: Any = json.loads(data)
    except (ValueError, RecursionError):
        raise wrong from None
    if not isinstance(found, Mapping) or len(found) != 1:
        raise wrong
    ((kind, credential),) = found.items()
    if kind not in _KINDS or not isinstance(credential, str) or not credential.strip():
        raise wrong
    return kind, credential.strip()


def _address(scope: Scope) -> str | None:
    client = scope.get("client")
    return str(client[0]) if client else None
