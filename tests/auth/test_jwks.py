"""The key set: where it comes from, how long it is used, and when it is fetched again."""

import asyncio
import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import Key
from structlog.testing import capture_logs

from server.auth import jose, jwks, outbound
from server.auth.jwks import Jwks
from server.errors import UnavailableError
from tests.harness.backend import Asked, Backend, Behaviour, answers
from tests.harness.certificates import Authority
from tests.harness.signed_tokens import EC, OTHER_RSA, RSA, key_set, signed, write_key_set
from tests.harness.waiting import PATIENCE, until


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def serves(*keys: Key) -> Behaviour:
    return answers(200, key_set(keys))


async def knows(keys: Jwks, kid: str) -> bool:
    return (await keys.with_key(kid)).knows(kid)


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    """A replaced file counts after two seconds, one that is as before is not parsed again."""
    clock, path = Clock(), write_key_set(tmp_path / "keys.json", RSA)
    keys = Jwks(str(path), clock=clock)

    async def steps() -> None:
        first = await keys.current()
        assert first.knows("rsa")
        write_key_set(path, EC)
        assert await keys.current() is first
        assert not await knows(keys, "ec"), "a file is not looked at for each request"
        clock.now += 2
        assert await knows(keys, "ec")
        assert not await knows(keys, "rsa")
        second = await keys.current()
        clock.now += 60
        assert await keys.current() is second

    asyncio.run(steps())


def test_a_file_that_is_written_in_place_is_read_again(tmp_path: Path) -> None:
    """The same name, inode and size: the time of its change tells."""
    clock, path = Clock(), write_key_set(tmp_path / "keys.json", RSA)
    keys = Jwks(str(path), clock=clock)
    text = path.read_text()

    async def steps() -> None:
        assert await knows(keys, "rsa")
        path.write_text(text.replace('"kid": "rsa"', '"kid": "new"'))
        clock.now += 2
        assert await knows(keys, "new")

    asyncio.run(steps())


def test_a_bad_file_leaves_the_last_good_set(tmp_path: Path) -> None:
    """While a file is half written or gone, the set before is used, and a warning is logged once."""
    clock, path = Clock(), write_key_set(tmp_path / "keys.json", RSA)
    keys = Jwks(str(path), clock=clock)

    async def steps() -> None:
        assert await knows(keys, "rsa")
        path.write_text('{"keys": [')
        for _ in range(10):
            clock.now += 2
            assert await knows(keys, "rsa")
            await settled(keys)
        path.unlink()
        clock.now += 2
        assert await knows(keys, "rsa")
        await settled(keys)
        write_key_set(path, EC)
        clock.now += 2
        assert await knows(keys, "ec")

    with capture_logs() as logged:
        asyncio.run(steps())
    warnings = [line for line in logged if line["event"] == "jwks_unavailable"]
    assert len(warnings) == 2, warnings
    assert warnings[0]["has_keys"] is True
    assert warnings[1]["reason"] == "No such file or directory"


async def settled(keys: Jwks) -> None:
    """Wait for a fetch that goes on in the background."""
    if keys._running is not None:
        await keys._running


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo", "large", "text", "list", "no keys", "deep"])
def test_without_any_set_it_is_503(kind: str, tmp_path: Path) -> None:
    """What is no key set is an unavailable part, and never an accepted token; a FIFO does not hang."""
    path = tmp_path / "keys.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind != "missing":
        texts = {"large": '{"keys": []}' + " " * (256 << 10), "text": "keys", "list": "[]", "no keys": '{"keys": {}}'}
        path.write_text(texts.get(kind, "[" * 100_000))
    keys = Jwks(str(path))
    with pytest.raises(UnavailableError) as refused, capture_logs() as logged:
        asyncio.run(keys.with_key("rsa"))
    assert refused.value.params == {"part": "keys"}
    assert [line["event"] for line in logged] == ["jwks_unavailable"]


def test_a_url_is_fetched_once_in_five_minutes(authority: Authority) -> None:
    """A fetched set is used for five minutes, then fetched again, and replaced."""
    clock = Clock()
    with Backend(serves(RSA), authority.serving()) as backend:
        keys = Jwks(backend.url, context=authority.trusting(), clock=clock)

        async def steps() -> None:
            for _ in range(5):
                assert await knows(keys, "rsa")
                clock.now += 59
            assert len(backend.asked) == 1
            first = await keys.current()
            clock.now += 5
            assert await keys.current() is first, "the set has not changed"
            assert len(backend.asked) == 2
            backend.behaviour = serves(EC)
            clock.now += 300
            assert await knows(keys, "ec")
            assert not await knows(keys, "rsa"), "a key that the issuer has withdrawn"
            assert len(backend.asked) == 3

        asyncio.run(steps())
        asked = backend.asked[0]
        assert (asked.method, asked.path, asked.body) == ("GET", "/asked", b"")
        assert "user-agent" not in asked.headers


def test_an_unknown_key_has_the_set_fetched_again(authority: Authority) -> None:
    """A rotation is noticed by its first token, and a flood of unknown keys costs a fetch in 30 seconds."""
    clock = Clock()
    with Backend(serves(RSA), authority.serving()) as backend:
        keys = Jwks(backend.url, context=authority.trusting(), clock=clock)

        async def steps() -> None:
            assert await knows(keys, "rsa")
            backend.behaviour = serves(RSA, EC)
            clock.now += 31
            assert await knows(keys, "ec")
            assert len(backend.asked) == 2
            for number in range(100):
                assert not await knows(keys, f"unknown {number}")
            assert len(backend.asked) == 2
            clock.now += 31
            assert not any(await asyncio.gather(*(knows(keys, f"unknown {number}") for number in range(100))))
            assert len(backend.asked) == 3
            assert (await keys.with_key(None)).knows("ec"), "a token that names no key"
            assert len(backend.asked) == 3

        asyncio.run(steps())


def test_requests_at_once_share_one_fetch(authority: Authority) -> None:
    """A hundred first requests are one fetch; one of them that is cancelled takes none of the others along."""
    with Backend(serves(RSA), authority.serving()) as backend:
        keys = Jwks(backend.url, context=authority.trusting())

        async def steps() -> list[bool | BaseException]:
            asking = [asyncio.ensure_future(knows(keys, "rsa")) for _ in range(100)]
            await asyncio.sleep(0)
            asking[0].cancel()
            return await asyncio.gather(*asking, return_exceptions=True)

        found = asyncio.run(steps())
        assert isinstance(found[0], asyncio.CancelledError)
        assert found[1:] == [True] * 99
        assert len(backend.asked) == 1


def test_the_last_good_set_is_used_for_a_day(authority: Authority) -> None:
    """While fetches fail, requests are answered by the last good set without waiting; after a day by 503."""
    clock = Clock()
    with Backend(serves(RSA), authority.serving()) as backend:
        keys = Jwks(backend.url, context=authority.trusting(), clock=clock)

        async def steps() -> None:
            assert await knows(keys, "rsa")
            backend.behaviour = answers(500)
            clock.now += 300
            for _ in range(10):
                assert await knows(keys, "rsa")
            assert len(backend.asked) == 2, "a fetch that fails is not repeated at once"
            clock.now += 30
            assert await knows(keys, "rsa")
            await settled(keys)
            assert len(backend.asked) == 3
            clock.now += 86_400 - 330 - 1
            assert await knows(keys, "rsa")
            await settled(keys)
            clock.now += 1
            with pytest.raises(UnavailableError):
                await keys.current()
            backend.behaviour = serves(EC)
            clock.now += 3
            assert await knows(keys, "ec")

        asyncio.run(steps())


def test_a_start_before_the_issuer_recovers_soon(authority: Authority) -> None:
    """Without any set, the next fetch is three seconds later, not thirty, and not at each request."""
    clock = Clock()
    with Backend(answers(503), authority.serving()) as backend:
        keys = Jwks(backend.url, context=authority.trusting(), clock=clock)

        async def steps() -> None:
            for _ in range(5):
                with pytest.raises(UnavailableError):
                    await keys.current()
            assert len(backend.asked) == 1
            backend.behaviour = serves(RSA)
            clock.now += 3
            assert await knows(keys, "rsa")

        asyncio.run(steps())


def test_a_request_does_not_wait_for_a_fetch_that_has_failed_before(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a good set, an issuer that is away delays the requests of one fetch, and none later."""
    monkeypatch.setattr(jwks, "FETCH_SECONDS", PATIENCE)
    clock, released = Clock(), threading.Event()

    def holds(backend: Backend, connection: socket.socket, asked: Asked) -> None:
        released.wait(PATIENCE)
        serves(EC)(backend, connection, asked)

    with Backend(serves(RSA), authority.serving()) as backend:
        keys = Jwks(backend.url, context=authority.trusting(), clock=clock)

        async def steps() -> None:
            assert await knows(keys, "rsa")
            backend.behaviour = answers(500)
            clock.now += 300
            assert await knows(keys, "rsa")
            backend.behaviour = holds
            clock.now += 30
            assert await knows(keys, "rsa")
            assert keys._running is not None
            assert not keys._running.done(), "the fetch goes on in the background"
            released.set()
            await settled(keys)
            assert await knows(keys, "ec")

        asyncio.run(steps())


def test_authorities_of_the_environment_are_trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """`SSL_CERT_FILE` names the authority of an issuer in the company's own network."""
    outbound._default_context.cache_clear()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    try:
        with Backend(serves(OTHER_RSA), authority.serving()) as backend:
            assert asyncio.run(knows(Jwks(backend.url), "other"))
    finally:
        outbound._default_context.cache_clear()


def test_a_file_is_noticed_in_real_time(tmp_path: Path) -> None:
    """With the real clock, a replaced file counts within seconds."""
    path = write_key_set(tmp_path / "keys.json", RSA)
    keys = Jwks(str(path))
    assert asyncio.run(knows(keys, "rsa"))
    write_key_set(path, EC)
    until(lambda: asyncio.run(knows(keys, "ec")), what="the new key is known")


def test_keys_beside_each_other(tmp_path: Path) -> None:
    """A set may have keys without a `kid`, which are tried for tokens of every `kid` that it lacks."""
    unnamed: dict[str, Any] = RSA.as_dict(private=False)
    del unnamed["kid"]
    found = jose.key_set(json.dumps({"keys": [unnamed, *key_set([EC])["keys"]]}).encode())
    assert [key.kid for key in found.candidates(jose.parse(signed(RSA, "RS256", kid="any")))] == [None]
    assert [key.kid for key in found.candidates(jose.parse(signed(EC, "ES256", kid="ec")))] == ["ec"]
    assert [key.kid for key in found.candidates(jose.parse(signed(EC, "ES256", kid=None)))] == ["ec"]
    assert not list(found.candidates(jose.parse(signed(EC, "ES256", kid="other"))))
