"""The benchmark itself: that it compares what was stored, and says what it found. It asserts on no speed."""

import json
import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import machine, phones, report, runner, trickle, videos, works
from bench.clients import Connection
from bench.measure import warm
from bench.runner import Results, run_groups
from bench.scale import KIB, Scale
from bench.servers.base import Ability, Answer, Server
from bench.servers.ours import Videodock, VideodockTwo
from bench.servers.peers import PlainAsgi, SpliceLoop, StarletteForm, Tuspyserver
from bench.source import MIB, Slice, Source, WrongBytesError
from tests.harness import forkserver
from tests.harness.migrated import migrate

pytestmark = pytest.mark.turns(3)  # works of the bench

SIZE = 8 * MIB
TINY = Scale(
    rounds=2,
    size=SIZE,
    small_size=2 * MIB,
    seconds=0.3,
    chunks=(500 * KIB, 2 * MIB),
    chunk_clients=(2,),
    chunk_size=MIB,
    trickles=(10,),
    phones=5,
    rates=(80_000,),
    sizes=(MIB, SIZE),
    clients=(1, 4),
    open=(10, 100),
    pollers=4,
    video_seconds=2,
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    """What is sent."""
    with Source(tmp_path_factory.mktemp("source"), SIZE) as made:
        yield made


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our servers have their imports and a database at head, few uploads do not take their time to begin, and small
    ones need no warm page cache."""
    monkeypatch.setattr(runner, "warm", lambda folder, size: warm(folder, min(size, MIB)))
    monkeypatch.setattr(phones, "BEGIN_SECONDS", 0.2)
    monkeypatch.setattr(trickle, "BEGIN_SECONDS", 0.5)
    if forkserver.COLD:
        return

    def launched(server: Videodock) -> forkserver.ForkedProcess:
        migrate(f"sqlite:///{server.folder / 'data' / 'videodock.db'}")
        log = server.folder / "log"
        return forkserver.start("server.cli.main:main", server.command()[3:], os.environ, log, log)

    monkeypatch.setattr(Videodock, "_launch", launched)


def groups(source: Source, *names: str) -> list[works.Group]:
    """The tiny forms of these."""
    return [group for group in works.groups(source, TINY) if group.name in names]


def run(
    source: Source, folder: Path, names: Sequence[str], kinds: Sequence[type[Server]], rounds: int = 1
) -> tuple[list[works.Group], Results]:
    """Run these works on these servers."""
    chosen = groups(source, *names)
    assert len(chosen) == len(names)
    results = Results()
    run_groups(chosen, kinds, source, folder, rounds, lambda _: None, results)
    return chosen, results


def test_uploads_are_measured_and_reported(source: Source, tmp_path: Path) -> None:
    """Ours and the peers that are always there: every cell has its numbers, and page, JSON and chart come out."""
    names = ["one-patch", "cycles"]
    kinds = [Videodock, VideodockTwo, SpliceLoop, PlainAsgi, Tuspyserver]
    chosen, results = run(source, tmp_path / "work", names, kinds)

    assert [cell.error for cell in results.cells] == [None] * (len(names) * len(kinds) - 1)
    assert not results.of("one-patch", "videodock-two"), "two processes are for many requests"
    (one,), (two,) = (results.of("cycles", kind.name) for kind in kinds[:2])
    assert two.values["peak_mb"] > 1.5 * one.values["peak_mb"], "both processes count, and the one that watches them"
    for cell in results.cells:
        expected = {"per_s", "cpu_ms", "cpu_us"} if cell.work == "cycles" else {"mb_s", "cpu_s_gb"}
        assert expected | {"seconds", "cpu_s", "client_cpu_s", "client_cores", "peak_mb"} == set(cell.values)
        assert cell.values["peak_mb"] > 5, "no server is that small"
        assert cell.values["seconds"] > 0

    page = report.write(tmp_path, machine.describe(tmp_path, kinds, {}), chosen, kinds, results)
    assert (tmp_path / "performance.md").read_text() == page
    for group in chosen:
        assert f"## {group.title}\n" in page
    assert page.count("\n| **Videodock** |") == len(names)
    assert re.search(r"at least 4 times tuspyserver \| [0-9.]+ times \| (met|\*\*not met\*\*) \|", page)
    assert "at least 1.5 times tusd | not measured | not measured |" in page
    assert str(tmp_path) not in page

    data = json.loads((tmp_path / "performance.json").read_text())
    assert len(data["cells"]) == len(results.cells)
    assert {goal["met"] for goal in data["goals"]} >= {None}
    chart = ElementTree.parse(tmp_path / "performance.svg").getroot()  # it was made here
    bars = chart.findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == len(results.cells)


def test_the_other_workloads_are_measured(source: Source, tmp_path: Path) -> None:
    """The works that need something else: chunks, a form, patience, a filled table, checksums."""
    _, forms = run(source, tmp_path, ["multipart"], [Videodock, StarletteForm])
    assert [(cell.server, cell.error) for cell in forms.cells] == [("videodock", None), ("starlette-form", None)]
    _, chunks = run(source, tmp_path, ["chunks-8m", "chunks-500k", "chunks-2-clients", "sha1-8m"], [SpliceLoop])
    assert [cell.error for cell in chunks.cells] == [None] * 5
    _, slow = run(source, tmp_path, ["trickle-10"], [PlainAsgi])
    (cell,) = slow.cells
    assert cell.error is None
    assert cell.values["broken"] == 0
    assert 0 < cell.values["head_p50_ms"] <= cell.values["head_p99_ms"] <= cell.values["head_max_ms"]
    _, many = run(source, tmp_path, ["phones-80"], [PlainAsgi])
    (cell,) = many.cells
    assert (cell.error, cell.values["broken"]) == (None, 0)
    assert 0 < cell.values["head_p50_ms"] <= cell.values["head_p99_ms"] <= cell.values["head_max_ms"]
    _, grown = run(source, tmp_path, ["growth-cycles", "growth-heads"], [Videodock])
    names = [f"growth-{what}-{count}" for what in ("cycles", "heads") for count in (10, 100)]
    assert [(cell.work, cell.error) for cell in grown.cells] == [(name, None) for name in names]


def test_polls_and_what_goes_on_beside_encoding_are_measured(source: Source, tmp_path: Path) -> None:
    """The works for which something must be uploaded before: polls of its status, HEADs and phones while it is
    encoded."""
    _, polls = run(source, tmp_path, ["polls"], [Videodock, SpliceLoop])
    assert [(cell.work, cell.error) for cell in polls.cells] == [("polls-at-once", None), ("polls-second", None)]
    for cell in polls.cells:
        assert 0 < cell.values["p50_ms"] <= cell.values["p99_ms"] <= cell.values["max_ms"]
        assert cell.values["requests_s"] * cell.values["seconds"] > 1.5

    chosen, beside = run(source, tmp_path, ["encoding-heads"], [Videodock])
    names = ["encoding-heads-none", "encoding-heads-all"]
    assert [(cell.work, cell.error) for cell in beside.cells] == [(name, None) for name in names]
    assert [cell.values["head_max_ms"] > 0 for cell in beside.cells] == [True] * 2
    page = report.write(None, machine.describe(tmp_path, [Videodock], {}), chosen, [Videodock], beside)
    assert "| videos are encoded | **Videodock** |" in page
    assert re.search(r"at most 3 times that of an idle server \| [0-9.]+ times \(.*\) \|", page)
    assert "peak MB" not in page


class Encoding(SpliceLoop):
    """Says that it encodes, by `steps`: one after the other, each time that it is asked for all videos."""

    name = "videodock"
    abilities = frozenset(Ability)
    steps: Sequence[str] = ("mp4",)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked = 0

    def status_request(self, answer: Answer) -> bytes:
        return self.head_request("/files/0")

    def check_status(self, status: Answer, answer: Answer) -> dict[str, str]:
        step = self.steps[min(self.asked // videos.COUNT, len(self.steps) - 1)]
        self.asked += 1
        return {"status": "completed" if step == "done" else "processing", "step": step}


class OutOfVideos(Encoding):
    """Comes to the end of its queue while something is measured."""

    steps = ("mp4", "done")


class Lazy(Encoding):
    """Never encodes."""

    steps = ("probe",)


def test_without_encoding_there_is_no_figure(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not begin to encode, or has nothing to encode any more, was not measured beside it."""
    monkeypatch.setattr(videos, "BEGIN_SECONDS", 0.5)
    (group,) = groups(source, "encoding-phones")
    alone, beside = group.works
    for kind, chosen, complaint in (
        (Encoding, [alone, beside], None),
        (OutOfVideos, [beside], "it had no videos to encode any more"),
        (Lazy, [beside], "it does not encode as many videos at once as there are cores"),
    ):
        results = Results()
        folder = tmp_path / kind.__name__
        run_groups([replace(group, works=chosen)], [kind], source, folder, 1, lambda _: None, results)
        assert [(cell.work, cell.error) for cell in results.cells] == [(work.name, complaint) for work in chosen]
        assert all(bool(cell.values) is (complaint is None) for cell in results.cells)


class Corrupting(SpliceLoop):
    """Changes a byte of what it has stored."""

    name = "corrupting"

    def stored(self, target: str, answer: Answer | None) -> Path:
        path = super().stored(target, answer)
        with path.open("r+b") as file:
            file.seek(-1, 2)
            last = file.read(1)
            file.seek(-1, 2)
            file.write(bytes([last[0] ^ 1]))
        return path


class Growing(SpliceLoop):
    """Can be filled."""

    name = "videodock"
    abilities = frozenset({Ability.BODY, Ability.TUS, Ability.TABLE})

    def fill(self, uploads: int) -> list[str]:
        names = [f"filled-{number}" for number in range(uploads)]
        for name in names:
            (self.folder / "data" / name).touch()
        return [f"{self.mount}/{name}" for name in names]


class Inventing(Growing):
    """Says that one of the uploads has a byte."""

    def fill(self, uploads: int) -> list[str]:
        targets = super().fill(uploads)
        self.stored(targets[-1], None).write_bytes(b"x")
        return targets


class Changing(Videodock):
    """Tells another status than before, as each task is cancelled once its status was asked for."""

    def check_status(self, status: Answer, answer: Answer) -> Mapping[str, Any]:
        with Connection(self.port) as connection:
            connection.ask(self.request("POST", f"/api/task/cancel/{answer.headers['upload-task']}", {}, 0)).expect(200)
        return super().check_status(status, answer)


class Refusing(SpliceLoop):
    """Says that it has less than it was sent."""

    name = "refusing"

    def check_appended(self, answer: Answer, offset: int) -> None:
        super().check_appended(answer, offset + 1)


class Absent(SpliceLoop):
    """Does not start."""

    name = "absent"

    def command(self) -> list[str]:
        return ["false"]


def test_a_failed_transfer_has_no_figure(source: Source, tmp_path: Path) -> None:
    """A wrong byte, a wrong answer, a server that does not start: told as such, the others go on."""
    kinds = [Corrupting, Refusing, Absent, SpliceLoop]
    chosen, results = run(source, tmp_path / "work", ["one-patch"], kinds, rounds=2)
    for kind, reason in ((Corrupting, "the bytes from"), (Refusing, "it says that it has"), (Absent, "does not start")):
        cells = results.of("one-patch", kind.name)
        assert len(cells) == 2
        for cell in cells:
            assert cell.values == {}
            assert reason in (cell.error or "")
    assert [cell.error for cell in results.of("one-patch", "splice-loop")] == [None, None]
    page = report.write(None, machine.describe(tmp_path, kinds, {}), chosen, kinds, results)
    assert page.count("2 of 2 failed:") == 3


def test_an_upload_that_is_looked_at_must_be_as_it_was(source: Source, tmp_path: Path) -> None:
    """Each of the open uploads is looked at: a wrong answer about one of them is noticed."""
    for kind, complaint in ((Growing, None), (Inventing, "it says that an upload has bytes which nobody has sent")):
        _, results = run(source, tmp_path / kind.__name__, ["growth-heads"], [kind])
        assert [cell.error for cell in results.cells] == [complaint] * 2


def test_a_status_that_changes_has_no_figure(source: Source, tmp_path: Path) -> None:
    """Each answer to a poll is compared with the first one."""
    _, results = run(source, tmp_path, ["polls"], [Changing])
    assert len(results.cells) == 2
    for cell in results.cells:
        assert (cell.values, (cell.error or "")[:26]) == ({}, "another status than before")


def test_a_run_leaves_no_process_and_no_folder(source: Source, tmp_path: Path) -> None:
    """Servers are ended and their folders removed."""
    servers: list[Server] = []

    class Seen(SpliceLoop):
        def start(self) -> None:
            super().start()
            servers.append(self)

    run(source, tmp_path, ["one-patch"], [Seen])
    assert [server.running for server in servers] == [False]
    assert not servers[0].folder.exists()


@pytest.mark.parametrize(
    ("stored", "complaint"),
    [
        pytest.param(lambda data: data[:-1], "bytes are stored instead of", id="short"),
        pytest.param(lambda data: data + b"x", "bytes are stored instead of", id="long"),
        pytest.param(lambda data: data[MIB:] + data[:MIB], "the bytes from 0 on", id="blocks exchanged"),
        pytest.param(lambda data: data[:-1] + bytes([data[-1] ^ 1]), "the bytes from", id="one bit"),
        pytest.param(lambda data: data, "", id="right"),
    ],
)
def test_every_difference_in_stored_content_is_found(
    source: Source, tmp_path: Path, stored: object, complaint: str
) -> None:
    """Content that begins in the middle of the source and goes on at its start: every difference is seen."""
    content = Slice(source, 7 * MIB, 3 * MIB)
    data = content.read(0, content.length)
    assert data[:12] == data[MIB : MIB + 12] != data[MIB + 100 : MIB + 112]
    path = tmp_path / "stored"
    assert callable(stored)
    path.write_bytes(stored(data))
    if complaint:
        with pytest.raises(WrongBytesError, match=complaint):
            content.compare(path)
    else:
        content.compare(path)
