"""Refusals of a creation, of bytes, and of what an upload no longer allows.

Rule: a refusal for the offset carries the true offset.
"""

from server.errors.base import BusyError, ClientError, OffsetError


class MetadataInvalidError(ClientError):
    code = "metadata_invalid"


class PartInvalidError(ClientError):
    code = "part_invalid"


class PartRepeatedError(ClientError):
    code = "part_repeated"


class UploadFinalError(ClientError):
    code = "upload_final"
    status = 403


class UploadPartialError(ClientError):
    code = "upload_partial"
    status = 403


class UploadNotFoundError(ClientError):
    code = "upload_not_found"
    status = 404


class OffsetMismatchError(OffsetError):
    code = "offset_mismatch"


class UploadCompleteError(OffsetError):
    code = "upload_complete"


class TooManyFinalsError(ClientError):
    code = "too_many_finals"
    status = 409


class UploadGoneError(ClientError):
    code = "upload_gone"
    status = 410


class UploadTooLargeError(ClientError):
    code = "upload_too_large"
    status = 413


class BodyTooLargeError(ClientError):
    code = "body_too_large"
    status = 413


class MediaTypeUnsupportedError(ClientError):
    code = "media_type_unsupported"
    status = 415


class FileEmptyError(MediaTypeUnsupportedError):
    code = "file_empty"


class MediaTypeMismatchError(MediaTypeUnsupportedError):
    code = "media_type_mismatch"


class ChecksumMismatchError(ClientError):
    """460 is tus's own status (protocol 1.0.0, section Checksum)."""

    code = "checksum_mismatch"
    status = 460


class UploadLockedError(BusyError):
    code = "upload_locked"
    status = 423
