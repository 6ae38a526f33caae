"""Hundreds of server processes without waiting for their imports: a parent that has them forks each one.

Rule: the parent is single-threaded, has opened nothing and has only imported, so a child is what `python -m
tests.harness.faulty_server` would be by then: a process, a session and an environment of its own. (The server itself
never forks. That these children are no special case is what `test_plain.py` is for.)
"""

import gc
import importlib
import json
import os
import select
import selectors
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 60.0
# What a server and a sweep import, some of it only when they run.
_KNOWN = (
    "httptools",
    "prometheus_client",
    "server.app",
    "server.cli",
    "server.database.migration",
    "server.serving",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite",
    "tests.harness.faulty_server",
    "uvicorn.lifespan.on",
    "uvloop",
)


class Nursery:
    """The parent, as the tests see it; for one thread. Use it with `with`: at its end, its children are killed."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.nursery"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._codes: dict[int, int] = {}
        self._buffer = b""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(_SECONDS)
        self._process.stdout.close()

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], out: Path) -> int:
        """Run the command in a new process that prints to `out`; its process id."""
        order = {"arguments": list(arguments), "environment": dict(environment), "out": str(out)}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        while True:
            told = self._hear(_SECONDS)
            if "started" in told:
                return int(told["started"])

    def wait(self, pid: int, seconds: float = _SECONDS) -> int:
        """The exit code of a child, negative for a signal; `TimeoutError` when it does not end."""
        while pid not in self._codes:
            self._hear(seconds)
        return self._codes.pop(pid)

    def _hear(self, seconds: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            if not select.select([self._process.stdout], [], [], seconds)[0]:
                raise TimeoutError(f"nothing of a child within {seconds} s")
            data = os.read(self._process.stdout.fileno(), 1 << 16)
            assert data, "the nursery has ended"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        told: dict[str, Any] = json.loads(line)
        if "ended" in told:
            self._codes[told["ended"]] = told["code"]
        return told


def _tell(**what: int) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def _become(order: dict[str, Any]) -> NoReturn:
    """The child: leave everything of the parent behind, and run."""
    code = 1
    try:
        os.setsid()
        out = os.open(order["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor, number in ((nothing, 0), (out, 1), (out, 2)):
            os.dup2(descriptor, number)
        os.closerange(3, 256)
        os.environ.clear()
        os.environ.update(order["environment"])
        from tests.harness import faulty_server

        faulty_server.main(order["arguments"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        os._exit(code)


def _serve() -> None:
    """The parent: an order a line on standard input; says who was started, and who has ended."""
    for module in _KNOWN:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a child would look through all of this again and again

    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    children: dict[int, int] = {}
    orders = b""
    while True:
        for key, _ in selector.select():
            if key.fd != 0:
                selector.unregister(key.fd)
                pid = children.pop(key.fd)
                os.close(key.fd)
                _tell(ended=pid, code=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                continue
            data = os.read(0, 1 << 16)
            if not data:
                for pid in children.values():
                    os.kill(pid, 9)
                return
            *lines, orders = (orders + data).split(b"\n")
            for line in lines:
                pid = os.fork()
                if not pid:
                    _become(json.loads(line))
                descriptor = os.pidfd_open(pid)
                children[descriptor] = pid
                selector.register(descriptor, selectors.EVENT_READ)
                _tell(started=pid)


if __name__ == "__main__":
    _serve()
