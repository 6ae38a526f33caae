"""Several files, one task, from real clients to playable videos, as the page of the documentation says it."""

import re
import shlex
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.harness.arrival import upload_id
from tests.harness.groups import DATA, Group, GroupClients, Remote
from tests.harness.node import Event, NodeClient
from tests.harness.rows import query
from tests.harness.server_process import ROOT, ServerProcess
from tests.harness.tasks import finish, follow, poster
from tests.harness.waiting import until
from tests.samples import big, make

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # clients and interruptions of a group

PAGE = ROOT / "docs" / "groups.md"
NAMES = ("one.mp4", "two.mov", "three.mkv")
MIB = 1 << 20


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    return [make(folder, name, seconds=1) for name in NAMES]


def options(server: ServerProcess, video: Path, group: dict[str, str], **more: object) -> dict[str, Any]:
    return {"endpoint": f"{server.url}/files", "path": str(video), "metadata": {"filename": video.name} | group} | more


def task_of(events: list[Event]) -> str:
    (end,) = [event for event in events if event["event"] == "success"]
    return str(end["task"])


def check_three(server: ServerProcess, task: str) -> None:
    """All three are processed, in the order of their places, and nothing else is there."""
    state = finish(server, task)
    assert [file["name"] for file in state["files"]] == list(NAMES)
    assert {file["status"] for file in state["files"]} == {"completed"}
    for file in state["files"]:
        assert poster(server, file) == (320, 240)
    assert [row["id"] for row in query(server.database_url, "SELECT id FROM tasks")] == [task]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("engine", ["videodock", "tuspyserver"])
def test_three_tus_js_uploads_are_one_task(
    start_server: StartServer, database_url: str, engine: str, videos: list[Path], tmp_path: Path
) -> None:
    """Three uploads side by side, one of them in parallel parts and one of unknown length, are one task."""
    server = start_server(database_url=database_url, tus_engine=engine)
    task = str(uuid.uuid4())
    more: list[dict[str, object]] = [{"parallelUploads": 2}, {"uploadLengthDeferred": True, "asStream": True}, {}]
    clients = []
    for place, (video, how) in enumerate(zip(videos, more, strict=True), 1):
        group = {"task": task.upper(), "task_files": "3", "task_file": str(place)}
        chunk = {"chunkSize": MIB} if "asStream" in how else {}
        clients.append(NodeClient("tus.mjs", tmp_path, **options(server, video, group, **how, **chunk)))
    for client in clients:
        with client:
            assert task_of(client.finish()) == task
    check_three(server, task)
    rows = query(server.database_url, "SELECT status, count(*) AS n FROM uploads WHERE has_bytes GROUP BY status")
    assert rows == [{"status": "complete", "n": 3}]


@pytest.mark.sampled(1)
def test_two_processes_receive_one_group(start_server: StartServer, database_url: str) -> None:
    """Two server processes take the members of one group side by side, and it ends for both."""
    server = start_server(database_url=database_url, workers=2, scheduler="none")
    for number in range(3):
        group = Group(Remote(server), files=5)
        with GroupClients(group, pieces=3) as crowd:
            pass
        group.check_ready()
        assert set(crowd.ended.values()) == {"whole"}, crowd.ended
        group = Group(Remote(server), files=5)
        with GroupClients(group, pieces=5) as crowd:
            until(lambda: number == 0 or len(crowd.uploads) > number, seconds=10, what="some are created")  # noqa: B023
            until(lambda: group.cancel().status == 200, seconds=10, what="it is cancelled")  # noqa: B023
        assert set(crowd.ended.values()) <= {"whole", "upload_gone", "group_ended"}, crowd.ended
        assert group.status()["status"] == "cancelled"
        assert not query(server.database_url, "SELECT id FROM uploads WHERE status = 'open'")


@pytest.mark.sampled(1)
def test_a_cancel_ends_a_body_in_another_process(start_server: StartServer, database_url: str, tmp_path: Path) -> None:
    """A cancel ends what tus-js-client is sending, whichever process receives it: 410, and no byte stays."""
    server = start_server(database_url=database_url, workers=2)
    video = big(tmp_path, "large.mp4", 8 * MIB)
    task = str(uuid.uuid4())
    group = {"task": task, "task_files": "2"}
    with NodeClient("tus.mjs", tmp_path, **options(server, video, group, chunkSize=MIB)) as client:
        client.wait_for("chunk")
        assert server.http.post(f"{server.url}/api/task/cancel/{task}").status_code == 200
        (url,) = {event["url"] for event in client.events("url")} or {None}
        failed = client.wait_for("error")
    assert "response code: 410" in failed["message"], failed
    assert server.http.head(url, headers={"Tus-Resumable": "1.0.0"}).status_code == 410
    until(lambda: not server.stored(upload_id(str(url))).exists(), seconds=10, what="its bytes are gone")
    assert server.status(task)["status"] == "cancelled"


@pytest.mark.sampled(1)
def test_a_group_is_resumed_after_a_kill(
    start_server: StartServer, database_url: str, videos: list[Path], tmp_path: Path
) -> None:
    """SIGKILL while a group gathers: what was there is there, the rest follows, and the task is processed."""
    server = start_server(database_url=database_url)
    task = str(uuid.uuid4())
    said = [{"task": task, "task_files": "3", "task_file": str(place)} for place in (1, 2, 3)]
    with NodeClient("tus.mjs", tmp_path, **options(server, videos[2], said[2])) as client:
        client.finish()
    server.kill()
    server.start()
    state = server.status(task)
    assert (state["status"], state["message"]) == ("uploaded", "等待其余文件 (1/3)")
    for place in (1, 0):
        with NodeClient("tus.mjs", tmp_path, **options(server, videos[place], said[place])) as client:
            client.finish()
    check_three(server, task)


@pytest.mark.turns(1)
def test_a_group_is_processed_when_its_last_file_is_there(server: ServerProcess) -> None:
    """With workers at hand the task waits until its last file is there, and a file that is none does no harm."""
    group = Group(Remote(server), files=2)
    group.whole(1)
    server.restart()  # who starts looks for work
    group.check_gathering(1)
    assert group.events() == ["uploaded"]
    group.whole(2)
    # Both begin like a video, and are none.
    seen = follow(server, group.task, until={"error"})
    assert seen[-1]["status"] == "error"
    assert {file["error"]["code"] for file in seen[-1]["files"]} == {"not_playable"}, DATA[:8]


def test_the_shell_commands_of_the_page_upload_a_group(
    server: ServerProcess, videos: list[Path], tmp_path: Path
) -> None:
    """The page's shell commands, as they stand there, upload two files into one task."""
    for name, video in zip(("one.mp4", "two.mp4"), videos, strict=False):
        (tmp_path / name).write_bytes(video.read_bytes())
    (script,) = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    script = script.replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run(
        ["bash", "-euc", script], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr + shlex.quote(script)
    (task,) = [row["id"] for row in query(server.database_url, "SELECT id FROM tasks")]
    assert task in done.stdout
    state = finish(server, task)
    assert [file["name"] for file in state["files"]] == ["one.mp4", "two.mp4"]


def test_the_javascript_of_the_page_uploads_a_group(server: ServerProcess, videos: list[Path], tmp_path: Path) -> None:
    """The page's JavaScript, with files from the disk in place of a browser's, uploads all of them into one task."""
    (sample,) = re.findall(r"```js\n(.*?)```", PAGE.read_text(), re.DOTALL)
    clients = ROOT / "tests" / "clients"
    files = ", ".join(f"[{str(video)!r}, {video.name!r}]" for video in videos)
    program = (
        "import { createReadStream } from 'node:fs'\n"
        + sample.replace("http://127.0.0.1:8000", server.url)
        + f"\nconst files = [{files}].map(([path, name]) => Object.assign(createReadStream(path), {{ name }}))\n"
        "console.log(await uploadTogether(files))\n"
    )
    written = clients / f".groups-{uuid.uuid4()}.mjs"  # beside node_modules, where imports are looked up
    written.write_text(program)
    try:
        done = subprocess.run(
            ["node", str(written)], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60
        )
    finally:
        written.unlink()
    assert done.returncode == 0, done.stderr
    check_three(server, done.stdout.strip())
