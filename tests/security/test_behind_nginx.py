"""Who a request claims to be, straight and through a real nginx: smuggled headers, odd paths, signed URLs."""

import http.client
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.acceptance.nginx_uploads import PREFIX, under_prefix
from tests.conftest import StartServer
from tests.harness.nginx import Nginx
from tests.harness.rows import query, sha256
from tests.harness.server_process import ROOT, ServerProcess
from tests.harness.tasks import ENDS
from tests.harness.waiting import PATIENCE, until
from tests.security.callers import PATCH, TUS, Callers, id_of

OWNER = "X-Forwarded-User"
LINE = f'proxy_set_header {OWNER} "";'
LAST = '    proxy_set_header Forwarded          "";\n'
Before = Callable[..., Nginx]


@pytest.fixture
def before(tmp_path: Path) -> Iterator[Before]:
    """Start nginx before a server."""
    with ExitStack() as ends:
        yield lambda server, changes=None: ends.enter_context(Nginx(tmp_path / "nginx", server.port, changes))


def callers_of(server: ServerProcess, folder: Path) -> Callers:
    made = Callers(server, folder)
    for name, owner in (("owner", "alice"), ("other", "bob")):
        made.keys[name] = made.key(owner, "upload", "read", "manage")
    return made


def creation(client: httpx.Client, url: str, *headers: tuple[str, str], path: str = "/files") -> httpx.Response:
    fields = [*TUS.items(), ("Upload-Length", "10"), *headers]
    return client.post(url + path, headers=fields)


def owner_of(server: ServerProcess, answer: httpx.Response) -> str:
    assert answer.status_code == 201, answer.text
    sql = "SELECT owner FROM uploads WHERE id = :id"
    (row,) = query(server.database_url, sql, id=id_of(answer.headers["Location"]))
    return str(row["owner"])


def test_authorization_means_one_thing(start_server: StartServer, before: Before, tmp_path: Path) -> None:
    """Two of them are refused, however they are written; blanks and case change nothing; no part of one is believed."""
    server = start_server(auth="on", rate_failures="")
    callers = callers_of(server, tmp_path)
    mine, others = callers.keys["owner"], callers.keys["other"]
    nginx = before(server)
    good = [f"Bearer {mine}", f"bearer {mine}", f"BEARER   {mine}", f"Bearer {mine}   "]
    bad: list[list[str]] = [
        [f"Bearer {mine}", f"Bearer {others}"],
        [f"Bearer {others}", f"Bearer {mine}"],
        [f"Bearer {mine}", ""],
        [f"Bearer {mine}, Bearer {others}"],
        [f"Bearer {mine} {others}"],
        [f"Bearer\t{mine}"],
        [f"Bearer{mine}"],
        [f"Basic {mine}"],
        [mine],
        ["Bearer"],
        [f"Bearer {mine}\u00a0"],
        [f"Bearer {mine.upper()}"],
        [f'Bearer "{mine}"'],
    ]
    for url in (server.url, nginx.url):
        for value in good:
            status, text = raw_creation(url, nginx, [value])
            assert status == 201, (url, value, text)
        for values in bad:
            status, text = raw_creation(url, nginx, values)
            # nginx itself refuses a second Authorization.
            assert status in ((401,) if url == server.url else (400, 401)), (url, values, text)
            assert mine not in text
    owners = query(server.database_url, "SELECT DISTINCT owner FROM uploads")
    assert owners == [{"owner": "alice"}]


def raw_creation(url: str, nginx: Nginx, values: list[str]) -> tuple[int, str]:
    """Status and body of a creation with these Authorization headers, blanks included, which httpx would not send."""
    place = urlsplit(url)
    context = ssl.create_default_context(cafile=nginx.certificate)
    connection = (
        http.client.HTTPSConnection(place.netloc, context=context, timeout=PATIENCE)
        if place.scheme == "https"
        else http.client.HTTPConnection(place.netloc, timeout=PATIENCE)
    )
    try:
        connection.putrequest("POST", "/files")
        for name, value in [*TUS.items(), ("Upload-Length", "10"), ("Content-Length", "0")]:
            connection.putheader(name, value)
        for name, value in zip(("Authorization", "aUTHORIZATION"), values, strict=False):
            connection.putheader(name, value.encode("latin-1"))
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


CLAIMS: dict[str, dict[str, str]] = {
    "plain": {OWNER: "alice"},
    "other case": {OWNER.lower(): "alice"},
    "underscores": {OWNER.replace("-", "_"): "alice"},
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_an_owner_is_believed_only_of_a_trusted_proxy(
    start_server: StartServer, before: Before, tmp_path: Path, claim: str
) -> None:
    """Straight and through an nginx that is not trusted the header is nothing; where nginx clears it, neither."""
    for trusted, changes in (("192.0.2.1", {}), ("127.0.0.1", {LAST: f"{LAST}    {LINE}\n"})):
        server = start_server(auth="on", rate_failures="", auth_proxy_header=OWNER, trusted_proxies=trusted)
        with Nginx(tmp_path / f"nginx-{trusted}", server.port, changes) as nginx:
            asked = [(nginx.http, nginx.url)]
            if trusted == "192.0.2.1":
                asked.append((server.http, server.url))
            for client, url in asked:
                answer = creation(client, url, *CLAIMS[claim].items())
                assert answer.status_code == 401, (trusted, url)
        assert query(server.database_url, "SELECT id FROM uploads") == []


def test_a_trusted_proxy_names_the_owner(start_server: StartServer, before: Before, tmp_path: Path) -> None:
    """What nginx sets is the owner, whatever the client sent; two of it, or an odd one, are nobody."""
    server = start_server(auth="on", rate_failures="", auth_proxy_header=OWNER, trusted_proxies="127.0.0.1")
    set_by_nginx = {LAST: f'{LAST}    proxy_set_header {OWNER} "carol";\n'}
    nginx = before(server, set_by_nginx)
    for claims in ([], [(OWNER, "alice")], [(OWNER, "alice"), (OWNER, "bob")], [("X_Forwarded_User", "alice")]):
        assert owner_of(server, creation(nginx.http, nginx.url, *claims)) == "carol"
    # This machine is the trusted proxy itself.
    assert owner_of(server, creation(server.http, server.url, (OWNER, "dave"))) == "dave"
    for claims in ([(OWNER, "dave"), (OWNER, "dave")], [(OWNER, "")], [(OWNER, "d" * 257)], [(OWNER, "a\tb")]):
        assert creation(server.http, server.url, *claims).status_code == 401, claims
    key = callers_of(server, tmp_path).keys["other"]
    bearer = ("Authorization", f"Bearer {key}")
    assert owner_of(server, creation(nginx.http, nginx.url, bearer)) == "bob", "a credential counts first"


def test_the_documented_nginx_clears_the_header() -> None:
    """The page on deploying tells the line that these tests use."""
    assert f"{LINE}\n" in (ROOT / "docs/deploy/README.md").read_text()


def test_signed_urls_work_through_nginx_below_a_prefix(
    start_server: StartServer, before: Before, tmp_path: Path
) -> None:
    """Every URL that is told is https, has the prefix, and works as it is: upload, status, results, grants."""
    server = start_server(auth="on", rate_failures="", downloads="on", root_path=PREFIX)
    callers = callers_of(server, tmp_path)
    nginx = before(server, under_prefix())
    base = nginx.url + PREFIX
    data = callers.video.read_bytes()
    grant = nginx.http.post(f"{base}/api/grants", headers=callers.headers("owner"), json={"size": len(data)}).json()
    assert {
        url for name, url in grant.items() if name.endswith(("_url", "endpoint")) and not url.startswith(base)
    } == set()
    url = grant["upload_url"]
    assert nginx.http.patch(url, headers={**PATCH, "Upload-Offset": "0"}, content=data).status_code == 204
    status = grant["status_url"]
    until(lambda: nginx.http.get(status).json()["status"] in ENDS, seconds=60, what="the task has ended")
    (file,) = nginx.http.get(status).json()["files"]
    poster = file["poster_url"]
    assert poster.startswith(f"{base}/media/~")
    assert nginx.http.get(poster).status_code == 200
    plain = re.sub(r"/~[^/]+", "", poster)
    assert nginx.http.get(plain).status_code == 401
    assert nginx.http.get(plain, headers=callers.headers("other")).status_code == 404
    by_form = nginx.http.post(grant["form_url"], files={"videos": ("a.mp4", data, "video/mp4")})
    assert (by_form.status_code, by_form.json()["code"]) == (409, "grant_used")
    assert nginx.http.get(url).content == data
    assert sha256(server.stored(id_of(url))) == sha256(callers.video)


ODD: Mapping[str, tuple[Callable[[str, str], str], int]] = {
    "encoded tilde": (lambda upload, signature: f"{upload}%7E{signature}", 200),
    "encoded tilde in lower case": (lambda upload, signature: f"{upload}%7e{signature}", 200),
    "encoded letter": (lambda upload, signature: f"%{ord(upload[0]):x}{upload[1:]}~{signature}", 200),
    "encoded twice": (lambda upload, signature: f"{upload}%257E{signature}", 404),
    "slash for a tilde": (lambda upload, signature: f"{upload}%2F{signature}", 404),
    "a segment more": (lambda upload, signature: f"x%2F..%2F{upload}~{signature}", 404),
    "NUL": (lambda upload, signature: f"{upload}%00~{signature}", 404),
    "the signature in the query": (lambda upload, signature: f"{upload}?{signature}", 401),
    "no signature": (lambda upload, _: upload, 401),
    "an empty one": (lambda upload, _: f"{upload}~", 404),
}


def test_odd_spellings_of_an_upload_url(start_server: StartServer, before: Before, tmp_path: Path) -> None:
    """An encoded tilde is a tilde; nothing else that decodes to something gets past the signature, with any method."""
    server = start_server(auth="on", rate_failures="")
    callers = callers_of(server, tmp_path)
    nginx = before(server)
    upload, signature = urlsplit(callers.open_upload()).path.rpartition("/")[2].split("~")
    for client, url in ((server.http, server.url), (nginx.http, nginx.url)):
        for name, (spell, expected) in ODD.items():
            target = f"{url}/files/{spell(upload, signature)}"
            refused = client is nginx.http and name == "NUL"  # by nginx
            assert client.head(target, headers=TUS).status_code == (400 if refused else expected), (url, name)
            if expected != 200 and not refused:
                for method in ("PATCH", "DELETE"):
                    override = {**PATCH, "Upload-Offset": "0", "X-HTTP-Method-Override": method}
                    answer = client.post(target, headers=override, content=b"")
                    assert answer.status_code == expected, (url, name, method)
    assert query(server.database_url, "SELECT status FROM uploads") == [{"status": "open"}]


def test_a_method_override_is_asked_as_what_it_is(start_server: StartServer, before: Before, tmp_path: Path) -> None:
    """Through nginx as well: who may only read or upload deletes nothing by a POST that says it is a DELETE."""
    server = start_server(auth="on", rate_failures="")
    callers = callers_of(server, tmp_path)
    callers.keys["uploader"] = callers.key("alice", "upload")
    nginx = before(server)
    path = f"/files/{id_of(callers.open_upload())}"
    for client, url in ((server.http, server.url), (nginx.http, nginx.url)):
        for kind, expected in (("none", 401), ("other", 404), ("uploader", 403)):
            headers = {**TUS, "X-HTTP-Method-Override": "DELETE", **callers.headers(kind)}
            assert client.post(url + path, headers=headers).status_code == expected, (url, kind)
    headers = {**TUS, "X-HTTP-Method-Override": "DELETE", **callers.headers("owner")}
    assert nginx.http.post(nginx.url + path, headers=headers).status_code == 204


def test_a_foreign_host_gets_into_no_url(start_server: StartServer, before: Before, tmp_path: Path) -> None:
    """X-Forwarded-Host of a client changes nothing behind nginx, nor straight when the client is no trusted proxy."""
    server = start_server(auth="on", rate_failures="", trusted_proxies="192.0.2.1")
    trusting = start_server(auth="on", rate_failures="", trusted_proxies="127.0.0.1")
    nginx = before(trusting)
    for owned, client, url in ((server, server.http, server.url), (trusting, nginx.http, nginx.url)):
        key = ("Authorization", f"Bearer {callers_of(owned, tmp_path).keys['owner']}")
        for claims in (
            [("X-Forwarded-Host", "evil.example")],
            [("Forwarded", "host=evil.example;proto=https")],
            [("X-Forwarded-Prefix", "/evil")],
            [("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Port", "1")],
        ):
            answer = creation(client, url, key, *claims)
            assert answer.status_code == 201
            assert answer.headers["Location"].startswith(f"{url}/files/"), claims
