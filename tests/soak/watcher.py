"""Clients that wait for their task: polls, cancels, what was made of the video, the original again.

Rule: what is answered must be possible. A task that does not end in time is a violation, and so is a progress that
falls, or a file that is told of and cannot be fetched.
"""

import hashlib
import json
import random
import time
from typing import Any
from urllib.parse import urlsplit

from tests.soak.side import Side
from tests.soak.upload_records import Entry
from tests.soak.wire import BUSY, LostError, Reply, Wire
from tests.tus.client import MOUNT, VERSION

_ENDS = ("completed", "error", "cancelled")
_KNOWN = ("uploaded", "processing", *_ENDS)


def watch(side: Side, entry: Entry, task_id: str, dice: random.Random) -> str:
    """Poll a task to its end, then fetch what was made of it; its last status."""
    with Wire(side.origin(dice), side.records) as wire:
        answer = _poll(side, wire, task_id, dice)
        if answer is None:
            return ""
        ended = time.monotonic()
        for file in answer["files"]:
            for name in ("poster_url", "mp4_url", "storyboard_url"):
                if file[name] and dice.random() < 0.5:
                    _fetch(side, wire, file[name], ended)
        if answer["status"] == "completed" and dice.random() < 0.3:
            _download(side, wire, entry, dice, ended)
        return str(answer["status"])


def _poll(side: Side, wire: Wire, task_id: str, dice: random.Random) -> dict[str, Any] | None:
    deadline = time.monotonic() + 2 * side.patience
    progress = 0
    while time.monotonic() < deadline:
        reply = _ask(side, wire, "GET", f"/api/task/status/{task_id}")
        if reply.status != 200:
            side.records.violation(f"the status of {task_id} was answered with {reply.status} {reply.code}")
            return None
        answer: dict[str, Any] = json.loads(reply.body)
        if answer["status"] not in _KNOWN or answer["progress"] < progress:
            side.records.violation(f"task {task_id} went from {progress}% to {answer['status']} {answer['progress']}%")
        progress = answer["progress"]
        if answer["status"] in _ENDS:
            return answer
        time.sleep(dice.uniform(0.5, 1.5))
    side.records.violation(f"task {task_id} did not end in {2 * side.patience:.0f} s, it is at {progress}%")
    return None


def _ask(side: Side, wire: Wire, method: str, path: str, **headers: str) -> Reply:
    deadline = time.monotonic() + side.patience
    while True:
        try:
            reply = wire.ask(method, path, {**VERSION, **headers})
            if reply.status not in BUSY:
                return reply
        except LostError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"no answer to {method} {path}")
        time.sleep(0.5)


def _fetch(side: Side, wire: Wire, url: str, ended: float) -> None:
    path = urlsplit(url).path
    reply = _ask(side, wire, "GET", path)
    side.records.count("results fetched")
    side.records.count("bytes fetched", len(reply.body))
    kept = min(side.times.results, side.times.failed)
    if reply.status != 200 and time.monotonic() - ended < kept - 5:
        side.records.violation(f"{path} was told of, and answered with {reply.status} {reply.code}")


def _download(side: Side, wire: Wire, entry: Entry, dice: random.Random, ended: float) -> None:
    """The original, whole or a range of it."""
    upload = next(iter(entry.ids), None)
    if upload is None:
        return  # its client was told of a task only, as those of forms are
    first = dice.choice((None, dice.randrange(entry.size)))
    asked = {} if first is None else {"Range": f"bytes={first}-"}
    reply = _ask(side, wire, "GET", f"{MOUNT}/{upload}", **asked)
    side.records.count("originals fetched")
    side.records.count("bytes fetched", len(reply.body))
    if reply.status == 200 and hashlib.sha256(reply.body).hexdigest() != entry.digest:
        side.records.violation(f"{upload} was handed out with other bytes than it has")
    if reply.status == 206 and len(reply.body) != entry.size - (first or 0):
        side.records.violation(f"{upload}: {len(reply.body)} bytes from {first} of {entry.size}")
    early = time.monotonic() - ended < side.times.originals - 5
    if reply.status not in (200, 206) and early:
        side.records.violation(f"the original of {upload} was answered with {reply.status} {reply.code}")
