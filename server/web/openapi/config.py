"""The operation of `GET /api/config`.

Rule: as all of this room, pure data; `web/config.py` makes what is described here.
"""

from server.web.openapi.files import NOSNIFF
from server.web.openapi.operation import (
    JSON,
    Answer,
    Face,
    Header,
    Operation,
    Operations,
    Tag,
    Who,
    array,
    boolean,
    header,
    integer,
    nullable,
    record,
    text,
)

_CACHED = (
    NOSNIFF,
    Header(name="Cache-Control", description="Caches may keep it for a minute.", schema=text(), required=True),
    Header(name="ETag", description="Changes with the settings.", schema=text(), required=True),
)
_EXTENSIONS = nullable(array(text(pattern="^[a-z0-9]+$")), "Without a dot; null where every file is accepted.")
_TUS = record(
    {
        "version": {"const": "1.0.0"},
        "extensions": array(text()),
        "checksum_algorithms": array(text()),
        "deferred_length": boolean("Whether the length may be declared later."),
        "max_size": integer("Bytes of an upload at most.", 1),
        "accepted_extensions": _EXTENSIONS,
        "expires_after": integer("Seconds after its last byte at which an unfinished upload is removed.", 1),
    }
)
_FORM = record(
    {
        "max_file_size": integer("Bytes of a file at most.", 1),
        "accepted_extensions": _EXTENSIONS,
        "idempotency_expires_after": integer("Seconds for which an `Idempotency-Key` counts.", 1),
    }
)
_BRAND = record(
    {
        "name": text("What the page is called."),
        "accent": text("Colour of buttons and links on the light page.", pattern="^#[0-9a-f]{6}$"),
        "logo": nullable(text(), "Path of the logo below the server's address."),
        "terms_url": nullable(text(), "The terms of use."),
        "privacy_url": nullable(text(), "The privacy notice."),
    }
)
_CONFIG = Operation(
    id="config",
    tag=Tag.SERVER,
    summary="What may be uploaded, and how",
    description="The same for everybody. Quotas and grants may allow less.",
    who=Who.EVERYBODY,
    parameters=(header("If-None-Match", "The ETag of a copy.", text()),),
    answers=(
        Answer(
            status=200,
            description="Types, sizes and limits.",
            content={
                JSON: record(
                    {
                        "success": {"const": True},
                        "chunk_size": nullable(integer("", 1), "Bytes of a PATCH at most that the server advises."),
                        "max_files": integer("Files of one task at most.", 1),
                        "authentication": boolean("Whether uploads need a credential."),
                        "downloads": boolean("Whether originals may be downloaded."),
                        "sharing": record(
                            {"embed": boolean("Whether pages of other sites may show the player in a frame.")}
                        ),
                        "brand": _BRAND,
                        "tus": _TUS,
                        "form": _FORM,
                    }
                )
            },
            headers=_CACHED,
        ),
        Answer(status=304, description="The copy is still valid.", headers=_CACHED),
    ),
    face=Face.API,
)
CONFIG: Operations = {"GET": _CONFIG, "HEAD": _CONFIG.as_head("configHead")}
