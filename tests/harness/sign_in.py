"""The app with `auth` on and a stub in place of the authenticator: it knows some keys, and creations need a session.

Rule: sessions, cookies, the page and the audit log are the real ones.
"""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from server.app import create_app
from server.auth import cookies
from server.auth.audit import AuditLog
from server.auth.principal import Principal, scopes_of
from server.auth.sessions import Sessions
from server.bootstrap import utc_now
from server.database.session import Database
from server.errors import AuthenticationRequiredError, CredentialInvalidError
from server.settings import Settings
from server.transport.admission import Admission
from server.web import sessions as session_routes
from server.web.errors import tus_response
from tests.harness import http
from tests.harness.http import LiveServer

KEY = "vdk_0123456789ab_" + "k" * 43
OTHER_KEY = "vdk_ba9876543210_" + "o" * 43
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ0b20ifQ.c2lnbmF0dXJl"  # of nobody
KNOWN = {
    KEY: Principal("ann", scopes_of(["upload", "read", "manage"]), "test:ann"),
    OTHER_KEY: Principal("robert.with-a-long-name@videos.example.org", scopes_of(["upload", "read"]), "test:bob"),
    TOKEN: Principal("tom", scopes_of(["read"]), "jwt:tom"),
}


async def verify(credential: str, address: str | None) -> Principal:
    """As the authenticator does it."""
    return await found(credential, address)


async def found(credential: str, _address: str | None) -> Principal:
    """What a test replaces."""
    if credential not in KNOWN:
        raise CredentialInvalidError(reason="credential_unknown")
    return KNOWN[credential]


def routes(settings: Settings, database: Database) -> tuple[Sessions, list[Any]]:
    """Sessions without a memory, and the routes that use them."""
    ticks = itertools.count(step=10)
    sessions = Sessions(settings=settings, database=database, clock=utc_now, monotonic=lambda: float(next(ticks)))
    audit = AuditLog(database=database, clock=utc_now)
    intake = Admission(30, 0, 100)
    made = session_routes.routes(settings=settings, sessions=sessions, audit=audit, verify=verify, intake=intake)
    return sessions, list(made)


class _Gate:
    """Lets only a session create an upload."""

    def __init__(self, app: ASGIApp, sessions: Sessions) -> None:
        self._app = app
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (scope["method"], scope["path"]) == ("POST", "/files"):
            cookie = cookies.find(scope)
            if cookie is None or await self._sessions.find(cookie) is None:
                await tus_response(AuthenticationRequiredError(), scope)(scope, receive, send)
                return
        await self._app(scope, receive, send)


@contextmanager
def signing_in(monkeypatch: pytest.MonkeyPatch, folder: Path, **settings: Any) -> Iterator[LiveServer]:
    """The app on a free port."""
    databases: list[Database] = []

    def create(made: Settings, store: Any = None) -> Starlette:
        app = create_app(made, store)
        database = Database(made.sqlalchemy_url, 2)
        databases.append(database)
        sessions, added = routes(made, database)
        app.router.routes[0:0] = added
        app.add_middleware(_Gate, sessions=sessions)
        return app

    monkeypatch.setattr(http, "create_app", create)
    try:
        with LiveServer(folder, **{"auth": "on", **settings}) as live:
            yield live
    finally:
        for database in databases:
            database.close()


def cookie_of(headers: Mapping[str, str]) -> str:
    """What a client sends back after this answer."""
    return headers["set-cookie"].partition(";")[0]
