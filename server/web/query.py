"""The query of a request: parameters that are checked completely.

Rule: a parameter that is known and cannot be understood is refused, since a list without its filter would show too
much. Others are ignored: proxies and libraries add their own.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from starlette.requests import Request

from server.errors import FieldInvalidError

W = TypeVar("W", bound=StrEnum)

_YES, _NO = ("1", "true"), ("", "0", "false")
_MOMENT = "2026-11-22T11:23:18Z"


class Query:
    """Every method raises `FieldInvalidError`."""

    def __init__(self, request: Request) -> None:
        self._values = request.query_params

    def one(self, name: str) -> str | None:
        """The value of a parameter that may come once."""
        values = self._values.getlist(name)
        if len(values) > 1:
            raise FieldInvalidError(field=name, reason="field_repeated")
        return values[0] if values else None

    def text(self, name: str, most: int) -> str:
        """A text of at most so many characters; empty without."""
        value = self.one(name) or ""
        if len(value) > most:
            raise FieldInvalidError(field=name, reason="text_length", most=most)
        return value

    def flag(self, name: str) -> bool:
        """`1` or `true`; False without."""
        value = (self.one(name) or "").lower()
        if value not in (*_YES, *_NO):
            raise FieldInvalidError(field=name, reason="field_type", expected="1, 0")
        return value in _YES

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number."""
        value = self.one(name)
        if not value:
            return default
        if not (value.isascii() and value.isdigit() and len(value) < 10 and least <= int(value) <= most):
            raise FieldInvalidError(field=name, reason="field_range", least=least, most=most)
        return int(value)

    def words(self, name: str, known: Iterable[W]) -> list[W]:
        """Some of these words: the parameter may be repeated, and have commas."""
        by_word = {word.value: word for word in known}
        given = [word.strip() for value in self._values.getlist(name) for word in value.split(",")]
        found = [by_word.get(word) for word in given if word]
        if None in found:
            raise FieldInvalidError(field=name, reason="field_type", expected=", ".join(by_word))
        return [word for word in found if word is not None]

    def moment(self, name: str) -> datetime | None:
        """A time in ISO 8601; UTC where it has no zone."""
        value = self.one(name)
        if not value:
            return None
        if "T" in value:
            value = value.replace(" ", "+")  # a plus sign that was not encoded
        try:
            at = datetime.fromisoformat(value)
            return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            raise FieldInvalidError(field=name, reason="field_type", expected=_MOMENT) from None
