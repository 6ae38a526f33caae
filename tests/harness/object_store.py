"""A real server that speaks S3: versitygw on a folder, started for a test session, gone with it.

Rule: on the loopback address and a free port, with credentials of its own. `make test` builds the program once, into
the user's cache.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config

from server.storage.s3.bucket import Bucket, make_client
from server.storage.s3.dialect import GIB, MIB
from server.storage.s3.ledger import PartLedger
from server.storage.s3.location import parse
from server.storage.s3.store import Limits, S3Store
from tests.harness.part_ledger import MemoryLedger
from tests.harness.ports import free_port, let_go
from tests.harness.waiting import PATIENCE, until

PROGRAM = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "videodock" / "bin" / "versitygw"
ACCESS, SECRET, REGION = "videodock-test", "secret-of-the-test", "eu-test-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true"}


LIMITS: dict[str, float] = {
    "memory": 64 * MIB,
    "part_size": 5 * MIB,
    "largest": 10 * GIB,
    "parallel": 3,
    "deadline": 5,
    "cache": 100 * MIB,
}


class ObjectStore:
    """One versitygw. `halt` and `resume` stop and start it with what it holds."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="videodock-s3-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._client: Any = None
        self._ours: Any = None
        self._number = 0
        self._shared = ""

    @property
    def client(self) -> Any:
        """A client of boto3."""
        if self._client is None:
            self._client = boto3.session.Session().client(
                "s3",
                endpoint_url=self.endpoint,
                region_name=REGION,
                aws_access_key_id=ACCESS,
                aws_secret_access_key=SECRET,
                config=Config(s3={"addressing_style": "path"}),
            )
        return self._client

    def resume(self) -> None:
        """Start it, unless it runs, and wait until it answers."""
        if self._process is not None and self._process.poll() is None:
            return
        assert PROGRAM.exists(), "versitygw is not built; `make test` does it: .ci/versitygw"
        for name in ("data", "scratch"):
            (self._folder / name).mkdir(exist_ok=True)
        command = [str(PROGRAM), "--port", f"127.0.0.1:{self.port}", "--access", ACCESS, "--secret", SECRET]
        command += ["--region", REGION, "--keep-alive", "--quiet"]
        command += ["posix", "--sidecar", str(self._folder / "scratch"), str(self._folder / "data")]
        with (self._folder / "out").open("ab") as out:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        until(self._answers, seconds=PATIENCE, what="versitygw answers")

    def halt(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop it; what it holds stays, for `resume`."""
        if self._process is not None:
            self._process.send_signal(how)
            try:
                self._process.wait(PATIENCE)
            finally:
                self._process.kill()
                self._process.wait()
                self._process = None

    def stop(self) -> None:
        """Stop it and remove its files."""
        self.halt()
        shutil.rmtree(self._folder, ignore_errors=True)
        let_go(self.port)

    def shared_bucket(self) -> str:
        """A bucket for tests that use a prefix of their own."""
        if not self._shared:
            self._shared = self.new_bucket()
        return self._shared

    def new_bucket(self) -> str:
        """An empty bucket."""
        self._number += 1
        name = f"videodock-{self._number}"
        self.client.create_bucket(Bucket=name)
        return name

    def url(self, bucket: str, prefix: str = "", dialect: str = "versitygw") -> str:
        """For the setting `store`."""
        return f"s3://{bucket}/{prefix}?endpoint={self.endpoint}&region={REGION}&dialect={dialect}"

    def open_store(
        self,
        url: str,
        folder: Path,
        ledger: PartLedger,
        wrap: Callable[[Any], Any] = lambda client: client,
        **limits: float,
    ) -> S3Store:
        """A store at such a URL, with its client wrapped. All share one client: making it takes a third of a second."""
        location = parse(url)
        if self._ours is None:
            with pytest.MonkeyPatch.context() as patched:
                for name, value in CREDENTIALS.items():
                    patched.setenv(name, value)
                self._ours = make_client(location)
        chosen: Any = LIMITS | limits
        bucket = Bucket(location, deadline=chosen["deadline"], client=wrap(self._ours))
        return S3Store(location, ledger, folder, Limits(**chosen), bucket)

    def objects(self, bucket: str) -> dict[str, int]:
        """All keys with their sizes."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", ())}

    def multiparts(self, bucket: str) -> list[str]:
        """The keys of the multipart uploads that are neither completed nor aborted."""
        return [entry["Key"] for entry in self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())]

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "out").read_text(errors="replace")[-4000:]
        try:
            httpx.get(self.endpoint, timeout=1, trust_env=False)
        except httpx.TransportError:
            return False
        return True


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """A server of objects for this session."""
    server = ObjectStore()
    try:
        server.resume()
        yield server
    finally:
        server.stop()


def opened_in(server: ObjectStore, folder: Path) -> S3Store:
    """An empty store with a ledger in memory."""
    url = server.url(server.shared_bucket(), uuid.uuid4().hex)
    return server.open_store(url, folder / "cache", MemoryLedger())


def in_bucket(server: ObjectStore, patched: pytest.MonkeyPatch, **settings: Any) -> dict[str, Any]:
    """Settings of a server whose bytes are below a prefix of its own; its credentials are in the environment."""
    for name, value in CREDENTIALS.items():
        patched.setenv(name, value)
    return {"store": server.url(server.shared_bucket(), uuid.uuid4().hex), "s3_deadline": 2, **settings}
