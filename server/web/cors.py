"""Which pages of other origins may read an answer (Fetch, section CORS protocol).

Rule: the setting `cors_origins` says it, and nobody is ever allowed credentials.
"""

from collections.abc import Sequence

from starlette.responses import Response
from starlette.types import Scope


def allow_origin(response: Response, scope: Scope, origins: Sequence[str]) -> None:
    """Let the page that asks read `response`, if it is of one of `origins`; `*` is any."""
    if "*" in origins:
        response.headers["Access-Control-Allow-Origin"] = "*"
        return
    response.headers["Vary"] = "Origin"
    origin = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"), None)
    if origin is not None and origin in origins:
        response.headers["Access-Control-Allow-Origin"] = origin
