"""The samples of docs/clients.md that have a credential, run as they stand, with the login expired in the middle."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_clients_grants import Backend, ended
from tests.acceptance.test_clients_page import sample
from tests.conftest import StartServer
from tests.harness.chromium import drive, responses
from tests.harness.node import CLIENTS
from tests.harness.rows import query
from tests.harness.server_process import ROOT
from tests.harness.uppy_page import serving
from tests.harness.waiting import PATIENCE
from tests.samples import big, make

pytestmark = [pytest.mark.acceptance, pytest.mark.turns(3)]  # clients and ways to a grant

MIB = 1 << 20
SERVER = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A playable video."""
    return big(tmp_path_factory.mktemp("video"), "假期 holiday.mp4", 3 * MIB + 12_345)


@pytest.fixture
def backend(start_server: StartServer, tmp_path: Path) -> Backend:
    """A company's backend with its key, and a server with authentication."""
    made = Backend(start_server(auth="on", rate_failures=""), tmp_path)
    made.keys["owner"] = made.key("alice", "upload", "read", "manage")
    return made


def run(folder: Path, backend: Backend, *command: str, url: str = "") -> "subprocess.Popen[str]":
    """Start a command in that folder, with the key in its environment."""
    ours = {"VIDEODOCK_KEY": backend.keys["owner"], "VIDEODOCK_URL": url or backend.server.url}
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **ours},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def done(process: "subprocess.Popen[str]") -> str:
    out, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, (out, error)
    return out.strip()


def install(folder: Path, section: str, language: str, name: str) -> str:
    """Write a sample into a folder where Node finds its packages; its name."""
    (folder / name).write_text(sample(section, language))
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(CLIENTS / "node_modules")
    return name


def grant_by_sample(folder: Path, backend: Backend, video: Path, url: str = "") -> dict[str, Any]:
    install(folder, "A backend in Python", "python", "grant.py")
    size = str(video.stat().st_size)
    found: dict[str, Any] = json.loads(
        done(run(folder, backend, sys.executable, "grant.py", video.name, size, url=url))
    )
    return found


@contextmanager
def site(backend: Backend, folder: Path) -> Iterator[str]:
    """A company's site: it renews tokens at /login, and asks for grants by the sample at /grants, for any page."""
    install(folder, "A backend in Python", "python", "grant.py")

    class Site(BaseHTTPRequestHandler):
        def do_OPTIONS(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            if self.path == "/login":
                self._answer({"token": backend.keys["owner"]})
                return
            asked = json.loads(body)
            command = (sys.executable, "grant.py", asked["filename"], str(asked["size"]))
            self._answer(
                json.loads(
                    done(
                        run(
                            folder,
                            backend,
                            *command,
                        )
                    )
                )
            )

        def _answer(self, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            for name in ("Origin", "Headers", "Methods"):
                self.send_header(f"Access-Control-Allow-{name}", "*")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)


def test_the_backend_asks_for_a_grant_and_tus_js_client_uses_it(backend: Backend, video: Path, tmp_path: Path) -> None:
    """The two samples together: the URL is all that the client has, the login expires, and the upload is whole."""
    name = install(tmp_path, "A grant in tus-js-client", "js", "send.mjs")
    with backend.expiring(at=2 * MIB) as (proxy, go_on):
        grant = grant_by_sample(tmp_path, backend, video, proxy.url)
        assert grant["upload_url"].startswith(proxy.url)
        process = run(tmp_path, backend, "node", name, str(video), grant["upload_url"])
        go_on()
        printed = done(process)
    assert printed == grant["upload_url"].rpartition("/")[2]
    backend.check(grant["upload_url"], video)


def test_the_backend_is_told_what_is_wrong_and_follows_its_grant(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`status` and a refusal, of the sample as a module; the form by the grant, as its sample sends it."""
    video = make(tmp_path, "holiday.mp4")
    monkeypatch.setenv("VIDEODOCK_URL", backend.server.url)
    monkeypatch.setenv("VIDEODOCK_KEY", backend.keys["owner"])
    module: dict[str, Any] = {"__name__": "grant"}
    exec(compile(sample("A backend in Python", "python"), "grant.py", "exec"), module)
    with pytest.raises(RuntimeError, match=r"400 .*max_sise"):
        module["grant"](video.name, 10, max_sise=1)
    given = module["grant"](video.name, video.stat().st_size)
    with pytest.raises(RuntimeError, match="404"):
        module["status"](given)
    install(tmp_path, "A grant with curl", "bash", "send")
    sent = done(run(tmp_path, backend, "bash", "send", given["upload_url"], str(video)))
    assert sent == given["upload_url"].rpartition("/")[2]
    assert ended(given["status_url"])["status"] == "completed"
    assert module["status"](given)["status"] == "completed"
    assert done(run(tmp_path, backend, "bash", "send", given["upload_url"], str(video))) == sent, "it is complete"
    form = module["grant"](video.name, video.stat().st_size)
    shell = sample("A grant with curl", "sh").replace("$FORM_URL", form["form_url"])
    assert json.loads(done(run(video.parent, backend, "bash", "-ec", shell)))["success"]
    assert ended(form["status_url"])["status"] == "completed"


@pytest.mark.parametrize("section", ["A key", "A token that is renewed"])
def test_a_client_with_a_credential(backend: Backend, video: Path, tmp_path: Path, section: str) -> None:
    """By a key, and by a token that the site renews: the login ends in the middle, and the upload is whole."""
    name = install(tmp_path, section, "js", "upload.mjs")
    with site(backend, tmp_path) as login, backend.expiring(at=2 * MIB) as (proxy, go_on):
        process = run(tmp_path, backend, "node", name, str(video), proxy.url, f"{login}/login")
        go_on()
        printed = done(process)
    backend.check(f"{backend.server.url}/files/{printed}", video)


def test_the_form_by_a_key(backend: Backend, tmp_path: Path) -> None:
    """curl reads the key from its standard input."""
    video = make(tmp_path, "holiday.mp4")
    shell = sample("A key", "sh").replace(SERVER, backend.server.url)
    answer = json.loads(done(run(video.parent, backend, "bash", "-ec", shell)))
    assert answer["success"], answer
    assert query(backend.server.database_url, "SELECT owner FROM tasks") == [{"owner": "alice"}]


@pytest.mark.sampled(1)
def test_uppy_asks_for_a_grant_for_each_file(backend: Backend, video: Path, tmp_path: Path) -> None:
    """Two files get a grant each, by the sample, from the sample's backend."""
    (tmp_path / "uppy").mkdir()
    second = make(tmp_path, "dive.mov")
    with serving(tmp_path / "uppy") as page, site(backend, tmp_path) as grants:
        steps = [["drop", str(video), str(second)], ["press", "Upload 2 files"], ["text", "Complete"]]
        url = f"{page}/?endpoint=&grants={grants}/grants"
        with drive("uppy.mjs", tmp_path, url=url, steps=steps) as client:
            events = client.finish(seconds=90)
    posts = [event["url"] for event in responses(events, "POST") if "/files/g/" in event["url"]]
    assert len(set(posts)) == 2
    assert len(query(backend.server.database_url, "SELECT DISTINCT grant_id FROM uploads")) == 2
    tasks = query(backend.server.database_url, "SELECT id FROM tasks")
    assert len(tasks) == 2


def test_the_documented_uppy_sample_is_what_runs() -> None:
    """docs/clients.md shows the very code that these tests bundle."""
    code = (CLIENTS / "uppy/grants.js").read_text()
    assert f"```js\n{code}```" in (ROOT / "docs/clients.md").read_text()


def test_the_rule_stands_there() -> None:
    """What a reader must not miss."""
    text = (ROOT / "docs/clients.md").read_text().replace("\n", " ")
    assert "The upload URL is the secret. Keep it out of logs, and share it with nobody." in text
