"""`/openapi.json` is complete and true, and `/docs` shows it with files of this server only."""

import gzip
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from server import errors
from server.app import create_app
from server.settings import Settings
from server.web import description as served
from server.web.described import DescribedRoute
from server.web.openapi import tus as mount
from server.web.openapi.sharing import share
from tests.harness import description
from tests.harness.description import Seen, closed
from tests.harness.http import Connection, LiveServer, request

ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js", "viewer.css", "viewer.js")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with LiveServer(tmp_path_factory.mktemp("live"), max_head_size=8192) as made:
        yield made


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return description.make(auth="on")


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and operation."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def kinds(base: type[errors.VideodockError]) -> Iterator[type[errors.VideodockError]]:
    """All classes below this one."""
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


# Complete


def test_every_route_is_described(tmp_path: Path) -> None:
    """A route that is added without a description fails here; so does a described method that the route refuses."""
    for route in create_app(Settings(data_dir=tmp_path)).routes:
        assert isinstance(route, Route)
        assert isinstance(route, DescribedRoute), f"{route.path} is a DescribedRoute without a description"
        assert route.operations, route.path
        assert route.methods is None or route.methods == set(route.operations), route.path


def test_every_method_of_the_mount_is_described(live: LiveServer) -> None:
    """`Allow` of the mount's addresses names what is described, and POST, which needs an override on an upload."""
    for target, described in (("/files", mount.COLLECTION), ("/files/x", mount.UPLOAD), ("/files/g/x", mount.OF_GRANT)):
        answer = live.ask("QUERY", target, {"Tus-Resumable": "1.0.0"})
        if target == "/files/x":
            assert answer.status == 404
            answer = live.ask("OPTIONS", target)
            assert set(answer.headers["allow"].split(", ")) == set(described)
        else:
            assert answer.status == 405
            assert set(answer.headers["allow"].split(", ")) == set(described), target


def test_every_refusal_is_described(document: dict[str, Any]) -> None:
    """Each error class of the server is a code of some operation; a new one belongs to the operations that raise it."""
    text = json.dumps(document)
    never = {"start_failed", "internal_error"}  # not an answer; and the base of all
    codes = {kind.code for kind in (*kinds(errors.ClientError), *kinds(errors.BusyError))} - never
    # Errors of one file of a form, whose answer has them in `invalid_details`.
    of_files = {"too_many_files", "file_too_large", "transfer_encoding_unsupported"}
    assert {code for code in codes - of_files if f"`{code}`" not in text} == set()


# True


def test_the_document_is_openapi_3_1(document: dict[str, Any]) -> None:
    """By the schema of the specification itself; and every name of an operation is unique."""
    assert document["openapi"] == "3.1.0"
    assert [str(error.message) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    assert all(re.fullmatch("[a-z][A-Za-z]+", name) for name in names)


def test_every_example_is_true(document: dict[str, Any]) -> None:
    """Each example is what its schema says, and has no other keys."""
    validators = jsonschema_rs.Registry([("urn:document", closed(document))])
    count = 0

    def check(value: Any) -> None:
        nonlocal count
        if isinstance(value, list):
            for one in value:
                check(one)
        elif isinstance(value, dict):
            if "schema" in value and "example" in value:
                schema = json.loads(json.dumps(closed(value["schema"])).replace('"#/', '"urn:document#/'))
                made = jsonschema_rs.Draft202012Validator(schema, registry=validators)
                assert [error.message for error in made.iter_errors(value["example"])] == [], value["example"]
                count += 1
            for one in value.values():
                check(one)

    check({**document, "components": {**document["components"], "schemas": {}}})
    assert count > 20


def test_what_is_shared_means_the_same() -> None:
    """References replace what stands twice; with them resolved, the paths are what they were."""
    answer = {"description": "Gone", "headers": {"A": {"schema": {"type": "string"}}}}
    other = {"description": "Here", "headers": {"A": {"schema": {"type": "integer"}}}}
    place: dict[str, Any] = {
        "/a": {"get": {"responses": {"404": answer, "200": other}, "parameters": [{"name": "x", "in": "query"}]}},
        "/b": {"get": {"responses": {"404": answer, "200": other}}},
        "/c": {"get": {"responses": {"404": other}}},
    }
    before = json.loads(json.dumps(place))
    components = share(place)

    def resolved(value: Any) -> Any:
        if isinstance(value, dict) and "$ref" in value:
            _, _, kind, name = value["$ref"].split("/")
            return resolved(components[kind][name])
        if isinstance(value, dict):
            return {key: resolved(one) for key, one in value.items()}
        return [resolved(one) for one in value] if isinstance(value, list) else value

    assert set(components["responses"]) == {"404", "200"}
    assert resolved(place) == before


@pytest.mark.parametrize("auth", ["off", "on"])
def test_credentials_are_asked_for_with_authentication_only(auth: str) -> None:
    """With `auth` off nothing needs one; with it, what changes or reads something names scope and schemes."""
    made = description.make(auth=auth)
    needs = {operation["operationId"]: operation["security"] for _, _, operation in operations(made)}
    if auth == "off":
        assert not any(needs.values())
        return
    assert needs["deleteTask"] == [{"bearer": ["manage"]}, {"session": ["manage"]}]
    assert {} in needs["taskStatus"]  # the URL of an upload is enough
    assert needs["alive"] == needs["tusOptions"] == needs["description"] == []


# Served


def test_the_description_is_served(live: LiveServer, document: dict[str, Any]) -> None:
    """GET answers with the document, once more with 304, and compressed for a client that takes it."""
    answer = live.ask("GET", "/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert json.loads(answer.body) == description.make()
    assert json.loads(answer.body)["paths"].keys() == document["paths"].keys()
    again = live.ask("GET", "/openapi.json", {"If-None-Match": answer.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    for accepted, is_zipped in (("gzip, br", True), ("gzip;q=0", False), ("br", False), ("GZIP;q=0.5", True)):
        small = live.ask("GET", "/openapi.json", {"Accept-Encoding": accepted})
        assert ("content-encoding" in small.headers) == is_zipped, accepted
        assert (gzip.decompress(small.body) if is_zipped else small.body) == answer.body
        assert small.headers["vary"] == "Accept-Encoding"
        assert (small.headers["etag"] == answer.headers["etag"]) == (not is_zipped)


def test_the_addresses_begin_with_the_public_prefix(tmp_path: Path) -> None:
    """Below a prefix, which a proxy strips, `servers` names it; without one it is the root."""
    with LiveServer(tmp_path, root_path="/video") as live:
        assert json.loads(live.ask("GET", "/openapi.json").body)["servers"] == [{"url": "/video"}]
    assert description.make()["servers"] == [{"url": "/"}]


def test_the_setting_takes_both_away(tmp_path: Path) -> None:
    """With `docs` off, the description, the viewer and its files are unknown addresses."""
    with LiveServer(tmp_path, docs="off") as live:
        for path in ("/openapi.json", "/docs", *(f"/docs/{name}" for name in ASSETS)):
            assert live.ask("GET", path).status == 404, path


def test_the_viewer_is_swaggers_own_and_ours(live: LiveServer) -> None:
    """Each file of the viewer is served as it is installed; the page names these files, relatively, and no others."""
    package = importlib.util.find_spec("fastapi_swagger")
    assert package is not None
    assert package.submodule_search_locations
    theirs = Path(package.submodule_search_locations[0]) / "resources"
    ours = Path(served.__file__).parent / "viewer"
    for name in ASSETS:
        file = (ours if name.startswith("viewer") else theirs) / name
        answer = live.ask("GET", f"/docs/{name}")
        assert (answer.status, answer.body) == (200, file.read_bytes()), name
        assert "'none'" in answer.headers["content-security-policy"]
    page = live.ask("GET", "/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    asked = set(re.findall(r'(?:href|src)="([^"#]+)"', page.text))
    assert {path for path in asked if not path.startswith("data:")} == {
        *(f"docs/{name}" for name in ASSETS),
        "docs",
        "openapi.json",
        "./",
    }


# The checker


def test_answers_before_the_application_are_described(live: LiveServer) -> None:
    """What the connection refuses has no `X-Request-ID` and is not compared elsewhere: it is text, as described."""
    long, no_host = {"X-Long": "x" * 10_000}, b"GET /api/task/status/x HTTP/1.1\r\n\r\n"
    for data in (request("GET", "/api/task/status/x", long), request("GET", "/files/x", long), no_host):
        with Connection(live.port) as connection:
            connection.send(data)
            answer = connection.answer()
        target = data.split(b" ")[1].decode()
        seen = Seen("GET", target, {}, answer.status, answer.headers, answer.body)
        assert answer.status in (400, 431)
        assert description.described().differences(seen) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"status": 418}, "has no 418"),
        ({"body": b'{"success": true, "message": "x", "more": 1}'}, "'more' was unexpected"),
        ({"body": b'{"success": true}'}, '"message" is a required property'),
        ({"headers": {"x-new": "1"}}, "the header x-new is not described"),
        ({"headers": {"cache-control": "public"}}, "no-store"),
        ({"headers": {"content-type": "text/html"}}, "text/html is not described"),
        ({"method": "HEAD", "asked": {"X-HTTP-Method-Override": "PUT"}}, "has no PUT"),
        ({"target": "/api/unknown"}, "the address is not described"),
        ({"status": 404, "body": b'{"success":false,"message":"","code":"wrong","invalid_files":null}'}, "wrong"),
    ],
)
def test_the_checker_tells_what_differs(change: dict[str, Any], told: str) -> None:
    """Each kind of difference, as a sentence; the answer without the change has none."""
    headers = {"content-type": "application/json", "cache-control": "no-store", "x-request-id": "1"}
    good = Seen("POST", "/api/task/cancel/x", {}, 200, headers, b'{"success": true, "message": "x"}')
    checker = description.described()
    assert checker.differences(good) == []
    assert checker.differences(Seen(**{**vars(good), "target": "/video/api/task/cancel/x"})) == []  # below a prefix
    changed = {**vars(good), **change, "headers": headers | change.get("headers", {})}
    found = checker.differences(Seen(**changed))
    assert any(told in one for one in found), found
