"""From a request to its principal: the one function that decides who it is.

Rules:

- A credential that is there and invalid is refused, even where none would be needed: its sender expects to be known.
- The first credential counts: Authorization, then the cookie of the page, then the header of a trusted proxy.
- When a credential cannot be checked, because the database or the keys of tokens are away, the error is raised: the
  request is refused with 503 and never accepted.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from starlette.types import Scope as AsgiScope

from server.auth import cookies, credentials
from server.auth.audit import CREDENTIAL_REFUSED, AuditLog, Entry
from server.auth.csrf import check_no_other_site, check_same_site
from server.auth.grants import Grants
from server.auth.keys import ApiKeys
from server.auth.principal import ANYBODY, Principal, Scope, is_owner
from server.auth.rate_limits import RateLimits
from server.errors import AuthenticationRequiredError, CredentialInvalidError
from server.settings import Settings

FROM_PROXY = "from_proxy"
"""In the state of an ASGI scope: the request came from a proxy of the setting `trusted_proxies`."""

Verify = Callable[[str], Awaitable[Principal | None]]
_OF_GRANT = frozenset({Scope.UPLOAD})
_OF_PROXY = frozenset({Scope.UPLOAD, Scope.READ, Scope.MANAGE})


@dataclass(frozen=True, kw_only=True, repr=False)
class Authenticator:
    """Verifies credentials. `token` verifies a JWT and `session` a cookie, each None where there are none."""

    settings: Settings
    keys: ApiKeys
    grants: Grants
    rates: RateLimits
    audit: AuditLog
    token: Verify | None = None
    session: Verify | None = None

    @property
    def is_on(self) -> bool:
        """Whether requests need a credential."""
        return self.settings.auth == "on"

    async def principal(self, scope: AsgiScope) -> Principal:
        """Who makes this request. Raises `AuthenticationRequiredError` for a request without a credential,
        `CredentialInvalidError`, and the errors of what has to be asked."""
        found = await self.find(scope)
        if found is None:
            raise AuthenticationRequiredError
        return found

    async def find(self, scope: AsgiScope) -> Principal | None:
        """The same, or None for a request without a credential."""
        if not self.is_on:
            return ANYBODY
        given = _values(scope, b"authorization")
        if given:
            try:
                return await self._of_authorization(given)
            except CredentialInvalidError as error:
                await self.count_failure(scope, error)
                raise
        if self.session is not None:
            cookie = cookies.find(scope)
            found = None if cookie is None else await self.session(cookie)
            if found is not None:
                check_same_site(scope)  # the browser sends the cookie, whichever page made the request
                return found
        known = self.of_proxy(scope)
        if known is not None:
            check_no_other_site(scope, self.settings.cors_origins)
        return known

    async def count_failure(self, scope: AsgiScope, error: CredentialInvalidError) -> None:
        """Count an invalid credential. Raises `RateLimitedError` when its address has shown too many.

        A valid one is never refused for the others: many users may share an address.
        """
        address = client_address(scope)
        details = {"reason": str(error.params.get("reason", ""))}
        await self.audit.record(Entry(action=CREDENTIAL_REFUSED, actor="none", address=address, details=details))
        await self.rates.failure(address)

    async def sign_in(self, text: str, address: str | None) -> Principal:
        """Who signs in with this key or token, from this address. Raises `CredentialInvalidError`, and
        `RateLimitedError` when the address has shown too many invalid ones."""
        try:
            return await self.verify(text)
        except CredentialInvalidError:
            await self.rates.failure(address)
            raise

    async def verify(self, text: str) -> Principal:
        """Who has this key or token. Raises `CredentialInvalidError`."""
        ours = credentials.parse(text)
        if ours is not None and ours.kind == credentials.KEY:
            return await self.keys.verify(ours)
        if ours is None and self.token is not None and text.count(".") == 2:
            found = await self.token(text)
            if found is not None:
                return found
        raise CredentialInvalidError(reason="credential_unknown")

    async def of_grant(self, text: str) -> Principal:
        """Who uploads by this grant. Raises `CredentialInvalidError`."""
        ours = credentials.parse(text)
        if ours is None or ours.kind != credentials.GRANT:
            raise CredentialInvalidError(reason="credential_unknown")
        row = await self.grants.verify(ours)
        return Principal(row.owner, _OF_GRANT, f"grant:{row.id}", grant=row)

    async def _of_authorization(self, given: list[str]) -> Principal | None:
        if len(given) > 1:
            raise CredentialInvalidError(reason="credential_repeated")
        kind, _, text = given[0].strip(" \t").partition(" ")
        text = text.strip(" ")
        is_bearer = kind.lower() == "bearer" and bool(text)
        ours = credentials.parse(text) if is_bearer else None
        if ours is not None and ours.kind == credentials.GRANT:
            return await self.of_grant(text)
        if ours is None and self._is_for_backend and not (is_bearer and self.token is not None):
            return None
        if not is_bearer:
            raise CredentialInvalidError(reason="credential_form")
        return await self.verify(text)

    @property
    def _is_for_backend(self) -> bool:
        """Whether an Authorization that is not ours may be one for `auth_url`."""
        return bool(self.settings.auth_url) and "authorization" in map(str.lower, self.settings.auth_url_headers)

    def of_proxy(self, scope: AsgiScope) -> Principal | None:
        """Whom a trusted proxy has authenticated, if it has."""
        name = self.settings.auth_proxy_header
        if not name or not scope.get("state", {}).get(FROM_PROXY):
            return None
        values = _values(scope, name.lower().encode())
        if len(values) != 1:
            return None
        return Principal(values[0], _OF_PROXY, "proxy") if is_owner(values[0]) else None


def client_address(scope: AsgiScope) -> str | None:
    """The address of the client, as the outermost trusted proxy saw it."""
    client = scope.get("client")
    return str(client[0]) if client else None


def _values(scope: AsgiScope, wanted: bytes) -> list[str]:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return [value.decode("latin-1") for name, value in headers if name == wanted]
