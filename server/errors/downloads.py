"""Refusals of a download.

Rule: each says whether the original can ever be downloaded (404, 403), or only not in this way (412, 416).
"""

from server.errors.base import ClientError


class DownloadsOffError(ClientError):
    code = "downloads_off"
    status = 403


class UploadUnscannedError(ClientError):
    code = "upload_unscanned"
    status = 403


class UploadInfectedError(ClientError):
    code = "upload_infected"
    status = 403


class UploadIncompleteError(ClientError):
    code = "upload_incomplete"
    status = 404


class PreconditionFailedError(ClientError):
    code = "precondition_failed"
    status = 412


class RangeUnsatisfiableError(ClientError):
    code = "range_unsatisfiable"
    status = 416
