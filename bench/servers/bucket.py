"""The servers that keep uploads in a bucket, and the gateway on a folder that holds the bucket.

Rule: all of them write to the same gateway, and the benchmark reads the stored bytes from the gateway's folder.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from bench.servers.base import ROOT, Answer, ClientError, Role, Server, free_port, output
from bench.servers.ours import Videodock
from bench.servers.peers import TusNode
from server.settings import Settings

PROGRAM = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "videodock" / "bin" / "versitygw"
BUCKET, REGION = "videos", "eu-bench-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "videodock-bench", "AWS_SECRET_ACCESS_KEY": "secret-of-the-benchmark"}
_START_SECONDS = 30
_NODE = ROOT / "bench" / "node"


class Gateway:
    """One versitygw on a folder, with an empty bucket and a log of the requests."""

    def __init__(self, folder: Path) -> None:
        for name in ("data", "scratch"):
            (folder / name).mkdir(parents=True)
        self.objects = folder / "data" / BUCKET
        self._log = folder / "requests"
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        access, secret = CREDENTIALS.values()
        command = [str(PROGRAM), "--port", f"127.0.0.1:{port}", "--access", access, "--secret", secret]
        command += ["--region", REGION, "--keep-alive", "--quiet", "--access-log", str(self._log)]
        command += ["posix", "--sidecar", str(folder / "scratch"), str(folder / "data")]
        with (folder / "out").open("ab") as out:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            self._make_bucket()
        except BaseException:
            self.stop()
            raise

    def client(self, **more: Any) -> Any:
        """A client of boto3."""
        access, secret = CREDENTIALS.values()
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=access,
            aws_secret_access_key=secret,
            config=Config(s3={"addressing_style": "path"}, **more),
        )

    def requests(self) -> int:
        """How many requests it has answered."""
        with self._log.open("rb") as file:
            return sum(1 for _ in file)

    def clear(self) -> None:
        """Delete all objects, and what it keeps of uploads that were not completed."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def stop(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        finally:
            self._process.kill()
            self._process.wait()

    def _files(self) -> Iterator[Path]:
        return (path for path in self.objects.rglob("*") if path.is_file() and path.name != ".videodock")

    def _make_bucket(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        client = self.client(connect_timeout=1, retries={"max_attempts": 1})
        while True:
            try:
                client.create_bucket(Bucket=BUCKET)
            except BotoCoreError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise ClientError(f"versitygw does not start: {error}") from None
                time.sleep(0.05)
            else:
                return


class BucketServer(Server):
    """One that writes to the gateway."""

    gateway: Gateway

    def environment(self) -> dict[str, str]:
        return CREDENTIALS | {"AWS_EC2_METADATA_DISABLED": "true"}


class VideodockBucket(BucketServer, Videodock):
    """Videodock with `store`, and nothing else that is not the default."""

    name = "videodock-s3"
    label = "Videodock, store=s3://…"
    durable = "in the bucket before each answer"
    size_limit = Settings().tus_max_size

    def command(self) -> list[str]:
        url = f"s3://{BUCKET}/ours?endpoint={self.gateway.endpoint}&region={REGION}&dialect=versitygw"
        return [*super().command(), "--store", url]

    def stored(self, target: str, answer: Answer | None) -> Path:
        found = sorted((self.gateway.objects / "ours" / "uploads" / target.rpartition("/")[2]).iterdir())
        if len(found) != 1:
            raise ClientError(f"the upload has {len(found)} objects")
        return found[0]


class TusNodeBucket(BucketServer, TusNode):
    """@tus/server with @tus/s3-store."""

    name = "tus-node-s3"
    label = "@tus/server, @tus/s3-store"
    durable = "in the bucket before each answer; what is below 5 MiB too"

    @classmethod
    def missing(cls) -> str | None:
        return super().missing() or (
            None if (_NODE / "node_modules" / "@tus" / "s3-store").exists() else "`make bench-peers` installs it"
        )

    @classmethod
    def version(cls) -> str:
        found = output(["node", "-p", "require('./bench/node/node_modules/@tus/s3-store/package.json').version"])
        return f"@tus/s3-store {found}, {super().version()}"

    def command(self) -> list[str]:
        script = str(_NODE / "tus_s3_server.mjs")
        return ["node", script, str(self.port), self.gateway.endpoint, BUCKET, REGION]

    def stored(self, target: str, answer: Answer | None) -> Path:
        return self.gateway.objects / target.rpartition("/")[2]


class BareClient:
    """`boto3.upload_fileobj` as its documentation calls it: no server, for it is what a server cannot beat by much."""

    name = "boto3"
    label = "boto3.upload_fileobj, no server"
    role = Role.LIMIT

    @classmethod
    def version(cls) -> str:
        return f"boto3 {boto3.__version__}, Python {sys.version.split()[0]}"
