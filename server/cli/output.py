"""How rows are printed: as a table, as one record, as JSON.

Rule: names come from clients. A character that cannot be printed is shown as `?`, so that a name cannot write on an
operator's terminal; JSON escapes it.
"""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum

from server.messages import sentence, size

Cell = object


def as_json(found: object) -> str:
    """Indented; times are UTC by RFC 3339, sizes bytes."""
    return json.dumps(found, ensure_ascii=True, indent=2, default=_plain)


def table(headings: Sequence[str], rows: Sequence[Sequence[Cell]], width: int | None = None) -> str:
    """Columns side by side; numbers to the right. The last one is cut at `width` characters, unless that is None."""
    lines = [list(headings), *([cell(value) for value in row] for row in rows)]
    numeric = [all(isinstance(row[at], int | None) for row in rows) for at in range(len(headings))]
    wide = [max(_width(line[at]) for line in lines) for at in range(len(headings))]
    shown = []
    for line in lines:
        padded = [
            " " * (to - _width(text)) + text if right else text + " " * (to - _width(text))
            for text, to, right in zip(line, wide, numeric, strict=True)
        ]
        shown.append(_cut("  ".join(padded).rstrip(), width))
    return "\n".join(shown)


def record(values: Mapping[str, Cell]) -> str:
    """One line a value; what is not known is left out."""
    known = {name: cell(value) for name, value in values.items() if value is not None}
    wide = max(len(name) for name in known)
    return "\n".join(f"{name:<{wide}}  {text}" for name, text in known.items())


def reason(code: str | None, params: Mapping[str, str | int | float] | None) -> str:
    """The sentence of a code; empty without one."""
    return sentence(code, params or {}, "en") if code else ""


def bytes_of(received: int, length: int | None) -> str:
    """How much of an upload is there."""
    if length is None:
        return f"{size(received)} of ?"
    return size(length) if received == length else f"{size(received)} of {size(length)}"


def cell(value: Cell) -> str:
    """One value, on one line."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, Mapping | list):
        value = json.dumps(value, default=_plain)
    text = str(value.value if isinstance(value, Enum) else value)
    return "".join(character if character.isprintable() else "?" for character in text)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    raise TypeError(f"no JSON for {type(value)}")


def _width(text: str) -> int:
    """Columns on a terminal: an ideograph takes two."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    return 0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")


def _cut(text: str, width: int | None) -> str:
    if width is None or _width(text) <= width:
        return text
    kept, taken = [], 1
    for character in text:
        taken += _columns(character)
        if taken > width:
            break
        kept.append(character)
    return "".join(kept) + "…"
