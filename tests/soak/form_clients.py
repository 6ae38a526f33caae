"""What clients of the documented API do: forms by hand, by curl, and forms that are repeated until they are answered.

Rule: a form without an `Idempotency-Key` that was not answered is all there or not at all, and nobody can ask; one
with a key is sent again until it is answered, and is there once.
"""

import json
import random
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.harness.multipart import PATH, form_body
from tests.soak import videos
from tests.soak.sender import StuckError
from tests.soak.side import Side
from tests.soak.tus_clients import SIZES, entry_of
from tests.soak.upload_records import End, Entry
from tests.soak.watcher import watch
from tests.soak.wire import LostError, Reply, Wire

Files = Sequence[tuple[Entry, bytes]]


def form(side: Side, dice: random.Random) -> None:
    """One to three files at once, perhaps with one that is no video among them."""
    files = _files(side, dice, "form")
    boundary, body = _body(files)
    reply = _ask(side, dice, boundary, _slowly(body, dice) if dice.random() < 0.2 else body, len(body))
    _judge(side, dice, files, reply)


def broken_off(side: Side, dice: random.Random) -> None:
    """Half a form, and then the client hangs up, or falls silent: nothing of it stays."""
    files = _files(side, dice, "broken form", mixed=False)
    boundary, body = _body(files)
    rest = dice.choice((0.0, 0.0, side.times.idle + 2))

    def half() -> Iterator[bytes]:
        yield body[: len(body) // 2]
        time.sleep(rest)
        raise ConnectionAbortedError

    reply = _ask(side, dice, boundary, half(), len(body))
    for entry, _ in files:
        entry.end = End.REFUSED
    if reply is not None and reply.status == 200:
        side.records.violation(f"half a form of {files[0][0].key} was answered with 200")


def keyed(side: Side, dice: random.Random) -> None:
    """With an `Idempotency-Key`, until it is answered; then once more, for the same answer."""
    files = _files(side, dice, "form with a key")
    key, (boundary, body) = str(uuid.uuid4()), _body(files)
    first = _insist(side, dice, boundary, body, key)
    answered = time.monotonic()
    _judge(side, dice, files, first, watches=False)
    if dice.random() < 0.4:
        boundary, body = _body(files)  # another boundary is the same form all the same
        again = _insist(side, dice, boundary, body, key)
        is_kept = time.monotonic() - answered < side.times.answers - 5
        if is_kept and (again.status, _task(again)) != (first.status, _task(first)):
            side.records.violation(f"the key {key} was answered with {_task(first)} and then with {_task(again)}")
    if dice.random() < 0.2:
        other, _ = side.videos.make(dice, 30_000)
        boundary, body = _body([(files[0][0], other)])
        differs = _insist(side, dice, boundary, body, key)
        if time.monotonic() - answered < side.times.answers - 5 and differs.status != 422:
            side.records.violation(f"another form with the key {key} was answered with {differs.status} {differs.code}")


def curl(side: Side, dice: random.Random) -> None:
    """curl, by HTTP/1.1 or, through nginx, by HTTP/2."""
    data, extension = side.videos.make(dice, dice.choice(SIZES[:6]))
    entry = entry_of(side, "curl", data, extension)
    path = side.folder / entry.name
    path.write_bytes(data)
    origin = side.origin(dice)
    command = ["curl", "--silent", "--max-time", "90", "--write-out", "\n%{http_code}", "--form", f"videos=@{path}"]
    if origin.certificate:
        command += ["--cacert", origin.certificate, dice.choice(("--http1.1", "--http2"))]
    try:
        done = subprocess.run([*command, origin.url + PATH], capture_output=True, text=True, check=False, timeout=120)
    finally:
        path.unlink()
    body, _, status = done.stdout.rpartition("\n")
    side.records.status(f"curl POST {PATH} {status}")
    entry.end = End.UNKNOWN
    if done.returncode == 0 and status == "200":
        entry.tasks, entry.end = {json.loads(body)["task_id"]}, End.COMPLETE
    elif done.returncode == 0 and status not in ("408", "502", "503", "504"):
        side.records.violation(f"curl's form of {entry.key} was answered with {status}: {body[:200]}")


def _files(side: Side, dice: random.Random, kind: str, *, mixed: bool = True) -> Files:
    found = []
    for _ in range(dice.choice((1, 1, 2, 3))):
        data, extension = side.videos.make(dice, dice.choice(SIZES[:6]))
        found.append((entry_of(side, kind, data, extension), data))
    if mixed and dice.random() < 0.2:
        data = videos.no_video(dice, 20_000)
        found.append((entry_of(side, f"{kind}, no video", data, "mp4"), data))
    return found


def _body(files: Files) -> tuple[str, bytes]:
    boundary = uuid.uuid4().hex
    return boundary, form_body(boundary, [("videos", entry.name, data) for entry, data in files])


def _slowly(body: bytes, dice: random.Random) -> Iterator[bytes]:
    step = len(body) // 20 + 1
    for at in range(0, len(body), step):
        time.sleep(dice.uniform(0.02, 0.2))
        yield body[at : at + step]


def _ask(
    side: Side,
    dice: random.Random,
    boundary: str,
    body: bytes | Iterator[bytes],
    length: int,
    headers: Mapping[str, str] | None = None,
) -> Reply | None:
    fields = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Content-Length": str(length)}
    with Wire(side.origin(dice), side.records) as wire:
        try:
            return wire.ask("POST", PATH, fields | dict(headers or {}), body)
        except LostError:
            return None


def _insist(side: Side, dice: random.Random, boundary: str, body: bytes, key: str) -> Reply:
    """The same form until it is answered for good."""
    deadline = time.monotonic() + side.patience
    while True:
        reply = _ask(side, dice, boundary, body, len(body), {"Idempotency-Key": key})
        if reply is not None and reply.status not in (408, 409, 500, 502, 503, 504, 507):
            return reply
        if reply is not None and reply.status == 409 and "retry-after" not in reply.headers:
            side.records.violation(f"409 {reply.code} to a form without Retry-After")
        if time.monotonic() > deadline:
            raise StuckError(f"the form with the key {key}")
        time.sleep(dice.uniform(0.2, 1.0))


def _judge(side: Side, dice: random.Random, files: Files, reply: Reply | None, *, watches: bool = True) -> None:
    """Write down what a form was answered."""
    if reply is None or reply.status in (408, 500, 502, 503, 504, 507):
        for entry, _ in files:
            entry.end = End.REFUSED if entry.kind.endswith("no video") else End.UNKNOWN
        return
    if reply.status != 200:
        for entry, _ in files:
            entry.end = End.REFUSED
        side.records.violation(f"the form of {files[0][0].key} was answered with {reply.status} {reply.code}")
        return
    answer: dict[str, Any] = json.loads(reply.body)
    for entry, _ in files:
        entry.end = End.COMPLETE
        if entry.name in (answer.get("invalid_files") or ()):
            entry.end = End.REFUSED
        else:
            entry.tasks = {answer["task_id"]}
        if (entry.end is End.REFUSED) is not entry.kind.endswith("no video"):
            side.records.violation(f"{entry.kind} {entry.key}: {entry.end} by {answer}")
    if watches and dice.random() < 0.3:
        watch(side, files[0][0], answer["task_id"], dice)


def _task(reply: Reply) -> str:
    return str(json.loads(reply.body).get("task_id", ""))
