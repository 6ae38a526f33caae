"""Refusals of what a client asks of a task, of a group of uploads, or of a poster.

Rule: a task's state is the reason; 409 says that another state would allow it, 410 that none will.
"""

from server.errors.base import ClientError


class TaskNotFoundError(ClientError):
    code = "task_not_found"
    status = 404


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


class TaskGoneError(ClientError):
    code = "task_gone"
    status = 410


class ReportTooLargeError(ClientError):
    """More uploads of one owner than a report adds up; `limit` is how many it does."""

    code = "report_too_large"
    status = 413
