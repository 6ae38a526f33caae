"""Sending a message: to public addresses only, once, bounded in time and size."""

import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from server.errors import FieldInvalidError
from server.events import addresses, signing
from server.events.sender import Sender, Sent
from tests.harness.backend import Backend, answers, sends
from tests.harness.certificates import Authority
from tests.harness.receiver import Receiver

KEY = signing.new_secret()
REFUSED = """
    127.0.0.1 127.8.8.8 0.0.0.0 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 192.0.0.8 198.18.0.1
    224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 192.0.2.1 203.0.113.9
    ::1 :: fe80::1 fe80::1%eth0 fc00::1 fd12:3456::1 ff02::1 fec0::1 2001:db8::1 2001::1 100::1
    ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1 ::7f00:1 64:ff9b::7f00:1 64:ff9b::10.0.0.1 64:ff9b:1::8.8.8.8
    2002:7f00:1::1 2002:c0a8:101::1 not-an-address
"""
ALLOWED = "8.8.8.8 1.1.1.1 2606:4700:4700::1111 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1"


@pytest.mark.parametrize("address", REFUSED.split())
def test_addresses_that_are_not_of_the_internet(address: str) -> None:
    """Loopback, private, link-local, multicast, reserved; and what carries one of them in it."""
    assert not addresses.is_public(address)


@pytest.mark.parametrize("address", ALLOWED.split())
def test_addresses_of_the_internet(address: str) -> None:
    """Also in the forms that carry an IPv4 address."""
    assert addresses.is_public(address)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.org/", "webhook_url"),
        ("https://", "webhook_url"),
        ("example.org/hook", "webhook_url"),
        ("https://example.org:99999/", "webhook_url"),
        ("https://example.org/#part", "webhook_url"),
        ("https://example.org/\n", "webhook_url"),
        ("https://example.org/" + "a" * 2048, "webhook_url"),
        ("https://user:secret@example.org/", "webhook_credentials"),
        ("https://127.0.0.1/", "webhook_private"),
        ("http://[::1]:8000/", "webhook_private"),
        ("https://[::ffff:10.0.0.1]/", "webhook_private"),
        ("https://localhost/", "webhook_private"),
        ("https://169.254.169.254/latest/meta-data", "webhook_private"),
    ],
)
def test_urls_that_are_refused_at_once(url: str, reason: str) -> None:
    """What can be told without looking up a name; the others are judged each time that a message is sent."""
    with pytest.raises(FieldInvalidError) as refused:
        Sender(allow_private=False).check_url(url)
    assert refused.value.params["reason"] == reason


def post(sender: Sender, url: str, body: bytes = b"{}") -> Sent:
    return sender.post(url, "msg_1", 1_700_000_000, body, [KEY])


def resolves_to(*found: str) -> tuple[Callable[[str, int], Any], list[str]]:
    """A look-up of names with these answers, one after the other, and the names that it was asked for."""
    left, asked = list(found), list[str]()

    def resolve(host: str, port: int) -> Any:
        asked.append(host)
        address = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    return resolve, asked


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}/", "http://2130706433:{}/", "http://0x7f.1:{}/", "http://0:{}/"])
def test_no_spelling_of_this_machine_is_connected_to(url: str) -> None:
    """An address is judged as the kernel reads it."""
    with Receiver() as receiver:
        sent = post(Sender(allow_private=False), url.format(receiver.port))
        assert (sent.error_code, sent.is_delivered) == ("webhook_address", False)
        assert receiver.connections == 0


def test_a_name_that_changes_its_address_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the name is looked up once a message, and the address that was checked is connected to."""
    connected: list[str] = []

    def connect(_self: socket.socket, address: Any) -> None:
        connected.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    resolve, asked = resolves_to("93.184.215.14", "127.0.0.1")
    sender = Sender(allow_private=False, resolve=resolve)
    assert post(sender, "http://rebinds.example/").error_code == "webhook_network"
    assert (asked, connected) == (["rebinds.example"], ["93.184.215.14"])
    assert post(sender, "http://rebinds.example/").error_code == "webhook_address"
    assert connected == ["93.184.215.14"]


def test_of_several_addresses_only_public_ones_are_tried() -> None:
    """A name that has a private one beside a public one."""
    mixed = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 9)) for address in ("10.0.0.1", "127.0.0.1")]
    sender = Sender(allow_private=False, resolve=lambda *_: mixed)  # type: ignore[arg-type]
    assert post(sender, "http://mixed.example:9/").error_code == "webhook_address"


def test_the_certificate_is_of_the_name_and_not_of_the_address(tmp_path: Path) -> None:
    """Host, SNI and the certificate go by the name, though the address is connected to."""
    authority = Authority(tmp_path)
    resolve, _ = resolves_to("127.0.0.1")
    sender = Sender(allow_private=True, context=authority.trusting(), resolve=resolve)
    with Backend(answers(200), tls=authority.serving("hooks.example")) as backend:
        assert post(sender, f"https://hooks.example:{backend.port}/a?b=c").status == 200
        assert backend.asked[0].headers["host"] == f"hooks.example:{backend.port}"
        assert backend.asked[0].path == "/a?b=c"
        assert post(sender, f"https://other.example:{backend.port}/").error_code == "webhook_tls"


def test_redirects_are_not_followed() -> None:
    """A redirect is an answer that is no delivery."""
    with Receiver() as inner, Backend(answers(302, Location=inner.url)) as backend:
        sent = post(Sender(allow_private=True), backend.url)
        assert (sent.status, sent.is_delivered) == (302, False)
        assert inner.connections == 0


def test_an_endless_answer_is_cut() -> None:
    """Ten gigabytes: the status counts, the first KiB is kept, and the rest is not read."""
    sent_bytes = [0]

    def floods(backend: Backend, connection: socket.socket, _: Any) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
        while not backend.closed.is_set():
            sent_bytes[0] += connection.send(b"x" * 65536)

    with Backend(floods) as backend:
        began = time.monotonic()
        sent = post(Sender(allow_private=True), backend.url)
        assert time.monotonic() - began < 5
        assert (sent.status, sent.answer) == (200, "x" * 1024)
    assert sent_bytes[0] < 64 << 20  # what the kernel's buffers take


def test_an_endless_head_is_no_answer() -> None:
    """Headers without an end are cut, too."""

    def floods(backend: Backend, connection: socket.socket, _: Any) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not backend.closed.is_set():
            connection.send(b"X-More: " + b"x" * 60_000 + b"\r\n")

    with Backend(floods) as backend:
        assert post(Sender(allow_private=True), backend.url).error_code == "webhook_answer"


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 ", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_receiver_that_hangs_costs_the_time_limit(first: bytes) -> None:
    """Whatever it sent before."""

    def hangs(backend: Backend, connection: socket.socket, _: Any) -> None:
        connection.sendall(first)
        backend.closed.wait(20)

    with Backend(hangs) as backend:
        began = time.monotonic()
        assert post(Sender(allow_private=True, seconds=0.5), backend.url).error_code == "webhook_timeout"
        assert time.monotonic() - began < 5


def test_an_answer_without_a_body_or_with_bytes_that_are_no_text() -> None:
    """It is kept as text, and PostgreSQL takes it."""
    with Backend(answers(204)) as backend:
        assert post(Sender(allow_private=True), backend.url).answer == ""
    with Backend(answers(200, b"a\0b\xff")) as backend:
        assert (
            post(Sender(allow_private=True), backend.url).answer
            == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
        )


def test_errors_have_codes() -> None:
    """No connection, no name, no HTTP."""
    with Backend(answers(200)) as backend:
        closed = backend.port
    sender = Sender(allow_private=True, seconds=2)
    assert post(sender, f"http://127.0.0.1:{closed}/").error_code == "webhook_network"
    with Backend(sends(b"hello\r\n\r\n")) as backend:
        assert post(sender, backend.url).error_code == "webhook_answer"

    def resolve(*_: object) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    assert post(Sender(allow_private=True, resolve=resolve), "http://no.example/").error_code == "webhook_name"


@pytest.mark.parametrize(
    ("status", "header", "least", "most"),
    [
        (429, "120", 120, 120),
        (503, " 7 ", 7, 7),
        (503, format_datetime(datetime(2999, 1, 1, tzinfo=UTC), usegmt=True), 1e9, 1e11),
        (503, "Sun, 06 Nov 1994 08:49:37 GMT", 0, 0),
        (429, "9" * 5000, 1e8, 1e9),
        (429, "soon", 0, 0),
        (429, "-5", 0, 0),
        (429, "Sun, 06 Nov 99999 08:49:37 GMT", 0, 0),
        (500, "120", 0, 0),
        (200, "120", 0, 0),
    ],
)
def test_retry_after_is_read(status: int, header: str, least: float, most: float) -> None:
    """Seconds or a date, of a receiver that is busy; nonsense counts as nothing."""
    with Receiver(answers(status, Retry_After=header)) as receiver:
        assert least <= post(Sender(allow_private=True), receiver.url).retry_after <= most
