"""A route that carries the description of its operations.

Rule: every route of the application is one of these; `/openapi.json` is made of them and of the tus mount's.
"""

from collections.abc import Callable
from typing import Any

from starlette.routing import Route

from server.web.openapi.operation import Operations


class DescribedRoute(Route):
    """A route with `operations` by method.

    `shown_as` is the path in the document where that is another one: one for all of the page's files.
    `preflight` says that the route answers OPTIONS to pages of other origins.
    """

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        operations: Operations,
        *,
        methods: list[str] | None = None,
        shown_as: str | None = None,
        preflight: bool = False,
    ) -> None:
        super().__init__(path, endpoint, methods=methods)
        self.operations = operations
        self.shown_as = shown_as or path
        self.preflight = preflight
