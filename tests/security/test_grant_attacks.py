"""Grants in the hands of somebody who wants more than they were granted."""

import base64
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import StartServer
from tests.harness.rows import query
from tests.harness.waiting import until
from tests.security.callers import PATCH, TUS, Callers, id_of

PARTIAL = {"Upload-Concat": "partial"}
GROUP = "33333333-3333-4333-8333-333333333333"


# Databases, engines, and the ways around a grant.
pytestmark = [pytest.mark.sampled(1), pytest.mark.turns(3)]


@pytest.fixture(params=["videodock", "tuspyserver"])
def engine(request: pytest.FixtureRequest) -> str:
    """The tus engine."""
    return str(request.param)


@pytest.fixture
def callers(start_server: StartServer, database_url: str, engine: str, tmp_path: Path) -> Callers:
    """A server with authentication."""
    made = Callers(start_server(database_url=database_url, auth="on", tus_engine=engine), tmp_path)
    made.make_keys()
    return made


@pytest.fixture
def in_two_processes(start_server: StartServer, database_url: str, engine: str, tmp_path: Path) -> Callers:
    """The same, served by two processes."""
    made = Callers(start_server(database_url=database_url, auth="on", workers=2, tus_engine=engine), tmp_path)
    made.make_keys()
    return made


def ask(method: str, url: str, headers: Mapping[str, str] | None = None, **more: Any) -> httpx.Response:
    """A request without any credential but the URL and these headers."""
    return httpx.request(method, url, headers={**TUS, **(headers or {})}, timeout=60, trust_env=False, **more)


def creation(grant: Mapping[str, Any], length: int = 10, **headers: str) -> httpx.Response:
    """A creation by the URL of a grant."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask("POST", grant["tus_endpoint"], {"Upload-Length": str(length), **named})


def metadata(**values: str) -> str:
    """Upload-Metadata."""
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())


def test_parts_of_a_grant_are_bounded(in_two_processes: Callers) -> None:
    """A grant of one upload of 1,000 bytes does not store 100 parts of 1,000 bytes."""
    callers = in_two_processes
    grant = callers.grant(max_size=1000)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: creation(grant, 1000, Upload_Concat="partial"), range(30)))
    made = sum(answer.status_code == 201 for answer in answers)
    assert made <= 2, [answer.status_code for answer in answers]


def test_parts_of_a_grant_end_with_its_places(callers: Callers) -> None:
    """When the grant is used up, it makes no more parts."""
    grant = callers.grant()
    assert creation(grant).status_code == 201
    assert creation(grant, 1000, Upload_Concat="partial").status_code == 409


def test_a_final_upload_keeps_the_types_of_its_grant(callers: Callers) -> None:
    """A grant for MKV takes no MP4 that comes in parts and has no name."""
    grant = callers.grant(types=["mkv"])
    data = callers.video.read_bytes()
    part = creation(grant, len(data), Upload_Concat="partial").headers["Location"]
    assert ask("PATCH", part, {**PATCH, "Upload-Offset": "0"}, content=data).status_code == 204
    final = ask("POST", grant["tus_endpoint"], {"Upload-Concat": f"final;{part}"})
    assert final.status_code == 415, final.text
    assert query(callers.server.database_url, "SELECT id FROM tasks") == []


@pytest.mark.parametrize("rounds", [6, pytest.param(50, marks=pytest.mark.soak)])
def test_a_form_and_a_url_spend_one_place_once(in_two_processes: Callers, rounds: int) -> None:
    """A form and the URL at once, many times: one of them gets the place."""
    callers = in_two_processes
    data = callers.video.read_bytes()
    both = []
    for _ in range(rounds):
        grant = callers.grant()
        together = threading.Barrier(3)

        def form(grant: dict[str, Any] = grant, together: threading.Barrier = together) -> int:
            together.wait(30)
            files = {"videos": ("video.mp4", data, "video/mp4")}
            return httpx.post(grant["form_url"], files=files, trust_env=False, timeout=60).status_code

        def head(grant: dict[str, Any] = grant, together: threading.Barrier = together) -> int:
            together.wait(30)
            return max(ask("HEAD", grant["upload_url"]).status_code == 200 for _ in range(6))

        with ThreadPoolExecutor(3) as pool:
            one, two, three = pool.submit(form), pool.submit(head), pool.submit(head)
            both.append((one.result() == 200, bool(two.result() or three.result())))
    assert (True, True) not in both, both


def test_a_key_of_another_grant_gives_nothing(callers: Callers) -> None:
    """Two grants of one owner share no Idempotency-Key: no answer is seen, and no place is blocked."""
    one, two, three = callers.grant(), callers.grant(), callers.grant()
    data = callers.video.read_bytes()

    def form(grant: Mapping[str, Any], name: str, key: str | None) -> httpx.Response:
        files = {"videos": (name, data, "video/mp4")}
        headers = {} if key is None else {"Idempotency-Key": key}
        return httpx.post(grant["form_url"], files=files, headers=headers, trust_env=False, timeout=60)

    first = form(one, "a.mp4", "order-7")
    assert first.status_code == 200
    same = form(two, "a.mp4", "order-7")
    assert same.status_code == 200
    assert same.json()["task_id"] != first.json()["task_id"]
    # The key that the server uses for a grant of one upload.
    assert form(callers.grant(), "b.mp4", f"grant-{three['grant_id']}").status_code == 200
    assert form(three, "c.mp4", None).status_code == 200


def test_a_grant_joins_no_group_of_another_one(callers: Callers) -> None:
    """The id of another phone's group opens neither its place nor its status nor its end."""
    one, two = callers.grant(uploads=2), callers.grant(uploads=2)
    asked = metadata(filename="a.mp4", task=GROUP, task_files="3")
    assert creation(one, 10, Upload_Metadata=asked).status_code == 201
    joined = creation(two, 11, Upload_Metadata=asked)
    assert joined.status_code == 409, joined.text
    by_grant = {"Authorization": f"Bearer {two['token']}"}
    status = f"{callers.server.url}/api/task/status/{GROUP}"
    assert ask("GET", status, by_grant).status_code == 404
    assert ask("POST", status.replace("status", "cancel"), by_grant).status_code == 404


def test_a_group_of_a_backend_takes_its_grants(callers: Callers) -> None:
    """Grants that name the task join it, and so does the key of the owner."""
    one, two = callers.grant(task=GROUP), callers.grant(task=GROUP)
    asked = metadata(filename="a.mp4", task=GROUP, task_files="3")
    assert creation(one, 10, Upload_Metadata=asked).status_code == 201
    assert creation(two, 11, Upload_Metadata=asked).status_code == 201
    headers = {**TUS, "Upload-Length": "12", "Upload-Metadata": asked}
    assert callers.ask("POST", "/files", "owner", headers).status_code == 201


def test_the_log_has_no_token_of_a_misspelt_address(callers: Callers) -> None:
    """A token in a path that no route has is redacted, too."""
    token = callers.grant()["token"]
    secret = token.split("_", 2)[2]
    for path in (
        f"/files/g//{token}",
        f"/files/G/{token}",
        f"/files//g/{token}",
        f"//files/g/{token}",
        f"/api/upload/videos/g//{token}",
        f"/api/upload/videos/{token}",
        f"/files/g/{token}/x",
        f"/files/{token}",
        f"/g%2F{token}",
        f"/files/g%2f{token}",
        f"/files/g/%20{token}",
        f"/media/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.{secret}",
        f"/metrics/{token}",
    ):
        ask("POST", callers.server.url + path, {"Upload-Length": "1"})
        ask("GET", callers.server.url + path + "?t=1")
    until(lambda: "/metrics/" in callers.server.log(), what="the log has the last request")
    assert secret not in callers.server.log()


def test_a_rotation_ends_urls_in_every_process(in_two_processes: Callers) -> None:
    """After `signing rotate --keep 1` no process accepts an old URL, also one that signs nothing."""
    callers = in_two_processes
    location = callers.open_upload()
    assert ask("HEAD", location).status_code == 200
    assert callers.server.run("signing", "rotate", "--keep", "1").returncode == 0

    def refused() -> bool:
        return {ask("HEAD", location).status_code for _ in range(12)} == {404}

    until(refused, seconds=8, what="every process refuses the old signature")
    assert id_of(location)


def test_a_form_with_other_keys_spends_a_place_once(callers: Callers) -> None:
    """The same form by a grant of one upload, under many Idempotency-Keys, is one task; and so with two places."""
    data = callers.video.read_bytes()

    def form(grant: Mapping[str, Any], key: str) -> httpx.Response:
        files = {"videos": ("a.mp4", data, "video/mp4")}
        headers = {"Idempotency-Key": key} if key else {}
        return httpx.post(grant["form_url"], files=files, headers=headers, trust_env=False, timeout=60)

    for places in (1, 2):
        grant = callers.grant(uploads=places)
        answers = [form(grant, key) for key in ("", "k1", "k2", "k3", "k1", "")]
        tasks = {answer.json()["task_id"] for answer in answers if answer.status_code == 200}
        assert len(tasks) == places, [answer.text for answer in answers]
        with ThreadPoolExecutor(6) as pool:
            other = callers.grant(uploads=places)
            answers = list(pool.map(lambda key, grant=other: form(grant, key), ("k1", "k2", "k3", "k4", "k5", "k6")))
        tasks = {answer.json()["task_id"] for answer in answers if answer.status_code == 200}
        assert len(tasks) == places, [answer.text for answer in answers]


def test_an_upload_that_was_ended_is_not_busy(callers: Callers) -> None:
    """The creation of an upload that its client has ended is refused for good: 423 would be tried again for ever."""
    grant = callers.grant()
    location = creation(grant).headers["Location"]
    assert ask("DELETE", location).status_code == 204
    assert creation(grant).status_code == 410
    assert creation(grant, 11).status_code == 409


def test_a_refused_first_request_takes_no_place(start_server: StartServer, database_url: str, tmp_path: Path) -> None:
    """A HEAD of the URL that is refused for a quota leaves the place for a creation by the grant, and for the URL."""
    callers = Callers(start_server(database_url=database_url, auth="on", owner_open_uploads=1), tmp_path)
    callers.make_keys()
    grant, other = callers.grant(), callers.open_upload()
    assert ask("HEAD", grant["upload_url"]).status_code == 429
    assert ask("DELETE", other).status_code == 204
    assert creation(grant).status_code == 201
    assert ask("HEAD", grant["upload_url"]).status_code == 200


def test_grants_count_as_creations(start_server: StartServer, tmp_path: Path) -> None:
    """Grants and the URLs in them are not a way around the rate of an owner."""
    callers = Callers(start_server(auth="on", rate_owner="5/day"), tmp_path)
    callers.keys["owner"] = callers.key("alice", "upload")
    answers = [callers.ask("POST", "/api/grants", "owner", json={}) for _ in range(8)]
    assert [answer.status_code for answer in answers] == [201] * 5 + [429] * 3
    assert "Retry-After" in answers[-1].headers
    # What was granted is not refused.
    assert ask("HEAD", answers[4].json()["upload_url"]).status_code == 200


def test_all_ways_at_once_spend_each_place_once(in_two_processes: Callers) -> None:
    """Creations, forms with keys, finals and the URL, all at once: no more uploads than places, and each is found."""
    callers = in_two_processes
    grant = callers.grant(uploads=3)
    data = callers.video.read_bytes()
    part = callers.open_upload(5, "owner", **PARTIAL)
    together = threading.Barrier(12)

    def one(number: int) -> None:
        together.wait(60)
        match number % 4:
            case 0:
                creation(grant, 10 + number)
            case 1:
                files = {"videos": (f"{number}.mp4", data, "video/mp4")}
                httpx.post(grant["form_url"], files=files, trust_env=False, timeout=60)
            case 2:
                ask("HEAD", grant["upload_url"])
            case _:
                ask("POST", grant["tus_endpoint"], {"Upload-Concat": f"final;{part}"})

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(one, range(12)))
    sql = "SELECT id FROM uploads WHERE grant_id = :grant AND status IN ('open', 'complete')"
    assert len(query(callers.server.database_url, sql, grant=grant["grant_id"])) == 3
