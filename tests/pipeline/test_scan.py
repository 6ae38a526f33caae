"""The scan step against a real clamd: what it says of a file, and what of a clamd that is not there."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server import media_types
from server.errors import StepError
from server.messages import CODES
from server.pipeline import clamd as client
from server.pipeline.clamd import AwayError
from server.pipeline.order import STEPS
from server.pipeline.step import Cancelled, Limits, TryLaterError
from server.pipeline.steps.scan import Scan
from server.settings import load
from tests.harness.clamd import EICAR, SIGNATURE, Clamd
from tests.harness.waiting import PATIENCE, Stopwatch, until
from tests.pipeline.conftest import Contexts

MIB = 1 << 20
SHORT = Limits(seconds=0.7, memory=1 << 30)

Address = Callable[[Clamd], str]
ADDRESSES: dict[str, Address] = {"unix": lambda clamd: clamd.unix, "tcp": lambda clamd: clamd.tcp}


@pytest.fixture(scope="module")
def clamd() -> Iterator[Clamd]:
    with Clamd(StreamMaxLength="4M", MaxFileSize="3M", MaxScanSize="3M", AlertExceedsMax="yes") as made:
        yield made


@pytest.fixture
def own() -> Iterator[Clamd]:
    """A clamd that the test may stop and kill."""
    made = Clamd(StreamMaxLength="512M", MaxFileSize="512M", MaxScanSize="512M")
    try:
        made.start()
        yield made
    finally:
        made.close()


def written(folder: Path, data: bytes, name: str = "a.mp4") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def refused(context: Contexts, source: Path, **changes: object) -> StepError:
    """The error that blames the file."""
    with pytest.raises(StepError) as caught:
        Scan().run(context(source, **changes))
    assert caught.value.code in CODES
    return caught.value


def reason(address: str, data: bytes, folder: Path, seconds: float = PATIENCE) -> str:
    """Why there is no answer."""
    source = written(folder, data)
    with source.open("rb") as file, pytest.raises(AwayError) as caught:
        client.scan(address, file, seconds=seconds, cancelled=threading.Event(), report_sent=lambda _: None)
    return str(caught.value)


@pytest.mark.parametrize("way", ADDRESSES)
@pytest.mark.parametrize("size", [0, 1, 256 << 10, (256 << 10) + 1, 2 * MIB])
def test_a_file_without_a_signature_is_clean(
    clamd: Clamd, context: Contexts, tmp_path: Path, way: str, size: int
) -> None:
    """Whatever its size, a file without the signature is clean, and the progress tells how much was sent."""
    percents: list[int] = []
    made = context(
        written(tmp_path, bytes(size)), settings={"clamd": ADDRESSES[way](clamd)}, report=lambda p: percents.append(p)
    )
    assert Scan().run(made) == {"scan": "clean"}
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert len(percents) >= 1 + -(-size // (256 << 10))


@pytest.mark.parametrize("way", ADDRESSES)
@pytest.mark.parametrize("front", [0, 1000, (256 << 10) - 20, 2 * MIB])
def test_a_signature_is_found_anywhere_in_a_file(
    clamd: Clamd, context: Contexts, tmp_path: Path, way: str, front: int
) -> None:
    """The signature is found wherever it is, across two pieces too, and named in the sentence."""
    source = written(tmp_path, bytes(front) + EICAR + bytes(1000))
    error = refused(context, source, settings={"clamd": ADDRESSES[way](clamd)})
    assert (error.code, error.params) == ("infected", {"signature": SIGNATURE})


@pytest.mark.parametrize("way", ADDRESSES)
@pytest.mark.parametrize("size", [4 * MIB + 1, 16 * MIB, 3 * MIB + 1000])
def test_a_file_beyond_the_limits_of_clamd_is_never_clean(
    clamd: Clamd, context: Contexts, tmp_path: Path, way: str, size: int
) -> None:
    """Beyond StreamMaxLength clamd hangs up in the stream, beyond MaxFileSize it says so: never clean, and no virus."""
    source = written(tmp_path, bytes(size))
    settings = {"clamd": ADDRESSES[way](clamd)}
    error = refused(context, source, settings=settings)
    assert (error.code, error.params) == ("scan_limit", {})
    assert Scan().run(context(source, settings={**settings, "scan_too_large": "mark"})) == {"scan": "too_large"}


def test_a_file_beyond_scan_max_size_is_not_sent(context: Contexts, tmp_path: Path) -> None:
    """A file that is larger than scan_max_size is judged by its size; exactly so large it would be sent."""
    source = written(tmp_path, bytes(2001))
    nobody = f"unix:{tmp_path}/none"
    settings: dict[str, object] = {"clamd": nobody, "scan_max_size": 2000}
    error = refused(context, source, settings=settings)
    assert (error.code, error.params) == ("too_large_to_scan", {"limit": "2.0 KiB"})
    assert Scan().run(context(source, settings={**settings, "scan_too_large": "mark"})) == {"scan": "too_large"}
    with pytest.raises(Exception, match="scanner_away"):
        Scan().run(context(source, settings={**settings, "scan_max_size": 2001}))


def test_the_scan_is_the_first_step_for_every_file() -> None:
    """Nothing comes before it, a file that is no video gets it too, and without a scanner it is not wanted."""
    assert isinstance(STEPS[0], Scan)
    assert [step.name for step in STEPS if step.applies_to(None)] == ["scan"]
    assert Scan().applies_to(media_types.get("mp4"))
    assert Scan().is_required
    assert not Scan().is_wanted(load())
    assert Scan().is_wanted(load(clamd="tcp://127.0.0.1:3310"))


def test_a_missing_or_short_file_is_never_clean(clamd: Clamd, context: Contexts, tmp_path: Path) -> None:
    """Without its original the file has failed; one with fewer bytes than its row says is not called clean."""
    assert refused(context, tmp_path / "none.mp4", settings={"clamd": clamd.unix}).code == "original_missing"
    with pytest.raises(OSError, match="1000 bytes, and its row says 1001"):
        Scan().run(context(written(tmp_path, bytes(1000)), settings={"clamd": clamd.unix}, size=1001))


@contextlib.contextmanager
def somebody_else(answer: bytes, *, first: bytes = b"") -> Iterator[str]:
    """Another service at the address: it says `first` at once, reads until nobody sends, and says `answer`."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(0.3)
                with contextlib.suppress(OSError):
                    connection.sendall(first)
                    while connection.recv(1 << 16):
                        pass
                with contextlib.suppress(OSError):
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        finally:
            thread.join(PATIENCE)


@contextlib.contextmanager
def one_that_breaks_off(said: bytes) -> Iterator[str]:
    """A scanner that is there whenever it is asked, and ends over each file, as one that crashes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                with contextlib.suppress(OSError):
                    connection, _ = server.accept()
                    with connection:
                        asked = connection.recv(10)
                        if asked == b"":
                            return
                        connection.sendall(b"PONG\0" if asked.startswith(b"zPING") else said)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        finally:
            socket.create_connection(server.getsockname()).close()
            thread.join(PATIENCE)


@pytest.mark.parametrize("said", [b"", b"stream: Can't allocate memory ERROR\0"])
@pytest.mark.parametrize("size", [0, 1000, 8 * MIB])
def test_a_scanner_that_breaks_off_counts_as_a_failure(
    context: Contexts, tmp_path: Path, size: int, said: bytes
) -> None:
    """It answered just before, and not for this file: that is a failure which counts, and the file is not clean."""
    with one_that_breaks_off(said) as address:
        made = context(written(tmp_path, bytes(size)), settings={"clamd": address})
        with pytest.raises(TryLaterError) as caught:
            Scan().run(made)
    assert (caught.value.code, caught.value.counts) == ("scanner_failed", True)


NONSENSE = {
    b"": "ended the conversation",
    b"stream: OK": "ended the conversation",  # without the NUL: the rest may be cut off
    b"stream: OK\n": "ended the conversation",
    b"\0": "it answered",
    b"OK\0": "it answered",
    b"stream: OK FOUND ERROR\0": "it answered",
    b"stream: clean\0": "it answered",
    b"UNKNOWN COMMAND\0": "it answered",
    b"Error writing to temporary file. ERROR\0": "temporary file",
    b"550 \xff\x1b[2J go away\r\n\0": "550 ",
    bytes(8000): "it answered",
    b"x" * 8000: "ended the conversation",
}


@pytest.mark.parametrize("answer", NONSENSE, ids=range(len(NONSENSE)))
def test_an_invalid_answer_counts_as_no_scanner(answer: bytes, tmp_path: Path) -> None:
    """Other words than clamd's, none, or half of them: the scanner is away, and what is logged is harmless."""
    with somebody_else(answer) as address:
        said = reason(address, bytes(300_000), tmp_path)
    assert NONSENSE[answer] in said
    assert said.isprintable()
    assert len(said) < 200


@pytest.mark.parametrize("first", [b"stream: OK\0", b"stream: Some.Virus FOUND\0", b"220 mail.example ESMTP\r\n\0"])
def test_an_answer_before_the_file_is_ignored(first: bytes, tmp_path: Path) -> None:
    """Who calls a file clean, or infected, before it has the file, has not looked at it."""
    with somebody_else(b"", first=first) as address:
        time.sleep(0.05)
        assert "answered" in reason(address, bytes(64 * MIB), tmp_path)


def test_an_unreachable_scanner_is_reported_as_away(own: Clamd, context: Contexts, tmp_path: Path) -> None:
    """No socket, a dead one, a refused connection, no such host: away each time, by the code that people are told."""
    own.kill()
    ways = [own.unix, own.tcp, f"unix:{tmp_path}/none", f"unix:/{'x' * 200}", "tcp://nowhere.invalid:3310"]
    ways += ["tcp://127.0.0.1:99999", f"tcp://{'x' * 80}.example:1", f"unix:{tmp_path}", "tcp://[::1]:1"]
    for address in ways:
        with pytest.raises(Exception, match="scanner_away") as caught:
            Scan().run(context(written(tmp_path, b"1"), settings={"clamd": address}))
        assert (type(caught.value).__name__, getattr(caught.value, "counts", None)) == ("TryLaterError", False), address
        with pytest.raises(AwayError):
            client.ping(address, seconds=1)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("way", ADDRESSES)
@pytest.mark.parametrize("size", [1000, 64 * MIB])
def test_a_clamd_that_hangs_is_away_after_the_time_limit(
    own: Clamd, context: Contexts, tmp_path: Path, way: str, size: int
) -> None:
    """Whether it takes no more bytes or gives no answer: after the step's time it is away. Later it answers again."""
    source = written(tmp_path, bytes(size))
    address = ADDRESSES[way](own)
    settings = {"clamd": address, "scan_max_size": "1GiB"}
    own.freeze()
    with pytest.raises(Exception, match="scanner_away"):
        Scan().run(context(source, settings=settings, limits=SHORT))
    with pytest.raises(AwayError):
        client.ping(address, seconds=0.2)
    own.thaw()
    assert Scan().run(context(source, settings=settings)) == {"scan": "clean"}
    client.ping(address, seconds=PATIENCE)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("way", ADDRESSES)
@pytest.mark.parametrize("size", [1000, 64 * MIB])
def test_a_clamd_that_dies_during_a_scan_is_away_at_once(own: Clamd, tmp_path: Path, way: str, size: int) -> None:
    """In the middle of the stream or while it is waited for: away, at once. Started again it finds the virus."""
    address = ADDRESSES[way](own)
    own.freeze()
    sent: list[int] = []
    said: list[Exception] = []
    source = written(tmp_path, bytes(size) + EICAR)

    def work() -> None:
        try:
            with source.open("rb") as file:
                client.scan(address, file, seconds=60, cancelled=threading.Event(), report_sent=sent.append)
        except AwayError as error:
            said.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    if size == 1000:
        until(lambda: sent, seconds=10, what="the file was sent")
    else:
        time.sleep(0.3)
    own.kill()
    thread.join(PATIENCE)
    assert len(said) == 1
    assert not sent or size == 1000 or sent[-1] < size
    own.start()
    with source.open("rb") as file:
        verdict = client.scan(address, file, seconds=60, cancelled=threading.Event(), report_sent=sent.append)
    assert verdict == client.Verdict(client.Finding.INFECTED, SIGNATURE)


@pytest.mark.parametrize("way", ADDRESSES)
@pytest.mark.parametrize("size", [1000, 64 * MIB])
def test_a_cancelled_scan_ends_within_two_seconds(
    own: Clamd, context: Contexts, tmp_path: Path, way: str, size: int
) -> None:
    """Whatever it waits for, a scan that is cancelled ends within two seconds and closes its connection."""
    own.freeze()
    cancelled = threading.Event()
    threading.Timer(0.4, cancelled.set).start()
    settings = {"clamd": ADDRESSES[way](own), "scan_max_size": "1GiB"}
    began, watch = time.monotonic(), Stopwatch()
    with pytest.raises(Cancelled):
        Scan().run(context(written(tmp_path, bytes(size)), settings=settings, cancelled=cancelled))
    assert time.monotonic() - began > 0.3
    assert watch.seconds < 2.4


def test_an_error_of_the_report_ends_the_scan(clamd: Clamd, context: Contexts, tmp_path: Path) -> None:
    """What the report raises ends the step."""

    def report(_: int) -> None:
        raise LookupError("not ours any more")

    with pytest.raises(LookupError):
        Scan().run(context(written(tmp_path, bytes(1000)), settings={"clamd": clamd.unix}, report=report))
