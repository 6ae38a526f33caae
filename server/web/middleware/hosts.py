"""The hosts that the server answers for, by the setting `allowed_hosts`.

Rule: a request for another host gets 421 and reaches no route: addresses in answers are made of the Host, and a page of
another name that leads here (DNS rebinding) gets nothing. `/healthz` and `/readyz` answer always: a monitor asks by
address.
"""

from collections.abc import Sequence

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from server.errors import HostNotAllowedError, VideodockError
from server.transport.admission import Admission
from server.web.endpoint import Call, endpoint
from server.web.errors import api_response

_ALWAYS = ("/healthz", "/readyz")


class Hosts:
    """Pure ASGI middleware, inside `Proxy`: the host that counts is the public one.

    A name of `allowed` without a port allows every port; nothing in it allows every host.
    """

    def __init__(self, app: ASGIApp, allowed: Sequence[str], intake: Admission) -> None:
        self._app = app
        self._allowed = frozenset(_normal(name) for name in allowed)
        # An endpoint of its own, so that a client which is still sending a body reads the refusal.
        self._refusal = endpoint(_raise, _refuse, route="other", intake=intake)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._allowed and not self._is_allowed(scope):
            await self._refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_allowed(self, scope: Scope) -> bool:
        root = scope.get("root_path", "")
        if scope["path"].removeprefix(root) in _ALWAYS:
            return True
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        normal = _normal(host)
        return normal in self._allowed or _without_port(normal) in self._allowed


def _normal(host: str) -> str:
    name, port = _without_port(host), host[len(_without_port(host)) :]
    # RFC 3986 section 3.2.2: a name may end with the dot of the root, and means the same.
    return (name.removesuffix(".") + port).lower()


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and (port.isdigit() or not port) and "]" not in port else host


async def _raise(_: Call) -> Response:
    raise HostNotAllowedError


def _refuse(error: VideodockError, scope: Scope) -> Response:
    return api_response(error, scope)
