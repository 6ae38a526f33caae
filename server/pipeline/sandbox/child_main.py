"""The child process: limits itself, does one job, sends one answer.

Rule: a video is not touched before the limits and every protection that the kernel allows are in force
(`confinement.py`); and the process never outlives its parent. Its standard input stays open as long as the parent
lives; when it ends, the whole process group is killed, programs that the job started included. (`PR_SET_PDEATHSIG`
would not do: it spares grandchildren, and it fires when the parent's *thread* ends.)

`child_process.py` starts it as `python -m server.pipeline.sandbox.child_main`, with the modules that a spare child
imports before it waits for a job. One line of JSON comes in, lines of JSON go out.
"""

import contextlib
import errno
import importlib
import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from server.errors import StepError
from server.pipeline.media import programs
from server.pipeline.sandbox import confinement

Job: TypeAlias = Callable[[Mapping[str, Any], Callable[[int], None]], Mapping[str, object]]

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_JOB_NAME, _SPARE_NAME = "videodock-job", "videodock-spare"  # 15 characters at most
_OPEN_FILES = 64
_CPU_MARGIN = 5  # seconds between SIGXCPU and SIGKILL
_WATCHER_STACK = 256 << 10


def main() -> None:
    """Do the job that standard input describes; the exit code is 0 if an answer was sent."""
    # Answers get a descriptor of their own: libraries and programs may print whatever they like.
    answers = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    _prepare(sys.argv[1:])
    request = json.loads(_read_line())
    _call_it(_JOB_NAME)
    entered = confinement.enter_namespaces()
    _limit(request["limits"])
    job = _import(request["job"])
    programs.before_program = confinement.confine(request["files"], entered)
    threading.stack_size(_WATCHER_STACK)  # the default of 8 MiB counts against the address space
    threading.Thread(target=_watch, daemon=True).start()
    threading.stack_size(0)
    _send(answers, _perform(job, request["arguments"], answers))
    # No interpreter shutdown: decoders have threads and handlers that could still hang or crash.
    os._exit(0)


def _prepare(modules: Sequence[str]) -> None:
    """The work of a spare child before it waits. It has one thread after that, too, since it may fork later."""
    if modules:
        _call_it(_SPARE_NAME)
    for module in modules:
        importlib.import_module(module)


def _call_it(name: str) -> None:
    """The name of this process in `ps` and `top`."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def _read_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        chunk = os.read(_STDIN, 65536)
        if not chunk:  # the parent died before it sent a job
            sys.exit(1)
        line += chunk
    return line


def _limit(limits: Mapping[str, Any]) -> None:
    """Set the limits for this process and those that it starts."""
    # Processor time is the second limit after the parent's clock: with a thread on every core it comes later, too.
    processor = (int(limits["seconds"]) + 5) * (os.cpu_count() or 1)
    for kind, most in (
        (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_CPU, processor),
        (resource.RLIMIT_FSIZE, limits["file_size"]),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        ceiling = resource.getrlimit(kind)[1]
        value = most if ceiling == resource.RLIM_INFINITY else min(most, ceiling)
        # Beyond the hard limit the kernel sends SIGKILL, which would look as if another process had killed it.
        hard = value + _CPU_MARGIN if kind == resource.RLIMIT_CPU else value
        resource.setrlimit(kind, (value, hard if ceiling == resource.RLIM_INFINITY else min(hard, ceiling)))
    os.nice(10)
    if limits["is_idle"]:
        with contextlib.suppress(OSError):  # the container does not allow it: then it runs with low priority
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _watch() -> None:
    """Wait for the end of standard input, then end everything."""
    while os.read(_STDIN, 4096):
        pass
    # Programs first, and reaped: where process 1 does not reap orphans, zombies would pile up.
    programs.kill_all()
    os.killpg(0, signal.SIGKILL)


def _import(name: str) -> Job:
    """The job `module:function`; its module is ours, and is imported before files are restricted."""
    module, _, function = name.partition(":")
    job: Job = getattr(importlib.import_module(module), function)
    return job


def _perform(job: Job, arguments: Mapping[str, Any], answers: int) -> Mapping[str, object]:

    def report(percent: int) -> None:
        _send(answers, {"percent": percent})

    try:
        return {"result": job(arguments, report)}
    except StepError as error:
        return {"error": {"code": error.code, "params": error.params}}
    except programs.KilledError:
        return {"error": {"code": "step_interrupted", "params": {}}}
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return {"error": {"code": "disk_full", "params": {}}}


def _send(answers: int, message: Mapping[str, object]) -> None:
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(answers, data) :]


if __name__ == "__main__":
    main()
