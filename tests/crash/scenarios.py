"""What a server may be doing when it dies. What comes before `arm` is preparation, and nobody dies in it.

Rule: a scenario is short and always does the same, so that "the N-th line of it" means something.
"""

import os
from collections.abc import Callable

from tests.crash.claims import Claim, Fate
from tests.crash.play import Play
from tests.tus.client import MOUNT, PAST, creation, patch_headers, target

LENGTH = 5000
HALF = 2000
Scenario = Callable[[Play], None]


def create(play: Play) -> None:
    """A new, empty upload."""
    play.arm()
    play.create(play.video(LENGTH))


def create_whole(play: Play) -> None:
    """A creation that brings all the bytes."""
    play.arm()
    play.create(play.video(LENGTH), body=True)


def create_empty(play: Play) -> None:
    """A partial upload of no bytes: complete at once."""
    play.arm()
    play.create(b"", partial=True)


def append(play: Play) -> None:
    """The first half of the bytes."""
    claim = play.create(play.video(LENGTH))
    play.arm()
    play.patch(claim, HALF)


def append_last(play: Play) -> None:
    """The second half: the upload becomes a task."""
    claim = play.create(play.video(LENGTH))
    play.patch(claim, HALF)
    play.arm()
    play.patch(claim, LENGTH)


def append_checked(play: Play) -> None:
    """A second half with its checksum."""
    claim = play.create(play.video(LENGTH))
    play.patch(claim, HALF)
    play.arm()
    play.patch_checked(claim, LENGTH)


def append_checked_part(play: Play) -> None:
    """A stretch in the middle with its checksum."""
    claim = play.create(play.video(LENGTH))
    play.patch(claim, 100)
    play.arm()
    play.patch_checked(claim, HALF)


def append_wrong(play: Play) -> None:
    """All the bytes that are left, with a checksum that is not theirs."""
    claim = play.create(play.video(LENGTH))
    play.patch(claim, HALF)
    play.arm()
    play.patch_checked(claim, LENGTH, right=False)


def append_too_long(play: Play) -> None:
    """A chunked body with one byte too many."""
    claim = play.create(play.video(LENGTH))
    play.patch(claim, HALF)
    play.arm()
    play.patch_too_long(claim)


def reject(play: Play) -> None:
    """First bytes that are no video."""
    claim = play.claim(b"text, and no video at all " * 200)
    claim.ends = frozenset({"rejected", "terminated"})
    answer = play.ask("POST", MOUNT, creation(len(claim.data), claim.name))
    claim.id = answer.headers["location"].rpartition("/")[2]
    claim.gone = Fate.MAYBE
    play.arm()
    answer = play.ask("PATCH", target(claim.id), patch_headers(0), claim.data)
    assert answer.status == 415, answer
    claim.gone = Fate.YES


def _parts(play: Play, sizes: tuple[int, ...]) -> list[Claim]:
    pieces = [play.video(sizes[0]), *(play.random.randbytes(size) for size in sizes[1:])]
    return [play.create(piece, partial=True, body=True) for piece in pieces]


def join(play: Play) -> None:
    """A final upload of three parts."""
    parts = _parts(play, (HALF, 1, LENGTH))
    play.arm()
    play.join(parts)


def join_with_last_part(play: Play) -> None:
    """A final upload that waits for the last of its parts, which comes."""
    parts = _parts(play, (HALF, LENGTH))
    last = play.create(play.random.randbytes(LENGTH), partial=True)
    final = play.join([*parts, last])
    play.arm()
    play.patch(last, LENGTH)
    # All parts are acknowledged, so the final is a promise.
    final.low = final.high


def terminate_unjoined(play: Play) -> None:
    """A final upload goes whose join was cut off: its parts stay, each with its bytes and no others."""
    pieces = (play.video(HALF), play.random.randbytes(LENGTH))
    parts = [play.create(pieces[0], partial=True, body=True), play.create(pieces[1], partial=True)]
    play.patch(parts[1], HALF)
    final = play.join(parts)
    # As a server that died in the middle of the second part.
    path = play.bench.path(str(final.id))
    path.parent.mkdir(exist_ok=True)
    path.hardlink_to(play.bench.path(str(parts[0].id)))
    with path.open("ab") as file:
        file.write(pieces[1][:100])
    for part in parts:
        part.final = None  # it will never be joined
    play.arm()
    play.delete(final)


def terminate(play: Play) -> None:
    """An upload with some bytes goes."""
    claim = play.create(play.video(LENGTH))
    play.patch(claim, HALF)
    play.arm()
    play.delete(claim)


def terminate_part(play: Play) -> None:
    """A partial upload with all its bytes goes."""
    claim = play.create(play.video(LENGTH), partial=True, body=True)
    play.arm()
    play.delete(claim)


def delete_complete(play: Play) -> None:
    """An upload that became a video goes, with everything made of it."""
    claim = play.create(play.video(LENGTH), body=True)
    _make_results(play, claim)
    play.arm()
    play.delete(claim)


def delete_infected(play: Play) -> None:
    """An upload that is in quarantine goes."""
    claim = play.create(play.video(LENGTH), body=True)
    _put_aside(play, claim)
    play.arm()
    play.delete(claim)


def delete_task(play: Play) -> None:
    """A task goes, with its original and everything made of it."""
    claim = play.create(play.video(LENGTH), body=True)
    _make_results(play, claim)
    play.arm()
    play.delete_task(claim)


def form(play: Play) -> None:
    """A form of two videos."""
    play.arm()
    play.send_form([play.video(LENGTH), play.video(HALF)])


def finish_late(play: Play) -> None:
    """A HEAD finds every byte of an upload that nobody has finished."""
    claim = play.create(play.video(LENGTH))
    _bring_bytes(play, claim)
    play.arm()
    answer = play.head(claim)
    assert answer.headers["upload-offset"] == str(LENGTH), answer


def sweep(play: Play) -> None:
    """A sweep that has all there is to do: expire, finish, join, remove what was cut short."""
    expired = play.create(play.video(LENGTH))
    play.patch(expired, HALF)
    stale = play.create(play.video(LENGTH), partial=True, body=True)
    for claim in (expired, stale):
        _expire(play, claim)
    terminated = play.create(play.video(LENGTH))
    play.patch(terminated, HALF)
    terminated.gone = Fate.YES
    play.bench.execute("UPDATE uploads SET status = 'terminated' WHERE id = :id", id=terminated.id)
    without_file = play.create(play.video(LENGTH))
    without_file.gone = Fate.YES
    play.bench.path(str(without_file.id)).unlink()
    _bring_bytes(play, play.create(play.video(LENGTH)))
    unchecked = play.create(play.video(LENGTH))
    play.patch(unchecked, HALF)
    play.bench.execute("UPDATE uploads SET checked_from = :at WHERE id = :id", at=HALF, id=unchecked.id)
    play.bench.path(str(unchecked.id)).write_bytes(unchecked.data)
    parts = _parts(play, (HALF, LENGTH))
    last = play.create(play.random.randbytes(LENGTH), partial=True)
    final = play.join([*parts, last])
    _bring_bytes(play, last)
    _abandon_form(play)
    play.sweep()
    final.low = final.high


def _expire(play: Play, claim: Claim) -> None:
    claim.ends, claim.gone = frozenset({"expired"}), Fate.YES
    play.bench.execute("UPDATE uploads SET expires_at = :past WHERE id = :id", past=PAST, id=claim.id)
    os.utime(play.bench.path(str(claim.id)), (0, 0))


def _bring_bytes(play: Play, claim: Claim) -> None:
    """As a server that died behind the last byte."""
    play.bench.path(str(claim.id)).write_bytes(claim.data)
    claim.low = claim.high = len(claim.data)


def _make_results(play: Play, claim: Claim) -> None:
    """As a worker leaves them."""
    ((file, task),) = [
        (row["id"], row["task_id"])
        for row in play.bench.query("SELECT id, task_id FROM task_files WHERE upload_id = :id", id=claim.id)
    ]
    folder = play.bench.data_dir / "results" / str(task) / str(file)
    (folder / "hls" / "v480").mkdir(parents=True)
    for name in ("video.mp4", "poster.jpg", "hls/index.m3u8", "hls/v480/0.m4s"):
        (folder / name).write_bytes(b"result")
    play.bench.execute(
        "UPDATE task_files SET status = 'completed', playable = :yes, has_mp4 = :yes, has_hls = :yes,"
        " has_poster = :yes WHERE id = :id",
        yes=True,
        id=file,
    )
    play.bench.execute(
        "UPDATE tasks SET status = 'completed', playable = :yes, finished_at = created_at WHERE id = :id",
        yes=True,
        id=task,
    )


def _put_aside(play: Play, claim: Claim) -> None:
    folder = play.bench.data_dir / "quarantine"
    folder.mkdir(exist_ok=True)
    play.bench.path(str(claim.id)).rename(folder / str(claim.id))
    at = {"yes": True, "no": False, "id": claim.id}
    play.bench.execute("UPDATE uploads SET has_bytes = :no, in_quarantine = :yes WHERE id = :id", **at)
    play.bench.execute("UPDATE task_files SET status = 'error', scan = 'infected' WHERE upload_id = :id", id=claim.id)
    play.bench.execute("UPDATE tasks SET status = 'error', finished_at = created_at WHERE id = :id", id=claim.id)


def _abandon_form(play: Play) -> None:
    """As a server that died in a form: two files, and a row for a third."""
    files = [play.create(play.video(HALF)) for _ in range(3)]
    for file in files:
        play.bench.execute(
            "UPDATE uploads SET protocol = 'multipart', task_id = :task, length = NULL WHERE id = :id",
            task=files[0].id,
            id=file.id,
        )
        play.claims.remove(file)
    play.bench.path(str(files[2].id)).unlink()


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        create,
        create_whole,
        create_empty,
        append,
        append_last,
        append_checked,
        append_checked_part,
        append_wrong,
        append_too_long,
        reject,
        join,
        join_with_last_part,
        terminate_unjoined,
        terminate,
        terminate_part,
        delete_complete,
        delete_infected,
        delete_task,
        form,
        finish_late,
        sweep,
    )
}
