"""A network namespace: processes that see of this machine only what is relayed to them, until the cable is pulled.

Rule: needs root, as containers do; without it a test fails. What it makes is removed with it.
"""

import contextlib
import itertools
import os
import selectors
import socket
import subprocess
import threading
from types import TracebackType
from typing import Self

from tests.harness.waiting import PATIENCE

_numbers = itertools.count()


class Namespace:
    """A namespace with one cable to this machine. `before` is put in front of the command that is to run in it."""

    def __init__(self) -> None:
        number = next(_numbers)
        self._name = f"vd{os.getpid()}n{number}"
        net = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 256}"
        self.address, self._inside = f"{net}.{4 * number + 1}", f"{net}.{4 * number + 2}"
        self._ends = (f"{self._name}a"[-15:], f"{self._name}b"[-15:])
        self._relays: list[Relay] = []

    @property
    def before(self) -> list[str]:
        """The command that enters it."""
        return ["ip", "netns", "exec", self._name]

    def relay(self, port: int) -> int:
        """Make a port of the loopback address reachable from inside at `address`; the port there."""
        relay = Relay(self.address, port)
        self._relays.append(relay)
        return relay.port

    def cut(self) -> None:
        """Pull the cable: nothing arrives any more, and nobody is told."""
        _ip("link", "set", self._ends[0], "down")

    def mend(self) -> None:
        """Put it back."""
        _ip("link", "set", self._ends[0], "up")

    def __enter__(self) -> Self:
        outside, inside = self._ends
        _ip("netns", "add", self._name)
        try:
            _ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", self._name)
            _ip("addr", "add", f"{self.address}/30", "dev", outside)
            _ip("link", "set", outside, "up")
            _ip("-n", self._name, "addr", "add", f"{self._inside}/30", "dev", inside)
            _ip("-n", self._name, "link", "set", inside, "up")
            _ip("-n", self._name, "link", "set", "lo", "up")
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._remove()

    def _remove(self) -> None:
        for relay in self._relays:
            relay.close()
        with contextlib.suppress(AssertionError):
            _ip("link", "del", self._ends[0])
        _ip("netns", "del", self._name)


class Relay:
    """Forwards from an address of this machine to a port of the loopback address, one thread for all."""

    def __init__(self, address: str, port: int) -> None:
        self._to = port
        self._listener = socket.create_server((address, 0))
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._open = True
        self._thread = threading.Thread(target=self._run, name="relay")
        self._thread.start()

    def close(self) -> None:
        """End every connection."""
        self._open = False
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        while self._open:
            for key, _ in self._selector.select(0.1):
                if key.data is None:
                    self._connect()
                else:
                    self._forward(key.fileobj, key.data)  # type: ignore[arg-type]
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _connect(self) -> None:
        inside, _ = self._listener.accept()
        try:
            outside = socket.create_connection(("127.0.0.1", self._to), 5)
        except OSError:
            inside.close()
            return
        for one, other in ((inside, outside), (outside, inside)):
            # Small streams: what does not fit into the buffers while the cable is out ends the connection.
            one.settimeout(1)
            self._selector.register(one, selectors.EVENT_READ, other)

    def _forward(self, one: socket.socket, other: socket.socket) -> None:
        try:
            data = one.recv(1 << 16)
            if data:
                other.sendall(data)
                return
        except OSError:
            pass
        for end in (one, other):
            with contextlib.suppress(KeyError):
                self._selector.unregister(end)
            end.close()


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
