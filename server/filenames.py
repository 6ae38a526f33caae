"""Names made safe.

Rule: a name that came from a client is text to show, never a path to open. No stored byte has a name that is
made here: files are named by their upload's id. The safe name is for downloads, logs and reports.
"""

import re
import unicodedata

MAX_BYTES = 255
FALLBACK = "video"
_DISPLAY_CHARACTERS = 1024
_EXTENSION_CHARACTERS = 16

# Device names that Windows opens whatever their extension.
_RESERVED = re.compile(r"(?i)^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\.|$)")
_UNSAFE = re.compile(r'[<>:"|?*]')
# Controls, format characters (bidirectional overrides, zero widths), surrogates, private use, unassigned,
# line and paragraph separators.
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def display(name: str) -> str:
    """The name as its owner knows it, for text only: characters that would break a line or a database are dropped.

    PostgreSQL refuses NUL and UTF-8 lone surrogates; all others stay, up to 1,024 characters, of
    which the extension is dropped last.
    """
    kept = without_controls(name)
    stem, dot, extension = kept.rpartition(".")
    if len(kept) <= _DISPLAY_CHARACTERS or not dot or len(extension) > _EXTENSION_CHARACTERS:
        return kept[:_DISPLAY_CHARACTERS]
    return stem[: _DISPLAY_CHARACTERS - len(extension) - 1] + dot + extension


def without_controls(text: str) -> str:
    """The text without controls and lone surrogates."""
    if text.isprintable():  # most names: then it has neither
        return text
    return "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cs"))


def base(name: str) -> str:
    """The last part of a name that is a path: some browsers and libraries send one, with either separator."""
    return re.split(r"[/\\]", name.rstrip("/\\"))[-1] or name


def safe(name: str) -> str:
    """A name that any file system and any `Content-Disposition` takes: at most 255 bytes of UTF-8, no path.

    Path parts, control and invisible characters and reserved names are dropped; the extension stays; an empty result
    becomes `video`.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    last = "".join(c for c in last if unicodedata.category(c) not in _HIDDEN_CATEGORIES)
    last = _UNSAFE.sub("_", last).strip().rstrip(" .")
    stem, dot, extension = last.rpartition(".")
    if not dot or len(extension.encode()) > _EXTENSION_CHARACTERS:
        stem, extension = last, ""
    suffix = f".{extension}" if extension else ""
    room = MAX_BYTES - len(suffix.encode())
    stem = _cut(stem.strip(" ."), room).strip(" .") or FALLBACK
    if _RESERVED.match(stem + suffix):  # checked last: dropped characters may have hidden it
        stem = _cut("_" + stem, room)
    return stem + suffix


def _cut(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, never half a character."""
    return text.encode()[:limit].decode(errors="ignore")
