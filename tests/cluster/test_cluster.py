"""Two web hosts, one PostgreSQL, one store: any host takes any chunk, and any may die, sleep or be cut off."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.harness.cluster import Cluster, Load, TusUpload, check_nothing_lost, cluster
from tests.harness.server_process import ServerProcess
from tests.harness.waiting import PATIENCE, Stopwatch, until
from tests.tus.client import patch_headers, video

SIZE = 512 << 10
ROUNDS = int(os.environ.get("CLUSTER_ROUNDS") or 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def uploads() -> list[TusUpload]:
    """All that the tests of this file uploaded."""
    return []


def upload_to(host: ServerProcess, seed: int) -> TusUpload:
    """A new upload, whose client talks to this host."""
    made = TusUpload(host.http, host.url, video(SIZE, seed))
    made.create()
    return made


@contextmanager
def half_a_body(host: ServerProcess, upload: TusUpload) -> Iterator[socket.socket]:
    """A PATCH with everything, of which half has arrived and is in the file; yields its connection."""
    with socket.create_connection(("127.0.0.1", host.port), timeout=PATIENCE) as connection:
        lines = [f"{name}: {value}" for name, value in patch_headers(0).items()]
        head = [f"PATCH {upload.path} HTTP/1.1", f"Host: 127.0.0.1:{host.port}", f"Content-Length: {SIZE}", *lines]
        connection.sendall("\r\n".join([*head, "", ""]).encode() + upload.content[: SIZE // 2])
        file = host.stored(upload.id)
        until(lambda: file.stat().st_size == SIZE // 2, what="half of the body is in the file")
        yield connection


def answer_of(connection: socket.socket) -> bytes:
    """The rest of what the server says; empty when it closes or resets the connection without an answer."""
    try:
        return connection.recv(1 << 16)
    except ConnectionError:
        return b""


def test_a_request_to_the_other_host_evicts_a_body_within_two_seconds(made: Cluster, uploads: list[TusUpload]) -> None:
    """A client that changed its network comes back by another host: it gets the offset, and the old body ends."""
    one, other = made.hosts
    upload = upload_to(one, 11)
    uploads.append(upload)
    with half_a_body(one, upload) as connection:
        upload.front, upload.http = other.url, other.http
        watch = Stopwatch()
        assert upload.offset() == SIZE // 2
        assert watch.seconds < 2
        assert answer_of(connection).startswith(b"HTTP/1.1 423")
    upload.send(SIZE)


def test_a_host_that_slept_longer_than_its_lease_changes_nothing(made: Cluster, uploads: list[TusUpload]) -> None:
    """It is stopped in the middle of a body; another host takes the upload over and completes it. Awake again, it
    has the rest of the old body in its socket, and writes none of it."""
    one, other = made.hosts
    upload = upload_to(one, 12)
    uploads.append(upload)
    with half_a_body(one, upload) as connection:
        with asleep(one):
            # Other bytes than those of the body, to be told apart: what its client sent there is of no use now.
            connection.sendall(b"\xff" * (SIZE // 2))
            upload.front, upload.http = other.url, other.http
            assert upload.offset() == SIZE // 2
            upload.send(SIZE // 4)
        assert not answer_of(connection).startswith(b"HTTP/1.1 2")
    assert one.stored(upload.id).read_bytes() == upload.content


@contextmanager
def asleep(host: ServerProcess) -> Iterator[None]:
    os.kill(host.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(host.pid, signal.SIGCONT)


def halfway(load: Load, share: float) -> None:
    """Wait until so much of all bytes was acknowledged."""
    total = sum(len(upload.content) for upload in load.uploads)
    until(lambda: load.sent() >= share * total or load.is_over, what=f"{share:.0%} of the bytes are acknowledged")
    assert not load.errors, load.errors


def test_chunks_alternate_between_hosts_that_die_sleep_and_lose_their_database(
    made: Cluster, uploads: list[TusUpload]
) -> None:
    """Under load: hosts are killed, one sleeps while others take its uploads over, PostgreSQL restarts.

    At the end every acknowledged byte is there, every upload is one task, and no row or file is left.
    """
    for seed in range(ROUNDS):
        uploads.extend(under_load(made, 100 * seed))
    check_nothing_lost(made, uploads)
    for host in made.hosts:
        assert "Traceback" not in host.log(), host.log()[-4000:]


def under_load(made: Cluster, seed: int) -> list[TusUpload]:
    load = Load(made, clients=3, size=12 << 20, chunk=96 << 10, seed=seed)
    load.start()
    halfway(load, 0.1)
    kill_and_restart(made.hosts[1])
    halfway(load, 0.3)
    until(lambda: all(upload.path for upload in load.uploads), what="all uploads are created")
    with asleep(made.hosts[0]), httpx.Client(trust_env=False, timeout=PATIENCE) as http:
        for upload in load.uploads:
            TusUpload(http, made.hosts[1].url, upload.content, upload.path).offset()
    halfway(load, 0.5)
    made.postgres.halt()
    made.postgres.resume()
    halfway(load, 0.7)
    kill_and_restart(made.hosts[0])
    load.end()
    return load.uploads


def kill_and_restart(host: ServerProcess) -> None:
    host.kill()
    host.start()
