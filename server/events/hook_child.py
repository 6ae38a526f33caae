"""The process of one hook: loads its function, and calls it for each line that comes in.

Rule: whatever the function does, it ends at most this process; which never outlives its parent: at the end of its
standard input it kills its own group. One line of JSON comes in for each call, one goes out, with the call's number.

`hook_process.py` starts it as `python -m server.events.hook_child <name> <module:function>`.
"""

import contextlib
import importlib
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from server import hooks

ARGUMENTS: Mapping[str, Callable[..., Any]] = {
    "pre_create": hooks.Creation,
    "post_finish": hooks.UploadFinished,
    "post_task": hooks.TaskEnded,
}
_LONGEST_ERROR = 500
_LONGEST_EXPLANATION = 300


def main() -> None:
    """Serve until standard input ends."""
    # Answers get a descriptor of their own: a hook may print whatever it likes.
    answers = os.dup(1)
    os.dup2(2, 1)
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text("videodock-hook")
    name, value = sys.argv[1:3]
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    try:
        function = _load(value)
    except Exception as error:
        _send(answers, {"error": _described(error)})
        os._exit(1)
    _send(answers, {"ready": True})
    while True:
        asked = json.loads(lines.get())
        _send(answers, {"call": asked["call"], **_call(function, ARGUMENTS[name](**asked["argument"]))})


def _load(value: str) -> Callable[[Any], Any]:
    module, _, path = value.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    function: Callable[[Any], Any] = found
    return function


def _call(function: Callable[[Any], Any], argument: Any) -> Mapping[str, object]:
    try:
        result = function(argument)
    except Exception as error:
        return {"error": _described(error)}
    if isinstance(result, hooks.Refuse):
        return {"refuse": str(result.explanation)[:_LONGEST_EXPLANATION]}
    if result is not None:
        return {"error": f"it returned {type(result).__name__}; None or Refuse is possible"}
    return {}


def _described(error: BaseException) -> str:
    """The error and its place, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}"[:_LONGEST_ERROR] + place


def _read(lines: "queue.SimpleQueue[bytes]") -> None:
    with os.fdopen(0, "rb") as stream:
        for line in stream:
            lines.put(line)
    os.killpg(0, signal.SIGKILL)


def _send(answers: int, message: Mapping[str, object]) -> None:
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(answers, data) :]


if __name__ == "__main__":
    main()
