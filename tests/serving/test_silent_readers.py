"""As many clients that take no answer as there may be connections: others are served, and each of them is reset."""

import contextlib
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.serving import answer_timeout
from server.web import pages
from tests.conftest import StartServer
from tests.harness.http import LiveServer, request
from tests.harness.server_process import ServerProcess
from tests.harness.waiting import Stopwatch, until
from tests.tus.client import create, patch, target, video

SILENT = 400
IDLE = 20
KEPT = 256 << 10  # bytes of memory for one of them, at most: what waits for it, and the requests behind that
SIZE = 16 << 20  # more than the kernel keeps of both ends


@contextlib.contextmanager
def silent(port: int, sent: bytes, count: int) -> Iterator[None]:
    """So many clients that send this and never read."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            one = stack.enter_context(contextlib.closing(socket.socket()))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.settimeout(60)
            one.connect(("127.0.0.1", port))
            one.sendall(sent)
        yield


def is_served(port: int) -> bool:
    """Whether a client that comes now gets its answer."""
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), timeout=60) as one:
        one.sendall(request("GET", "/healthz"))
        return one.recv(12) == b"HTTP/1.1 200"
    return False


def sockets(server: ServerProcess) -> int:
    """How many descriptors of a server are sockets."""
    links = list(Path(f"/proc/{server.pid}/fd").iterdir())
    found = 0
    for link in links:
        with contextlib.suppress(FileNotFoundError):
            found += str(link.readlink()).startswith("socket:")
    return found


def memory(server: ServerProcess) -> int:
    """Bytes that a server has in memory."""
    return int(Path(f"/proc/{server.pid}/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.alone
def test_many_silent_readers_keep_no_place_and_no_memory(start_server: StartServer) -> None:
    """Pages that are asked for one behind another and never read keep no place, no memory and no other client."""
    server = start_server(scheduler="none", max_connections=SILENT, body_idle_timeout=IDLE)
    assert is_served(server.port)
    server.http.close()
    before, had = sockets(server), memory(server)
    with silent(server.port, request("GET", "/") * 70, SILENT):
        watch = Stopwatch()
        until(lambda: is_served(server.port), every=0.5, what="another one is served")
        assert watch.seconds < 2 * IDLE
        assert memory(server) - had < SILENT * KEPT
        until(lambda: sockets(server) <= before, seconds=4 * IDLE, every=0.5, what="all of them are given up")
        assert is_served(server.port)


def kept_by_the_kernel(port: int) -> int:
    """Connections of a port for whose clients the kernel has bytes, closed by the server or not."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return sum(one[1].endswith(f":{port:04X}") and not one[4].startswith("00000000:") for one in fields)


def test_answers_in_kernel_buffers_are_given_up_too(start_server: StartServer) -> None:
    """Answers that fit into the kernel's buffer are given up, too, although the server has closed by then."""
    server = start_server(scheduler="none", body_idle_timeout=2)
    (script,) = (Path(pages.__file__).parent / "page" / "dist").glob("upload-*.js")
    assert 11_000 < script.stat().st_size < 16_000  # twelve fit into the buffer, and not into the client's
    with silent(server.port, request("GET", f"/page/{script.name}") * 12, 5):
        until(lambda: kept_by_the_kernel(server.port) == 5, what="the kernel has all answers")
        until(lambda: kept_by_the_kernel(server.port) == 0, seconds=30, what="it has given them up")
        assert is_served(server.port)


def test_a_silent_download_is_closed_for_a_new_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download that goes from the file into the socket gives way as any other answer does."""
    monkeypatch.setattr(answer_timeout, "_STALLED_SECONDS", 0.3)
    with LiveServer(tmp_path, max_connections=3, downloads="on", body_idle_timeout=600, body_min_rate=0) as live:
        upload = create(live, SIZE)
        assert patch(live, upload, 0, video(SIZE)).status == 204
        live.quiet()
        with silent(live.port, request("GET", target(upload)), 3):
            until(lambda: is_served(live.port), seconds=10, what="another one is served")
        live.quiet()
        assert live.ask("GET", target(upload)).body == video(SIZE)
