"""An ASGI application that tells what it saw, under the protocol class with small limits."""

import asyncio
import json
import socket
import threading
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.types import Receive, Scope, Send

from server.serving.uvicorn_http import VideodockHttp
from server.transport.body import TRAILERS
from tests.harness.http import Connection, Loop, chunked
from tests.harness.waiting import PATIENCE, until

LIMIT = 8192


class Probe:
    """An ASGI application that tells what it saw; it runs under the class with small limits.

    `timeout` is what a head may take, `keep_alive` what is waited for between two requests, in seconds. By default
    neither comes into the way of a test that is about something else.
    """

    def __init__(self, loop: Loop, *, timeout: float = PATIENCE, keep_alive: float = PATIENCE) -> None:
        self.loop = loop
        self._keep_alive = keep_alive
        self.seen: list[tuple[str, bytes]] = []  # path and body of every request that was read to its end
        self.ends: list[str] = []  # paths of which a disconnect was heard
        self.gate = threading.Event()
        self.protocols: list[VideodockHttp] = []
        probe = self

        class Small(VideodockHttp):
            max_head_size = LIMIT
            head_timeout = timeout

            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                probe.protocols.append(self)

        self.kind = Small

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        before = list(scope["headers"])
        body = b""
        if path == "/early":  # an answer before the body
            await _answer(send, b"early")
            return
        if path == "/begun":  # an answer that has begun before the body is over
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.ends.append(path)
                return
            body += message["body"]
            if not message["more_body"]:
                break
        trailers = dict(scope["extensions"][TRAILERS])
        self.seen.append((path, body))
        if path == "/slow":
            while not self.gate.is_set():
                await asyncio.sleep(0.01)
        if path == "/wait":
            while (await receive())["type"] != "http.disconnect":
                pass
            self.ends.append(path)
            return
        facts = {
            "body": body.decode("latin-1"),
            "headers": [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]],
            "same": before == scope["headers"],
            "trailers": trailers,
        }
        await _answer(send, json.dumps(facts).encode())

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        config = uvicorn.Config(
            self,
            http=self.kind,
            loop=self.loop,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=round(self._keep_alive),
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), daemon=True)
        self._thread.start()
        until(lambda: self._server.started, seconds=10, what="the probe starts")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.gate.set()
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        self._listener.close()
        assert not self._thread.is_alive()

    def connect(self) -> Connection:
        return Connection(self.port)

    def reset(self) -> None:
        """Forget what was seen."""
        for kept in (self.seen, self.ends, self.protocols):
            kept.clear()
        self.gate.clear()

    def idle(self) -> None:
        """Wait until no connection, request or timer is left."""
        state = self._server.server_state
        until(lambda: not state.connections and not state.tasks, seconds=5, what="everything is let go")
        for one in self.protocols:
            assert one._timer is None
            assert one.timeout_keep_alive_task is None
            assert not one.pipeline


async def _answer(send: Send, body: bytes) -> None:
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]}
    )
    await send({"type": "http.response.body", "body": body})


def trailing(pieces: list[bytes], trailers: list[tuple[str, str]]) -> bytes:
    """A chunked body with trailers."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in trailers)
    return chunked(pieces, end=False) + b"0\r\n" + lines.encode("latin-1") + b"\r\n"
