"""Answers that are files, whole or in ranges (RFC 9110 sections 13 and 14), and what a client asks them with."""

from dataclasses import replace

from server.web.openapi.operation import Answer, Header, header, integer, one_of, query, text

NOSNIFF = Header(
    name="X-Content-Type-Options",
    description="The type is the one that is named.",
    schema={"const": "nosniff"},
    required=True,
)
RANGED = (
    header("Range", "Which bytes; several ranges become `multipart/byteranges`.", text(), example="bytes=0-1023"),
    header("If-Range", "The `ETag` or `Last-Modified` that the ranges are of.", text()),
    header("If-Match", "Only if the file has one of these tags.", text()),
    header("If-None-Match", "Only if the file has none of these tags.", text()),
    header("If-Modified-Since", "Only if it is newer.", text()),
    header("If-Unmodified-Since", "Only if it is not newer.", text()),
)
DOWNLOAD_QUERY = query(
    "download",
    "`1`: to be saved, under the title of the video if it has one (`Content-Disposition`).",
    one_of(("0", "1", "false", "true")),
    "1",
)
_AGAIN = "private, no-store"
_CACHE = Header(name="Cache-Control", description="A private copy may be kept.", schema=text(pattern="^private, "))
_VERSION = (
    Header(name="ETag", description="The version of the file.", schema=text(pattern='^"[^"]+"$')),
    Header(name="Last-Modified", description="When it was made.", schema=text()),
)
CONTENT_RANGE = Header(
    name="Content-Range",
    description="Which bytes these are; of 416: how many there are.",
    schema=text(pattern=r"^bytes (\d+-\d+|\*)/\d+$"),
)
RANGE_HEADERS = (
    *_VERSION,
    Header(name="Cache-Control", description="A private copy may be kept.", schema=text()),
    Header(name="Accept-Ranges", description="Ranges are possible.", schema={"const": "bytes"}),
    Header(name="Content-Length", description="Bytes of the body that GET has.", schema=integer(least=0)),
    Header(name="Content-Disposition", description="The name to save it under.", schema=text()),
)


def file_answers(what: str, *media_types: str) -> tuple[Answer, ...]:
    """The answers of a GET of a file of these media types."""
    binary = {"type": "string", "contentMediaType": "application/octet-stream"}
    content = dict.fromkeys(media_types, binary)
    headers = (*(replace(one, required=True) for one in _VERSION), *RANGE_HEADERS[2:], NOSNIFF)
    return (
        Answer(status=200, description=what, content=content, headers=headers),
        Answer(
            status=206,
            description="The ranges that were asked for.",
            content={**content, "multipart/byteranges": binary},
            headers=(*headers, CONTENT_RANGE),
        ),
        Answer(
            status=302,
            description="With `s3_presign`, of a video, a segment or an original: the bucket has the bytes.",
            headers=(
                Header(
                    name="Location", description="Where, for a limited time; GET only.", schema=text(), required=True
                ),
                Header(name="Cache-Control", description="Ask again each time.", schema={"const": _AGAIN}),
            ),
        ),
        Answer(status=304, description="The client has it already.", headers=(*_VERSION, _CACHE)),
    )
