"""An ASGI application that takes bodies from their sockets, under the protocol class; with TLS if told so."""

import asyncio
import hashlib
import os
import socket
import ssl
import subprocess
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.types import Receive, Scope, Send

from server.serving.uvicorn_http import VideodockHttp
from server.transport.body import AsgiBody, End
from server.transport.socket_body import HANDOVER, SocketBody
from tests.harness.http import Connection, Loop
from tests.harness.waiting import PATIENCE, until

REFUSED = b"refused"


class Handed:
    """Answers with length and hash of each body; `seen` has how each ended."""

    def __init__(self, loop: Loop, *, certificate: Path | None = None) -> None:
        self.grace = 1  # seconds that requests have once it is stopped
        self.loop = loop
        self.seen: list[tuple[str, int, End, str]] = []
        self._certificate = certificate

        class Protocol(VideodockHttp):
            max_head_size = 8192
            head_timeout = PATIENCE

        self._kind = Protocol

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        offer = scope["extensions"].get(HANDOVER)
        body: SocketBody | AsgiBody = SocketBody(offer, PATIENCE) if offer else AsgiBody(receive, PATIENCE)
        try:
            await self._answer(scope, body, send)
        finally:
            await body.close()

    async def _answer(self, scope: Scope, body: SocketBody | AsgiBody, send: Send) -> None:
        path, kind = scope["path"], type(body).__name__
        if path == "/refuse" or path == "/peek":
            if path == "/peek":
                await body.peek(64)
            await self._send(send, 413, REFUSED, close=True)
            return
        with tempfile.TemporaryFile() as file:
            moved = await body.write_to(file.fileno(), 0, 1 << 40)
            assert os.fstat(file.fileno()).st_size == moved.count
            file.seek(0)
            digest = hashlib.sha256(file.read()).hexdigest()
        self.seen.append((path, moved.count, moved.end, kind))
        if moved.end is not End.GONE:
            await asyncio.sleep(0.05 if path == "/slow" else 0)
            await self._send(send, 200, f"{path} {moved.count} {digest}".encode())

    async def _send(self, send: Send, status: int, body: bytes, *, close: bool = False) -> None:
        headers = [(b"content-length", b"%d" % len(body)), *([(b"connection", b"close")] if close else [])]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        tls: dict[str, Any] = {"ssl_certfile": str(self._certificate)} if self._certificate else {}
        config = uvicorn.Config(
            self,
            http=self._kind,
            loop=self.loop,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=round(2 * PATIENCE),
            timeout_graceful_shutdown=self.grace,
            **tls,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), daemon=True)
        self._thread.start()
        until(lambda: self._server.started, seconds=10, what="it starts")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        self._listener.close()
        assert not self._thread.is_alive()

    def connect(self) -> Connection:
        return Connection(self.port)

    def idle(self) -> None:
        """Wait until no request is left, and no connection."""
        state = self._server.server_state
        until(lambda: not state.connections and not state.tasks, seconds=8, what="everything is let go")


def expected_answer(path: str, body: bytes) -> bytes:
    """What the application answers when that was the body."""
    return f"{path} {len(body)} {hashlib.sha256(body).hexdigest()}".encode()


def certificate(folder: Path) -> Path:
    """A certificate that signs itself, and its key, in one file."""
    path = folder / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += [
        "-subj",
        "/CN=localhost",
        "-days",
        "2",
        "-keyout",
        str(folder / "key.pem"),
        "-out",
        str(folder / "cert.pem"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    path.write_bytes((folder / "key.pem").read_bytes() + (folder / "cert.pem").read_bytes())
    return path


def tls(port: int) -> ssl.SSLSocket:
    """A connection to it that trusts anybody."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))
