"""`passthrough`: the text by which a client's backend knows an upload. Our own metadata key, not a part of tus.

Rule: it is at most 1 KiB of UTF-8 without NUL and comes back unchanged, or it is refused. An empty text is none.
"""

from collections.abc import Mapping

from server.errors import FieldInvalidError, MetadataInvalidError

KEY = "passthrough"
MOST_BYTES = 1024


def parse_passthrough(metadata: Mapping[str, bytes]) -> str | None:
    """The text in Upload-Metadata; None without. Raises `MetadataInvalidError`."""
    value = metadata.get(KEY)
    if not value:
        return None
    if len(value) > MOST_BYTES:
        raise MetadataInvalidError(reason="metadata_text_size", key=KEY, most=MOST_BYTES)
    text = _decode(value)
    if text is None:
        raise MetadataInvalidError(reason="metadata_text", key=KEY)
    return text


def of_field(value: bytes | str) -> str | None:
    """The text in a field of a form or of a JSON body. Raises `FieldInvalidError`."""
    # Halves of surrogates, which JSON can spell, become bytes that are not UTF-8.
    raw = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    if not raw:
        return None
    if len(raw) > MOST_BYTES:
        raise FieldInvalidError(field=KEY, reason="text_size", most=MOST_BYTES)
    text = _decode(raw)
    if text is None:
        raise FieldInvalidError(field=KEY, reason="text_characters")
    return text


def _decode(value: bytes) -> str | None:
    """Without NUL, which PostgreSQL stores in no text."""
    try:
        return None if b"\0" in value else value.decode()
    except UnicodeDecodeError:
        return None
