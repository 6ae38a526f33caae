"""Jobs for the tests of the child process: each misbehaves in its own way."""

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from server.errors import StepError
from server.pipeline.media import programs

Report = Callable[[int], None]


def echo(arguments: Mapping[str, Any], report: Report) -> Mapping[str, object]:
    for percent in (10, 60, 250, -3):
        report(percent)
    return arguments


def surroundings(arguments: Mapping[str, Any], report: Report) -> Mapping[str, object]:
    kinds = {"memory": resource.RLIMIT_AS, "core": resource.RLIMIT_CORE, "files": resource.RLIMIT_NOFILE}
    return {
        "environ": dict(os.environ),
        "descriptors": sum(map(_is_open, range(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))),
        "limits": {name: resource.getrlimit(kind) for name, kind in kinds.items()},
        "nice": os.nice(0),
        "scheduler": os.sched_getscheduler(0),
        # A leader that is outside of the namespace has no number in it.
        "leader": os.getsid(0) in (0, os.getpid()) and os.getsid(0) == os.getpgid(0),
    }


def find_package(arguments: Mapping[str, Any], report: Report) -> Mapping[str, object]:
    """Where the child stands, and which of these modules of the package it can read."""
    modules = [path for path in arguments["modules"] if _is_readable(path)]
    return {"folder": str(Path.cwd()), "modules": modules}


def _is_readable(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError:
        return False
    return True


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def give_up(arguments: Mapping[str, Any], report: Report) -> Mapping[str, object]:
    raise StepError(arguments["code"], **arguments["params"])


def chatter(arguments: Mapping[str, Any], report: Report) -> Mapping[str, object]:
    os.write(1, b'{"result": {"forged": true}}\n')
    sys.stderr.write("x" * 1_000_000)
    return {"honest": True}


def kill_a_program(arguments: Mapping[str, Any], report: Report) -> Mapping[str, object]:
    return {"succeeded": programs.run(["sh", "-c", f"kill -{arguments['signal'].removeprefix('SIG')} $$"], 10)}


def die(arguments: Mapping[str, Any], report: Report) -> Mapping[str, object]:
    match arguments["how"]:
        case "exit":
            os._exit(3)
        case "success without an answer":
            os._exit(0)
        case "abort":
            os.abort()
        case "segfault":
            ctypes.string_at(0)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exception":
            raise RuntimeError("no reason")
        case "large file":
            (Path(arguments["output"]) / "large").write_bytes(b"x" * (65 << 20))
    return {}


def forge(arguments: Mapping[str, Any], report: Report) -> Mapping[str, object]:
    """Say anything where the answer belongs, as a decoder that a video took over could."""
    for descriptor in range(3, 10):
        try:
            os.write(descriptor, arguments["line"].encode() * arguments["times"] + b"\n")
        except OSError:
            continue
    time.sleep(600)
    return {}


def devour(arguments: Mapping[str, Any], report: Report) -> Mapping[str, object]:
    return {"size": len(bytearray(2 << 30))}


def spin(arguments: Mapping[str, Any], report: Report) -> Mapping[str, object]:
    report(1)
    while True:
        pass


def program(arguments: Mapping[str, Any], report: Report) -> Mapping[str, object]:
    """Start a program that lasts."""
    return {"done": programs.run(["sleep", "600"], 600)}


def abandon(arguments: Mapping[str, Any], report: Report) -> Mapping[str, object]:
    """Leave a program behind that clings to the pipes, in a session of its own."""
    subprocess.Popen(["sleep", "601"], start_new_session=True)
    return {}


def call_out(arguments: Mapping[str, Any], report: Report) -> Mapping[str, object]:
    """Try to reach somebody, by itself and by a program; and whether files are still ours."""
    script = f"exec 3<>/dev/tcp/127.0.0.1/{arguments['port']}"
    written = Path(arguments["output"]) / "written"
    written.write_text(Path(arguments["path"]).read_text())
    return {
        "reached": _reaches(arguments["port"]),
        "program": programs.run(["bash", "-c", script], 20),
        "user": os.geteuid(),
    }


def count_channels(arguments: Mapping[str, Any], report: Report) -> Mapping[str, object]:
    """Channels of each track of sound, three times over, and then everything is let go."""
    import gc

    import av

    from server.pipeline.media import pyav

    with av.open(arguments["path"]) as container:
        counts = [pyav.channels(stream) for _ in range(3) for stream in container.streams.audio]
    del container
    gc.collect()
    return {"channels": counts}


def name_side_data(arguments: Mapping[str, Any], report: Report) -> Mapping[str, object]:
    """What a kind of side data is called."""
    from av.sidedata.sidedata import Type

    from server.pipeline.media import pyav  # noqa: F401  # it teaches PyAV

    return {"name": Type(arguments["kind"]).name}


def crash_in_library_probe(arguments: Mapping[str, Any], report: Report) -> Mapping[str, object]:
    from server.pipeline.jobs import probe

    return probe.probe(_without_library(arguments), report)


def crash_in_library_poster(arguments: Mapping[str, Any], report: Report) -> Mapping[str, object]:
    from server.pipeline.jobs import poster

    return poster.make(_without_library(arguments), report)


def crash_in_library_mp4(arguments: Mapping[str, Any], report: Report) -> Mapping[str, object]:
    from server.pipeline.jobs import mp4

    return mp4.make(_without_library(arguments), report)


def _without_library(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    if arguments["by"] == "library":
        ctypes.string_at(0)
    return arguments


def _reaches(port: int) -> bool:
    try:
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", port)) == 0
    except PermissionError:
        return False
