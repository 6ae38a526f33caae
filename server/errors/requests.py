"""Refusals because of the form of a request: its head, its version, the encoding of its body, its duration.

Rule: nothing here depends on an upload or a task; these errors would be the same on an empty server.
"""

from server.errors.base import BusyError, ClientError


class HeaderMissingError(ClientError):
    code = "header_missing"


class HeaderInvalidError(ClientError):
    code = "header_invalid"


class HostInvalidError(ClientError):
    code = "host_invalid"


class ExtensionUnsupportedError(ClientError):
    code = "extension_unsupported"


class ChecksumUnsupportedError(ClientError):
    code = "checksum_unsupported"


class CursorInvalidError(ClientError):
    code = "cursor_invalid"


class NotFoundError(ClientError):
    code = "not_found"
    status = 404


class MethodNotAllowedError(ClientError):
    code = "method_not_allowed"
    status = 405


class VersionUnsupportedError(ClientError):
    code = "version_unsupported"
    status = 412


class ContentTypeUnsupportedError(ClientError):
    code = "content_type_unsupported"
    status = 415


class ContentEncodingUnsupportedError(ClientError):
    code = "content_encoding_unsupported"
    status = 415


class HeadTooLargeError(ClientError):
    code = "head_too_large"
    status = 431


class HeadTimeoutError(BusyError):
    code = "head_timeout"
    status = 408


class BodyTimeoutError(BusyError):
    code = "body_timeout"
    status = 408
