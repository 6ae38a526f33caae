"""The OpenAPI 3.1 document, from the operations of all routes.

Rule: pure; it knows no framework and no server. `web/openapi_page.py` serves what it makes.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from server.web.openapi import refusals
from server.web.openapi.operation import (
    Answer,
    Face,
    Header,
    Named,
    Operation,
    Operations,
    Parameter,
    Tag,
    Who,
)
from server.web.openapi.preflight import PREFLIGHT_HEADERS
from server.web.openapi.schemas import NO_STORE, REQUEST_ID
from server.web.openapi.sharing import share
from server.web.openapi.words import INTRODUCTION, TAGS

_CONVERTOR = re.compile(r":[a-z]+\}")
_TUS_CHECKSUM = 460
_METHOD_ORDER = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(frozen=True, kw_only=True)
class PathItem:
    """One path with its operations. With `preflight` it answers OPTIONS, too."""

    path: str
    operations: Operations
    preflight: bool = False


def document(items: Iterable[PathItem], *, version: str, is_auth_on: bool) -> dict[str, Any]:
    """The document, without `servers`. `is_auth_on` is the setting `auth`: without it, nothing needs a credential."""
    schemas: dict[str, Any] = {}
    paths: dict[str, dict[str, Any]] = {}
    for item in sorted(items, key=lambda item: shown(item.path)):
        place = paths.setdefault(shown(item.path), {})
        operations = dict(item.operations)
        if item.preflight:
            operations["OPTIONS"] = _preflight(operations)
        for method in sorted(operations, key=_METHOD_ORDER.index):
            made = _operation(method, operations[method], is_auth_on=is_auth_on)
            place[method.lower()] = _named(made, schemas)
    components = {"schemas": dict(sorted(schemas.items())), **share(paths), "securitySchemes": _SECURITY_SCHEMES}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Videodock",
            "version": version,
            "summary": "Upload videos, follow their processing, and play them.",
            "description": INTRODUCTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [{"name": tag.value, "description": TAGS[tag]} for tag in Tag if _is_used(tag, paths)],
        "paths": paths,
        "components": components,
    }


def shown(path: str) -> str:
    """A route's path as OpenAPI writes it."""
    return _CONVERTOR.sub("}", path)


_SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key (`vdk_…`), a token (JWT) of your own service, or an upload grant (`vdg_…`).",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "videodock_session",
        "description": "The sign-in of the upload page. A request that changes something must come from a page of the "
        "server, by `Sec-Fetch-Site` or else `Origin`; otherwise it gets 403 `cross_site`. Over https the name is "
        "`__Host-videodock_session`, and below a prefix it has the prefix in it.",
    },
}


def _operation(method: str, operation: Operation, *, is_auth_on: bool) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag.value],
        "summary": operation.summary,
        "security": _security(operation) if is_auth_on else [],
    }
    made |= {"description": operation.description} if operation.description else {}
    made |= {"parameters": [_parameter(one) for one in operation.parameters]} if operation.parameters else {}
    if operation.body is not None:
        body = operation.body
        media: dict[str, Any] = {"schema": body.schema}
        media |= {} if body.example is None else {"example": body.example}
        made["requestBody"] = {"required": body.required, "content": {body.media_type: media}}
        made["requestBody"] |= {"description": body.description} if body.description else {}
    made["responses"] = _responses(method, operation)
    return made


def _responses(method: str, operation: Operation) -> dict[str, Any]:
    found: dict[int, dict[str, Any]] = {}
    for answer in operation.answers:
        found[answer.status] = _answer(answer, operation)
    for status, kinds in refusals.refusals(method, operation).items():
        is_elsewhere = status == refusals.ELSEWHERE
        face = Face.API if is_elsewhere else operation.face
        content = {} if method == "HEAD" else refusals.content(face, status, kinds)
        is_early = any(kind.status == status for kind in refusals.EARLY)
        headers = [*(() if is_elsewhere else operation.headers), *refusals.headers(kinds or refusals.EARLY)]
        headers += [] if any(one.name == NO_STORE.name for one in headers) else [NO_STORE]
        found.setdefault(status, {"description": _title(status), "headers": {}, "content": {}})
        made = found[status]
        refused = refusals.description(status, kinds)
        made["description"] = f"{made['description']}\n\n{refused}"
        made["headers"] |= _headers(headers, is_optional=is_early) | _headers([REQUEST_ID], is_optional=is_early)
        bodies = made.setdefault("content", {})
        for kind, schema in content.items():
            bodies[kind] = {"schema": {"anyOf": [bodies[kind]["schema"], schema]} if kind in bodies else schema}
    for made in found.values():
        if not made.get("content"):
            made.pop("content", None)
    return {str(status): found[status] for status in sorted(found)}


def _answer(answer: Answer, operation: Operation) -> dict[str, Any]:
    made: dict[str, Any] = {"description": answer.description}
    made["headers"] = _headers([*operation.headers, *answer.headers, REQUEST_ID])
    if answer.content:
        made["content"] = {kind: {"schema": schema} for kind, schema in answer.content.items()}
        if answer.example is not None:
            next(iter(made["content"].values()))["example"] = answer.example
    return made


def _headers(headers: Iterable[Header], *, is_optional: bool = False) -> dict[str, Any]:
    found = {}
    for header in headers:
        made: dict[str, Any] = {"description": header.description, "schema": header.schema}
        made |= {"required": True} if header.required and not is_optional else {}
        found[header.name] = made
    return found


def _parameter(parameter: Parameter) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.where,
        "description": parameter.description,
        "schema": parameter.schema,
    }
    made |= {"required": True} if parameter.required else {}
    return made | ({} if parameter.example is None else {"example": parameter.example})


def _preflight(operations: Operations) -> Operation:
    """OPTIONS of an address, for pages of other origins."""
    of = next(iter(operations.values()))
    return Operation(
        id=f"{of.id}Preflight",
        tag=Tag.ORIGINS,
        summary="Which requests a page of another origin may send",
        parameters=tuple(one for one in of.parameters if one.where == "path"),
        answers=(Answer(status=HTTPStatus.NO_CONTENT, description="These.", headers=PREFLIGHT_HEADERS),),
        face=of.face,
        who=Who.EVERYBODY,
        headers=of.headers,
    )


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    scopes = [operation.scope] if operation.scope else []
    match operation.who:
        case Who.EVERYBODY:
            return []
        case Who.PAGE:
            return [{"session": []}, {}]
        case Who.URL | Who.CREATOR:
            # The URL itself may be the credential: no scheme of OpenAPI says that.
            return [{"bearer": scopes}, {"session": scopes}, {}]
        case Who.CREDENTIAL:
            return [{"bearer": scopes}, {"session": scopes}]


def _title(status: int) -> str:
    return "Checksum Mismatch" if status == _TUS_CHECKSUM else HTTPStatus(status).phrase


def _is_used(tag: Tag, paths: Mapping[str, Mapping[str, Any]]) -> bool:
    return any(tag.value in operation["tags"] for place in paths.values() for operation in place.values())


def _named(value: Any, schemas: dict[str, Any]) -> Any:
    """The same with a reference in the place of each named schema, which is put into `schemas`."""
    if isinstance(value, Named):
        if value.name not in schemas:
            schemas[value.name] = {}  # a schema may refer to itself
            schemas[value.name] = _named(value.schema, schemas)
        return {"$ref": f"#/components/schemas/{value.name}"}
    if isinstance(value, Mapping):
        return {key: _named(one, schemas) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_named(one, schemas) for one in value]
    return value
