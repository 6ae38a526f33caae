"""What clients of tus do with their uploads: as they should, as they should not, and not to the end.

Rule: each function is the life of one client. It leaves every entry that it opened with an end, whatever happens.
"""

import random
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tests.soak import videos
from tests.soak.sender import FINAL, TRUTH, GoneError, RefusedError, Sender
from tests.soak.side import Side
from tests.soak.upload_records import End, Entry
from tests.soak.watcher import watch
from tests.soak.wire import LostError
from tests.tus.client import MOUNT

ServerRun = Callable[[Side, random.Random], None]

SIZES = (20_000, 150_000, 150_000, 700_000, 700_000, 2_500_000, 6_000_000)


@contextmanager
def _sender(side: Side, dice: random.Random, kind: str, size: int = 0, **more: str) -> Iterator[Sender]:
    """A sender of a new video. One that expired for want of a server is abandoned, and so told."""
    data, extension = side.videos.make(dice, size or dice.choice(SIZES))
    sender = Sender(side, side.records.open(kind, data, extension), data, dice, **more)
    with _ending(sender):
        yield sender


@contextmanager
def _ending(sender: Sender) -> Iterator[None]:
    entry = sender.entry
    try:
        yield
    except GoneError:
        entry.end = entry.end or End.ABANDONED
    except RefusedError as error:
        entry.end, entry.code = End.REFUSED, error.code
        raise
    finally:
        sender.close()
        entry.end = entry.end or End.ABANDONED


def _finish(sender: Sender) -> None:
    sender.complete()
    if sender.dice.random() < 0.4:
        watch(sender.side, sender.entry, sender.id, sender.dice)


def plain(side: Side, dice: random.Random) -> None:
    """Created, then sent in chunks."""
    with _sender(side, dice, "tus") as sender:
        sender.create()
        sender.fill(chunk=dice.choice((65_536, 500_000, 5_000_000)))
        _finish(sender)


def leisurely(side: Side, dice: random.Random) -> None:
    """A few chunks with pauses: whatever happens to the server happens in the middle of it."""
    with _sender(side, dice, "leisurely", dice.choice(SIZES[1:])) as sender:
        sender.create()
        sender.fill(chunk=sender.entry.size // 8 + 1, pause=min(3, side.times.expiry / 5))
        _finish(sender)


def with_body(side: Side, dice: random.Random) -> None:
    """Created with its first bytes, or all of them."""
    with _sender(side, dice, "creation with bytes", dice.choice(SIZES[:5])) as sender:
        sender.create(body=dice.choice((sender.entry.size, sender.entry.size // 2, 1000)))
        sender.fill(chunk=1_000_000)
        _finish(sender)


def checked(side: Side, dice: random.Random) -> None:
    """Every chunk has a checksum, some a wrong one: of those nothing may stay."""
    with _sender(side, dice, "checksums") as sender:
        sender.create()
        chunk = sender.entry.size // dice.randint(1, 4) + 1
        while sender.entry.low < sender.entry.size:
            if dice.random() < 0.3:
                reply = sender.send(min(sender.entry.size, sender.entry.low + chunk), checksum="wrong")
                if reply is not None and reply.status == 204:
                    side.records.violation(f"{sender.id}: bytes with a wrong checksum were taken")
                sender.look()
            sender.fill(chunk=chunk, checksum="right", until=min(sender.entry.size, sender.entry.low + chunk))
        _finish(sender)


def deferred(side: Side, dice: random.Random) -> None:
    """Its length is told with the last bytes."""
    with _sender(side, dice, "deferred length") as sender:
        sender.create(length=None)
        size = sender.entry.size
        sender.fill(chunk=300_000, until=size * 2 // 3)
        while sender.entry.low < size:
            reply = sender.send(size, length=size)
            if reply is None or reply.status != 204:
                sender.wait()
                sender.look()
        # All bytes may be there without their length having been understood.
        while "upload-length" not in (reply := sender.insist("HEAD", sender.path)).headers:
            if reply.status in (404, 410):
                raise GoneError
            sender.send(size, length=size)
            sender.wait()
        _finish(sender)


def joined(side: Side, dice: random.Random) -> None:
    """Partial uploads and a final one, which comes last or first."""
    data, extension = side.videos.make(dice, dice.choice(SIZES[1:]))
    cuts = sorted(dice.sample(range(1000, len(data)), dice.randint(1, 3)))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    final = Sender(side, side.records.open("final", data, extension), data, dice)
    parts = [Sender(side, side.records.open("partial", piece, "bin"), piece, dice) for piece in pieces]
    try:
        with _ending(final):
            _send_parts(final, parts, joins_first=dice.random() < 0.4)
            while final.look() < final.entry.size:
                final.wait()
            _finish(final)
    finally:
        for part in parts:
            part.close()


def _send_parts(final: Sender, parts: Sequence[Sender], *, joins_first: bool) -> None:
    for part in parts:
        part.entry.end = End.JOINED
        part.create(headers={"Upload-Concat": "partial"})
    if joins_first:
        _join(final, parts)
    for part in parts:
        try:
            part.fill(chunk=1_000_000)
        except GoneError:
            if not joins_first:
                raise
            break  # joined and removed: the final one knows
    if not joins_first:
        _join(final, parts)


def _join(final: Sender, parts: Sequence[Sender]) -> None:
    final.entry.may_double = True  # a final upload whose creation is not answered is joined all the same
    urls = " ".join(f"{MOUNT}/{part.id}" for part in parts)
    try:
        final.create(length=FINAL, headers={"Upload-Concat": f"final;{urls}"})
    except RefusedError:
        if not final.entry.lost_posts:
            raise
        final.entry.end = End.UNKNOWN  # the parts are gone: that one has them
        raise GoneError from None


def deleted(side: Side, dice: random.Random) -> None:
    """Removed on the way, or once it is whole and its task is over."""
    with _sender(side, dice, "deleted") as sender:
        sender.create()
        if dice.random() < 0.6:
            sender.fill(chunk=400_000, until=dice.randrange(sender.entry.size))
        else:
            sender.fill(chunk=2_000_000)
            sender.complete()
            watch(side, sender.entry, sender.id, dice)
        reply = sender.delete()
        while reply.status == 409:  # its task goes on, or was retried
            sender.wait()
            reply = sender.delete()
        if reply.status not in (204, 404, 410):
            raise RefusedError(reply)
        sender.entry.end = End.TERMINATED


def vanished(side: Side, dice: random.Random) -> None:
    """Some bytes came, and nobody comes back; perhaps its connection stays for a while."""
    with _sender(side, dice, "vanished") as sender:
        sender.create()
        sender.fill(chunk=300_000, until=dice.randrange(sender.entry.size - 6000))
        sender.entry.end = End.ABANDONED
        if dice.random() < 0.5:
            _fall_silent(sender)


def _fall_silent(sender: Sender) -> None:
    """Half a body, and then nothing for longer than the server waits."""

    def body() -> Iterator[bytes]:
        yield sender.data[sender.entry.low : sender.entry.low + 5000]
        time.sleep(sender.side.times.idle + 2)

    fields = {
        "Upload-Offset": str(sender.entry.low),
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(sender.entry.size - sender.entry.low),
    }
    try:
        reply = sender.ask("PATCH", sender.path, fields, body())
    except LostError:
        return
    if reply.status not in (408, 409, 423, 503):
        sender.side.records.violation(f"{sender.id}: half a body was answered with {reply.status} {reply.code}")


def trickled(side: Side, dice: random.Random) -> None:
    """A few bytes at a time."""
    with _sender(side, dice, "trickled", 60_000) as sender:
        sender.create()
        sender.fill(chunk=40_000, pieces=1500)
        _finish(sender)


def no_video(side: Side, dice: random.Random) -> None:
    """A document that calls itself a video is refused; one that only begins like a video fails as a task."""
    if dice.random() < 0.5:
        data = videos.broken(dice, 50_000)
        entry = side.records.open("broken video", data, is_playable=False)
    else:
        data = videos.no_video(dice, 50_000)
        entry = side.records.open("no video", data)
    sender = Sender(side, entry, data, dice)
    with _ending(sender):
        try:
            sender.create(body=dice.choice((0, 20_000)))
            sender.fill(chunk=20_000)
        except RefusedError as error:
            entry.end, entry.code = End.REFUSED, error.code
        except GoneError:
            entry.end = End.REFUSED  # the refusal was lost on the way
        else:
            sender.complete()
        if not entry.is_playable and entry.end is End.REFUSED:
            side.records.violation(f"{sender.id}: what begins like a video was refused by {entry.code}")
        if entry.is_playable and entry.end is not End.REFUSED:
            side.records.violation(f"{sender.id}: what is no video was taken")


def lied(side: Side, dice: random.Random) -> None:
    """Too large by far, of a wrong name, or longer than it said."""
    data, _ = side.videos.make(dice, 100_000)
    kind = dice.choice(("too large", "of no video's name", "longer than told"))
    entry = side.records.open(kind, data, "exe" if "name" in kind else "mp4")
    sender = Sender(side, entry, data, dice)
    with _ending(sender):
        try:
            if kind == "longer than told":
                sender.create(length=entry.size - 1000)
                reply = sender.send(entry.size)
                if reply is not None and reply.status == 204:
                    side.records.violation(f"{sender.id}: more bytes were taken than it has")
                entry.end = End.ABANDONED
                return
            sender.create(length=1 << 50 if kind == "too large" else TRUTH)
            side.records.violation(f"{sender.id}: it is {kind}, and was created")
        except RefusedError as error:
            entry.end, entry.code = End.REFUSED, error.code


def cancelled(side: Side, dice: random.Random) -> None:
    """Whole, and its task is cancelled at once or a little later."""
    with _sender(side, dice, "cancelled") as sender:
        sender.create()
        sender.fill(chunk=2_000_000)
        sender.complete()
        time.sleep(dice.choice((0, 0, 0.5, 2)))
        cancel(sender, sender.id)


def cancel(sender: Sender, task_id: str) -> None:
    """Cancel, and note whether it was accepted."""
    reply = sender.insist("POST", f"/api/task/cancel/{task_id}")
    if reply.status == 200:
        sender.entry.is_cancelled = True
    elif reply.code != "task_ended":
        sender.side.records.violation(f"cancel of {task_id} was answered with {reply.status} {reply.code}")


def group(side: Side, dice: random.Random) -> None:
    """Several uploads that are one task; now and then one of them is removed, or never comes."""
    task, number = str(uuid.uuid4()), dice.randint(2, 4)
    trouble = dice.choices(("", "removed", "missing"), (5, 1, 1))[0]
    senders: list[Sender] = []
    for place in range(1, number + 1):
        data, extension = side.videos.make(dice, dice.choice(SIZES[:5]))
        entry = side.records.open("group", data, extension)
        group = {"task": task, "task_files": str(number), "task_file": str(place)}
        senders.append(Sender(side, entry, data, dice, **group))
        entry.task_may_fail = bool(trouble)
    dice.shuffle(senders)

    def is_doomed() -> bool:
        waiting = [sender.entry for sender in senders if sender.id and sender.entry.end is not End.COMPLETE]
        return bool(trouble) or any(side.may_be_gone(entry.touched) for entry in waiting)

    try:
        for sender in senders:
            sender.is_doomed = is_doomed
        _send_group(senders, trouble, at_once=dice.random() < 0.5)
    finally:
        for sender in senders:
            sender.close()
            sender.entry.end = sender.entry.end or End.ABANDONED
    if not trouble and all(sender.entry.end is End.COMPLETE for sender in senders):
        for sender in senders:
            sender.entry.tasks = {task}
        watch(side, senders[0].entry, task, dice)
    elif not trouble:
        # One that expired while the server was away takes the others along.
        for sender in senders:
            sender.entry.task_may_fail = True


def _send_group(senders: Sequence[Sender], trouble: str, *, at_once: bool) -> None:
    """All are created first, if `at_once`; the last one is the troublesome."""
    if trouble == "missing":
        senders[-1].entry.end = End.REFUSED  # it never tries
        senders = senders[:-1]
    if at_once:
        for sender in senders:
            sender.create()
    for sender in senders:
        try:
            if not at_once:
                sender.create()
            if trouble == "removed" and sender is senders[-1]:
                sender.delete()
                sender.entry.end = End.TERMINATED
                return
            sender.fill(chunk=1_000_000)
            sender.complete()
        except GoneError:
            sender.entry.end = End.ABANDONED
        except RefusedError as error:
            if not sender.is_doomed():
                raise
            sender.entry.end, sender.entry.code = End.ABANDONED, error.code


def entry_of(side: Side, kind: str, data: bytes, extension: str) -> Entry:
    """For programs: an entry whose ids are found by its name alone."""
    entry = side.records.open(kind, data, extension)
    entry.knows_ids = False
    return entry
