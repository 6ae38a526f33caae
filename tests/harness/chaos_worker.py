"""`python -m tests.harness.chaos_worker`: a parent that forks workers with fake steps, one for each line it reads.

Rules:

- The parent has only imported, so a child is a process of its own that needs no second to get there. (The server
  never forks.) The kernel ends the children with their parent, and nobody else does but the test.
- What a step does stands in the original that it gets. Each run of a step leaves a line in the log when it begins, and
  one when it ends: who, what, which attempt, when.
"""

import contextlib
import ctypes
import json
import os
import random
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import sqlalchemy.dialects.postgresql.psycopg
import sqlalchemy.dialects.sqlite  # noqa: F401  # for the children

from server.bootstrap import Services
from server.database.session import AWAY
from server.errors import StepError
from server.observability import configure_logging
from server.pipeline.step import StepContext, TryLaterError
from server.settings import Settings
from server.worker import attempt as attempt_module
from server.worker import claimed_writes, leader
from server.worker.runner import runner_of
from server.worker.scheduler import scheduler_of
from tests.harness.steps import FakeStep

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_IDLE = (0.05, 0.3)
_RESULTS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "poster": ("poster.jpg", {"has_poster": True}),
    "mp4": ("video.mp4", {"has_mp4": True, "playable": True}),
}


class _Steps:
    """Three quick steps. An original says what happens: to which step, in the attempts up to which."""

    def __init__(self, log: Path) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._random = random.Random(os.getpid())

    def made(self) -> tuple[FakeStep, ...]:
        """In order; without its poster a file is still completed."""
        names = ("probe", "poster", "mp4")
        return tuple(FakeStep(name, self._work(name), is_required=name != "poster") for name in names)

    def _work(self, name: str) -> Any:
        def work(context: StepContext) -> Mapping[str, object]:
            attempt = int(context.output.parent.name.rpartition(".")[2])
            self._write(context, name, attempt, "begin")
            order = json.loads(context.source.read_text())
            time.sleep(self._random.uniform(0, 0.04))
            if order.get("step") == name and attempt <= order.get("attempts", 99):
                _misbehave(order["what"])
            found = self._make(context, name)
            self._write(context, name, attempt, "end")
            return found

        return work

    def _make(self, context: StepContext, name: str) -> Mapping[str, object]:
        if name not in _RESULTS:
            return {"width": context.size, "height": 2}
        if context.facts["width"] != context.size:
            raise StepError("original_missing")  # the facts of another file, or none
        file, found = _RESULTS[name]
        (context.output / file).write_text(result_text(str(context.facts["task_id"]), str(context.facts["id"]), name))
        return found

    def _write(self, context: StepContext, name: str, attempt: int, what: str) -> None:
        line = {
            "task": context.facts["task_id"],
            "file": context.facts["id"],
            "step": name,
            "attempt": attempt,
            "what": what,
            "pid": os.getpid(),
            "at": time.time(),
        }
        os.write(self._log, json.dumps(line).encode() + b"\n")


def result_text(task_id: str, file_id: str, step: str) -> str:
    """What stands in a result, so that one in the wrong place is seen."""
    return f"{task_id} {file_id} {step}"


def _misbehave(what: str) -> None:
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "refuse":
        raise StepError("not_playable")
    if what == "bug":
        raise RuntimeError("a bug of ours")
    raise TryLaterError("storage_full", counts=what == "fail")


def _work(order: dict[str, Any]) -> NoReturn:
    configure_logging("warning", "json")
    vars(attempt_module).update(STEPS=_Steps(Path(order["log"])).made(), HEARTBEAT_SECONDS=0.3)
    vars(claimed_writes).update(_RETRY_SECONDS=0.1)
    vars(leader).update(_LOOK_SECONDS=0.3, _LEAD_SECONDS=0.3)
    services = Services.open(Settings(**order["settings"]))
    if order["role"] == "scheduler":
        scheduler_of(services).start()
        while True:
            signal.pause()
    name = f"chaos/{os.getpid()}"
    while True:
        claimed = None
        with contextlib.suppress(*AWAY):
            claimed = runner_of(services).claim_next(name)
        if claimed is None:
            time.sleep(random.uniform(*_IDLE))
        else:
            runner_of(services).attempt(claimed, "").run()


def _become(order: dict[str, Any]) -> NoReturn:
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    out = os.open(order["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, number in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(descriptor, number)
    try:
        _work(order)
    finally:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _serve() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            _become(json.loads(line))
        print(pid, flush=True)


if __name__ == "__main__":
    _serve()
