"""Makes the sentence for a code, its parameters and a language."""

from collections.abc import Mapping

from server.messages import access, documented_api, downloads, events, processing, requests
from server.messages.language import Language, Texts, choose
from server.messages.reasons import PARTS, REASONS

Param = str | int | float

SENTENCES: dict[str, Texts] = {
    **documented_api.SENTENCES,
    **access.SENTENCES,
    **requests.SENTENCES,
    **downloads.SENTENCES,
    **processing.SENTENCES,
    **events.SENTENCES,
}

# Parameters that are a number of bytes where they are an integer, by the code of the sentence or of the reason.
_SIZES: dict[str, tuple[str, ...]] = {
    "upload_too_large": ("limit",),
    "file_too_large": ("limit",),
    "too_large_to_scan": ("limit",),
    "head_too_large": ("limit",),
    "no_room": ("needed", "room"),
    "form_head_size": ("limit",),
    "grant_size": ("limit",),
    "quota_too_small": ("limit",),
    "quota_stored": ("limit",),
    "quota_open_bytes": ("limit",),
    "quota_daily": ("limit",),
}

CODES = frozenset(SENTENCES)


def templates(code: str) -> tuple[str, str]:
    """Chinese and English, with their `{parameters}` not filled in."""
    return SENTENCES[code]


def sentence(code: str, params: Mapping[str, Param], language: Language) -> str:
    """The sentence for `code`; a missing parameter becomes `?` rather than hide the sentence."""
    filled = _Lenient(params)
    reason = str(params.get("reason", ""))
    for name in (*_SIZES.get(code, ()), *_SIZES.get(reason, ())):
        number = params.get(name)
        if isinstance(number, int):
            filled[name] = size(number)
    if reason in REASONS:
        filled["reason"] = choose(language, REASONS[reason]).format_map(filled)
    if code == "unavailable" and params.get("part") in PARTS:
        filled["part"] = choose(language, PARTS[str(params["part"])])
    if code in ("refused_by_backend", "refused_by_hook") and not params.get("explanation"):
        filled["explanation"] = choose(language, REASONS["unexplained"])
    return choose(language, SENTENCES.get(code, SENTENCES["not_found"])).format_map(filled)


def size(number: int) -> str:
    """A number of bytes as a person writes it: exact where possible, in binary units."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if number * 1024 >= factor * 1023.95:  # below that, it does not round to 1024 of the next smaller unit
            value = number / factor
            return f"{value:.0f} {unit}" if number % factor == 0 else f"{value:.1f} {unit}"
    return f"{number} B"


class _Lenient(dict[str, Param]):
    def __missing__(self, key: str) -> str:
        return "?"
