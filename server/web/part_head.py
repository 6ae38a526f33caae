"""The head of a form part (RFC 7578 section 4): MIME fields, whose folded lines are joined.

Rule: the head of a part is interpreted here, and an invalid one is refused here; no I/O. A head has
as many bytes as the reader allows, and costs time in proportion to them.
"""

import re
from dataclasses import dataclass

from server import filenames
from server.errors import (
    ClientError,
    ContentEncodingUnsupportedError,
    MultipartInvalidError,
    TransferEncodingUnsupportedError,
)
from server.web import mime

_FIELD_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_LONE_BREAK = re.compile(rb"\r(?!\n)|(?<!\r)\n")
# RFC 2045 section 6.2: these three leave the bytes as they are.
_PLAIN_TRANSFER = frozenset({"", "7bit", "8bit", "binary"})
_PLAIN_CODING = frozenset({"", "identity"})
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True)
class PartHead:
    """The facts of a part's head. `filename` has no path; `media_type` is in lower case, empty when there is none.

    `refusal` is why the part cannot be stored as a file.
    """

    name: str = ""
    filename: str | None = None
    media_type: str = ""
    refusal: ClientError | None = None


def parse(head: bytes, charset: str | None) -> PartHead:
    """The head after a delimiter, from the rest of the delimiter's line to the blank line, without that.

    `charset` is the character set that the form declares. Raises `MultipartInvalidError`.
    """
    if _LONE_BREAK.search(head):
        raise MultipartInvalidError(reason="form_line_break")
    # The rest of the delimiter's line may only be blanks (RFC 2046: transport padding).
    padding, _, rest = head.partition(b"\r\n")
    if padding.strip(b" \t"):
        raise MultipartInvalidError(reason="form_boundary_line")
    fields: dict[bytes, bytes] = {}
    for line in _unfolded(rest).split(b"\r\n") if rest else []:
        name, colon, value = line.partition(b":")
        if not colon or not _FIELD_NAME.fullmatch(name):
            raise MultipartInvalidError(reason="form_head_line")
        fields[name.lower()] = value.strip(b" \t")
    media_type, options = mime.parameters(_text(fields, b"content-type", charset))
    if media_type.startswith("multipart/"):  # RFC 7578 section 4.3: several files in one part, as clients once did
        raise MultipartInvalidError(reason="form_nested")
    disposition = _text(fields, b"content-disposition", options.get("charset") or charset)
    _, named = mime.parameters(disposition)
    filename = mime.best(named, "filename")
    return PartHead(
        mime.best(named, "name") or "",
        None if filename is None else filenames.base(filename),
        media_type,
        _refusal(_text(fields, b"content-transfer-encoding", None), _text(fields, b"content-encoding", None)),
    )


def _unfolded(lines: bytes) -> bytes:
    return lines.replace(b"\r\n ", b" ").replace(b"\r\n\t", b"\t")


def _text(fields: dict[bytes, bytes], name: bytes, charset: str | None) -> str:
    return mime.field_text(fields.get(name, b""), charset)


def _refusal(transfer: str, content: str) -> ClientError | None:
    """Encoded bytes would be stored as the file itself."""
    if transfer.lower() not in _PLAIN_TRANSFER:
        return TransferEncodingUnsupportedError(coding=_shown(transfer))
    codings = [coding.strip() for coding in content.split(",")]
    strange = [coding for coding in codings if coding.lower() not in _PLAIN_CODING]
    return ContentEncodingUnsupportedError(coding=_shown(", ".join(strange))) if strange else None


def _shown(text: str) -> str:
    return filenames.display(text)[:_SHOWN_CHARACTERS]
