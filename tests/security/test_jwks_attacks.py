"""An issuer that hangs, drips, redirects, floods or lies, as tokens meet it: 503 in time, and never a valid token."""

import asyncio
import json
import socket
import threading
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from server import threads
from server.auth import jwks, outbound
from server.auth.jwks import Jwks
from server.auth.tokens import JwtVerifier
from server.errors import CredentialInvalidError, UnavailableError
from server.settings import Settings
from tests.harness.backend import Asked, Backend, Behaviour, answers, drips, floods, hangs, sends
from tests.harness.certificates import Authority
from tests.harness.signed_tokens import OTHER_RSA, RSA, key_set, signed
from tests.harness.waiting import PATIENCE, Stopwatch, until

GOOD = json.dumps(key_set([RSA])).encode()
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
GZIP = bytes.fromhex("1f8b0800000000000003ab56ca4ead2c56b28a8ead0500c5e3d1d00c000000")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def verifier(backend: Backend, authority: Authority, **settings: str) -> JwtVerifier:
    chosen = Settings(jwt_jwks="https://id.example/keys", **settings)  # type: ignore[arg-type]
    keys = Jwks(backend.url, context=authority.trusting())
    return JwtVerifier(settings=chosen, clock=lambda: datetime.now(UTC), jwks=keys)


CONTENT = {
    "hangs": hangs,
    "hangs after its head": sends(OK + b"Content-Length: 100\r\n\r\n"),
    "drips its status": drips(b"HTTP/1.1 2"),
    "drips its headers": drips(OK + b"X: "),
    "drips its body": drips(OK + b"\r\n"),
    "drips its body, with its length": drips(OK + b"Content-Length: 100000\r\n\r\n"),
    "drips its chunks": drips(OK + b"Transfer-Encoding: chunked\r\n\r\n"),
    "interim answers": floods(b"", piece=b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "1 GB with its length": floods(OK + b"Content-Length: 1073741824\r\n\r\n"),
    "1 GB without its length": floods(OK + b"\r\n"),
    "1 GB in chunks": floods(OK + b"Transfer-Encoding: chunked\r\n\r\n", piece=b"10000\r\n" + b" " * 65536 + b"\r\n"),
    "1 GB in chunks of a byte": floods(OK + b"Transfer-Encoding: chunked\r\n\r\n", piece=b"1\r\n \r\n" * 10_000),
    "1 GB of a chunk's size": floods(OK + b"Transfer-Encoding: chunked\r\n\r\n", piece=b"0" * 65536),
    "1 GB of headers": floods(OK, piece=b"X: " + b"x" * 60_000 + b"\r\n"),
    "1 GB of one header": floods(OK + b"X: ", piece=b"x" * 65536),
    "1 GB of a status": floods(b"HTTP/1.1 200 ", piece=b"x" * 65536),
    "a byte more than the limit": answers(200, GOOD + b" " * ((256 << 10) + 1 - len(GOOD))),
    "a good set whose length lies": sends(OK + b"Content-Length: 100000\r\n\r\n" + GOOD),
    "a good set with half of its chunks": sends(OK + b"Transfer-Encoding: chunked\r\n\r\n1000\r\n" + GOOD),
    "a negative length": sends(OK + b"Content-Length: -1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n" + GOOD),
    "gzip": answers(200, GZIP, Content_Encoding="gzip"),
    "no HTTP": sends(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "HTTP/0.9": sends(GOOD),
    "nothing": sends(b""),
    "another status": sends(b"HTTP/1.1 203 Said\r\n\r\n" + GOOD),
    "404 with a good set": answers(404, GOOD),
    "500": answers(500, GOOD),
    "a page": answers(200, b"<html>Sign in</html>"),
    "no JSON": answers(200, b'{"keys": ['),
    "no object": answers(200, b"[]"),
    "deep": answers(200, b"[" * 100_000),
    "no text": answers(200, b"\xff\xfe\xfd"),
}


@pytest.mark.parametrize("name", CONTENT)
def test_an_issuer_that_misbehaves_is_503_in_time(
    name: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the answer goes wrong, requests get 503 within the time limit of the whole; little memory is used."""
    monkeypatch.setattr(jwks, "FETCH_SECONDS", 1.0)
    with Backend(CONTENT[name], authority.serving()) as backend:
        checked = verifier(backend, authority)
        tracemalloc.start()
        try:
            watch = Stopwatch()
            with pytest.raises(UnavailableError) as refused, capture_logs() as logged:
                asyncio.run(checked.verify(signed(RSA, "RS256")))
            assert watch.seconds < 3
            assert tracemalloc.get_traced_memory()[1] < 16 << 20
        finally:
            tracemalloc.stop()
        assert refused.value.params == {"part": "keys"}
        assert [line["event"] for line in logged] == ["jwks_unavailable"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_refused(status: int, authority: Authority) -> None:
    """A redirect to a private address, as to the metadata of a cloud, is not followed: nothing connects to it."""
    with (
        Backend(answers(200, key_set([OTHER_RSA]))) as private,
        Backend(answers(status, b"", Location=private.url), authority.serving()) as backend,
    ):
        with pytest.raises(UnavailableError):
            asyncio.run(verifier(backend, authority).verify(signed(OTHER_RSA, "RS256")))
        assert private.connections == 0
        assert len(backend.asked) == 1


def test_urls_of_a_token_and_of_a_set_are_not_fetched(authority: Authority) -> None:
    """Neither `jku` and `x5u` of a token nor those of a key are connected to."""
    with (
        Backend(answers(200, key_set([OTHER_RSA]))) as evil,
        Backend(answers(200, key_set([RSA], x5u=evil.url, jku=evil.url)), authority.serving()) as backend,
    ):
        checked = verifier(backend, authority)
        forged = signed(OTHER_RSA, "RS256", kid="other", jku=evil.url, x5u=evil.url)
        with pytest.raises(CredentialInvalidError):
            asyncio.run(checked.verify(forged))
        assert asyncio.run(checked.verify(signed(RSA, "RS256", jku=evil.url))).owner == "ann"
        assert evil.connections == 0


CERTIFICATES: dict[str, Callable[[Authority, Path], Backend]] = {
    "of an unknown authority": lambda _, folder: Backend(answers(200, GOOD), Authority(folder).serving()),
    "for another name": lambda authority, _: Backend(answers(200, GOOD), authority.serving("id.example")),
    "that has expired": lambda authority, _: Backend(answers(200, GOOD), authority.serving(days=-1)),
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_certificate_that_is_not_valid_is_503(name: str, authority: Authority, tmp_path: Path) -> None:
    """Keys come from the issuer, and not from somebody between it and us."""
    folder = tmp_path / "other"
    folder.mkdir()
    with CERTIFICATES[name](authority, folder) as backend:
        with pytest.raises(UnavailableError), capture_logs() as logged:
            asyncio.run(verifier(backend, authority).verify(signed(RSA, "RS256")))
        assert not backend.asked
        assert "certificate" in logged[0]["reason"]


def test_no_tls_is_503(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that speaks plain HTTP on the port gets no request."""
    monkeypatch.setattr(jwks, "FETCH_SECONDS", 0.5)
    with Backend(answers(200, GOOD)) as backend:
        keys = Jwks(backend.url.replace("http:", "https:"), context=authority.trusting())
        with pytest.raises(UnavailableError):
            asyncio.run(keys.current())
        assert not backend.asked


def test_proxies_of_the_environment_are_not_used(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the environment does not decide who sees the request."""
    with Backend(answers(200, GOOD)) as proxy, Backend(answers(200, GOOD), authority.serving()) as backend:
        for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert asyncio.run(verifier(backend, authority).verify(signed(RSA, "RS256"))).owner == "ann"
        assert proxy.connections == 0


def test_tokens_that_no_key_can_verify_fetch_nothing(authority: Authority) -> None:
    """What is no token, and a token of an algorithm that the settings lack, costs the issuer no request."""
    with Backend(answers(200, GOOD), authority.serving()) as backend:
        checked = verifier(backend, authority, jwt_secret="s" * 32)
        for token in ("a.b.c", "x" * 9000, signed(RSA, "PS256"), signed(RSA, "RS512")):
            with pytest.raises(CredentialInvalidError):
                asyncio.run(checked.verify(token))
        assert backend.connections == 0


def test_a_hanging_issuer_takes_one_thread_and_no_other_request(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand tokens while the issuer hangs share one connection; other blocking work goes on meanwhile."""
    monkeypatch.setattr(jwks, "FETCH_SECONDS", PATIENCE)
    released = threading.Event()

    def holds(backend: Backend, connection: socket.socket, asked: Asked) -> None:
        released.wait(PATIENCE)
        answers(200, GOOD)(backend, connection, asked)

    with Backend(holds, authority.serving()) as backend:
        checked = verifier(backend, authority)

        async def steps() -> None:
            token = signed(RSA, "RS256")
            asking = [asyncio.ensure_future(checked.verify(token)) for _ in range(1000)]
            await threads.run(lambda: until(lambda: backend.asked, what="the issuer is asked"))
            for _ in range(100):
                assert await threads.run(threading.get_ident)
            assert not any(each.done() for each in asking)
            released.set()
            assert {principal.owner for principal in await asyncio.gather(*asking)} == {"ann"}

        asyncio.run(steps())
        assert backend.connections == 1


def test_a_name_that_is_looked_up_for_long_is_503_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DNS server that hangs counts against the time limit too."""
    monkeypatch.setattr(jwks, "FETCH_SECONDS", 0.5)
    released = threading.Event()
    real = outbound.socket.getaddrinfo  # type: ignore[attr-defined]

    def slow(host: str, *args: object, **kwargs: object) -> object:
        if not kwargs.get("flags"):
            released.wait(20)
        return real(host, *args, **kwargs)

    monkeypatch.setattr(outbound.socket, "getaddrinfo", slow)  # type: ignore[attr-defined]
    watch = Stopwatch()
    try:
        with pytest.raises(UnavailableError):
            asyncio.run(Jwks("https://id.invalid/keys").current())
        assert watch.seconds < 3
    finally:
        released.set()


def test_an_issuer_that_goes_bad_leaves_the_keys_as_they_were(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who can break the issuer's answers locks no user out, and lets none in."""
    monkeypatch.setattr(jwks, "FETCH_SECONDS", 0.5)
    seconds = 0.0
    good: Behaviour = answers(200, GOOD)
    with Backend(good, authority.serving()) as backend:
        keys = Jwks(backend.url, context=authority.trusting(), clock=lambda: seconds)
        checked = JwtVerifier(settings=Settings(), clock=lambda: datetime.now(UTC), jwks=keys)
        for behaviour in (good, *CONTENT.values()):
            backend.behaviour = behaviour
            seconds += 301
            assert asyncio.run(checked.verify(signed(RSA, "RS256"))).owner == "ann"
            with pytest.raises(CredentialInvalidError):
                asyncio.run(checked.verify(signed(OTHER_RSA, "RS256")))
