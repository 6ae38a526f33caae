"""Header fields of form parts as text: parameters, encoded words and character sets.

Rule: pure functions, each linear in its input. Nothing here refuses a request: a malformed value has a fallback, so
that no file is lost because of its name. Character sets come from a list that is fixed at import: a name that
a client invents is not looked up, since Python would cache each of them for ever.

RFC 2231 and 5987 (`filename*`), RFC 2047 (`=?utf-8?B?…?=`), RFC 7578 section 4.2 and the HTML standard (`%22`).
"""

import base64
import binascii
import encodings
import pkgutil
import re
from collections.abc import Mapping
from encodings.aliases import aliases
from functools import lru_cache
from urllib.parse import unquote, unquote_to_bytes

# A quote inside a quoted string that is not followed by `;` or the end belongs to the value: some clients do not
# escape it. Possessive, so that no input makes it read a character again and again.
_QUOTED = re.compile(r'"((?:[^"\\]|\\.|"(?![ \t]*(?:;|$)))*+)"', re.DOTALL)
_QUOTED_PLAIN = re.compile(r'"([^"]*+)"')  # the value ends in a backslash that escapes nothing
_KEY = re.compile(r"[^;]*+;([^;=]*+)(=?)[ \t]*+")
_ESCAPED = re.compile(r'\\(["\\])')
_BROWSERS_ESCAPES = {"%22": '"', "%0D": "\r", "%0A": "\n", "%0d": "\r", "%0a": "\n"}
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_WORD = re.compile(r"=\?([^?*\s]{1,40})(?:\*[^?\s]*)?\?([bBqQ])\?([^?]*)\?=")
_BAD_Q = re.compile(rb"=(?![0-9A-Fa-f]{2})")
_MAX_PARAMETERS = 300
_MAX_WORDS = 8192  # characters of a name in which encoded words are looked for; one that is shown has 1,024
_SECTION = re.compile(r"\*(0|[1-9][0-9]{0,3})(\*?)")

_NO_CHARSETS = frozenset(
    {"aliases", "charmap", "idna", "mbcs", "oem", "punycode", "raw_unicode_escape", "rot_13", "undefined"}
    | {"unicode_escape", "utf_7", "base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "uu_codec", "zlib_codec"}
)
_MODULES = {module.name for module in pkgutil.iter_modules(encodings.__path__)} - _NO_CHARSETS
_CHARSETS: Mapping[str, str] = (
    {alias: name for alias, name in aliases.items() if name in _MODULES}
    | {name: name for name in _MODULES}
    | {"x_gbk": "gbk", "x_sjis": "shift_jis", "x_euc_jp": "euc_jp", "windows_936": "gbk", "windows_31j": "cp932"}
)
# The declared set is often a subset of the set that was really used.
_LARGER = {"gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs", "shift_jis": "cp932", "euc_kr": "cp949"}
_EVERY_BYTE = bytes(range(256))
_SAMPLE = 'form-data; name="a"; filename*=b'


def parameters(value: str) -> tuple[str, dict[str, str]]:
    """The value of a field in lower case, and its parameters by lower-case name; the last of equal names counts.

    Parameters after the first 300 are ignored.
    """
    kind, _, _ = value.partition(";")
    found: dict[str, str] = {}
    at, quoted = len(kind), _QUOTED
    for _ in range(_MAX_PARAMETERS):
        key = _KEY.match(value, at)
        if key is None:
            break
        at = key.end()
        if not key[2]:
            continue
        string = quoted.match(value, at)
        if string is None and value.startswith('"', at):
            quoted = _QUOTED_PLAIN  # at most one pass over the rest of the field
            string = quoted.match(value, at)
        if string is not None:
            text, at = _ESCAPED.sub(r"\1", string[1]), string.end()
        else:
            stop = value.find(";", at)
            stop = len(value) if stop < 0 else stop
            text, at = value[at:stop].strip().strip('"'), stop
        if name := key[1].strip().lower():
            found[name] = text
    return kind.strip().lower(), found


def best(found: Mapping[str, str], key: str) -> str | None:
    """The text of the parameter `key` in its most precise form; None without one.

    A well-formed `key*`, else well-formed continuations `key*0`, `key*1`, else `key`, with encoded words and the
    escapes of browsers decoded, else the readable part of a malformed `key*`.
    """
    text = _extended(found[f"{key}*"]) if f"{key}*" in found else None
    text = text or _continued(found, key)
    if text:
        return text
    plain = found.get(key)
    if plain:
        words = _words(plain)
        return _from_browser(plain) if words is None else words
    return _salvaged(found, key) or plain


def _from_browser(text: str) -> str:
    """The three characters that browsers escape in a name (HTML standard, multipart/form-data encoding)."""
    for written, meant in _BROWSERS_ESCAPES.items():
        text = text.replace(written, meant)
    return text


def _extended(value: str) -> str | None:
    """An ext-value of RFC 5987, `charset'language'percent-encoded`; None when it is malformed."""
    charset, first, rest = value.partition("'")
    _, second, rest = rest.partition("'")
    raw = _percent(rest)
    return strict(raw, charset or "utf-8") if first and second and raw is not None else None


def _continued(found: Mapping[str, str], key: str) -> str | None:
    """Continuations of RFC 2231 section 3; None when there are none, or one is missing or malformed."""
    parts = _sections(found, key)
    if not parts or sorted(parts) != list(range(len(parts))):
        return None
    charset, raw = "utf-8", b""
    for number in range(len(parts)):
        text, encoded = parts[number]
        if number == 0 and encoded:
            charset, first, text = text.partition("'")
            _, second, text = text.partition("'")
            charset = charset or "utf-8"
            if not (first and second):
                return None
        piece = _percent(text) if encoded else _encoded(text, charset)
        if piece is None:
            return None
        raw += piece
    return strict(raw, charset)


def _sections(found: Mapping[str, str], key: str) -> dict[int, tuple[str, bool]]:
    """The continuations of `key` by their number: the text of each, and whether it is percent-encoded."""
    named = ((_SECTION.fullmatch(name[len(key) :]), text) for name, text in found.items() if name.startswith(key))
    return {int(match[1]): (text, bool(match[2])) for match, text in named if match is not None}


def _salvaged(found: Mapping[str, str], key: str) -> str | None:
    """The readable part of a malformed `key*` when there is nothing else."""
    parts = _sections(found, key)
    value = found.get(f"{key}*") or "".join(parts[number][0] for number in sorted(parts))
    text = unquote(value.rpartition("'")[2], errors="replace")
    return text or None


def _percent(text: str) -> bytes | None:
    return None if _BAD_PERCENT.search(text) else unquote_to_bytes(text)


def _encoded(text: str, charset: str) -> bytes | None:
    codec = _codec(charset)
    try:
        return None if codec is None else text.encode(codec)
    except UnicodeError:
        return None


def _words(text: str) -> str | None:
    """A text with its encoded words decoded (RFC 2047); None when there are none. Malformed ones stay as they are.

    Blanks between two encoded words do not count (section 6.2). A character may be split between two of them: section 5
    forbids it, and clients that cut at 75 characters do it.
    """
    if len(text) > _MAX_WORDS:
        return None
    pieces: list[str] = []
    run: list[tuple[str, bytes, str]] = []  # adjacent encoded words of one charset: it, their bytes, their source text
    end = 0

    def flush() -> None:
        if run:
            raw = b"".join(data for _, data, _ in run)
            whole = strict(raw, run[0][0])
            pieces.append("".join(written for _, _, written in run) if whole is None else whole)
            run.clear()

    for match in _WORD.finditer(text):
        gap, raw = text[end : match.start()], _word(match[2], match[3])
        if raw is None:
            continue
        adjacent = bool(end) and not gap.strip()
        if not adjacent or (run and run[0][0] != match[1].lower()):
            flush()
        if not adjacent:
            pieces.append(gap)
        run.append((match[1].lower(), raw, match[0]))
        end = match.end()
    flush()
    return "".join([*pieces, text[end:]]) if end else None


def _word(how: str, payload: str) -> bytes | None:
    """The bytes of an encoded word; None when it is malformed. Missing padding is tolerated."""
    try:
        raw = payload.encode("ascii")
        if how in "bB":
            return base64.b64decode(raw + b"=" * (-len(raw) % 4), validate=True)
        return None if _BAD_Q.search(raw) else binascii.a2b_qp(raw, header=True)
    except (UnicodeError, binascii.Error):
        return None


def strict(raw: bytes, charset: str) -> str | None:
    """`raw` in `charset`; None when that is not known, or `raw` is not valid in it."""
    codec = _codec(charset)
    for name in (codec, _LARGER.get(codec or "")):
        if name is not None:
            try:
                text = raw.decode(name)
                text.encode()  # no lone surrogates
            except UnicodeError:
                continue
            return text
    return None


def field_text(raw: bytes, declared: str | None) -> str:
    """A header field as text: in the character set that the form declares, else UTF-8 (RFC 7578 section 5.1), else
    a guess from the bytes.

    A declared set of one byte a character proves nothing, since every byte is valid in it: UTF-8 comes first.
    """
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    codec = _codec(declared or "")
    if codec is not None and not _fits_fields(codec):
        codec = None
    proves = codec is not None and (raw.isascii() or not _is_single_byte(codec))  # ASCII with ESC: ISO 2022
    order = [codec, "utf-8"] if proves else ["utf-8", codec]
    for name in order:
        text = None if name is None else strict(raw, name)
        if text is not None:
            return text
    return _guessed(raw)


def _guessed(raw: bytes) -> str:
    """Neither declared nor UTF-8: Chinese when it is made of common Chinese characters, else Western European."""
    chinese = strict(raw, "gb2312")
    if chinese is not None:
        characters = [character.encode("gb18030") for character in chinese if not character.isascii()]
        # GB 2312 has the frequent characters in its rows B0 to D7; bytes of Western text rarely come in such pairs.
        common = sum(1 for code in characters if 0xB0 <= code[0] <= 0xD7)
        if 2 * common > len(characters):
            return chinese
    return strict(raw, "cp1252") or raw.decode("latin-1")


@lru_cache(maxsize=256)
def _codec(charset: str) -> str | None:
    """Python's name of a character set, or None when it has none."""
    if not charset.isascii() or len(charset) > 40:
        return None
    return _CHARSETS.get(re.sub(r"[^a-z0-9]+", "_", charset.strip().lower()))


@lru_cache(maxsize=256)
def _is_single_byte(codec: str) -> bool:
    return len(_EVERY_BYTE.decode(codec, "replace")) == len(_EVERY_BYTE)


@lru_cache(maxsize=256)
def _fits_fields(codec: str) -> bool:
    """Whether ASCII is itself in it, so that a field can be taken apart after it is decoded."""
    return _SAMPLE.encode().decode(codec, "replace") == _SAMPLE
