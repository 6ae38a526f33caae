"""Final uploads against others that want the same parts: no 500, no byte lost, no final that stays open for nothing."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from server.bootstrap import Services
from server.database.session import Database
from server.storage import disk
from server.storage.copy_range import copy_range
from server.uploads import concatenation
from tests.harness.http import Answer, LiveServer, serving
from tests.harness.waiting import until
from tests.tus.client import MOUNT, PAST, VERSION, head, id_of, metadata, patch, target, video

pytestmark = pytest.mark.turns(2)  # moments of a final upload

ROUNDS = 12
DATA = video(3000)
PIECES = (DATA[:1000], DATA[1000:1500], DATA[1500:])
NAMED = {"Upload-Metadata": metadata(filename="clip.mp4")}


@pytest.fixture(params=["sqlite", "postgresql"])
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LiveServer]:
    with serving(request, tmp_path) as server:
        yield server


@pytest.fixture
def one(tmp_path: Path) -> Iterator[LiveServer]:
    with LiveServer(tmp_path / "one", fsync="never") as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[LiveServer, LiveServer]]:
    """Two servers on one data folder and one database."""
    with (
        serving(request, tmp_path) as server,
        LiveServer(server.data_dir, database_url=server.database_url, fsync="never") as other,
    ):
        yield server, other


def part(live: LiveServer, data: bytes, have: int | None = None) -> str:
    """A partial upload with its bytes, or the first `have` of them."""
    answer = live.ask("POST", MOUNT, VERSION | {"Upload-Length": str(len(data)), "Upload-Concat": "partial"})
    upload = id_of(answer)
    assert patch(live, upload, 0, data if have is None else data[:have]).status == 204
    return upload


def parts_of(live: LiveServer, pieces: Sequence[bytes] = PIECES) -> list[str]:
    return [part(live, piece) for piece in pieces]


def join(live: LiveServer, parts: Sequence[str], more: dict[str, str] = NAMED) -> Answer:
    return live.ask("POST", MOUNT, VERSION | more | {"Upload-Concat": f"final;{' '.join(map(target, parts))}"})


def at_once(works: Sequence[Callable[[], Answer]]) -> list[Answer]:
    """All of them, begun together; their answers in order."""
    gate = threading.Barrier(len(works))

    def run(work: Callable[[], Answer]) -> Answer:
        gate.wait(30)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [done.result(60) for done in [pool.submit(run, work) for work in works]]


def sweep(live: LiveServer) -> dict[str, int]:
    """One sweep, which looks at everything; what it did."""
    with Services.open(live.settings) as services:
        report = services.sweep()
    assert report.numbers["failed"] == report.numbers["missing"] == 0
    return {name: number for name, number in report.numbers.items() if number}


def check_tidy(live: LiveServer) -> None:
    """Files and rows agree, and no final waits for nothing."""
    rows = live.query("SELECT id, status, has_bytes, concat FROM uploads")
    assert {path.name for path in live.files()} == {row["id"] for row in rows if row["has_bytes"]}
    assert [row for row in rows if row["status"] == "open"] == []


@pytest.mark.sampled(1)
def test_a_repeated_final_creation_is_one_upload(two: tuple[LiveServer, LiveServer]) -> None:
    """What a client or proxy does after a slow answer, to two processes: three times 201, one upload, one task."""
    first, second = two
    for _ in range(ROUNDS):
        parts = parts_of(first)
        answers = at_once([partial(join, to, parts) for to in (first, second, first)])
        assert [answer.status for answer in answers] == [201, 201, 201], answers
        (final,) = {id_of(answer) for answer in answers}
        assert first.stored(final) == DATA
        assert [head(second, one).status for one in parts] == [410, 410, 410]
    assert len(first.query("SELECT id FROM tasks")) == ROUNDS
    check_tidy(first)


def test_an_equal_creation_that_ends_during_the_other_is_found(
    two: tuple[LiveServer, LiveServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one is looked for in vain, and has used the parts up by the time that they are looked for."""
    first, second = two
    parts = parts_of(first)
    look, others = concatenation._made_before, list[Any]()

    def ends_meanwhile(*args: Any) -> str | None:
        found = look(*args)
        if not others:
            others.append(None)
            others[0] = join(second, parts)
        return found

    monkeypatch.setattr(concatenation, "_made_before", ends_meanwhile)
    answer = join(first, parts)
    assert (answer.status, others[0].status, id_of(answer)) == (201, 201, id_of(others[0]))


@pytest.mark.sampled(1)
def test_a_part_removed_during_the_creation_of_its_final_loses_no_other(two: tuple[LiveServer, LiveServer]) -> None:
    """Either the final has every byte, or the part went first: then the final is refused and the others stay."""
    first, second = two
    for number in range(ROUNDS):
        parts = parts_of(first)
        gone = parts[number % 3]
        removing = partial(second.ask, "DELETE", target(gone), VERSION)
        made, removed = at_once([partial(join, first, parts), removing])
        assert removed.status in (204, 410), removed
        if made.status == 201:
            assert first.stored(id_of(made)) == DATA
            continue
        assert (made.status, made.code, removed.status) == (400, "part_invalid", 204), (made, removed)
        for piece, upload in zip(PIECES, parts, strict=True):
            assert (head(first, upload).status, first.stored(upload)) == (
                (410, None) if upload == gone else (200, piece)
            )
            first.ask("DELETE", target(upload), VERSION)
    check_tidy(first)


@pytest.mark.parametrize("more", [{}, NAMED])
def test_a_repeated_creation_of_a_final_finds_its_upload(live: LiveServer, more: dict[str, str]) -> None:
    """Open or complete, by URLs or paths: the same parts and metadata are the same upload. Others are not."""
    parts = [part(live, DATA[:1000], 400), part(live, DATA[1000:])]
    waiting = id_of(join(live, parts, more))
    urls = " ".join(f"https://elsewhere.example{target(one)}" for one in parts)
    again = live.ask("POST", MOUNT, VERSION | more | {"Upload-Concat": f"final;{urls}"})
    assert (again.status, id_of(again)) == (201, waiting)
    named = {"Upload-Metadata": metadata(filename="other.mp4")}
    others = [id_of(join(live, parts, named)), id_of(join(live, parts[:1], more))]
    assert len({waiting, *others}) == 3
    for upload in others:
        assert live.ask("DELETE", target(upload), VERSION).status == 204
    assert patch(live, parts[0], 400, DATA[400:1000]).status == 204
    whole = join(live, parts, more)
    assert (whole.status, id_of(whole), whole.headers["upload-offset"]) == (201, waiting, "3000")
    assert live.stored(waiting) == DATA
    assert len(live.query("SELECT id FROM tasks")) == 1


def test_a_final_ends_with_a_part_that_is_removed(live: LiveServer) -> None:
    """A final that waits and can never be joined is no promise: it ends at once, and costs no other part."""
    parts = [part(live, DATA[:1000]), part(live, DATA[1000:], 1)]
    final = id_of(join(live, parts))
    assert live.ask("DELETE", target(parts[1]), VERSION).status == 204
    assert [head(live, upload).status for upload in (final, *parts)] == [410, 200, 410]
    assert live.stored(parts[0]) == DATA[:1000]
    refused = join(live, parts)
    assert (refused.status, refused.code) == (400, "part_invalid")


def test_a_final_ends_with_a_part_that_expires(live: LiveServer) -> None:
    """The same by a sweep; and where the process died between the two, by the next sweep or request."""
    finals_made = []
    for _ in range(3):
        parts = [part(live, DATA[:1000]), part(live, DATA[1000:], 1)]
        finals_made.append(id_of(join(live, parts)))
        live.execute("UPDATE uploads SET status = 'expired' WHERE id = :id", id=parts[1])
    expired = part(live, DATA)
    finals_made.append(id_of(join(live, [expired, part(live, b"x" * 9, 1)])))
    live.execute("UPDATE uploads SET expires_at = :past WHERE id = :id", past=PAST, id=expired)
    assert head(live, finals_made[0]).status == 410
    sweep(live)
    assert {row["status"] for row in live.query("SELECT status FROM uploads WHERE concat LIKE 'final%'")} == {
        "terminated"
    }
    assert [head(live, final).status for final in finals_made] == [410] * 4


def finals_of(live: LiveServer) -> list[str]:
    """The ids of all final uploads, the oldest first."""
    return [row["id"] for row in live.query("SELECT id FROM uploads WHERE concat LIKE 'final%' ORDER BY created_at")]


def _full(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("end", ["joined", "deleted", "expired"])
def test_a_join_on_a_full_disk_is_507_and_loses_no_byte(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """507, and however the final ends: the parts have their bytes, or it has all of them."""
    parts = parts_of(live)
    copy, calls = copy_range, []

    def fills_up(*args: int) -> None:
        calls.append(args)
        if len(calls) >= 2:
            _full()
        copy(*args)

    with monkeypatch.context() as patched:
        patched.setattr(disk, "copy_range", fills_up)
        refused = join(live, parts)
        assert (refused.status, refused.code) == (507, "storage_full")
        (final,) = finals_of(live)
        # A HEAD of a part tries to join again, and finds no room.
        assert [head(live, upload).headers["upload-offset"] for upload in parts] == ["1000", "500", "1500"]
        assert live.stored(final) == DATA[:1500], "it has the first part and a copy of the second"
        if end == "deleted":
            assert live.ask("DELETE", target(final), VERSION).status == 204
        elif end == "expired":
            live.expire(final)
            assert sweep(live) == {"expired": 1}
        if end != "joined":
            assert head(live, final).status == 410
            assert [live.stored(upload) for upload in parts] == list(PIECES), "the room of what was copied is free"
    again = join(live, parts)
    assert (again.status, id_of(again) == final) == (201, end == "joined")
    assert live.stored(id_of(again)) == DATA
    check_tidy(live)


def test_two_finals_of_one_part_do_not_share_its_file(live: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one of them grows in the file of the part that both begin with; the other has a copy."""
    first, late = part(live, DATA[:1000]), part(live, DATA[1000:], 1)
    small = id_of(join(live, [first, late]))
    with monkeypatch.context() as patched:
        patched.setattr(disk, "copy_range", _full)
        tail = part(live, b"z" * 50)
        assert join(live, [first, tail]).status == 507
    (cut,) = [
        row["id"] for row in live.query("SELECT id FROM uploads WHERE concat LIKE 'final%'") if row["id"] != small
    ]
    assert patch(live, late, 1, DATA[1001:]).status == 204
    assert head(live, small).headers["upload-offset"] == "3000"
    assert live.stored(small) == DATA
    kept = live.stored(first)
    assert kept is not None
    assert kept[:1000] == DATA[:1000], "another final wants it"
    assert head(live, cut).headers["upload-offset"] == "1050"
    assert live.stored(cut) == DATA[:1000] + b"z" * 50
    assert live.stored(small) == DATA
    assert [head(live, upload).status for upload in (first, late, tail)] == [410, 410, 410]
    check_tidy(live)


def test_a_part_whose_file_is_lost_ends_its_finals(live: LiveServer) -> None:
    """A row that says complete, and no file: no 500 and no final that is tried again for a week."""
    parts = parts_of(live)
    live.path(parts[1]).unlink()
    refused = join(live, parts)
    assert (refused.status, refused.code) == (400, "part_invalid")
    assert [head(live, upload).status for upload in parts] == [200, 410, 200]
    assert head(live, finals_of(live)[0]).status == 410
    assert [live.stored(parts[0]), live.stored(parts[2])] == [PIECES[0], PIECES[2]]


def test_an_interrupted_final_of_an_earlier_version_returns_its_bytes(live: LiveServer) -> None:
    """It had taken the first part's file and was cut off: joined, it is whole; removed, the part has its bytes."""
    for is_removed in (True, False):
        parts = [part(live, DATA[:1000]), part(live, DATA[1000:], 1)]
        final = id_of(join(live, parts))
        live.path(final).parent.mkdir(exist_ok=True)
        live.path(parts[0]).rename(live.path(final))
        with live.path(final).open("ab") as file:
            file.write(DATA[1000:1700])
        if is_removed:
            assert live.ask("DELETE", target(final), VERSION).status == 204
            assert live.stored(parts[0]) == DATA[:1000]
        else:
            assert patch(live, parts[1], 1, DATA[1001:]).status == 204
            assert head(live, final).headers["upload-offset"] == "3000"
            assert live.stored(final) == DATA


def test_a_final_may_name_a_part_only_once(one: LiveServer) -> None:
    """44 kB of request must not make the server write a part's bytes 1,000 times."""
    upload = part(one, DATA)
    refused = join(one, [upload] * 1000)
    assert (refused.status, refused.code) == (400, "part_repeated")
    assert upload in refused.text
    assert join(one, [upload]).status == 201


def test_the_number_of_finals_waiting_for_a_part_is_limited(one: LiveServer) -> None:
    """Each of them would write its bytes once more; one that has ended makes place."""
    upload = part(one, DATA, 1)

    def wait(number: int) -> Answer:
        return join(one, [upload], {"Upload-Metadata": metadata(filename=f"{number}.mp4")})

    made = [id_of(wait(number)) for number in range(concatenation.MAX_WAITING)]
    refused = wait(99)
    assert (refused.status, refused.code) == (409, "too_many_finals")
    assert id_of(wait(0)) == made[0], "one that comes again is no other one"
    assert one.ask("DELETE", target(made[0]), VERSION).status == 204
    made[0] = id_of(wait(99))
    assert patch(one, upload, 1, DATA[1:]).status == 204
    assert [head(one, final).headers["upload-offset"] for final in made] == ["3000"] * concatenation.MAX_WAITING
    assert {one.stored(final) for final in made} == {DATA}
    assert head(one, upload).status == 410


def test_requests_are_answered_during_a_long_join(one: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last PATCH, a HEAD and a creation that comes again are answered while gigabytes are joined, which goes on."""
    goes_on, concatenate = threading.Event(), disk.DiskStore.concatenate

    def slowly(*args: object, **options: object) -> None:
        assert goes_on.wait(60)
        concatenate(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(disk.DiskStore, "concatenate", slowly)
    monkeypatch.setattr(concatenation, "_AFTER_SECONDS", 0.1)
    monkeypatch.setattr(concatenation, "_ANSWER_SECONDS", 0.1)
    parts = [part(one, DATA[:1000]), part(one, DATA[1000:], 1)]
    final = id_of(join(one, parts))
    assert patch(one, parts[1], 1, DATA[1001:]).status == 204
    shown = head(one, final)
    assert (shown.status, "upload-offset" in shown.headers) == (200, False)
    again = join(one, parts)
    assert (again.status, id_of(again), again.headers["upload-offset"]) == (201, final, "0")
    goes_on.set()
    until(lambda: "upload-offset" in head(one, final).headers, what="the final is joined")
    assert one.stored(final) == DATA


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.soak)])
def test_many_parts_are_joined_in_few_transactions(
    one: LiveServer, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Answered with every byte and in a few transactions, not in some for each part."""
    data = video(100 * count)
    parts = [part(one, data[at : at + 100]) for at in range(0, len(data), 100)]
    changes = [0]

    def counting(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            changes[0] += 1
            return real(*args, **options)

        return call

    for name in ("write", "change"):
        monkeypatch.setattr(Database, name, counting(getattr(Database, name)))
    began = time.process_time()
    made = join(one, parts)
    spent = time.process_time() - began
    assert (made.status, made.headers["upload-offset"]) == (201, str(len(data)))
    assert one.stored(id_of(made)) == data
    assert changes[0] < 20
    assert spent < count / 200, f"{spent:.1f} s of processor time"
    assert len(one.files()) == 1
