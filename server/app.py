"""create_app: routes, middleware, lifespan, and nothing else.

Rule: it never migrates. When the database is not at head, the start fails with one sentence; migrating
is what `videodock serve` and `videodock migrate` do.
"""

import re
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server import __version__
from server.bootstrap import Services
from server.database import migration
from server.doctor import readiness
from server.errors import MethodNotAllowedError, NotFoundError, StartError, VideodockError
from server.observability import configure_logging
from server.settings import Settings, load
from server.storage.base import UploadStore
from server.web import (
    admin,
    config,
    description,
    events,
    grants,
    health,
    lists,
    media,
    multipart,
    pages,
    posters,
    reports,
    sessions,
    shares,
    tasks,
    tus,
    webhooks,
)
from server.web.access import Access
from server.web.branding import Brand
from server.web.described import DescribedRoute
from server.web.errors import api_response, known
from server.web.form_page import FormPages
from server.web.middleware.access_lines import AccessLines
from server.web.middleware.access_log import AccessLog
from server.web.middleware.hosts import Hosts
from server.web.middleware.proxy import Proxy
from server.web.middleware.traces import Traces
from server.web.preview_card import PreviewCards
from server.worker import open_leader
from server.worker.leader import Leader

# The server is ready without these: a full disk takes no uploads, but downloads; tasks wait for a scanner; and videos
# are processed without all of the confinement, too, but the operator has to know.
_HINTS = frozenset({"scanner", "space", "confinement"})


def create_app(settings: Settings | None = None, store: UploadStore | None = None) -> Starlette:
    """The application. Raises `StartError` for settings or a data folder that cannot be used.

    `store` has the bytes, if they are not on the disk below the data folder.
    """
    if settings is None:  # started by another server than ours: the log is not configured yet
        settings = load()
        configure_logging(settings.log_level, settings.log_format)
    services = Services.open(settings, store)
    scheduler = open_leader(services)
    lines = AccessLines()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        with services:
            await anyio.to_thread.run_sync(migration.check_fits, services.database.engine)
            await anyio.to_thread.run_sync(services.claim_store)
            await services.auth.signatures.prepare()
            await anyio.to_thread.run_sync(services.events.pre_create.start)
            services.locks.listen()
            if scheduler is not None:
                await anyio.to_thread.run_sync(scheduler.start)
            try:
                yield
            finally:
                await services.progress.flush()
                if scheduler is not None:
                    await anyio.to_thread.run_sync(scheduler.stop)
                await anyio.to_thread.run_sync(lines.flush)

    is_draining = threading.Event()
    routes = _routes(services, _checks(services, scheduler), is_draining.is_set)
    for route in routes:
        # Starlette's `$` lets a line feed stand after every address and leaves it out of an id, so that `<id>%0a`
        # would be that id.
        route.path_regex = re.compile(route.path_regex.pattern.removesuffix("$") + r"\Z", re.DOTALL)
    app = _Application(
        routes=routes,
        middleware=[
            Middleware(_StartSentence),
            Middleware(AccessLog, metrics=services.metrics, lines=lines, on_error=_unexpected),
            *([Middleware(Traces, tracing=services.tracing)] if services.tracing.is_on else []),
            Middleware(Proxy, trusted=settings.trusted_proxies, root_path=settings.root_path),
            *_hosts(services),
            Middleware(tus.Mount, routes=_tus_routes(services)),
        ],
        lifespan=lifespan,
    )
    # A redirect would lose a body, and would be built from the client's Host.
    app.router.redirect_slashes = False
    app.state.on_draining = is_draining.set
    app.state.on_stopping = services.events.hub.stop
    return app


class _Application(Starlette):
    """Without Starlette's outermost layers, which answer unexpected errors as our access log does and put the
    application into the scope: each request and each message of its answer would pass them."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._first is not None:
            scope["app"] = self
            await self._first(scope, receive, send)
            return
        await super().__call__(scope, receive, send)

    _first: ASGIApp | None = None
    """The access log, once there was a start."""

    def build_middleware_stack(self) -> ASGIApp:
        inner: ASGIApp = ExceptionMiddleware(self.router, handlers={HTTPException: _no_route})
        for layer in reversed(self.user_middleware):
            self._first = inner  # below the one for a refused start, which no request needs
            inner = layer.cls(inner, *layer.args, **layer.kwargs)
        return inner


def _routes(
    services: Services, checks: Mapping[str, Callable[[], str | None]], is_draining: Callable[[], bool]
) -> list[DescribedRoute]:
    settings = services.settings
    brand = Brand.of(settings)
    made = [
        *multipart.routes(services, FormPages(brand)),
        *events.routes(services),  # before tasks: `/api/task/{id}` matches everything
        *shares.routes(services),
        *posters.routes(services),
        *tasks.routes(services),
        *lists.routes(services),
        *reports.routes(services),
        *grants.routes(services),
        *config.routes(services, tus.offer_of(services), brand),
        *webhooks.routes(services),
        *sessions.routes(
            settings=settings,
            sessions=services.auth.sessions,
            audit=services.auth.audit,
            verify=services.auth.authenticator.sign_in,
            by_proxy=services.auth.authenticator.of_proxy,
            intake=services.intake,
        ),
        *admin.routes(services, checks, _HINTS),
        *media.routes(services),
        *health.routes(
            checks, services.metrics, hints=_HINTS, check_scraper=Access(services).admin, is_draining=is_draining
        ),
        *pages.routes(settings.auth, cards=PreviewCards(services), brand=brand, media=services.store.origins),
    ]
    return [*made, *description.routes(settings, made, __version__)]


def _hosts(services: Services) -> list[Middleware]:
    allowed = services.settings.allowed_hosts
    return [Middleware(Hosts, allowed=allowed, intake=services.intake)] if allowed else []


def _tus_routes(services: Services) -> tus.TusRoutes:
    if services.settings.tus_engine == "videodock":
        return tus.TusRoutes(services)
    # Only when chosen: it imports FastAPI, for which other starts need not wait.
    from server.web.tuspyserver.guard import Guard

    return Guard(services)


def _checks(services: Services, scheduler: Leader | None) -> dict[str, Callable[[], str | None]]:
    # Where `videodock worker` processes the videos, this server is ready without a scheduler.
    return readiness.checks(services) | (scheduler.checks() if scheduler is not None else {})


async def _no_route(request: Request, error: Exception) -> Response:
    refusal: VideodockError = NotFoundError()
    if isinstance(error, HTTPException) and error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        refusal = MethodNotAllowedError(method=request.method, allowed=allowed)
    return api_response(refusal, request.scope)


async def _unexpected(request: Request, error: Exception) -> Response:
    return api_response(known(error, request.scope), request.scope)


class _StartSentence:
    """A refused start is logged as a sentence, not as a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return

        async def send_shortened(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                # Starlette has the formatted traceback here; its last line is the exception.
                last = message.get("message", "").strip().splitlines()[-1:]
                name = f"{StartError.__module__}.{StartError.__qualname__}: "
                if last and last[0].startswith(name):
                    message = {**message, "message": last[0].removeprefix(name)}
            await send(message)

        await self._app(scope, receive, send_shortened)
