"""What went wrong with a bucket: whether a repetition may help, and what to tell the operator.

Rule: the sentences are for an operator and are public: no address, key, or path is in them.
"""

from enum import Enum
from typing import Any

_TRANSIENT_CODES = frozenset(
    {
        "SlowDown",
        "SlowDownWrite",
        "SlowDownRead",
        "RequestTimeout",
        "Throttling",
        "ThrottlingException",
        "RequestLimitExceeded",
        "TooManyRequests",
        "InternalError",
        "ServiceUnavailable",
        "OperationAborted",
        # The bytes were changed or cut on their way.
        "BadDigest",
        "IncompleteBody",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
    }
)
_FULL_CODES = frozenset({"QuotaExceeded", "QuotaExceededException", "InsufficientStorage", "XMinioStorageFull"})
_ABSENT_CODES = frozenset({"NoSuchKey", "404", "NotFound"})
_DENIED_CODES = frozenset({"AccessDenied", "403", "Forbidden", "AllAccessDisabled"})
_KEY_CODES = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidClientTokenId"})
_EXPIRED_CODES = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
_REGION_CODES = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"})


class Fault(Enum):
    """Kinds of faults; each is handled in one way."""

    TRANSIENT = "transient"  # a repetition may help at once
    FULL = "full"  # the bucket takes no more
    NO_OBJECT = "no_object"
    NO_MULTIPART = "no_multipart"  # completed, aborted, or never there
    EXISTS = "exists"  # a condition of the request did not hold
    INVALID_PART = "invalid_part"
    BROKEN = "broken"  # somebody has to change a setting, a right or a clock


def code_of(error: Exception) -> str:
    """The error code of S3's answer; empty without an answer."""
    response: Any = getattr(error, "response", None)
    if not isinstance(response, dict):
        return ""
    return str(response.get("Error", {}).get("Code", ""))


def _status(error: Exception) -> int:
    response: Any = getattr(error, "response", None)
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) if isinstance(response, dict) else 0
    return int(status or 0)


def fault_of(error: Exception) -> Fault:
    """What kind of fault an exception of botocore is."""
    code, status = code_of(error), _status(error)
    if not code and not status:
        # No answer: refused, reset, timed out. Other errors of botocore are about settings and credentials.
        names = {kind.__name__ for kind in type(error).__mro__}
        is_network = bool(names & {"HTTPClientError", "ConnectionError", "IncompleteReadError", "ProtocolError"})
        return Fault.TRANSIENT if is_network else Fault.BROKEN
    if code in _FULL_CODES or status == 507:
        return Fault.FULL
    if code in _TRANSIENT_CODES or status >= 500 or status == 429:
        return Fault.TRANSIENT
    if code == "NoSuchUpload":
        return Fault.NO_MULTIPART
    if code in _ABSENT_CODES:
        return Fault.NO_OBJECT
    if code == "PreconditionFailed" or status == 412:
        return Fault.EXISTS
    return Fault.INVALID_PART if code in ("InvalidPart", "InvalidPartOrder") else Fault.BROKEN


def sentence(error: Exception, doing: str = "be used") -> str:
    """What the operator should know; `doing` ends "The bucket cannot …"."""
    code = code_of(error)
    known = {
        "NoSuchBucket": "the bucket does not exist",
        "RequestTimeTooSkewed": "the clock of this machine differs from the clock of the object store by many minutes",
        **dict.fromkeys(_DENIED_CODES, f"the credentials may not use the bucket so: it cannot {doing}"),
        **dict.fromkeys(_KEY_CODES, "the object store does not accept the credentials"),
        **dict.fromkeys(_EXPIRED_CODES, "the credentials have expired"),
        **dict.fromkeys(_REGION_CODES, "the bucket is in another region; set `region` in the URL of the store"),
        **dict.fromkeys(_FULL_CODES, "the bucket is full"),
    }
    if code in known:
        return known[code]
    name = type(error).__name__
    if name in ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"):
        return "there are no credentials for the object store"
    if name == "NoRegionError":
        return "the region of the bucket is not known; set `region` in the URL of the store"
    if not code:
        return "the object store cannot be reached"
    return f"the object store refuses it with {code}: the bucket cannot {doing}"
