"""A form is a stream into the store: it costs no memory, and a client that goes away leaves nothing."""

import socket
import struct
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.harness import processes
from tests.harness.multipart import begin, one_large_file, send, swift_body
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.waiting import until
from tests.samples import make

pytestmark = pytest.mark.acceptance

MIB = 1 << 20
HEAD = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def close(connection: socket.socket) -> None:
    connection.close()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("leave", [reset, close])
def test_a_client_that_goes_away_leaves_nothing(
    start_server: StartServer, database_url: str, tmp_path: Path, leave: Callable[[socket.socket], None]
) -> None:
    """A form that ends in its second file: neither file, no task, no upload that counts."""
    server = start_server(database_url=database_url)
    boundary = str(uuid.uuid4())
    video = make(tmp_path, "whole.mp4").read_bytes()
    body = swift_body(boundary, [("whole.mp4", video), ("half.mp4", HEAD + bytes(4 * MIB))])
    connection = begin(server.port, boundary, len(body), body[: -2 * MIB])
    try:
        until(
            lambda: sum(path.stat().st_size for path in server.stored_files()) > len(video),
            seconds=20,
            what="the bytes of the second file are being stored",
        )
    finally:
        leave(connection)
    until(lambda: not server.stored_files(), seconds=20, what="no bytes are left of the broken form")
    until(
        lambda: not query(server.database_url, "SELECT id FROM uploads WHERE has_bytes OR status <> 'terminated'"),
        seconds=20,
        what="no upload is left of the broken form",
    )
    assert query(server.database_url, "SELECT id FROM tasks") == []
    assert query(server.database_url, "SELECT id FROM task_files") == []


def test_a_large_form_is_stored_in_bounded_memory(start_server: StartServer) -> None:
    """300 MB in one form: the server grows by less than 60 MB, and every byte is there."""
    server = start_server(scheduler="none")
    small(server)
    processes.forget_peak(server.pid)
    before, _ = processes.memory(server.pid)
    boundary = str(uuid.uuid4())
    length, pieces = one_large_file(boundary, "large.mp4", HEAD, 300_000_000)
    status, answer = send(server.port, boundary, pieces, length=length)
    assert (status, answer["uploaded_files"]) == (200, 1), answer
    _, peak = processes.memory(server.pid)
    assert peak - before < 60_000_000, f"the server grew by {(peak - before) / 1e6:.0f} MB"
    assert max(path.stat().st_size for path in server.stored_files()) == 300_000_000


def small(server: ServerProcess) -> None:
    """Warm the path up, so that what is loaded once does not count."""
    boundary = str(uuid.uuid4())
    status, _ = send(server.port, boundary, [swift_body(boundary, [("small.mp4", HEAD + bytes(MIB))])])
    assert status == 200
