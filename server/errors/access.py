"""Refusals of who may do what: credentials, scopes, grants, quotas and rates.

Rule: a client that does not own an upload or task gets `upload_not_found` or `task_not_found`; nothing here reveals
that something exists.
"""

from server.errors.base import BusyError, ClientError


class AuthenticationRequiredError(ClientError):
    code = "authentication_required"
    status = 401


class CredentialInvalidError(ClientError):
    """`reason` is one of `server/messages/reasons.py`: credential_unknown, credential_expired, …"""

    code = "credential_invalid"
    status = 401


class ScopeMissingError(ClientError):
    code = "scope_missing"
    status = 403


class CrossSiteError(ClientError):
    code = "cross_site"
    status = 403


class SignInInvalidError(ClientError):
    """The body of a sign-in is not what is documented; 413 when it is too large."""

    code = "sign_in_invalid"

    def __init__(self, *, limit: str, too_large: bool = False) -> None:
        super().__init__(limit=limit)
        self._too_large = too_large

    @property
    def status_hint(self) -> int:
        return 413 if self._too_large else 400


class HostNotAllowedError(ClientError):
    """421 Misdirected Request: the server does not answer for this host (RFC 9110 section 15.5.20)."""

    code = "host_not_allowed"
    status = 421


class RefusedByBackendError(ClientError):
    """The service at `auth_url` refused the creation; its sentence is `explanation`."""

    code = "refused_by_backend"
    status = 403


class RefusedByHookError(ClientError):
    """A Python hook `pre_create` refused the creation; its sentence is `explanation`."""

    code = "refused_by_hook"
    status = 403


class GrantExpiredError(ClientError):
    code = "grant_expired"
    status = 403


class GrantUsedError(ClientError):
    code = "grant_used"
    status = 409


class GrantMismatchError(ClientError):
    """`reason` tells what the grant does not allow."""

    code = "grant_mismatch"
    status = 403


class PlaybackExpiredError(ClientError):
    """A URL that was signed for some time, which is over."""

    code = "playback_expired"
    status = 403


class FieldInvalidError(ClientError):
    """A field of a JSON body cannot be what it is; `field` and `reason` say which and why."""

    code = "field_invalid"


class QuotaTooSmallError(ClientError):
    """Larger than all that the owner may ever have."""

    code = "quota_too_small"
    status = 413


class QuotaReachedError(BusyError):
    """`reason` tells which quota; it may be free again later."""

    code = "quota_reached"
    status = 429
    retry_seconds = 60


class RateLimitedError(BusyError):
    code = "rate_limited"
    status = 429

    def __init__(self, *, seconds: int) -> None:
        super().__init__(seconds=seconds)
        self.retry_seconds = seconds  # type: ignore[misc]  # of this refusal


class TooManyStreamsError(BusyError):
    """`limit` streams are open in this process, or of one owner or address; `reason` tells which."""

    code = "too_many_streams"
    retry_seconds = 30


class ShareNotFoundError(ClientError):
    code = "share_not_found"
    status = 404


class ShareExpiredError(ClientError):
    code = "share_expired"
    status = 410


class ShareRevokedError(ClientError):
    code = "share_revoked"
    status = 410


class ShareVideoGoneError(ClientError):
    """The share is there, and its video was deleted."""

    code = "share_video_gone"
    status = 410


class TooManySharesError(ClientError):
    """`limit` is how many a task may have that have not ended."""

    code = "too_many_shares"
    status = 409


class KeyNotFoundError(ClientError):
    code = "key_not_found"
    status = 404


class GrantNotFoundError(ClientError):
    code = "grant_not_found"
    status = 404
