"""The doctor before real nginx, HAProxy and Caddy: it finds nothing in the documented files, and each mistake."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from server.doctor import outside
from server.doctor.findings import Report
from tests.harness import fronts
from tests.harness.rows import query
from tests.harness.server_process import ServerProcess

pytestmark = pytest.mark.acceptance

Start = Callable[..., AbstractContextManager[fronts.Front]]


@dataclass(frozen=True)
class Case:
    """A proxy, its changes, and all codes that the doctor finds; `of` are parameters that say of what."""

    name: str
    start: Start
    codes: frozenset[str]
    changes: dict[str, str] = field(default_factory=dict)
    of: dict[str, object] = field(default_factory=dict)
    prefix: str = ""


def case(name: str, start: Start, codes: str = "", prefix: str = "", of: object = None, **changes: str) -> Case:
    found = frozenset(codes.split())
    wanted = {} if of is None else dict(of)  # type: ignore[call-overload]
    return Case(f"{start.__name__}-{name}", start, found, CHANGES[start.__name__](changes), wanted, prefix)


_NGINX = {
    "buffering": "proxy_request_buffering off;",
    "limit": "client_max_body_size    0;",
    "window": "client_body_buffer_size 1m;",
    "proto": "proxy_set_header X-Forwarded-Proto  $scheme;",
    "host": "proxy_set_header Host               $http_host;",
    "place": "    location / {\n        proxy_pass http://videodock;\n    }\n",
    "inside": "        proxy_pass http://videodock;\n    }\n\n    # While",
    "headers": 'proxy_set_header Forwarded          "";',
    "metrics": "location ~ /metrics$ {\n        return 404;\n    }",
    "http": "upstream videodock {",
}
_HAPROXY = {
    "window": "tune.h2.initial-window-size 1048576",
    "proto": "http-request set-header X-Forwarded-Proto https",
    "rules": "default_backend videodock\n",
    "metrics": "http-request deny deny_status 404 if { path_end /metrics }",
    "backend": "http-reuse never",
}
_CADDY = {"up": "header_up -Forwarded", "site": "@metrics path */metrics", "metrics": "respond @metrics 404"}


def _replacing(known: dict[str, str]) -> Callable[[dict[str, str]], dict[str, str]]:
    # What begins with `+` comes after the line that is there.
    def changes(given: dict[str, str]) -> dict[str, str]:
        return {
            known[name]: f"{known[name]}\n{text[1:]}\n" if text.startswith("+") else text
            for name, text in given.items()
        }

    return changes


CHANGES = {"nginx": _replacing(_NGINX), "haproxy": _replacing(_HAPROXY), "caddy": _replacing(_CADDY)}

CASES = [
    case("documented", fronts.nginx),
    case("documented", fronts.haproxy),
    case("documented", fronts.caddy),
    case(
        "buffers-and-limits",
        fronts.nginx,
        "request_buffered body_limit",
        of={"body_limit": 5 << 20, "request_buffered": 5 << 20},
        buffering="proxy_request_buffering on;",
        limit="client_max_body_size 5m;",
    ),
    case("small-window-and-no-scheme", fronts.nginx, "http2_slow location_scheme", window="", proto=""),
    case(
        "another-host", fronts.nginx, "location_host metrics_public", host="proxy_set_header Host inside;", metrics=""
    ),
    case("host-without-port", fronts.nginx, "location_port", host="proxy_set_header Host $host;"),
    case(
        "prefix-of-which-the-server-knows-nothing",
        fronts.nginx,
        "location_prefix",
        prefix="/video",
        place="    location /video/ {\n        proxy_pass http://videodock/;\n    }\n",
    ),
    case(
        "some-methods-only",
        fronts.nginx,
        "method_refused",
        of={"method_refused": "PATCH"},
        place="    location / {\n        limit_except GET POST OPTIONS { deny all; }\n"
        "        proxy_pass http://videodock;\n    }\n",
    ),
    case(
        "cached-heads",
        fronts.nginx,
        "head_becomes_get",
        http="proxy_cache_path /tmp/none-of-it keys_zone=all:1m;\n\nupstream videodock {",
        place="    location / {\n        proxy_cache all;\n        proxy_pass http://videodock;\n    }\n",
    ),
    case("no-tus-header", fronts.nginx, "request_header_lost", headers='+proxy_set_header Tus-Resumable "";'),
    case("no-checksum", fronts.nginx, "request_header_lost", headers='+proxy_set_header Upload-Checksum "";'),
    case("hidden-offset", fronts.nginx, "response_header_lost", headers="+proxy_hide_header Upload-Expires;"),
    case(
        "expect-and-foreign-headers",
        fronts.nginx,
        "interim_taken_for_answer cors_doubled",
        headers="+proxy_set_header Expect $http_expect;\nadd_header Access-Control-Allow-Origin * always;",
    ),
    case("encoding", fronts.nginx, "content_encoding_added", headers="+proxy_set_header Content-Encoding gzip;"),
    case("forced", fronts.nginx, "content_encoding_forced", headers="+add_header Content-Encoding gzip always;"),
    case(
        "limits",
        fronts.haproxy,
        "body_limit http2_slow",
        of={"body_limit": 3 << 20},
        rules="+http-request deny deny_status 413 if { req.hdr(content-length) -m int gt 3145728 }",
        window="",
    ),
    case("no-scheme", fronts.haproxy, "location_scheme metrics_public", proto="", metrics=""),
    case("get", fronts.haproxy, "head_becomes_get", rules="+http-request set-method GET if METH_HEAD"),
    case(
        "no-patch",
        fronts.haproxy,
        "method_refused",
        of={"method_refused": "PATCH"},
        rules="+http-request deny if { method PATCH }",
    ),
    case(
        "headers",
        fronts.haproxy,
        "request_header_lost response_header_lost cors_doubled",
        rules="+http-request del-header Upload-Metadata\nhttp-response del-header Upload-Expires\n"
        "http-response add-header Access-Control-Allow-Origin *",
    ),
    case("encoding", fronts.haproxy, "content_encoding_added", rules="+http-request set-header Content-Encoding gzip"),
    case("limits", fronts.caddy, "body_limit", of={"body_limit": 3 << 20}, site="+request_body {\nmax_size 3MiB\n}"),
    case("buffers", fronts.caddy, "request_buffered", up="+buffer_requests"),
    case("host", fronts.caddy, "location_host", up="+header_up Host inside\nheader_up -X-Forwarded-Host"),
    case("scheme", fronts.caddy, "location_scheme metrics_public", up="+header_up X-Forwarded-Proto http", metrics=""),
    case(
        "headers",
        fronts.caddy,
        "request_header_lost response_header_lost",
        up="+header_up -Upload-Checksum\nheader_down -Upload-Expires",
    ),
    case("options", fronts.caddy, "method_refused cors_missing", site="+@o method OPTIONS\nrespond @o 204"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    made = ServerProcess(tmp_path_factory.mktemp("server"))
    made.start()
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("this", CASES, ids=lambda this: this.name)
def test_the_doctor_finds_what_is_wrong_in_front(this: Case, server: ServerProcess, tmp_path: Path) -> None:
    """In each configuration it finds the mistakes and nothing else, says what to change, and leaves no upload."""
    report = Report()
    with this.start(tmp_path / "front", server.port, this.changes) as front:
        outside.examine(front.url + this.prefix, report, ca=str(front.certificate))
    found = [finding for finding in report.findings if finding.code != "certificate_expires"]
    assert {one.code for one in found} == this.codes, [(one.code, one.params) for one in found]
    for code, wanted in this.of.items():
        assert wanted in [one.params.get(name) for one in found if one.code == code for name in ("advised", "method")]
    for one in found:
        assert "?" not in one.text() + one.change()
        assert one.directives(report.proxy)
    assert report.is_well == all(code == "metrics_public" for code in this.codes)
    assert query(server.database_url, "SELECT id FROM uploads WHERE status = 'open'") == []
    assert server.stored_files() == []
