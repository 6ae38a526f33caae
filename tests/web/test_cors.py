"""Pages of other origins: the documented API follows the same settings as tus, and headers of libraries pass."""

import json
from collections.abc import Iterator

import pytest

from tests.harness.http import Answer, LiveServer
from tests.harness.multipart import PATH, form_body
from tests.tus.client import MOUNT, filled, target, video

PAGE = {"Origin": "https://a.example"}
STRANGER = {"Origin": "https://b.example"}
UNKNOWN = "8a6b1c6e-3f0e-4a58-9f57-0d8f1f1f9c11"
ADDRESSES = {
    MOUNT: "POST",
    target(UNKNOWN): "PATCH",
    PATH: "POST",
    f"{PATH}/": "POST",
    f"/api/task/status/{UNKNOWN}": "GET",
    f"/api/task/cancel/{UNKNOWN}": "POST",
    f"/api/task/retry/{UNKNOWN}": "POST",
    f"/api/task/{UNKNOWN}": "PATCH",
    "/api/tasks": "GET",
    "/api/uploads": "GET",
    f"/media/{UNKNOWN}/{UNKNOWN}/video.mp4": "GET",
}


@pytest.fixture(scope="module")
def everybody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with LiveServer(tmp_path_factory.mktemp("everybody")) as made:
        yield made


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("one")
    with LiveServer(folder, cors_origins=PAGE["Origin"], cors_allow_headers="traceparent, X-CSRF-Token") as made:
        yield made


def names(text: str) -> set[str]:
    return {name.strip().lower() for name in text.split(",")}


def preflight(live: LiveServer, path: str, asked: str, origin: dict[str, str] = PAGE) -> Answer:
    headers = {"Access-Control-Request-Method": ADDRESSES[path], "Access-Control-Request-Headers": asked}
    answer = live.ask("OPTIONS", path, origin | headers)
    assert answer.status == 204
    assert "access-control-allow-credentials" not in answer.headers
    assert ADDRESSES[path].lower() in names(answer.headers["access-control-allow-methods"])
    return answer


@pytest.mark.parametrize("path", ADDRESSES)
def test_every_origin_may_send_every_header(everybody: LiveServer, path: str) -> None:
    """With `*` the names that the browser asks for are allowed beside ours, each once; nonsense is passed over."""
    answer = preflight(everybody, path, "traceparent, x-csrf-token,baggage ,authorization, content-type")
    allowed = answer.headers["access-control-allow-headers"]
    assert answer.headers["access-control-allow-origin"] == "*"
    assert names(allowed) >= {"traceparent", "x-csrf-token", "baggage", "x-request-id"}
    assert "access-control-request-headers" in answer.headers["vary"].lower()
    assert allowed.lower().count("x-request-id") == 1
    plain = names(preflight(everybody, path, "").headers["access-control-allow-headers"])
    for nonsense in ("a b", "a, (b)", "a;b", "\xe4"):
        asked = preflight(everybody, path, nonsense)
        assert names(asked.headers["access-control-allow-headers"]) == plain


@pytest.mark.parametrize("path", ADDRESSES)
def test_chosen_origins_may_send_chosen_headers(one: LiveServer, path: str) -> None:
    """With origins that are named, `cors_allow_headers` adds to ours, and nothing is echoed."""
    allowed = names(preflight(one, path, "baggage").headers["access-control-allow-headers"])
    assert allowed >= {"traceparent", "x-csrf-token", "x-request-id"}
    assert "baggage" not in allowed
    assert "access-control-allow-origin" not in preflight(one, path, "baggage", STRANGER).headers


@pytest.mark.parametrize("path", ADDRESSES)
def test_headers_of_other_protocols_are_not_allowed(one: LiveServer, path: str) -> None:
    """No header of the IETF's resumable uploads is allowed or exposed: a client would take it for an offer."""
    answer = preflight(one, path, "")
    foreign = {"upload-complete", "upload-incomplete", "upload-draft-interop-version", "upload-limit"}
    assert not foreign & names(answer.headers["access-control-allow-headers"])
    assert not foreign & names(answer.headers["access-control-expose-headers"])


def test_answers_of_the_api_are_readable_for_allowed_origins_only(one: LiveServer) -> None:
    """Answers of the documented API may be read by the allowed origin, refusals too, and by no other."""
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    sent = one.ask("POST", PATH, PAGE | kind, form_body("b", [("videos", "a.mp4", video(500))]))
    task = json.loads(sent.body)["task_id"]
    answers = [
        (200, sent),
        (400, one.ask("POST", PATH, PAGE, b"")),
        (405, one.ask("GET", PATH, PAGE)),
        (200, one.ask("GET", f"/api/task/status/{task}", PAGE)),
        (200, one.ask("HEAD", f"/api/task/status/{task}", PAGE)),
        (404, one.ask("GET", f"/api/task/status/{UNKNOWN}", PAGE)),
        (200, one.ask("POST", f"/api/task/cancel/{task}", PAGE)),
        (404, one.ask("POST", f"/api/task/cancel/{UNKNOWN}", PAGE)),
    ]
    assert [answer.status for _, answer in answers] == [status for status, _ in answers]
    for _, answer in answers:
        assert answer.headers["access-control-allow-origin"] == PAGE["Origin"]
        assert answer.headers["vary"] == "Origin"
        assert {"x-request-id", "retry-after"} <= names(answer.headers["access-control-expose-headers"])
    upload, _ = filled(one, 500, 500)
    other = one.ask("GET", f"/api/task/status/{upload}", STRANGER)
    assert other.status == 200
    assert "access-control-allow-origin" not in other.headers


def test_options_lists_the_methods(everybody: LiveServer) -> None:
    """OPTIONS without an origin is answered too; a wrong method names the right ones."""
    assert everybody.ask("OPTIONS", PATH).headers["allow"] == "POST, OPTIONS"
    refused = everybody.ask("DELETE", PATH)
    assert (refused.status, refused.headers["allow"]) == (405, "POST, OPTIONS")
