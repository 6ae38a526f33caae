"""tus on its mount: OPTIONS and POST on the collection, OPTIONS, HEAD, GET, PATCH and DELETE on an upload.

Rule: a handler sends the decision of the protocol module and the result of the service; it decides nothing itself.
Every response of the mount, a refusal too, has Tus-Resumable and the CORS headers: without them a browser's client
sees nothing.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from server.auth.grants import BY_URL, fingerprint
from server.auth.principal import Principal, Scope
from server.bootstrap import Services
from server.database.session import AWAY
from server.errors import (
    AuthenticationRequiredError,
    ClientError,
    CredentialInvalidError,
    GrantExpiredError,
    MethodNotAllowedError,
    RateLimitedError,
    UploadLockedError,
    UploadNotFoundError,
    VideodockError,
)
from server.storage import checksums
from server.storage.base import Capability
from server.transport.body import TRAILERS, Body
from server.transport.short_answer import FixedHeaders
from server.tus import protocol
from server.tus.headers import Head
from server.tus.protocol import Append, Create, Facts, Offer
from server.tus.records import is_final
from server.uploads.new_upload import CreationTerms
from server.web import grant_terms
from server.web.access import Access, Right
from server.web.config import CHUNK_HEADERS, chunk_headers
from server.web.creation_hooks import CreationHooks
from server.web.downloads import Downloads
from server.web.endpoint import BareResponse, Call, Handle, endpoint
from server.web.errors import tus_response
from server.web.middleware.cors import CrossOrigin
from server.web.middleware.proxy import base_url
from server.web.middleware.traces import TRACE

PATH = "/files"
_COLLECTION = PATH + "/"
_OF_GRANT = PATH + "/g/"
"""Before the token of a grant, which creates uploads as the collection does."""
_NEEDED = {"GET": Scope.READ, "DELETE": Scope.MANAGE}

_EVERY_ANSWER = (
    (b"tus-resumable", protocol.VERSION.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),  # unless the handler sets another value
)

_PATIENCE_SECONDS = 3.0
_RETRY_SECONDS = 0.2
_EQUAL_SECONDS = 0.02

_METHODS = "OPTIONS, POST, HEAD, GET, PATCH, DELETE"
_ALLOW_HEADERS = (
    "Authorization, Content-Type, Tus-Resumable, Upload-Length, Upload-Offset, Upload-Metadata, "
    "Upload-Defer-Length, Upload-Concat, Upload-Checksum, X-HTTP-Method-Override, X-Request-ID, "
    "X-Requested-With, Range, If-Range"
)
_EXPOSE_HEADERS = (
    "Location, Upload-Offset, Upload-Length, Upload-Metadata, Upload-Defer-Length, Upload-Concat, "
    "Upload-Expires, Tus-Version, Tus-Resumable, Tus-Max-Size, Tus-Extension, Tus-Checksum-Algorithm, "
    "X-Request-ID, Upload-Task, Retry-After, Accept-Ranges, Content-Range, Content-Disposition, ETag"
)


class Mount:
    """Pure ASGI middleware: answers all requests to the mount, and lets all others pass.

    It stands before the general routing, which costs a small request as much as all other work of the server.
    Both spellings of the collection are served: a redirect would lose a body.
    """

    def __init__(self, app: ASGIApp, routes: "TusRoutes") -> None:
        self._app = app
        self._collection = routes.endpoint(routes.collection, PATH)
        self._of_grant = routes.endpoint(routes.collection, _OF_GRANT + "{grant}")
        # Any text there is checked as an id, so that an empty one gets the mount's own response too.
        self._upload = routes.endpoint(routes.upload, PATH + "/{upload_id}")

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, prefix = scope["path"], scope.get("root_path", "")
        # ASGI's path includes the prefix; only as a whole segment it is one.
        below = path[len(prefix) :] if path.startswith(prefix + "/") else path
        if below in (PATH, _COLLECTION):
            await self._collection(scope, receive, send)
        elif below.startswith(_OF_GRANT):
            scope["path_params"] = {"grant": below[len(_OF_GRANT) :].removesuffix("/")}
            await self._of_grant(scope, receive, send)
        elif below.startswith(_COLLECTION):
            scope["path_params"] = {"upload_id": below[len(_COLLECTION) :]}
            await self._upload(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class TusRoutes:
    """The mount. Calls of the service are methods, so that another engine can replace them."""

    def __init__(self, services: Services) -> None:
        self._uploads = services.uploads
        self._access = Access(services)
        self._hooks = CreationHooks(services)
        self._grants = services.auth.grants
        self._policy = services.policy
        self._database = services.database
        self._facts = services.facts
        self._removal = services.removal
        self._metrics = services.metrics
        self._settings = services.settings
        self._intake = services.intake
        chunk = chunk_headers(services.settings)
        self._every_answer = (*_EVERY_ANSWER, *chunk)
        expose = f"{_EXPOSE_HEADERS}, {CHUNK_HEADERS}" if chunk else _EXPOSE_HEADERS
        self._cors = CrossOrigin(services.settings, methods=_METHODS, allow=_ALLOW_HEADERS, expose=expose)
        fixed = self._cors.fixed_headers
        self._every_bare = None if fixed is None else FixedHeaders((*self._every_answer, *fixed))
        self._finals = services.finals
        self._offer = offer_of(services)
        self._offer_with_trailers = replace(
            self._offer, extensions=(*self._offer.extensions, protocol.CHECKSUM_TRAILER)
        )
        self._collection = {"OPTIONS": self._options, "POST": self._create}
        self._upload = {
            "OPTIONS": self._options,
            "HEAD": self._head,
            "GET": Downloads(services, self._dress).get,
            "PATCH": self._append,
            "DELETE": self._terminate,
        }

    def endpoint(self, handle: Handle, route: str) -> ASGIApp:
        """An ASGI application for one path of the mount."""

        return endpoint(handle, self._refuse, route=route, intake=self._intake, dress=self._dress)

    async def collection(self, call: Call) -> Response:
        return await self._dispatch(self._collection, call)

    async def upload(self, call: Call) -> Response:
        is_download = self._is_head_of_download(call.head)
        if call.head.method != "OPTIONS":
            if not is_download:
                protocol.check_version(call.head)
            needed = Scope.READ if is_download else _NEEDED.get(call.head.method, Scope.UPLOAD)
            right = await self._access.upload(call.scope, call.path_params["upload_id"], needed)
            call.given = right
            call.scope["state"][TRACE] = right.id
        return await (self._upload["GET"](call) if is_download else self._dispatch(self._upload, call))

    def _is_head_of_download(self, head: Head) -> bool:
        """Whether HEAD is for the same headers as GET: players, download managers and `curl -I` do not speak tus."""
        return head.method == "HEAD" and self._settings.downloads == "on" and head.get("Tus-Resumable") is None

    async def _dispatch(self, methods: Mapping[str, Handle], call: Call) -> Response:
        handle = methods.get(call.head.method)
        if handle is None:
            raise MethodNotAllowedError(method=call.head.method, allowed=", ".join(methods))
        return await handle(call)

    async def _options(self, call: Call) -> Response:
        offer = self._offered(call.scope)
        headers = {
            "Tus-Version": protocol.VERSION,
            # Commas without spaces: TUSKit splits without trimming.
            "Tus-Extension": ",".join(offer.extensions),
            "Tus-Max-Size": str(self._policy.largest(offer.max_size)),
            "Tus-Checksum-Algorithm": ",".join(offer.algorithms),
            "Upload-Extensions": self._policy.extensions,  # ours, for the upload page
            **self._cors.preflight(call.scope),
        }
        return BareResponse(204, headers)

    async def _create(self, call: Call) -> Response:
        offer = self._offered(call.scope)
        known, decision = await self._known_creator(call, offer)
        principal, decision = await self._access.admit(call.scope, known, decision)
        # Parts are counted when they are created; a refusal of the join would cost them all.
        rate = {} if decision.parts else await self._access.count_creation(call.scope, principal)
        # After the count: a client beyond its rate must not keep the hook busy.
        await self._hooks.check_upload(call.scope, principal, decision)
        facts = await self._make(principal, decision)
        call.scope["state"][TRACE] = facts.group or facts.id
        location = f"{base_url(call.scope)}{PATH}/{await self._access.signed(facts.id)}"
        # Otherwise a repeated creation, and the client goes on at the offset of the first one.
        is_new = not facts.offset and not facts.is_complete
        if is_new and (decision.has_body or decision.length == 0):
            # From here on every response carries the upload's Location, even after an error of the body.
            call.scope["state"]["location"] = location
            if decision.is_checked and decision.body_length is None and await call.body.is_empty():
                decision = protocol.decide_create(call.head.without_body(), offer)
            first = partial(protocol.first_append, decision, offer=offer)
            facts = await self._receive(Right(facts.id, None), first, call.body)
        # tus-js-client needs an offset after a creation that declared no length, whether it sent bytes or none.
        headers = {"Upload-Offset": str(facts.offset), **protocol.progress(facts), **rate}
        return BareResponse(201, {"Location": location, **headers})

    async def _known_creator(self, call: Call, offer: Offer) -> tuple[Principal | None, Create]:
        """Who creates, as far as that is known, and what. A client with the URLs of the parts may join them: the login
        with which they were created may have ended while they came."""
        wants_final = is_final(call.head.get("Upload-Concat"))
        grant = call.path_params.get("grant")
        try:
            known = await self._access.known_creator(call.scope, grant, or_expired=True)
        except (AuthenticationRequiredError, CredentialInvalidError, GrantExpiredError, RateLimitedError):
            if not wants_final:
                raise
            decision = await self._decide_create(call, offer)
            known = await self._access.joiner(decision)
            if known is None:
                raise
            return known, decision
        decision = await self._decide_create(call, offer)
        return known or (await self._access.joiner(decision) if wants_final else None), decision

    async def _decide_create(self, call: Call, offer: Offer) -> Create:
        if call.head.body_length is not None:
            return protocol.decide_create(call.head, offer)
        # A request that would be refused with an empty body too is refused without waiting for the first byte.
        empty = protocol.decide_create(call.head.without_body(), offer)
        try:
            return protocol.decide_create(call.head, offer)
        except ClientError:
            if await call.body.is_empty():
                return empty
            raise

    async def _make(self, principal: Principal, decision: Create) -> Facts:
        """Create the upload. By a grant it takes a place there, which it gives back when it is refused."""
        grant = principal.grant
        if grant is not None and decision.is_partial:
            self._grants.check_open(grant)
        if grant is None or decision.is_partial:
            return await self._insert(principal.owner, decision, grant_terms.terms(principal))
        mark = fingerprint(decision.length, decision.metadata_raw, decision.concat)
        # After the grant's end, its parts are still joined, and a repeated creation gets what the first one made.
        is_open = bool(decision.parts) or self._grants.is_open(grant)
        upload_id = await self._grants.take(grant, mark, is_open=is_open)
        terms, deadline = grant_terms.terms(principal, upload_id), time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return await self._insert(principal.owner, decision, terms)
            except UploadLockedError:  # an equal creation is just making its file
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_EQUAL_SECONDS)
            except VideodockError:
                await self._grants.give_back(upload_id)
                raise

    async def _insert(self, owner: str, decision: Create, terms: CreationTerms) -> Facts:
        create = self._finals.create if decision.parts else self._uploads.create
        return await create(owner, decision, terms)

    async def _made_by_grant(self, call: Call) -> bool:
        """Whether the upload exists now: a grant has its id, and the client that got its URL comes for the first time.

        Raises `GrantExpiredError`.
        """
        right = call.right
        place = await self._grants.find_place(right.id) if right.by_url else None
        if place is None:
            return False
        self._grants.check_open(place)
        self._access.check_origin(place, call.scope)
        is_taken = await self._grants.take_by_url(right.id)
        if not is_taken:
            # Another request may have taken it since.
            place = await self._grants.find_place(right.id)
            if place is None or place.fingerprint != BY_URL:
                return False
        principal, create = self._access.by_url(place)
        try:
            await self._insert(principal.owner, create, grant_terms.terms(principal, right.id))
        except VideodockError:
            if is_taken:
                await self._grants.give_back(right.id)
            raise
        return True

    async def _head(self, call: Call) -> Response:
        try:
            facts = self._at_rest(call.right)
            if facts is None:
                facts = await self._inspect(call.right)
                await self._finals.join_waiting(facts)
        except UploadNotFoundError:
            if not await self._made_by_grant(call):
                raise
            facts = await self._inspect(call.right)
        response = BareResponse(200, protocol.describe(facts))
        # It would be the length of the GET (RFC 9110 section 9.3.2), which is not empty.
        del response.raw_headers[-1]
        return response

    def _at_rest(self, right: Right) -> Facts | None:
        return self._uploads.at_rest(right.id, right.owner)

    async def _inspect(self, right: Right) -> Facts:
        # tus-js-client takes every response to HEAD except 423 for the end of the upload and starts from zero (rule 4):
        # a restart of the database must not cost a client the gigabytes that are already here.
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return await self._finals.inspect(right.id, right.owner)
            except AWAY:
                if time.monotonic() > deadline:
                    raise UploadLockedError from None
                await asyncio.sleep(_RETRY_SECONDS)

    async def _append(self, call: Call) -> Response:
        def decide(facts: Facts) -> Append:
            return protocol.decide_append(call.head, facts, self._offered(call.scope))

        try:
            facts = await self._receive(call.right, decide, call.body)
        except UploadNotFoundError:  # before a byte of the body was read
            if not await self._made_by_grant(call):
                raise
            facts = await self._receive(call.right, decide, call.body)
        call.scope["state"][TRACE] = facts.group or facts.id
        return BareResponse(204, protocol.progress(facts))

    async def _terminate(self, call: Call) -> Response:
        right = call.right
        await self._remove(right)
        # An administrator has a right to the uploads of all owners: then the row says whose it was.
        row = None if right.owner is not None else await self._database.run(self._facts.find, right.id)
        owner = right.owner if row is None else row.owner
        await self._access.audit(call.scope, "upload_terminated", right, "upload", owner)
        return BareResponse(204)

    async def _remove(self, right: Right) -> None:
        await self._removal.terminate(right.id, right.owner, protocol.check_upload)

    async def _receive(self, right: Right, decide: Callable[[Facts], Append], body: Body) -> Facts:
        try:
            facts = await self._uploads.append(right.id, right.owner, decide, body)
        finally:
            self._metrics.received_bytes.labels("tus").inc(body.moved)
        await self._finals.join_waiting(facts)
        return facts

    def _offered(self, scope: AsgiScope) -> Offer:
        return self._offer_with_trailers if TRAILERS in scope.get("extensions", {}) else self._offer

    def _refuse(self, error: VideodockError, scope: AsgiScope) -> Response:
        response = tus_response(error, scope)
        if "location" in scope["state"] and error.status_hint != 415:
            response.headers["Location"] = scope["state"]["location"]
        return self._dress(response, scope)

    def _dress(self, response: Response, scope: AsgiScope) -> Response:
        headers = response.raw_headers
        if isinstance(response, BareResponse) and self._every_bare is not None:
            response.fixed = self._every_bare
            return response
        there = {name for name, _ in headers}
        headers += [pair for pair in self._every_answer if pair[0] not in there]
        self._cors.dress(response, scope)
        return response


def offer_of(services: Services) -> Offer:
    """The extensions that the store's capabilities allow."""
    can = services.store.capabilities
    extensions = protocol.extensions(
        can_append=Capability.APPEND in can,
        can_delete=Capability.DELETE in can,
        can_truncate=Capability.TRUNCATE in can,
        can_concatenate=Capability.CONCATENATE in can,
    )
    algorithms = checksums.ALGORITHMS if "checksum" in extensions else ()
    return Offer(extensions, algorithms, int(services.settings.tus_max_size), services.settings.max_files)
