"""What the views for reports mean, column by column.

Rule: the views are made by revisions (0004, 0009, 0011, 0015). This is their description: in docs/database.md, and in
the comments of PostgreSQL.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class View:
    """A view: `columns` have type and meaning. `is_internal` is for views that only other views read."""

    about: str
    columns: Mapping[str, tuple[str, str]]
    is_internal: bool = False


_DAY = ("text", "Day of the creation (UTC), as `YYYY-MM-DD`")
_HOUR = ("text", "Hour (UTC), as `YYYY-MM-DD HH:00`")
_OWNER = ("text", "The owner")
_PROTOCOL = ("text", "`tus` or `multipart` (a file of a form)")
_CLIENT = ("text", "Kind of client: see `uploads.client`; `unknown` where none was recorded")
_OUTCOME = (
    "text",
    (
        "What became of it: `open`, `waiting` or `processing`; or how it ended: `succeeded`, `failed`, `rejected` (not "
        "an accepted video), `expired`, `terminated` (removed before its last byte), `cancelled` or `removed` (before "
        "it was processed). A video that is deleted later still counts as succeeded"
    ),
)
_REASON = ("text", "Code of the reason why it failed or was rejected; [errors](errors.md) has the sentences")
_BYTES = ("bigint", "Bytes that arrived")
_ARRIVED = ("bigint", "Uploads whose last byte arrived")
_RESUMED = ("bigint", "Of these, uploads that were resumed: see `uploads.resumed`")
_ROUNDED = "rounded to two significant digits"
_UNTIL = (
    "text",
    (
        "The end of the time: `complete` (its last byte), `playable` (its task could be played) or `processed` (its "
        "task ended)"
    ),
)
_P50 = ("double", f"Half of them took no longer; {_ROUNDED}")
_P95 = ("double", f"95 of 100 took no longer; {_ROUNDED}")
_IDLE = ("bigint", "Seconds since its row changed last")
_CREATED = ("datetime", "When it was created (UTC)")
_UPDATED = ("datetime", "When its row changed last (UTC)")

_FACTS = {
    "upload_id": ("varchar(36)", "The upload"),
    "task_id": ("varchar(36)", "Its task; NULL before it has one"),
    "owner": _OWNER,
    "created_at": _CREATED,
    "day": _DAY,
    "protocol": _PROTOCOL,
    "client": _CLIENT,
    "outcome": _OUTCOME,
    "reason": (_REASON[0], f"{_REASON[1]}; empty without one"),
    "bytes": _BYTES,
    "arrived": ("integer", "1 if its last byte arrived, or else 0"),
    "resumed": ("integer", "1 if that is so and it was resumed, or else 0"),
    "complete_ms": ("bigint", f"Milliseconds from its first byte to its last, {_ROUNDED}"),
    "playable_ms": ("bigint", f"Milliseconds from its first byte until its task could be played, {_ROUNDED}"),
    "processed_ms": ("bigint", f"Milliseconds from its first byte until its task ended, {_ROUNDED}"),
    "container": ("text", "`mp4`, `mov`, …; empty while unknown"),
    "video_codec": ("text", "FFmpeg's name, such as `h264`; empty while unknown"),
    "resolution": ("text", "`480p`, `720p`, `1080p`, `1440p` or `2160p`: the shorter side has at most so many pixels"),
    "hdr": ("integer", "1 for a high dynamic range, or else 0"),
    "seconds": ("double", "Seconds that the video lasts; 0 while unknown"),
}

_TASK_FACTS = {
    "task_id": ("varchar(36)", "The task"),
    "owner": _OWNER,
    "created_at": _CREATED,
    "day": _DAY,
    "status": ("varchar(16)", "As `tasks.status`"),
    "partly_failed": ("integer", "1 if it completed although some files failed, or else 0"),
    "files": ("integer", "Number of files"),
    "waited_ms": ("bigint", "Milliseconds from its creation until a worker claimed it; NULL before"),
    "took_ms": ("bigint", "Milliseconds from its creation to its end; NULL before"),
}

_MOVES = {
    "id": ("bigint", "The event in `task_events`"),
    "at": ("datetime", "When (UTC)"),
    "hour": _HOUR,
    "entered": ("integer", "1 for a task that came, or else 0"),
    "started": ("integer", "1 for a first claim, or else 0"),
    "ended": ("integer", "1 for an end without a claim, or else 0"),
    "ms": ("bigint", f"Milliseconds that it waited until its first claim, {_ROUNDED}"),
}

VIEWS: Mapping[str, View] = {
    "uploads_per_day": View(
        "Uploads by the day of their creation. The parts of a parallel upload do not count, the final upload does.",
        {
            "day": _DAY,
            "uploads": ("bigint", "Uploads that were created"),
            "bytes": ("bigint", "Bytes that arrived, also of uploads that were never completed"),
            "completed": ("bigint", "Uploads whose last byte arrived, also those that were removed later"),
            "expired": ("bigint", "Uploads that were not finished in time"),
            "resumed": ("bigint", "Completed uploads that were resumed"),
        },
    ),
    "uploads_per_day_and_kind": View(
        "Uploads by day, protocol and kind of client, with rates from 0 to 1 (NULL while none has ended).",
        {
            "day": _DAY,
            "protocol": _PROTOCOL,
            "client": _CLIENT,
            "uploads": ("bigint", "Uploads that were created"),
            "bytes": _BYTES,
            "arrived": _ARRIVED,
            "resumed": _RESUMED,
            "succeeded": ("bigint", "Uploads whose video was processed"),
            "failed": ("bigint", "Uploads that arrived and could not be processed"),
            "rejected": ("bigint", "Uploads that are not an accepted video"),
            "expired": ("bigint", "Uploads that were not finished in time"),
            "ended": ("bigint", "Uploads of any outcome except `open`, `waiting` and `processing`"),
            "success_rate": ("double", "succeeded / ended"),
            "failure_rate": ("double", "(failed + rejected + expired) / ended"),
            "resume_rate": ("double", "resumed / arrived"),
        },
    ),
    "upload_outcomes_per_day": View(
        "Uploads by day, protocol, kind of client, outcome and reason.",
        {
            "day": _DAY,
            "protocol": _PROTOCOL,
            "client": _CLIENT,
            "outcome": _OUTCOME,
            "reason": (_REASON[0], f"{_REASON[1]}; NULL without one"),
            "uploads": ("bigint", "Uploads"),
            "bytes": _BYTES,
            "arrived": _ARRIVED,
            "resumed": _RESUMED,
        },
    ),
    "uploads_per_owner_and_day": View(
        "Uploads by owner, day, outcome and reason.",
        {
            "owner": _OWNER,
            "day": _DAY,
            "outcome": _OUTCOME,
            "reason": (_REASON[0], f"{_REASON[1]}; NULL without one"),
            "uploads": ("bigint", "Uploads"),
            "bytes": _BYTES,
            "arrived": _ARRIVED,
            "resumed": _RESUMED,
            "last_upload": ("datetime", "When the last of these uploads was created (UTC)"),
        },
    ),
    "upload_times_per_day": View(
        "How long uploads took from their first byte, by day, protocol and kind of client.",
        {
            "day": _DAY,
            "protocol": _PROTOCOL,
            "client": _CLIENT,
            "until": _UNTIL,
            "uploads": ("bigint", "Uploads that came so far"),
            "p50_seconds": _P50,
            "p95_seconds": _P95,
        },
    ),
    "upload_times": View(
        "The same as a distribution, for percentiles of any period.",
        {
            "day": _DAY,
            "protocol": _PROTOCOL,
            "client": _CLIENT,
            "until": _UNTIL,
            "seconds": ("double", f"Seconds from the first byte, {_ROUNDED}"),
            "uploads": ("bigint", "Uploads that took so long"),
        },
    ),
    "videos_per_day": View(
        "Processed videos by what they are.",
        {
            "day": _DAY,
            "container": ("text", "`mp4`, `mov`, …; NULL where unknown"),
            "video_codec": ("text", "FFmpeg's name, such as `h264`; NULL where unknown"),
            "resolution": _FACTS["resolution"],
            "hdr": _FACTS["hdr"],
            "videos": ("bigint", "Videos"),
            "bytes": ("bigint", "Bytes of their originals"),
            "seconds": ("double", "Seconds that they last together"),
        },
    ),
    "storage_by_owner": View(
        "What owners have on the disk now. Posters, MP4s and playlists are not included.",
        {
            "owner": _OWNER,
            "originals": ("bigint", "Complete originals"),
            "bytes": ("bigint", "Their bytes"),
            "open_uploads": ("bigint", "Uploads that are open"),
            "open_bytes": ("bigint", "Bytes that are reserved for these"),
        },
    ),
    "open_uploads": View(
        "Uploads that are not finished, and what each waits for.",
        {
            "upload_id": ("varchar(36)", "The upload"),
            "owner": _OWNER,
            "protocol": _PROTOCOL,
            "client": _CLIENT,
            "created_at": _CREATED,
            "updated_at": _UPDATED,
            "bytes": _BYTES,
            "length": ("bigint", "Bytes of the whole file; NULL while unknown"),
            "idle_seconds": _IDLE,
            "why": (
                "text",
                (
                    "`no_bytes` (none came yet), `no_more_bytes` (the client stopped sending), `waits_for_parts` (a "
                    "parallel upload), `checksum_open` (bytes that are not verified), `waits_for_sweep` (all bytes are "
                    "there; the next sweep finishes it)"
                ),
            ),
        },
    ),
    "open_tasks": View(
        "Tasks that have not ended, and what each waits for.",
        {
            "task_id": ("varchar(36)", "The task"),
            "owner": _OWNER,
            "status": ("varchar(16)", "`uploaded` or `processing`"),
            "progress": ("integer", "Percent"),
            "step": ("varchar(16)", "The step that runs, or ran last"),
            "created_at": _CREATED,
            "updated_at": _UPDATED,
            "idle_seconds": _IDLE,
            "age_seconds": ("bigint", "Seconds since it was created"),
            "why": (
                "text",
                (
                    "`running`; `waits_for_uploads` (files of the task have not arrived), `waits_for_worker` (no "
                    "worker has claimed it), `waits_again` (it was given back), `worker_lost` (its worker does not "
                    "respond); or "
                    "the code why it was postponed, such as `disk_full`"
                ),
            ),
        },
    ),
    "queue_per_hour": View(
        "What came into the queue of tasks and left it, hour by hour. An hour without either has no row.",
        {
            "hour": _HOUR,
            "entered": ("bigint", "Tasks whose bytes were all there"),
            "started": ("bigint", "Tasks that a worker claimed for the first time"),
            "ended": ("bigint", "Tasks that were cancelled or removed before"),
            "waiting": ("bigint", "Tasks that waited at the end of the hour"),
            "wait_p50_seconds": ("double", f"Of those that were started: half waited no longer; {_ROUNDED}"),
            "wait_p95_seconds": ("double", f"95 of 100 waited no longer; {_ROUNDED}"),
        },
    ),
    "queue_waits": View(
        "How long tasks waited for their first claim, as a distribution, by the hour of the claim.",
        {
            "hour": _HOUR,
            "seconds": ("double", f"Seconds that they waited, {_ROUNDED}"),
            "tasks": ("bigint", "Tasks that waited so long"),
        },
    ),
    "tasks_by_status": View(
        "Tasks by the status that they have now.",
        {
            "status": ("varchar(16)", "`uploaded`, `processing`, `completed`, `error`, `cancelled` or `removed`"),
            "tasks": ("bigint", "Tasks that have this status"),
            "partly_failed": ("bigint", "Of these, tasks that completed although some files failed"),
            "files": ("bigint", "Files of these tasks"),
            "waited_seconds": ("double", "From the last byte until a worker claimed the task, on average"),
            "processed_seconds": ("double", "From the last byte until the task ended, on average; NULL if none has"),
            "longest_seconds": ("double", "The longest time from the last byte to the end of one task"),
        },
    ),
    "webhook_health": View(
        "Endpoints of webhooks and how deliveries to them go.",
        {
            "endpoint_id": ("varchar(16)", "The endpoint"),
            "owner": ("text", "Whose events it gets; NULL: those of every owner"),
            "state": (
                "text",
                ("`healthy`, `failing` (the last delivery failed), `paused` (no attempt now) or `disabled`"),
            ),
            "reason": ("varchar(64)", "Why the server disabled it; NULL otherwise"),
            "failures_in_a_row": ("integer", "Deliveries that failed since the last one that did not"),
            "pending": ("bigint", "Deliveries that are not done"),
            "oldest_pending_seconds": ("bigint", "Age of the oldest of these"),
            "delivered_today": ("bigint", "Deliveries of the last 24 hours that arrived"),
            "dead_today": ("bigint", "Deliveries of the last 24 hours that were given up"),
            "attempts_today": ("bigint", "How often these two were sent"),
        },
    ),
    "actions_per_day": View(
        "What was done, from the audit log.",
        {
            "day": ("text", "Day (UTC), as `YYYY-MM-DD`"),
            "action": ("varchar(32)", "What was done, such as `sign_in_failed` or `task_cancelled`"),
            "owner": ("text", "Whom the credential belongs to; NULL where it is not known"),
            "actions": ("bigint", "How often"),
            "addresses": ("bigint", "From how many addresses"),
        },
    ),
    "upload_facts": View("Uploads one by one, with what the other views count.", _FACTS),
    "upload_facts_lately": View("Those of which no sums are kept yet; for the other views.", _FACTS, is_internal=True),
    "task_facts": View(
        "Tasks one by one, with what `tasks_by_status` counts.",
        _TASK_FACTS,
    ),
    "task_facts_lately": View("Those of which no sums are kept yet.", _TASK_FACTS, is_internal=True),
    "queue_moves": View("What came into the queue and left it, event by event.", _MOVES),
    "queue_moves_lately": View("Those of which no sums are kept yet.", _MOVES, is_internal=True),
    "queue_wait_percentiles": View(
        "Percentiles of `queue_waits` by hour; for `queue_per_hour`.",
        {"hour": _HOUR, "tasks": ("bigint", "Tasks that were started"), "p50_seconds": _P50, "p95_seconds": _P95},
        is_internal=True,
    ),
}
