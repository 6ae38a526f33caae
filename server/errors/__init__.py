"""Every refusal that Videodock knows.

Rule: an error carries a stable `code`, a `status` hint and the parameters of its sentence. It knows no HTTP
beyond that hint and no language: `messages/` has the sentences, `web/errors.py` makes responses. `base.py` has the
kinds of errors; each refusal is a class of the module that its subject names, and all are imported from here.

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
from server.errors.capacity import FormStorageFullError as FormStorageFullError
from server.errors.capacity import InternalError as InternalError
from server.errors.capacity import NoRoomError as NoRoomError
from server.errors.capacity import StoppingError as StoppingError
from server.errors.capacity import StorageFullError as StorageFullError
from server.errors.capacity import TooBusyError as TooBusyError
from server.errors.capacity import UnavailableError as UnavailableError
from server.errors.downloads import DownloadsOffError as DownloadsOffError
from server.errors.downloads import PreconditionFailedError as PreconditionFailedError
from server.errors.downloads import RangeUnsatisfiableError as RangeUnsatisfiableError
from server.errors.downloads import UploadIncompleteError as UploadIncompleteError
from server.errors.downloads import UploadInfectedError as UploadInfectedError
from server.errors.downloads import UploadUnscannedError as UploadUnscannedError
from server.errors.events import DeliveryNotFoundError as DeliveryNotFoundError
from server.errors.events import TooManyWebhooksError as TooManyWebhooksError
from server.errors.events import WebhookNotFoundError as WebhookNotFoundError
from server.errors.forms import FileTooLargeError as FileTooLargeError
from server.errors.forms import FormTimeoutError as FormTimeoutError
from server.errors.forms import IdempotencyMismatchError as IdempotencyMismatchError
from server.errors.forms import IdempotencyRunningError as IdempotencyRunningError
from server.errors.forms import MultipartInvalidError as MultipartInvalidError
from server.errors.forms import NoFileError as NoFileError
from server.errors.forms import NoValidFileError as NoValidFileError
from server.errors.forms import TooLargeToScanError as TooLargeToScanError
from server.errors.forms import TooManyFilesError as TooManyFilesError
from server.errors.forms import TransferEncodingUnsupportedError as TransferEncodingUnsupportedError
from server.errors.requests import BodyTimeoutError as BodyTimeoutError
from server.errors.requests import ChecksumUnsupportedError as ChecksumUnsupportedError
from server.errors.requests import ContentEncodingUnsupportedError as ContentEncodingUnsupportedError
from server.errors.requests import ContentTypeUnsupportedError as ContentTypeUnsupportedError
from server.errors.requests import CursorInvalidError as CursorInvalidError
from server.errors.requests import ExtensionUnsupportedError as ExtensionUnsupportedError
from server.errors.requests import HeaderInvalidError as HeaderInvalidError
from server.errors.requests import HeaderMissingError as HeaderMissingError
from server.errors.requests import HeadTimeoutError as HeadTimeoutError
from server.errors.requests import HeadTooLargeError as HeadTooLargeError
from server.errors.requests import HostInvalidError as HostInvalidError
from server.errors.requests import MethodNotAllowedError as MethodNotAllowedError
from server.errors.requests import NotFoundError as NotFoundError
from server.errors.requests import VersionUnsupportedError as VersionUnsupportedError
from server.errors.tasks import FrameUnavailableError as FrameUnavailableError
from server.errors.tasks import GroupDiffersError as GroupDiffersError
from server.errors.tasks import GroupEndedError as GroupEndedError
from server.errors.tasks import GroupFullError as GroupFullError
from server.errors.tasks import GroupPlaceTakenError as GroupPlaceTakenError
from server.errors.tasks import PictureInvalidError as PictureInvalidError
from server.errors.tasks import PosterNotReadyError as PosterNotReadyError
from server.errors.tasks import ReportTooLargeError as ReportTooLargeError
from server.errors.tasks import TaskEndedError as TaskEndedError
from server.errors.tasks import TaskGoneError as TaskGoneError
from server.errors.tasks import TaskNotEndedError as TaskNotEndedError
from server.errors.tasks import TaskNotFoundError as TaskNotFoundError
from server.errors.tasks import TaskNotRetriedError as TaskNotRetriedError
from server.errors.tasks import TaskRunningError as TaskRunningError
from server.errors.tasks import TaskTakenError as TaskTakenError
from server.errors.uploads import BodyTooLargeError as BodyTooLargeError
from server.errors.uploads import ChecksumMismatchError as ChecksumMismatchError
from server.errors.uploads import FileEmptyError as FileEmptyError
from server.errors.uploads import MediaTypeMismatchError as MediaTypeMismatchError
from server.errors.uploads import MediaTypeUnsupportedError as MediaTypeUnsupportedError
from server.errors.uploads import MetadataInvalidError as MetadataInvalidError
from server.errors.uploads import OffsetMismatchError as OffsetMismatchError
from server.errors.uploads import PartInvalidError as PartInvalidError
from server.errors.uploads import PartRepeatedError as PartRepeatedError
from server.errors.uploads import TooManyFinalsError as TooManyFinalsError
from server.errors.uploads import UploadCompleteError as UploadCompleteError
from server.errors.uploads import UploadFinalError as UploadFinalError
from server.errors.uploads import UploadGoneError as UploadGoneError
from server.errors.uploads import UploadLockedError as UploadLockedError
from server.errors.uploads import UploadNotFoundError as UploadNotFoundError
from server.errors.uploads import UploadPartialError as UploadPartialError
from server.errors.uploads import UploadTooLargeError as UploadTooLargeError
