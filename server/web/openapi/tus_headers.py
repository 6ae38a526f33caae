"""Headers, parameters and the body of tus requests and answers, for the operations in `tus.py`.

Rule: each header is described once; an operation says whether it needs it.
"""

from dataclasses import replace

from server.web.openapi.files import NOSNIFF
from server.web.openapi.operation import UUID, Body, Header, Schema, header, integer, path, text
from server.web.openapi.schemas import NO_STORE, TASK_EXAMPLE, UPLOAD_OFFSET

_MOST = (1 << 63) - 1
BYTES = integer("Bytes.", 0, _MOST)
_DATE: Schema = text(pattern=r"^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$")
_OCTETS = "application/offset+octet-stream"
_METADATA_EXAMPLE = "filename aG9saWRheS5tcDQ="

# Requests

VERSION = header("Tus-Resumable", "The version of the protocol.", {"const": "1.0.0"}, required=True, example="1.0.0")
VERSION_OR_NOT = replace(VERSION, required=False)
CHECKSUM = header(
    "Upload-Checksum",
    "Algorithm and base64 digest of the body (section Checksum). The bytes count only after the check. With "
    "`Trailer: Upload-Checksum` it may follow the body.",
    text(pattern="^[!-~]+ [A-Za-z0-9+/=]+$"),
    example="sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
)
LENGTH = header("Upload-Length", "Bytes of the whole upload.", BYTES, example=353519)
CREATE_PARAMETERS = (
    VERSION,
    LENGTH,
    header("Upload-Defer-Length", "`1`: the length follows with a PATCH.", {"const": "1"}),
    header(
        "Upload-Metadata",
        "Keys and base64 values (section Creation). `filename` (or `name`) decides the type together with the first "
        "bytes; `task`, `task_files` and `task_file` join several uploads into one task.",
        text(maxLength=16384),
        example=_METADATA_EXAMPLE,
    ),
    header(
        "Upload-Concat",
        "`partial`, or `final;` and the URLs of the parts, separated by blanks (section Concatenation).",
        text(),
    ),
    CHECKSUM,
)
GRANT = path("grant", "The token of an upload grant.", text(minLength=1), "vdg_0123456789ab_…")
UPLOAD_ID = path(
    "upload_id",
    "The last segment of the URL of an upload: its id, and with authentication a signature, `<id>~<signature>`.",
    text(minLength=1),
    TASK_EXAMPLE,
)
BODY = Body(
    media_type=_OCTETS,
    schema={"type": "string", "contentMediaType": _OCTETS},
    description="The first bytes of the file.",
    required=False,
)

# Answers

_APPEND_SIZE = r"^max-append-size=\d+$"
ON_EVERY_ANSWER = (
    Header(name="Tus-Resumable", description="The version of the protocol.", schema={"const": "1.0.0"}, required=True),
    NOSNIFF,
    NO_STORE,
    # Only with the setting `advised_chunk_size`.
    Header(name="Upload-Limit", description="Bytes of a PATCH at most, as advice.", schema=text(pattern=_APPEND_SIZE)),
    Header(name="Tus-Max-Chunk-Size", description="The same number.", schema=BYTES),
)
LOCATION = Header(name="Location", description="The URL of the upload.", schema=text(pattern="^https?://"))
PROGRESS = (
    UPLOAD_OFFSET,
    Header(
        name="Upload-Task",
        description="The id of the task that the upload has become, or will be a part of.",
        schema=UUID,
    ),
    Header(name="Upload-Expires", description="When it is removed, unless more bytes come.", schema=_DATE),
)
FACTS = (
    Header(name="Upload-Length", description="Bytes of the whole upload.", schema=BYTES),
    Header(name="Upload-Defer-Length", description="The length is not declared yet.", schema={"const": "1"}),
    Header(name="Upload-Metadata", description="As it came, byte for byte.", schema=text()),
    Header(
        name="Upload-Concat",
        description="`partial`, or `final;` and the parts; without them where they would make the head too long.",
        schema=text(),
    ),
)
OFFER_HEADERS = (
    Header(name="Tus-Version", description="Versions of the protocol.", schema=text(), required=True),
    Header(name="Tus-Extension", description="Extensions, separated by commas.", schema=text(), required=True),
    Header(name="Tus-Max-Size", description="Most bytes of an upload.", schema=BYTES, required=True),
    Header(name="Tus-Checksum-Algorithm", description="Separated by commas.", schema=text(), required=True),
    Header(
        name="Upload-Extensions",
        description="Accepted file name extensions, separated by commas; `*`: all.",
        schema=text(),
        required=True,
    ),
)
