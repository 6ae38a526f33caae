"""A line as bad as telephones have it: a TCP proxy that cuts, resets, loses answers and trickles, all the time.

Rule: what happens to a connection is drawn when it is opened; most pass unharmed.
"""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from types import TracebackType
from typing import Self

PIECE = 16 * 1024
_RST = struct.pack("ii", 1, 0)


class BadLine:
    """Forwards to a port of this machine, from a thread of its own; use it with `with`.

    `harm` is the share of connections that something happens to. `done` counts what did. While `is_gentle`,
    nothing happens to new ones.
    """

    def __init__(self, port: int, *, harm: float = 0.35, seed: object = 0) -> None:
        self.done: Counter[str] = Counter()
        self.is_gentle = False
        self.port = 0
        self._upstream = port
        self._harm = harm
        self._dice = random.Random(repr(seed))
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bad line", daemon=True)

    @property
    def url(self) -> str:
        """Origin that clients talk to."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10), "the line does not listen"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._listen())
        finally:
            self._loop.close()

    async def _listen(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=PIECE * 4)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        self.done["connections"] += 1
        ends = [client_out]
        try:
            server_in, server_out = await asyncio.open_connection("127.0.0.1", self._upstream, limit=PIECE * 4)
            ends.append(server_out)
            await self._forward(client_in, client_out, server_in, server_out)
        except OSError:
            pass
        finally:
            for end in ends:
                end.close()
            for end in ends:
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _forward(
        self,
        client_in: asyncio.StreamReader,
        client_out: asyncio.StreamWriter,
        server_in: asyncio.StreamReader,
        server_out: asyncio.StreamWriter,
    ) -> None:
        fate = "" if self.is_gentle or self._dice.random() > self._harm else self._fate()
        upward = downward = -1
        if "up" in fate:
            # Half of them in a head, the others anywhere in the bodies.
            upward = self._dice.choice((self._dice.randint(1, 300), self._dice.randint(300, 3_000_000)))
        if "answer" in fate:
            downward = self._dice.choice((0, 0, self._dice.randint(1, 200), self._dice.randint(200, 3000)))
        pace = self._dice.uniform(0.02, 0.1) if "slow" in fate else 0.0
        ways = [
            asyncio.create_task(self._pump(client_in, server_out, upward, pace)),
            asyncio.create_task(self._pump(server_in, client_out, downward, 0.0)),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if any(way.exception() is None and way.result() for way in done):
                self.done[fate] += 1
                if "rst" in fate:
                    for end in (client_out, server_out):
                        self._reset(end)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    def _fate(self) -> str:
        how = self._dice.choice(("up", "up", "answer", "slow"))
        return how if how == "slow" else f"{how} {self._dice.choice(('rst', 'fin'))}"

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, limit: int, pace: float) -> bool:
        """Forward until the end, or until `limit` bytes (-1: none) have passed: then True."""
        passed = 0
        while True:
            if pace:
                await asyncio.sleep(pace)
            data = await source.read(PIECE)
            if not data:
                return False
            if 0 <= limit < passed + len(data):
                target.write(data[: limit - passed])
                await target.drain()
                return True
            target.write(data)
            await target.drain()
            passed += len(data)

    def _reset(self, end: asyncio.StreamWriter) -> None:
        wire: socket.socket | None = end.get_extra_info("socket")
        if wire is not None:
            with contextlib.suppress(OSError):
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        end.transport.abort()
