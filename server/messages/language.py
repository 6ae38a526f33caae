"""The languages of the sentences, and which of them a reader wants."""

from typing import Literal, get_args

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

Texts = tuple[str, str]
"""One sentence in Chinese and in English."""


def choose(language: Language, texts: Texts) -> str:
    """The text in the reader's language."""
    chinese, english = texts
    return chinese if language == "zh" else english


def negotiate(accept_language: str | None, default: Language) -> Language:
    """The reader's language by RFC 9110 section 12.5.4: the best of zh and en, else `default`."""
    best: Language = default
    best_quality = 0.0
    for item in (accept_language or "").split(","):
        tag, _, parameters = item.strip().partition(";")
        primary = tag.strip().lower().partition("-")[0]
        quality = _quality(parameters)
        if primary in ("zh", "en") and quality > best_quality:
            best, best_quality = ("zh" if primary == "zh" else "en"), quality
    return best


def _quality(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
