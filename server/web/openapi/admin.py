"""The operations of `/api/admin`."""

from server.auth.principal import Scope
from server.errors import (
    CursorInvalidError,
    FieldInvalidError,
    GrantNotFoundError,
    KeyNotFoundError,
    UnavailableError,
)
from server.uploads.quotas import LIMITS
from server.web.openapi.operation import (
    JSON,
    Answer,
    AnySchema,
    Body,
    Named,
    Operation,
    Operations,
    Parameter,
    Refusal,
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

LIMIT, MOST = 50, 200
LEAST_KEY, MOST_KEY = 60, 10 * 365 * 86400

_STATE = one_of(("valid", "expired", "revoked"))
_ID = "5f3a9c0b1d2e"
_OWNER = query("owner", "Only those of this owner.", text(), "ann")
_PAGES = (
    query("limit", "Rows of a page.", integer(least=1, most=MOST) | {"default": LIMIT}),
    query("cursor", "`next` of the page before.", text()),
)
_NUMBERS = record(dict.fromkeys(LIMITS, integer(least=0)))
_OWN_NUMBERS = record(dict.fromkeys(LIMITS, nullable(integer(least=0))))


def _operation(
    name: str,
    summary: str,
    content: AnySchema,
    *,
    description: str = "",
    status: int = 200,
    parameters: tuple[Parameter, ...] = (),
    body: Body | None = None,
    errors: tuple[Refusal, ...] = (),
) -> Operation:
    answer = Answer(status=status, description="As described.", content={JSON: content}, headers=(NO_STORE,))
    return Operation(
        id=name,
        tag=Tag.ADMIN,
        summary=summary,
        description=description,
        scope="admin",
        parameters=parameters,
        body=body,
        answers=(answer,),
        errors=errors,
    )


def _read(operation: Operation) -> dict[str, Operation]:
    return {"GET": operation, "HEAD": operation.as_head(f"{operation.id}Head")}


def _page(name: str, row: AnySchema) -> AnySchema:
    return record({"success": DONE_FLAG, name: array(row), "next": nullable(text(), "`null` on the last page.")})


_CHECK = record(
    {
        "name": text(),
        "ok": boolean(),
        "message": nullable(text(), "What is wrong."),
        "required": boolean("Without it the server is not ready."),
    }
)
_QUEUE = record(
    {
        "waiting": integer("Tasks that a worker could claim now.", 0),
        "running": integer("Tasks that a worker works on.", 0),
        "gathering": integer("Tasks that wait for uploads of their group.", 0),
        "abandoned": integer("Tasks whose worker does not respond.", 0),
        "oldest_waiting_seconds": number("Age of the oldest task that could be claimed.", minimum=0),
        "postponed": array(record({"code": text(), "message": text(), "tasks": integer(least=0)})),
        "wait_p50_seconds": nullable(number(), "Of the last 24 hours; `null` without any."),
        "wait_p95_seconds": nullable(number()),
    }
)
_COUNT = integer(least=0)
_TITLE = nullable(text(), "The title, or the name of the first file.")
_WORKER = record(
    {
        "worker": nullable(text(), "Machine and process."),
        "task_id": text(),
        "owner": text(),
        "title": _TITLE,
        "step": nullable(text()),
        "progress": integer("Percent.", 0, 100),
        "eta_seconds": nullable(integer(least=0)),
        "attempt": integer(least=0),
        "started_at": nullable(moment()),
    }
)
_UPLOAD = record(
    {
        "id": text(),
        "owner": text(),
        "filename": nullable(text()),
        "protocol": text(),
        "client": text("Kind of client, by its User-Agent; `unknown` without one."),
        "created_at": moment(),
        "received": integer("Bytes.", 0),
        "length": nullable(integer("Bytes of the whole file.", 0)),
        "bytes_per_second": nullable(number(), "Since the look before; `null` at the first one."),
        "idle_seconds": nullable(integer(least=0)),
        "why": nullable(text(), "What it waits for; see the view `open_uploads` in docs/database.md."),
    }
)
_FAILED = record(
    {"task_id": text(), "owner": text(), "title": _TITLE, "error": REASON, "failed_at": moment(), "attempt": _COUNT}
)
OVERVIEW: Operations = _read(
    _operation(
        "overview",
        "Queue, workers, uploads in flight, failures, disk and readiness",
        record(
            {
                "success": DONE_FLAG,
                "version": text(),
                "database": one_of(("sqlite", "postgresql")),
                "authentication": boolean(),
                "readiness": record({"ready": boolean(), "checks": array(_CHECK)}),
                "queue": _QUEUE,
                "workers": array(_WORKER, "At most 50."),
                "uploads": record(
                    {
                        "open": integer("All that are open.", 0),
                        "bytes_per_second": nullable(number(), "Of all `items` together."),
                        "items": array(_UPLOAD, "The 50 whose bytes came last."),
                    }
                ),
                "failures": record(
                    {
                        "last_day": integer("Tasks that failed in the last 24 hours; counted up to 1,000.", 0),
                        "items": array(_FAILED, "The 20 newest of these."),
                    }
                ),
                "disk": record(
                    {
                        "capacity": integer("Bytes.", 0),
                        "free": integer("Bytes.", 0),
                        "reserve": integer("Bytes that are kept free.", 0),
                        "reserved": integer("Bytes that open uploads will still need.", 0),
                        "left": integer("Bytes for new uploads; negative when there is too little."),
                    }
                ),
            }
        ),
        description="Ask for it every few seconds. Rates are the difference to the look before.",
    )
)

_OWNER_ROW = Named(
    name="OwnerUsage",
    schema=record({"owner": text(), "usage": _NUMBERS, "limits": _NUMBERS, "own_limits": _OWN_NUMBERS}),
)
OWNERS: Operations = {
    **_read(
        _operation(
            "listOwners",
            "List owners with usage and limits",
            _page("owners", _OWNER_ROW),
            description="By name. Of `limits`, 0 is none; `own_limits` has `null` where the setting holds. Each owner "
            "is added up from rows, so ask for few at once where an owner has many uploads.",
            parameters=_PAGES,
            errors=(FieldInvalidError, CursorInvalidError),
        )
    ),
    "PATCH": _operation(
        "limitOwner",
        "Set limits of an owner",
        record({"success": DONE_FLAG, "owner": _OWNER_ROW}),
        description="Of an owner who need not have anything yet. What is left out stays; 0 is no limit, and `null` the "
        "setting's. It holds within seconds.",
        body=Body(
            media_type=JSON,
            schema=record(
                {"owner": text(minLength=1), **dict.fromkeys(LIMITS, nullable(integer(least=0)))}, optional=LIMITS
            ),
            example={"owner": "ann", "stored_bytes": 1 << 30},
        ),
        errors=JSON_BODY,
    ),
}

_KEY = Named(
    name="ApiKey",
    schema=record(
        {
            "id": text("The part of the key that is no secret."),
            "owner": text(),
            "scopes": array(one_of(Scope)),
            "state": _STATE,
            "created_at": moment(),
            "expires_at": nullable(moment()),
            "revoked_at": nullable(moment()),
            "last_used_at": nullable(moment(), "To the hour."),
        }
    ),
)
KEYS: Operations = {
    **_read(
        _operation(
            "listKeys",
            "List API keys",
            _page("keys", _KEY),
            description="The newest first, without their secrets.",
            parameters=(_OWNER, *_PAGES),
            errors=(FieldInvalidError, CursorInvalidError),
        )
    ),
    "POST": _operation(
        "addKey",
        "Create an API key",
        record({"success": DONE_FLAG, "key": _KEY, "text": text("The key. It is shown once.", pattern="^vdk_")}),
        status=201,
        body=Body(
            media_type=JSON,
            schema=record(
                {
                    "owner": text(minLength=1),
                    "scopes": array(one_of(Scope), minItems=1),
                    "expires_in": nullable(integer("Seconds.", LEAST_KEY, MOST_KEY), "`null`: never."),
                },
                optional=("expires_in",),
            ),
            example={"owner": "ann", "scopes": ["upload", "read", "manage"], "expires_in": 7776000},
        ),
        errors=JSON_BODY,
    ),
}
KEY: Operations = {
    "DELETE": _operation(
        "revokeKey",
        "Revoke an API key",
        DONE,
        description="Every process refuses it within 5 seconds.",
        parameters=(path("key_id", "Its `id`.", text(), _ID),),
        errors=(KeyNotFoundError,),
    )
}

_GRANT = record(
    {
        "id": text("The part of the grant that is no secret."),
        "owner": text(),
        "created_by": text(),
        "state": _STATE,
        "created_at": moment(),
        "expires_at": moment(),
        "revoked_at": nullable(moment()),
        "uploads": integer("How many it may create.", 1),
        "used": integer("How many places are taken.", 0),
        "filename": nullable(text()),
        "task": nullable(text()),
    }
)
GRANTS: Operations = _read(
    _operation(
        "listGrants",
        "List upload grants",
        _page("grants", _GRANT),
        description="The newest first, without their secrets.",
        parameters=(_OWNER, *_PAGES),
        errors=(FieldInvalidError, CursorInvalidError),
    )
)
GRANT: Operations = {
    "DELETE": _operation(
        "revokeGrant",
        "Revoke an upload grant",
        DONE,
        description="It creates no more uploads. Those that it created stay, and may be continued.",
        parameters=(path("grant_id", "Its `id`.", text(), _ID),),
        errors=(GrantNotFoundError,),
    )
}

AUDIT: Operations = _read(
    _operation(
        "listAudit",
        "List what was done",
        _page(
            "entries",
            record(
                {
                    "id": integer(least=1),
                    "at": moment(),
                    "action": text("Such as `sign_in` or `task_removed`."),
                    "actor": text("The credential; `operator` for commands."),
                    "owner": nullable(text()),
                    "object_kind": nullable(text()),
                    "object_id": nullable(text()),
                    "object_owner": nullable(text(), "Whose it is, where that is another owner."),
                    "address": nullable(text()),
                    "request_id": nullable(text()),
                    "details": nullable({"type": "object"}),
                }
            ),
        ),
        description="The newest first. A page looks at 10,000 entries at most: with filters it may be short, and even "
        "empty, and still have a `next`.",
        parameters=(
            query("owner", "By this owner, or on what is this owner's.", text(), "ann"),
            query("action", "Only this one.", text(maxLength=32), "sign_in"),
            query("from", "At this time or later.", text(), "2026-11-22"),
            query("to", "Before this time.", text(), "2026-11-23"),
            *_PAGES,
        ),
        errors=(FieldInvalidError, CursorInvalidError),
    )
)
SETTINGS: Operations = _read(
    _operation(
        "listSettings",
        "List the settings in force",
        record(
            {
                "success": DONE_FLAG,
                "settings": array(
                    record(
                        {
                            "name": text(),
                            "variable": text("The environment variable."),
                            "value": text("As one would write it; what may be a secret is `***`."),
                            "default": text(),
                            "description": text("In the reader's language."),
                            "source": one_of(("environment", "file", "default")),
                            "is_default": boolean(),
                            "is_secret": boolean("It is, or may have, a secret."),
                        }
                    )
                ),
            }
        ),
        description="They are changed where the server is started.",
    )
)
DOCTOR: Operations = _read(
    _operation(
        "doctor",
        "What is wrong on the machine",
        record(
            {
                "success": DONE_FLAG,
                "at": moment("When it looked."),
                "seconds": number("How long that took."),
                "checks": array(
                    record(
                        {
                            "name": text(),
                            "title": text("The name for a reader, in their language."),
                            "state": one_of(("ok", "problem", "advice", "skipped")),
                            "note": text("In the reader's language."),
                            "findings": array(
                                record(
                                    {
                                        "code": text("See docs/doctor.md."),
                                        "level": one_of(("problem", "advice")),
                                        "text": text("What is wrong, in the reader's language."),
                                        "change": text("What to change."),
                                    }
                                )
                            ),
                        }
                    )
                ),
            }
        ),
        description="As `videodock doctor` says it, without the folders of the machine. It takes seconds; an answer is "
        "kept for a minute.",
        errors=(UnavailableError,),
    )
)
