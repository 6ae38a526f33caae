"""The operator's own service is asked whether an upload may be created, and its answer is obeyed."""

import asyncio
from typing import Any

import pytest

from server.auth.forward import ForwardAuth, UploadQuestion
from server.auth.principal import CreationLimits, Principal, Scope
from server.errors import RefusedByBackendError, StartError
from server.messages import sentence
from server.settings import Settings
from tests.harness.backend import Backend, answers

DEFAULT = frozenset({Scope.UPLOAD, Scope.READ, Scope.MANAGE})
QUESTION = UploadQuestion(
    protocol="tus",
    name="假期 1.mp4",
    size=1 << 33,
    type="video/mp4",
    metadata={"filename": "假期 1.mp4", "album": "7"},
    remote_address="192.0.2.7",
)


def ask(url: str, headers: list[tuple[bytes, bytes]] | None = None, **settings: Any) -> Principal:
    forward = ForwardAuth(settings=Settings(auth_url=url, **settings))
    try:
        return asyncio.run(forward.ask(QUESTION, headers or []))
    finally:
        forward.close()


def test_the_question_is_what_is_to_be_uploaded() -> None:
    """The service gets a POST with all that the client declares, as JSON, under the path of the setting."""
    with Backend(answers(200, {"owner": "ann"})) as backend:
        assert ask(backend.url + "?from=videodock") == Principal("ann", DEFAULT, "auth_url:ann")
        (asked,) = backend.asked
        assert (asked.method, asked.path) == ("POST", "/asked?from=videodock")
        assert asked.headers["content-type"] == asked.headers["accept"] == "application/json"
        assert asked.json == {
            "protocol": "tus",
            "name": "假期 1.mp4",
            "size": 1 << 33,
            "type": "video/mp4",
            "metadata": {"filename": "假期 1.mp4", "album": "7"},
            "remote_address": "192.0.2.7",
        }


def test_what_is_unknown_is_null() -> None:
    """A deferred length, a nameless file: the service sees null."""
    with Backend(answers(200, {"owner": "ann"})) as backend:
        forward = ForwardAuth(settings=Settings(auth_url=backend.url))
        asyncio.run(forward.ask(UploadQuestion(protocol="form"), []))
        forward.close()
        assert backend.asked[0].json == {
            "protocol": "form",
            "name": None,
            "size": None,
            "type": None,
            "metadata": {},
            "remote_address": None,
        }


def test_chosen_headers_are_passed_on() -> None:
    """The headers of the setting go along, in any case; several cookies become one; all others stay here."""
    headers = [
        (b"cookie", b"session=1"),
        (b"Cookie", b"theme=dark"),
        (b"AUTHORIZATION", b"Bearer abc"),
        (b"x-tenant", b"a"),
        (b"x-tenant", b"b"),
        (b"x-other", b"private"),
    ]
    with Backend(answers(200, {"owner": "ann"})) as backend:
        ask(backend.url, headers, auth_url_headers="Cookie,authorization,X-Tenant")
        found = backend.asked[0].headers
        assert found["cookie"] == "session=1; theme=dark"
        assert found["authorization"] == "Bearer abc"
        assert found["x-tenant"] == "a, b"
        assert "x-other" not in found


COOKIES = [
    (b"videodock_session=x; session=1", "session=1"),
    (b"session=1; __Host-videodock_session=x", "session=1"),
    (b"a=1; __Secure-videodock_session=x; b=2", "a=1; b=2"),
    (b"a=1;videodock_session=x;b=2;", "a=1; b=2"),
    (b"my_videodock_session=1", "my_videodock_session=1"),
    (b"videodock_session=x", None),
]


@pytest.mark.parametrize(("sent", "passed"), COOKIES)
def test_our_own_sign_in_is_not_passed_on(sent: bytes, passed: str | None) -> None:
    """The service cannot act as the user of our page: our cookie stays here, and all others go along."""
    with Backend(answers(200, {"owner": "ann"})) as backend:
        ask(backend.url, [(b"cookie", sent)])
        assert backend.asked[0].headers.get("cookie") == passed


@pytest.mark.parametrize("value", [b"Bearer vdk_id_secret", b"bearer  vdg_id_secret", b" BEARER\tvdk_x"])
def test_our_own_keys_are_not_passed_on(value: bytes) -> None:
    """An Authorization with a key or grant of ours stays here."""
    with Backend(answers(200, {"owner": "ann"})) as backend:
        ask(backend.url, [(b"authorization", value)])
        assert "authorization" not in backend.asked[0].headers


def test_the_password_of_the_url_goes_before_the_clients() -> None:
    """With a user in `auth_url` the service sees that user alone as Authorization, and the client's cookie."""
    with Backend(answers(200, {"owner": "ann"})) as backend:
        url = backend.url.replace("://", "://videodock:secret@")
        ask(url, [(b"authorization", b"Bearer abc"), (b"cookie", b"session=1")])
        (asked,) = backend.asked
        assert [line for line in asked.lines if line.lower().startswith("authorization")] == [
            "Authorization: Basic dmlkZW9kb2NrOnNlY3JldA=="
        ]
        assert asked.headers["cookie"] == "session=1"


ALLOWED: list[tuple[dict[str, object], Principal]] = [
    ({"scopes": ["upload"]}, Principal("ann", frozenset({Scope.UPLOAD}), "auth_url:ann")),
    ({"scopes": []}, Principal("ann", frozenset(), "auth_url:ann")),
    ({"scopes": ["upload", "admin", "x"]}, Principal("ann", frozenset({Scope.UPLOAD}), "auth_url:ann")),
    ({"max_size": 1000}, Principal("ann", DEFAULT, "auth_url:ann", CreationLimits(1000))),
    ({"max_size": 0}, Principal("ann", DEFAULT, "auth_url:ann", CreationLimits(0))),
    (
        {"metadata": {"course": "数学", "empty": ""}},
        Principal("ann", DEFAULT, "auth_url:ann", CreationLimits(None, {"course": "数学", "empty": ""})),
    ),
    ({"scopes": None, "max_size": None, "metadata": None, "more": 1}, Principal("ann", DEFAULT, "auth_url:ann")),
]


@pytest.mark.parametrize(("more", "expected"), ALLOWED)
def test_an_answer_may_limit_the_creation(more: dict[str, object], expected: Principal) -> None:
    """Scopes but `admin`, a size and metadata; null is as left out, and unknown members are left alone."""
    with Backend(answers(200, {"owner": "ann", **more})) as backend:
        assert ask(backend.url) == expected


EXPLAINED: list[tuple[object, str, str]] = [
    ({"message": "Your plan has no videos."}, "application/json", "Your plan has no videos."),
    ({"message": "  您的套餐\n不含视频 "}, "application/json", "您的套餐 不含视频"),
    (b"Not today.\n", "text/plain; charset=utf-8", "Not today."),
    (b"no \xff", "text/plain", "no \ufffd"),
    ({"message": 7}, "application/json", ""),
    ({"error": "x"}, "application/json", ""),
    (b"", "text/plain", ""),
    (b"<html><title>403</title></html>", "text/html", ""),
    (b"\x89PNG", "image/png", ""),
]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 451])
@pytest.mark.parametrize(("body", "kind", "explanation"), EXPLAINED)
def test_a_refusal_is_told_in_the_services_words(status: int, body: object, kind: str, explanation: str) -> None:
    """Any 4xx refuses; the client is shown the `message` of its JSON, else its text, else that there is no reason."""
    answer = answers(status, body, Content_Type=kind)
    with Backend(answer) as backend, pytest.raises(RefusedByBackendError) as refused:
        ask(backend.url)
    assert refused.value.params["explanation"] == explanation
    assert refused.value.status_hint == 403
    english = sentence(refused.value.code, refused.value.params, "en")
    assert english == f"The upload was refused: {explanation or 'no reason was given'}"
    assert sentence(refused.value.code, refused.value.params, "zh").endswith(explanation or "未说明原因")


def test_without_a_url_it_is_not_configured() -> None:
    """An empty setting asks nobody; a URL that cannot be one stops the start, without its password."""
    assert not ForwardAuth(settings=Settings()).is_configured
    assert ForwardAuth(settings=Settings(auth_url="http://127.0.0.1:1/")).is_configured
    with pytest.raises(StartError, match="auth_url") as refused:
        ForwardAuth(settings=Settings(auth_url="http://videodock:secret@backend:99999/"))
    assert "secret" not in refused.value.sentence
