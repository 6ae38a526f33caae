"""`python -m tests.harness.faulty_server` is `videodock`, with points at which it kills itself.

Rule: until it dies, it does what the server does. Functions are wrapped where they are looked up; nothing of this
is in `server/`.

A fault is `point:count`: SIGKILL when that point is reached for the count-th time since it was armed. It is armed
by the variable FAULT from the start of the process, or by the header X-Fault from that request on. The point `line`
(with FAULT_LINES set) counts executed lines of `LINES_OF`, in all threads. `record` kills nobody: every point that
is reached is written to the file FAULT_LOG.
"""

import contextlib
import functools
import importlib
import inspect
import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import server

Half = Callable[[Callable[..., Any], tuple[Any, ...]], object]


@dataclass(frozen=True)
class Point:
    """A function with a point before and one behind it; `half` does half of its work, for one in the middle.

    Of a context manager the middle is where its body has ended: a transaction is not committed yet.
    """

    name: str
    place: str
    kind: Literal["function", "manager"] = "function"
    half: Half | None = None


def _half_write(real: Callable[..., Any], args: tuple[Any, ...]) -> object:
    descriptor, data, offset = args
    return real(descriptor, memoryview(data)[: len(data) // 2], offset)


def _half_copy(real: Callable[..., Any], args: tuple[Any, ...]) -> object:
    source, target, count, *offsets = args
    return real(source, target, count // 2, *offsets)


POINTS = (
    Point("store.create", "server.storage.disk:DiskStore.create"),
    Point("store.append", "server.storage.disk:DiskStore.append"),
    Point("store.truncate", "server.storage.disk:DiskStore.truncate"),
    Point("store.concatenate", "server.storage.disk:DiskStore.concatenate"),
    Point("store.undo_concatenate", "server.storage.disk:DiskStore.undo_concatenate"),
    Point("store.finish", "server.storage.disk:DiskStore.finish"),
    Point("store.delete", "server.storage.disk:DiskStore.delete"),
    Point("quarantine.delete", "server.storage.disk:DiskStore.delete_from_quarantine"),
    Point("results.delete", "server.storage.results:Results.delete"),
    Point("results.hide", "server.storage.results:Results.hide"),
    Point("results.remove", "server.storage.results:Results.remove"),
    Point("results.empty", "server.storage.results:Results.remove_empty"),
    Point("body.write_to", "server.transport.body:Body.write_to"),
    Point("socket.write_to", "server.transport.socket_body:SocketBody.write_to"),
    Point("socket.taken", "server.serving.body_handover:BodyHandover.take"),
    Point("socket.back", "server.serving.body_handover:BodyHandover.give_back"),
    Point("file.write", "os:pwrite", half=_half_write),
    Point("file.splice", "os:splice"),
    Point("file.copy", "os:copy_file_range", half=_half_copy),
    Point("file.link", "pathlib:Path.hardlink_to"),
    Point("file.unlink", "os:unlink"),
    Point("file.rename", "pathlib:Path.rename"),
    Point("file.sync", "os:fsync"),
    Point("transaction", "server.database.session:Database.write", "manager"),
    # The same for writes that share one, so that a point has one name on all databases.
    Point("transaction", "server.database.session:Database._begin_common", "manager"),
    Point("change", "server.database.session:Database.change", "manager"),
    Point("lock.take", "server.storage.file_locks:FileLocks._try"),
    Point("lock.release", "server.storage.file_locks:FileLocks._release"),
    Point("hook.check_content", "server.uploads.policy:UploadPolicy.check_content"),
    Point("hook.post_finish", "server.uploads.policy:UploadPolicy.register_task"),
    Point("wake", "server.tasks.wake:Wake.notify"),
)
"""Add a row for a new function that moves bytes or rows; the tests find out by themselves who reaches it."""

WORKER_POINTS = (Point("store.quarantine", "server.storage.disk:DiskStore.quarantine"),)
"""Those that no upload reaches: only a worker does (`tests/worker/test_quarantine_crash.py`)."""

ANSWERS = {"http.response.start": "answer.head", "http.response.body": "answer.body"}

LINES_OF = frozenset(
    str(Path(server.__file__).parent / name)
    for name in (
        "uploads/service.py",
        "uploads/repository.py",
        "uploads/completion.py",
        "uploads/deletion.py",
        "uploads/concatenation.py",
        "uploads/idempotency.py",
        "uploads/forms.py",
        "uploads/progress.py",
        "maintenance/sweep.py",
        "maintenance/removal.py",
        "tasks/removal.py",
        "uploads/policy.py",
        "storage/disk.py",
        "storage/file_locks.py",
        "database/session.py",
        "database/group_commit.py",
        "transport/body.py",
        "transport/socket_body.py",
        "transport/transfer.py",
        "transport/time_slice.py",
    )
)


class _Fault:
    """What is armed in this process; nothing at first."""

    point = ""
    at = 0
    log = -1
    reached: Iterator[int] = itertools.count(1)


def arm(fault: str) -> None:
    """Let it happen from here on."""
    point, _, at = fault.partition(":")
    if point == "record":
        _Fault.log = os.open(os.environ["FAULT_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    _Fault.reached = itertools.count(1)
    _Fault.at = int(at or 0)
    _Fault.point = point


def _is_due(name: str) -> bool:
    if _Fault.log >= 0:
        os.write(_Fault.log, name.encode() + b"\n")
    return name == _Fault.point and next(_Fault.reached) == _Fault.at


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _reach(name: str) -> None:
    if _is_due(name):
        _die()


def _wrapped(point: Point, real: Callable[..., Any]) -> Callable[..., Any]:
    if point.kind == "manager":
        return _wrapped_manager(point, real)
    if inspect.iscoroutinefunction(real):

        @functools.wraps(real)
        async def wait(*args: Any, **named: Any) -> Any:
            _reach(f"{point.name}.before")
            found = await real(*args, **named)
            _reach(f"{point.name}.after")
            return found

        return wait

    @functools.wraps(real)
    def call(*args: Any, **named: Any) -> Any:
        _reach(f"{point.name}.before")
        if point.half is not None and _is_due(f"{point.name}.half"):
            point.half(real, args)
            _die()
        found = real(*args, **named)
        _reach(f"{point.name}.after")
        return found

    return call


def _wrapped_manager(point: Point, real: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(real)
    @contextlib.contextmanager
    def manage(*args: Any, **named: Any) -> Iterator[Any]:
        _reach(f"{point.name}.before")
        with real(*args, **named) as found:
            yield found
            _reach(f"{point.name}.half")
        _reach(f"{point.name}.after")

    return manage


def _wrapped_app(real: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(real)
    def create_app(*args: Any) -> Any:
        app = real(*args)

        async def faulty(scope: Any, receive: Any, send: Any) -> None:
            for name, value in scope.get("headers", ()):
                if name == b"x-fault":
                    arm(value.decode())

            async def watched(message: Any) -> None:
                name = ANSWERS.get(message["type"])
                if name is None:
                    await send(message)
                    return
                _reach(f"{name}.before")
                await send(message)
                _reach(f"{name}.after")

            await app(scope, receive, watched)

        return faulty

    return create_app


def _trace_call(frame: FrameType, _event: str, _arg: object) -> Any:
    return _trace_line if frame.f_code.co_filename in LINES_OF else None


def _trace_line(_frame: FrameType, event: str, _arg: object) -> Any:
    if event == "line" and _Fault.point:
        _reach("line")
    return _trace_line


def install() -> None:
    """Wrap every point, and follow lines if that is asked for."""
    for point in POINTS + WORKER_POINTS:
        module, _, path = point.place.partition(":")
        owner: Any = importlib.import_module(module)
        *outer, name = path.split(".")
        for each in outer:
            owner = getattr(owner, each)
        setattr(owner, name, _wrapped(point, getattr(owner, name)))
    app = importlib.import_module("server.app")
    app.__dict__["create_app"] = _wrapped_app(app.create_app)
    if os.environ.get("FAULT_LINES"):
        threading.settrace(_trace_call)
        sys.settrace(_trace_call)
    if os.environ.get("FAULT"):
        arm(os.environ["FAULT"])


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `videodock`, with faults."""
    from server.cli import main

    install()
    main.main(arguments)


if __name__ == "__main__":
    main()
