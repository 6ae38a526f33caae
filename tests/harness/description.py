"""Whether the answers that tests see are those that `/openapi.json` describes: status, headers, codes and bodies.

Rule: every answer of a server under test that comes through `httpx` or `tests/harness/http.py` is compared, whatever
the test is about. What differs is kept until the end of the test, which then fails (`tests/conftest.py`).

An answer of ours has an `X-Request-ID`; proxies and other servers are not compared. A key that the description lacks
counts as a difference, although a client must ignore it.
"""

import gzip
import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import jsonschema_rs

from tests.harness import run_folder

_FILE = "openapi.json"
_URN = "urn:videodock"
# Headers of every HTTP answer, of proxies, and of pages of other origins; the introduction of the document has those.
_COMMON = frozenset(
    ["connection", "content-length", "content-type", "date", "keep-alive", "server", "transfer-encoding", "vary", "via"]
) | {"access-control-allow-origin", "access-control-expose-headers"}
_ANYWHERE = frozenset({400, 408, 421, 431, 500, 503})  # whatever was asked for
_BEFORE_METHOD = frozenset({401, 403, 404, 412, 429})  # what may be refused before the method is looked at
_PARAMETER = re.compile(r"\{[a-z_]+\}")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_NO_BODY = (204, 304)
_NOT_FOUND = 404
_GZIP = b"\x1f\x8b"

_different: list[str] = []
_send = httpx.Client.send
_send_async = httpx.AsyncClient.send


@dataclass(frozen=True)
class Seen:
    """A request and its answer; names of headers in lower case. `body` is None where it was not read."""

    method: str
    target: str
    asked: Mapping[str, str]
    status: int
    headers: Mapping[str, str]
    body: bytes | None


def take_different() -> list[str]:
    """What differed since the last call."""
    found = list(dict.fromkeys(_different))
    _different.clear()
    return found


def compare(seen: Seen) -> None:
    """Keep what differs from the description."""
    if "x-request-id" in seen.headers:
        told = f"{seen.method} {seen.target} {seen.status}"
        _different.extend(f"{told}: {one}" for one in described().differences(seen))


def watch() -> None:
    """Compare all answers that `httpx` gets from a server on this machine."""

    def send(self: httpx.Client, request: httpx.Request, **more: Any) -> httpx.Response:
        response = _send(self, request, **more)
        _compare_httpx(response)
        return response

    async def send_async(self: httpx.AsyncClient, request: httpx.Request, **more: Any) -> httpx.Response:
        response = await _send_async(self, request, **more)
        _compare_httpx(response)
        return response

    httpx.Client.send = send  # type: ignore[method-assign]
    httpx.AsyncClient.send = send_async  # type: ignore[method-assign]


def _compare_httpx(response: httpx.Response) -> None:
    for one in (*response.history, response):
        if one.request.url.host in _LOOPBACK:
            body = one.content if one.is_closed and hasattr(one, "_content") else None
            method, target = one.request.method, one.request.url.raw_path.decode()
            compare(Seen(method, target, dict(one.request.headers), one.status_code, dict(one.headers), body))


@cache
def described() -> "Description":
    """The description of this tree's server, made once in a run."""
    folder = run_folder.find()
    file = None if folder is None else folder / _FILE
    if file is not None and file.exists():
        return Description(json.loads(file.read_bytes()))
    document = make()
    if file is not None:
        descriptor, part = tempfile.mkstemp(dir=folder)
        with os.fdopen(descriptor, "w") as made:
            json.dump(document, made)
        Path(part).replace(file)
    return Description(document)


def make(**settings: Any) -> dict[str, Any]:
    """The document as a server with these settings gives it."""
    # Only here: a test that asks no server need not wait for the imports.
    from server import __version__
    from server.app import create_app
    from server.settings import Settings
    from server.web.described import DescribedRoute
    from server.web.description import describe

    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings(data_dir=Path(folder), scheduler="none", **settings))
        routes = [route for route in app.routes if isinstance(route, DescribedRoute)]
        return describe(routes, __version__, is_auth_on=settings.get("auth") == "on")


class Description:
    """A document, and the answers that it allows."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        registry = [(_URN, closed(document))]
        self._registry = jsonschema_rs.Registry(registry)
        self._validators: dict[str, Callable[[Any], list[str]]] = {}
        # The last parameter of a path may have slashes: the more a path says without them, the earlier it is tried.
        found: list[str] = sorted(document["paths"], key=lambda path: -len(_PARAMETER.sub("", path)))
        self._paths = [(re.compile(_pattern(path)), path) for path in found]

    def path(self, target: str, *, below: bool = True) -> str | None:
        """The path of the document that this target is of; `below` the prefix of a proxy, too."""
        asked = target.partition("?")[0] if target.startswith("/") else urlsplit(target).path or "/"
        for _ in range(3 if below else 1):
            for pattern, path in self._paths:
                if pattern.fullmatch(asked):
                    return path
            _, slash, rest = asked[1:].partition("/")
            if not slash:
                return None
            asked = slash + rest
        return None

    def differences(self, seen: Seen) -> list[str]:
        """What the description lacks, as sentences."""
        path = self.path(seen.target, below=seen.status != _NOT_FOUND)
        if path is None:
            return [] if seen.status in {_NOT_FOUND, *_ANYWHERE} else ["the address is not described"]
        asked = {name.lower(): value for name, value in seen.asked.items()}
        method = (asked.get("x-http-method-override") or seen.method).upper()
        operation = self.document["paths"][path].get(method.lower())
        if operation is None:
            is_refused = seen.status in {405, *_BEFORE_METHOD, *_ANYWHERE}
            return [] if is_refused else [f"{path} has no {method}"]
        place = f"/paths/{_token(path)}/{method.lower()}/responses/{seen.status}"
        answer = operation["responses"].get(str(seen.status))
        if answer is None:
            return [f"{method} {path} has no {seen.status}, but {', '.join(operation['responses'])}"]
        place, answer = self._resolved(place, answer)
        is_bare = "HEAD" in (seen.method, method)
        return [*self._headers(seen, place, answer), *([] if is_bare else self._body(seen, place, answer))]

    def _headers(self, seen: Seen, place: str, answer: Mapping[str, Any]) -> list[str]:
        found = []
        described = {name.lower(): name for name in answer.get("headers", {})}
        for name, value in seen.headers.items():
            if name not in described:
                found += [] if name in _COMMON else [f"the header {name} is not described"]
                continue
            at, header = self._resolved(f"{place}/headers/{described[name]}", answer["headers"][described[name]])
            is_number = header["schema"].get("type") == "integer"
            given = int(value) if is_number and value.isdecimal() else value
            found += [f"{name}: {error}" for error in self._errors(f"{at}/schema", given)]
        for name in described:
            _, header = self._resolved("", answer["headers"][described[name]])
            found += [f"the header {name} is missing"] if header.get("required") and name not in seen.headers else []
        return found

    def _body(self, seen: Seen, place: str, answer: Mapping[str, Any]) -> list[str]:
        content = answer.get("content", {})
        if not content or seen.status in _NO_BODY:
            return ["it has a body, and none is described"] if seen.body else []
        given = seen.headers.get("content-type", "").partition(";")[0].strip().lower()
        kind = next((one for one in (given, f"{given.partition('/')[0]}/*") if one in content), None)
        if kind is None:
            return [f"{given or 'no type'} is not described, but {', '.join(content)}"]
        if seen.body is None or content[kind]["schema"].get("contentMediaType"):
            return []
        if seen.headers.get("content-encoding") == "br":  # which Python cannot read; the same file comes in two others
            return []
        body = gzip.decompress(seen.body) if seen.body.startswith(_GZIP) else seen.body  # httpx does it itself
        try:
            value = json.loads(body) if kind == "application/json" else body.decode()
        except ValueError:
            return [f"the body is not {kind}"]
        return self._errors(f"{place}/content/{_token(kind)}/schema", value)

    def _resolved(self, place: str, value: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        if "$ref" not in value:
            return place, value
        place = value["$ref"].removeprefix("#")
        found: Any = self.document
        for token in place[1:].split("/"):
            found = found[token]
        return place, found

    def _errors(self, place: str, value: Any) -> list[str]:
        if place not in self._validators:
            made = jsonschema_rs.Draft202012Validator({"$ref": f"{_URN}#{quote(place)}"}, registry=self._registry)
            self._validators[place] = lambda value: [
                f"{'.'.join(map(str, error.instance_path))} {error.message}".strip()[:400]
                for error in made.iter_errors(value)
            ]
        return self._validators[place](value)


def closed(value: Any) -> Any:
    """The same document, whose objects have no other keys than those that it names."""
    if isinstance(value, list):
        return [closed(one) for one in value]
    if not isinstance(value, dict):
        return value
    made = {key: closed(one) for key, one in value.items()}
    if made.get("type") in ("object", ["object", "null"]) and "properties" in made:
        made.setdefault("additionalProperties", False)
    return made


def _pattern(path: str) -> str:
    """A regular expression for a path; only a parameter at its end may have slashes."""
    found = "[^/]+".join(re.escape(word) for word in _PARAMETER.split(path.rstrip("/")))
    return (found.removesuffix("[^/]+") + ".+" if path.endswith("}") else found) + "/?"


def _token(text: str) -> str:
    return text.replace("~", "~0").replace("/", "~1")
