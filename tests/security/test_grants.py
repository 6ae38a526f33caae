"""Upload grants: what they allow, what they refuse, and that many tries make one upload."""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import samples
from tests.conftest import StartServer
from tests.harness.rows import execute, query
from tests.harness.tasks import ENDS
from tests.harness.waiting import PATIENCE, until
from tests.security.callers import PATCH, TUS, Callers, id_of

pytestmark = pytest.mark.turns(3)  # terms of a grant and ways around them

TRIES = 100


@pytest.fixture
def callers(start_server: StartServer, database_url: str, tmp_path: Path) -> Callers:
    """A server with authentication."""
    made = Callers(start_server(database_url=database_url, auth="on"), tmp_path)
    made.make_keys()
    return made


@pytest.fixture
def in_two_processes(start_server: StartServer, database_url: str, tmp_path: Path) -> Callers:
    """The same, served by two processes. A test may show them invalid credentials as often as it likes."""
    made = Callers(start_server(database_url=database_url, auth="on", workers=2, rate_failures=""), tmp_path)
    made.make_keys()
    return made


def creation(url: str, length: int = 10, headers: Mapping[str, str] | None = None) -> httpx.Response:
    """A creation without any credential but the URL."""
    asked = {**TUS, "Upload-Length": str(length), **(headers or {})}
    return httpx.post(url, headers=asked, timeout=60, trust_env=False)


@pytest.mark.turns(1)
def test_many_creations_at_once_make_one_upload(in_two_processes: Callers) -> None:
    """100 equal creations by one grant, in two processes, get the same URL, and there is one upload."""
    callers = in_two_processes
    grant = callers.grant()
    together = threading.Barrier(20)

    def one(number: int) -> str:
        if number < 20:
            together.wait(60)
        answer = creation(grant["tus_endpoint"])
        assert answer.status_code == 201, answer.text
        return str(answer.headers["Location"])

    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(one, range(TRIES)))) == 1
    assert len(query(callers.server.database_url, "SELECT id FROM uploads")) == 1


def test_a_grant_makes_as_many_uploads_as_it_has_places(in_two_processes: Callers) -> None:
    """Different creations at once take the places, each once; the others are refused and change nothing."""
    callers = in_two_processes
    grant = callers.grant(uploads=3)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda number: creation(grant["tus_endpoint"], 10 + number), range(12)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 9
    assert {answer.text.partition(":")[0] for answer in answers if answer.status_code == 409} == {"grant_used"}
    assert len(query(callers.server.database_url, "SELECT id FROM uploads")) == 3


def test_a_refused_creation_takes_no_place(callers: Callers) -> None:
    """A name of another type is refused, and the grant still makes its upload."""
    grant = callers.grant()
    refused = creation(grant["tus_endpoint"], headers={"Upload-Metadata": "filename ZXZpbC5leGU="})  # evil.exe
    assert refused.status_code == 415
    assert creation(grant["tus_endpoint"]).status_code == 201


@pytest.mark.turns(1)
def test_the_url_of_a_grant_needs_no_creation(callers: Callers) -> None:
    """HEAD and PATCH on the URL that the backend got, after every login has expired; then its status."""
    grant = callers.grant(filename="holiday.mp4", passthrough="order-7")
    execute(callers.server.database_url, "UPDATE api_keys SET expires_at = created_at")
    data = callers.video.read_bytes()
    with httpx.Client(trust_env=False, timeout=60) as phone:
        assert phone.get(grant["status_url"]).status_code == 404
        head = phone.head(grant["upload_url"], headers=TUS)
        assert (head.status_code, head.headers["Upload-Offset"], head.headers["Upload-Defer-Length"]) == (200, "0", "1")
        first = {**PATCH, "Upload-Offset": "0", "Upload-Length": str(len(data))}
        assert phone.patch(grant["upload_url"], headers=first, content=data[:1000]).status_code == 204
        assert phone.head(grant["upload_url"], headers=TUS).headers["Upload-Offset"] == "1000"
        rest = phone.patch(grant["upload_url"], headers={**PATCH, "Upload-Offset": "1000"}, content=data[1000:])
        assert rest.status_code == 204
        until(
            lambda: phone.get(grant["status_url"]).json()["status"] == "completed", seconds=60, what="it is processed"
        )
        assert [file["name"] for file in phone.get(grant["status_url"]).json()["files"]] == ["holiday.mp4"]


def test_what_is_bound_is_the_creation(in_two_processes: Callers) -> None:
    """After a grant has expired it creates nothing, by no way; what it created is continued to its end."""
    callers = in_two_processes
    grant, unused = callers.grant(uploads=2), callers.grant()
    data = callers.video.read_bytes()
    location = creation(grant["tus_endpoint"], len(data)).headers["Location"]
    execute(callers.server.database_url, "UPDATE grants SET expires_at = created_at")
    lengths = count(len(data) + 1)  # each another creation: one that was made before is repeated after the end, too
    until(
        lambda: creation(grant["tus_endpoint"], next(lengths)).status_code == 403,
        seconds=10,
        what="both processes know the expiry",
    )
    assert httpx.head(unused["upload_url"], headers=TUS, trust_env=False, timeout=PATIENCE).status_code == 403
    files = {"videos": ("video.mp4", data, "video/mp4")}
    until(
        lambda: httpx.post(unused["form_url"], files=files, trust_env=False, timeout=PATIENCE).status_code == 403,
        seconds=10,
        what="both processes know the expiry",
    )
    patch = httpx.patch(
        location, headers={**PATCH, "Upload-Offset": "0"}, content=data, trust_env=False, timeout=PATIENCE
    )
    assert patch.status_code == 204
    assert httpx.head(location, headers=TUS, trust_env=False, timeout=PATIENCE).status_code == 200


REFUSED: dict[str, tuple[dict[str, Any], dict[str, str], int, int]] = {
    "too large": ({"max_size": 9}, {}, 10, 413),
    "another name": ({"filename": "a.mp4"}, {"Upload-Metadata": "filename Yi5tcDQ="}, 10, 403),
    "another type": ({"types": ["mov"]}, {"Upload-Metadata": "filename Yi5tcDQ="}, 10, 415),
    "another origin": ({"allowed_origin": "https://a.example"}, {"Origin": "https://b.example"}, 10, 403),
    "no origin": ({"allowed_origin": "https://a.example"}, {}, 10, 403),
    "another task": (
        {"task": "11111111-1111-4111-8111-111111111111"},
        {"Upload-Metadata": "task MjIyMjIyMjItMjIyMi00MjIyLTgyMjItMjIyMjIyMjIyMjIy,task_files MQ=="},
        10,
        403,
    ),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("case", REFUSED)
def test_a_grant_is_for_what_it_says(callers: Callers, case: str) -> None:
    """Another size, name, type, origin or task is refused before an upload exists."""
    terms, headers, length, status = REFUSED[case]
    answer = creation(callers.grant(**terms)["tus_endpoint"], length, headers)
    assert answer.status_code == status, answer.text
    assert query(callers.server.database_url, "SELECT id FROM uploads") == []


@pytest.mark.sampled(1)
def test_the_upload_of_a_size_has_its_length_at_once(callers: Callers) -> None:
    """With `size` the URL's first HEAD tells the length; no other length is taken, by creation or later."""
    grant, other = callers.grant(size=1000), callers.grant(size=1000)
    head = httpx.head(grant["upload_url"], headers=TUS, trust_env=False, timeout=PATIENCE)
    assert (head.status_code, head.headers["Upload-Length"], head.headers["Upload-Offset"]) == (200, "1000", "0")
    assert "Upload-Defer-Length" not in head.headers
    longer = {**PATCH, "Upload-Offset": "0", "Upload-Length": "1001"}
    assert (
        httpx.patch(grant["upload_url"], headers=longer, content=b"x", trust_env=False, timeout=PATIENCE).status_code
        == 400
    )
    assert (
        httpx.head(grant["upload_url"], headers=TUS, trust_env=False, timeout=PATIENCE).headers["Upload-Offset"] == "0"
    )
    for length in (999, 1001):
        refused = creation(other["tus_endpoint"], length, {"Accept-Language": "en"})
        assert (refused.status_code, refused.text.partition(":")[0]) == (403, "grant_mismatch")
        assert "1000 bytes" in refused.text
    assert creation(other["tus_endpoint"], 1000).status_code == 201


def test_a_size_that_no_upload_may_have_is_refused(callers: Callers) -> None:
    """The backend hears of it, not the phone: a size above what the grant or the server allows makes no grant."""
    for terms in ({"size": 11, "max_size": 10}, {"size": 1 << 60}):
        answer = callers.ask("POST", "/api/grants", "owner", json=terms)
        assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large"), answer.text


@pytest.mark.sampled(1)
def test_a_size_is_kept_when_the_length_comes_later(callers: Callers) -> None:
    """By its URL an upload has no length at first: a PATCH that declares too much, or brings it, is refused."""
    url = callers.grant(max_size=1000)["upload_url"]
    for headers, length in (({"Upload-Length": "1001"}, 10), ({}, 1001)):
        answer = httpx.patch(
            url,
            headers={**PATCH, "Upload-Offset": "0", **headers},
            content=bytes(length),
            trust_env=False,
            timeout=PATIENCE,
        )
        assert answer.status_code == 413, answer.text
    assert httpx.head(url, headers=TUS, trust_env=False, timeout=PATIENCE).headers["Upload-Offset"] == "0"


@pytest.mark.sampled(1)
def test_types_are_judged_by_content(callers: Callers) -> None:
    """A grant for MKV takes no MP4 without a name."""
    grant = callers.grant(types=["mkv"])
    data = callers.video.read_bytes()
    location = creation(grant["tus_endpoint"], len(data)).headers["Location"]
    patch = httpx.patch(
        location, headers={**PATCH, "Upload-Offset": "0"}, content=data, trust_env=False, timeout=PATIENCE
    )
    assert patch.status_code == 415


@pytest.mark.sampled(2)
def test_a_video_that_is_too_long_ends_in_error_without_its_bytes(callers: Callers, tmp_path: Path) -> None:
    """The task says how long it is and may be, and the original is gone."""
    grant = callers.grant(max_duration=1)
    data = samples.make(tmp_path, "long.mp4", seconds=2).read_bytes()
    location = creation(grant["tus_endpoint"], len(data)).headers["Location"]
    assert httpx.patch(
        location, headers={**PATCH, "Upload-Offset": "0"}, content=data, trust_env=False, timeout=PATIENCE
    ).is_success
    status = f"{callers.server.url}/api/task/status/{location.rpartition('/')[2]}"
    with httpx.Client(trust_env=False, timeout=60) as client:
        until(lambda: client.get(status).json()["status"] in ENDS, seconds=60, what="the task has ended")
        answer = client.get(status).json()
    assert answer["status"] == "error"
    (file,) = answer["files"]
    assert file["error"]["code"] == "video_too_long"
    until(lambda: not callers.server.stored(id_of(location)).exists(), seconds=20, what="the original is gone")


@pytest.mark.sampled(1)
def test_a_repeated_form_is_one_task(callers: Callers) -> None:
    """The same form again, after a lost answer, is the same task; another form is refused."""
    grant = callers.grant()
    data = callers.video.read_bytes()
    same = [
        httpx.post(
            grant["form_url"], files={"videos": ("video.mp4", data, "video/mp4")}, trust_env=False, timeout=PATIENCE
        )
        for _ in range(2)
    ]
    assert [answer.status_code for answer in same] == [200, 200]
    assert same[0].json() == same[1].json()
    other = httpx.post(
        grant["form_url"], files={"videos": ("b.mp4", data, "video/mp4")}, trust_env=False, timeout=PATIENCE
    )
    assert (other.status_code, other.json()["code"]) == (409, "grant_used")
    by_grant = {"Authorization": f"Bearer {grant['token']}"}
    task = same[0].json()["task_id"]
    status = f"{callers.server.url}/api/task/status/{task}"
    assert httpx.get(status, headers=by_grant, trust_env=False, timeout=PATIENCE).status_code == 200
    foreign = {"Authorization": f"Bearer {callers.grant()['token']}"}
    assert httpx.get(status, headers=foreign, trust_env=False, timeout=PATIENCE).status_code == 404


@pytest.mark.sampled(1)
def test_the_status_url_of_a_form_is_that_of_its_task(callers: Callers) -> None:
    """`status_url` was handed out before the form was sent; two forms by one grant have two tasks, and no such URL."""
    grant, twice = callers.grant(), callers.grant(uploads=2)
    data = callers.video.read_bytes()

    def form(url: str, name: str) -> str:
        answer = httpx.post(url, files={"videos": (name, data, "video/mp4")}, trust_env=False, timeout=60)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["task_id"])

    assert httpx.get(grant["status_url"], trust_env=False, timeout=PATIENCE).status_code == 404
    task = form(grant["form_url"], "a.mp4")
    assert httpx.get(grant["status_url"], trust_env=False, timeout=PATIENCE).json()["task_id"] == task
    assert httpx.get(twice["status_url"], trust_env=False, timeout=PATIENCE).status_code == 404
    form(twice["form_url"], "a.mp4")
    form(twice["form_url"], "b.mp4")
    assert httpx.get(twice["status_url"], trust_env=False, timeout=PATIENCE).status_code == 404


def test_a_repeated_creation_gets_its_upload_after_the_end(callers: Callers) -> None:
    """The 201 was lost and the grant has expired since: the same request gets the same URL, another one nothing.

    A revoked grant gives no URL to anybody: its token may be in wrong hands.
    """
    grant = callers.grant(uploads=2)
    location = creation(grant["tus_endpoint"]).headers["Location"]
    execute(callers.server.database_url, "UPDATE grants SET expires_at = created_at")
    lengths = iter(range(11, 10_000))
    until(
        lambda: {creation(grant["tus_endpoint"], next(lengths)).status_code for _ in range(8)} == {403},
        seconds=10,
        what="both processes know the expiry",
    )
    again = creation(grant["tus_endpoint"])
    assert (again.status_code, id_of(again.headers["Location"])) == (201, id_of(location))
    part = creation(grant["tus_endpoint"], headers={"Upload-Concat": "partial"})
    assert part.status_code == 403
    assert callers.server.run("grants", "revoke", grant["grant_id"]).returncode == 0
    until(
        lambda: {creation(grant["tus_endpoint"]).status_code for _ in range(8)} == {403},
        seconds=10,
        what="both processes know of the revocation",
    )


@pytest.mark.sampled(1)
@pytest.mark.parametrize("by", ["nobody", "expired", "revoked", "wrong"])
def test_parts_are_joined_by_their_urls_alone(callers: Callers, by: str) -> None:
    """Whoever has the URLs of all parts may join them, whatever became of the login; the owner is that of the parts.

    With a URL less, one of another owner's, or a changed one, it is as without a credential.
    """
    callers.keys["nobody"] = ""
    mine, other = (
        [callers.open_upload(4, **{"Upload-Concat": "partial"}) for _ in range(2)],
        callers.open_upload(4, by="other", **{"Upload-Concat": "partial"}),
    )

    def join(*parts: str) -> httpx.Response:
        headers = {**TUS, "Upload-Concat": f"final;{' '.join(parts)}"}
        headers |= {} if by == "nobody" else callers.headers(by)
        return httpx.post(f"{callers.server.url}/files", headers=headers, trust_env=False, timeout=PATIENCE)

    unsigned = mine[1].partition("~")[0]
    swapped = f"{unsigned}~{mine[0].partition('~')[2]}"
    for parts in ((mine[0], unsigned), (mine[0], swapped), (mine[0], other), (mine[0], mine[1] + "A")):
        assert join(*parts).status_code == 401, parts
    made = join(*mine)
    assert made.status_code == 201, made.text
    sql = "SELECT owner FROM uploads WHERE id = :id"
    assert query(callers.server.database_url, sql, id=id_of(made.headers["Location"])) == [{"owner": "alice"}]


INVALID: dict[str, object] = {
    "filename": "",
    "size": 0,
    "max_size": 0,
    "max_duration": -1,
    "types": ["exe"],
    "task": "not-a-uuid",
    "metadata": {"a b": "c"},
    "metadata.filename": {"filename": "evil.exe"},
    "passthrough": "x" * 1025,
    "expires_in": 59,
    "uploads": 51,
    "allowed_origin": "https://a.example/path",
    "max-size": 10,
}


def test_a_grant_that_cannot_be_is_refused_by_field(start_server: StartServer, tmp_path: Path) -> None:
    """Each wrong field is named, in a sentence without internals; a misspelt one too."""
    callers = Callers(start_server(auth="on"), tmp_path)
    callers.make_keys()
    for field, value in INVALID.items():
        asked = {field.partition(".")[0]: value}
        answer = callers.ask("POST", "/api/grants", "owner", {"Accept-Language": "en"}, json=asked)
        assert (answer.status_code, answer.json()["code"]) == (400, "field_invalid"), (field, answer.text)
        assert field in answer.json()["message"]
        assert "pydantic" not in answer.text
        assert "Traceback" not in answer.text
    for body in (b"[]", b"{", b"\xff", b"[" * 10_000):
        answer = callers.ask("POST", "/api/grants", "owner", {"Content-Type": "application/json"}, content=body)
        assert answer.status_code == 400, (body, answer.text)
    big = callers.ask("POST", "/api/grants", "owner", {"Content-Type": "application/json"}, content=bytes(20_000))
    assert big.status_code == 413


def test_signatures_belong_to_one_upload(start_server: StartServer, tmp_path: Path) -> None:
    """One that is cut, changed, swapped or made up gives nothing, on any verb."""
    callers = Callers(start_server(auth="on", downloads="on"), tmp_path)
    callers.make_keys()
    one, other = callers.open_upload(), callers.open_upload()
    signature = one.rpartition("~")[2]
    wrong = (
        signature[:-1],
        signature + "A",
        signature[:-1] + ("A" if signature[-1] != "A" else "B"),
        signature.swapcase(),
        other.rpartition("~")[2],
        "",
        "~" + signature,
        signature + "~" + signature,
        "%00" + signature,
    )
    for bad in wrong:
        url = f"{callers.server.url}/files/{id_of(one)}~{bad}"
        for method in ("HEAD", "PATCH", "DELETE", "GET"):
            answer = callers.server.http.request(method, url, headers={**PATCH, "Upload-Offset": "0"})
            assert answer.status_code == 404, (bad, method)
        status = callers.server.http.get(f"{callers.server.url}/api/task/status/{id_of(one)}~{bad}")
        assert status.status_code == 404, bad
    assert callers.server.http.head(one, headers=TUS).status_code == 200


def test_nothing_secret_is_logged(start_server: StartServer, tmp_path: Path) -> None:
    """No key, token or signature stands in the log, the metrics or `videodock settings`, whatever became of it."""
    callers = Callers(start_server(auth="on", log_level="debug"), tmp_path)
    callers.make_keys()
    grant = callers.grant()
    location = creation(grant["tus_endpoint"]).headers["Location"]
    httpx.head(location, headers=TUS, trust_env=False, timeout=PATIENCE)
    httpx.get(location.replace("/files/", "/api/task/status/"), trust_env=False, timeout=PATIENCE)
    creation(callers.server.url + "/files/g/vdg_0123456789ab_" + "S" * 43)
    callers.ask("GET", "/api/task/status/x", "wrong")
    metrics = callers.ask("GET", "/metrics", "admin").text
    settings = callers.server.run("settings").stdout
    secrets = [key.split("_", 2)[2] for key in callers.keys.values()]
    secrets += [grant["token"].split("_", 2)[2], location.rpartition("~")[2], "S" * 43]
    for text in (callers.server.log(), metrics, settings):
        assert not [secret for secret in secrets if secret in text]


def test_a_revoked_key_is_refused_within_five_seconds(in_two_processes: Callers) -> None:
    """In every process; and its uploads are continued all the same."""
    callers = in_two_processes
    location = callers.open_upload()
    assert callers.server.run("keys", "revoke", callers.keys["owner"]).returncode == 0

    revoked = time.monotonic()

    def refused() -> bool:
        answers = []
        for _ in range(8):
            began = time.monotonic()
            status = httpx.post(
                callers.server.url + "/files",
                headers={**TUS, "Upload-Length": "1", **callers.headers("owner")},
                trust_env=False,
                timeout=PATIENCE,
            ).status_code
            assert status == 401 or began - revoked < 5, "a request that began after five seconds was accepted"
            answers.append(status)
        return set(answers) == {401}

    until(refused, what="every process refuses the key")
    assert httpx.head(location, headers=TUS, trust_env=False, timeout=PATIENCE).status_code == 200
