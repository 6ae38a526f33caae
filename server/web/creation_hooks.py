"""Asks the Python hooks `pre_create` about a creation.

Rule: without a hook it costs nothing. A partial upload is not asked about: the final one that is made of it is.
"""

from starlette.types import Scope as AsgiScope

from server.auth.authenticator import client_address
from server.auth.principal import Principal
from server.bootstrap import Services
from server.hooks import Creation
from server.tus.headers import Head, parse_metadata
from server.tus.protocol import Create


class CreationHooks:
    """The hooks, for one application. Both methods raise as `PreCreate.check`."""

    def __init__(self, services: Services) -> None:
        self._hooks = services.events.pre_create

    async def check_upload(self, scope: AsgiScope, principal: Principal, create: Create) -> None:
        """Ask about an upload by tus."""
        if not self._hooks.is_used or create.is_partial:
            return
        metadata = {key: value.decode("utf-8", "replace") for key, value in parse_metadata(create.metadata_raw).items()}
        await self._hooks.check(
            Creation(
                protocol="tus",
                owner=principal.owner,
                name=create.filename,
                size=create.length,
                type=metadata.get("filetype") or metadata.get("type"),
                metadata=metadata,
                remote_address=client_address(scope),
            )
        )

    async def check_form(self, scope: AsgiScope, principal: Principal, head: Head) -> None:
        """Ask about a form, before its body is read."""
        if not self._hooks.is_used:
            return
        await self._hooks.check(
            Creation(
                protocol="form",
                owner=principal.owner,
                size=head.body_length,
                type=head.content_type,
                remote_address=client_address(scope),
            )
        )
