"""JSON Web Tokens: a signed token becomes a principal.

Rules:

- The operator's settings say which key, algorithm, issuer and audience a token has; the token itself decides nothing.
- The signature is verified before any claim is read.
- Neither a token nor a claim's value is in an error, a log line or the memory of verified tokens.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeGuard

from server.auth.jwks import Jwks
from server.auth.principal import Principal, Scope, is_owner, scopes_of
from server.errors import CredentialInvalidError, StartError
from server.settings import Settings

if TYPE_CHECKING:
    from server.auth.jose import KeySet, VerificationKey

MOST_BYTES = 8 << 10
"""The longest token."""

_MOST_VERIFIED = 1024
_LATEST = 253_402_214_400  # the last day of the year 9999
_MOST_SECONDS = 1e12  # since 1970; what is beyond, and what is no number, is no time


@dataclass(frozen=True, repr=False)
class _Verified:
    """What a token was found to be, by a key set (None: by the secret)."""

    principal: Principal
    expires: float
    keys: "KeySet | None"


class JwtVerifier:
    """Verifies tokens as the settings say. Raises `StartError` for keys that cannot be used.

    `jwks` is the set of `jwt_jwks`, if it is not made from that setting alone. A token that was verified is
    remembered by its hash, until it expires or the key set changes: a signature takes 0.1 ms and more.
    """

    def __init__(self, *, settings: Settings, clock: Callable[[], datetime], jwks: Jwks | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._secret = _secret_key(settings.jwt_secret) if settings.jwt_secret else None
        self._jwks = _jwks(settings.jwt_jwks) if settings.jwt_jwks and jwks is None else jwks
        # RFC 9864 renamed EdDSA; issuers use either name.
        self._algorithms = {*settings.jwt_algorithms, *(["Ed25519"] if "EdDSA" in settings.jwt_algorithms else [])}
        self._default_scopes = scopes_of(settings.jwt_default_scopes)
        self._verified: dict[bytes, _Verified] = {}

    @property
    def is_configured(self) -> bool:
        """Whether any token can be valid."""
        return self._secret is not None or self._jwks is not None

    async def verify(self, token: str) -> Principal:
        """Who shows this token. Raises `CredentialInvalidError`, and `UnavailableError` while there are no keys."""
        if len(token) > MOST_BYTES or not token.isascii():
            raise CredentialInvalidError(reason="token_signature")
        digest = hashlib.sha256(token.encode()).digest()
        now = self._clock().timestamp()
        known = self._verified.get(digest)
        if known is not None and await self._is_valid(known, now):
            return known.principal
        claims, keys = await self._signed_claims(token)
        verified = _Verified(self._principal(claims, now), claims["exp"], keys)
        if len(self._verified) >= _MOST_VERIFIED:
            self._verified.clear()
        self._verified[digest] = verified
        return verified.principal

    async def _is_valid(self, known: _Verified, now: float) -> bool:
        if known.expires + self._settings.jwt_leeway <= now:
            return False
        return known.keys is None or (self._jwks is not None and await self._jwks.current() is known.keys)

    async def _signed_claims(self, token: str) -> "tuple[dict[str, Any], KeySet | None]":
        """The claims, once the signature is verified, and the key set that did it."""
        from server.auth import jose  # not before it is needed: see its rules

        try:
            unverified = jose.parse(token)
            keys: list[VerificationKey] = []
            found = None
            if unverified.algorithm == "HS256":
                keys += [self._secret] if self._secret is not None else []
            elif unverified.algorithm in self._algorithms and self._jwks is not None:
                found = await self._jwks.with_key(unverified.kid)
                keys += found.candidates(unverified)
            return jose.claims(unverified, keys), found
        except jose.TokenError:
            raise CredentialInvalidError(reason="token_signature") from None

    def _principal(self, claims: Mapping[str, Any], now: float) -> Principal:
        self._check_times(claims, now)
        if self._settings.jwt_issuer and claims.get("iss") != self._settings.jwt_issuer:
            raise CredentialInvalidError(reason="token_claims", claim="iss")
        if self._settings.jwt_audience and self._settings.jwt_audience not in _audiences(claims.get("aud")):
            raise CredentialInvalidError(reason="token_claims", claim="aud")
        owner = claims.get(self._settings.jwt_owner_claim)
        if not is_owner(owner):
            raise CredentialInvalidError(reason="token_claims", claim=self._settings.jwt_owner_claim)
        until = datetime.fromtimestamp(min(claims["exp"], _LATEST) + self._settings.jwt_leeway, UTC)
        return Principal(owner, self._scopes(claims), f"jwt:{owner}", until=until)

    def _check_times(self, claims: Mapping[str, Any], now: float) -> None:
        """RFC 7519 sections 4.1.4 and 4.1.5; `exp` must be there."""
        leeway = self._settings.jwt_leeway
        expires = claims.get("exp")
        if not _is_time(expires):
            raise CredentialInvalidError(reason="token_claims", claim="exp")
        if expires + leeway <= now:
            raise CredentialInvalidError(reason="credential_expired")
        if "nbf" in claims:
            if not _is_time(claims["nbf"]):
                raise CredentialInvalidError(reason="token_claims", claim="nbf")
            if claims["nbf"] - leeway > now:
                raise CredentialInvalidError(reason="token_early")

    def _scopes(self, claims: Mapping[str, Any]) -> frozenset[Scope]:
        """The scopes that it names, of which there may be none of ours; the default without the claim."""
        name = self._settings.jwt_scope_claim
        if name not in claims:
            return self._default_scopes
        words = claims[name].split() if isinstance(claims[name], str) else claims[name]
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise CredentialInvalidError(reason="token_claims", claim=name)
        return scopes_of(words)


def _secret_key(secret: str) -> "VerificationKey":
    from server.auth import jose

    try:
        return jose.secret_key(secret)
    except ValueError:
        raise StartError(
            "The setting jwt_secret is a public key or certificate, which everybody may have: "
            "use jwt_jwks for tokens that are verified by one."
        ) from None


def _jwks(source: str) -> Jwks:
    from server.auth import jose  # noqa: F401  # here, as it would hold up the event loop at the first token

    try:
        return Jwks(source)
    except ValueError as error:
        raise StartError(f"The setting jwt_jwks cannot be used: {error}.") from None


def _is_time(value: object) -> TypeGuard[float]:
    """Whether it is a NumericDate (RFC 7519 section 2), and one that can be calculated with."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return -_MOST_SECONDS < value < _MOST_SECONDS


def _audiences(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]
