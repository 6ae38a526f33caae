"""What a server may be doing when it dies. What comes before `arm` is preparation, and nobody dies in it.

Rule: a scenario is short and always does the same, so that "the N-th line of it" means something.
"""

import os
from collections.abc import Callable

from tests.crash.claims import Claim, Fate
from tests.crash.recording_client import RecordingClient
from tests.tus.client import MOUNT, PAST, creation, patch_headers, target

LENGTH = 5000
HALF = 2000
Scenario = Callable[[RecordingClient], None]


def create(client: RecordingClient) -> None:
    """A new, empty upload."""
    client.arm()
    client.create(client.video(LENGTH))


def create_whole(client: RecordingClient) -> None:
    """A creation that brings all the bytes."""
    client.arm()
    client.create(client.video(LENGTH), body=True)


def create_empty(client: RecordingClient) -> None:
    """A partial upload of no bytes: complete at once."""
    client.arm()
    client.create(b"", partial=True)


def append(client: RecordingClient) -> None:
    """The first half of the bytes."""
    claim = client.create(client.video(LENGTH))
    client.arm()
    client.patch(claim, HALF)


def append_last(client: RecordingClient) -> None:
    """The second half: the upload becomes a task."""
    claim = client.create(client.video(LENGTH))
    client.patch(claim, HALF)
    client.arm()
    client.patch(claim, LENGTH)


def append_checked(client: RecordingClient) -> None:
    """A second half with its checksum."""
    claim = client.create(client.video(LENGTH))
    client.patch(claim, HALF)
    client.arm()
    client.patch_checked(claim, LENGTH)


def append_checked_part(client: RecordingClient) -> None:
    """A stretch in the middle with its checksum."""
    claim = client.create(client.video(LENGTH))
    client.patch(claim, 100)
    client.arm()
    client.patch_checked(claim, HALF)


def append_wrong(client: RecordingClient) -> None:
    """All the bytes that are left, with a checksum that is not theirs."""
    claim = client.create(client.video(LENGTH))
    client.patch(claim, HALF)
    client.arm()
    client.patch_checked(claim, LENGTH, right=False)


def append_too_long(client: RecordingClient) -> None:
    """A chunked body with one byte too many."""
    claim = client.create(client.video(LENGTH))
    client.patch(claim, HALF)
    client.arm()
    client.patch_too_long(claim)


def reject(client: RecordingClient) -> None:
    """First bytes that are no video."""
    claim = client.claim(b"text, and no video at all " * 200)
    claim.ends = frozenset({"rejected", "terminated"})
    answer = client.ask("POST", MOUNT, creation(len(claim.data), claim.name))
    claim.id = answer.headers["location"].rpartition("/")[2]
    claim.gone = Fate.MAYBE
    client.arm()
    answer = client.ask("PATCH", target(claim.id), patch_headers(0), claim.data)
    assert answer.status == 415, answer
    claim.gone = Fate.YES


def _parts(client: RecordingClient, sizes: tuple[int, ...]) -> list[Claim]:
    pieces = [client.video(sizes[0]), *(client.random.randbytes(size) for size in sizes[1:])]
    return [client.create(piece, partial=True, body=True) for piece in pieces]


def join(client: RecordingClient) -> None:
    """A final upload of three parts."""
    parts = _parts(client, (HALF, 1, LENGTH))
    client.arm()
    client.join(parts)


def join_with_last_part(client: RecordingClient) -> None:
    """A final upload that waits for the last of its parts, which comes."""
    parts = _parts(client, (HALF, LENGTH))
    last = client.create(client.random.randbytes(LENGTH), partial=True)
    final = client.join([*parts, last])
    client.arm()
    client.patch(last, LENGTH)
    # All parts are acknowledged, so the final is a promise.
    final.low = final.high


def terminate_unjoined(client: RecordingClient) -> None:
    """A final upload goes whose join was cut off: its parts stay, each with its bytes and no others."""
    pieces = (client.video(HALF), client.random.randbytes(LENGTH))
    parts = [client.create(pieces[0], partial=True, body=True), client.create(pieces[1], partial=True)]
    client.patch(parts[1], HALF)
    final = client.join(parts)
    # As a server that died in the middle of the second part.
    path = client.server.path(str(final.id))
    path.parent.mkdir(exist_ok=True)
    path.hardlink_to(client.server.path(str(parts[0].id)))
    with path.open("ab") as file:
        file.write(pieces[1][:100])
    for part in parts:
        part.final = None  # it will never be joined
    client.arm()
    client.delete(final)


def terminate(client: RecordingClient) -> None:
    """An upload with some bytes goes."""
    claim = client.create(client.video(LENGTH))
    client.patch(claim, HALF)
    client.arm()
    client.delete(claim)


def terminate_part(client: RecordingClient) -> None:
    """A partial upload with all its bytes goes."""
    claim = client.create(client.video(LENGTH), partial=True, body=True)
    client.arm()
    client.delete(claim)


def delete_complete(client: RecordingClient) -> None:
    """An upload that became a video goes, with everything made of it."""
    claim = client.create(client.video(LENGTH), body=True)
    _make_results(client, claim)
    client.arm()
    client.delete(claim)


def delete_infected(client: RecordingClient) -> None:
    """An upload that is in quarantine goes."""
    claim = client.create(client.video(LENGTH), body=True)
    _put_aside(client, claim)
    client.arm()
    client.delete(claim)


def delete_task(client: RecordingClient) -> None:
    """A task goes, with its original and everything made of it."""
    claim = client.create(client.video(LENGTH), body=True)
    _make_results(client, claim)
    client.arm()
    client.delete_task(claim)


def form(client: RecordingClient) -> None:
    """A form of two videos."""
    client.arm()
    client.send_form([client.video(LENGTH), client.video(HALF)])


def finish_late(client: RecordingClient) -> None:
    """A HEAD finds every byte of an upload that nobody has finished."""
    claim = client.create(client.video(LENGTH))
    _bring_bytes(client, claim)
    client.arm()
    answer = client.head(claim)
    assert answer.headers["upload-offset"] == str(LENGTH), answer


def sweep(client: RecordingClient) -> None:
    """A sweep that has all there is to do: expire, finish, join, remove what was cut short."""
    expired = client.create(client.video(LENGTH))
    client.patch(expired, HALF)
    stale = client.create(client.video(LENGTH), partial=True, body=True)
    for claim in (expired, stale):
        _expire(client, claim)
    terminated = client.create(client.video(LENGTH))
    client.patch(terminated, HALF)
    terminated.gone = Fate.YES
    client.server.execute("UPDATE uploads SET status = 'terminated' WHERE id = :id", id=terminated.id)
    without_file = client.create(client.video(LENGTH))
    without_file.gone = Fate.YES
    client.server.path(str(without_file.id)).unlink()
    _bring_bytes(client, client.create(client.video(LENGTH)))
    unchecked = client.create(client.video(LENGTH))
    client.patch(unchecked, HALF)
    client.server.execute("UPDATE uploads SET checked_from = :at WHERE id = :id", at=HALF, id=unchecked.id)
    client.server.path(str(unchecked.id)).write_bytes(unchecked.data)
    parts = _parts(client, (HALF, LENGTH))
    last = client.create(client.random.randbytes(LENGTH), partial=True)
    final = client.join([*parts, last])
    _bring_bytes(client, last)
    _abandon_form(client)
    client.sweep()
    final.low = final.high


def _expire(client: RecordingClient, claim: Claim) -> None:
    claim.ends, claim.gone = frozenset({"expired"}), Fate.YES
    client.server.execute("UPDATE uploads SET expires_at = :past WHERE id = :id", past=PAST, id=claim.id)
    os.utime(client.server.path(str(claim.id)), (0, 0))


def _bring_bytes(client: RecordingClient, claim: Claim) -> None:
    """As a server that died behind the last byte."""
    client.server.path(str(claim.id)).write_bytes(claim.data)
    claim.low = claim.high = len(claim.data)


def _make_results(client: RecordingClient, claim: Claim) -> None:
    """As a worker leaves them."""
    ((file, task),) = [
        (row["id"], row["task_id"])
        for row in client.server.query("SELECT id, task_id FROM task_files WHERE upload_id = :id", id=claim.id)
    ]
    folder = client.server.data_dir / "results" / str(task) / str(file)
    (folder / "hls" / "v480").mkdir(parents=True)
    for name in ("video.mp4", "poster.jpg", "hls/index.m3u8", "hls/v480/0.m4s"):
        (folder / name).write_bytes(b"result")
    client.server.execute(
        "UPDATE task_files SET status = 'completed', playable = :yes, has_mp4 = :yes, has_hls = :yes,"
        " has_poster = :yes WHERE id = :id",
        yes=True,
        id=file,
    )
    client.server.execute(
        "UPDATE tasks SET status = 'completed', playable = :yes, finished_at = created_at WHERE id = :id",
        yes=True,
        id=task,
    )


def _put_aside(client: RecordingClient, claim: Claim) -> None:
    folder = client.server.data_dir / "quarantine"
    folder.mkdir(exist_ok=True)
    client.server.path(str(claim.id)).rename(folder / str(claim.id))
    at = {"yes": True, "no": False, "id": claim.id}
    client.server.execute("UPDATE uploads SET has_bytes = :no, in_quarantine = :yes WHERE id = :id", **at)
    client.server.execute(
        "UPDATE task_files SET status = 'error', scan = 'infected' WHERE upload_id = :id", id=claim.id
    )
    client.server.execute("UPDATE tasks SET status = 'error', finished_at = created_at WHERE id = :id", id=claim.id)


def _abandon_form(client: RecordingClient) -> None:
    """As a server that died in a form: two files, and a row for a third."""
    files = [client.create(client.video(HALF)) for _ in range(3)]
    for file in files:
        client.server.execute(
            "UPDATE uploads SET protocol = 'multipart', task_id = :task, length = NULL WHERE id = :id",
            task=files[0].id,
            id=file.id,
        )
        client.claims.remove(file)
    client.server.path(str(files[2].id)).unlink()


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
