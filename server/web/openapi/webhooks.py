"""The operations of webhooks."""

from server.errors import (
    DeliveryNotFoundError,
    FieldInvalidError,
    TooManyWebhooksError,
    WebhookNotFoundError,
)
from server.events.types import WEBHOOKS
from server.web.openapi.operation import (
    JSON,
    Answer,
    Body,
    Named,
    Operation,
    Operations,
    Schema,
    Tag,
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
)
from server.web.openapi.schemas import DONE, DONE_FLAG, JSON_BODY, NO_STORE, REASON

_EXAMPLE_ID = "k3v9q0zt1m"
_MESSAGE = "msg_k3v9q0zt1m_4711"
_EVENTS = array(one_of(WEBHOOKS), "Types of event.", minItems=1)
_ID = path("webhook_id", "The id of a webhook.", text(minLength=1), _EXAMPLE_ID)
_WEBHOOK = Named(
    name="Webhook",
    schema=record(
        {
            "id": text(),
            "url": text("Where messages are sent."),
            "owner": nullable(text(), "Whose events it gets; `null`: those of every owner."),
            "events": array(one_of(WEBHOOKS), "Types of event that it gets."),
            "enabled": boolean(),
            "disabled": nullable(REASON, "Why the server disabled it; `null` where a person did."),
            "failures": integer("Failures in a row.", 0),
            "retry_at": nullable(moment(), "After failures in a row: when the next message is tried."),
            "pending": integer("Messages that wait.", 0),
            "dead": integer("Messages that were given up.", 0),
            "created_at": moment(),
        }
    ),
)
_WEBHOOK_EXAMPLE = {
    "id": _EXAMPLE_ID,
    "url": "https://backend.example/videodock",
    "owner": "alice",
    "events": ["task.completed", "task.failed"],
    "enabled": True,
    "disabled": None,
    "failures": 0,
    "retry_at": None,
    "pending": 0,
    "dead": 0,
    "created_at": "2026-11-30T12:00:00Z",
}
_SECRET = text("`whsec_` and Base64. It is shown once.", pattern="^whsec_")
_SECRET_EXAMPLE = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"  # noqa: S105  # that of the scheme's own example
_DELIVERY = Named(
    name="Delivery",
    schema=record(
        {
            "message_id": text("`webhook-id` of the message."),
            "type": text("Such as `task.completed`; `webhook.test` for a test."),
            "task_id": nullable(text()),
            "status": one_of(("pending", "delivered", "dead")),
            "created_at": moment("When it was due first."),
            "next_attempt_at": nullable(moment()),
            "ended_at": nullable(moment(), "When it was delivered or given up."),
            "attempts": array(
                record(
                    {
                        "at": moment(),
                        "seconds": number("How long it took."),
                        "answer_status": nullable(integer(), "HTTP status; `null` without an answer."),
                        "answer": nullable(text("The first KiB of the answer.")),
                        "error": nullable(REASON, "Why there was no answer."),
                    }
                ),
                "The oldest first.",
            ),
        }
    ),
)


def _answers(
    status: int, description: str, more: dict[str, object], example: dict[str, object] | None = None
) -> tuple[Answer, ...]:
    schema: Schema = record({"success": DONE_FLAG, **more})  # type: ignore[dict-item]
    shown = None if example is None else {"success": True, **example}
    return (Answer(status=status, description=description, content={JSON: schema}, headers=(NO_STORE,), example=shown),)


LIST = Operation(
    id="listWebhooks",
    tag=Tag.WEBHOOKS,
    summary="List webhooks",
    description="Those of the credential's owner; for `admin` all. The newest first.",
    scope="manage",
    answers=_answers(200, "The webhooks.", {"webhooks": array(_WEBHOOK)}, {"webhooks": [_WEBHOOK_EXAMPLE]}),
)
ADD = Operation(
    id="addWebhook",
    tag=Tag.WEBHOOKS,
    summary="Add a webhook",
    description="It gets what happens from then on. The secret verifies messages by the "
    "[Standard Webhooks](https://www.standardwebhooks.com/) scheme, and is shown once.",
    scope="manage",
    body=Body(
        media_type=JSON,
        schema=record(
            {
                "url": text("https or http, without a user.", minLength=1, maxLength=2048),
                "events": _EVENTS,
                "owner": nullable(
                    text(),
                    "Whose events; without it those of the credential. Others, and `null` for the events of "
                    "every owner, need the scope `admin`.",
                ),
            },
            optional=("owner",),
        ),
        example={"url": "https://backend.example/videodock", "events": ["task.completed", "task.failed"]},
    ),
    answers=_answers(
        201,
        "The webhook, with its secret.",
        {"webhook": _WEBHOOK, "secret": _SECRET, "warnings": array(REASON, "What its owner should know.")},
        {"webhook": _WEBHOOK_EXAMPLE, "secret": _SECRET_EXAMPLE, "warnings": []},
    ),
    errors=(*JSON_BODY, TooManyWebhooksError),
)
SHOW = Operation(
    id="getWebhook",
    tag=Tag.WEBHOOKS,
    summary="Show a webhook",
    scope="manage",
    parameters=(_ID,),
    answers=_answers(200, "The webhook.", {"webhook": _WEBHOOK}, {"webhook": _WEBHOOK_EXAMPLE}),
    errors=(WebhookNotFoundError,),
)
CHANGE = Operation(
    id="changeWebhook",
    tag=Tag.WEBHOOKS,
    summary="Change a webhook",
    description="Choose other events, disable or enable it. A disabled webhook gets nothing; once it is enabled it "
    "gets what happens from then on, and what was pending.",
    scope="manage",
    parameters=(_ID,),
    body=Body(
        media_type=JSON,
        schema=record({"events": nullable(_EVENTS), "enabled": nullable(boolean())}, optional=("events", "enabled")),
        required=False,
        example={"enabled": False},
    ),
    answers=_answers(200, "The webhook as it is now.", {"webhook": _WEBHOOK}, {"webhook": _WEBHOOK_EXAMPLE}),
    errors=(*JSON_BODY, WebhookNotFoundError),
)
REMOVE = Operation(
    id="removeWebhook",
    tag=Tag.WEBHOOKS,
    summary="Remove a webhook",
    description="With its deliveries and their log; what is pending is not sent.",
    scope="manage",
    parameters=(_ID,),
    answers=(Answer(status=200, description="It is removed.", content={JSON: DONE}, headers=(NO_STORE,)),),
    errors=(WebhookNotFoundError,),
)
_ROTATE = Operation(
    id="rotateWebhookSecret",
    tag=Tag.WEBHOOKS,
    summary="Make a new secret",
    description="Until `old_until` messages bear two signatures, by the new secret and by the old one.",
    scope="manage",
    parameters=(_ID,),
    answers=_answers(
        200,
        "The new secret.",
        {"secret": _SECRET, "old_until": moment("Until when the old one signs, too.")},
        {"secret": _SECRET_EXAMPLE, "old_until": "2026-12-01T12:00:00Z"},
    ),
    errors=(*JSON_BODY, WebhookNotFoundError),
)
_TEST = Operation(
    id="testWebhook",
    tag=Tag.WEBHOOKS,
    summary="Send a test message",
    description="Its type is `webhook.test`. The deliveries tell how it went.",
    scope="manage",
    parameters=(_ID,),
    answers=_answers(
        202,
        "The message is queued.",
        {"message": text(), "message_id": text("Its `webhook-id`.")},
        {"message": "测试消息已排队，结果见投递记录", "message_id": "msg_k3v9q0zt1m_t0123456789ab"},
    ),
    errors=(*JSON_BODY, WebhookNotFoundError),
)
_REPLAY = Operation(
    id="replayWebhook",
    tag=Tag.WEBHOOKS,
    summary="Send messages again",
    description="One by `message_id`; or all of the events from `since` until `until` (now, without it), also those "
    "that the webhook missed while it was disabled; at most 100,000. Messages keep their `webhook-id`.",
    scope="manage",
    parameters=(_ID,),
    body=Body(
        media_type=JSON,
        schema=record(
            {
                "message_id": text(minLength=1),
                "since": text("A time by RFC 3339; UTC without a zone."),
                "until": text("Likewise."),
            },
            optional=("message_id", "since", "until"),
        ),
        example={"message_id": _MESSAGE},
    ),
    answers=_answers(202, "They are queued.", {"count": integer("How many messages.", 0)}, {"count": 1}),
    errors=(*JSON_BODY, WebhookNotFoundError, DeliveryNotFoundError),
)
_LOG = Operation(
    id="listDeliveries",
    tag=Tag.WEBHOOKS,
    summary="List deliveries",
    description="The newest first, each with its attempts. `next` is the cursor of the next page; `null` on the last.",
    scope="manage",
    parameters=(
        _ID,
        query("status", "Only those.", one_of(("pending", "delivered", "dead"))),
        query("limit", "Deliveries of a page.", {**integer(least=1, most=200), "default": 50}),
        query("cursor", "`next` of the page before.", integer(least=1, most=1 << 62)),
    ),
    answers=_answers(
        200,
        "A page.",
        {"deliveries": array(_DELIVERY), "next": nullable(text())},
        {"deliveries": [], "next": None},
    ),
    errors=(FieldInvalidError, WebhookNotFoundError),
)

ALL: Operations = {"GET": LIST, "HEAD": LIST.as_head("headWebhooks"), "POST": ADD}
ONE: Operations = {"GET": SHOW, "HEAD": SHOW.as_head("headWebhook"), "PATCH": CHANGE, "DELETE": REMOVE}
ROTATE: Operations = {"POST": _ROTATE}
TEST: Operations = {"POST": _TEST}
REPLAY: Operations = {"POST": _REPLAY}
DELIVERIES: Operations = {"GET": _LOG, "HEAD": _LOG.as_head("headDeliveries")}
