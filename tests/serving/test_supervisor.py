"""The server as a process: it starts, says where, serves, and stops when it is told to."""

import contextlib
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue

import httpx
import pytest

from tests.harness.ports import free_port, let_go
from tests.harness.waiting import PATIENCE, Stopwatch, until

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # new interpreters, and how each ends

ROOT = Path(__file__).parents[2]


class Process:
    """A `videodock` command that runs; what it says is read line by line."""

    def __init__(self, *arguments: str, module: str = "server", **environment: str) -> None:
        # It outlives no test: `start` ends what is left.
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._new: Queue[str] = Queue()
        self._readers = [threading.Thread(target=self._read_out), threading.Thread(target=self._read_err)]
        for reader in self._readers:
            reader.start()

    def _read_out(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.out.append(line)
            self._new.put(line)

    def _read_err(self) -> None:
        assert self.process.stderr is not None
        self.err.extend(self.process.stderr)

    def says(self, pattern: str, seconds: float = PATIENCE) -> re.Match[str]:
        """Wait for a line on standard output."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                line = self._new.get(timeout=0.05)
            except Empty:
                if self.process.poll() is not None:
                    break
                continue
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"{pattern!r} was not said: {self.out} {self.err}")

    @property
    def url(self) -> str:
        """The server's address, once it is ready."""
        if not hasattr(self, "_url"):
            self._url = self.says(r"Upload page +(http://\S+)/$")[1]
            self.says("stops it")
        return self._url

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, seconds: float = PATIENCE) -> int:
        """The exit code, and everything read to the end."""
        code = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(PATIENCE)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()
        return code

    @property
    def error(self) -> str:
        return "".join(self.err)


Start = Callable[..., Process]


def get(url: str) -> httpx.Response:
    """Ask on a connection of its own."""
    return httpx.get(url, timeout=PATIENCE)


MP4 = "filename YS5tcDQ="  # a.mp4


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `serve` on a free port over one data folder; further options and variables may be given."""
    made: list[Process] = []

    def begin(*options: str, module: str = "server", command: tuple[str, ...] = (), **environment: str) -> Process:
        usual = ("serve", "--port", "0", "--data-dir", str(tmp_path / "data"))
        made.append(Process(*(command or usual), *options, module=module, **environment))
        return made[-1]

    yield begin
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
        one.end()


def slow_request(url: str, path: str = "/api/upload/videos") -> socket.socket:
    """A POST whose body has begun and never ends."""
    host, _, port = url.removeprefix("http://").partition(":")
    line = socket.create_connection((host, int(port)), timeout=PATIENCE)
    line.sendall(
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode()
    )
    assert line.recv(100).startswith(b"HTTP/1.1 100")  # it says so when it begins to read
    line.sendall(b'--x\r\nContent-Disposition: form-data; name="videos"; filename="a.mp4"\r\n\r\n')
    return line


@pytest.mark.sampled(1)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.turns(1)
def test_a_server_starts_stops_and_starts_again(start: Start, number: int, tmp_path: Path) -> None:
    """An empty folder is migrated and served; a stop signal ends with 0; the second start is quick."""
    first = start()
    assert get(first.url + "/healthz").json() == {"status": "alive"}
    ready = get(first.url + "/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert "X-Request-ID" in ready.headers
    assert "server" not in ready.headers
    said = "".join(first.out)
    assert all(first.url + path in said for path in ("/", "/files", "/api/upload/videos", "/readyz"))
    first.signal(number)
    assert first.end() == 0
    assert "Traceback" not in first.error
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700

    started = Stopwatch()
    second = start()
    assert get(second.url + "/readyz").status_code == 200
    assert started.seconds < 3
    second.signal(number)
    assert second.end() == 0


def test_a_stop_signal_lets_no_request_hold_it_up(start: Start) -> None:
    """A request that would never end is cut off after the grace period, and the exit code is 0."""
    server = start("--shutdown-grace", "1")
    with slow_request(server.url):
        started, watch = time.monotonic(), Stopwatch()
        server.signal(signal.SIGTERM)
        assert server.end() == 0
        assert time.monotonic() - started > 0.9
        assert watch.seconds < 8
    assert "Traceback" not in server.error


@pytest.mark.sampled(2)
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(start: Start, workers: str, second: int) -> None:
    """While a request still runs in the grace period, a second signal does not wait for it."""
    server = start("--shutdown-grace", "60", "--workers", workers)
    with slow_request(server.url):
        server.signal(signal.SIGTERM)
        until(lambda: "Shutting down" in server.error, what="the first signal was heard")
        assert server.process.poll() is None
        started = Stopwatch()
        server.signal(second)
        assert server.end() == 1
        assert started.seconds < 2


def test_a_newer_database_is_refused(start: Start, tmp_path: Path) -> None:
    """A revision that this version does not know: a sentence and exit 1, and the database stays as it is."""
    first = start()
    assert first.url
    first.signal(signal.SIGTERM)
    first.end()
    with sqlite3.connect(tmp_path / "data" / "videodock.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'zzz'")
    database.close()
    for options in ((), ("--workers", "2")):
        second = start(*options)
        assert second.end() == 1
        assert "newer version" in second.error
        assert "Traceback" not in second.error


def test_a_port_in_use_is_a_sentence_and_exit_1(start: Start, tmp_path: Path) -> None:
    """A port in use is a sentence and exit 1, before the database is touched."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        other = str(tmp_path / "other")
        refused = start(command=("serve", "--port", port, "--data-dir", other))
        assert refused.end() == 1
    assert refused.error.startswith(f"Port {port} of 127.0.0.1 is in use")
    assert refused.error.count("\n") == 1
    assert not (tmp_path / "other" / "videodock.db").exists()


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("host", "expected"), [("::1", "http://[::1]:"), ("0.0.0.0", "http://127.0.0.1:")])
def test_the_printed_address_can_be_opened(start: Start, host: str, expected: str) -> None:
    """The address that is printed is one to go to, on IPv6 too."""
    if host == "::1":
        try:
            socket.create_server((host, 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("this machine has no IPv6")
    server = start("--host", host, "--allow-anonymous")
    assert server.url.startswith(expected)
    assert get(server.url + "/healthz").status_code == 200


def test_a_server_without_authentication_listens_on_loopback_alone(start: Start, tmp_path: Path) -> None:
    """Elsewhere it is a sentence with both ways out, and nothing is made; with either of them it serves."""
    folder = tmp_path / "none"
    for host in ("0.0.0.0", "::"):
        refused = start(command=("serve", "--port", "0", "--host", host, "--data-dir", str(folder)))
        assert refused.end() == 1
        assert refused.error.count("\n") == 1
        assert "--auth on" in refused.error
        assert "--allow-anonymous" in refused.error
        assert not folder.exists()
    for options in (("--auth", "on"), ("--allow-anonymous", "on"), ("--host", "localhost")):
        assert get(start("--host", "0.0.0.0", *options).url + "/healthz").status_code == 200


def test_an_address_of_another_machine_is_a_sentence_and_exit_1(start: Start) -> None:
    """An address of another machine is a sentence and exit 1."""
    refused = start("--host", "192.0.2.1")
    assert refused.end() == 1
    assert "It is not possible to listen on 192.0.2.1" in refused.error
    assert "Traceback" not in refused.error


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("options", "is_warned"),
    [
        (("--clamd", "unix:/nowhere/clamd.ctl"), True),
        (("--clamd", "unix:/nowhere/clamd.ctl", "--scan-too-large", "mark"), False),
        (("--clamd", "unix:/nowhere", "--tus-max-size", "1MiB", "--max-file-size", "1MiB"), False),
        ((), False),
    ],
    ids=["refused", "marked", "smaller", "no scanner"],
)
def test_a_scanner_limit_below_the_upload_limit_is_a_warning(
    start: Start, options: tuple[str, ...], is_warned: bool
) -> None:
    """What the scanner's limit refuses is said at the start, with both limits; else nothing is."""
    server = start("--workers", "2", *options)
    assert server.url
    server.signal(signal.SIGTERM)
    assert server.end() == 0
    lines = [line for line in server.err if "scan_max_size" in line]
    assert len(lines) == (1 if is_warned else 0)
    assert not is_warned or ("25 MiB" in lines[0] and "10 GiB" in lines[0])


def children(process: Process) -> list[int]:
    """The processes that this one started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[1]) == process.process.pid and b"server.serving.supervisor" in command:
                found.append(int(entry.name))
    return found


def healthz_count(url: str) -> float:
    text = get(url + "/metrics").text
    (line,) = (line for line in text.splitlines() if re.match(r'videodock_requests_total\{.*"/healthz"', line))
    return float(line.split()[-1])


def test_metrics_of_two_processes_are_summed(start: Start, tmp_path: Path) -> None:
    """With two workers either one's /metrics has the sum; a killed one is replaced and loses no count."""
    server = start("--workers", "2")
    for _ in range(40):
        get(server.url + "/healthz")  # a new connection each: the kernel spreads them
    # A request is counted just after its answer has left.
    until(lambda: healthz_count(server.url) == 40, what="all are counted")
    assert {healthz_count(server.url) for _ in range(6)} == {40}
    before = children(server)
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    until(lambda: len(set(children(server)) - {before[0]}) == 2, what="another one takes its place")
    assert healthz_count(server.url) == 40
    server.signal(signal.SIGTERM)
    assert server.end() == 0
    assert list((tmp_path / "data").glob("metrics-*")) == []


def test_options_of_the_command_line_reach_every_process(start: Start) -> None:
    """What the command line chose holds in each process, above the environment."""
    server = start("--workers", "2", "--root-path", "/video", VIDEODOCK_ROOT_PATH="/wrong")
    for _ in range(10):
        answer = httpx.post(
            server.url + "/files",
            timeout=PATIENCE,
            headers={"Tus-Resumable": "1.0.0", "Upload-Length": "1", "Upload-Metadata": MP4},
        )
        assert answer.status_code == 201
        assert answer.headers["location"].startswith(server.url + "/video/files/")


def test_no_serving_process_outlives_its_supervisor(start: Start, tmp_path: Path) -> None:
    """When the supervisor is killed, its processes stop by themselves; the next one clears what it left."""
    server = start("--workers", "2", "--shutdown-grace", "1")
    assert server.url
    left = children(server)
    server.signal(signal.SIGKILL)
    server.process.wait(PATIENCE)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), what="they have stopped")
    (old,) = (tmp_path / "data").glob("metrics-*")
    following = start("--workers", "2")
    assert following.url
    (new,) = (tmp_path / "data").glob("metrics-*")
    assert new != old
    following.signal(signal.SIGTERM)
    assert following.end() == 0


def test_a_hanging_thread_does_not_delay_the_exit() -> None:
    """A thread that never ends holds up no exit: after its time the process leaves, and says so."""
    program = (
        "import threading; from server.serving.supervisor import cut_off_after; "
        "cut_off_after(0.2); threading.Event().wait()"
    )
    hanging = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert hanging.returncode == 1
    assert "stopping_took_too_long" in hanging.stdout + hanging.stderr


def test_uvicorn_itself_refuses_an_unmigrated_database(start: Start, tmp_path: Path) -> None:
    """`uvicorn server.app:create_app --factory` never migrates: it stops with the sentence that says what to do."""
    refused = start(
        module="uvicorn",
        command=("server.app:create_app", "--factory", "--port", "0"),
        VIDEODOCK_DATA_DIR=str(tmp_path / "data"),
    )
    assert refused.end() != 0
    assert "run `videodock migrate` first" in refused.error
    assert "Traceback" not in refused.error


def test_uvicorn_itself_serves_a_migrated_database(start: Start, tmp_path: Path) -> None:
    """The same on a migrated database serves."""
    folder = str(tmp_path / "data")
    assert start(command=("migrate", "--data-dir", folder)).end() == 0
    port = free_port()
    server = start(
        module="uvicorn",
        command=("server.app:create_app", "--factory", "--port", str(port)),
        VIDEODOCK_DATA_DIR=folder,
    )

    def is_ready() -> bool:
        with contextlib.suppress(httpx.ConnectError):
            return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=PATIENCE, trust_env=False).status_code == 200
        return False

    until(is_ready, every=0.2, what="/readyz says 200")
    server.signal(signal.SIGTERM)
    server.end()
    let_go(port)


def test_a_worker_needs_a_migrated_database(start: Start, tmp_path: Path) -> None:
    """The worker refuses an unmigrated database; on a migrated one it runs until it is told to stop."""
    folder = str(tmp_path / "data")
    refused = start(command=("worker", "--data-dir", folder))
    assert refused.end() == 1
    assert "run `videodock migrate` first" in refused.error
    assert start(command=("migrate", "--data-dir", folder)).end() == 0
    worker = start(command=("worker", "--data-dir", folder))
    worker.says("processes uploads")
    worker.signal(signal.SIGTERM)
    assert worker.end() == 0
    assert "Traceback" not in worker.error
