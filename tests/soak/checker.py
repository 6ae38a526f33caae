"""Is every upload of the records accounted for, and does the server have nothing else?

Rule: the records is believed where a client was told something; the rows and digests, gathered while the server ran
(`history.py`), say what the server made of it. Nothing here asks the server.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from tests.soak.history import History, Row
from tests.soak.upload_records import End, Entry, key_of

# The ends that the row of an upload may have whose client knows this, where its bytes did not arrive.
_NOT_ARRIVED = {
    End.COMPLETE: {"expired", "terminated"},  # another one, whose creation was not answered
    End.REFUSED: {"rejected", "expired", "terminated"},
    End.TERMINATED: {"terminated", "expired"},
    End.ABANDONED: {"expired", "terminated"},
    End.JOINED: {"expired", "terminated"},
    End.UNKNOWN: {"expired", "terminated", "rejected"},
}
_ENDED = {"completed", "error", "cancelled"}


def check(entries: Sequence[Entry], history: History) -> list[str]:
    """Everything that is wrong, in sentences."""
    return list(_check(entries, history))


def _check(entries: Sequence[Entry], history: History) -> Iterator[str]:
    by_key: dict[str | None, list[Row]] = defaultdict(list)
    for row in history.uploads.values():
        by_key[key_of(row["filename"])].append(row)
    for row in by_key.pop(None, []):
        yield f"upload {row['id']} ({row['status']}) is nobody's: {row['filename']!r}"
    for entry in entries:
        for sentence in _of_entry(entry, by_key.pop(entry.key, []), history):
            yield f"{entry.kind} {entry.key}: {sentence}"
    for key, rows in by_key.items():
        yield f"uploads {[row['id'] for row in rows]} bear the key {key}, which nobody has"
    yield from _of_tasks(history)


def _of_entry(entry: Entry, rows: list[Row], history: History) -> Iterator[str]:
    if entry.end is None:
        yield f"its client never came to an end, at {entry.low} of {entry.size} bytes"
        return
    for lost in entry.ids - {row["id"] for row in rows}:
        yield f"the client was told of {lost}, of which there was never a row"
    if entry.knows_ids:
        unknown = [row["id"] for row in rows if row["id"] not in entry.ids]
        if len(unknown) > entry.lost_posts:
            yield f"{len(unknown)} uploads of which no client was told, and {entry.lost_posts} unanswered creations"
    arrived = [row for row in rows if row["completed_at"] is not None and row["concat"] != "partial"]
    yield from _of_number(entry, len(arrived))
    for row in arrived:
        yield from _of_arrived(entry, row, history)
    for row in rows:
        if row not in arrived and row["status"] not in _NOT_ARRIVED[entry.end]:
            yield f"{entry.end}, and upload {row['id']} ended {row['status']} at {row['received']} bytes"


def _of_number(entry: Entry, number: int) -> Iterator[str]:
    match entry.end:
        case End.COMPLETE:
            if number == 0:
                yield "the client was told that it is complete, and it never was"
            if number > 1 and not entry.may_double:
                yield f"it became complete {number} times"
        case End.UNKNOWN | End.TERMINATED:
            if number > 1 and not entry.may_double:
                yield f"it became complete {number} times"
        case _:
            if number:
                yield f"its client knows it as {entry.end}, and it became complete"


def _of_arrived(entry: Entry, row: Row, history: History) -> Iterator[str]:
    upload = row["id"]
    if row["length"] != entry.size:
        yield f"upload {upload} has {row['length']} bytes instead of {entry.size}"
    digest = history.digests.get(upload)
    if digest is None and entry.end is not End.TERMINATED:
        yield f"nobody has seen the content of {upload}"
    if digest is not None and digest != entry.digest:
        yield f"the content of {upload} differs from what was sent"
    files = [file for file in history.files.values() if file["upload_id"] == upload]
    if len(files) != 1:
        yield f"upload {upload} is complete and part of {len(files)} tasks"
        return
    task = history.tasks.get(files[0]["task_id"])
    if task is None:
        yield f"upload {upload} has no task"
        return
    if entry.end is End.COMPLETE and entry.tasks and not entry.may_double and task["id"] not in entry.tasks:
        yield f"the client was told of the tasks {entry.tasks}, and {upload} is in {task['id']}"
    yield from _of_outcome(entry, files[0], task)


def _of_outcome(entry: Entry, file: Row, task: Row) -> Iterator[str]:
    if task["status"] not in _ENDED:
        return  # told below, once for each task
    expected = {"completed" if entry.is_playable else "error"}
    if entry.is_cancelled:
        expected = {"cancelled"}
        if task["status"] != "cancelled":
            yield f"its cancel was accepted, and its task is {task['status']}"
    elif entry.may_be_cancelled:
        expected |= {"cancelled"}
    if entry.task_may_fail:
        expected |= {"error"}
    if file["status"] not in expected:
        yield f"its file is {file['status']} by {file['error_code']}, expected was {' or '.join(sorted(expected))}"


def _of_tasks(history: History) -> Iterator[str]:
    with_files = {file["task_id"] for file in history.files.values()}
    for task in history.tasks.values():
        if task["status"] not in _ENDED:
            yield f"task {task['id']} has not ended, it is {task['status']} at {task['progress']}%"
        if task["id"] not in with_files:
            yield f"task {task['id']} has no files"
