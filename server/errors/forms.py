"""Refusals of a multipart form, and of a repeated one.

Rule: a reason to refuse one file of a form is here too; the others of the form may be accepted.
"""

from server.errors.base import BusyError, ClientError


class MultipartInvalidError(ClientError):
    code = "multipart_invalid"


class TransferEncodingUnsupportedError(ClientError):
    code = "transfer_encoding_unsupported"
    status = 415


class NoFileError(ClientError):
    code = "no_file"


class NoValidFileError(ClientError):
    """None of the files of a form can be taken; 413 when the size of one is the reason."""

    code = "no_valid_file"

    def __init__(self, *, too_large: bool) -> None:
        super().__init__()
        self.too_large = too_large

    @property
    def status_hint(self) -> int:
        return 413 if self.too_large else 400


class TooManyFilesError(ClientError):
    code = "too_many_files"


class FileTooLargeError(ClientError):
    code = "file_too_large"
    status = 413


class TooLargeToScanError(FileTooLargeError):
    code = "too_large_to_scan"


class FormTimeoutError(BusyError):
    code = "form_timeout"
    status = 408


class IdempotencyMismatchError(ClientError):
    code = "idempotency_mismatch"
    status = 422


class IdempotencyRunningError(BusyError):
    code = "idempotency_running"
    status = 409
