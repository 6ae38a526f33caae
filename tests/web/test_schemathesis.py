"""Requests made from `/openapi.json` by Schemathesis, good ones and bad ones: no 5xx and no undocumented answer.

Rule: what a request names (an upload, a task, a grant) exists in half of the cases; otherwise every answer would be
404. `make test` draws few examples of each operation, by the run's seed; `make soak` draws many.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from server.auth.keys import ApiKeys
from server.auth.principal import scopes_of
from server.bootstrap import utc_now
from server.database.session import Database
from server.web.openapi.operation import Tag
from tests.harness import description, seed
from tests.harness.description import Seen
from tests.harness.http import LiveServer
from tests.tus.client import VERSION, metadata, video

_FEW, _MANY = 4, 300
_PARTS = 6
"""A part of the operations is tried with many examples within the time limit of a test, also on a busy machine."""
_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_LENGTH = 5000


@schemathesis.serializer("application/offset+octet-stream")
def _octets(_: Any, value: Any) -> bytes:
    """The bytes of an upload, of any value."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@dataclass
class Target:
    """A server, its description, who asks, and things that exist there."""

    live: LiveServer
    document: dict[str, Any]
    headers: dict[str, str]

    def make(self, name: str) -> str | None:
        """A new thing that a path parameter of this name names: the request may remove it. None: there are none."""
        match name:
            case "upload_id":
                headers = {**VERSION, "Upload-Length": str(_LENGTH), "Upload-Metadata": metadata(filename="clip.mp4")}
                return self._post("/files", headers).headers["Location"].rpartition("/")[2]
            case "task_id":
                files = {"videos": ("clip.mp4", video(500), "video/mp4")}
                return str(self._post("/api/upload/videos", files=files).json()["task_id"])
            case "webhook_id":
                self._remove_webhooks()
                wanted = {"url": "https://backend.example/", "events": ["task.completed"]}
                return str(self._post("/api/webhooks", json=wanted).json()["webhook"]["id"])
            case "grant" if self.headers:
                return str(self._post("/api/grants", json={}).json()["token"])
        return None

    def _remove_webhooks(self) -> None:
        """An owner may have a number of them only."""
        path = self.live.url + "/api/webhooks"
        for one in requests.get(path, headers=self.headers, timeout=30).json()["webhooks"]:
            requests.delete(f"{path}/{one['id']}", headers=self.headers, timeout=30)

    def _post(self, path: str, headers: Mapping[str, str] = MappingProxyType({}), **more: Any) -> requests.Response:
        answer = requests.post(self.live.url + path, headers={**headers, **self.headers}, timeout=30, **more)
        answer.raise_for_status()
        return answer


@pytest.fixture(scope="module", params=["off", "on"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("live")
    # A failure counts against the address, and here one address sends all of them.
    with LiveServer(folder, auth=request.param, downloads="on", rate_failures="") as live:
        headers = {}
        if request.param == "on":
            database = Database(live.database_url, 1)
            key = ApiKeys.open(database, utc_now).create("ann", scopes_of(["admin"]), None)[1]
            database.close()
            headers = {"Authorization": f"Bearer {key}"}
        document = requests.get(f"{live.url}/openapi.json", timeout=30).json()
        yield Target(live, document, headers)


@pytest.mark.parametrize(
    ("most", "part"),
    [
        pytest.param(_FEW, slice(None), id=f"{_FEW}"),
        *(
            pytest.param(_MANY, slice(n, None, _PARTS), id=f"{_MANY}-{n + 1}of{_PARTS}", marks=pytest.mark.soak)
            for n in range(_PARTS)
        ),
    ],
)
def test_no_request_gets_an_undocumented_answer(target: Target, most: int, part: slice) -> None:
    """Every operation, with data that its schema allows and data that it does not."""
    schema = schemathesis.openapi.from_dict(target.document)
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) > 30
    with requests.Session() as session:
        session.trust_env = False
        for operation in operations[part]:
            described = target.document["paths"][operation.path][operation.method.lower()]
            # A stream does not end, and Schemathesis reads to the end; `test_events.py` reads it.
            if Tag.LIVE.value in described["tags"]:
                continue
            modes = GenerationMode if _has_bad_data(target.document, described) else [GenerationMode.POSITIVE]
            for mode in modes:
                _try(target, session, operation, mode, most)


def _has_bad_data(document: dict[str, Any], operation: dict[str, Any]) -> bool:
    """Whether any request violates the schema: not where every parameter is a text of any kind. (Looking for one in
    vain takes Hypothesis two seconds for each operation.)"""
    for parameter in operation.get("parameters", ()):
        given = parameter
        if "$ref" in parameter:
            given = document["components"]["parameters"][parameter["$ref"].rpartition("/")[2]]
        rules = set(given["schema"]) - {"type", "minLength", "maxLength", "description"}
        if rules or given["schema"]["type"] != "string" or (given["in"] == "header" and given.get("required")):
            return True
    return "requestBody" in operation


def _try(target: Target, session: requests.Session, operation: Any, mode: GenerationMode, most: int) -> None:
    @hypothesis.seed(seed.value())
    @hypothesis.settings(
        max_examples=most,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), exists=st.booleans(), is_known=st.booleans())
    def ask(case: Any, exists: bool, is_known: bool) -> None:
        if exists:
            parameters = dict(case.path_parameters or {})
            case.path_parameters = {name: target.make(name) or value for name, value in parameters.items()}
        headers = target.headers if is_known else {}
        response = case.call(base_url=target.live.url, session=session, headers=headers, timeout=30)
        overriding = case.method == "POST" and (case.headers or {}).get("X-HTTP-Method-Override") == "HEAD"
        # The answer to a HEAD has no content, and so no type of it; a refusal has both.
        is_bare = overriding and response.status_code == 200 and not response.content
        checks = [one for one in _CHECKS if one is not content_type_conformance] if is_bare else _CHECKS
        case.validate_response(response, checks=checks)
        _compare(response)

    ask()


def _compare(response: Any) -> None:
    """With our own checker, which knows of more: of keys that are not described, for one."""
    request = response.request
    headers = {name.lower(): ", ".join(values) for name, values in response.headers.items()}
    target = "/" + request.url.partition("://")[2].partition("/")[2]
    asked = {name.lower(): str(value) for name, value in request.headers.items()}
    description.compare(Seen(request.method, target, asked, response.status_code, headers, response.content))
