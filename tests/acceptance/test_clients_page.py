"""docs/clients.md, run as it stands: every sample that can run here uploads, is interrupted, and goes on."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from server.messages import sentence
from tests.harness.arrival import check_arrived, check_stored
from tests.harness.chromium import drive, requests
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.node import CLIENTS
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.tasks import finish
from tests.harness.waiting import PATIENCE, until
from tests.samples import big, make

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # the samples and their troubles; each uploads in each run

MIB = 1 << 20
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/clients.md").read_text()
SERVER = "http://127.0.0.1:8000"
REFUSED = "media_type_mismatch"


def sample(section: str, language: str) -> str:
    """The one code block of that language below that heading."""
    (text,) = re.findall(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    (block,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return str(block)


@dataclass
class Program:
    """A sample that is started as `command FILE SERVER`, prints the task's id, and goes on when started again."""

    name: str
    section: str
    language: str
    command: tuple[str, ...]
    goes_on: bool = True
    quicker: dict[str, str] = field(default_factory=dict)  # what to write for what, so that a test is not slow

    def install(self, folder: Path) -> list[str]:
        """Write the sample into a folder; the command that starts it there."""
        code = sample(self.section, self.language)
        for written, instead in self.quicker.items():
            assert written in code
            code = code.replace(written, instead)
        (folder / self.name).write_text(code)
        modules = folder / "node_modules"
        if self.language == "js" and not modules.exists():
            modules.symlink_to(CLIENTS / "node_modules")
        return [*self.command, self.name]


NODE = Program("upload.mjs", "tus-js-client in Node", "js", ("node",))
TUSPY = Program("upload.py", "tuspy (Python)", "python", (sys.executable,), quicker={"retry_delay=5": "retry_delay=1"})
AIOTUS = Program("upload_aiotus.py", "aiotus (Python, asyncio)", "python", (sys.executable,), goes_on=False)
BASH = Program("tus-upload", "curl", "bash", ("bash",))
PROGRAMS = [NODE, TUSPY, AIOTUS, BASH]
RESUMING = [program for program in PROGRAMS if program.goes_on]


def named(program: Program) -> str:
    return program.name


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A playable video that no chunk divides."""
    return big(tmp_path_factory.mktemp("video"), "假期 holiday.mp4", 8 * MIB + 12_345)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A text that says it is a video."""
    path = tmp_path / "notes.mp4"
    path.write_bytes(b"Dear diary, today I uploaded nothing.\n" * 1000)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command in the test's folder; it is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # to be killed with all that it started, as Ctrl+C does
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            kill(process)


Run = Callable[..., "subprocess.Popen[str]"]


def kill(process: "subprocess.Popen[str]") -> None:
    """End it and what it started, at once."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def ended(process: "subprocess.Popen[str]", code: int = 0) -> str:
    """Wait for its end with that code; what it printed, of the errors if there had to be one."""
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, f"it ended with {process.returncode}: {out}\n{err}"
    return err if code else out


def arrived(server: ServerProcess) -> int:
    """Bytes that lie on disk now."""
    return sum(path.stat().st_size for path in server.stored_files())


def sent(server: ServerProcess) -> int:
    """Bytes of all PATCH requests that have ended, as the server's log tells them."""
    lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    return sum(line["bytes_in"] for line in lines if line["event"] == "request" and line["method"] == "PATCH")


def check(server: ServerProcess, printed: str, video: Path, *, nothing_twice: bool = True) -> None:
    """The one upload that there is arrived whole and became the task that was printed; no byte was sent twice."""
    (row,) = query(server.database_url, "SELECT id FROM uploads")
    assert row["id"] in printed
    check_arrived(server, f"{server.url}/files/{row['id']}", video)
    if nothing_twice:
        assert sent(server) == video.stat().st_size


@pytest.mark.sampled(2)
@pytest.mark.parametrize("program", PROGRAMS, ids=named)
@pytest.mark.turns(1)
def test_each_sample_uploads_a_video(
    server: ServerProcess, video: Path, run: Run, tmp_path: Path, program: Program
) -> None:
    """Each program brings every byte and prints its task's id."""
    printed = ended(run(*program.install(tmp_path), str(video), server.url))
    check(server, printed, video)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("program", PROGRAMS, ids=named)
def test_each_sample_resumes_after_cuts(
    server: ServerProcess, video: Path, run: Run, tmp_path: Path, program: Program
) -> None:
    """Cut twice in the middle, each program goes on by itself where it was."""
    with CuttingProxy(server.port, cuts=[3 * MIB, 6 * MIB], how="fin") as proxy:
        printed = ended(run(*program.install(tmp_path), str(video), proxy.url))
        assert proxy.cut_count == 2
    check(server, printed, video)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("program", RESUMING, ids=named)
def test_each_sample_resumes_after_a_kill(
    server: ServerProcess, video: Path, run: Run, tmp_path: Path, program: Program
) -> None:
    """Killed in the middle and started again, the program goes on with the same upload, and forgets it at its end."""
    command = [*program.install(tmp_path), str(video)]
    with CuttingProxy(server.port, hold_at=3 * MIB) as proxy:
        first = run(*command, proxy.url)
        assert proxy.held.wait(PATIENCE)
        until(lambda: arrived(server) > 2 * MIB, seconds=10, what="what the proxy let through is on disk")
        kill(first)
        proxy.release()
        printed = ended(run(*command, proxy.url))
        check(server, printed, video)
        # The same file again is another upload, not the old one that is complete already.
        again = ended(run(*command, proxy.url))
    assert again.split()[0] != printed.split()[0]
    finish(server, again.split()[0])


def test_the_shell_sample_stops_without_its_file(server: ServerProcess, run: Run, tmp_path: Path) -> None:
    """Without a file, or with one that is not there or is a folder, it stops with a sentence and asks no server."""
    command = BASH.install(tmp_path)
    for arguments, expected in (
        ([], "usage: tus-upload FILE"),
        ([str(tmp_path / "nothing.mp4")], "cannot read the file"),
        ([str(tmp_path)], "cannot read the file"),
    ):
        process = run(*command, *arguments, *([server.url] if arguments else []))
        out, err = process.communicate(timeout=30)
        assert process.returncode in (1, 2, 127)
        assert out == ""
        assert expected in err
        assert err.count("\n") == 1, "it stops at the first error"
    assert query(server.database_url, "SELECT id FROM uploads") == []
    assert not [line for line in server.log().splitlines() if '"/files"' in line]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("program", RESUMING, ids=named)
def test_each_sample_restarts_an_upload_that_is_gone(
    server: ServerProcess, video: Path, run: Run, tmp_path: Path, program: Program
) -> None:
    """When the server has removed what was begun, the next start makes a new upload; the shell's only says so first."""
    command = [*program.install(tmp_path), str(video)]
    with CuttingProxy(server.port, hold_at=3 * MIB) as proxy:
        first = run(*command, proxy.url)
        assert proxy.held.wait(PATIENCE)
        kill(first)
        proxy.release()
        (row,) = query(server.database_url, "SELECT id FROM uploads")
        gone = server.http.delete(f"{server.url}/files/{row['id']}", headers={"Tus-Resumable": "1.0.0"})
        assert gone.status_code == 204
        if program is BASH:
            assert "start again" in ended(run(*command, proxy.url), 1)
        task = ended(run(*command, proxy.url)).split()[0]
    assert task != row["id"]
    finish(server, task)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("program", RESUMING, ids=named)  # aiotus tells nothing, after minutes, as the page says
def test_each_sample_shows_the_reason_of_a_refusal(
    server: ServerProcess, text: Path, run: Run, tmp_path: Path, program: Program
) -> None:
    """A file that is no video ends the program with an exit code and the server's sentence."""
    quick = {"retries=10": "retries=1"} if program is TUSPY else {}
    chosen = Program(program.name, program.section, program.language, program.command, quicker=program.quicker | quick)
    said = ended(run(*chosen.install(tmp_path), str(text), server.url), 1)
    assert "is not a video" in said
    assert REFUSED in said
    assert query(server.database_url, "SELECT id FROM tasks") == []


def test_each_sample_polls_the_status_to_the_end(server: ServerProcess, run: Run, tmp_path: Path) -> None:
    """The lines that poll return the last state of a task, and the refusal of an unknown one."""
    video = make(tmp_path, "holiday.mp4")
    task = server.http.post(f"{server.url}/api/upload/videos", files={"videos": ("holiday.mp4", video.read_bytes())})
    (tmp_path / "processed.mjs").write_text(sample("What holds for all of them", "js"))
    unknown = "123e4567-e89b-42d3-a456-426614174000"
    (tmp_path / "ask.mjs").write_text(
        "import { processed } from './processed.mjs'\n"
        f"for (const task of ['{task.json()['task_id']}', '{unknown}']) "
        f"console.log(JSON.stringify(await processed('{server.url}', task)))\n"
    )
    known, refused = (json.loads(line) for line in ended(run("node", "ask.mjs")).splitlines())
    assert (known["status"], known["progress"]) == ("completed", 100)
    assert refused["message"] == sentence("task_not_found", {}, "en")


def test_a_repeated_form_of_the_curl_sample_is_one_task(server: ServerProcess, run: Run, tmp_path: Path) -> None:
    """curl's form twice with one key is one task, and the second answer is the first."""
    videos = [make(tmp_path, "holiday.mp4"), make(tmp_path, "dive.mov", seconds=1)]
    for video in videos:
        (tmp_path / video.name).symlink_to(video)
    form = sample("curl", "sh").replace(SERVER, server.url).replace("$(openssl rand -hex 16)", "0123456789abcdef")
    first, second = (json.loads(ended(run("bash", "-ec", form))) for _ in range(2))
    assert first == second
    finish(server, first["task_id"])
    check_stored(server, first["task_id"], videos)
    assert query(server.database_url, "SELECT id FROM tasks") == [{"id": first["task_id"]}]


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Serves the browser's sample, which uploads to the given origin; the page's URL."""
    (tmp_path / "page").mkdir()
    (tmp_path / "page/node_modules").symlink_to(CLIENTS / "node_modules")
    pages = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(tmp_path / "page")))
    pages.daemon_threads = True
    thread = threading.Thread(target=pages.serve_forever, daemon=True)
    thread.start()

    def write(origin: str) -> str:
        html = sample("tus-js-client in a browser", "html").replace(SERVER, origin)
        (tmp_path / "page/index.html").write_text(html)
        return f"http://127.0.0.1:{pages.server_port}/"

    try:
        yield write
    finally:
        pages.shutdown()
        pages.server_close()
        thread.join(PATIENCE)


def test_the_browser_sample_uploads(
    server: ServerProcess, page: Callable[[str], str], video: Path, tmp_path: Path
) -> None:
    """The browser's sample, from another origin, brings a file in one PATCH and shows its task's id."""
    steps = [["choose", str(video)], ["text", "task "], ["look", "end"]]
    with drive("uppy.mjs", tmp_path, url=page(server.url), steps=steps) as client:
        events = client.finish(seconds=90)
    assert not [event for event in events if event["event"] == "pageerror"]
    assert len(requests(events, "PATCH")) == 1
    check(server, events[-3]["text"], video)


def test_the_browser_sample_resumes_after_a_reload(
    server: ServerProcess, page: Callable[[str], str], video: Path, tmp_path: Path
) -> None:
    """Reloaded in the middle, the page goes on where it was once the same file is chosen again."""
    reload = tmp_path / "reload"
    steps = [["choose", str(video)], ["file", str(reload)], ["reload"], ["choose", str(video)]]
    steps += [["text", "task "], ["look", "end"]]
    with (
        CuttingProxy(server.port, hold_at=3 * MIB) as proxy,
        drive("uppy.mjs", tmp_path, url=page(proxy.url), steps=steps) as client,
    ):
        assert proxy.held.wait(PATIENCE)
        until(lambda: arrived(server) > 2 * MIB, seconds=10, what="what the proxy let through is on disk")
        reload.touch()
        events = client.finish(seconds=90)
    assert len(requests(events, "POST")) == 1
    assert [event["offset"] for event in requests(events, "PATCH")][1] > 2 * MIB
    check(server, events[-3]["text"], video)


def test_the_browser_sample_shows_a_refusal(
    server: ServerProcess, page: Callable[[str], str], text: Path, tmp_path: Path
) -> None:
    """What the server says about a file that is no video stands on the page."""
    steps = [["choose", str(text)], ["text", REFUSED]]
    with drive("uppy.mjs", tmp_path, url=page(server.url), steps=steps) as client:
        client.finish(seconds=60)
