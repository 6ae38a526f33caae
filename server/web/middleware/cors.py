"""The requests and responses that pages of other origins may use (Fetch, section CORS protocol).

Rule: the settings `cors_origins` and `cors_allow_headers` decide, for every address alike, and no page is ever allowed
credentials. An address adds only the methods and headers that it knows itself.
"""

import re
from collections.abc import Sequence

from starlette.responses import Response
from starlette.types import Scope

from server.settings import TOKEN, Settings

_MAX_AGE = "86400"  # seconds for which a browser may cache a preflight


class CrossOrigin:
    """The rules for some addresses: the methods that they answer, the request headers that they read, and the headers
    of responses that pages may read."""

    def __init__(self, settings: Settings, *, methods: str, allow: str, expose: str) -> None:
        self._origins = settings.cors_origins
        self._methods = methods
        self._allow = (*_names(allow), *settings.cors_allow_headers)
        rates = ", RateLimit, RateLimit-Policy" if settings.rate_owner or settings.rate_address else ""
        self._expose = expose + rates
        self._headers_for_any_origin = [
            (b"access-control-expose-headers", self._expose.encode("latin-1")),
            (b"access-control-allow-origin", b"*"),
        ]

    @property
    def fixed_headers(self) -> Sequence[tuple[bytes, bytes]] | None:
        """What `dress` adds to every response alike; None where it depends on the request."""
        return self._headers_for_any_origin if "*" in self._origins else None

    def dress(self, response: Response, scope: Scope) -> None:
        """Let the requesting page read `response`, if it is of an allowed origin."""
        if "*" in self._origins:
            # A response may get these twice: where it is made, and where it is sent.
            response.raw_headers += [pair for pair in self._headers_for_any_origin if pair not in response.raw_headers]
            return
        headers = response.headers
        headers["Access-Control-Expose-Headers"] = self._expose
        headers["Vary"] = "Origin"
        origin = _header(scope, b"origin")
        if origin is not None and origin in self._origins:
            headers["Access-Control-Allow-Origin"] = origin

    def preflight(self, scope: Scope) -> dict[str, str]:
        """The headers that answer OPTIONS; `dress` adds the origin.

        Where every origin is allowed, every request header is: libraries add headers of their own (`traceparent`,
        `X-CSRF-Token`), and a browser sends nothing when the answer lacks one of them.
        """
        names, vary = list(self._allow), {}
        if "*" in self._origins:
            known = {name.lower() for name in names}
            names += [name for name in _names(_header(scope, b"access-control-request-headers")) if name not in known]
            vary = {"Vary": "Access-Control-Request-Headers"}
        return {
            "Allow": self._methods,
            "Access-Control-Allow-Methods": self._methods,
            "Access-Control-Allow-Headers": ", ".join(names),
            "Access-Control-Max-Age": _MAX_AGE,
            **vary,
        }


def for_api(settings: Settings, *methods: str) -> CrossOrigin:
    """The rules for an address of the documented API with these methods and OPTIONS."""
    return CrossOrigin(
        settings,
        methods=", ".join([*methods, "OPTIONS"]),
        allow="Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-HTTP-Method-Override, X-Request-ID, "
        "X-Requested-With",
        expose="Idempotent-Replayed, Retry-After, X-Request-ID",
    )


def _names(text: str | None) -> Sequence[str]:
    """The names of a list; none at all when it is malformed."""
    names = [name.strip(" \t") for name in (text or "").split(",")]
    return names if all(re.fullmatch(TOKEN, name) for name in names) else []


def _header(scope: Scope, wanted: bytes) -> str | None:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), None)
