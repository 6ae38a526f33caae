"""The virus scan as people meet it: real servers, a real clamd, infected files, and a scanner that is away."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import StartServer
from tests.harness.clamd import EICAR, SIGNATURE, Clamd
from tests.harness.gate import Gate
from tests.harness.multipart import curl
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess
from tests.harness.tasks import finish, follow, poster
from tests.harness.waiting import PATIENCE, until, within
from tests.samples import make

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # the scanner and its troubles

VERSION = {"Tus-Resumable": "1.0.0"}
OCTETS = {"Content-Type": "application/offset+octet-stream"}
HEAD = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"
LIMIT = 100_000


@pytest.fixture(scope="module")
def clamd() -> Iterator[Clamd]:
    with Clamd() as made:
        yield made


@pytest.fixture
def own() -> Iterator[Clamd]:
    """A clamd that the test may stop and kill; it does not run yet."""
    made = Clamd()
    try:
        yield made
    finally:
        made.close()


def infected(folder: Path, name: str = "infected.mp4") -> Path:
    """A playable video that carries the EICAR string where a player does not look."""
    path = folder / "infected" / name
    path.parent.mkdir(exist_ok=True)
    box = (8 + len(EICAR)).to_bytes(4, "big") + b"free" + EICAR
    path.write_bytes(make(folder, "clip.mp4").read_bytes() + box)
    return path


def upload(server: ServerProcess, *videos: Path) -> str:
    """The task of one form."""
    status, answer = curl(server.url, videos)
    assert status == 200, answer
    return str(answer["task_id"])


def send(server: ServerProcess, video: Path) -> str:
    """A tus upload in one request; its id, which is its task's."""
    data = video.read_bytes()
    headers = VERSION | OCTETS | {"Upload-Length": str(len(data))}
    answer = server.http.post(f"{server.url}/files", headers=headers, content=data)
    assert answer.status_code == 201, answer.text
    return answer.headers["location"].rpartition("/")[2]


def get(server: ServerProcess, upload_id: str) -> httpx.Response:
    return server.http.get(f"{server.url}/files/{upload_id}")


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and code."""
    return answer.status_code, answer.text.partition(":")[0]


def message(server: ServerProcess, task: str, language: str) -> str:
    answer = server.http.get(f"{server.url}/api/task/status/{task}", headers={"Accept-Language": language})
    return str(answer.json()["message"])


def wait_for_message(server: ServerProcess, task: str, language: str, expected: str) -> None:
    until(lambda: message(server, task, language) == expected, seconds=20, what=f"the task says {expected!r}")


def steps(file: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["status"] for step in file["steps"]}


def events(server: ServerProcess, task: str) -> list[str]:
    rows = query(
        server.database_url,
        "SELECT type FROM task_events WHERE task_id = :task AND upload_id IS NULL ORDER BY id",
        task=task,
    )
    return [row["type"] for row in rows]


def results(server: ServerProcess) -> list[Path]:
    """Everything that was made of any file."""
    return [path for path in (server.data_dir / "results").rglob("*") if path.is_file()]


def check_quarantined(server: ServerProcess, upload_id: str, video: Path) -> None:
    """The bytes lie in the quarantine and nowhere else, for the operator only, and the row says so."""
    place = server.data_dir / "quarantine" / upload_id

    def has_bytes() -> bool:
        (row,) = query(server.database_url, "SELECT has_bytes, status FROM uploads WHERE id = :id", id=upload_id)
        assert row["status"] == "complete"
        return bool(row["has_bytes"])

    until(lambda: not has_bytes(), seconds=5, what="the row says that the bytes are gone")
    assert place.read_bytes() == video.read_bytes()
    assert (place.stat().st_mode & 0o777, place.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert not server.stored(upload_id).exists()


@pytest.mark.sampled(1)
@pytest.mark.parametrize("way", ["unix", "tcp"])
@pytest.mark.turns(1)
def test_a_clean_video_is_processed_and_can_be_downloaded(
    start_server: StartServer, clamd: Clamd, tmp_path: Path, way: str
) -> None:
    """It is scanned before anything else, says so, and can be downloaded."""
    server = start_server(clamd=getattr(clamd, way), downloads="on")
    video = make(tmp_path, "clip.mp4")
    task = send(server, video)
    (file,) = finish(server, task)["files"]
    assert file["scan"] == "clean"
    assert next(iter(steps(file).items())) == ("scan", "completed")
    poster(server, file)
    assert get(server, task).content == video.read_bytes()
    assert server.http.get(f"{server.url}/readyz").json()["checks"]["scanner"] == "ok"


@pytest.mark.sampled(1)
def test_without_a_scanner_the_scan_is_skipped(start_server: StartServer, database_url: str, tmp_path: Path) -> None:
    """The scan is recorded as skipped, for a video and for what is none, and nothing else changes."""
    server = start_server(database_url=database_url, downloads="on", accept="any")
    paper = tmp_path / "paper.pdf"
    paper.write_bytes(b"%PDF-1.7 whatever")
    task = upload(server, make(tmp_path, "clip.mp4"), paper)
    files = finish(server, task)["files"]
    assert [file["scan"] for file in files] == ["skipped", "skipped"]
    assert [steps(file)["scan"] for file in files] == ["skipped", "skipped"]
    assert get(server, send(server, infected(tmp_path))).status_code == 200
    assert "scanner" not in server.http.get(f"{server.url}/readyz").json()["checks"]


@pytest.mark.sampled(1)
@pytest.mark.turns(1)
def test_an_infected_video_is_quarantined(
    start_server: StartServer, database_url: str, clamd: Clamd, tmp_path: Path
) -> None:
    """Its task fails with the name of what was found; its bytes go into quarantine, and nothing is made of it."""
    server = start_server(database_url=database_url, clamd=clamd.unix, downloads="on")
    video = infected(tmp_path)
    task = send(server, video)
    status = follow(server, task, until={"error"})[-1]
    (file,) = status["files"]
    assert (file["status"], file["scan"], file["error"]["code"]) == ("error", "infected", "infected")
    assert status["message"] == f"处理出错：文件中发现病毒（{SIGNATURE}），已被隔离"
    assert message(server, task, "en") == (
        f"Processing failed: A virus was found in the file ({SIGNATURE}); it is in quarantine"
    )
    assert steps(file)["scan"] == "error"
    assert set(steps(file).values()) - {"error"} <= {"waiting", "skipped"}
    check_quarantined(server, task, video)
    assert refusal(get(server, task)) == (403, "upload_infected")
    assert [file[key] for key in ("poster_url", "mp4_url", "playable")] == [None, None, False]
    missing = server.http.get(f"{server.url}/media/{task}/{file['id']}/poster.jpg")
    assert (missing.status_code, results(server)) == (404, [])
    assert events(server, task) == ["uploaded", "processing", "infected", "file_error", "error"]
    # Deleting means gone, in quarantine too (`docs/api.md`), and the task says so.
    assert server.http.delete(f"{server.url}/files/{task}", headers=VERSION).status_code == 204
    assert not (server.data_dir / "quarantine" / task).exists()
    (row,) = query(server.database_url, "SELECT status, in_quarantine FROM uploads WHERE id = :id", id=task)
    assert (row["status"], bool(row["in_quarantine"])) == ("terminated", False)
    assert (server.status(task)["removed"], get(server, task).status_code) == (True, 410)


@pytest.mark.sampled(1)
def test_an_infected_video_does_not_stop_the_other(
    start_server: StartServer, database_url: str, clamd: Clamd, tmp_path: Path
) -> None:
    """The other one is processed; the task is completed in part and says which file failed."""
    server = start_server(database_url=database_url, clamd=clamd.tcp)
    good, bad = make(tmp_path, "clip.mp4"), infected(tmp_path)
    task = upload(server, bad, good)
    status = finish(server, task)
    assert status["partial"] is True
    assert [(file["name"], file["status"], file["scan"]) for file in status["files"]] == [
        ("infected.mp4", "error", "infected"),
        ("clip.mp4", "completed", "clean"),
    ]
    poster(server, status["files"][1])
    assert {path.parent.name for path in results(server)} == {status["files"][1]["id"]}
    rows = query(
        server.database_url, "SELECT upload_id FROM task_files WHERE task_id = :task ORDER BY position", task=task
    )
    check_quarantined(server, rows[0]["upload_id"], bad)
    assert server.stored(rows[1]["upload_id"]).read_bytes() == good.read_bytes()


@pytest.mark.sampled(1)
def test_a_task_waits_while_the_scanner_is_away(
    start_server: StartServer, database_url: str, own: Clamd, tmp_path: Path
) -> None:
    """While it is away the task waits and says why, nothing is shown; once it is there, everything goes on by itself.

    The same after a kill in the middle: what was sent to it then waits too.
    """
    server = start_server(database_url=database_url, clamd=own.unix, downloads="on")
    for when in ("never started", "killed"):
        video = make(tmp_path, "clip.mp4")
        task = send(server, video)
        wait_for_message(server, task, "zh", "正在等待，稍后自动重试：病毒扫描程序暂时不可用")
        away = "Waiting; the next attempt starts soon: The virus scanner is temporarily unavailable"
        wait_for_message(server, task, "en", away)
        status = server.status(task)
        (file,) = status["files"]
        assert (status["status"], file["status"], file["scan"]) == ("processing", "processing", None), when
        assert file["poster_url"] is None
        assert refusal(get(server, task)) == (403, "upload_unscanned")
        ready = server.http.get(f"{server.url}/readyz")
        assert (ready.status_code, ready.json()["checks"]["scanner"]) == (200, "cannot be reached; tasks wait for it")
        own.start()
        (file,) = finish(server, task)["files"]
        assert (file["scan"], steps(file)["scan"]) == ("clean", "completed")
        assert get(server, task).content == video.read_bytes()
        assert "waiting" in events(server, task)
        own.kill()
    rows = query(server.database_url, "SELECT failures FROM task_steps WHERE name = 'scan'")
    assert {row["failures"] for row in rows} == {0}, "waiting is no failure"
    assert "scan_postponed" in server.log()


def test_a_scan_is_repeated_after_the_scanner_died(start_server: StartServer, own: Clamd, tmp_path: Path) -> None:
    """Killed while it scans, and started again: the infected file is found all the same."""
    own.start()
    server = start_server(clamd=own.tcp)
    own.freeze()
    video = infected(tmp_path)
    task = send(server, video)
    until(lambda: server.status(task)["step"] == "scan", seconds=20, what="the scan runs")
    own.kill()
    until(lambda: "等待" in server.status(task)["message"], seconds=20, what="the task waits")
    own.start()
    status = follow(server, task, until={"error"})[-1]
    assert status["files"][0]["error"]["code"] == "infected"
    check_quarantined(server, task, video)


def test_a_file_that_crashes_the_scanner_each_time_fails(start_server: StartServer, own: Clamd, tmp_path: Path) -> None:
    """clamd dies over one file as often as it gets it: that one is an error, shown to nobody, and the next is clean."""
    own.start()
    server = start_server(clamd=own.tcp, task_max_attempts=2, task_retry_pause=0.1, encode_limit=1, downloads="on")
    video = tmp_path / "deadly.mp4"
    video.write_bytes(HEAD + bytes(24 << 20))
    task = send(server, video)
    with killing(own):
        (file,) = follow(server, task, until={"error"})[-1]["files"]
    assert (file["error"]["code"], file["scan"], steps(file)["scan"]) == ("scanner_failed", None, "error")
    assert refusal(get(server, task)) == (403, "upload_unscanned")
    assert results(server) == []
    assert server.stored(task).exists()
    (file,) = finish(server, send(server, make(tmp_path, "clip.mp4")))["files"]
    assert file["scan"] == "clean"


@contextmanager
def killing(clamd: Clamd) -> Iterator[None]:
    """While this lasts, clamd dies of a file that is larger than a MiB, and is started again."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            if clamd.received() > 1 << 20:
                clamd.kill()
                clamd.start()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(PATIENCE)


def test_a_cancel_ends_a_scan_within_two_seconds(start_server: StartServer, own: Clamd, tmp_path: Path) -> None:
    """The worker lets go of a scanner that says nothing within two seconds, and takes the next task."""
    own.start()
    server = start_server(clamd=own.unix, encode_limit=1, scan_max_size="1GiB")
    own.freeze()
    video = tmp_path / "large.mp4"
    video.write_bytes(HEAD + bytes(32 << 20))
    task = send(server, video)
    until(lambda: server.status(task)["step"] == "scan", seconds=20, what="the scan runs")
    assert server.http.post(f"{server.url}/api/task/cancel/{task}").status_code == 200
    within(lambda: "attempt_stopped" in server.log(), seconds=2, what="the worker lets go")
    assert server.status(task)["status"] == "cancelled"
    own.thaw()
    finish(server, send(server, make(tmp_path, "clip.mp4")))
    assert server.status(task)["files"][0]["scan"] is None


@pytest.mark.parametrize("engine", ["videodock", "tuspyserver"])
def test_a_file_too_large_to_scan_is_refused(
    start_server: StartServer, clamd: Clamd, tmp_path: Path, engine: str
) -> None:
    """Whichever way it comes, a file that cannot be scanned is refused as soon as its length is known."""
    server = start_server(clamd=clamd.unix, scan_max_size=LIMIT, scheduler="none", tus_engine=engine)
    files = f"{server.url}/files"
    assert server.http.options(files).headers["tus-max-size"] == str(LIMIT)
    wrong = (413, "too_large_to_scan")

    def create(**headers: str) -> httpx.Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return server.http.post(files, headers=VERSION | given)

    assert create(Upload_Length=str(LIMIT)).status_code == 201
    assert refusal(create(Upload_Length=str(LIMIT + 1))) == wrong
    assert refusal(create(Upload_Length=str(LIMIT + 1), Upload_Concat="partial")) == wrong
    parts = [create(Upload_Length=str(LIMIT // 2 + 1), Upload_Concat="partial").headers["location"] for _ in "ab"]
    assert refusal(create(Upload_Concat="final;" + " ".join(parts))) == wrong

    deferred = create(Upload_Defer_Length="1").headers["location"]
    headers = VERSION | OCTETS | {"Upload-Offset": "0", "Upload-Length": str(LIMIT + 1)}
    assert refusal(server.http.patch(deferred, headers=headers, content=HEAD)) == wrong
    long = VERSION | OCTETS | {"Upload-Offset": "0"}
    assert refusal(server.http.patch(deferred, headers=long, content=HEAD + bytes(LIMIT))) == wrong
    endless = server.http.patch(deferred, headers=long, content=iter([HEAD, bytes(LIMIT)]))
    assert refusal(endless) == (413, "body_too_large")
    looked = server.http.head(deferred, headers=VERSION).headers
    assert (looked["upload-offset"], looked["upload-defer-length"]) == ("0", "1"), "a refusal changes nothing"
    whole = server.http.patch(deferred, headers=long, content=HEAD + bytes(LIMIT - len(HEAD)))
    assert whole.status_code == 204, whole.text
    last = VERSION | OCTETS | {"Upload-Offset": str(LIMIT), "Upload-Length": str(LIMIT)}
    assert server.http.patch(deferred, headers=last, content=b"").status_code == 204
    with_upload = VERSION | OCTETS | {"Upload-Defer-Length": "1"}
    assert refusal(server.http.post(files, headers=with_upload, content=HEAD + bytes(LIMIT))) == wrong

    large = tmp_path / "large.mp4"
    large.write_bytes(HEAD + bytes(LIMIT))
    status, answer = curl(server.url, [large])
    assert (status, answer["code"], answer["invalid_files"]) == (413, "no_valid_file", ["large.mp4"])
    assert answer["invalid_details"][0]["code"] == "too_large_to_scan"
    assert answer["invalid_details"][0]["message"] == "文件过大，无法进行病毒扫描，最大 97.7 KiB"
    status, answer = curl(server.url, [large, make(tmp_path, "clip.mp4", seconds=1, audio=False)])
    assert (status, answer["uploaded_files"], answer["invalid_files"]) == (200, 1, ["large.mp4"])


def test_the_smaller_limit_is_the_reason(start_server: StartServer, clamd: Clamd, tmp_path: Path) -> None:
    """A file that is too large anyway is refused for that; without a scanner its limit is nobody's."""
    large = tmp_path / "large.mp4"
    large.write_bytes(HEAD + bytes(LIMIT))
    server = start_server(clamd=clamd.unix, max_file_size=LIMIT // 2, scan_max_size=LIMIT, scheduler="none")
    assert curl(server.url, [large])[1]["invalid_details"][0]["code"] == "file_too_large"
    server = start_server(scan_max_size=LIMIT, scheduler="none")
    assert curl(server.url, [large])[0] == 200


@pytest.mark.sampled(1)
def test_a_file_too_large_to_scan_may_be_accepted_and_marked(
    start_server: StartServer, database_url: str, clamd: Clamd, tmp_path: Path
) -> None:
    """By setting it comes in, is processed, says that it was not scanned, and may be downloaded."""
    video = infected(tmp_path)
    settings = {"scan_max_size": video.stat().st_size - 1, "scan_too_large": "mark", "downloads": "on"}
    server = start_server(database_url=database_url, clamd=clamd.unix, **settings)
    task = send(server, video)
    (file,) = finish(server, task)["files"]
    assert (file["scan"], steps(file)["scan"]) == ("too_large", "completed")
    poster(server, file)
    assert get(server, task).content == video.read_bytes()


@pytest.mark.parametrize("rule", ["refuse", "mark"])
def test_a_lower_limit_of_clamd_is_respected(start_server: StartServer, tmp_path: Path, rule: str) -> None:
    """Where clamd takes less than the setting says, the same rule holds: the file fails, or is marked."""
    with Clamd(StreamMaxLength="50K") as strict:
        server = start_server(clamd=strict.unix, scan_too_large=rule, downloads="on")
        task = send(server, make(tmp_path, "clip.mp4"))
        if rule == "mark":
            assert finish(server, task)["files"][0]["scan"] == "too_large"
            assert get(server, task).status_code == 200
            return
        (file,) = follow(server, task, until={"error"})[-1]["files"]
    assert (file["scan"], file["error"]["code"]) == ("too_large", "scan_limit")
    assert results(server) == []
    assert refusal(get(server, task)) == (403, "upload_unscanned")
    assert server.stored(task).exists(), "it is not infected, as far as anybody knows"


def test_a_waiting_task_goes_on_after_the_scanner_was_unset(
    start_server: StartServer, own: Clamd, tmp_path: Path
) -> None:
    """A task that waits for a scanner goes on without one when the setting is gone; set again, nothing is handed out
    that no scanner saw."""
    server = start_server(clamd=own.unix, downloads="on")
    task = send(server, make(tmp_path, "clip.mp4"))
    until(lambda: "等待" in server.status(task)["message"], seconds=20, what="the task waits")
    server.stop()
    server.environment["VIDEODOCK_CLAMD"] = ""
    server.start()
    (file,) = finish(server, task)["files"]
    assert (file["scan"], steps(file)["scan"]) == ("skipped", "skipped")
    assert get(server, task).status_code == 200
    server.stop()
    del server.environment["VIDEODOCK_CLAMD"]
    server.start()
    assert refusal(get(server, task)) == (403, "upload_unscanned")


def test_a_scanner_that_is_set_later_scans_a_started_task(
    start_server: StartServer, clamd: Clamd, gate: Gate, tmp_path: Path
) -> None:
    """A task that was begun without a scanner is scanned by the next attempt, which has one."""
    server = start_server(ffmpeg=gate.path)
    video = infected(tmp_path)
    task = send(server, video)
    until(gate.waiting, seconds=20, what="the poster is being made")
    assert server.status(task)["files"][0]["scan"] == "skipped"
    server.stop()
    server.environment["VIDEODOCK_CLAMD"] = clamd.unix
    gate.open()
    server.start()
    (file,) = follow(server, task, until={"error"})[-1]["files"]
    assert (file["scan"], steps(file)["scan"], steps(file)["poster"]) == ("infected", "error", "skipped")
    check_quarantined(server, task, video)
