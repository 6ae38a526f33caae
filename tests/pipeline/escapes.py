"""Attempts to leave a child process, as a decoder would make them that a video took over.

Run as a job (`attempt`), and as a program in the place of FFmpeg (`python escapes.py <json>`), which imports nothing of
the project. The answer says what could be done.
"""

import ctypes
import json
import os
import platform
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

_BOMB = 3000

# Number of the call, and arguments that a kernel without a filter takes.
_CALLS: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "x86_64": {
        "mount": (165, 0, 0, 0, 0, 0),
        "keyctl": (250, 0, -3, 1),
        "bpf": (321, 0, 0, 0),
        "io_uring": (425, 0, 0),
        "perf": (298, 0, 0, -1, -1, 0),
        "unshare": (272, 0),
        "setns": (308, -1, 0),
        "memory of another": (310, 1, 0, 0, 0, 0, 0),
        "userfaultfd": (323, 0),
        "a call of x32": (0x40000000 + 39,),
    },
    "aarch64": {
        "mount": (40, 0, 0, 0, 0, 0),
        "keyctl": (219, 0, -3, 1),
        "bpf": (280, 0, 0, 0),
        "io_uring": (425, 0, 0),
        "perf": (241, 0, 0, -1, -1, 0),
        "unshare": (97, 0),
        "setns": (268, -1, 0),
        "memory of another": (270, 1, 0, 0, 0, 0, 0),
        "userfaultfd": (282, 0),
    },
}


def attempt(arguments: Mapping[str, Any], report: Callable[[int], None] | None = None) -> Mapping[str, object]:
    """Try everything. `read`, `write`: paths; `port` listens; `server` is a process to look into, `parent`."""
    found = {
        "read": [path for path in arguments["read"] if _can(Path(path).read_bytes)],
        "written": [path for path in arguments["write"] if _can(partial(Path(path).write_bytes, b"x"))],
        "removed": [path for path in arguments["write"] if _can(Path(path).unlink)],
        "connected": _can(lambda: socket.create_connection(("127.0.0.1", arguments["port"]), 5).close()),
        "signalled": _can(lambda: os.kill(arguments["server"], 0)),
        "traced": ctypes.CDLL(None).ptrace(16, arguments["server"], 0, 0) == 0,
        "calls": [name for name, call in _CALLS[platform.machine()].items() if _is_possible(call)],
        "capabilities": _capabilities(),
        "regained": _can(lambda: os.setuid(0)) and os.getuid() == 0 and arguments["is_root"],
        "user": os.geteuid(),
        "threads": _threads(),
    }
    return found | {"processes": _bomb()}


def _can(act: Callable[[], object]) -> bool:
    try:
        act()
    except OSError:
        return False
    return True


def _is_possible(call: tuple[int, ...]) -> bool:
    """Whether the kernel looked at the arguments at all, whatever it said of them."""
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.syscall(*call) >= 0 or ctypes.get_errno() != 1  # EPERM


def _capabilities() -> int:
    data = (ctypes.c_uint32 * 6)()
    ctypes.CDLL(None).capget((ctypes.c_uint32 * 2)(0x20080522, 0), data)
    return data[0] | data[3] << 32


def _threads() -> bool:
    """Whether what every encoder needs still works."""
    heard: list[int] = []
    thread = threading.Thread(target=heard.append, args=(1,))
    thread.start()
    thread.join()
    return heard == [1]


def _bomb() -> int:
    """How many processes can be had at once, up to a bound."""
    made: list[int] = []
    try:
        while len(made) < _BOMB:
            pid = os.fork()
            if not pid:
                signal.pause()
            made.append(pid)
    except OSError:
        pass
    for pid in made:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return len(made)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    (Path(given["output"]) / "found.json").write_text(json.dumps(attempt(given)))
