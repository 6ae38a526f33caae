"""A service at `auth_url` that hangs, redirects, floods or lies, and clients that attack it through us."""

import asyncio
import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from server import threads
from server.auth.forward import MOST_ASKED, ForwardAuth, UploadQuestion
from server.auth.principal import Principal, Scope
from server.errors import (
    CredentialInvalidError,
    HeaderInvalidError,
    RefusedByBackendError,
    UnavailableError,
)
from server.settings import Settings
from tests.harness.backend import Asked, Backend, Behaviour, answers, drips, floods, hangs, sends
from tests.harness.certificates import Authority
from tests.harness.waiting import PATIENCE, Stopwatch, until

QUESTION = UploadQuestion(protocol="tus")
GOOD = b'{"owner": "ann"}'
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
NO = b"HTTP/1.1 403 No\r\nContent-Type: text/plain\r\n"


def ask(
    url: str, headers: list[tuple[bytes, bytes]] | None = None, question: UploadQuestion = QUESTION, **settings: Any
) -> Principal:
    forward = ForwardAuth(settings=Settings(auth_url=url, **{"auth_url_timeout": 1, **settings}))
    try:
        return asyncio.run(forward.ask(question, headers or []))
    finally:
        forward.close()


CLOSED: dict[str, Behaviour] = {
    "hangs": hangs,
    "drips its status": drips(b"HTTP/1.1 2"),
    "drips its body": drips(OK + b"\r\n"),
    "drips a refusal": drips(NO + b"\r\n"),
    "1 GB": floods(OK + b"\r\n"),
    "1 GB of a refusal": floods(NO + b"\r\n"),
    "a byte more than the limit": answers(200, GOOD + b" " * ((64 << 10) + 1 - len(GOOD))),
    "an answer that is cut": sends(OK + b"Content-Length: 100\r\n\r\n" + GOOD),
    "no HTTP": sends(b"+PONG\r\n"),
    "nothing": sends(b""),
    "204": answers(204),
    "201 with an owner": answers(201, GOOD),
    "301": answers(301, GOOD, Location="http://127.0.0.1:1/"),
    "304": answers(304),
    "500 with an owner": answers(500, GOOD),
    "503": answers(503, GOOD),
    "no JSON": answers(200, b"owner=ann"),
    "empty": answers(200, b""),
    "a list": answers(200, [{"owner": "ann"}]),
    "a text": answers(200, "ann"),
    "deep": answers(200, b"[" * 60_000),
    "no UTF-8": answers(200, b'{"owner": "\xff"}'),
    "gzip": answers(200, GOOD, Content_Encoding="gzip"),
    "no owner": answers(200, {"allowed": True}),
    "owner null": answers(200, {"owner": None}),
    "owner empty": answers(200, {"owner": ""}),
    "owner a number": answers(200, {"owner": 1}),
    "owner with a space before": answers(200, {"owner": " ann"}),
    "owner a list": answers(200, {"owner": ["ann"]}),
    "owner with a null": answers(200, {"owner": "ann\0"}),
    "owner with half a surrogate": answers(200, {"owner": "\ud800"}),
    "owner too long": answers(200, {"owner": "a" * 257}),
    "scopes a text": answers(200, {"owner": "ann", "scopes": "upload"}),
    "scopes of objects": answers(200, {"owner": "ann", "scopes": [{"upload": 1}]}),
    "max_size a text": answers(200, {"owner": "ann", "max_size": "1000"}),
    "max_size true": answers(200, {"owner": "ann", "max_size": True}),
    "max_size negative": answers(200, {"owner": "ann", "max_size": -1}),
    "max_size a fraction": answers(200, {"owner": "ann", "max_size": 0.5}),
    "metadata a list": answers(200, {"owner": "ann", "metadata": ["a"]}),
    "metadata of numbers": answers(200, {"owner": "ann", "metadata": {"a": 1}}),
    "metadata with a comma in a key": answers(200, {"owner": "ann", "metadata": {"a,b": "c"}}),
    "metadata with a space in a key": answers(200, {"owner": "ann", "metadata": {"a b": "c"}}),
    "metadata with an empty key": answers(200, {"owner": "ann", "metadata": {"": "c"}}),
    "metadata of 9 KB": answers(200, {"owner": "ann", "metadata": {"a": "x" * 9000}}),
    "metadata with half a surrogate": answers(200, {"owner": "ann", "metadata": {"a": "\ud800"}}),
}


@pytest.mark.parametrize("name", CLOSED)
def test_an_answer_that_does_not_allow_is_503_in_time(name: str) -> None:
    """Whatever is not 200 with an owner, or has a limit that cannot be read, allows nothing; the log tells why."""
    with Backend(CLOSED[name]) as backend:
        watch = Stopwatch()
        with pytest.raises(UnavailableError) as refused, capture_logs() as logged:
            ask(backend.url, [(b"authorization", b"Bearer visible")])
        assert watch.seconds < 3
    assert refused.value.params == {"part": "auth_url"}
    assert [line["event"] for line in logged] == ["auth_url_unavailable"]
    assert "visible" not in str(logged)
    assert str(backend.port) not in str(logged)


def test_nobody_listens_is_503() -> None:
    """A service that is away allows nothing."""
    with Backend(answers(200, GOOD)) as backend:
        url = backend.url
    with pytest.raises(UnavailableError):
        ask(url)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_refused(status: int) -> None:
    """A redirect does not carry a client's cookie to another server: nothing connects to it."""
    with (
        Backend(answers(200, {"owner": "admin"})) as evil,
        Backend(answers(status, b"", Location=evil.url)) as backend,
    ):
        with pytest.raises(UnavailableError):
            ask(backend.url, [(b"cookie", b"session=1")])
        assert evil.connections == 0


def test_an_answer_never_makes_an_administrator() -> None:
    """`admin` among the scopes is left out, alone and among others."""
    for scopes, expected in ((["admin"], set()), (["admin", "upload"], {Scope.UPLOAD})):
        with Backend(answers(200, {"owner": "ann", "scopes": scopes})) as backend:
            principal = ask(backend.url)
            assert principal.scopes == expected
            assert not principal.is_admin


def test_https_is_verified(tmp_path: Path) -> None:
    """A service whose certificate is of an unknown authority gets no cookie; with a known one it is asked."""
    authority = Authority(tmp_path)
    with Backend(answers(200, GOOD), authority.serving()) as backend:
        with pytest.raises(UnavailableError):
            ask(backend.url, [(b"cookie", b"session=1")])
        assert not backend.asked
        forward = ForwardAuth(settings=Settings(auth_url=backend.url), context=authority.trusting())
        assert asyncio.run(forward.ask(QUESTION, [])).owner == "ann"
        forward.close()


INJECTED = [
    b"a\r\nX-Admin: 1",
    b"a\nX-Admin: 1",
    b"a\rX-Admin: 1",
    b"a\r\n\r\nGET /admin HTTP/1.1\r\nHost: x\r\n\r\n",
    b"a\0b",
    b"a\x0bb",
    b"a\x7fb",
]


@pytest.mark.parametrize("value", INJECTED)
@pytest.mark.parametrize("name", [b"cookie", b"authorization"])
def test_a_header_of_a_client_cannot_begin_another(name: bytes, value: bytes) -> None:
    """A value that would end its line is refused before anything is sent, whatever server parsed it."""
    with Backend(answers(200, GOOD)) as backend:
        with pytest.raises(HeaderInvalidError) as refused:
            ask(backend.url, [(name, value)])
        assert refused.value.params == {"name": name.decode(), "reason": "header_characters"}
        assert backend.connections == 0


def test_two_authorizations_are_refused() -> None:
    """The service and we could take different ones."""
    with Backend(answers(200, GOOD)) as backend:
        with pytest.raises(CredentialInvalidError) as refused:
            ask(backend.url, [(b"authorization", b"Bearer a"), (b"Authorization", b"Bearer b")])
        assert refused.value.params == {"reason": "credential_repeated"}
        assert backend.connections == 0


def test_a_client_does_not_frame_the_question() -> None:
    """Length, coding, host and connection are ours, even if the setting names those of the client."""
    names = ["content-length", "transfer-encoding", "host", "connection", "content-type", "expect", "te", "upgrade"]
    headers = [(name.encode(), b"chunked") for name in names]
    with Backend(answers(200, GOOD)) as backend:
        assert ask(backend.url, headers, auth_url_headers=",".join(names)).owner == "ann"
        (asked,) = backend.asked
        assert framing(asked) == ["content-length", "content-type", "host"]
        assert asked.headers["connection"] == "close"
        assert json.loads(asked.body)["protocol"] == "tus"


def framing(asked: Asked) -> list[str]:
    names = [line.partition(":")[0].lower() for line in asked.lines]
    return sorted(name for name in names if name.startswith(("content", "transfer", "host", "te", "upgrade", "expect")))


def test_what_a_client_declares_stays_inside_the_json() -> None:
    """A name or metadata with quotes, line breaks and halves of surrogates is a text of the JSON and nothing else."""
    nasty = '","owner":"admin"}\r\n\r\nGET / HTTP/1.1\r\n\0\ud800\u2028'
    question = UploadQuestion(protocol="form", name=nasty, type=nasty, metadata={nasty: nasty}, remote_address=nasty)
    with Backend(answers(200, GOOD)) as backend:
        ask(backend.url, question=question)
        (asked,) = backend.asked
        assert asked.body.isascii()
        assert asked.json["name"] == nasty
        assert asked.json["metadata"] == {nasty: nasty}
        assert "owner" not in asked.json


EXPLANATIONS = [
    ("a\r\nSet-Cookie: x=1", "a Set-Cookie: x=1"),
    ("\x1b[31mred\x1b[0m", "[31mred [0m"),
    ("a\u202eb\u2066c", "a b c"),
    ("a\0b\x85c\u2028d", "a b c d"),
    ("x" * 1000, "x" * 300),
    ("{reason} {0} %s", "{reason} {0} %s"),
    ("\ud800", ""),
    ("credential_unknown", "credential_unknown"),
]


@pytest.mark.parametrize(("message", "shown"), EXPLANATIONS)
@pytest.mark.parametrize("is_json", [True, False])
def test_an_explanation_is_one_safe_line(message: str, shown: str, is_json: bool) -> None:
    """What a client is shown has no controls, no marks of direction, 300 characters at most, and is no format."""
    body: object = {"message": message} if is_json else message.encode("utf-8", "ignore")
    with Backend(answers(403, body)) as backend:
        with pytest.raises(RefusedByBackendError) as refused:
            ask(backend.url)
        assert refused.value.params["explanation"] == shown


def test_questions_that_wait_end_in_time_too() -> None:
    """While the service hangs, those that wait for a thread wait no longer than the others; then it is asked again."""
    with Backend(hangs) as backend:
        forward = ForwardAuth(settings=Settings(auth_url=backend.url, auth_url_timeout=2))

        async def steps() -> None:
            asking = [forward.ask(QUESTION, []) for _ in range(3 * MOST_ASKED)]
            found = await asyncio.gather(*asking, return_exceptions=True)
            assert all(isinstance(each, UnavailableError) for each in found)

        watch = Stopwatch()
        with capture_logs():
            asyncio.run(steps())
        assert watch.seconds < 4
        backend.behaviour = answers(200, GOOD)
        assert asyncio.run(forward.ask(QUESTION, [])).owner == "ann"
        forward.close()


def test_so_many_questions_are_open_at_once() -> None:
    """Later questions wait for a thread, and are asked as soon as one is free; other blocking work goes on."""
    released = threading.Event()

    def holds(backend: Backend, connection: socket.socket, asked: Asked) -> None:
        released.wait(PATIENCE)
        answers(200, GOOD)(backend, connection, asked)

    with Backend(holds) as backend:
        forward = ForwardAuth(settings=Settings(auth_url=backend.url, auth_url_timeout=60))

        async def steps() -> list[Principal]:
            asking = [asyncio.ensure_future(forward.ask(QUESTION, [])) for _ in range(2 * MOST_ASKED)]
            await threads.run(lambda: until(lambda: len(backend.asked) == MOST_ASKED, what="all threads ask"))
            for _ in range(100):
                assert await threads.run(threading.get_ident)
            assert backend.connections == MOST_ASKED
            released.set()
            return await asyncio.gather(*asking)

        assert len(asyncio.run(steps())) == 2 * MOST_ASKED
        assert backend.connections == 2 * MOST_ASKED
        forward.close()


def test_many_questions_at_once_each_get_their_own_answer() -> None:
    """Of 200 clients at once, none gets the owner of another."""

    def named(backend: Backend, connection: socket.socket, asked: Asked) -> None:
        answers(200, {"owner": asked.json["name"]})(backend, connection, asked)

    with Backend(named) as backend:
        forward = ForwardAuth(settings=Settings(auth_url=backend.url))

        async def steps() -> list[Principal]:
            questions = [UploadQuestion(protocol="tus", name=f"owner {number}") for number in range(200)]
            return await asyncio.gather(*(forward.ask(question, []) for question in questions))

        assert [each.owner for each in asyncio.run(steps())] == [f"owner {number}" for number in range(200)]
        forward.close()
