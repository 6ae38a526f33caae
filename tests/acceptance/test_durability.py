"""What the setting `fsync` promises, in the system calls of a real server: what is announced was synced before.

Rule: order is judged by when a sync has come back and by when an answer begins to leave, and all of it by strace.
"""

import base64
import hashlib
import re
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.conftest import StartServer
from tests.harness.http import Connection
from tests.harness.server_process import ServerProcess
from tests.harness.waiting import PATIENCE
from tests.tus.client import MOUNT, creation, id_of, patch_headers, target, video

pytestmark = pytest.mark.acceptance

DATA = video(300_000)
CHUNK = 100_000
BYTES = {"write", "writev", "pwrite64", "pwritev", "splice", "copy_file_range"}
CALLS = ["openat", "link", "linkat", "truncate", "ftruncate", "fsync", "fdatasync", "sendto", "sendmsg", *sorted(BYTES)]


class Trace:
    """The calls of a running server that matter here, each as a word or two, from entering to leaving."""

    def __init__(self, server: ServerProcess, path: Path) -> None:
        self._server = server
        self._path = path

    def __enter__(self) -> Self:
        command = ["strace", "-f", "-y", "-s", "80", "-e", f"trace={','.join(CALLS)}", "-e", "signal=none"]
        command += ["-o", str(self._path), "-p", str(self._server.pid)]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        first = self._process.stderr.readline()
        assert "attached" in first, first
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An answer is written down after its client has it: one more goes behind all that counts.
        with Connection(self._server.port) as connection:
            connection.ask("GET", "/readyz")
        self._process.send_signal(signal.SIGINT)
        self._process.communicate(timeout=PATIENCE)

    def events(self, upload: str) -> list[str]:
        """What happened, in order; of what happens again and again at once, one."""
        folder = self._server.data_dir / "uploads"
        names = {
            str(folder / upload[:2] / upload): "upload",
            str(folder / upload[:2]): "folder",
            str(folder): "folders",
            f"{self._server.data_dir / 'videodock.db'}-wal": "wal",
        }
        found: list[str] = []
        for call in self._calls():
            event = self._event(call, names)
            if event and found[-1:] != [event]:
                found.append(event)
        return found

    def _calls(self) -> Iterator[str]:
        """Each call when it came back; the writing of an answer when it begins."""
        begun: dict[str, str] = {}
        for line in self._path.read_text(errors="replace").splitlines():
            process, _, call = line.partition(" ")
            call = call.strip()
            if "HTTP/1.1 " in call:
                yield call.replace(" <unfinished ...>", ") = 0")
            elif call.endswith("<unfinished ...>"):
                begun[process] = call.removesuffix("<unfinished ...>")
            elif match := re.match(r"<\.\.\. \w+ resumed>(.*)", call):
                yield begun.pop(process, "") + match[1]
            else:
                yield call

    @staticmethod
    def _event(call: str, names: dict[str, str]) -> str:
        if re.search(r"= -1 [A-Z]", call):
            return ""
        name = call.partition("(")[0]
        if name in ("write", "writev", "sendto", "sendmsg") and "<socket:" in call:
            answer = re.search(r'"HTTP/1\.1 (\d+)', call)
            return answer[1] if answer else "commit" if "COMMIT" in call else ""
        # The last that is named: of a splice, the target.
        named = [names[path] for path in re.findall(r'[<"](/[^>"]*)[>"]', call) if path in names]
        what = named[-1] if named else ""
        if name in ("fsync", "fdatasync"):
            return f"sync {what}" if what else ""
        if name == "openat":
            return "create" if what == "upload" and "O_CREAT" in call else ""
        if name in ("link", "linkat"):
            return "share part" if what == "upload" else ""
        if name in ("truncate", "ftruncate"):
            return "take back" if what == "upload" else ""
        return {"upload": "bytes", "wal": "row"}.get(what, "") if name in BYTES else ""


@pytest.fixture
def commit(database_url: str) -> list[str]:
    """What a transaction looks like that waits for the disk; PostgreSQL itself waits, before it answers."""
    return ["row", "sync wal"] if database_url.startswith("sqlite") else ["commit"]


def started(start_server: StartServer, database_url: str, fsync: str) -> ServerProcess:
    """A server that has done everything once: a new WAL, say, is synced when it is made, whatever is set."""
    given = {} if database_url.startswith("sqlite") else {"database_url": database_url}
    server = start_server(scheduler="none", fsync=fsync, **given)
    send(server)
    return server


def send(server: ServerProcess) -> str:
    """One upload of three chunks; its id."""
    with Connection(server.port) as connection:
        upload = id_of(connection.ask("POST", MOUNT, creation(len(DATA))))
        for offset in range(0, len(DATA), CHUNK):
            answer = connection.ask("PATCH", target(upload), patch_headers(offset), DATA[offset : offset + CHUNK])
            assert answer.status == 204
    return upload


def parted(events: list[str]) -> list[list[str]]:
    """What happened before each answer."""
    parts: list[list[str]] = [[]]
    for event in events:
        if event.isdigit():
            parts.append([])
        else:
            parts[-1].append(event)
    return parts


def check_order(events: list[str], *expected: str) -> None:
    """These happened in this order, whatever else did in between (news for rows, once a second)."""
    rest = iter(events)
    for one in expected:
        assert one in rest, f"{expected}: no {one} in its place among {events}"


def check_synced(events: list[str]) -> None:
    """No byte came into the file behind its sync."""
    assert "bytes" in events
    assert "bytes" not in events[events.index("sync upload") :]


WHOLE = ["bytes", "sync upload", "sync folder", "sync folders"]


def test_by_default_an_upload_is_synced_before_it_is_complete(
    start_server: StartServer, database_url: str, commit: list[str], tmp_path: Path
) -> None:
    """By default: bytes, their entries and then the row are on the disk before the upload is called complete; nothing
    before that waits for a disk.
    """
    server = started(start_server, database_url, "complete")
    with Trace(server, tmp_path / "trace") as trace:
        upload = send(server)
    created, first, second, last, *_ = parted(trace.events(upload))
    check_order(created, commit[0], "create")
    for events in (created, first, second):
        assert not [event for event in events if event.startswith("sync")]
    assert "bytes" in first
    assert "bytes" in second
    check_order(last, *WHOLE, *commit)
    check_synced(last)


def test_fsync_patch_syncs_before_each_answer(
    start_server: StartServer, database_url: str, commit: list[str], tmp_path: Path
) -> None:
    """`patch`: the upload is on the disk before its 201, and the bytes of each request before its 204."""
    server = started(start_server, database_url, "patch")
    with Trace(server, tmp_path / "trace") as trace:
        upload = send(server)
    created, first, second, last, *_ = parted(trace.events(upload))
    check_order(created, *commit, "create", "sync folder", "sync folders")
    for events in (first, second, last):
        check_order(events, "bytes", "sync upload")
        check_synced(events)
    check_order(last, *WHOLE, *commit)


@pytest.mark.sampled(1)
def test_fsync_patch_syncs_the_bytes_of_a_failed_request(
    start_server: StartServer, database_url: str, tmp_path: Path
) -> None:
    """`patch`: what came of a request for which the disk had no room is on it too; the next HEAD tells that it came."""
    server = started(start_server, database_url, "patch")
    data = video(3 << 20)
    with Trace(server, tmp_path / "trace") as trace, Connection(server.port) as connection:
        upload = id_of(connection.ask("POST", MOUNT, creation(len(data))))
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        assert connection.ask("PATCH", target(upload), patch_headers(0), data).status == 507
    _, failed, *_ = parted(trace.events(upload))
    check_order(failed, "bytes", "sync upload")
    check_synced(failed)
    assert server.stored(upload).stat().st_size == 1 << 20


@pytest.mark.sampled(1)
def test_with_fsync_never_nothing_waits_for_the_disk(
    start_server: StartServer, database_url: str, commit: list[str], tmp_path: Path
) -> None:
    """`never`: nothing waits for the disk."""
    server = started(start_server, database_url, "never")
    with Trace(server, tmp_path / "trace") as trace:
        upload = send(server)
    events = trace.events(upload)
    created, first, second, last, *_ = parted(events)
    check_order(created, commit[0], "create")
    for part in (first, second, last):
        assert "bytes" in part
    check_order(last, "bytes", commit[0])
    assert not [event for event in events if event.startswith("sync")]


def test_bytes_with_a_wrong_checksum_are_discarded_durably(
    start_server: StartServer, database_url: str, commit: list[str], tmp_path: Path
) -> None:
    """Bytes whose checksum is wrong: the row tells before them that they do not count, and says so no more only when
    the disk has lost them.
    """
    server = started(start_server, database_url, "complete")
    wrong = base64.b64encode(hashlib.sha1(b"other", usedforsecurity=False).digest()).decode()
    with Trace(server, tmp_path / "trace") as trace, Connection(server.port) as connection:
        upload = id_of(connection.ask("POST", MOUNT, creation(len(DATA))))
        headers = patch_headers(0) | {"Upload-Checksum": f"sha1 {wrong}"}
        assert connection.ask("PATCH", target(upload), headers, DATA).status == 460
    _, refused, *_ = parted(trace.events(upload))
    check_order(refused, *commit, "bytes", "take back", "sync upload", commit[0])


def test_the_row_of_a_final_is_synced_before_it_shares_a_file(
    start_server: StartServer, database_url: str, commit: list[str], tmp_path: Path
) -> None:
    """The row of a final upload is on the disk before the upload shares its first part's file: else a power cut would
    leave a file without a row that grows.
    """
    server = started(start_server, database_url, "complete")
    with Connection(server.port) as connection:
        parts = []
        for number in (1, 2):
            data = video(1000, number)
            headers = creation(len(data), None) | {"Upload-Concat": "partial"}
            parts.append(id_of(connection.ask("POST", MOUNT, headers)))
            assert connection.ask("PATCH", target(parts[-1]), patch_headers(0), data).status == 204
        headers = creation(0) | {"Upload-Concat": "final;" + " ".join(map(target, parts))}
        del headers["Upload-Length"]
        with Trace(server, tmp_path / "trace") as trace:
            final = id_of(connection.ask("POST", MOUNT, headers))
    joined, *_ = parted(trace.events(final))
    check_order(joined, *commit, "share part", *WHOLE, *commit)
