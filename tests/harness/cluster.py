"""Two web hosts with one PostgreSQL and one store folder, and nginx in front that gives requests to each in turn.

Rule: the hosts are processes of this machine, so nothing but the settings says that they are several: their locks are
leases. Everything else that they share is what hosts share: the folder of the store and the database.
"""

import hashlib
import re
import ssl
import textwrap
import threading
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.harness.nginx import Nginx
from tests.harness.postgres import PostgresServer
from tests.harness.rows import query
from tests.harness.server_process import ROOT, ServerProcess
from tests.harness.waiting import PATIENCE, until
from tests.tus.client import VERSION, creation, patch_headers, video

LEASE_SECONDS = 2
DRAIN_SECONDS = 0.2
_AGAIN = {423, 502, 503, 504}


@dataclass(frozen=True)
class Cluster:
    """The running parts. `front` is nginx's origin."""

    hosts: tuple[ServerProcess, ServerProcess]
    postgres: PostgresServer
    database_url: str
    nginx: Nginx

    @property
    def front(self) -> str:
        return self.nginx.url

    def leases(self) -> list[dict[str, object]]:
        """All rows of leases."""
        return query(self.database_url, "SELECT name, process FROM upload_leases")


def documented() -> dict[str, object]:
    """The settings that docs/scaling.md tells the reader of several web hosts to add."""
    page = (ROOT / "docs/scaling.md").read_text()
    (block,) = re.findall(r"```toml\n(\s*upload_locks.*?)```", page, re.DOTALL)
    return tomllib.loads(textwrap.dedent(block))


def make_host(folder: Path, number: int, url: str) -> ServerProcess:
    """A host that shares the folder of the store and the database with the others; it is not started.

    Its settings are the documented ones, with shorter times.
    """
    settings = {**documented(), "upload_lease": LEASE_SECONDS, "drain_seconds": DRAIN_SECONDS, "sweep_interval": 1}
    return ServerProcess(
        folder / f"host-{number}",
        database_url=url,
        data_dir=folder / "shared",
        **settings,  # type: ignore[arg-type]
    )


@contextmanager
def in_front(
    folder: Path, postgres: PostgresServer, url: str, first: ServerProcess, second: ServerProcess
) -> Iterator[Cluster]:
    """nginx before two hosts, which need not run yet."""
    also = {"keepalive 64;": f"server 127.0.0.1:{second.port};\n    keepalive 64;"}
    with Nginx(folder / "nginx", first.port, also) as nginx:
        yield Cluster((first, second), postgres, url, nginx)


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Start all of it; nothing outlives the block."""
    postgres = PostgresServer()
    postgres.start()
    url = postgres.create_database()
    first, second = (make_host(folder, number, url) for number in (1, 2))
    try:
        with in_front(folder, postgres, url, first, second) as made:
            for host in made.hosts:
                host.start()
            yield made
    finally:
        try:
            first.close()
            second.close()
        finally:
            postgres.stop()


@dataclass
class TusUpload:
    """A client that does what tus says: after any trouble it asks for the offset, and goes on there.

    `acknowledged` is the greatest offset that an answer told it; the server never tells less.
    """

    http: httpx.Client
    front: str
    content: bytes
    path: str = ""
    acknowledged: int = 0
    troubles: list[str] = field(default_factory=list)

    def create(self) -> None:
        """POST, until it is answered with 201."""
        until(self._created, what="the upload is created")

    def _created(self) -> bool:
        answer = self._ask("POST", "/files", creation(len(self.content)))
        if answer is None or answer.status_code in _AGAIN:
            return False
        assert answer.status_code == 201, (answer.status_code, answer.text)
        self.path = "/files/" + answer.headers["location"].rpartition("/")[2]
        return True

    def offset(self) -> int:
        """HEAD, until it is answered."""
        answer = until(self._head, what="a HEAD is answered")
        assert answer is not None
        offset = int(answer.headers["upload-offset"])
        self._learn(offset)
        return offset

    def _head(self) -> httpx.Response | None:
        answer = self._ask("HEAD", self.path, VERSION)
        if answer is None or answer.status_code in _AGAIN:
            return None
        assert answer.status_code == 200, answer.status_code
        return answer

    def send(self, chunk: int) -> None:
        """Everything, in chunks of so many bytes."""
        offset = self.offset()
        while offset < len(self.content):
            answer = self._ask("PATCH", self.path, patch_headers(offset), self.content[offset : offset + chunk])
            if answer is not None and answer.status_code == 204:
                offset = int(answer.headers["upload-offset"])
                self._learn(offset)
            else:
                assert answer is None or answer.status_code in {*_AGAIN, 409}, (answer.status_code, answer.text)
                offset = self.offset()

    def _learn(self, offset: int) -> None:
        assert offset >= self.acknowledged, f"{self.acknowledged} bytes were acknowledged, and {offset} are there"
        self.acknowledged = offset

    def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> httpx.Response | None:
        try:
            answer = self.http.request(method, self.front + path, headers=headers, content=body)
        except httpx.TransportError as error:
            self.troubles.append(type(error).__name__)
            return None
        if answer.status_code in _AGAIN:
            self.troubles.append(str(answer.status_code))
        return answer

    @property
    def id(self) -> str:
        return self.path.rpartition("/")[2]


class Load:
    """Uploads that several clients send at once, each of their own content."""

    def __init__(self, made: Cluster, *, clients: int, size: int, chunk: int, seed: int = 0) -> None:
        self._http = [
            httpx.Client(
                trust_env=False,
                timeout=PATIENCE,
                verify=ssl.create_default_context(cafile=made.nginx.certificate),
            )
            for _ in range(clients)
        ]
        self.uploads = [
            TusUpload(http, made.front, video(size, seed)) for seed, http in enumerate(self._http, start=seed + 1)
        ]
        self._chunk = chunk
        self.errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(upload,)) for upload in self.uploads]

    def _run(self, upload: TusUpload) -> None:
        try:
            upload.create()
            upload.send(self._chunk)
        except BaseException as error:
            self.errors.append(error)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def sent(self) -> int:
        """Bytes that were acknowledged so far."""
        return sum(upload.acknowledged for upload in self.uploads)

    @property
    def is_over(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def end(self) -> None:
        """Wait for all, and fail with what failed."""
        for thread in self._threads:
            thread.join(2 * PATIENCE)
        for http in self._http:
            http.close()
        assert not any(thread.is_alive() for thread in self._threads), "a client did not end"
        if self.errors:
            raise self.errors[0]


def check_nothing_lost(made: Cluster, uploads: Sequence[TusUpload]) -> None:
    """Every acknowledged byte is there (SHA-256), every upload is complete and one task, and no lease is left."""
    store = made.hosts[0]
    for upload in uploads:
        stored = hashlib.sha256(store.stored(upload.id).read_bytes()).hexdigest()
        assert stored == hashlib.sha256(upload.content).hexdigest(), upload.id
    rows = query(made.database_url, "SELECT id, status FROM uploads")
    assert {row["id"]: row["status"] for row in rows} == {upload.id: "complete" for upload in uploads}
    until(lambda: not made.leases(), what="no lease is left")
    of_tasks = query(made.database_url, "SELECT upload_id FROM task_files")
    assert sorted(row["upload_id"] for row in of_tasks) == sorted(upload.id for upload in uploads)
    files = {path.name for path in store.stored_files()}
    assert files == {upload.id for upload in uploads}, "a file is left, or lost"
