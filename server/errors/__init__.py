"""Every refusal that Videodock knows.

Rule: an error carries a stable `code`, a `status` hint and the parameters of its sentence. It knows no HTTP
beyond that hint and no language: `messages/` has the sentences, `web/errors.py` makes responses. `base.py` has the
kinds of errors; each refusal is a class here, in `access.py` for who may do what, or in `events.py` for webhooks.

    VideodockError
    ├── ClientError                     the request is at fault; repeating it will not help
    │   ├── header_missing              400  a header that the protocol needs is not there
    │   ├── header_invalid              400  a header cannot be understood
    │   ├── host_invalid                400  no Host, two of them, or what is none
    │   ├── metadata_invalid            400  Upload-Metadata cannot be understood
    │   ├── extension_unsupported       400  a tus extension that this server does not offer
    │   ├── checksum_unsupported        400  an algorithm that this server does not offer
    │   ├── part_invalid                400  a part of a final upload is no partial upload, or gone
    │   ├── part_repeated               400  a final upload names a part more than once
    │   ├── multipart_invalid           400  the form cannot be understood
    │   ├── transfer_encoding_unsupported 415  one file of a form, in base64 or quoted-printable
    │   ├── no_file                     400  the form has no file
    │   ├── no_valid_file               400  none of the files can be taken (413 if one was too large)
    │   ├── too_many_files              400  one file of a form, beyond the limit
    │   ├── file_too_large              413  one file of a form
    │   │   └── too_large_to_scan       413  more than the virus scanner takes
    │   ├── field_invalid               400  a field of a JSON body, a form or a query
    │   ├── cursor_invalid              400  a cursor of another list, or none at all
    │   ├── sign_in_invalid             400  a sign-in on the page that cannot be understood (413 if too large)
    │   ├── authentication_required     401  no credential
    │   ├── credential_invalid          401  unknown, expired, revoked, or not understood
    │   ├── scope_missing               403  the credential does not allow it
    │   ├── cross_site                  403  another site's page used a sign-in
    │   ├── refused_by_backend          403  by the service at `auth_url`
    │   ├── refused_by_hook             403  by a Python hook `pre_create`
    │   ├── grant_expired               403  or revoked
    │   ├── grant_mismatch              403  another name, size, type or origin than the grant allows
    │   ├── playback_expired            403  a signed URL whose time is over
    │   ├── grant_used                  409  other uploads have taken the grant's places
    │   ├── quota_too_small             413  more than the owner may ever have
    │   ├── upload_final                403  nothing can be added to a final upload
    │   ├── upload_partial              403  a part of an upload to come is not for download
    │   ├── downloads_off               403  a setting keeps the originals
    │   ├── upload_unscanned            403  not yet found clean by the virus scanner
    │   ├── upload_infected             403  in quarantine
    │   ├── not_found                   404
    │   ├── upload_not_found            404
    │   ├── upload_incomplete           404  there is nothing to download yet
    │   ├── task_not_found              404
    │   ├── webhook_not_found           404
    │   ├── delivery_not_found          404
    │   ├── share_not_found             404
    │   ├── key_not_found               404
    │   ├── grant_not_found             404
    │   ├── method_not_allowed          405
    │   ├── offset_mismatch             409  carries the true offset
    │   ├── upload_complete             409  carries the true offset
    │   ├── too_many_finals             409  as many final uploads as there may be wait for the same part
    │   ├── too_many_webhooks           409  as many as an owner may have
    │   ├── too_many_shares             409  as many as a task may have
    │   ├── task_ended                  409  a task that is over cannot be cancelled
    │   ├── task_running                409  a task that is processed is not deleted unless that is asked for
    │   ├── task_not_ended              409  only a task that is over can be retried
    │   ├── task_not_retried            409  nothing of it failed, or the originals are gone
    │   ├── poster_not_ready            409  the file is not processed yet, or failed
    │   ├── task_taken                  409  the id that a client chose for a group is in use
    │   ├── group_differs               409  other uploads of the group say another number of files
    │   ├── group_full                  409  as many uploads as the group may have
    │   ├── group_place_taken           409  another upload of the group has this place
    │   ├── group_ended                 409  the group waits for no more uploads
    │   ├── upload_gone                 410  expired or terminated
    │   ├── task_gone                   410  deleted; it can be looked at only
    │   ├── share_expired               410  a link whose time is over
    │   ├── share_revoked               410  a link that its owner has taken back
    │   ├── share_video_gone            410  a link to a video that was deleted
    │   ├── version_unsupported         412  Tus-Resumable
    │   ├── precondition_failed         412  If-Match or If-Unmodified-Since of a download
    │   ├── upload_too_large            413  over the configured limit
    │   ├── body_too_large              413  more bytes than the upload has room for
    │   ├── report_too_large            413  more uploads than a report adds up
    │   ├── content_type_unsupported    415
    │   ├── content_encoding_unsupported 415  a body that is compressed
    │   ├── media_type_unsupported      415  no video of an accepted type
    │   │   ├── file_empty              415  no byte at all
    │   │   └── media_type_mismatch     415  its name says video, its first bytes do not
    │   ├── range_unsatisfiable         416  of a download; nothing of it is within the file
    │   ├── host_not_allowed            421  by the setting `allowed_hosts`
    │   ├── idempotency_mismatch        422  a form with the key of another one
    │   ├── frame_unavailable           422  a time at which the video has no frame
    │   ├── picture_invalid             422  not a picture that can be decoded
    │   ├── head_too_large              431  request line and headers, or trailers
    │   └── checksum_mismatch           460  the bytes are not those that the client hashed
    ├── BusyError                       the server cannot do it now; repeating it may help
    │   ├── head_timeout                408  no whole request head came
    │   ├── body_timeout                408  no byte came for too long; an upload keeps what it has
    │   ├── form_timeout                408  no byte came for too long; a form is dropped
    │   ├── idempotency_running         409  the first form with that key is still being received
    │   ├── upload_locked               423  another request did not let go of the upload
    │   ├── quota_reached               429  the owner has as much as allowed
    │   ├── rate_limited                429  too many creations, or too many failed authentications
    │   ├── internal_error              500
    │   ├── unavailable                 503  a part that Videodock needs is away
    │   ├── too_many_streams            503  live event streams of a process, an owner or an address
    │   ├── too_busy                    503  as many connections or bodies as there may be
    │   │   └── too_many_streams        503  as many live streams as there may be
    │   ├── server_stopping             503  in the middle of a request that had not ended when the grace period did
    │   ├── no_room                     507  for a new upload, beside what was promised to others
    │   ├── form_storage_full           507  in the middle of a form, which is dropped
    │   └── storage_full                507  in the middle of a body; an upload keeps what it has
    ├── StartError                      the server cannot start; the sentence says what to do
    └── StepError                       a step of the pipeline gave up on a file
"""

from server.errors.access import AuthenticationRequiredError as AuthenticationRequiredError
from server.errors.access import CredentialInvalidError as CredentialInvalidError
from server.errors.access import CrossSiteError as CrossSiteError
from server.errors.access import FieldInvalidError as FieldInvalidError
from server.errors.access import GrantExpiredError as GrantExpiredError
from server.errors.access import GrantMismatchError as GrantMismatchError
from server.errors.access import GrantNotFoundError as GrantNotFoundError
from server.errors.access import GrantUsedError as GrantUsedError
from server.errors.access import HostNotAllowedError as HostNotAllowedError
from server.errors.access import KeyNotFoundError as KeyNotFoundError
from server.errors.access import PlaybackExpiredError as PlaybackExpiredError
from server.errors.access import QuotaReachedError as QuotaReachedError
from server.errors.access import QuotaTooSmallError as QuotaTooSmallError
from server.errors.access import RateLimitedError as RateLimitedError
from server.errors.access import RefusedByBackendError as RefusedByBackendError
from server.errors.access import RefusedByHookError as RefusedByHookError
from server.errors.access import ScopeMissingError as ScopeMissingError
from server.errors.access import ShareExpiredError as ShareExpiredError
from server.errors.access import ShareNotFoundError as ShareNotFoundError
from server.errors.access import ShareRevokedError as ShareRevokedError
from server.errors.access import ShareVideoGoneError as ShareVideoGoneError
from server.errors.access import SignInInvalidError as SignInInvalidError
from server.errors.access import TooManySharesError as TooManySharesError
from server.errors.access import TooManyStreamsError as TooManyStreamsError
from server.errors.base import BusyError as BusyError
from server.errors.base import ClientError as ClientError
from server.errors.base import OffsetError as OffsetError
from server.errors.base import Param as Param
from server.errors.base import StartError as StartError
from server.errors.base import StepError as StepError
from server.errors.base import VideodockError as VideodockError
from server.errors.events import DeliveryNotFoundError as DeliveryNotFoundError
from server.errors.events import TooManyWebhooksError as TooManyWebhooksError
from server.errors.events import WebhookNotFoundError as WebhookNotFoundError


class HeaderMissingError(ClientError):
    code = "header_missing"


class HeaderInvalidError(ClientError):
    code = "header_invalid"


class HostInvalidError(ClientError):
    code = "host_invalid"


class MetadataInvalidError(ClientError):
    code = "metadata_invalid"


class ExtensionUnsupportedError(ClientError):
    code = "extension_unsupported"


class ChecksumUnsupportedError(ClientError):
    code = "checksum_unsupported"


class CursorInvalidError(ClientError):
    code = "cursor_invalid"


class PartInvalidError(ClientError):
    code = "part_invalid"


class PartRepeatedError(ClientError):
    code = "part_repeated"


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


class UploadFinalError(ClientError):
    code = "upload_final"
    status = 403


class UploadPartialError(ClientError):
    code = "upload_partial"
    status = 403


class DownloadsOffError(ClientError):
    code = "downloads_off"
    status = 403


class UploadUnscannedError(ClientError):
    code = "upload_unscanned"
    status = 403


class UploadInfectedError(ClientError):
    code = "upload_infected"
    status = 403


class NotFoundError(ClientError):
    code = "not_found"
    status = 404


class UploadNotFoundError(ClientError):
    code = "upload_not_found"
    status = 404


class UploadIncompleteError(ClientError):
    code = "upload_incomplete"
    status = 404


class TaskNotFoundError(ClientError):
    code = "task_not_found"
    status = 404


class MethodNotAllowedError(ClientError):
    code = "method_not_allowed"
    status = 405


class OffsetMismatchError(OffsetError):
    code = "offset_mismatch"


class UploadCompleteError(OffsetError):
    code = "upload_complete"


class TooManyFinalsError(ClientError):
    code = "too_many_finals"
    status = 409


class TaskEndedError(ClientError):
    code = "task_ended"
    status = 409


class TaskRunningError(ClientError):
    code = "task_running"
    status = 409


class TaskNotEndedError(ClientError):
    code = "task_not_ended"
    status = 409


class TaskNotRetriedError(ClientError):
    """`reason` is one of `server/messages/reasons.py`: retry_nothing, retry_gone, retry_infected, retry_folder."""

    code = "task_not_retried"
    status = 409


class PosterNotReadyError(ClientError):
    """The file has no poster yet that could be replaced, or has failed."""

    code = "poster_not_ready"
    status = 409


class FrameUnavailableError(ClientError):
    """The video has no frame there that can be decoded, or neither original nor MP4 is there."""

    code = "frame_unavailable"
    status = 422


class PictureInvalidError(ClientError):
    """Not a JPEG, PNG or WebP that can be decoded."""

    code = "picture_invalid"
    status = 422


class TaskTakenError(ClientError):
    code = "task_taken"
    status = 409


class GroupDiffersError(ClientError):
    code = "group_differs"
    status = 409


class GroupFullError(ClientError):
    code = "group_full"
    status = 409


class GroupPlaceTakenError(ClientError):
    code = "group_place_taken"
    status = 409


class GroupEndedError(ClientError):
    code = "group_ended"
    status = 409


class UploadGoneError(ClientError):
    code = "upload_gone"
    status = 410


class TaskGoneError(ClientError):
    code = "task_gone"
    status = 410


class VersionUnsupportedError(ClientError):
    code = "version_unsupported"
    status = 412


class PreconditionFailedError(ClientError):
    code = "precondition_failed"
    status = 412


class UploadTooLargeError(ClientError):
    code = "upload_too_large"
    status = 413


class BodyTooLargeError(ClientError):
    code = "body_too_large"
    status = 413


class ReportTooLargeError(ClientError):
    """More uploads of one owner than a report adds up; `limit` is how many it does."""

    code = "report_too_large"
    status = 413


class ContentTypeUnsupportedError(ClientError):
    code = "content_type_unsupported"
    status = 415


class ContentEncodingUnsupportedError(ClientError):
    code = "content_encoding_unsupported"
    status = 415


class MediaTypeUnsupportedError(ClientError):
    code = "media_type_unsupported"
    status = 415


class FileEmptyError(MediaTypeUnsupportedError):
    code = "file_empty"


class MediaTypeMismatchError(MediaTypeUnsupportedError):
    code = "media_type_mismatch"


class RangeUnsatisfiableError(ClientError):
    code = "range_unsatisfiable"
    status = 416


class IdempotencyMismatchError(ClientError):
    code = "idempotency_mismatch"
    status = 422


class HeadTooLargeError(ClientError):
    code = "head_too_large"
    status = 431


class ChecksumMismatchError(ClientError):
    """460 is tus's own status (protocol 1.0.0, section Checksum)."""

    code = "checksum_mismatch"
    status = 460


class HeadTimeoutError(BusyError):
    code = "head_timeout"
    status = 408


class BodyTimeoutError(BusyError):
    code = "body_timeout"
    status = 408


class FormTimeoutError(BusyError):
    code = "form_timeout"
    status = 408


class IdempotencyRunningError(BusyError):
    code = "idempotency_running"
    status = 409


class UploadLockedError(BusyError):
    code = "upload_locked"
    status = 423


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
