"""Ports of the loopback address, each for one user on this machine.

Rule: a port is kept from the moment it is chosen until it is let go or this process ends, also while nobody listens on
it: a server that is restarted finds its port free. They lie outside the range from which the kernel takes a port for
whoever wants any, and what keeps one is the name of an abstract socket, which no process leaves behind.
"""

import random
import socket
from pathlib import Path

_LOWEST, _HIGHEST = 10_000, 65_000
_DEFAULT_RANGE = (32_768, 60_999)

_kept: dict[int, socket.socket] = {}


def free_port() -> int:
    """A port that nobody uses, and nobody else will get from here before `let_go`."""
    low, high = _any_range()
    others: list[int] = [*range(_LOWEST, min(low, _HIGHEST)), *range(high + 1, _HIGHEST)]
    for _ in range(1000):
        port = random.choice(others)
        if _keep(port):
            return port
    raise AssertionError("there is no free port")


def let_go(port: int) -> None:
    """Others may have it."""
    keeper = _kept.pop(port, None)
    if keeper is not None:
        keeper.close()


def _keep(port: int) -> bool:
    keeper = socket.socket(socket.AF_UNIX)
    try:
        keeper.bind(f"\0videodock-port-{port}")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except OSError:
        keeper.close()
        return False
    _kept[port] = keeper
    return True


def _any_range() -> tuple[int, int]:
    """From where the kernel takes a port for whoever asks for any."""
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    except OSError:
        return _DEFAULT_RANGE
    return int(low), int(high)
