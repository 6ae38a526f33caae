"""Refusals for lack of disk space, of connections, or of a part of the server that is away.

Rule: the request is not at fault, and each says after how many seconds a repetition may help.
"""

from server.errors.base import BusyError


class InternalError(BusyError):
    code = "internal_error"
    status = 500


class UnavailableError(BusyError):
    code = "unavailable"


class TooBusyError(BusyError):
    code = "too_busy"


class StoppingError(BusyError):
    code = "server_stopping"


class NoRoomError(BusyError):
    code = "no_room"
    status = 507
    retry_seconds = 30


class FormStorageFullError(BusyError):
    code = "form_storage_full"
    status = 507
    retry_seconds = 30


class StorageFullError(BusyError):
    code = "storage_full"
    status = 507
    retry_seconds = 10
