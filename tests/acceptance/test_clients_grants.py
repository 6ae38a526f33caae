"""Real clients upload through a grant, or by a key, that expires in the middle: each resumes, and nothing is lost."""

import itertools
import json
import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tusclient.client import TusClient
from tusclient.uploader.uploader import Uploader

from tests.conftest import StartServer
from tests.harness.chromium import check_continued, drive
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.java import upload as java_upload
from tests.harness.multipart import swift_body
from tests.harness.node import Event, NodeClient
from tests.harness.rows import execute, query, sha256
from tests.harness.tasks import ENDS
from tests.harness.tuskit import CHUNK, TUSKit
from tests.harness.uppy_page import serving
from tests.harness.waiting import PATIENCE, until
from tests.samples import big, make
from tests.security.callers import TUS, Callers, id_of

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # clients and what interrupts them

MIB = 1 << 20
RETRIES = [0, 100, 300, 600, 1000, 2000, 3000]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A playable video whose length no chunk divides."""
    return big(tmp_path_factory.mktemp("video"), "假期 holiday.mp4", 3 * MIB + 12_345)


@pytest.fixture(params=["videodock", "tuspyserver"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Backend(Callers):
    """What a company's server does: it has a key, asks for grants with it, and hands their URLs out."""

    def expire(self) -> None:
        """Every key and every grant expires, and the server has noticed."""
        witness = self.grant()
        for table in ("api_keys", "grants"):
            execute(self.server.database_url, f"UPDATE {table} SET expires_at = created_at")

        lengths = itertools.count(11)

        def refused() -> bool:
            ask = {**TUS, "Upload-Length": str(next(lengths))}  # the same creation again would get the same upload
            by_key = httpx.post(
                f"{self.server.url}/files", headers={**ask, **self.headers("owner")}, trust_env=False, timeout=PATIENCE
            )
            by_grant = httpx.post(str(witness["tus_endpoint"]), headers=ask, trust_env=False, timeout=PATIENCE)
            return (by_key.status_code, by_grant.status_code) == (401, 403)

        until(refused, seconds=10, what="neither key nor grant creates anything")

    @contextmanager
    def expiring(self, at: int, *, cut: bool = True) -> Iterator[tuple[CuttingProxy, Any]]:
        """A proxy that holds the stream after `at` bytes, and what then lets all logins expire and cuts it."""
        with CuttingProxy(self.server.port, hold_at=at, cuts=[at] if cut else []) as proxy:

            def go_on() -> None:
                assert proxy.held.wait(PATIENCE)
                self.expire()
                proxy.release()

            yield proxy, go_on
            assert proxy.cut_count == int(cut)

    def through(self, proxy: CuttingProxy, **terms: Any) -> dict[str, str]:
        """A new grant whose URLs lead through that proxy."""
        return {name: str(value).replace(self.server.url, proxy.url) for name, value in self.grant(**terms).items()}

    def check(self, url: str, *videos: Path) -> None:
        """What was uploaded to `url` is whole, is the only task, and its status is had by the URL's last segment."""
        status = f"{self.server.url}/api/task/status/{url.split('/').pop()}"
        answer = ended(status)
        assert answer["status"] == "completed", answer
        assert [file["name"] for file in answer["files"]] == [video.name for video in videos]
        sql = "SELECT upload_id FROM task_files WHERE task_id = :task ORDER BY position"
        found = query(self.server.database_url, sql, task=answer["task_id"])
        assert [sha256(self.server.stored(row["upload_id"])) for row in found] == [sha256(video) for video in videos]
        tasks = query(self.server.database_url, "SELECT id, owner FROM tasks")
        assert tasks == [{"id": answer["task_id"], "owner": "alice"}]
        if "/files/" in url:
            assert url.rpartition("~")[2], "the URL has a signature"
            assert answer["task_id"] == id_of(url)


def ended(status: str) -> dict[str, Any]:
    """The last status of a task, asked without any credential."""

    def ask() -> dict[str, Any] | None:
        answer = httpx.get(status, trust_env=False, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found if found["status"] in ENDS else None

    found = until(ask, seconds=60, what="the task has ended")
    assert found is not None
    return found


@pytest.fixture
def backend(start_server: StartServer, engine: str, tmp_path: Path) -> Backend:
    """A company's backend with its key, and a server with authentication, with each engine."""
    made = Backend(start_server(auth="on", rate_failures="", tus_engine=engine), tmp_path)
    made.keys["owner"] = made.key("alice", "upload", "read", "manage")
    return made


def options(endpoint: str, source: Path, **more: object) -> dict[str, Any]:
    given = {"endpoint": endpoint, "path": str(source), "retryDelays": RETRIES}
    return given | {"metadata": {"filename": source.name, "filetype": "video/mp4"}} | more


def url_of(events: list[Event]) -> str:
    (end,) = [event for event in events if event["event"] == "success"]
    return str(end["url"])


def answers(events: list[Event], method: str) -> list[tuple[int, str | None]]:
    found = [event for event in events if event["event"] == "response" and event["method"] == method]
    return [(event["status"], event["offset"]) for event in found]


def check_resumed(events: list[Event], creations: int) -> None:
    """It asked where it was, went on there, and created nothing anew."""
    heads = answers(events, "HEAD")
    assert heads
    assert {status for status, _ in heads} == {200}
    assert max(int(offset or 0) for _, offset in heads) > 0
    assert [status for status, _ in answers(events, "POST")] == [201] * creations


WAYS: dict[str, dict[str, Any]] = {
    "single": {},
    "parts": {"parallelUploads": 3},
    "creation with data": {"uploadDataDuringCreation": True, "chunkSize": MIB},
    "override": {"overridePatchMethod": True},
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("by", ["grant", "key"])
def test_tus_js_client_resumes(backend: Backend, video: Path, tmp_path: Path, way: str, by: str) -> None:
    """Each way of tus-js-client, by a grant and by a key in its headers: also the parts are joined after the end."""
    with backend.expiring(at=2 * MIB) as (proxy, go_on):
        given = options(backend.through(proxy)["tus_endpoint"], video)
        if by == "key":
            given |= {"endpoint": f"{proxy.url}/files", "headers": backend.headers("owner")}
        with NodeClient("tus.mjs", tmp_path, **given, **WAYS[way]) as client:
            go_on()
            events = client.finish()
    if way == "override":
        assert {event["method"] for event in events if event["event"] == "response"} == {"POST", "HEAD"}
        assert max(int(offset or 0) for _, offset in answers(events, "HEAD")) > 0
    else:
        check_resumed(events, creations=4 if way == "parts" else 1)
    backend.check(url_of(events), video)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("terms", ["size", "no size"])
def test_tus_js_client_begins_at_the_url_of_a_grant(backend: Backend, video: Path, tmp_path: Path, terms: str) -> None:
    """`uploadUrl` and no endpoint: with `size` as it is, without by `uploadLengthDeferred` and a stream."""
    size = video.stat().st_size
    with backend.expiring(at=2 * MIB) as (proxy, go_on):
        more = {"size": size} if terms == "size" else {}
        grant = backend.through(proxy, filename=video.name, **more)
        given = options("", video, uploadUrl=grant["upload_url"])
        given |= {} if terms == "size" else {"uploadLengthDeferred": True, "chunkSize": MIB, "asStream": True}
        with NodeClient("tus.mjs", tmp_path, **{**given, "endpoint": None}) as client:
            go_on()
            events = client.finish()
    check_resumed(events, creations=0)
    assert url_of(events) == grant["upload_url"]
    backend.check(grant["upload_url"], video)
    (row,) = query(
        backend.server.database_url, "SELECT length FROM uploads WHERE id = :id", id=id_of(grant["upload_url"])
    )
    assert row["length"] == size


def test_tus_js_client_says_what_it_lacks(backend: Backend, video: Path, tmp_path: Path) -> None:
    """Without `size` and `uploadLengthDeferred` it sends nothing to `upload_url`: docs/clients.md says so."""
    given = options("", video, uploadUrl=backend.grant()["upload_url"]) | {"endpoint": None, "retryDelays": None}
    with NodeClient("tus.mjs", tmp_path, **given) as client:
        assert "invalid or missing length" in client.wait_for("error")["message"]
        client.wait_for("error")


@pytest.fixture(scope="module")
def uppy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("uppy")) as origin:
        yield origin


@pytest.mark.sampled(1)
def test_uppy_resumes(backend: Backend, uppy: str, video: Path, tmp_path: Path) -> None:
    """A page of another origin, named by the grant, creates by it, and goes on after its end."""
    with backend.expiring(at=2 * MIB) as (proxy, go_on):
        endpoint = backend.through(proxy, allowed_origin=uppy)["tus_endpoint"]
        steps = [["drop", str(video)], ["press", "Upload 1 file"], ["text", "Complete"]]
        with drive("uppy.mjs", tmp_path, url=f"{uppy}/?endpoint={endpoint}", steps=steps) as client:
            go_on()
            events = client.finish(seconds=150)
    assert check_continued(events) > 0
    said = [event["text"] for event in events if event["event"] == "console"]
    (url,) = [text.rpartition(" ")[2] for text in said if text.startswith("uppy upload-success ")]
    backend.check(url, video)


@pytest.mark.sampled(1)
def test_tuskit_resumes(backend: Backend, video: Path, tmp_path: Path) -> None:
    """TUSKit at `tus_endpoint`: it sends no credential, and never looks at a status."""
    with backend.expiring(at=2 * CHUNK + CHUNK // 2) as (proxy, go_on):
        endpoint = backend.through(proxy)["tus_endpoint"]
        client = TUSKit(proxy.url, video, tmp_path, endpoint=endpoint, time_limit=PATIENCE)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(client.run)
            go_on()
            running.result(PATIENCE)
    assert client.finished
    assert client.failures >= 1
    assert [exchange.method for exchange in client.exchanges].count("POST") == 1
    backend.check(client.url, client.file)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("by", ["grant", "key"])
def test_tuspy_resumes(backend: Backend, video: Path, by: str) -> None:
    """tuspy with a checksum on every chunk; by a key it sends the expired one on with each PATCH."""
    with backend.expiring(at=MIB + MIB // 2) as (proxy, go_on):
        endpoint = backend.through(proxy)["tus_endpoint"] if by == "grant" else f"{proxy.url}/files"
        made = TusClient(endpoint, headers=backend.headers("owner") if by == "key" else {})
        with video.open("rb") as file:
            client = Uploader(
                file_stream=file,
                client=made,
                metadata={"filename": video.name},
                chunk_size=MIB,
                upload_checksum=True,
                retries=5,
                retry_delay=0.1,  # type: ignore[arg-type]
            )
            with ThreadPoolExecutor(1) as pool:
                running = pool.submit(client.upload)
                go_on()
                running.result(PATIENCE)
    backend.check(str(client.url), video)


@pytest.mark.sampled(1)
def test_the_java_client_resumes(backend: Backend, video: Path) -> None:
    """The app ends with the connection; started again it knows only the upload's URL."""
    with backend.expiring(at=2 * MIB) as (proxy, go_on):
        endpoint = backend.through(proxy)["tus_endpoint"]
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(java_upload, endpoint, video, MIB)
            go_on()
            url, why = running.result(PATIENCE)
        assert why
        assert java_upload(endpoint, video, MIB, url) == (url, "")
    backend.check(url, video)


def curl(*arguments: str) -> "subprocess.Popen[str]":
    command = ["curl", "--silent", "--show-error", "--max-time", "120", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def told(client: "subprocess.Popen[str]") -> str:
    out, error = client.communicate(timeout=PATIENCE)
    assert client.returncode == 0, error
    return out


def patch(url: str, rest: Path, offset: int, *more: str) -> "subprocess.Popen[str]":
    headers = [*TUS.items(), ("Content-Type", "application/offset+octet-stream"), ("Upload-Offset", str(offset))]
    lines = [part for name, value in headers for part in ("--header", f"{name}: {value}")]
    return curl("--request", "PATCH", *lines, *more, "--data-binary", f"@{rest}", "--write-out", "%{http_code}", url)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("way", ["upload_url", "key at creation only"])
def test_curl_resumes(backend: Backend, video: Path, tmp_path: Path, way: str) -> None:
    """HEAD and PATCH by curl, first at the URL of a grant or of a creation by a key; then HEAD, and what is left."""
    size = str(video.stat().st_size)
    with backend.expiring(at=2 * MIB) as (proxy, go_on):
        if way == "upload_url":
            url = backend.through(proxy, filename=video.name)["upload_url"]
        else:
            name = f"Upload-Metadata: filename {b64(video.name)}"
            key = f"Authorization: Bearer {backend.keys['owner']}"
            made = curl(
                *("--request", "POST", "--header", "Tus-Resumable: 1.0.0", "--header", f"Upload-Length: {size}"),
                *("--header", name, "--header", key, "--write-out", "%header{location}", f"{proxy.url}/files"),
            )
            url = told(made)
        assert offset(url) == 0
        first = patch(url, video, 0, "--header", f"Upload-Length: {size}")
        go_on()
        first.communicate(timeout=PATIENCE)
        assert first.returncode != 0
        at = until(lambda: offset(url), seconds=10, what="what arrived is told")
        assert at
        rest = tmp_path / "rest"
        rest.write_bytes(video.read_bytes()[at:])
        assert told(patch(url, rest, at)) == "204"
    backend.check(url, video)


def b64(text: str) -> str:
    return subprocess.run(["base64", "-w0"], input=text, capture_output=True, text=True, check=True).stdout


def offset(url: str) -> int:
    head = told(curl("--head", "--header", "Tus-Resumable: 1.0.0", "--write-out", "%header{upload-offset}", url))
    return int(head.splitlines()[-1])


@pytest.mark.sampled(2)
@pytest.mark.parametrize("by", ["curl", "the documented Swift request"])
def test_a_form_goes_on(backend: Backend, tmp_path: Path, by: str) -> None:
    """A form at `form_url` that began before the end is taken whole, and `status_url` is that of its task."""
    videos = [big(tmp_path, "IMG_0815.mp4", 2 * MIB + 77), make(tmp_path, "假期.mov")]
    with backend.expiring(at=MIB, cut=False) as (proxy, go_on), ThreadPoolExecutor(1) as pool:
        grant = backend.through(proxy, uploads=2)
        running = pool.submit(by_curl if by == "curl" else by_swift, grant["form_url"], videos)
        go_on()
        answer = running.result(PATIENCE)
    assert (answer["success"], answer["uploaded_files"], answer["invalid_files"]) == (True, 2, None), answer
    plain = backend.server.http.get(f"{backend.server.url}/api/task/status/{answer['task_id']}")
    assert plain.status_code == 401, "the id of a task is no secret, and opens nothing"
    backend.check(grant["status_url"].replace(proxy.url, backend.server.url), *videos)


def by_curl(url: str, videos: list[Path]) -> dict[str, Any]:
    files = [part for video in videos for part in ("--form", f"videos=@{video}")]
    found: dict[str, Any] = json.loads(told(curl(*files, url)))
    return found


def by_swift(url: str, videos: list[Path]) -> dict[str, Any]:
    """The request of the API document's Swift sample, byte for byte, at another URL."""
    boundary = str(uuid.uuid4()).upper()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    body = swift_body(boundary, [(video.name, video.read_bytes()) for video in videos])
    found: dict[str, Any] = httpx.post(url, headers=headers, content=body, timeout=PATIENCE, trust_env=False).json()
    return found
