"""What a document has several times becomes one component with references to it.

Rule: the document means the same before and after; it only becomes smaller, and generated clients get fewer types.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

_WORTH = 2


def share(paths: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Put references into `paths`; returns the components `headers`, `parameters` and `responses`."""
    operations = [operation for place in paths.values() for operation in place.values()]
    answers = [answer for operation in operations for answer in operation["responses"].values()]
    headers = _Components("headers")
    headers.replace([answer["headers"] for answer in answers])
    parameters = _Components("parameters")
    parameters.replace([operation["parameters"] for operation in operations if "parameters" in operation])
    responses = _Components("responses")
    responses.replace([operation["responses"] for operation in operations])
    return {each.kind: each.found for each in (headers, parameters, responses)}


class _Components:
    """The components of one kind, by name."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.found: dict[str, Any] = {}
        self._names: dict[str, str] = {}  # by content

    def replace(self, places: list[Any]) -> None:
        """Replace what stands in several of these lists and objects, or twice in one."""
        count = Counter(_text(value) for place in places for _, _, value in _items(place))
        for place in places:
            for key, label, value in list(_items(place)):
                if count[_text(value)] >= _WORTH:
                    place[key] = {"$ref": f"#/components/{self.kind}/{self._name(label, value)}"}

    def _name(self, label: str, value: Any) -> str:
        content = _text(value)
        if content not in self._names:
            variants = sum(name == label or name.startswith(f"{label}.") for name in self.found)
            name = label if not variants else f"{label}.{variants + 1}"
            self._names[content] = name
            self.found[name] = value
        return self._names[content]


def _items(place: Any) -> Iterator[tuple[Any, str, Any]]:
    """Key, name and value of what is in a list of parameters, or an object of headers or responses."""
    pairs: Iterable[tuple[Any, Any]] = enumerate(place) if isinstance(place, list) else place.items()
    for key, value in pairs:
        if "$ref" not in value:
            yield key, str(value["name"] if isinstance(place, list) else key), value


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
