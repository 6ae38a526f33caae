"""The operations of shares, and of what they show."""

from server.auth.shares import TOKEN_CHARACTERS
from server.errors import (
    FieldInvalidError,
    NotFoundError,
    ShareExpiredError,
    ShareNotFoundError,
    ShareRevokedError,
    ShareVideoGoneError,
    TaskGoneError,
    TaskNotFoundError,
    TooManySharesError,
)
from server.web.openapi.operation import (
    JSON,
    Answer,
    Body,
    Named,
    Operation,
    Operations,
    Tag,
    Who,
    array,
    boolean,
    integer,
    moment,
    nullable,
    number,
    one_of,
    path,
    query,
    record,
    text,
    url,
)
from server.web.openapi.schemas import DONE, DONE_FLAG, JSON_BODY, NO_STORE, TASK_ID

LEAST_SECONDS, MOST_SECONDS = 60, 10 * 365 * 86400
OEMBED_LEAST, OEMBED_MOST = 1, 10_000

_TOKEN_EXAMPLE = "Jm2Zt0lq7cVb1xYwPz3KfA9d"  # noqa: S105  # of no share
_PLACE = f"https://video.example/media/s/{_TOKEN_EXAMPLE}/1/"
_SHARE = Named(
    name="Share",
    schema=record(
        {
            "id": text("Names the share; it is no secret."),
            "state": one_of(("valid", "expired", "revoked")),
            "created_at": moment(),
            "expires_at": nullable(moment(), "`null`: it does not expire."),
            "revoked_at": nullable(moment()),
        }
    ),
)
_SHARE_EXAMPLE = {
    "id": "5f3a9c0b1d2e",
    "state": "valid",
    "created_at": "2026-11-30T12:00:00Z",
    "expires_at": None,
    "revoked_at": None,
}
_EMBED = nullable(url(), "The page for an `<iframe>`; `null` while the setting `embed_ancestors` is empty.")
_TOKEN = path(
    "token", "The last part of the link.", text(minLength=TOKEN_CHARACTERS, maxLength=TOKEN_CHARACTERS), _TOKEN_EXAMPLE
)
_ENDED = (ShareNotFoundError, ShareExpiredError, ShareRevokedError, ShareVideoGoneError)

_CREATE = Operation(
    id="shareTask",
    tag=Tag.SHARES,
    summary="Share a video",
    description="Anyone with the link sees the video without a credential, until the share is revoked or expires, or "
    "the video is deleted. The link is in this answer and in no other.",
    scope="manage",
    parameters=(TASK_ID,),
    body=Body(
        media_type=JSON,
        schema=record(
            {"expires_in": nullable(integer("Seconds.", LEAST_SECONDS, MOST_SECONDS), "`null`: it does not expire.")},
            optional=("expires_in",),
        ),
        required=False,
        example={"expires_in": 86400},
    ),
    answers=(
        Answer(
            status=201,
            description="The share, with its link.",
            content={
                JSON: record(
                    {
                        "success": DONE_FLAG,
                        "url": url("The link."),
                        "token": text("The last part of the link."),
                        "embed_url": _EMBED,
                        "share": _SHARE,
                    }
                )
            },
            headers=(NO_STORE,),
            example={
                "success": True,
                "url": f"https://video.example/s/{_TOKEN_EXAMPLE}",
                "token": _TOKEN_EXAMPLE,
                "embed_url": None,
                "share": _SHARE_EXAMPLE,
            },
        ),
    ),
    errors=(*JSON_BODY, TaskNotFoundError, TaskGoneError, TooManySharesError),
)
_LIST = Operation(
    id="listShares",
    tag=Tag.SHARES,
    summary="List the shares of a video",
    description="The newest first, at most 100 that have not ended. Links are not among them: only their hashes are "
    "stored.",
    scope="read",
    parameters=(TASK_ID,),
    answers=(
        Answer(
            status=200,
            description="The shares.",
            content={JSON: record({"success": DONE_FLAG, "shares": array(_SHARE)})},
            headers=(NO_STORE,),
            example={"success": True, "shares": [_SHARE_EXAMPLE]},
        ),
    ),
    errors=(TaskNotFoundError,),
)
ALL: Operations = {"GET": _LIST, "HEAD": _LIST.as_head("headShares"), "POST": _CREATE}

ONE: Operations = {
    "DELETE": Operation(
        id="revokeShare",
        tag=Tag.SHARES,
        summary="Revoke a share",
        description="Within 3 seconds the link and every URL of the video that it gave show nothing more. A repeated "
        "request is a success, too.",
        scope="manage",
        parameters=(TASK_ID, path("share_id", "The `id` of the share.", text(), "5f3a9c0b1d2e")),
        answers=(
            Answer(
                status=200,
                description="It is revoked.",
                content={JSON: DONE},
                headers=(NO_STORE,),
                example={"success": True, "message": "分享链接已撤销"},
            ),
        ),
        errors=(TaskNotFoundError, ShareNotFoundError),
    )
}

_FILE = Named(
    name="SharedFile",
    schema=record(
        {
            "name": text("The file's name."),
            "duration": nullable(number("Seconds.")),
            "width": nullable(integer("Pixels, upright.", 0)),
            "height": nullable(integer("Pixels, upright.", 0)),
            "playable": boolean("It can be played already."),
            "poster_url": nullable(url()),
            "mp4_url": nullable(url()),
            "hls_url": nullable(url()),
            "storyboard_url": nullable(url()),
        }
    ),
)
_SHARED = Operation(
    id="sharedVideo",
    tag=Tag.SHARES,
    summary="See a shared video",
    description="What the link shows. The URLs are valid as long as the share is. No id of the task is among it.",
    who=Who.EVERYBODY,
    parameters=(_TOKEN,),
    answers=(
        Answer(
            status=200,
            description="The video.",
            content={
                JSON: record(
                    {
                        "success": DONE_FLAG,
                        "title": text("Its title, or else the name of the first file without its extension."),
                        "playable": boolean("Every file that has not failed can be played."),
                        "expires_at": nullable(moment(), "When the link ends; `null`: it does not expire."),
                        "embed_url": _EMBED,
                        "files": array(_FILE),
                    }
                )
            },
            headers=(NO_STORE,),
            example={
                "success": True,
                "title": "Holiday 2026",
                "playable": True,
                "expires_at": None,
                "embed_url": None,
                "files": [
                    {
                        "name": "holiday.mp4",
                        "duration": 3.0,
                        "width": 640,
                        "height": 480,
                        "playable": True,
                        "poster_url": _PLACE + "poster.jpg",
                        "mp4_url": _PLACE + "video.mp4",
                        "hls_url": None,
                        "storyboard_url": _PLACE + "storyboard.vtt",
                    }
                ],
            },
        ),
    ),
    errors=_ENDED,
)
SHARED: Operations = {"GET": _SHARED, "HEAD": _SHARED.as_head("headSharedVideo")}

_OEMBED = Operation(
    id="oembed",
    tag=Tag.SHARES,
    summary="Embed a shared video (oEmbed)",
    description="For sites that show a link as a player: [oEmbed](https://oembed.com) 1.0. While the setting "
    "`embed_ancestors` is empty, it is of the type `link`, without a player.",
    who=Who.EVERYBODY,
    parameters=(
        query("url", "The link, as it was shared.", text(), f"https://video.example/s/{_TOKEN_EXAMPLE}"),
        query("maxwidth", "Most pixels of the player.", integer(least=OEMBED_LEAST, most=OEMBED_MOST)),
        query("maxheight", "Most pixels of the player.", integer(least=OEMBED_LEAST, most=OEMBED_MOST)),
        query("format", "`json`; there is no other.", one_of(("json",))),
    ),
    answers=(
        Answer(
            status=200,
            description="The player, or the link.",
            content={
                JSON: record(
                    {
                        "version": {"const": "1.0"},
                        "type": one_of(("video", "link")),
                        "title": text(),
                        "provider_name": text(),
                        "provider_url": url(),
                        "cache_age": integer("Seconds.", 0),
                        "html": text("An `<iframe>`."),
                        "width": integer("Pixels.", 1),
                        "height": integer("Pixels.", 1),
                        "thumbnail_url": url(),
                        "thumbnail_width": integer("Pixels.", 1),
                        "thumbnail_height": integer("Pixels.", 1),
                    },
                    optional=(
                        "html",
                        "width",
                        "height",
                        "thumbnail_url",
                        "thumbnail_width",
                        "thumbnail_height",
                    ),
                )
            },
            headers=(NO_STORE,),
            example={
                "version": "1.0",
                "type": "link",
                "title": "Holiday 2026",
                "provider_name": "Videodock",
                "provider_url": "https://video.example/",
                "cache_age": 300,
            },
        ),
    ),
    errors=(*_ENDED, FieldInvalidError, NotFoundError),
)
OEMBED: Operations = {"GET": _OEMBED, "HEAD": _OEMBED.as_head("headOembed")}
