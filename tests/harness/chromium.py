"""Chromium, driven by the scripts of `tests/clients/`, and what their events tell.

Rules:

- It is the headless shell: the same engine without windows, for less than half of the processor time.
- One Node process and one browser for each process of the tests (`drivers.mjs`), started by the first test that asks;
  each driver has a browser context of its own. A start of both takes more processor time than most of what is done
  there.
"""

import atexit
import itertools
import json
import os
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path

from tests.harness.node import CLIENTS, Event, NodeClient, node
from tests.harness.waiting import PATIENCE

_numbers = itertools.count(1)


def drive(program: str, folder: Path, **options: object) -> NodeClient:
    """Run a driver with its options; ended with the `with` block at the latest."""
    return _Driver(program, folder, **options)


def begin() -> None:
    """Start the process of the drivers now, so that a test that counts processes does not find it new."""
    _drivers(os.getpid())


class _Driver(NodeClient):
    """One run of a driver."""

    def _start(self, program: str, options: dict[str, object]) -> "_Run":
        self._log.touch()
        self._errors.touch()
        return _Run(program, options, self._log, self._errors)


class _Run:
    """It, with the names of `subprocess.Popen`."""

    def __init__(self, program: str, options: dict[str, object], log: Path, errors: Path) -> None:
        self.returncode: int | None = None
        self._id = next(_numbers)
        self._ended = log.with_suffix(".ended")
        paths = {"out": str(log), "errors": str(errors), "ended": str(self._ended)}
        self._ask({"id": self._id, "program": program, "given": options, **paths})

    def poll(self) -> int | None:
        if self.returncode is None and self._ended.exists():
            self.returncode = int(self._ended.read_text())
        assert self.returncode is not None or _drivers(os.getpid()).poll() is None, "the drivers' process has ended"
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = time.monotonic() + (PATIENCE if timeout is None else timeout)
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"driver {self._id}", timeout or PATIENCE)
            time.sleep(0.02)
        return code

    def terminate(self) -> None:
        self._ask({"stop": self._id})

    def kill(self) -> None:
        _drivers(os.getpid()).kill()

    def _ask(self, what: dict[str, object]) -> None:
        lines = _drivers(os.getpid()).stdin
        assert lines is not None
        lines.write(json.dumps(what).encode() + b"\n")
        lines.flush()


@cache
def _drivers(owner: int) -> "subprocess.Popen[bytes]":
    chromium = shutil.which("chromium-headless-shell")
    assert chromium, "The headless shell of Chromium is not installed; `make test` installs it"
    process = subprocess.Popen(
        [node(), str(CLIENTS / "drivers.mjs"), chromium], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    atexit.register(_quit, process)
    return process


def _quit(process: "subprocess.Popen[bytes]") -> None:
    """Its standard input ends, and it ends its browser and itself."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def requests(events: list[Event], method: str) -> list[Event]:
    """What the page asked by that method, in order."""
    return [event for event in events if event["event"] == "request" and event["method"] == method]


def responses(events: list[Event], method: str) -> list[Event]:
    """What it was answered, in order."""
    return [event for event in events if event["event"] == "response" and event["method"] == method]


def look(events: list[Event], label: str) -> Event:
    """What was to be seen at that step."""
    (found,) = [event for event in events if event["event"] == "look" and event["label"] == label]
    return found


def check_continued(events: list[Event]) -> int:
    """The upload was made once, interrupted, and continued at the offset that the server then told; that offset."""
    assert len(requests(events, "POST")) == 1
    (asked,) = responses(events, "HEAD")[-1:]
    assert asked["status"] == 200
    assert asked["offset"] > 0
    later = events[events.index(asked) :]
    assert requests(later, "PATCH")[0]["offset"] == asked["offset"]
    return int(asked["offset"])
