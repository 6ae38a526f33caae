"""The command `videodock doctor`: its exit codes, its output, keys, and what it leaves behind."""

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from server import media_types
from server.doctor import outside, page
from server.doctor.catalogue import CATALOGUE
from server.doctor.findings import Report
from server.doctor.sample import sample
from tests.conftest import StartServer
from tests.harness import fronts
from tests.harness.ports import free_port
from tests.harness.rows import query
from tests.harness.server_process import ROOT, ServerProcess

OPEN = "SELECT id FROM uploads WHERE status = 'open'"


def codes(text: str) -> set[str]:
    return {finding["code"] for check in json.loads(text)["checks"] for finding in check["findings"]}


def test_beside_a_server_it_finds_nothing_and_leaves_nothing(start_server: StartServer, tmp_path: Path) -> None:
    """Exit code 0 and a line a check; JSON has the same; the server's own upload stays, and the doctor's is gone and
    not counted by reports."""
    server = start_server()
    mine = server.http.post(f"{server.url}/files", headers={"Tus-Resumable": "1.0.0", "Upload-Length": "10"})
    done = server.run("doctor", "--url", server.url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nothing is wrong." in done.stdout
    assert done.stderr == ""
    assert re.search(r"^buffering +ok", done.stdout, re.MULTILINE)
    assert [row["id"] for row in query(server.database_url, OPEN)] == [mine.headers["Location"].rpartition("/")[2]]
    assert query(server.database_url, "SELECT count(*) AS rows FROM uploads WHERE client = 'doctor'") == [{"rows": 1}]
    assert query(server.database_url, "SELECT sum(uploads) AS uploads FROM uploads_per_day") == [{"uploads": 1}]
    told = server.run("doctor", "--url", f"http://127.0.0.1:{free_port()}/", "--only-url", "--json")
    assert (told.returncode, codes(told.stdout)) == (1, {"url_unreachable"})
    for arguments, sentence in (
        (("--url", "ftp://example.com"), "is not the URL of a site"),
        (("--url", f"http://{'a' * 70}/"), "is not the name of a host"),
        (("--url", server.url, "--key", "a\nb"), "no header may have"),
        (("--url", "https://127.0.0.1", "--ca", str(tmp_path / "none")), "has no certificates"),
        (("--only-url",), "belong to --url"),
    ):
        wrong = server.run("doctor", *arguments)
        assert (wrong.returncode, sentence in wrong.stderr) == (2, True), wrong.stderr


def test_with_authentication_it_needs_a_key_of_the_scope_upload(start_server: StartServer) -> None:
    """Without a key it says how to make one; with a wrong one that it is refused; with that one all is well."""
    server = start_server(auth="on")
    url = ("doctor", "--url", server.url, "--only-url", "--json")
    none = server.run(*url)
    assert (none.returncode, codes(none.stdout)) == (1, {"key_needed"})
    wrong = server.run(*url, "--key", "vdk_wrong")
    assert (wrong.returncode, codes(wrong.stdout)) == (1, {"key_refused"})
    key = server.run("keys", "create", "--owner", "doctor", "--scope", "upload").stdout.split()[0]
    server.environment["VIDEODOCK_DOCTOR_KEY"] = key
    right = server.run(*url)
    assert (right.returncode, codes(right.stdout)) == (0, set()), right.stdout
    assert "VIDEODOCK_DOCTOR_KEY" not in right.stderr
    assert query(server.database_url, OPEN) == []


def test_a_certificate_that_is_not_trusted_and_another_site_end_the_visit(
    server: ServerProcess, tmp_path: Path
) -> None:
    """Each is one finding, and nothing else is asked."""
    with fronts.nginx(tmp_path / "nginx", server.port, {}) as front:
        untrusted, elsewhere = Report(), Report()
        outside.examine(front.url, untrusted)
        outside.examine(f"{front.url}/elsewhere", elsewhere, ca=str(front.certificate))
    assert [finding.code for finding in untrusted.findings] == ["certificate_invalid"]
    assert [one.code for one in elsewhere.findings if one.code != "certificate_expires"] == ["not_videodock"]


def test_small_and_full_servers_are_no_reason_for_findings(start_server: StartServer) -> None:
    """With the smallest uploads less is looked at, and nothing is made up; a full disk is what the server says."""
    for most in (2000, 70_000, 5 << 20):
        report = Report()
        outside.examine(start_server(tus_max_size=most).url, report)
        assert report.findings == [], most
    report = Report()
    outside.examine(start_server(disk_reserve="900TiB").url, report)
    (finding,) = report.findings
    assert (finding.code, finding.params["status"]) == ("creation_refused", 507)


def test_another_program_at_the_address_is_recognised() -> None:
    """A redirect, a server that is not ready and whose clock is wrong, and one that swallows PATCHes: each is said."""

    class Odd(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = {"/moved/healthz": (308, b""), "/readyz": (503, b"no")}.get(self.path, (200, b'{"alive"}'))
            self.send_response(status)
            self.send_header("Location", "https://video.example.com/healthz")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return "Sun, 06 Nov 1994 08:49:37 GMT"

        def log_message(self, *_: object) -> None:
            """Nothing on standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        moved, odd = Report(), Report()
        outside.examine(f"{url}/moved", moved)
        outside.examine(url, odd)
    finally:
        server.shutdown()
        server.server_close()
    assert [(one.code, one.params["target"]) for one in moved.findings] == [("redirected", "https://video.example.com")]
    assert {"server_not_ready", "clock_differs", "method_refused"} <= {one.code for one in odd.findings}


@pytest.mark.parametrize(
    ("header", "value", "code"),
    [
        ("Location", "http://[", "upload_unknown"),
        ("Location", "/files/a b", "upload_unknown"),
        ("Location", "/files/\u00e9", "upload_unknown"),
        ("Upload-Offset", "9" * 5000, "request_header_lost"),
        ("Upload-Offset", "\u00b2", "request_header_lost"),
        ("Tus-Max-Size", "9" * 5000, "head_stale"),
        ("Tus-Max-Size", "\u00b2", "head_stale"),
    ],
)
def test_headers_that_make_no_sense_are_no_traceback(header: str, value: str, code: str) -> None:
    """A server that answers with a URL or a number that is none: the visit ends with a finding."""

    class Odd(BaseHTTPRequestHandler):
        def answer(self) -> None:
            status = {"GET": 200, "POST": 201, "HEAD": 200}.get(self.command, 204)
            body = b'{"alive"}' if self.command == "GET" else b""
            self.send_response(status)
            known = {"Location": "/files/abc", "Upload-Offset": "0", "Tus-Resumable": "1.0.0"}
            for name, text in (known | {header: value}).items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_PATCH = do_DELETE = do_OPTIONS = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Nothing on standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    report = Report()
    try:
        outside.examine(f"http://127.0.0.1:{server.server_address[1]}", report)
    finally:
        server.shutdown()
        server.server_close()
    assert code in {one.code for one in report.findings}


def test_interim_answers_without_end_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends one 103 after the other: the wait ends at its deadline."""
    monkeypatch.setattr("server.doctor.visit.SECONDS", 0.5)

    class Odd(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)

        def log_message(self, *_: object) -> None:
            """Nothing on standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    report = Report()
    try:
        outside.examine(f"http://127.0.0.1:{server.server_address[1]}", report)
    finally:
        server.shutdown()
        server.server_close()
    assert [(one.code, one.params["reason"]) for one in report.findings] == [("url_unreachable", "silence")]


def test_a_silent_proxy_ends_the_checks_of_bodies(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no PATCH is answered, one check says so, and the upload is removed."""
    monkeypatch.setattr("server.doctor.visit.SECONDS", 1.0)
    report, passing = Report(), {b"OPTIONS", b"GET", b"HEAD", b"POST", b"DELETE"}
    with _relay(server.port, lambda data: data if data.split(b" ")[0] in passing else None) as port:
        outside.examine(f"http://127.0.0.1:{port}", report)
    assert [(check.name, check.findings[0].code) for check in report.checks if check.findings] == [
        ("patch", "no_answer")
    ]
    assert query(server.database_url, OPEN) == []


def test_bytes_that_change_on_their_way_are_found(server: ServerProcess) -> None:
    """A relay that changes one byte of a body is found by the checksum."""
    report = Report()
    with _relay(server.port, lambda data: data[:-1] + bytes([data[-1] ^ 1]) if len(data) > 2000 else data) as port:
        outside.examine(f"http://127.0.0.1:{port}", report)
    assert "body_changed" in {finding.code for finding in report.findings}
    assert query(server.database_url, OPEN) == []


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("http-request deny if { method DELETE } or { req.hdr(X-HTTP-Method-Override) DELETE }", "upload_left"),
        ("http-response del-header Location", "upload_unknown"),
    ],
)
def test_no_upload_is_left_behind(line: str, code: str, server: ServerProcess, tmp_path: Path) -> None:
    """Where the proxy prevents its removal, the doctor removes it on its own machine; elsewhere it names it."""
    rules = {"default_backend videodock\n": f"{line}\n    default_backend videodock\n"}
    with fronts.haproxy(tmp_path / "front", server.port, rules) as front:
        command = ("doctor", "--url", front.url, "--ca", str(front.certificate), "--json")
        here = server.run(*command)
        assert query(server.database_url, OPEN) == []
        there = server.run(*command, "--only-url")
    assert (here.returncode, there.returncode) == (1, 1)
    assert code not in codes(here.stdout)
    assert code in codes(there.stdout)
    (left,) = query(server.database_url, "SELECT id, filename FROM uploads WHERE status = 'open'")
    assert left["id"] in there.stdout or left["filename"] in there.stdout
    assert server.run("uploads", "terminate", left["id"]).returncode == 0


@contextmanager
def _relay(port: int, change: Callable[[bytes], bytes | None]) -> Iterator[int]:
    """A relay to `port` that sends what `change` makes of each piece of a request; nothing for None."""
    listener = socket.create_server(("127.0.0.1", 0))

    def copy(source: socket.socket, target: socket.socket, change: Callable[[bytes], bytes | None]) -> None:
        with source, target:
            try:
                while data := source.recv(65536):
                    target.sendall(change(data) or b"")
                target.shutdown(socket.SHUT_WR)
            except OSError:
                return

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", port))
            for pair in ((client, server, change), (server.dup(), client.dup(), bytes)):
                threading.Thread(target=copy, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_the_page_is_up_to_date_and_every_code_is_used() -> None:
    """docs/doctor.md is what `make docs` writes; the checks find every code of the catalogue, and no other."""
    assert (ROOT / "docs/doctor.md").read_text() == page.page()
    source = "".join(file.read_text() for file in (ROOT / "server/doctor").glob("*.py"))
    used = set(re.findall(r'find\(\s*"(\w+)"', source))
    assert used == set(CATALOGUE)


@pytest.mark.parametrize("kind", [kind.name for kind in media_types.accepted(("all",), by_form=False)])
def test_the_sample_of_each_type_is_taken_for_it(kind: str) -> None:
    """A server that accepts one type only takes the doctor's upload."""
    name, head = sample(f"unknown, {kind}", "mark")
    types = media_types.accepted((kind,), by_form=False)
    assert media_types.verify(name, head + bytes(100), types).name == kind
