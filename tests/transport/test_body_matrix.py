"""Both kinds of body, on both loops, under every end that a body can have: what is stored is what was sent."""

import contextlib
import errno
import gc
import os
import subprocess
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from server.transport import transfer
from tests.harness.http import Connection, LiveServer, Loop
from tests.harness.processes import descriptors
from tests.harness.waiting import Stopwatch, until
from tests.transport.matrix import CASES, Sending, form_files, nothing_left
from tests.tus.client import VERSION, head, target

pytestmark = pytest.mark.turns(3)  # bodies and their ends

MIB = 1 << 20
EDGES = [1, 64, 65_535, 65_536, 65_537, MIB - 1, MIB, MIB + 1, 3 * MIB + 7]
POOLS = ("AnyIO", "checksum", "body", "blocking")  # pools of threads, which are bounded by themselves
SIZE, FIRST = 2 * MIB + 11, 700_000


@dataclass(frozen=True)
class Way:
    """Who brings a body, on which loop."""

    http: Literal["videodock", "portable"]
    loop: Loop

    def server(self, folder: Path, **settings: Any) -> LiveServer:
        return LiveServer(folder, http=self.http, loop=self.loop, accept="any", **settings)

    def exact(self, framing: str) -> bool:
        """Whether everything that came before a client left is kept; uvicorn forgets what nobody has asked for yet."""
        return self.http == "videodock" and framing == "length"


WAYS = [Way(http, loop) for http in ("videodock", "portable") for loop in ("asyncio", "uvloop")]


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: f"{way.http}-{way.loop}")
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


@pytest.fixture(scope="module")
def live(way: Way, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with way.server(tmp_path_factory.mktemp("live")) as made:
        yield made


def sendings(live: LiveServer, *, forms: bool = True, size: int = SIZE) -> list[Sending]:
    """One of every kind and framing."""
    return [Sending(live, kind, framing, size) for kind, framing in CASES if forms or kind != "form"]


def close_all(made: list[Sending]) -> None:
    for sending in made:
        sending.connection.close()


def check_ended(made: list[Sending], *, exactly: int | None = None) -> None:
    """Every upload has the beginning of what was sent, and goes on; no file of a form is left."""
    for sending in made:
        if sending.kind != "form":
            offset = sending.stored()
            if sending.kind == "checksum":
                assert offset == 0, sending.label
            elif exactly is not None:
                assert offset == exactly, sending.label
            sending.go_on()
    assert form_files(made[0].live, made) == []


def check_refused(made: list[Sending], status: int) -> None:
    for sending in made:
        answer = sending.answer()
        assert answer is not None, sending.label
        assert answer.status == status, sending.label
        assert "upload-offset" not in answer.headers


@pytest.mark.sampled(12)
@pytest.mark.parametrize("size", EDGES)
def test_every_byte_of_a_body_is_stored(live: LiveServer, size: int) -> None:
    """204 or 200, every byte, and the connection goes on with the next request."""
    with nothing_left(live):
        made = sendings(live, size=size)
        threads = [threading.Thread(target=sending.begin) for sending in made]
        for thread in threads:
            thread.start()
        for sending, thread in zip(made, threads, strict=True):
            answer = sending.answer()
            assert answer is not None, sending.label
            assert "connection" not in answer.headers, sending.label
            assert answer.status == (200 if sending.kind == "form" else 204), sending.label
            thread.join()
            if sending.kind != "form":
                assert answer.headers["upload-offset"] == str(size), sending.label
                assert sending.stored() == size
                sending.go_on()
        close_all(made)
        assert [path.read_bytes() for path in form_files(live, made)] == [made[-1].data[:size]] * 2


def test_an_empty_body_changes_nothing(live: LiveServer) -> None:
    """A body without a byte changes nothing, and the connection goes on."""
    with nothing_left(live):
        made = [Sending(live, kind, framing, 0) for kind, framing in CASES if kind != "form"]
        for sending in made:
            sending.begin()
            answer = sending.answer()
            assert answer is not None
            assert (answer.status, answer.headers["upload-offset"]) == (204, "0"), sending.label
            sending.go_on()
        close_all(made)


@pytest.mark.sampled(8)
@pytest.mark.parametrize("count", [10, 65_536, FIRST])
@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_a_cut_body_keeps_what_came(live: LiveServer, way: Way, how: str, count: int) -> None:
    """A client that leaves: what came before is kept, up to what the kernel may forget after a reset."""
    with nothing_left(live):
        made = sendings(live)
        for sending in made:
            sending.begin(count)
        if how == "RST":  # else nothing may have come
            for sending in made:
                if sending.kind == "plain" and count >= 64:
                    sending.wait_stored()
        for sending in made:
            (sending.connection.reset if how == "RST" else sending.connection.close)()
        until(lambda: not live.locks(), seconds=15, what="every request is over")
        for sending in made:
            if how == "FIN" and sending.kind == "plain" and way.exact(sending.framing):
                assert sending.stored() == count, sending.label
        check_ended(made)


@pytest.mark.sampled(2)
def test_a_silent_body_is_408_and_keeps_what_came(way: Way, tmp_path: Path) -> None:
    """A client that falls silent: 408, what came is kept, and a form is dropped."""
    with way.server(tmp_path / "idle", body_idle_timeout=0.6) as live, nothing_left(live):
        for count in (10, FIRST):
            made = sendings(live)
            for sending in made:
                sending.begin(count)
            check_refused(made, 408)
            check_ended(made, exactly=count)
            close_all(made)


@pytest.mark.sampled(2)
def test_an_evicted_body_is_423_and_writes_nothing_late(live: LiveServer) -> None:
    """A newer request takes the upload over: 423 for the old one, whose late bytes reach nothing."""
    with nothing_left(live):
        made = sendings(live, forms=False)
        for sending in made:
            sending.begin(FIRST)
        for sending in made:
            sending.wait_stored(FIRST)
        for sending in made:
            began = Stopwatch()
            offset = head(live, sending.upload).headers["upload-offset"]
            assert began.seconds < 5  # it waited for no timeout
            assert offset == ("0" if sending.kind == "checksum" else str(FIRST)), sending.label
            with contextlib.suppress(OSError):
                sending.connection.send(b"\xff" * 100_000)
        check_refused(made, 423)
        check_ended(made, exactly=FIRST)
        close_all(made)


@pytest.mark.sampled(2)
def test_a_body_at_full_speed_is_evicted(live: LiveServer) -> None:
    """The same while bytes come as fast as they can."""
    with nothing_left(live):
        made = sendings(live, forms=False, size=60 * MIB)
        flooding = [threading.Thread(target=sending.begin) for sending in made]
        for sending, thread in zip(made, flooding, strict=True):
            thread.start()
            sending.wait_stored()
            offset = sending.stored()
            assert offset == (0 if sending.kind == "checksum" else live.path(sending.upload).stat().st_size)
            sending.answer()
            thread.join()
            assert sending.stored() == offset
            live.ask("DELETE", target(sending.upload), VERSION)
        close_all(made)


@pytest.mark.sampled(2)
def test_a_server_stop_ends_a_body_without_loss(way: Way, tmp_path: Path) -> None:
    """A server that stops: the connection ends with an error or without an answer, and nothing is lost or invented."""
    # uvicorn ends its loop with connections that are not closed yet; that the loop says so must not stop it.
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        with way.server(tmp_path / "stopped") as live:
            made = sendings(live)
            for sending in made:
                sending.begin(FIRST)
            for sending in made:
                if sending.kind == "plain":
                    sending.wait_stored(FIRST)
        gc.collect()
    for sending in made:
        with contextlib.suppress(OSError):
            assert sending.connection.answer().status >= 500, sending.label
    close_all(made)
    with way.server(tmp_path / "stopped") as again:
        for sending in made:
            sending.live = again
        check_ended(made, exactly=FIRST)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A data folder whose uploads have a disk of 3 MiB."""
    folder = tmp_path / "small"
    uploads = folder / "uploads"
    uploads.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(uploads)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(uploads)], check=True)


def _send(connection: Connection, data: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.send(data)


def _resize(folder: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder / "uploads")], check=True)


@pytest.mark.sampled(2)
def test_a_full_disk_is_507_and_keeps_what_fits(way: Way, small_disk: Path) -> None:
    """A full disk: 507, what fitted is kept, and the next upload, once there is room, has its own bytes only."""
    with way.server(small_disk) as live, nothing_left(live):
        for kind, framing in CASES:
            # There is room when it is promised, and somebody else takes it.
            _resize(small_disk, "100m")
            sending = Sending(live, kind, framing, 5 * MIB)
            send = sending.begin
            if (kind, framing) == ("form", "length"):
                sending.begin(MIB)
                until(live.files, seconds=10, what="the form has begun")
                send = partial(_send, sending.connection, sending.body[MIB:])
            _resize(small_disk, "3m")
            sender = threading.Thread(target=send)
            sender.start()
            answer = sending.answer()
            sender.join()
            assert answer is not None, sending.label
            assert answer.status == 507, sending.label
            if kind == "form":
                assert live.files() == []
            else:
                offset = sending.stored()
                assert offset == 0 if kind == "checksum" else offset > 2 * MIB, sending.label
                assert live.ask("DELETE", target(sending.upload), VERSION).status == 204
            sending.connection.close()
            small = Sending(live, "plain", "length", MIB)
            small.begin()
            answer = small.answer()
            assert answer is not None
            assert answer.status == 204
            small.go_on()
            small.connection.close()
            live.path(small.upload).unlink()


def test_a_failing_disk_is_500_and_keeps_what_was_written(live: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails: 500, what was written is kept, and the next upload has its own bytes only."""
    splice, pwrite = os.splice, os.pwrite
    failed = []

    def room(offset: int) -> int:
        if offset >= 300_000:
            failed.append(offset)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return 300_000 - offset

    def broken_splice(src: int, dst: int, count: int, **more: Any) -> int:
        return splice(src, dst, min(count, room(more["offset_dst"])) if "offset_dst" in more else count, **more)

    def broken_pwrite(descriptor: int, data: bytes, offset: int) -> int:
        return pwrite(descriptor, data[: room(offset)], offset)

    with nothing_left(live):
        with monkeypatch.context() as patch:
            patch.setattr(os, "splice", broken_splice)
            patch.setattr(os, "pwrite", broken_pwrite)
            made = sendings(live)
            threads = [threading.Thread(target=sending.begin) for sending in made]
            for thread in threads:
                thread.start()
            check_refused(made, 500)
            for thread in threads:
                thread.join()
        assert len(failed) == len(made)
        check_ended(made, exactly=300_000)
        close_all(made)


@pytest.mark.sampled(2)
def test_bodies_leave_no_descriptors_threads_or_pipes(live: LiveServer) -> None:
    """Fifty bodies that end in every way, again and again: no more descriptors, threads and pipes than before."""

    def round_of() -> tuple[int, int]:
        with nothing_left(live):
            made = sendings(live, size=MIB)
            for number, sending in enumerate(made):
                sending.begin([None, 0, 1000, MIB // 2][number % 4])
            for sending in made[1:]:
                (sending.connection.reset if sending.size % 2 else sending.connection.close)()
            assert made[0].answer() is not None
            close_all(made)
        for path in form_files(live, made):
            path.unlink()
        pipes = len(transfer.pipes._free)
        # The database keeps connections, as many as were needed at once.
        files = [one for one in descriptors() if "videodock.db" not in one]
        others = [one for one in threading.enumerate() if not one.name.startswith(POOLS)]
        return len(files) - 2 * pipes, len(others)

    round_of()
    before = round_of()
    for _ in range(8):
        after = round_of()
    assert after[0] <= before[0]
    assert after[1] <= before[1]
    assert len(transfer.pipes._free) <= 8
